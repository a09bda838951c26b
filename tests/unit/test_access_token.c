#include "unit.h"

#include <stdio.h>

#include "auth/access_token.h"
#include "auth/key_entry.h"
#include "auth/rsa_key.h"
#include "auth/signer.h"
#include "base/encode.h"
#include "base/json.h"

#define NOW INT64_C(1700000000)
#define ID "00000000-0000-4000-8000-000000000001"

static const struct access_policy POLICY = {"https://id.example", "api", "", 600};
static const struct access_claims CLAIMS = {{{1}}, {{2}}, {{3}}, NOW - 5};
static struct keyring *ring, *foreign;
static struct signer *signer, *foreign_signer;

static void open_ring(const char *kid, struct keyring **out, struct signer **signing)
{
    struct secret pem = {0};
    struct key_set set = {.count = 1};
    const char *why = NULL;
    assert_ok(rsa_key_generate(2048, &pem));
    assert_ok(key_entry_private(&pem, kid, KEY_ACTIVE, &set.keys[0], &why));
    assert_ok(keyring_open(&set, out));
    assert_ok(signer_open(&set.keys[0], signing));
    key_set_close(&set);
    secret_close(&pem);
}

/* Both halves of issuing, and the signature between them. */
static enum err issue(const struct access_policy *policy, struct signer *with,
                      const struct access_claims *claims, int64_t now_s, char *out, size_t *out_len)
{
    uint8_t sig[SIGNATURE_MAX];
    size_t sig_len = 0, len = 0;
    TRY(access_token_prepare(policy, signer_kid(with), claims, now_s, out, &len));
    TRY(signer_sign(with, out, len, sig, &sig_len));
    TRY(access_token_finish(out, &len, sig, sig_len));
    *out_len = len;
    return OK;
}

static int open_rings(void **state)
{
    (void)state;
    open_ring("key-1", &ring, &signer);
    open_ring("key-1", &foreign, &foreign_signer);
    return 0;
}

static int close_rings(void **state)
{
    (void)state;
    signer_close(signer);
    signer_close(foreign_signer);
    keyring_close(ring);
    keyring_close(foreign);
    return 0;
}

static enum err verify(const char *token, size_t len, int64_t now)
{
    struct access_claims out = {.auth_time = 77};
    enum err e = access_token_verify(&POLICY, ring, token, len, now, &out);
    if (e != OK)
        assert_int_equal(out.auth_time, 77);
    return e;
}

/* Any header and claims, truly signed. */
static size_t forge_with(struct signer *with, const char *header, const char *claims, char *out)
{
    uint8_t sig[SIGNATURE_MAX];
    size_t sig_len = 0, n = base64url_encode((const uint8_t *)header, strlen(header), out);
    out[n++] = '.';
    n += base64url_encode((const uint8_t *)claims, strlen(claims), out + n);
    assert_ok(signer_sign(with, out, n, sig, &sig_len));
    out[n++] = '.';
    return n + base64url_encode(sig, sig_len, out + n);
}

static enum err forged(const char *header, const char *claims)
{
    char token[ACCESS_TOKEN_MAX];
    return verify(token, forge_with(signer, header, claims, token), NOW);
}

#define HEADER "{\"alg\":\"RS256\",\"typ\":\"at+jwt\",\"kid\":\"key-1\"}"
#define IDS "\"sub\":\"" ID "\",\"tenant_id\":\"" ID "\",\"sid\":\"" ID "\""
#define WHO "\"iss\":\"https://id.example\",\"aud\":\"api\",\"actor_type\":\"user\""
#define TIMES "\"iat\":1700000000,\"exp\":1700000600,\"auth_time\":1700000000"
#define GOOD_CLAIMS "{" WHO "," IDS "," TIMES "}"

TEST(what_is_issued_verifies_and_says_the_same)
{
    char token[ACCESS_TOKEN_MAX];
    size_t len = 0;
    struct access_claims out;
    assert_ok(issue(&POLICY, signer, &CLAIMS, NOW, token, &len));
    assert_int_equal(strlen(token), len);
    assert_ok(access_token_verify(&POLICY, ring, token, len, NOW, &out));
    assert_true(uuid_equal(&out.tenant_id, &CLAIMS.tenant_id));
    assert_true(uuid_equal(&out.user_id, &CLAIMS.user_id));
    assert_true(uuid_equal(&out.session_id, &CLAIMS.session_id));
    assert_int_equal(out.auth_time, CLAIMS.auth_time);
}

