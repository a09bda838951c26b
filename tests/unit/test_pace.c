#include "unit.h"

#include <semaphore.h>
#include <time.h>

#include "base/clock.h"
#include "service/pace.h"

#define USUAL_NS (20 * NS_PER_MS)
#define DEAREST_NS (60 * NS_PER_MS)

static const struct argon2_params usual = {8192, 3, 1}, cheaper = {8192, 1, 1},
                                  dearer = {16384, 4, 1}, dearest = {32768, 5, 1};

static struct pace *pace;
static sem_t handed;
static struct lane_job *order[32];
static unsigned handed_count;

static void due(struct lane_job *job)
{
    order[handed_count++] = job;
    sem_post(&handed);
}

static int set_up(void **state)
{
    (void)state;
    handed_count = 0;
    sem_init(&handed, 0, 0);
    return pace_open(&usual, due, &pace) == OK ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    pace_close(pace);
    sem_destroy(&handed);
    return 0;
}

static void wait_for_one(void)
{
    struct timespec limit;
    clock_gettime(CLOCK_REALTIME, &limit);
    limit.tv_sec += 20;
    assert_int_equal(sem_timedwait(&handed, &limit), 0);
}

/* How long after its beginning a verification that fails now is answered; 0: at once. */
static uint64_t answered_after(uint64_t begin_ns, unsigned n)
{
    struct lane_job job = {0};
    if (!pace_hold(pace, &job, begin_ns, n))
        return 0;
    wait_for_one();
    uint64_t now = clock_mono_ns();
    assert_true(now >= job.start_by_ns);
    return now - begin_ns;
}

static void measured(void)
{
    struct argon2_params wanted;
    assert_true(pace_wants_measure(pace, &wanted));
    pace_record(pace, &usual, 1, USUAL_NS);
    pace_measured(pace, DEAREST_NS, USUAL_NS, USUAL_NS);
}

TEST(nobody_waits_while_all_hashes_are_alike)
{
    struct argon2_params wanted;
    pace_record(pace, &usual, 1, USUAL_NS);
    assert_int_equal(answered_after(clock_mono_ns(), 1), 0);
    pace_set(pace, NULL);
    assert_int_equal(answered_after(clock_mono_ns(), 1), 0);
    assert_false(pace_wants_measure(pace, &wanted));
}

TEST(everybody_waits_as_long_as_the_dearest_takes)
{
    pace_set(pace, &dearest);
    measured();
    assert_true(answered_after(clock_mono_ns(), 1) > DEAREST_NS);
    assert_true(answered_after(clock_mono_ns(), 2) > 2 * DEAREST_NS);
    pace_set(pace, NULL);
    assert_int_equal(answered_after(clock_mono_ns(), 1), 0);
}

TEST(the_machine_may_be_slow_at_the_moment)
{
    pace_set(pace, &dearest);
    measured();
    pace_record(pace, &usual, 2, 6 * USUAL_NS);
    assert_true(answered_after(clock_mono_ns(), 1) > 3 * DEAREST_NS);
}

TEST(who_is_due_first_goes_first)
{
    struct lane_job late = {0}, soon = {0};
    pace_set(pace, &dearest);
    measured();
    uint64_t begin = clock_mono_ns();
    assert_true(pace_hold(pace, &late, begin + DEAREST_NS, 1));
    assert_true(pace_hold(pace, &soon, begin, 1));
    wait_for_one();
    wait_for_one();
    assert_ptr_equal(order[0], &soon);
    assert_ptr_equal(order[1], &late);
}

TEST(the_dearest_is_measured_once_for_each_count)
{
    struct argon2_params wanted;
    pace_set(pace, &dearest);
    assert_true(pace_wants_measure(pace, &wanted));
    assert_true(argon2_same_params(&wanted, &dearest));
    assert_false(pace_wants_measure(pace, &wanted));
    pace_set(pace, &dearest);
    assert_true(pace_wants_measure(pace, &wanted));
}

TEST(a_hash_that_is_met_counts_until_the_next_count)
{
    struct argon2_params wanted;
    pace_record(pace, &dearer, 1, USUAL_NS);
    assert_true(pace_wants_measure(pace, &wanted));
    assert_true(argon2_same_params(&wanted, &dearer));
    pace_record(pace, &dearest, 1, USUAL_NS);
    assert_true(pace_wants_measure(pace, &wanted));
    assert_true(argon2_same_params(&wanted, &dearest));
    pace_record(pace, &dearer, 1, USUAL_NS);
    assert_false(pace_wants_measure(pace, &wanted));
    pace_set(pace, &dearer);
    assert_true(pace_wants_measure(pace, &wanted));
    assert_true(argon2_same_params(&wanted, &dearer));
}

