#include "lane_fixture.h"

TEST(one_flow_is_first_come_first_served)
{
    struct fixture f;
    struct job blocker, jobs[20];
    start(&f, 1, 4, 100, 1);
    occupy(&f, &blocker, 1);
    for (unsigned i = 0; i < 20; i++) {
        jobs[i] = job_of(i, i * 7919);
        assert_ok(lane_push(f.lane, &jobs[i].base));
    }
    assert_int_equal(stats_of(&f).depth, 20);
    assert_int_equal(stats_of(&f).busy, 1);
    open_gate(&f);
    lane_close(f.lane);
    assert_int_equal(f.done, 21);
    for (unsigned i = 0; i < 20; i++)
        assert_int_equal(f.order[i + 1], i);
    assert_int_equal(f.largest_batch, 4);
}

static uint64_t spare(void *arg)
{
    struct fixture *f = arg;
    pthread_mutex_lock(&f->lock);
    f->spared++;
    pthread_cond_broadcast(&f->changed);
    pthread_mutex_unlock(&f->lock);
    return 200 * NS_PER_MS;
}

TEST(jobs_gather_while_there_is_time_to_spare)
{
    struct fixture f = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
    struct job jobs[8];
    struct lane_config config = config_of(&f, 1, 8, 100, 1);
    config.spare_ns = spare;
    f.open = true;
    assert_ok(lane_open(&config, &f.lane));
    assert_ok(lane_wait_open(f.lane));
    for (unsigned i = 0; i < 8; i++) {
        jobs[i] = job_of(i, 0);
        assert_ok(lane_push(f.lane, &jobs[i].base));
        wait_for(&f, &f.spared, 1);
    }
    wait_for(&f, &f.done, 8);
    assert_true(f.largest_batch > 1);
    lane_close(f.lane);
}

TEST(one_thread_gathers_and_takes_all)
{
    struct fixture f = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
    struct job jobs[8];
    struct lane_config config = config_of(&f, 2, 8, 100, 1);
    config.spare_ns = spare;
    f.open = true;
    assert_ok(lane_open(&config, &f.lane));
    assert_ok(lane_wait_open(f.lane));
    for (unsigned i = 0; i < 4; i++) {
        jobs[i] = job_of(i, 0);
        assert_ok(lane_push(f.lane, &jobs[i].base));
        wait_for(&f, &f.spared, 1);
    }
    wait_for(&f, &f.done, 4);
    assert_int_equal(f.spared, 1); /* nobody else began to */
    assert_int_equal(f.largest_batch, 4);
    /* And the lane goes on. */
    jobs[4] = job_of(4, 0);
    assert_ok(lane_push(f.lane, &jobs[4].base));
    wait_for(&f, &f.done, 5);
    lane_close(f.lane);
    assert_int_equal(f.closed, 2);
}

static bool same_parity(const struct lane_job *first, const struct lane_job *job)
{
    return ((const struct job *)first)->id % 2 == ((const struct job *)job)->id % 2;
}

TEST(a_batch_is_of_those_that_join)
{
    struct fixture f = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
    struct job blocker, jobs[6];
    struct lane_config config = config_of(&f, 1, 8, 100, 1);
    config.joins = same_parity;
    assert_ok(lane_open(&config, &f.lane));
    assert_ok(lane_wait_open(f.lane));
    occupy(&f, &blocker, 1);
    static const unsigned ids[] = {1, 3, 5, 2, 4, 7}; /* three, two, one */
    for (unsigned i = 0; i < ARRAY_LEN(ids); i++) {
        jobs[i] = job_of(ids[i], 0);
        assert_ok(lane_push(f.lane, &jobs[i].base));
    }
    open_gate(&f);
    lane_close(f.lane);
    assert_int_equal(f.done, 7);
    assert_int_equal(f.runs, 4);
    assert_int_equal(f.largest_batch, 3);
    for (unsigned i = 0; i < ARRAY_LEN(ids); i++)
        assert_int_equal(f.order[i + 1], ids[i]);
}

TEST(turns_go_round_the_flows)
{
    struct fixture f;
    struct job blocker, jobs[15];
    start(&f, 1, 1, 100, 8);
    occupy(&f, &blocker, 1);
    /* Flow 1 floods; flows 2 and 3 come later with one and two jobs. */
    static const uint32_t flows[] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 3, 3};
    for (unsigned i = 0; i < ARRAY_LEN(flows); i++) {
        jobs[i] = job_of(i, flows[i]);
        assert_ok(lane_push(f.lane, &jobs[i].base));
    }
    open_gate(&f);
    lane_close(f.lane);
    static const unsigned expected[] = {0, 12, 13, 1, 14, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11};
    for (unsigned i = 0; i < ARRAY_LEN(expected); i++)
        assert_int_equal(f.order[i + 1], expected[i]);
}