static json_t *part_of(const char *token, unsigned which)
{
    uint8_t buf[ACCESS_TOKEN_MAX];
    const char *why = NULL;
    json_t *j = NULL;
    size_t n = 0;
    for (; which > 0; which--)
        token = strchr(token, '.') + 1;
    assert_ok(base64url_decode(token, strcspn(token, "."), buf, sizeof buf, &n));
    assert_ok(json_read((const char *)buf, n, &j, &why));
    return j;
}

TEST(a_token_carries_the_claims_of_the_contract)
{
    static const char *const strings[] = {"iss", "aud",        "sub", "tenant_id", "jti",
                                          "sid", "session_id", "ver", "actor_type"};
    static const char *const numbers[] = {"iat", "exp", "auth_time"};
    char token[ACCESS_TOKEN_MAX];
    size_t len = 0;
    struct access_policy policy = POLICY;
    policy.extra_claims = "\"plan\":\"free\",\"n\":1";
    assert_ok(issue(&policy, signer, &CLAIMS, NOW, token, &len));
    json_t *header = part_of(token, 0), *claims = part_of(token, 1);
    assert_int_equal(json_object_size(header), 3);
    assert_string_equal(json_string_value(json_object_get(header, "kid")), "key-1");
    for (size_t i = 0; i < ARRAY_LEN(strings); i++)
        assert_true(json_is_string(json_object_get(claims, strings[i])));
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++)
        assert_true(json_is_integer(json_object_get(claims, numbers[i])));
    assert_int_equal(json_integer_value(json_object_get(claims, "exp")), NOW + 600);
    assert_string_equal(json_string_value(json_object_get(claims, "plan")), "free");
    assert_int_equal(json_object_size(claims), ARRAY_LEN(strings) + ARRAY_LEN(numbers) + 2);
    json_decref(header);
    json_decref(claims);
}

TEST(no_two_tokens_have_one_id)
{
    char a[ACCESS_TOKEN_MAX], b[ACCESS_TOKEN_MAX];
    size_t len = 0;
    assert_ok(issue(&POLICY, signer, &CLAIMS, NOW, a, &len));
    assert_ok(issue(&POLICY, signer, &CLAIMS, NOW, b, &len));
    assert_string_not_equal(a, b);
}

TEST(a_token_that_would_not_fit_is_not_issued)
{
    static char issuer[ACCESS_TOKEN_MAX];
    char token[ACCESS_TOKEN_MAX];
    memset(issuer, 'i', sizeof issuer - 1);
    struct access_policy policy = POLICY;
    policy.issuer = issuer;
    size_t len = 77;
    assert_err(issue(&policy, signer, &CLAIMS, NOW, token, &len), ERR_INTERNAL);
    assert_int_equal(len, 77);
}

TEST(the_largest_extra_claims_fit_into_a_token)
{
    char json[ACCESS_EXTRA_CLAIMS_MAX], extra[ACCESS_EXTRA_CLAIMS_MAX], token[ACCESS_TOKEN_MAX];
    struct access_policy policy = POLICY;
    size_t len = 0;
    memset(json, 'x', sizeof json);
    memcpy(json, "{\"x\":\"", 6);
    memcpy(json + sizeof json - 2, "\"}", 2);
    assert_null(access_extra_claims(json, sizeof json, extra));
    policy.extra_claims = extra;
    assert_ok(issue(&policy, signer, &CLAIMS, NOW, token, &len));
    assert_ok(verify(token, len, NOW));
}

TEST(every_replaced_character_is_denied)
{
    char token[ACCESS_TOKEN_MAX];
    size_t len = 0;
    assert_ok(issue(&POLICY, signer, &CLAIMS, NOW, token, &len));
    for (size_t i = 0; i < len; i++) {
        static const char with[] = "A.=_ \n";
        char was = token[i];
        for (size_t c = 0; c < sizeof with; c++) { /* and with its NUL */
            token[i] = with[c];
            if (with[c] != was)
                assert_err(verify(token, len, NOW), ERR_DENIED);
        }
        token[i] = was;
    }
    assert_ok(verify(token, len, NOW));
}

