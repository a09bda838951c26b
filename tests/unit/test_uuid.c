#include "unit.h"

#include "base/uuid.h"

static const char TEXT[] = "01234567-89ab-cdef-0123-456789abcdef";

TEST(parse_and_format_are_inverse)
{
    uint64_t seed = 2;
    for (unsigned i = 0; i < 1000; i++) {
        struct uuid u, back;
        char text[UUID_LEN + 1];
        fill_random(&seed, u.b, sizeof u.b);
        uuid_format(&u, text);
        assert_int_equal(strlen(text), UUID_LEN);
        assert_ok(uuid_parse(text, UUID_LEN, &back));
        assert_true(uuid_equal(&u, &back));
    }
}

TEST(hyphens_and_upper_case_are_optional)
{
    static const char *const forms[] = {"0123456789abcdef0123456789abcdef",
                                        "01234567-89AB-CDEF-0123-456789ABCDEF",
                                        "0123456789ABCDEF0123456789abcdef"};
    for (size_t i = 0; i < ARRAY_LEN(forms); i++) {
        struct uuid u;
        char text[UUID_LEN + 1];
        assert_ok(uuid_parse(forms[i], strlen(forms[i]), &u));
        uuid_format(&u, text);
        assert_string_equal(text, TEXT);
    }
}

TEST(every_other_form_is_refused_and_leaves_the_output_alone)
{
    static const char *const bad[] = {"",
                                      "0",
                                      "{01234567-89ab-cdef-0123-456789abcdef}",
                                      "urn:uuid:01234567-89ab-cdef-0123-456789abcdef",
                                      "01234567-89ab-cdef-0123-456789abcde",
                                      "01234567-89ab-cdef-0123-456789abcdeff",
                                      "0123456-789ab-cdef-0123-456789abcdef",
                                      "01234567089ab-cdef-0123-456789abcdef",
                                      "01234567-89ab-cdef-0123-456789abcdeg",
                                      "01234567-89ab-cdef-0123 456789abcdef",
                                      "0123456789abcdef0123456789abcde-"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct uuid u = {{7}};
        assert_err(uuid_parse(bad[i], strlen(bad[i]), &u), ERR_MALFORMED);
        assert_int_equal(u.b[0], 7);
    }
}

TEST(any_changed_character_changes_the_value_or_is_refused)
{
    struct uuid original;
    assert_ok(uuid_parse(TEXT, UUID_LEN, &original));
    for (size_t at = 0; at < UUID_LEN; at++)
        for (unsigned c = 0; c < 256; c++) {
            char text[UUID_LEN + 1];
            struct uuid u;
            memcpy(text, TEXT, sizeof text);
            text[at] = (char)c;
            bool same_digit = (c | 0x20) == (unsigned)(TEXT[at] | 0x20) && TEXT[at] >= 'a';
            if (c == (unsigned char)TEXT[at] || same_digit)
                continue;
            if (uuid_parse(text, UUID_LEN, &u) == OK)
                assert_false(uuid_equal(&u, &original));
        }
}

TEST(version_7_carries_its_time_and_sorts_by_it)
{
    struct uuid a, b;
    assert_ok(uuid_make_v7(INT64_C(0x0123456789ab), &a));
    assert_ok(uuid_make_v7(INT64_C(0x0123456789ac), &b));
    assert_memory_equal(a.b, "\x01\x23\x45\x67\x89\xab", 6);
    assert_int_equal(a.b[6] >> 4, 7);
    assert_int_equal(a.b[8] >> 6, 2);
    assert_true(memcmp(a.b, b.b, sizeof a.b) < 0);
}

TEST(version_4_has_its_marks_and_all_other_bits_vary)
{
    struct uuid u, ones = {{0}}, zeros = {{0}};
    for (unsigned i = 0; i < 200; i++) {
        assert_ok(uuid_make_v4(&u));
        assert_int_equal(u.b[6] >> 4, 4);
        assert_int_equal(u.b[8] >> 6, 2);
        for (unsigned k = 0; k < sizeof u.b; k++) {
            ones.b[k] |= u.b[k];
            zeros.b[k] |= (uint8_t)~u.b[k];
        }
    }
    for (unsigned k = 0; k < sizeof u.b; k++) {
        uint8_t fixed = k == 6 ? 0xf0 : k == 8 ? 0xc0 : 0;
        assert_int_equal((ones.b[k] & zeros.b[k]) | fixed, 0xff);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parse_and_format_are_inverse),
        cmocka_unit_test(hyphens_and_upper_case_are_optional),
        cmocka_unit_test(every_other_form_is_refused_and_leaves_the_output_alone),
        cmocka_unit_test(any_changed_character_changes_the_value_or_is_refused),
        cmocka_unit_test(version_7_carries_its_time_and_sorts_by_it),
        cmocka_unit_test(version_4_has_its_marks_and_all_other_bits_vary),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
