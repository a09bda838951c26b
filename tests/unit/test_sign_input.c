#include "unit.h"

#include <stdio.h>

#include "auth/sign_input.h"
#include "base/encode.h"

#define NOW INT64_C(1700000000)
#define KID "key-1"
#define A "00000000-0000-4000-8000-000000000001"
#define B "00000000-0000-4000-8000-000000000002"

#define HEADER "{\"alg\":\"RS256\",\"typ\":\"at+jwt\",\"kid\":\"" KID "\"}"
#define WHO                                                                                        \
    "\"iss\":\"https://id.example\",\"aud\":\"api\",\"sub\":\"" A "\",\"tenant_id\":\"" A "\""
#define TIMES "\"iat\":1700000000,\"exp\":1700000600"
#define SESSION "\"jti\":\"" B "\",\"session_id\":\"" A "\",\"sid\":\"" A "\""
#define REST "\"actor_type\":\"user\",\"auth_time\":1699999000,\"ver\":\"2\""
#define GOOD "{" WHO "," TIMES "," SESSION "," REST "}"

static const struct access_policy POLICY = {"https://id.example", "api", "", 600};
static const struct sign_input_rules RULES = {KID, &POLICY};

static enum err check_both(const char *header, const char *claims, int64_t now)
{
    char in[ACCESS_TOKEN_MAX];
    size_t n = base64url_encode((const uint8_t *)header, strlen(header), in);
    in[n++] = '.';
    n += base64url_encode((const uint8_t *)claims, strlen(claims), in + n);
    return sign_input_check(&RULES, in, n, now);
}

static enum err check(const char *claims)
{
    return check_both(HEADER, claims, NOW);
}

TEST(what_is_prepared_is_signed)
{
    static const struct access_policy policies[] = {
        {"https://id.example", "api", "", 60},
        {"https://id.example/\"quoted\"\\", "\xc3\xa9t\xc3\xa9", "\"roles\":[],\"n\":{\"a\":1}",
         3600},
    };
    static const struct access_claims claims = {{{1}}, {{0xff, 2}}, {{3}}, NOW - 5};
    for (size_t i = 0; i < ARRAY_LEN(policies); i++) {
        const struct sign_input_rules rules = {KID, &policies[i]};
        char in[ACCESS_TOKEN_MAX];
        size_t n = 0;
        assert_ok(access_token_prepare(&policies[i], KID, &claims, NOW, in, &n));
        assert_ok(sign_input_check(&rules, in, n, NOW));
        assert_err(sign_input_check(&rules, in, n - 1, NOW), ERR_DENIED);
        assert_err(sign_input_check(&RULES, in, n, NOW), ERR_DENIED);
    }
}

TEST(no_byte_of_it_may_be_another)
{
    static const struct access_claims claims = {{{1}}, {{2}}, {{3}}, NOW};
    char in[ACCESS_TOKEN_MAX];
    size_t n = 0, let_through = 0;
    assert_ok(access_token_prepare(&POLICY, KID, &claims, NOW, in, &n));
    for (size_t i = 0; i < n; i++) {
        char kept = in[i];
        in[i] = kept == 'A' ? 'B' : 'A';
        let_through += sign_input_check(&RULES, in, n, NOW) == OK;
        in[i] = kept;
    }
    /* Digits of the identifiers and of auth_time are free; nothing else is. */
    assert_true(let_through < n / 3);
    assert_ok(sign_input_check(&RULES, in, n, NOW));
}