TEST(every_truncation_and_extension_is_denied)
{
    char token[ACCESS_TOKEN_MAX];
    size_t len = 0;
    assert_ok(issue(&POLICY, signer, &CLAIMS, NOW, token, &len));
    for (size_t n = 0; n < len; n++)
        assert_err(verify(token, n, NOW), ERR_DENIED);
    static const char *const tails[] = {"A", "=", ".", " ", "\n", ".A", "AAAA"};
    for (size_t i = 0; i < ARRAY_LEN(tails); i++) {
        strcpy(token + len, tails[i]);
        assert_err(verify(token, strlen(token), NOW), ERR_DENIED);
    }
    memset(token + len, 'A', sizeof token - len);
    assert_err(verify(token, sizeof token, NOW), ERR_DENIED);
}

TEST(the_control_of_the_forger_is_accepted)
{
    assert_ok(forged(HEADER, GOOD_CLAIMS));
    assert_ok(forged("{\"kid\":\"key-1\",\"typ\":\"at+jwt\",\"alg\":\"RS256\"}", GOOD_CLAIMS));
}

TEST(no_other_header_is_accepted_though_truly_signed)
{
    static const char *const headers[] = {
        "{\"alg\":\"none\",\"typ\":\"at+jwt\",\"kid\":\"key-1\"}",
        "{\"alg\":\"None\",\"typ\":\"at+jwt\",\"kid\":\"key-1\"}",
        "{\"alg\":\"rs256\",\"typ\":\"at+jwt\",\"kid\":\"key-1\"}",
        "{\"alg\":\"HS256\",\"typ\":\"at+jwt\",\"kid\":\"key-1\"}",
        "{\"alg\":\"RS384\",\"typ\":\"at+jwt\",\"kid\":\"key-1\"}",
        "{\"alg\":\"PS256\",\"typ\":\"at+jwt\",\"kid\":\"key-1\"}",
        "{\"alg\":\"RS256 \",\"typ\":\"at+jwt\",\"kid\":\"key-1\"}",
        "{\"alg\":[\"RS256\"],\"typ\":\"at+jwt\",\"kid\":\"key-1\"}",
        "{\"alg\":null,\"typ\":\"at+jwt\",\"kid\":\"key-1\"}",
        "{\"alg\":\"RS256\",\"typ\":\"JWT\",\"kid\":\"key-1\"}",
        "{\"alg\":\"RS256\",\"typ\":\"application/at+jwt\",\"kid\":\"key-1\"}",
        "{\"alg\":\"RS256\",\"kid\":\"key-1\"}",
        "{\"alg\":\"RS256\",\"typ\":\"at+jwt\"}",
        "{\"typ\":\"at+jwt\",\"kid\":\"key-1\"}",
        "{\"alg\":\"RS256\",\"typ\":\"at+jwt\",\"kid\":\"key-2\"}",
        "{\"alg\":\"RS256\",\"typ\":\"at+jwt\",\"kid\":\"\"}",
        "{\"alg\":\"RS256\",\"typ\":\"at+jwt\",\"kid\":1}",
        "{\"alg\":\"RS256\",\"typ\":\"at+jwt\",\"kid\":[\"key-1\"]}",
        "{\"alg\":\"RS256\",\"typ\":\"at+jwt\",\"kid\":\"../../dev/null\"}",
        "{\"alg\":\"RS256\",\"typ\":\"at+jwt\",\"kid\":\"key-1' OR '1'='1\"}",
        "{\"alg\":\"RS256\",\"typ\":\"at+jwt\",\"kid\":\"key-1\",\"crit\":[\"x\"]}",
        "{\"alg\":\"RS256\",\"typ\":\"at+jwt\",\"kid\":\"key-1\",\"b64\":false}",
        "{\"alg\":\"RS256\",\"typ\":\"at+jwt\",\"kid\":\"key-1\",\"jwk\":{\"kty\":\"RSA\"}}",
        "{\"alg\":\"RS256\",\"typ\":\"at+jwt\",\"kid\":\"key-1\",\"jku\":\"https://evil.example\"}",
        "{\"alg\":\"RS256\",\"typ\":\"at+jwt\",\"kid\":\"key-1\",\"x5u\":\"https://evil.example\"}",
        "{\"alg\":\"RS256\",\"typ\":\"at+jwt\",\"kid\":\"key-1\",\"x5c\":[]}",
        "{\"alg\":\"RS256\",\"typ\":\"at+jwt\",\"kid\":\"key-1\",\"zip\":\"DEF\"}",
        "{\"alg\":\"RS256\",\"alg\":\"RS256\",\"typ\":\"at+jwt\",\"kid\":\"key-1\"}",
        "{\"alg\":\"none\",\"alg\":\"RS256\",\"typ\":\"at+jwt\",\"kid\":\"key-1\"}",
        "[]",
        "{}",
        "",
        "null",
        (HEADER " x"),
        ("\xef\xbb\xbf" HEADER),
    };
    for (size_t i = 0; i < ARRAY_LEN(headers); i++)
        if (forged(headers[i], GOOD_CLAIMS) != ERR_DENIED)
            fail_msg("accepted: %s", headers[i]);
}