TEST(a_full_lane_refuses_at_the_door_and_leaves_the_job_to_its_owner)
{
    struct fixture f;
    struct job blocker, jobs[6];
    start(&f, 1, 1, 5, 1);
    occupy(&f, &blocker, 1);
    for (unsigned i = 0; i < 6; i++) {
        jobs[i] = job_of(i, 0);
        assert_err(lane_push(f.lane, &jobs[i].base), i < 5 ? OK : ERR_BUSY);
    }
    assert_false(jobs[5].base.admitted);
    assert_int_equal(stats_of(&f).shed[LANE_DROP_FULL], 1);
    open_gate(&f);
    lane_close(f.lane);
    assert_int_equal(f.dropped[LANE_DROP_FULL], 0); /* the callback is for what was taken */
    assert_int_equal(atomic_load(&jobs[5].ends), 0);
}

TEST(an_admitted_place_counts_until_it_is_given_back)
{
    struct fixture f;
    struct job blocker, a, b, c;
    start(&f, 1, 1, 2, 4);
    occupy(&f, &blocker, 1);
    a = job_of(1, 1);
    b = job_of(2, 2);
    c = job_of(3, 3);
    assert_ok(lane_admit(f.lane, &a.base));
    assert_ok(lane_admit(f.lane, &b.base));
    assert_int_equal(stats_of(&f).depth, 2);
    assert_err(lane_push(f.lane, &c.base), ERR_BUSY);
    lane_withdraw(f.lane, &b.base);
    lane_withdraw(f.lane, &b.base);
    lane_withdraw(f.lane, &c.base);
    assert_int_equal(stats_of(&f).depth, 1);
    assert_ok(lane_push(f.lane, &c.base));
    assert_err(lane_push(f.lane, &b.base), ERR_BUSY);
    assert_ok(lane_push(f.lane, &a.base)); /* its place was kept */
    assert_int_equal(stats_of(&f).depth, 2);
    open_gate(&f);
    lane_close(f.lane);
    assert_int_equal(f.done, 3);
}

TEST(a_job_whose_time_is_over_is_refused_or_dropped_once)
{
    struct fixture f;
    struct job blocker, late, in_time, over;
    start(&f, 1, 1, 10, 1);
    occupy(&f, &blocker, 1);
    over = job_of(1, 0);
    over.base.start_by_ns = clock_mono_ns() - 1;
    assert_err(lane_push(f.lane, &over.base), ERR_BUSY);
    late = job_of(2, 0);
    late.base.start_by_ns = clock_mono_ns() + 50 * NS_PER_MS;
    in_time = job_of(3, 0);
    assert_ok(lane_push(f.lane, &late.base));
    assert_ok(lane_push(f.lane, &in_time.base));
    nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL);
    open_gate(&f);
    wait_for(&f, &f.done, 3);
    assert_int_equal(stats_of(&f).shed[LANE_DROP_DEADLINE], 2);
    lane_close(f.lane);
    assert_int_equal(f.dropped[LANE_DROP_DEADLINE], 1);
    assert_int_equal(atomic_load(&late.ends), 1);
    assert_int_equal(atomic_load(&in_time.ends), 1);
    assert_int_equal(atomic_load(&over.ends), 0);
}

TEST(what_nobody_waits_for_is_dropped_not_run)
{
    struct fixture f;
    struct job blocker, jobs[4];
    start(&f, 1, 4, 10, 1);
    occupy(&f, &blocker, 1);
    for (unsigned i = 0; i < 4; i++) {
        jobs[i] = job_of(i, 0);
        jobs[i].gone = i % 2 == 0;
        assert_ok(lane_push(f.lane, &jobs[i].base));
    }
    open_gate(&f);
    lane_close(f.lane);
    assert_int_equal(f.dropped[LANE_DROP_GONE], 2);
    assert_int_equal(f.done, 5);
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(atomic_load(&jobs[i].ends), 1);
}

static void nap(void *arg, void *context, struct lane_job **jobs, unsigned n)
{
    nanosleep(&(struct timespec){.tv_nsec = 50000000L * (long)n}, NULL);
    run(arg, context, jobs, n);
}

