#include "unit.h"

#include <malloc.h>
#include <pthread.h>
#include <time.h>

#include "base/clock.h"
#include "net/limiter.h"

#define HOUR (3600 * NS_PER_SECOND)

static struct limiter *opened(size_t places)
{
    struct limiter *limiter = NULL;
    assert_ok(limiter_open(places, &limiter));
    return limiter;
}

static enum err take(struct limiter *limiter, const struct limit *limit, const char *key)
{
    unsigned retry_after = 0;
    return limiter_take(limiter, limit, key, strlen(key), &retry_after);
}

static void wait_ms(unsigned ms)
{
    nanosleep(&(struct timespec){.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000},
              NULL);
}

TEST(a_burst_passes_and_no_more)
{
    struct limiter *limiter = opened(64);
    for (uint32_t burst = 1; burst <= 20; burst++) {
        struct limit limit = {burst, HOUR, burst};
        for (uint32_t i = 0; i < burst; i++)
            assert_ok(take(limiter, &limit, "k"));
        for (uint32_t i = 0; i < 3; i++)
            assert_err(take(limiter, &limit, "k"), ERR_LIMITED);
    }
    limiter_close(limiter);
}

TEST(after_a_burst_one_passes_each_interval)
{
    struct limiter *limiter = opened(64);
    struct limit limit = {1, 50 * NS_PER_MS, 3};
    uint64_t begin = clock_mono_ns();
    unsigned passed = 0;
    while (clock_mono_ns() - begin < 500 * NS_PER_MS) {
        passed += take(limiter, &limit, "k") == OK;
        wait_ms(1);
    }
    uint64_t elapsed = clock_mono_ns() - begin;
    /* Never more than the rate allows; a busy machine may have asked too seldom for all of it. */
    assert_in_range(passed, 5, 3 + elapsed / limit.interval_ns + 1);
    limiter_close(limiter);
}

TEST(being_refused_costs_nothing)
{
    struct limiter *limiter = opened(64);
    struct limit limit = {1, 200 * NS_PER_MS, 1};
    assert_ok(take(limiter, &limit, "k"));
    uint64_t begin = clock_mono_ns();
    for (unsigned i = 0; i < 1000; i++)
        (void)!take(limiter, &limit, "k");
    while (take(limiter, &limit, "k") != OK)
        wait_ms(1);
    assert_in_range(clock_mono_ns() - begin, 0, 2 * NS_PER_SECOND);
    limiter_close(limiter);
}

TEST(retry_after_is_the_wait_rounded_up_to_seconds)
{
    static const struct {
        uint64_t interval_ns;
        uint32_t burst;
        unsigned seconds;
    } cases[] = {
        {NS_PER_SECOND, 1, 1},        {5 * NS_PER_SECOND, 1, 5}, {60 * NS_PER_SECOND, 1, 60},
        {60 * NS_PER_SECOND, 10, 60}, {HOUR, 1, 3600},           {1500 * NS_PER_MS, 4, 2},
    };
    struct limiter *limiter = opened(1024);
    for (uint32_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct limit limit = {i, cases[i].interval_ns, cases[i].burst};
        unsigned retry_after = 0;
        for (uint32_t n = 0; n < cases[i].burst; n++)
            assert_ok(take(limiter, &limit, "k"));
        assert_err(limiter_take(limiter, &limit, "k", 1, &retry_after), ERR_LIMITED);
        assert_int_equal(retry_after, cases[i].seconds);
    }
    limiter_close(limiter);
}

TEST(who_waits_as_told_passes)
{
    struct limiter *limiter = opened(64);
    struct limit limit = {1, 700 * NS_PER_MS, 1};
    unsigned retry_after = 0;
    assert_ok(take(limiter, &limit, "k"));
    assert_err(limiter_take(limiter, &limit, "k", 1, &retry_after), ERR_LIMITED);
    assert_int_equal(retry_after, 1);
    wait_ms(retry_after * 1000);
    assert_ok(take(limiter, &limit, "k"));
    limiter_close(limiter);
}

