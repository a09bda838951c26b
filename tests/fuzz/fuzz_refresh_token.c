/* Refresh tokens under fixed keys: nothing is accepted but what formatting its value gives, and
 * with its body given a true mac, every body is. */
#include "fuzz.h"

#include "auth/refresh_token.h"

static struct service_keys *open_keys(void)
{
    struct secret secret = {0}, none = {0};
    struct service_keys *keys = NULL;
    REQUIRE(secret_copy("fuzz fuzz fuzz fuzz fuzz fuzz fu", 32, &secret) == OK);
    REQUIRE(service_keys_open(&secret, &none, &keys) == OK);
    secret_close(&secret);
    return keys;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct service_keys *keys;
    struct refresh_token token, again;
    char text[REFRESH_TOKEN_LEN + 1];
    if (keys == NULL)
        keys = open_keys();
    if (refresh_token_parse(keys, (const char *)data, size, &token) == OK) {
        REQUIRE(refresh_token_format(keys, &token, text) == OK);
        REQUIRE(size == REFRESH_TOKEN_LEN && memcmp(text, data, size) == 0);
    }
    if (size >= sizeof token) {
        memcpy(&token, data, sizeof token);
        token.key_id = service_keys_current_id(keys);
        REQUIRE(refresh_token_format(keys, &token, text) == OK);
        REQUIRE(refresh_token_parse(keys, text, REFRESH_TOKEN_LEN, &again) == OK);
        REQUIRE(token.generation == again.generation &&
                memcmp(token.random, again.random, 32) == 0);
    }
    (void)!refresh_token_unseal(keys, &(struct refresh_token){0}, data, size, &again);
    return 0;
}