/* One thread, 50 ms a job: with ten queued, an eleventh begins in half a second. */
TEST(admission_goes_by_what_recent_jobs_took)
{
    struct fixture f = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
    struct lane_config config = config_of(&f, 1, 1, 1000, 8);
    struct job jobs[16], own, other;
    config.run = nap;
    config.first_guess_ns = 50 * NS_PER_MS;
    assert_ok(lane_open(&config, &f.lane));
    open_gate(&f);
    for (unsigned i = 0; i < 5; i++) { /* it learns */
        jobs[i] = job_of(i, 1);
        assert_ok(lane_push(f.lane, &jobs[i].base));
        wait_for(&f, &f.done, i + 1);
    }
    for (unsigned i = 5; i < 16; i++) {
        jobs[i] = job_of(i, 1);
        assert_ok(lane_push(f.lane, &jobs[i].base));
    }
    own = job_of(100, 1);
    own.base.start_by_ns = clock_mono_ns() + 200 * NS_PER_MS;
    other = job_of(101, 2);
    other.base.start_by_ns = own.base.start_by_ns;
    assert_err(lane_admit(f.lane, &own.base), ERR_BUSY);
    assert_ok(lane_admit(f.lane, &other.base)); /* its flow's turn comes sooner */
    lane_withdraw(f.lane, &other.base);
    own.base.start_by_ns = clock_mono_ns() + 60 * NS_PER_SECOND;
    assert_ok(lane_admit(f.lane, &own.base));
    lane_withdraw(f.lane, &own.base);
    assert_in_range(lane_retry_after(f.lane), 1, 2);
    lane_close(f.lane);
    assert_int_equal(f.done, 16);
}

/* What a lane has not seen yet, it takes from its configuration. */
TEST(admission_goes_by_the_first_guess_at_first)
{
    struct fixture f = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
    struct lane_config config = config_of(&f, 1, 1, 1000, 1);
    struct job blocker, queued, hurried;
    config.first_guess_ns = 10 * NS_PER_SECOND;
    assert_ok(lane_open(&config, &f.lane));
    assert_ok(lane_wait_open(f.lane));
    occupy(&f, &blocker, 1);
    queued = job_of(1, 0);
    assert_ok(lane_push(f.lane, &queued.base));
    hurried = job_of(2, 0);
    hurried.base.start_by_ns = clock_mono_ns() + 9 * NS_PER_SECOND;
    assert_err(lane_push(f.lane, &hurried.base), ERR_BUSY);
    assert_in_range(lane_retry_after(f.lane), 10, 15);
    open_gate(&f);
    lane_close(f.lane);
}

/* The expected wait is a guess: a promise is kept when it turns out twice as long. */
TEST(what_would_just_make_it_is_not_promised)
{
    struct fixture f = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
    struct lane_config config = config_of(&f, 1, 1, 1000, 1);
    struct job blocker, queued, close_one, safe;
    config.first_guess_ns = 10 * NS_PER_SECOND;
    assert_ok(lane_open(&config, &f.lane));
    assert_ok(lane_wait_open(f.lane));
    occupy(&f, &blocker, 1);
    queued = job_of(1, 0);
    assert_ok(lane_push(f.lane, &queued.base)); /* 5 s for the first, 10 s for this one */
    close_one = job_of(2, 0);
    close_one.base.start_by_ns = clock_mono_ns() + 29 * NS_PER_SECOND;
    assert_err(lane_push(f.lane, &close_one.base), ERR_BUSY);
    safe = job_of(3, 0);
    safe.base.start_by_ns = clock_mono_ns() + 31 * NS_PER_SECOND;
    assert_ok(lane_push(f.lane, &safe.base));
    open_gate(&f);
    lane_close(f.lane);
}

TEST(an_idle_lane_asks_for_one_second)
{
    struct fixture f;
    start(&f, 2, 1, 10, 1);
    assert_int_equal(lane_retry_after(f.lane), 1);
    lane_close(f.lane);
}

TEST(threads_share_what_is_queued)
{
    struct fixture f;
    struct job blockers[4], jobs[8];
    start(&f, 4, 64, 100, 1);
    occupy(&f, blockers, 4);
    for (unsigned i = 0; i < 8; i++) {
        jobs[i] = job_of(i, 0);
        assert_ok(lane_push(f.lane, &jobs[i].base));
    }
    open_gate(&f);
    lane_close(f.lane);
    assert_int_equal(f.done, 12);
    assert_in_range(f.largest_batch, 1, 2); /* eight over four threads */
}

