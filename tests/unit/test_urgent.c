#include "unit.h"

#include <pthread.h>
#include <stdbool.h>
#include <time.h>

#include "base/clock.h"
#include "base/urgent.h"

#define SLEEP_MAX_NS (10 * NS_PER_MS)
#define TRIES 50

/* How long this thread was kept. */
static uint64_t kept_ns(void)
{
    uint64_t begin = clock_mono_ns();
    urgent_let_pass();
    return clock_mono_ns() - begin;
}

/* In a thread of its own: each begins with all of its allowance. */
static void *keep(void *out)
{
    *(uint64_t *)out = kept_ns();
    return NULL;
}

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static void nap(long ns)
{
    nanosleep(&(struct timespec){.tv_nsec = ns}, NULL);
}

TEST(nobody_is_kept_for_nothing)
{
    uint64_t shortest = UINT64_MAX;
    for (unsigned i = 0; i < TRIES; i++)
        shortest = least(shortest, kept_ns());
    assert_true(shortest < NS_PER_MS);
}

TEST(what_never_ends_is_not_waited_for_beyond_the_allowance)
{
    pthread_t thread;
    uint64_t ns = 0;
    urgent_begin();
    assert_int_equal(pthread_create(&thread, NULL, keep, &ns), 0);
    pthread_join(thread, NULL);
    urgent_end();
    assert_true(ns >= SLEEP_MAX_NS);
}

TEST(the_end_of_it_wakes)
{
    uint64_t shortest = UINT64_MAX;
    bool slept = false;
    for (unsigned i = 0; i < TRIES; i++) {
        pthread_t thread;
        uint64_t ns = 0;
        urgent_begin();
        assert_int_equal(pthread_create(&thread, NULL, keep, &ns), 0);
        nap(2 * NS_PER_MS);
        urgent_end();
        pthread_join(thread, NULL);
        shortest = least(shortest, ns);
        slept = slept || ns > NS_PER_MS / 4;
    }
    assert_true(slept);
    assert_true(shortest < SLEEP_MAX_NS);
}

TEST(one_piece_of_work_keeps_one_thread)
{
    uint64_t shortest = UINT64_MAX;
    for (unsigned i = 0; i < TRIES; i++) {
        pthread_t threads[2];
        uint64_t ns[2] = {0, 0};
        urgent_begin();
        for (unsigned t = 0; t < 2; t++)
            assert_int_equal(pthread_create(&threads[t], NULL, keep, &ns[t]), 0);
        for (unsigned t = 0; t < 2; t++)
            pthread_join(threads[t], NULL);
        urgent_end();
        assert_true(ns[0] >= SLEEP_MAX_NS || ns[1] >= SLEEP_MAX_NS);
        shortest = least(shortest, least(ns[0], ns[1]));
    }
    assert_true(shortest < SLEEP_MAX_NS);
}

TEST(two_pieces_keep_two)
{
    bool both = false;
    for (unsigned i = 0; i < TRIES && !both; i++) {
        pthread_t threads[2];
        uint64_t ns[2] = {0, 0};
        urgent_begin();
        urgent_begin();
        for (unsigned t = 0; t < 2; t++)
            assert_int_equal(pthread_create(&threads[t], NULL, keep, &ns[t]), 0);
        for (unsigned t = 0; t < 2; t++)
            pthread_join(threads[t], NULL);
        urgent_end();
        urgent_end();
        both = ns[0] >= SLEEP_MAX_NS && ns[1] >= SLEEP_MAX_NS;
    }
    assert_true(both);
}

static uint64_t kept_of_two_cores_ns(unsigned long_works)
{
    uint64_t ns = 0;
    pthread_t thread;
    urgent_set_cores(2);
    for (unsigned i = 0; i < long_works; i++)
        urgent_long_begin();
    urgent_begin();
    assert_int_equal(pthread_create(&thread, NULL, keep, &ns), 0);
    pthread_join(thread, NULL);
    urgent_end();
    for (unsigned i = 0; i < long_works; i++)
        urgent_long_end();
    urgent_set_cores(0);
    return ns;
}

TEST(nobody_sleeps_while_there_are_cores_for_all)
{
    uint64_t shortest = UINT64_MAX;
    for (unsigned i = 0; i < TRIES; i++)
        shortest = least(shortest, kept_of_two_cores_ns(1));
    assert_true(shortest < SLEEP_MAX_NS);
    assert_true(kept_of_two_cores_ns(2) >= SLEEP_MAX_NS);
}

/* Calls as often as it can, which is all the work it does. */
static void *call_for_200_ms(void *out)
{
    uint64_t begin = clock_mono_ns(), kept = 0, now = begin;
    while (now - begin < 200 * NS_PER_MS) {
        uint64_t ns = kept_ns();
        kept += ns >= NS_PER_MS / 2 ? ns : 0;
        now = clock_mono_ns();
    }
    *(uint64_t *)out = kept * 100 / (now - begin);
    return NULL;
}

/* Beyond what it begins with, which is 5 % of that time, it sleeps for what it has earned. */
TEST(a_thread_is_kept_for_a_part_of_its_time_only)
{
    uint64_t lowest = 100, highest = 0;
    urgent_begin();
    for (unsigned i = 0; i < TRIES && (lowest >= 50 || highest < 15); i++) {
        pthread_t thread;
        uint64_t percent = 0;
        assert_int_equal(pthread_create(&thread, NULL, call_for_200_ms, &percent), 0);
        pthread_join(thread, NULL);
        lowest = least(lowest, percent);
        highest = percent > highest ? percent : highest;
    }
    urgent_end();
    assert_true(lowest < 50);
    assert_true(highest >= 15);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nobody_is_kept_for_nothing),
        cmocka_unit_test(what_never_ends_is_not_waited_for_beyond_the_allowance),
        cmocka_unit_test(the_end_of_it_wakes),
        cmocka_unit_test(one_piece_of_work_keeps_one_thread),
        cmocka_unit_test(two_pieces_keep_two),
        cmocka_unit_test(nobody_sleeps_while_there_are_cores_for_all),
        cmocka_unit_test(a_thread_is_kept_for_a_part_of_its_time_only),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
