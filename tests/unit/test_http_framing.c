#include "unit.h"

#include "net/http_framing.h"

struct line {
    const char *name, *value;
};

static bool accepted(const struct line *lines, size_t n, bool http_1_1)
{
    struct http_framing f = {0};
    for (size_t i = 0; i < n && lines[i].name != NULL; i++)
        http_framing_line(&f, lines[i].name, strlen(lines[i].name), lines[i].value,
                          strlen(lines[i].value));
    return http_framing_ok(&f, http_1_1);
}

static bool accepted_line(const char *name, size_t name_len, const char *value, size_t value_len)
{
    struct http_framing f = {.hosts = 1};
    http_framing_line(&f, name, name_len, value, value_len);
    return http_framing_ok(&f, true);
}

TEST(ordinary_requests_pass)
{
    static const struct line requests[][4] = {
        {{"Host", "x"}},
        {{"host", "x"}, {"content-length", "0"}},
        {{"Host", "x:8080"}, {"Content-Length", "18"}, {"Accept", "*/*"}},
        {{"HOST", "[::1]:80"}, {"Transfer-Encoding", "Chunked"}},
        {{"Host", "x"}, {"Content-Type", "a/b"}, {"Authorization", "Bearer x"}},
        {{"Host", "x \t"}, {"Content-Length", "1 "}},
        {{"Host", "x"}, {"Transfer-Encoding", "chunked\t"}},
        {{"Host", "x"}, {"User-Agent", "caf\xc3\xa9\t1"}, {"X-Empty", ""}},
    };
    for (size_t i = 0; i < ARRAY_LEN(requests); i++)
        assert_true(accepted(requests[i], 4, true));
}

TEST(whatever_leaves_doubt_about_the_end_is_refused)
{
    static const struct line requests[][4] = {
        {{NULL, NULL}},
        {{"Accept", "*/*"}},
        {{"Host", ""}},
        {{"Host", "a,b"}},
        {{"Host", "a"}, {"Host", "a"}},
        {{"Host", "a"}, {"HOST", "b"}},
        {{"Host", "a b"}},
        {{"Host", "a/b"}},
        {{"Host", "a@b"}},
        {{"Host", "a\xc3\xa9"}},
        {{"Host", " "}},
        {{"Host", "a"}, {"Content-Type", "a/b"}, {"content-type", "a/b"}},
        {{"Host", "a"}, {"Authorization", "Bearer x"}, {"AUTHORIZATION", "Bearer y"}},
        {{"Host", "a"}, {"Content-Length", "1"}, {"Content-Length", "1"}},
        {{"Host", "a"}, {"Content-Length", "1"}, {"Transfer-Encoding", "chunked"}},
        {{"Host", "a"}, {"Transfer-Encoding", "chunked"}, {"Transfer-Encoding", "chunked"}},
        {{"Host", "a"}, {"Transfer-Encoding", "identity"}},
        {{"Host", "a"}, {"Transfer-Encoding", "gzip, chunked"}},
        {{"Host", "a"}, {"Transfer-Encoding", "xchunked"}},
        {{"Host", "a"}, {"Transfer-Encoding", ""}},
        {{"Host", "a"}, {"Content-Length", ""}},
        {{"Host", "a"}, {"Content-Length", "+1"}},
        {{"Host", "a"}, {"Content-Length", "-1"}},
        {{"Host", "a"}, {"Content-Length", "01"}},
        {{"Host", "a"}, {"Content-Length", "1 1"}},
        {{"Host", "a"}, {"Content-Length", "1,1"}},
        {{"Host", "a"}, {"Content-Length", "0x10"}},
        {{"Host", "a"}, {"Content-Length", "9223372036854775808"}},
        {{"Host", "a"}, {"Content-Length", "99999999999999999999999"}},
        {{"Host", "a"}, {"Content-Length ", "1"}},
        {{"Host", "a"}, {" Content-Length", "1"}},
        {{"Host", "a"}, {"", "x"}},
        {{"Host", "a"}, {"X Y", "x"}},
        {{"Host", "a"}, {"X:", "x"}},
        {{"Host", "a"}, {"X\xc3\xa9", "x"}},
    };
    for (size_t i = 0; i < ARRAY_LEN(requests); i++) {
        if (accepted(requests[i], 4, true))
            fail_msg("request %zu was accepted", i);
    }
}

TEST(before_1_1_a_host_is_optional_and_codings_do_not_exist)
{
    static const struct line none[] = {{NULL, NULL}};
    static const struct line host[] = {{"Host", "a"}};
    static const struct line coding[] = {{"Transfer-Encoding", "chunked"}};
    static const struct line hosts[] = {{"Host", "a"}, {"Host", "a"}};
    assert_true(accepted(none, 1, false));
    assert_true(accepted(host, 1, false));
    assert_false(accepted(coding, 1, false));
    assert_false(accepted(hosts, 2, false));
}

TEST(the_length_is_read)
{
    struct http_framing f = {0};
    http_framing_line(&f, "Content-Length", 14, "9223372036854775807", 19);
    assert_false(f.broken);
    assert_int_equal(f.length, INT64_MAX);
}

/* tchar of RFC 9110 section 5.6.2, and field-vchar, space and tab of section 5.5. */
TEST(exactly_token_characters_make_names_and_no_controls_make_values)
{
    static const char symbols[] = "!#$%&'*+-.^_`|~";
    for (unsigned c = 0; c < 256; c++) {
        char ch = (char)c;
        bool alnum = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        bool token = alnum || (c != 0 && strchr(symbols, (int)c) != NULL);
        bool value = c == '\t' || (c >= 0x20 && c != 0x7f);
        assert_int_equal(accepted_line(&ch, 1, "x", 1), token);
        assert_int_equal(accepted_line("X", 1, &ch, 1), value);
    }
}

TEST(what_is_broken_stays_broken)
{
    struct http_framing f = {.hosts = 1};
    http_framing_line(&f, "A B", 3, "x", 1);
    http_framing_line(&f, "Accept", 6, "x", 1);
    assert_false(http_framing_ok(&f, true));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ordinary_requests_pass),
        cmocka_unit_test(whatever_leaves_doubt_about_the_end_is_refused),
        cmocka_unit_test(before_1_1_a_host_is_optional_and_codings_do_not_exist),
        cmocka_unit_test(the_length_is_read),
        cmocka_unit_test(exactly_token_characters_make_names_and_no_controls_make_values),
        cmocka_unit_test(what_is_broken_stays_broken),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
