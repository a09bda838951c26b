/* What the signer is asked to sign: nothing but what access_token_prepare writes gets through. The
 * input is taken as it is, and as the claims of a token with the right header; what is let through
 * must be byte for byte what issuing it again would give. */
#include "fuzz.h"

#include "auth/sign_input.h"
#include "base/encode.h"
#include "base/json.h"

#define NOW 1700000000

static const struct access_policy POLICY = {"https://id.example", "api", "\"plan\":\"free\"", 600};
static const struct sign_input_rules RULES = {"fuzz", &POLICY};

static size_t with_header(const uint8_t *claims, size_t size, char *out)
{
    char json[KID_MAX + 64];
    struct text t = text_on(json, sizeof json);
    access_token_header(RULES.kid, &t);
    size_t n = base64url_encode((const uint8_t *)json, t.len, out);
    out[n++] = '.';
    return n + base64url_encode(claims, size, out + n);
}

/* One meaning: a JSON parser finds the claims that were checked, and no others. */
static void require_meaning(const uint8_t *claims, size_t size)
{
    json_t *object = NULL;
    const char *why = NULL;
    REQUIRE(json_read((const char *)claims, size, &object, &why) == OK);
    REQUIRE(json_object_size(object) == 13);
    REQUIRE(strcmp(json_string_value(json_object_get(object, "iss")), POLICY.issuer) == 0);
    REQUIRE(strcmp(json_string_value(json_object_get(object, "aud")), POLICY.audience) == 0);
    json_int_t iat = json_integer_value(json_object_get(object, "iat"));
    REQUIRE(json_integer_value(json_object_get(object, "exp")) == iat + POLICY.ttl_seconds);
    REQUIRE(iat >= NOW - SIGN_INPUT_SKEW_SECONDS && iat <= NOW + SIGN_INPUT_SKEW_SECONDS);
    json_decref(object);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char input[ACCESS_TOKEN_MAX];
    uint8_t claims[ACCESS_TOKEN_MAX];
    size_t n = 0;
    if (sign_input_check(&RULES, (const char *)data, size, NOW) == OK) {
        const char *dot = memchr(data, '.', size);
        REQUIRE(dot != NULL &&
                memchr(dot + 1, '.', size - (size_t)(dot + 1 - (const char *)data)) == NULL);
        REQUIRE(base64url_decode(dot + 1, size - (size_t)(dot + 1 - (const char *)data), claims,
                                 sizeof claims, &n) == OK);
        require_meaning(claims, n);
    }
    if (size < 4096) {
        n = with_header(data, size, input);
        if (sign_input_check(&RULES, input, n, NOW) == OK)
            require_meaning(data, size);
    }
    return 0;
}
