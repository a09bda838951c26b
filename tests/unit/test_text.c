#include "unit.h"

#include "base/text.h"

TEST(a_utf8_copy_is_always_valid_and_never_cut_inside_a_character)
{
    char out[8];
    text_copy_utf8(out, sizeof out, "caf\xe9", 4);
    assert_string_equal(out, "caf?");
    text_copy_utf8(out, sizeof out, "abcdef\xc3\xa9", 8);
    assert_string_equal(out, "abcd\xe2\x80\xa6");
    text_copy_utf8(out, sizeof out,
                   "abc\xc3\xa9"
                   "fgh",
                   8);
    assert_string_equal(out, "abc\xe2\x80\xa6");
    text_copy_utf8(out, 3, "abc", 3);
    assert_string_equal(out, "ab");
    text_copy_utf8(out, 4, "abcd", 4);
    assert_string_equal(out, "\xe2\x80\xa6");
    text_copy_utf8(out, sizeof out, "abcdefg", 7);
    assert_string_equal(out, "abcdefg");
    text_copy_utf8(out, sizeof out, "abcde\xc3\xa9", 7);
    assert_string_equal(out, "abcde\xc3\xa9");
}

TEST(what_fits_is_kept_and_terminated)
{
    char buf[32];
    struct text t = text_on(buf, sizeof buf);
    assert_string_equal(buf, "");
    text_put(&t, "ab");
    text_put_char(&t, 'c');
    text_put_n(&t, "defg", 1);
    text_put_f(&t, "-%d-", 7);
    text_put_u64(&t, UINT64_MAX);
    assert_true(text_ok(&t));
    assert_string_equal(buf, "abcd-7-18446744073709551615");
    assert_int_equal(t.len, strlen(buf));
}

TEST(signed_numbers_reach_both_ends)
{
    static const struct {
        int64_t v;
        const char *text;
    } cases[] = {{0, "0"},
                 {-1, "-1"},
                 {INT64_MAX, "9223372036854775807"},
                 {INT64_MIN, "-9223372036854775808"}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char buf[32];
        struct text t = text_on(buf, sizeof buf);
        text_put_i64(&t, cases[i].v);
        assert_string_equal(buf, cases[i].text);
    }
}

/* Every operation, at every size that is too small: never a byte past the end, always a NUL. */
TEST(what_does_not_fit_is_dropped_remembered_and_never_written)
{
    for (size_t cap = 1; cap < 12; cap++)
        for (unsigned op = 0; op < 5; op++) {
            char buf[16];
            memset(buf, '#', sizeof buf);
            struct text t = text_on(buf, cap);
            for (size_t i = 0; i + 1 < cap; i++)
                text_put_char(&t, 'x');
            assert_true(text_ok(&t));
            switch (op) {
            case 0:
                text_put_char(&t, 'y');
                break;
            case 1:
                text_put(&t, "yy");
                break;
            case 2:
                text_put_f(&t, "%s", "y");
                break;
            case 3:
                text_put_u64(&t, 1);
                break;
            default:
                text_put_i64(&t, -1);
            }
            assert_false(text_ok(&t));
            assert_int_equal(strlen(buf), cap - 1);
            assert_int_equal(strspn(buf, "x"), cap - 1);
            assert_int_equal(buf[cap], '#');
        }
}

TEST(full_is_remembered_when_something_smaller_fits_later)
{
    char buf[4];
    struct text t = text_on(buf, sizeof buf);
    text_put(&t, "long");
    text_put(&t, "ok");
    assert_false(text_ok(&t));
    assert_string_equal(buf, "ok");
}

TEST(a_copy_is_cut_to_its_capacity)
{
    char to[5];
    text_copy(to, sizeof to, "abcdefg", 7);
    assert_string_equal(to, "abcd");
    text_copy(to, sizeof to, "abcd", 4);
    assert_string_equal(to, "abcd");
    text_copy(to, sizeof to, "abcde", 5);
    assert_string_equal(to, "abcd");
    text_copy(to, sizeof to, "", 0);
    assert_string_equal(to, "");
    text_copy(to, 1, "abc", 3);
    assert_string_equal(to, "");
}

/* ---- UTF-8 ---- */

static size_t encode(uint32_t c, char out[4])
{
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    size_t n = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    for (size_t i = n - 1; i > 0; i--, c >>= 6)
        out[i] = (char)(0x80 | (c & 0x3f));
    static const uint8_t lead[] = {0, 0, 0xc0, 0xe0, 0xf0};
    out[0] = (char)(lead[n] | c);
    return n;
}

TEST(utf8_accepts_every_code_point_but_surrogates)
{
    for (uint32_t c = 0; c <= 0x10ffff; c++) {
        char s[4];
        size_t count = 0;
        size_t n = encode(c, s);
        bool surrogate = c >= 0xd800 && c <= 0xdfff;
        assert_int_equal(utf8_valid(s, n, &count), !surrogate);
        assert_int_equal(count, surrogate ? 0 : 1);
        if (n > 1)
            assert_false(utf8_valid(s, n - 1, NULL));
    }
}

/* Of all four-byte strings that begin with a lead byte of a longer sequence, those accepted whole
 * are as many as there are code points of that length. */
TEST(utf8_accepts_nothing_else)
{
    size_t two = 0, three = 0, four = 0;
    for (uint32_t v = 0; v < 1u << 16; v++) {
        const char s[2] = {(char)(v >> 8), (char)v};
        two += (v >> 8) >= 0x80 && utf8_valid(s, 2, NULL);
    }
    for (uint32_t v = 0; v < 1u << 24; v++) {
        const char s[3] = {(char)(v >> 16), (char)(v >> 8), (char)v};
        three += (v >> 16) >= 0xe0 && utf8_valid(s, 3, NULL);
    }
    for (uint32_t v = 0xf0u << 16; v < 1u << 24; v++) {
        const char s[4] = {(char)(v >> 16), (char)(v >> 8), (char)v, (char)0x80};
        four += utf8_valid(s, 4, NULL);
    }
    assert_int_equal(two, 0x800 - 0x80);
    assert_int_equal(three, 0x10000 - 0x800 - 0x800);
    assert_int_equal(four, (0x110000 - 0x10000) / 64);
}

TEST(utf8_counts_code_points_of_mixed_text)
{
    size_t n = 0;
    assert_true(utf8_valid("a\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80z", 11, &n));
    assert_int_equal(n, 5);
    assert_true(utf8_valid("a\0b", 3, &n));
    assert_int_equal(n, 3);
    assert_true(utf8_valid("", 0, &n));
    assert_int_equal(n, 0);
}

TEST(utf8_leaves_the_count_alone_when_it_refuses)
{
    size_t n = 77;
    assert_false(utf8_valid("abc\xff", 4, &n));
    assert_int_equal(n, 77);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_utf8_copy_is_always_valid_and_never_cut_inside_a_character),
        cmocka_unit_test(what_fits_is_kept_and_terminated),
        cmocka_unit_test(signed_numbers_reach_both_ends),
        cmocka_unit_test(what_does_not_fit_is_dropped_remembered_and_never_written),
        cmocka_unit_test(full_is_remembered_when_something_smaller_fits_later),
        cmocka_unit_test(a_copy_is_cut_to_its_capacity),
        cmocka_unit_test(utf8_accepts_every_code_point_but_surrogates),
        cmocka_unit_test(utf8_accepts_nothing_else),
        cmocka_unit_test(utf8_counts_code_points_of_mixed_text),
        cmocka_unit_test(utf8_leaves_the_count_alone_when_it_refuses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