TEST(the_largest_memory_counts_as_well_as_the_most_work)
{
    static const struct argon2_params large = {16384, 1, 1}, long_in_small = {4096, 20, 1};
    struct argon2_params wanted;
    pace_record(pace, &large, 1, USUAL_NS);
    assert_true(pace_wants_measure(pace, &wanted));
    assert_int_equal(wanted.memory_kib, large.memory_kib);
    assert_true(argon2_work(&wanted) >= argon2_work(&usual));
    pace_record(pace, &long_in_small, 1, USUAL_NS);
    assert_true(pace_wants_measure(pace, &wanted));
    assert_int_equal(wanted.memory_kib, large.memory_kib);
    assert_true(argon2_work(&wanted) >= argon2_work(&long_in_small));
    pace_record(pace, &large, 1, USUAL_NS);
    pace_record(pace, &long_in_small, 1, USUAL_NS);
    assert_false(pace_wants_measure(pace, &wanted));
}

TEST(cheaper_ones_wait_for_the_usual)
{
    struct argon2_params wanted;
    pace_record(pace, &cheaper, 1, USUAL_NS / 3);
    assert_true(pace_wants_measure(pace, &wanted));
    assert_true(argon2_same_params(&wanted, &usual));
    pace_record(pace, &usual, 1, USUAL_NS);
    pace_measured(pace, USUAL_NS, USUAL_NS, USUAL_NS);
    assert_true(answered_after(clock_mono_ns(), 1) > USUAL_NS);
}

TEST(until_it_is_measured_it_is_guessed_from_its_parameters)
{
    pace_record(pace, &usual, 1, NS_PER_MS);
    pace_set(pace, &dearer);
    assert_true(answered_after(clock_mono_ns(), 1) >
                NS_PER_MS * argon2_work(&dearer) / argon2_work(&usual));
}

TEST(those_that_come_late_make_the_next_wait_longer_up_to_twice)
{
    pace_set(pace, &dearest);
    measured();
    for (int i = 0; i < 20; i++) {
        uint64_t begin = clock_mono_ns() - 3 * DEAREST_NS;
        assert_true(answered_after(begin, 1) >= 3 * DEAREST_NS);
    }
    struct lane_job job = {0};
    uint64_t begin = clock_mono_ns();
    assert_true(pace_hold(pace, &job, begin, 1));
    assert_true(job.start_by_ns - begin > 2 * DEAREST_NS);
    assert_true(job.start_by_ns - begin < 3 * DEAREST_NS);
    wait_for_one();
}

TEST(one_that_was_disturbed_counts_little)
{
    pace_set(pace, &dearest);
    measured();
    for (int i = 0; i < 31; i++)
        pace_record(pace, &usual, 1, USUAL_NS);
    pace_record(pace, &usual, 1, 100 * USUAL_NS);
    struct lane_job job = {0};
    uint64_t begin = clock_mono_ns();
    assert_true(pace_hold(pace, &job, begin, 1));
    assert_true(job.start_by_ns - begin > DEAREST_NS);
    assert_true(job.start_by_ns - begin < 2 * DEAREST_NS);
    wait_for_one();
}

TEST(a_measure_that_was_disturbed_shortens_nobodys_wait)
{
    struct argon2_params wanted;
    pace_record(pace, &cheaper, 1, USUAL_NS / 3);
    assert_true(pace_wants_measure(pace, &wanted));
    pace_record(pace, &usual, 1, USUAL_NS);
    pace_measured(pace, USUAL_NS, USUAL_NS, 4 * USUAL_NS);
    assert_true(answered_after(clock_mono_ns(), 1) > USUAL_NS);
}

TEST(a_machine_that_stood_still_is_not_waited_for)
{
    pace_set(pace, &dearest);
    measured();
    pace_record(pace, &usual, 1, 600 * NS_PER_SECOND);
    struct lane_job job = {0};
    uint64_t begin = clock_mono_ns() - 20 * NS_PER_SECOND;
    assert_true(pace_hold(pace, &job, begin, 2));
    assert_true(job.start_by_ns - begin > 10 * NS_PER_SECOND);
    assert_true(job.start_by_ns - begin < 15 * NS_PER_SECOND);
    wait_for_one();
}

int main(void)
{
#define PACED(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        PACED(nobody_waits_while_all_hashes_are_alike),
        PACED(everybody_waits_as_long_as_the_dearest_takes),
        PACED(the_machine_may_be_slow_at_the_moment),
        PACED(who_is_due_first_goes_first),
        PACED(the_dearest_is_measured_once_for_each_count),
        PACED(a_hash_that_is_met_counts_until_the_next_count),
        PACED(the_largest_memory_counts_as_well_as_the_most_work),
        PACED(cheaper_ones_wait_for_the_usual),
        PACED(until_it_is_measured_it_is_guessed_from_its_parameters),
        PACED(those_that_come_late_make_the_next_wait_longer_up_to_twice),
        PACED(one_that_was_disturbed_counts_little),
        PACED(a_measure_that_was_disturbed_shortens_nobodys_wait),
        PACED(a_machine_that_stood_still_is_not_waited_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
