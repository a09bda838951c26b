/* E-mail addresses: a canonical form is its own canonical form, valid, bounded and without spaces.
 */
#include "fuzz.h"

#include "auth/identity.h"
#include "base/text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char once[IDENTITY_MAX + 1], twice[IDENTITY_MAX + 1], spaced[IDENTITY_MAX + 3];
    if (identity_canonical((const char *)data, size, once) != OK)
        return 0;
    size_t len = strlen(once);
    REQUIRE(len <= IDENTITY_MAX && utf8_valid(once, len, NULL));
    REQUIRE(strchr(once, '@') != NULL && strchr(once, '@') == strrchr(once, '@'));
    for (size_t i = 0; i < len; i++)
        REQUIRE((unsigned char)once[i] > ' ' && once[i] != 0x7f &&
                !(once[i] >= 'A' && once[i] <= 'Z'));
    REQUIRE(identity_canonical(once, len, twice) == OK && strcmp(once, twice) == 0);
    snprintf(spaced, sizeof spaced, " %s\t", once);
    REQUIRE(identity_canonical(spaced, len + 2, twice) == OK && strcmp(once, twice) == 0);
    return 0;
}
