/* uuid: what is parsed, formatted and parsed again is the same; the digits are those of the input.
 */
#include "fuzz.h"

#include <strings.h>

#include "base/uuid.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct uuid u, again;
    char text[UUID_LEN + 1];
    if (uuid_parse((const char *)data, size, &u) != OK)
        return 0;
    uuid_format(&u, text);
    REQUIRE(uuid_parse(text, UUID_LEN, &again) == OK && uuid_equal(&u, &again));
    if (size == UUID_LEN)
        REQUIRE(strncasecmp(text, (const char *)data, size) == 0);
    return 0;
}