TEST(no_other_claims_are_accepted_though_truly_signed)
{
    static const char *const claims[] = {
        "{\"iss\":\"https://evil.example\",\"aud\":\"api\",\"actor_type\":\"user\"," IDS "," TIMES
        "}",
        "{\"iss\":\"https://id.example/\",\"aud\":\"api\",\"actor_type\":\"user\"," IDS "," TIMES
        "}",
        "{\"iss\":\"https://id.example\",\"aud\":\"other\",\"actor_type\":\"user\"," IDS "," TIMES
        "}",
        "{\"iss\":\"https://id.example\",\"aud\":[\"api\"],\"actor_type\":\"user\"," IDS "," TIMES
        "}",
        "{\"iss\":\"https://id.example\",\"actor_type\":\"user\"," IDS "," TIMES "}",
        "{\"iss\":\"https://id.example\",\"aud\":\"api\"," IDS "," TIMES "}",
        "{\"iss\":\"https://id.example\",\"aud\":\"api\",\"actor_type\":\"admin\"," IDS "," TIMES
        "}",
        "{" WHO "," IDS "," TIMES ",\"nbf\":1}",
        "{" WHO "," IDS "," TIMES ",\"exp\":1700000601}",
        "{" WHO "," TIMES "}",
        "{" WHO ",\"sub\":\"" ID "\",\"tenant_id\":\"" ID "\"," TIMES "}",
        "{" WHO ",\"sub\":\"x\",\"tenant_id\":\"" ID "\",\"sid\":\"" ID "\"," TIMES "}",
        "{" WHO ",\"sub\":1,\"tenant_id\":\"" ID "\",\"sid\":\"" ID "\"," TIMES "}",
        "{" WHO "," IDS ",\"iat\":1700000000,\"exp\":1700000600}",
        "{" WHO "," IDS ",\"iat\":1700000000,\"auth_time\":1}",
        "{" WHO "," IDS ",\"exp\":1700000600,\"auth_time\":1}",
        "[]",
        "{}",
        "",
        GOOD_CLAIMS GOOD_CLAIMS,
    };
    for (size_t i = 0; i < ARRAY_LEN(claims); i++)
        if (forged(HEADER, claims[i]) != ERR_DENIED)
            fail_msg("accepted: %s", claims[i]);
}

static enum err with_time(const char *name, const char *value)
{
    static const char *const names[] = {"iat", "exp", "auth_time"};
    static const char *const good[] = {"1700000000", "1700000600", "1700000000"};
    char claims[1024];
    struct text t = text_on(claims, sizeof claims);
    text_put(&t, "{" WHO "," IDS);
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        text_put_f(&t, ",\"%s\":%s", names[i], strcmp(name, names[i]) == 0 ? value : good[i]);
    text_put(&t, "}");
    return forged(HEADER, claims);
}

