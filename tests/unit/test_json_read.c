#include "unit.h"

#include "base/json.h"

static json_t *read_ok(const char *in)
{
    json_t *j = NULL;
    const char *why = NULL;
    assert_ok(json_read(in, strlen(in), &j, &why));
    assert_true(json_is_object(j));
    return j;
}

static void refused(const char *in, size_t len)
{
    json_t *j = (json_t *)1;
    const char *why = NULL;
    if (json_read(in, len, &j, &why) == OK)
        fail_msg("accepted: %s", in);
    assert_non_null(why);
    assert_ptr_equal(j, (json_t *)1);
}

TEST(objects_are_read)
{
    json_t *j = read_ok(" {\"a\": \"x\", \"b\": [1, {\"c\": null}], \"d\": 1.5}\r\n\t ");
    assert_int_equal(json_object_size(j), 3);
    assert_string_equal(json_string_value(json_object_get(j, "a")), "x");
    json_decref(j);
    json_decref(read_ok("{}"));
}

TEST(strings_keep_every_character)
{
    json_t *j = read_ok("{\"a\": \"\\u00e9\\ud83d\\ude00\\\"\\\\\\/\\b\\f\\n\\r\\t\xc3\xa9\x7f\"}");
    assert_string_equal(json_string_value(json_object_get(j, "a")),
                        "\xc3\xa9\xf0\x9f\x98\x80\"\\/\b\f\n\r\t\xc3\xa9\x7f");
    json_decref(j);
}

