#include "unit.h"

#include "base/encode.h"

static size_t decoded(const char *text, uint8_t *out)
{
    size_t len = 0;
    assert_ok(base64url_decode(text, strlen(text), out, 64, &len));
    return len;
}

static void refused(const char *text, size_t len)
{
    uint8_t out[64] = {0x55};
    size_t out_len = 77;
    assert_err(base64url_decode(text, len, out, sizeof out, &out_len), ERR_MALFORMED);
    assert_int_equal(out_len, 77);
}

TEST(base64url_matches_rfc4648_vectors_without_padding)
{
    static const char *const pairs[][2] = {
        {"", ""},           {"f", "Zg"},          {"fo", "Zm8"},          {"foo", "Zm9v"},
        {"foob", "Zm9vYg"}, {"fooba", "Zm9vYmE"}, {"foobar", "Zm9vYmFy"},
    };
    for (size_t i = 0; i < ARRAY_LEN(pairs); i++) {
        char out[16];
        uint8_t back[64];
        size_t n = strlen(pairs[i][0]);
        assert_int_equal(base64url_encode((const uint8_t *)pairs[i][0], n, out),
                         strlen(pairs[i][1]));
        assert_string_equal(out, pairs[i][1]);
        assert_int_equal(decoded(out, back), n);
        assert_memory_equal(back, pairs[i][0], n);
    }
}

TEST(the_two_alphabets_differ_in_their_last_two_characters_only)
{
    static const uint8_t in[] = {0xfb, 0xff, 0xbf};
    char url[8], std[8];
    uint8_t out[8];
    size_t n = 0;
    base64url_encode(in, sizeof in, url);
    base64_encode(in, sizeof in, std);
    assert_string_equal(url, "-_-_");
    assert_string_equal(std, "+/+/");
    assert_err(base64url_decode(std, 4, out, sizeof out, &n), ERR_MALFORMED);
    assert_err(base64_decode(url, 4, out, sizeof out, &n), ERR_MALFORMED);
    assert_ok(base64_decode(std, 4, out, sizeof out, &n));
    assert_memory_equal(out, in, sizeof in);
}

TEST(every_byte_string_survives_a_round_trip)
{
    uint64_t seed = 1;
    for (size_t len = 0; len <= 200; len++) {
        uint8_t in[200], out[200];
        char text[BASE64_LEN(200) + 1];
        size_t n = 0;
        fill_random(&seed, in, len);
        assert_int_equal(base64url_encode(in, len, text), BASE64_LEN(len));
        assert_ok(base64url_decode(text, strlen(text), out, len, &n));
        assert_int_equal(n, len);
        assert_memory_equal(in, out, len);
    }
}

/* Of all strings of up to three characters over all bytes, those accepted are exactly the images of
 * the encoder: 1 + 256 + 65536 values of up to two bytes. */
TEST(of_all_short_strings_exactly_the_canonical_ones_are_accepted)
{
    size_t two = 0, three = 0;
    for (uint32_t v = 0; v < 1u << 24; v++) {
        const char text[3] = {(char)(v >> 16), (char)(v >> 8), (char)v};
        uint8_t out[3];
        size_t n = 0;
        three += base64url_decode(text, 3, out, sizeof out, &n) == OK;
        if ((v & 0xff) == 0)
            two += base64url_decode(text, 2, out, sizeof out, &n) == OK;
    }
    assert_int_equal(two, 256);
    assert_int_equal(three, 65536);
}

TEST(what_is_not_canonical_is_refused)
{
    static const char *const bad[] = {"A",    "Zg==", "Zg=", "Zh",   "Zm9",  "Zm8=", " Zg",  "Zg ",
                                      "Zg\n", "Z g",  "Z.g", "Zm+v", "Zm/v", "====", "AAAAA"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        refused(bad[i], strlen(bad[i]));
    refused("Zg\0A", 4);
    refused("\xff\xff", 2);
}

TEST(the_capacity_is_never_passed)
{
    uint8_t out[4] = {9, 9, 9, 9};
    size_t n = 77;
    assert_err(base64url_decode("Zm9vYmE", 7, out, 4, &n), ERR_TOO_LARGE);
    assert_int_equal(n, 77);
    assert_memory_equal(out, "\x9\x9\x9\x9", 4);
    assert_ok(base64url_decode("Zm9vYg", 6, out, 4, &n));
    assert_int_equal(n, 4);
    assert_ok(base64url_decode("", 0, out, 0, &n));
    assert_int_equal(n, 0);
}

TEST(hex_is_lower_case)
{
    char out[9];
    hex_encode((const uint8_t *)"\x00\x0f\xa5\xff", 4, out);
    assert_string_equal(out, "000fa5ff");
    hex_encode(NULL, 0, out);
    assert_string_equal(out, "");
}

TEST(decimal_accepts_plain_numbers_within_bounds)
{
    static const struct {
        const char *text;
        uint64_t min, max, value;
    } good[] = {{"0", 0, 0, 0},
                {"7", 0, 9, 7},
                {"10", 10, 10, 10},
                {"18446744073709551615", 0, UINT64_MAX, UINT64_MAX}};
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        uint64_t v = 99;
        assert_ok(decimal_parse(good[i].text, strlen(good[i].text), good[i].min, good[i].max, &v));
        assert_true(v == good[i].value);
    }
}

TEST(decimal_refuses_signs_zeros_spaces_and_overflow)
{
    static const char *const bad[] = {"",
                                      "00",
                                      "01",
                                      "+1",
                                      "-1",
                                      " 1",
                                      "1 ",
                                      "1.0",
                                      "1e3",
                                      "0x1",
                                      "\xd9\xa1",
                                      "1\n",
                                      "18446744073709551616",
                                      "99999999999999999999",
                                      "111111111111111111111"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        uint64_t v = 99;
        assert_int_not_equal(decimal_parse(bad[i], strlen(bad[i]), 0, UINT64_MAX, &v), OK);
        assert_int_equal(v, 99);
    }
    uint64_t v = 99;
    assert_err(decimal_parse("5", 1, 6, 9, &v), ERR_TOO_LARGE);
    assert_err(decimal_parse("10", 2, 6, 9, &v), ERR_TOO_LARGE);
    assert_err(decimal_parse("1\0", 2, 0, 9, &v), ERR_MALFORMED);
    assert_int_equal(v, 99);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(base64url_matches_rfc4648_vectors_without_padding),
        cmocka_unit_test(the_two_alphabets_differ_in_their_last_two_characters_only),
        cmocka_unit_test(every_byte_string_survives_a_round_trip),
        cmocka_unit_test(of_all_short_strings_exactly_the_canonical_ones_are_accepted),
        cmocka_unit_test(what_is_not_canonical_is_refused),
        cmocka_unit_test(the_capacity_is_never_passed),
        cmocka_unit_test(hex_is_lower_case),
        cmocka_unit_test(decimal_accepts_plain_numbers_within_bounds),
        cmocka_unit_test(decimal_refuses_signs_zeros_spaces_and_overflow),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