TEST(times_are_integers_within_the_leeway)
{
    static const struct {
        const char *name, *value;
        enum err e;
    } cases[] = {
        {"exp", "1699999971", OK},
        {"exp", "1699999970", ERR_DENIED},
        {"exp", "9223372036854775807", OK},
        {"exp", "9223372036854775808", ERR_DENIED},
        {"exp", "-1", ERR_DENIED},
        {"exp", "-9223372036854775808", ERR_DENIED},
        {"exp", "0", ERR_DENIED},
        {"exp", "null", ERR_DENIED},
        {"exp", "\"1700000600\"", ERR_DENIED},
        {"exp", "1700000600.0", ERR_DENIED},
        {"exp", "1e400", ERR_DENIED},
        {"exp", "1.7e10", ERR_DENIED},
        {"exp", "true", ERR_DENIED},
        {"exp", "[1700000600]", ERR_DENIED},
        {"iat", "1700000030", OK},
        {"iat", "1700000031", ERR_DENIED},
        {"iat", "0", OK},
        {"iat", "\"0\"", ERR_DENIED},
        {"auth_time", "0", OK},
        {"auth_time", "0.5", ERR_DENIED},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        if (with_time(cases[i].name, cases[i].value) != cases[i].e)
            fail_msg("%s = %s", cases[i].name, cases[i].value);
}

TEST(another_key_of_the_same_kid_is_denied)
{
    char token[ACCESS_TOKEN_MAX];
    size_t len = forge_with(foreign_signer, HEADER, GOOD_CLAIMS, token);
    assert_err(verify(token, len, NOW), ERR_DENIED);
}

TEST(signatures_of_other_lengths_are_denied)
{
    char token[ACCESS_TOKEN_MAX];
    size_t len = forge_with(signer, HEADER, GOOD_CLAIMS, token);
    size_t body = (size_t)((char *)memrchr(token, '.', len) - token) + 1;
    uint8_t sig[SIGNATURE_MAX + 8] = {0};
    size_t n = 0;
    assert_ok(base64url_decode(token + body, len - body, sig + 1, SIGNATURE_MAX, &n));
    assert_err(verify(token, body + base64url_encode(sig, n + 1, token + body), NOW), ERR_DENIED);
    assert_err(verify(token, body + base64url_encode(sig + 1, n + 1, token + body), NOW),
               ERR_DENIED);
    assert_err(verify(token, body + base64url_encode(sig, sizeof sig, token + body), NOW),
               ERR_DENIED);
    assert_err(verify(token, body, NOW), ERR_DENIED);
    assert_ok(verify(token, body + base64url_encode(sig + 1, n, token + body), NOW));
}

TEST(extra_claims_are_an_object_that_replaces_nothing)
{
    char out[ACCESS_EXTRA_CLAIMS_MAX] = "untouched";
    static const char *const bad[] = {"",
                                      "[]",
                                      "1",
                                      "{",
                                      "{\"sub\":1}",
                                      "{\"a\":1,\"a\":2}",
                                      "{\"plan\":1,\"exp\":9}",
                                      "{\"\\u0073ub\":1}",
                                      "{\"nbf\":1}"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        assert_non_null(access_extra_claims(bad[i], strlen(bad[i]), out));
        assert_string_equal(out, "untouched");
    }
    static const char good[] = " { \"plan\" : [1, {\"x\": \"\\u00e9\"}] } ";
    assert_null(access_extra_claims(good, sizeof good - 1, out));
    assert_string_equal(out, "\"plan\":[1,{\"x\":\"\xc3\xa9\"}]");
    assert_null(access_extra_claims("{}", 2, out));
    assert_string_equal(out, "");
}

TEST(extra_claims_end_exactly_at_their_bound)
{
    static char json[ACCESS_EXTRA_CLAIMS_MAX + 16], out[ACCESS_EXTRA_CLAIMS_MAX];
    for (size_t len = ACCESS_EXTRA_CLAIMS_MAX - 4; len < ACCESS_EXTRA_CLAIMS_MAX + 8; len++) {
        memset(json, 'x', len);
        memcpy(json, "{\"x\":\"", 6);
        memcpy(json + len - 2, "\"}", 2);
        /* Without its braces and with a NUL. */
        bool fits = len - 2 + 1 <= ACCESS_EXTRA_CLAIMS_MAX;
        assert_int_equal(access_extra_claims(json, len, out) == NULL, fits);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_issued_verifies_and_says_the_same),
        cmocka_unit_test(a_token_carries_the_claims_of_the_contract),
        cmocka_unit_test(no_two_tokens_have_one_id),
        cmocka_unit_test(a_token_that_would_not_fit_is_not_issued),
        cmocka_unit_test(the_largest_extra_claims_fit_into_a_token),
        cmocka_unit_test(every_replaced_character_is_denied),
        cmocka_unit_test(every_truncation_and_extension_is_denied),
        cmocka_unit_test(the_control_of_the_forger_is_accepted),
        cmocka_unit_test(no_other_header_is_accepted_though_truly_signed),
        cmocka_unit_test(no_other_claims_are_accepted_though_truly_signed),
        cmocka_unit_test(times_are_integers_within_the_leeway),
        cmocka_unit_test(another_key_of_the_same_kid_is_denied),
        cmocka_unit_test(signatures_of_other_lengths_are_denied),
        cmocka_unit_test(extra_claims_are_an_object_that_replaces_nothing),
        cmocka_unit_test(extra_claims_end_exactly_at_their_bound),
    };
    return cmocka_run_group_tests(tests, open_rings, close_rings);
}
