#include "unit.h"

#include <pthread.h>
#include <stdbool.h>
#include <sys/resource.h>
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

static void keep_two(uint64_t ns[2])
{
    pthread_t threads[2];
    for (unsigned t = 0; t < 2; t++)
        assert_int_equal(pthread_create(&threads[t], NULL, keep, &ns[t]), 0);
    for (unsigned t = 0; t < 2; t++)
        pthread_join(threads[t], NULL);
}

TEST(one_piece_of_work_keeps_one_thread)
{
    uint64_t shortest = UINT64_MAX;
    for (unsigned i = 0; i < TRIES; i++) {
        uint64_t ns[2] = {0, 0};
        urgent_begin();
        keep_two(ns);
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
        uint64_t ns[2] = {0, 0};
        urgent_begin();
        urgent_begin();
        keep_two(ns);
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

#define WORK_NS (60 * NS_PER_MS)
#define SLEEPS_MAX 60 /* 10 ms to begin with and 20 earned, half a millisecond each at least */

struct worked {
    uint64_t kept_ns;
    long sleeps;
};

/* Calls as often as it can, which is all the work it does. By its own clocks: however little of a
 * core it gets, it earns the same. */
static void *work(void *out)
{
    struct worked *w = out;
    struct timespec t = {0};
    struct rusage usage = {0};
    while ((uint64_t)t.tv_nsec < WORK_NS && t.tv_sec == 0 && w->sleeps <= SLEEPS_MAX) {
        uint64_t ns = kept_ns();
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
        getrusage(RUSAGE_THREAD, &usage);
        w->kept_ns += usage.ru_nvcsw > w->sleeps ? ns : 0; /* it slept, and was not interrupted */
        w->sleeps = usage.ru_nvcsw;
    }
    return NULL;
}

TEST(a_thread_sleeps_for_what_it_has_earned_and_no_more)
{
    pthread_t thread;
    struct worked worked = {0};
    urgent_begin();
    assert_int_equal(pthread_create(&thread, NULL, work, &worked), 0);
    pthread_join(thread, NULL);
    urgent_end();
    assert_true(worked.sleeps <= SLEEPS_MAX);
    assert_true(worked.kept_ns >= 25 * NS_PER_MS);
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
        cmocka_unit_test(a_thread_sleeps_for_what_it_has_earned_and_no_more),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