TEST(closing_works_off_what_was_pushed)
{
    for (unsigned threads = 1; threads <= 8; threads *= 2) {
        struct fixture f;
        struct job blockers[8], jobs[JOBS];
        start(&f, threads, 3, 1000, 4);
        occupy(&f, blockers, threads);
        for (unsigned i = 0; i < JOBS; i++) {
            jobs[i] = job_of(i, i);
            assert_ok(lane_push(f.lane, &jobs[i].base));
        }
        open_gate(&f);
        lane_close(f.lane);
        assert_int_equal(f.done, JOBS + threads);
        assert_int_equal(f.opened, threads);
        assert_int_equal(f.closed, threads);
    }
}

TEST(threads_open_and_may_give_way_to_others)
{
    struct fixture f = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
    struct lane_config config = config_of(&f, 3, 1, 10, 1);
    int here = getpriority(PRIO_PROCESS, 0);
    config.background = true;
    assert_ok(lane_open(&config, &f.lane));
    assert_ok(lane_wait_open(f.lane));
    assert_int_equal(f.opened, 3);
    assert_int_equal(f.priority, here + 10 > 19 ? 19 : here + 10);
    assert_int_equal(getpriority(PRIO_PROCESS, 0), here);
    lane_close(f.lane);
}

TEST(a_thread_that_cannot_open_is_told_of)
{
    struct fixture f = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
    struct lane_config config = config_of(&f, 3, 1, 10, 1);
    f.open_result = ERR_UNAVAILABLE;
    assert_ok(lane_open(&config, &f.lane));
    assert_err(lane_wait_open(f.lane), ERR_UNAVAILABLE);
    assert_int_equal(f.opened, 3);
    lane_close(f.lane);
    assert_int_equal(f.closed, 2); /* those that opened */
    lane_close(NULL);
}

/* None opens: whoever was in the queue is told, whoever comes is refused, nobody waits for ever. */
TEST(a_lane_without_threads_keeps_nobody)
{
    struct fixture f = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
    struct lane_config config = config_of(&f, 2, 1, 10, 4);
    struct job queued[3], promised, late;
    sem_t wait;
    sem_init(&wait, 0, 0);
    f.open_wait = &wait;
    f.open_result = ERR_INTERNAL;
    f.all_fail = true;
    assert_ok(lane_open(&config, &f.lane));
    for (unsigned i = 0; i < 3; i++) {
        queued[i] = job_of(i, i);
        assert_ok(lane_push(f.lane, &queued[i].base));
    }
    promised = job_of(3, 0);
    assert_ok(lane_admit(f.lane, &promised.base));
    sem_post(&wait);
    sem_post(&wait);
    assert_err(lane_wait_open(f.lane), ERR_INTERNAL);
    wait_for(&f, &f.done, 3);
    assert_int_equal(f.dropped[LANE_DROP_FULL], 3);
    late = job_of(4, 0);
    assert_err(lane_push(f.lane, &promised.base), ERR_BUSY);
    assert_err(lane_admit(f.lane, &late.base), ERR_BUSY);
    assert_int_equal(stats_of(&f).depth, 0);
    lane_close(f.lane);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(atomic_load(&queued[i].ends), 1);
    assert_int_equal(atomic_load(&promised.ends), 0);
    assert_int_equal(f.closed, 0);
    sem_destroy(&wait);
}

static void post_all(void *arg)
{
    struct fixture *f = arg;
    for (unsigned i = 0; i < JOBS; i++)
        sem_post(f->open_wait);
}

/* Address space for some stacks, not for all. */
TEST(a_thread_that_cannot_be_made_ends_the_start_though_others_wait_in_theirs)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    skip(); /* their shadow takes all the address space there is */
#endif
    struct fixture f = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
    struct lane_config config = config_of(&f, JOBS, 1, 10, 1);
    struct rlimit whole, some;
    sem_t wait;
    sem_init(&wait, 0, 0);
    f.open_wait = &wait;
    config.open_failed = post_all;
    assert_int_equal(getrlimit(RLIMIT_AS, &whole), 0);
    some = whole;
    some.rlim_cur = 512UL << 20; /* 64 stacks of 8 MiB are that much already */
    assert_int_equal(setrlimit(RLIMIT_AS, &some), 0);
    enum err e = lane_open(&config, &f.lane);
    assert_int_equal(setrlimit(RLIMIT_AS, &whole), 0);
    assert_err(e, ERR_INTERNAL);
    assert_in_range(f.opened, 1, JOBS - 1);
    assert_int_equal(f.closed, f.opened);
    sem_destroy(&wait);
}

