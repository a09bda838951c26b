#include "unit.h"

TEST(only_ok_is_zero_and_two_hundred)
{
    assert_int_equal(OK, 0);
    assert_int_equal(err_http_status(OK), 200);
    for (int e = OK + 1; e < ERR_KINDS; e++)
        assert_in_range(err_http_status((enum err)e), 400, 599);
}

TEST(each_kind_has_the_status_that_the_header_promises)
{
    static const struct {
        enum err e;
        unsigned status;
    } cases[] = {
        {ERR_MALFORMED, 400}, {ERR_INVALID, 422},  {ERR_DENIED, 401},      {ERR_FORBIDDEN, 403},
        {ERR_NOT_FOUND, 404}, {ERR_CONFLICT, 409}, {ERR_TOO_LARGE, 413},   {ERR_LOCKED, 423},
        {ERR_LIMITED, 429},   {ERR_BUSY, 503},     {ERR_UNAVAILABLE, 503}, {ERR_INTERNAL, 500},
    };
    assert_int_equal(ARRAY_LEN(cases), ERR_KINDS - 1);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        assert_int_equal(err_http_status(cases[i].e), cases[i].status);
}

TEST(names_are_distinct)
{
    for (int a = 0; a < ERR_KINDS; a++)
        for (int b = 0; b < a; b++)
            assert_string_not_equal(err_name((enum err)a), err_name((enum err)b));
}

TEST(a_value_that_is_no_kind_is_internal)
{
    assert_int_equal(err_http_status(ERR_KINDS), 500);
    assert_int_equal(err_http_status((enum err)99), 500);
    assert_non_null(err_name((enum err)99));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_ok_is_zero_and_two_hundred),
        cmocka_unit_test(each_kind_has_the_status_that_the_header_promises),
        cmocka_unit_test(names_are_distinct),
        cmocka_unit_test(a_value_that_is_no_kind_is_internal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
