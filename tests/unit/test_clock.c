#include "unit.h"

#include <time.h>

#include "base/clock.h"

TEST(wall_time_agrees_with_the_system)
{
    int64_t ms = clock_unix_ms();
    time_t s = time(NULL);
    assert_in_range(ms / 1000, (uintmax_t)s - 1, (uintmax_t)s + 1);
}

TEST(monotonic_time_never_goes_back)
{
    uint64_t last = clock_mono_ns();
    for (unsigned i = 0; i < 100000; i++) {
        uint64_t now = clock_mono_ns();
        assert_true(now >= last);
        last = now;
    }
}

TEST(monotonic_time_is_in_nanoseconds)
{
    uint64_t begin = clock_mono_ns();
    nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
    assert_in_range(clock_mono_ns() - begin, 20 * NS_PER_MS, 5 * NS_PER_SECOND);
}

TEST(rfc3339_is_utc_with_milliseconds_and_stays_in_four_digit_years)
{
    static const struct {
        int64_t ms;
        const char *text;
    } cases[] = {
        {0, "1970-01-01T00:00:00.000Z"},
        {1, "1970-01-01T00:00:00.001Z"},
        {999, "1970-01-01T00:00:00.999Z"},
        {INT64_C(951782399999), "2000-02-28T23:59:59.999Z"},
        {INT64_C(951782400000), "2000-02-29T00:00:00.000Z"},
        {INT64_C(1769862896789), "2026-01-31T12:34:56.789Z"},
        {INT64_C(253402300799999), "9999-12-31T23:59:59.999Z"},
        {INT64_C(253402300800000), "9999-12-31T23:59:59.999Z"},
        {INT64_MAX, "9999-12-31T23:59:59.999Z"},
        {-1, "1970-01-01T00:00:00.000Z"},
        {INT64_MIN, "1970-01-01T00:00:00.000Z"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char out[CLOCK_RFC3339_LEN + 1];
        clock_format_rfc3339(cases[i].ms, out);
        assert_string_equal(out, cases[i].text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wall_time_agrees_with_the_system),
        cmocka_unit_test(monotonic_time_never_goes_back),
        cmocka_unit_test(monotonic_time_is_in_nanoseconds),
        cmocka_unit_test(rfc3339_is_utc_with_milliseconds_and_stays_in_four_digit_years),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
