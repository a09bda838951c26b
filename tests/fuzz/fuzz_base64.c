/* base64: whatever decodes is exactly what its value encodes to, in both alphabets. */
#include "fuzz.h"

#include "base/encode.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t out[3072];
    char text[BASE64_LEN(sizeof out) + 1];
    size_t n = 0;
    if (size > 4096)
        return 0;
    const char *in = (const char *)data;
    if (base64url_decode(in, size, out, sizeof out, &n) == OK)
        REQUIRE(base64url_encode(out, n, text) == size && memcmp(text, in, size) == 0);
    if (base64_decode(in, size, out, sizeof out, &n) == OK)
        REQUIRE(base64_encode(out, n, text) == size && memcmp(text, in, size) == 0);
    if (size <= sizeof out) {
        size_t len = base64url_encode(data, size, text);
        REQUIRE(base64url_decode(text, len, out, size, &n) == OK && n == size);
        REQUIRE(memcmp(out, data, size) == 0);
    }
    return 0;
}