TEST(a_thread_without_jobs_says_so_once)
{
    struct fixture f;
    struct job job = job_of(0, 0);
    start(&f, 1, 1, 10, 1);
    open_gate(&f);
    wait_for(&f, &f.idles, 1);
    assert_ok(lane_push(f.lane, &job.base));
    wait_for(&f, &f.idles, 2);
    nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
    lane_close(f.lane);
    assert_int_equal(f.idles, 2);
}

/* ---- under many threads ---- */

enum { PUSHERS = 4, EACH = 5000 };

struct pusher {
    struct fixture *f;
    struct job *jobs;
    unsigned taken;
    uint64_t seed;
};

static void *push_many(void *arg)
{
    struct pusher *p = arg;
    for (unsigned i = 0; i < EACH; i++) {
        struct job *job = &p->jobs[i];
        uint64_t r = next_random(&p->seed);
        *job = job_of(i, (uint32_t)r % 16);
        job->gone = r >> 60 == 0;
        if (r >> 56 % 16 == 1)
            job->base.start_by_ns = clock_mono_ns() + 1000;
        if (r >> 33 & 1 && lane_admit(p->f->lane, &job->base) == OK && r >> 34 & 1)
            lane_withdraw(p->f->lane, &job->base);
        if (lane_push(p->f->lane, &job->base) == OK)
            p->taken++;
        else
            atomic_fetch_add(&job->ends, 100); /* refused: nobody else may have it */
        if (r >> 40 % 64 == 0)
            (void)lane_retry_after(p->f->lane);
    }
    return NULL;
}

TEST(under_many_threads_every_job_ends_exactly_once)
{
    struct fixture f;
    struct pusher pushers[PUSHERS];
    pthread_t threads[PUSHERS];
    unsigned taken = 0, refused = 0;
    start(&f, 4, 8, 200, 8);
    open_gate(&f);
    for (unsigned i = 0; i < PUSHERS; i++) {
        pushers[i] = (struct pusher){.f = &f, .jobs = calloc(EACH, sizeof(struct job)), .seed = i};
        assert_non_null(pushers[i].jobs);
        assert_int_equal(pthread_create(&threads[i], NULL, push_many, &pushers[i]), 0);
    }
    for (unsigned i = 0; i < PUSHERS; i++)
        pthread_join(threads[i], NULL);
    lane_close(f.lane);
    for (unsigned i = 0; i < PUSHERS; i++) {
        taken += pushers[i].taken;
        for (unsigned k = 0; k < EACH; k++) {
            unsigned ends = atomic_load(&pushers[i].jobs[k].ends);
            assert_true(ends == 1 || ends == 100);
            refused += ends == 100;
        }
        free(pushers[i].jobs);
    }
    assert_int_equal(taken + refused, PUSHERS * EACH);
    assert_int_equal(f.done, taken);
    assert_true(taken > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_flow_is_first_come_first_served),
        cmocka_unit_test(jobs_gather_while_there_is_time_to_spare),
        cmocka_unit_test(one_thread_gathers_and_takes_all),
        cmocka_unit_test(a_batch_is_of_those_that_join),
        cmocka_unit_test(turns_go_round_the_flows),
        cmocka_unit_test(a_full_lane_refuses_at_the_door_and_leaves_the_job_to_its_owner),
        cmocka_unit_test(an_admitted_place_counts_until_it_is_given_back),
        cmocka_unit_test(a_job_whose_time_is_over_is_refused_or_dropped_once),
        cmocka_unit_test(what_nobody_waits_for_is_dropped_not_run),
        cmocka_unit_test(admission_goes_by_what_recent_jobs_took),
        cmocka_unit_test(admission_goes_by_the_first_guess_at_first),
        cmocka_unit_test(what_would_just_make_it_is_not_promised),
        cmocka_unit_test(an_idle_lane_asks_for_one_second),
        cmocka_unit_test(threads_share_what_is_queued),
        cmocka_unit_test(closing_works_off_what_was_pushed),
        cmocka_unit_test(threads_open_and_may_give_way_to_others),
        cmocka_unit_test(a_thread_that_cannot_open_is_told_of),
        cmocka_unit_test(a_lane_without_threads_keeps_nobody),
        cmocka_unit_test(a_thread_that_cannot_be_made_ends_the_start_though_others_wait_in_theirs),
        cmocka_unit_test(a_thread_without_jobs_says_so_once),
        cmocka_unit_test(under_many_threads_every_job_ends_exactly_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