TEST(only_the_header_of_its_own_key)
{
    assert_ok(check_both(HEADER, GOOD, NOW));
    static const char *const bad[] = {
        "{\"alg\":\"RS256\",\"typ\":\"at+jwt\",\"kid\":\"key-2\"}",
        "{\"alg\":\"none\",\"typ\":\"at+jwt\",\"kid\":\"" KID "\"}",
        "{\"alg\":\"RS256\",\"typ\":\"JWT\",\"kid\":\"" KID "\"}",
        "{\"typ\":\"at+jwt\",\"alg\":\"RS256\",\"kid\":\"" KID "\"}",
        "{\"alg\":\"RS256\",\"typ\":\"at+jwt\",\"kid\":\"" KID "\",\"crit\":[]}",
        "{\"alg\":\"RS256\", \"typ\":\"at+jwt\",\"kid\":\"" KID "\"}",
        "",
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_err(check_both(bad[i], GOOD, NOW), ERR_DENIED);
}

TEST(only_now_and_for_the_lifetime)
{
    assert_ok(check_both(HEADER, GOOD, NOW + SIGN_INPUT_SKEW_SECONDS));
    assert_ok(check_both(HEADER, GOOD, NOW - SIGN_INPUT_SKEW_SECONDS));
    assert_err(check_both(HEADER, GOOD, NOW + SIGN_INPUT_SKEW_SECONDS + 1), ERR_DENIED);
    assert_err(check_both(HEADER, GOOD, NOW - SIGN_INPUT_SKEW_SECONDS - 1), ERR_DENIED);
    static const char *const times[] = {
        "\"iat\":1700000000,\"exp\":1700000601",
        "\"iat\":1700000000,\"exp\":1700000599",
        "\"iat\":1700000000,\"exp\":9999999999",
        "\"iat\":1700000000,\"exp\":1700000000",
        "\"iat\":-1,\"exp\":599",
        "\"iat\":1700000000.0,\"exp\":1700000600",
        "\"iat\":01700000000,\"exp\":01700000600",
        "\"iat\":1e9,\"exp\":1700000600",
        "\"iat\":,\"exp\":",
        "\"iat\":99999999999999999999,\"exp\":1",
    };
    for (size_t i = 0; i < ARRAY_LEN(times); i++) {
        char claims[1024];
        snprintf(claims, sizeof claims, "{" WHO ",%s," SESSION "," REST "}", times[i]);
        assert_err(check(claims), ERR_DENIED);
    }
}

TEST(only_our_claims_in_our_order)
{
    static const char *const bad[] = {
        "{" TIMES "," WHO "," SESSION "," REST "}",
        "{" WHO "," TIMES "," SESSION "," REST ",\"admin\":true}",
        "{" WHO "," TIMES "," SESSION "," REST ",\"sub\":\"" B "\"}",
        "{" WHO "," TIMES "," SESSION "," REST,
        "{" WHO "," TIMES "," SESSION "," REST "}}",
        " {" WHO "," TIMES "," SESSION "," REST "}",
        "{" WHO "," TIMES "," SESSION "}",
        "{\"iss\":\"https://evil.example\",\"aud\":\"api\",\"sub\":\"" A "\",\"tenant_id\":\"" A
        "\"," TIMES "," SESSION "," REST "}",
        "{" WHO "," TIMES ",\"jti\":\"" B "\",\"session_id\":\"" A "\",\"sid\":\"" B "\"," REST "}",
        "{" WHO "," TIMES ",\"jti\":\"0000000000000040008000000000000002--\",\"session_id\":\"" A
        "\",\"sid\":\"" A "\"," REST "}",
        "{" WHO "," TIMES "," SESSION
        ",\"actor_type\":\"service\",\"auth_time\":1699999000,\"ver\":\"2\"}",
        "",
    };
    assert_ok(check(GOOD));
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_err(check(bad[i]), ERR_DENIED);
}

TEST(what_is_no_token_at_all)
{
    static const char *const bad[] = {"", ".", "..", "a.b", "GET / HTTP/1.1", "-----BEGIN"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_err(sign_input_check(&RULES, bad[i], strlen(bad[i]), NOW), ERR_DENIED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_prepared_is_signed),
        cmocka_unit_test(no_byte_of_it_may_be_another),
        cmocka_unit_test(only_the_header_of_its_own_key),
        cmocka_unit_test(only_now_and_for_the_lifetime),
        cmocka_unit_test(only_our_claims_in_our_order),
        cmocka_unit_test(what_is_no_token_at_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
