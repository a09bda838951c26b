/* PHC strings: strict, so what is accepted is what formatting its value gives, byte for byte. */
#include "fuzz.h"

#include "auth/phc.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct phc phc;
    char text[PHC_MAX + 1];
    if (phc_parse((const char *)data, size, &phc) != OK)
        return 0;
    REQUIRE(phc.salt_len >= 8 && phc.salt_len <= PHC_SALT_MAX);
    REQUIRE(phc.tag_len >= 16 && phc.tag_len <= PHC_TAG_MAX);
    REQUIRE(phc.params.parallelism >= 1 && phc.params.iterations >= 1);
    REQUIRE(phc.params.memory_kib >= 8 * phc.params.parallelism);
    REQUIRE(phc_format(&phc, text) == OK);
    REQUIRE(strlen(text) == size && memcmp(text, data, size) == 0);
    return 0;
}
