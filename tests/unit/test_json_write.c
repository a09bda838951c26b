#include "unit.h"

#include "base/json.h"

static void quoted(const char *in, size_t len, const char *expected)
{
    char buf[256];
    struct text t = text_on(buf, sizeof buf);
    json_quote(&t, in, len);
    assert_true(text_ok(&t));
    assert_string_equal(buf, expected);
}

TEST(members_are_separated_and_nested)
{
    char buf[256];
    struct text t = text_on(buf, sizeof buf);
    json_open(&t);
    json_str(&t, "s", "x");
    json_i64(&t, "i", -5);
    json_bool(&t, "t", true);
    json_bool(&t, "f", false);
    json_key(&t, "o");
    json_open(&t);
    json_close(&t);
    json_key(&t, "l");
    text_put_char(&t, '[');
    json_open(&t);
    json_close(&t);
    json_open(&t);
    json_i64(&t, "n", INT64_MIN);
    json_close(&t);
    text_put_char(&t, ']');
    json_str_n(&t, "last", "abc", 2);
    json_close(&t);
    assert_string_equal(buf, "{\"s\":\"x\",\"i\":-5,\"t\":true,\"f\":false,\"o\":{},\"l\":[{},"
                             "{\"n\":-9223372036854775808}],\"last\":\"ab\"}");
}

TEST(whatever_could_end_or_break_a_string_is_escaped)
{
    quoted("", 0, "\"\"");
    quoted("a\"b\\c/", 6, "\"a\\\"b\\\\c/\"");
    quoted("\n\r\t\b\f", 5, "\"\\n\\r\\t\\u0008\\u000c\"");
    quoted("\0\x1f\x7f", 3, "\"\\u0000\\u001f\\u007f\"");
    quoted("</script>", 9, "\"</script>\"");
}

TEST(valid_utf8_goes_out_as_it_is)
{
    quoted("caf\xc3\xa9 \xf0\x9f\x98\x80", 10, "\"caf\xc3\xa9 \xf0\x9f\x98\x80\"");
}

/* One beyond each end of the sets goes out as it is. */
TEST(what_ends_lines_or_commands_terminals_or_turns_text_is_escaped)
{
    quoted("a\xc2\x80\xc2\x85\xc2\x9b\xc2\x9f\xc2\xa0z", 12,
           "\"a\\u0080\\u0085\\u009b\\u009f\xc2\xa0z\"");
    quoted("\xe2\x80\xa7\xe2\x80\xa8\xe2\x80\xa9\xe2\x80\xaa\xe2\x80\xae\xe2\x80\xaf", 18,
           "\"\xe2\x80\xa7\\u2028\\u2029\\u202a\\u202e\xe2\x80\xaf\"");
    quoted("\xe2\x81\xa5\xe2\x81\xa6\xe2\x81\xa9\xe2\x81\xaa", 12,
           "\"\xe2\x81\xa5\\u2066\\u2069\xe2\x81\xaa\"");
    quoted("\xe2\x82\xac", 3, "\"\xe2\x82\xac\"");
    quoted("\xc2\x85\xff", 3, "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"");
}

TEST(bytes_that_are_not_utf8_are_replaced)
{
    quoted("a\xff\x62", 3,
           "\"a\xef\xbf\xbd"
           "b\"");
    quoted("\xc3", 1, "\"\xef\xbf\xbd\"");
    quoted("\xed\xa0\x80", 3, "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"");
}

/* The reader is the oracle: whatever is written comes back, byte for byte if it was UTF-8. */
TEST(what_is_written_is_what_is_read)
{
    uint64_t seed = 3;
    for (unsigned i = 0; i < 20000; i++) {
        char value[24], buf[256];
        size_t len = next_random(&seed) % sizeof value;
        fill_random(&seed, value, len);
        for (size_t k = 0; k < len; k++) {
            if (i % 2 == 0)
                value[k] = (char)(value[k] & 0x7f);
            if (value[k] == '\0') /* which the reader refuses */
                value[k] = 1;
        }
        struct text t = text_on(buf, sizeof buf);
        json_open(&t);
        json_str_n(&t, "v", value, len);
        json_close(&t);
        assert_true(text_ok(&t));
        json_t *j = NULL;
        const char *why = NULL;
        assert_ok(json_read(buf, t.len, &j, &why));
        const json_t *v = json_object_get(j, "v");
        if (utf8_valid(value, len, NULL)) {
            assert_int_equal(json_string_length(v), len);
            assert_memory_equal(json_string_value(v), value, len);
        }
        json_decref(j);
    }
}

TEST(every_single_byte_is_written_safely)
{
    for (unsigned c = 1; c < 256; c++) {
        char ch = (char)c, buf[64];
        struct text t = text_on(buf, sizeof buf);
        json_open(&t);
        json_str_n(&t, "v", &ch, 1);
        json_close(&t);
        for (size_t i = 0; i < t.len; i++)
            assert_true((unsigned char)buf[i] >= 0x20 && buf[i] != 0x7f);
        json_t *j = NULL;
        const char *why = NULL;
        assert_ok(json_read(buf, t.len, &j, &why));
        json_decref(j);
    }
}

TEST(a_value_that_does_not_fit_marks_the_text)
{
    for (size_t cap = 1; cap < sizeof "\"a\\u0001b\""; cap++) {
        char buf[16];
        struct text t = text_on(buf, cap);
        json_quote(&t, "a\x01\x62", 3);
        assert_false(text_ok(&t));
        assert_true(strlen(buf) < cap);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(members_are_separated_and_nested),
        cmocka_unit_test(whatever_could_end_or_break_a_string_is_escaped),
        cmocka_unit_test(valid_utf8_goes_out_as_it_is),
        cmocka_unit_test(what_ends_lines_or_commands_terminals_or_turns_text_is_escaped),
        cmocka_unit_test(bytes_that_are_not_utf8_are_replaced),
        cmocka_unit_test(what_is_written_is_what_is_read),
        cmocka_unit_test(every_single_byte_is_written_safely),
        cmocka_unit_test(a_value_that_does_not_fit_marks_the_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
