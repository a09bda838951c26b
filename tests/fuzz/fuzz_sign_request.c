/* A message to the signer, as a network process that was taken over might send it: what is let
 * through lies within the message, to the last byte. */
#include "fuzz.h"

#include "net/sign_link.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct sign_request request;
    if (size > sizeof request)
        return 0;
    memcpy(&request, data, size);
    if (!sign_request_ok(&request, size))
        return 0;
    size_t sum = offsetof(struct sign_request, inputs);
    REQUIRE(request.count >= 1 && request.count <= SIGN_LINK_BATCH);
    for (unsigned i = 0; i < request.count; i++) {
        REQUIRE(request.lengths[i] >= 1 && request.lengths[i] <= SIGN_LINK_INPUT_MAX);
        sum += request.lengths[i];
    }
    REQUIRE(sum == size);
    return 0;
}