TEST(only_objects_are_read)
{
    static const char *const bad[] = {"", " ", "null", "true", "1", "\"a\"", "[]", "[{}]"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        refused(bad[i], strlen(bad[i]));
}

TEST(a_member_is_named_once_however_it_is_spelt)
{
    static const char *const bad[] = {
        "{\"a\":1,\"a\":1}",         "{\"a\":1,\"b\":2,\"a\":3}",   "{\"a\":1,\"\\u0061\":2}",
        "{\"x\":{\"a\":1,\"a\":2}}", "{\"x\":[{\"a\":1,\"a\":2}]}", "{\"\":1,\"\":2}",
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        refused(bad[i], strlen(bad[i]));
    json_decref(read_ok("{\"a\":{\"a\":1},\"A\":2}"));
}

TEST(nothing_follows_the_object_and_nothing_precedes_it)
{
    static const char *const bad[] = {
        "{}{}", "{} x", "{},", "{}]", "\xef\xbb\xbf{}", "x{}", "{}//", "/**/{}", ")]}'\n{}",
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        refused(bad[i], strlen(bad[i]));
    refused("{}\0", 3);
    refused("\0{}", 3);
}

TEST(a_nul_is_refused_in_every_spelling)
{
    refused("{\"a\":\"x\\u0000y\"}", strlen("{\"a\":\"x\\u0000y\"}"));
    refused("{\"a\\u0000\":1}", strlen("{\"a\\u0000\":1}"));
    refused("{\"a\":\"x\0y\"}", 11);
    refused("{\"a\":1\0}", 8);
    refused("{\"a\":[true\0,-0\0]}", 17);
    refused("{\0}", 3);
}

TEST(lone_surrogates_and_invalid_utf8_are_refused)
{
    static const char *const inner[] = {"\\ud800",        "\\udc00",
                                        "\\ud83dx",       "\\ud83d\\n",
                                        "\\ude00\\ud83d", "\\ud83d\\u0041",
                                        "\x80",           "\xc0\x80",
                                        "\xff",           "\xc3",
                                        "\xed\xa0\x80",   "\xf4\x90\x80\x80",
                                        "\xe2\x82",       "\xf8\x88\x80\x80\x80"};
    for (size_t i = 0; i < ARRAY_LEN(inner); i++) {
        char in[64];
        struct text t = text_on(in, sizeof in);
        text_put_f(&t, "{\"a\":\"%s\"}", inner[i]);
        refused(in, t.len);
        t = text_on(in, sizeof in);
        text_put_f(&t, "{\"%s\":1}", inner[i]);
        refused(in, t.len);
    }
}

TEST(json_is_not_javascript)
{
    static const char *const bad[] = {
        "{a:1}",
        "{'a':1}",
        "{\"a\":1,}",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":NaN}",
        "{\"a\":01}",
        "{\"a\":+1}",
        "{\"a\":.5}",
        "{\"a\":1.}",
        "{\"a\":0x1}",
        "{\"a\":1e}",
        "{\"a\":1e400}",
        "{\"a\":True}",
        "{\"a\":\"\t\"}",
        "{\"a\":\"\n\"}",
        "{\"a\":\"\\x41\"}",
        "{\"a\":\"\\u12\"}",
        "{\"a\":\"\\a\"}",
        "{\"a\":\"",
        "{",
        "}",
        "{\"a\":[1,]}",
        "{\"a\":[1 2]}",
        "{\"a\":-}",
        "{\"a\":Infinity}",
        "{\"a\":-Infinity}",
        "{\"a\":99999999999999999999}",
        "{\"a\":undefined}",
        "{\"a\":\"\\ud83d\\u\"}",
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        refused(bad[i], strlen(bad[i]));
}

/* n levels, made of the characters of open in turn. */
static size_t nest(char *out, unsigned n, bool arrays)
{
    size_t len = 0;
    for (unsigned i = 0; i < n; i++) {
        const char *open = i == 0 || !arrays ? "{\"a\":" : "[";
        memcpy(out + len, open, strlen(open));
        len += strlen(open);
    }
    out[len++] = '1';
    for (unsigned i = n; i-- > 0;)
        out[len++] = i == 0 || !arrays ? '}' : ']';
    out[len] = '\0';
    return len;
}

TEST(depth_is_bounded_to_the_level)
{
    char in[256];
    for (int arrays = 0; arrays < 2; arrays++) {
        nest(in, JSON_MAX_DEPTH, arrays);
        json_decref(read_ok(in));
        refused(in, nest(in, JSON_MAX_DEPTH + 1, arrays));
    }
}

TEST(a_million_levels_are_refused_without_recursion)
{
    const size_t n = 1000000;
    char *in = malloc(n + 5);
    assert_non_null(in);
    memcpy(in, "{\"a\":", 5);
    memset(in + 5, '[', n);
    refused(in, n + 5);
    free(in);
}

TEST(brackets_inside_strings_do_not_count)
{
    json_decref(read_ok("{\"a\":\"[[[[[[[[[[{{{{{{{{{{\"}"));
    json_decref(read_ok("{\"a\":\"\\\"[[[[[[[[[[{{{{\\\\\"}"));
    json_decref(read_ok("{\"[[[[[[[[[[[[\":\"]]]]]\",\"b\":[[[[[[[]]]]]]]}"));
}

TEST(every_truncation_of_an_object_is_refused)
{
    static const char whole[] = "{\"a\":[1,true,null,\"x\\u00e9\"],\"b\":{\"c\":-1.5e3}}";
    json_decref(read_ok(whole));
    for (size_t len = 0; len + 1 < sizeof whole; len++)
        refused(whole, len);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(objects_are_read),
        cmocka_unit_test(strings_keep_every_character),
        cmocka_unit_test(only_objects_are_read),
        cmocka_unit_test(a_member_is_named_once_however_it_is_spelt),
        cmocka_unit_test(nothing_follows_the_object_and_nothing_precedes_it),
        cmocka_unit_test(a_nul_is_refused_in_every_spelling),
        cmocka_unit_test(lone_surrogates_and_invalid_utf8_are_refused),
        cmocka_unit_test(json_is_not_javascript),
        cmocka_unit_test(depth_is_bounded_to_the_level),
        cmocka_unit_test(a_million_levels_are_refused_without_recursion),
        cmocka_unit_test(brackets_inside_strings_do_not_count),
        cmocka_unit_test(every_truncation_of_an_object_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