TEST(keys_and_scopes_are_apart)
{
    struct limiter *limiter = opened(1024);
    struct limit a = {1, HOUR, 1}, b = {2, HOUR, 1};
    assert_ok(take(limiter, &a, "k"));
    assert_ok(take(limiter, &a, "l"));
    assert_ok(take(limiter, &a, ""));
    assert_ok(take(limiter, &b, "k"));
    assert_err(take(limiter, &a, "k"), ERR_LIMITED);
    assert_err(take(limiter, &a, "l"), ERR_LIMITED);
    assert_err(take(limiter, &a, ""), ERR_LIMITED);
    assert_err(take(limiter, &b, "k"), ERR_LIMITED);
    limiter_close(limiter);
}

TEST(no_interval_is_no_limit)
{
    struct limiter *limiter = opened(64);
    struct limit limit = {1, 0, 1};
    for (unsigned i = 0; i < 1000; i++)
        assert_ok(take(limiter, &limit, "k"));
    limiter_close(limiter);
}

TEST(the_table_is_a_power_of_two_and_its_size_is_told)
{
    for (size_t places = 0; places < 70; places++) {
        struct limiter *limiter = opened(places);
        size_t real = limiter_bytes(limiter) / 24;
        assert_int_equal(limiter_bytes(limiter) % 24, 0);
        assert_true(real >= places && (real & (real - 1)) == 0);
        assert_true(real <= 8 || real / 2 < places);
        limiter_close(limiter);
    }
    limiter_close(NULL);
}

static size_t heap_bytes(void)
{
    struct mallinfo2 info = mallinfo2();
    return info.uordblks + info.hblkhd;
}

/* The keys of an attacker meet a table of 1,024 places, in which one victim is being refused: some
 * are closer to idle than the victim, some are themselves refused for longer. */
TEST(a_million_keys_evict_nobody_who_is_refused_and_take_no_memory)
{
    struct limiter *limiter = opened(1024);
    struct limit limit = {1, HOUR, 5};
    const struct limit floods[] = {{1, HOUR, 5}, {2, 6 * HOUR, 1}};
    size_t bytes = limiter_bytes(limiter);
    for (unsigned i = 0; i < 5; i++)
        assert_ok(take(limiter, &limit, "victim"));
    assert_err(take(limiter, &limit, "victim"), ERR_LIMITED);
    size_t before = heap_bytes();
    for (uint32_t i = 0; i < 1000000; i++) {
        unsigned retry_after = 0;
        (void)!limiter_take(limiter, &floods[i % 2], &i, sizeof i, &retry_after);
        if (i % 100000 == 0)
            assert_err(take(limiter, &limit, "victim"), ERR_LIMITED);
    }
    assert_err(take(limiter, &limit, "victim"), ERR_LIMITED);
    assert_in_range(heap_bytes(), 0, before + 64 * 1024);
    assert_int_equal(limiter_bytes(limiter), bytes);
    limiter_close(limiter);
}

/* Limits of very different tolerance share the table: whoever is refused by the strict one stays,
 * and what the lenient one has merely counted gives way. */
TEST(limits_of_all_measures_keep_their_refused_and_no_others)
{
    struct limiter *limiter = opened(1024);
    struct limit strict = {1, HOUR, 1}, lenient = {2, 24 * HOUR, 100};
    assert_ok(take(limiter, &strict, "victim"));
    for (uint32_t i = 0; i < 100000; i++) {
        unsigned retry_after = 0;
        assert_ok(limiter_take(limiter, &lenient, &i, sizeof i, &retry_after));
    }
    assert_err(take(limiter, &strict, "victim"), ERR_LIMITED);
    assert_ok(take(limiter, &strict, "newcomer"));
    assert_err(take(limiter, &strict, "newcomer"), ERR_LIMITED);
    limiter_close(limiter);
}

/* Each of the attacker's keys is itself refused at once: then there is no place left to give, and
 * others pass uncounted instead of being locked out. */
TEST(when_every_place_is_refused_others_pass)
{
    struct limiter *limiter = opened(64);
    struct limit one = {1, HOUR, 1};
    for (uint32_t i = 0; i < 100000; i++) {
        unsigned retry_after = 0;
        (void)!limiter_take(limiter, &one, &i, sizeof i, &retry_after);
    }
    for (unsigned i = 0; i < 10; i++)
        assert_ok(take(limiter, &one, "newcomer"));
    limiter_close(limiter);
}

TEST(idle_places_are_given_away_first)
{
    struct limiter *limiter = opened(8); /* one set */
    struct limit quick = {1, NS_PER_MS, 1}, slow = {2, HOUR, 3};
    assert_ok(take(limiter, &slow, "counted"));
    assert_ok(take(limiter, &slow, "counted"));
    for (uint32_t i = 0; i < 7; i++) {
        unsigned retry_after = 0;
        assert_ok(limiter_take(limiter, &quick, &i, sizeof i, &retry_after));
    }
    wait_ms(5);
    for (uint32_t i = 100; i < 107; i++) {
        unsigned retry_after = 0;
        assert_ok(limiter_take(limiter, &slow, &i, sizeof i, &retry_after));
    }
    assert_ok(take(limiter, &slow, "counted")); /* the third of three: still remembered */
    assert_err(take(limiter, &slow, "counted"), ERR_LIMITED);
    limiter_close(limiter);
}

struct taker {
    pthread_barrier_t *start;
    struct limiter *limiter;
    const struct limit *limit;
    unsigned passed;
};

static void *take_many(void *arg)
{
    struct taker *taker = arg;
    pthread_barrier_wait(taker->start);
    for (unsigned i = 0; i < 5000; i++)
        taker->passed += take(taker->limiter, taker->limit, "shared") == OK;
    return NULL;
}

TEST(threads_together_get_one_burst)
{
    struct limiter *limiter = opened(64);
    struct limit limit = {1, 60 * NS_PER_SECOND, 10000};
    struct taker takers[4];
    pthread_t threads[4];
    pthread_barrier_t start;
    unsigned passed = 0;
    pthread_barrier_init(&start, NULL, ARRAY_LEN(threads));
    for (size_t i = 0; i < ARRAY_LEN(threads); i++) {
        takers[i] = (struct taker){&start, limiter, &limit, 0};
        assert_int_equal(pthread_create(&threads[i], NULL, take_many, &takers[i]), 0);
    }
    for (size_t i = 0; i < ARRAY_LEN(threads); i++) {
        pthread_join(threads[i], NULL);
        passed += takers[i].passed;
    }
    assert_int_equal(passed, limit.burst);
    pthread_barrier_destroy(&start);
    limiter_close(limiter);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_burst_passes_and_no_more),
        cmocka_unit_test(after_a_burst_one_passes_each_interval),
        cmocka_unit_test(being_refused_costs_nothing),
        cmocka_unit_test(retry_after_is_the_wait_rounded_up_to_seconds),
        cmocka_unit_test(who_waits_as_told_passes),
        cmocka_unit_test(keys_and_scopes_are_apart),
        cmocka_unit_test(no_interval_is_no_limit),
        cmocka_unit_test(the_table_is_a_power_of_two_and_its_size_is_told),
        cmocka_unit_test(a_million_keys_evict_nobody_who_is_refused_and_take_no_memory),
        cmocka_unit_test(limits_of_all_measures_keep_their_refused_and_no_others),
        cmocka_unit_test(when_every_place_is_refused_others_pass),
        cmocka_unit_test(idle_places_are_given_away_first),
        cmocka_unit_test(threads_together_get_one_burst),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
