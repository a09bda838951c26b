/* The store, on each kind of database, used by several threads at once, each with its connection.
 */
#include "store_fixture.h"

#include <pthread.h>

enum { THREADS = 6, ROUNDS = 8, SESSIONS = 32 };

/* What one thread does; results are judged when all have ended. */
struct racer {
    pthread_barrier_t *start;
    void (*act)(struct racer *racer, struct store_conn *c);
    struct someone who;
    struct store_rotation rotation;
    struct store_new_session session;
    enum err e;
    struct store_rotation_result rotated;
    struct store_login login;
    struct uuid user_id;
    const struct store_rotation *sessions; /* of SESSIONS */
    unsigned first, wins;
};

static void *race(void *arg)
{
    struct racer *racer = arg;
    struct store_conn *c = NULL;
    racer->e = store_conn_open(store, &c);
    if (racer->e == OK)
        racer->e = store_probe(c); /* connected before the start */
    pthread_barrier_wait(racer->start);
    if (racer->e == OK)
        racer->act(racer, c);
    store_conn_close(c);
    return NULL;
}

static void run_race(struct racer *racers, void (*act)(struct racer *, struct store_conn *))
{
    pthread_t threads[THREADS];
    pthread_barrier_t start;
    pthread_barrier_init(&start, NULL, THREADS);
    for (unsigned i = 0; i < THREADS; i++) {
        racers[i].start = &start;
        racers[i].act = act;
        assert_int_equal(pthread_create(&threads[i], NULL, race, &racers[i]), 0);
    }
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    pthread_barrier_destroy(&start);
}

static void act_rotate(struct racer *racer, struct store_conn *c)
{
    racer->e = store_rotate(c, &racer->rotation, &racer->rotated);
}

static unsigned count_outcome(const struct racer *racers, enum store_rotated outcome)
{
    unsigned n = 0;
    for (unsigned i = 0; i < THREADS; i++) {
        assert_ok(racers[i].e);
        n += racers[i].rotated.outcome == outcome;
    }
    return n;
}

static void race_one_token(struct racer *racers, int64_t leeway_ms)
{
    struct someone who = someone_registered();
    struct store_new_session s = opened_session(&who);
    for (unsigned i = 0; i < THREADS; i++) {
        racers[i] = (struct racer){.rotation = rotation_of(&s)};
        racers[i].rotation.leeway_ms = leeway_ms;
    }
    run_race(racers, act_rotate);
}

TEST(of_simultaneous_uses_one_rotates_and_the_others_get_its_successor)
{
    for (unsigned round = 0; round < ROUNDS; round++) {
        struct racer racers[THREADS];
        race_one_token(racers, 30000);
        assert_int_equal(count_outcome(racers, STORE_ROTATED), 1);
        assert_int_equal(count_outcome(racers, STORE_RETRIED), THREADS - 1);
        const struct store_rotation *won = NULL;
        for (unsigned i = 0; i < THREADS; i++)
            if (racers[i].rotated.outcome == STORE_ROTATED)
                won = &racers[i].rotation;
        for (unsigned i = 0; i < THREADS; i++)
            if (racers[i].rotated.outcome == STORE_RETRIED)
                assert_memory_equal(racers[i].rotated.sealed, won->sealed, won->sealed_len);
        struct store_rotation next = rotation_after(won);
        assert_int_equal(rotated(&next), STORE_ROTATED);
    }
}

TEST(without_a_leeway_simultaneous_uses_end_the_session_once)
{
    for (unsigned round = 0; round < ROUNDS; round++) {
        struct racer racers[THREADS];
        race_one_token(racers, 0);
        assert_int_equal(count_outcome(racers, STORE_ROTATED), 1);
        assert_int_equal(count_outcome(racers, STORE_REPLAYED), 1);
        assert_int_equal(count_outcome(racers, STORE_REVOKED), THREADS - 2);
    }
}

static void act_login(struct racer *racer, struct store_conn *c)
{
    struct store_login_request request = login_of(&racer->who);
    racer->e = store_login_begin(c, &request, &racer->login);
}

TEST(no_more_guesses_than_the_threshold_are_reserved_at_once)
{
    for (unsigned round = 0; round < ROUNDS; round++) {
        struct racer racers[THREADS];
        struct someone who = round % 2 == 0 ? someone_registered() : someone_new();
        unsigned reserved = 0, last = 0;
        for (unsigned i = 0; i < THREADS; i++)
            racers[i] = (struct racer){.who = who};
        run_race(racers, act_login);
        for (unsigned i = 0; i < THREADS; i++) {
            assert_ok(racers[i].e);
            reserved += !racers[i].login.locked;
            last += racers[i].login.last_attempt;
            if (racers[i].login.locked)
                assert_true(racers[i].login.locked_until > racers[i].login.now);
        }
        assert_int_equal(reserved, 3);
        assert_int_equal(last, 1);
    }
}

static void act_register(struct racer *racer, struct store_conn *c)
{
    racer->e = someone_register(c, &racer->who, NULL, &racer->user_id);
}

TEST(of_simultaneous_registrations_of_an_address_one_succeeds)
{
    for (unsigned round = 0; round < ROUNDS; round++) {
        struct racer racers[THREADS];
        struct someone who = someone_new();
        unsigned made = 0;
        for (unsigned i = 0; i < THREADS; i++) {
            racers[i] = (struct racer){.who = who};
            assert_ok(uuid_make_v4(&racers[i].who.user_id));
        }
        run_race(racers, act_register);
        for (unsigned i = 0; i < THREADS; i++) {
            made += racers[i].e == OK;
            if (racers[i].e != OK)
                assert_err(racers[i].e, ERR_CONFLICT);
        }
        assert_int_equal(made, 1);
    }
}

static void act_register_keyed(struct racer *racer, struct store_conn *c)
{
    racer->e = someone_register(c, &racer->who, racer->who.digest, &racer->user_id);
}

TEST(simultaneous_repetitions_of_one_request_get_one_answer)
{
    for (unsigned round = 0; round < ROUNDS; round++) {
        struct racer racers[THREADS];
        struct someone who = someone_new();
        for (unsigned i = 0; i < THREADS; i++) {
            racers[i] = (struct racer){.who = who};
            assert_ok(uuid_make_v4(&racers[i].who.user_id));
        }
        run_race(racers, act_register_keyed);
        for (unsigned i = 0; i < THREADS; i++) {
            assert_ok(racers[i].e);
            assert_true(uuid_equal(&racers[i].user_id, &racers[0].user_id));
        }
    }
}

static void act_finish(struct racer *racer, struct store_conn *c)
{
    racer->e = store_login_finish(c, &racer->session);
}

TEST(simultaneous_logins_leave_no_more_than_the_maximum)
{
    for (unsigned round = 0; round < ROUNDS; round++) {
        struct racer racers[THREADS];
        struct someone who = someone_registered();
        for (unsigned i = 0; i < THREADS; i++) {
            racers[i] = (struct racer){.session = session_of(&who)};
            racers[i].session.max_sessions = 2;
        }
        run_race(racers, act_finish);
        for (unsigned i = 0; i < THREADS; i++)
            assert_ok(racers[i].e);
        assert_int_equal(live_sessions(&who), 2);
    }
}

static void act_logout_or_rotate(struct racer *racer, struct store_conn *c)
{
    uint64_t ended = 0;
    if (racer->rotation.client_ip != NULL)
        racer->e = store_rotate(c, &racer->rotation, &racer->rotated);
    else
        racer->e = store_end_sessions(c, &racer->who.tenant_id, &racer->who.user_id, "x", &ended);
}

TEST(no_session_outlives_the_end_of_all)
{
    for (unsigned round = 0; round < ROUNDS; round++) {
        struct racer racers[THREADS];
        struct someone who = someone_registered();
        for (unsigned i = 0; i < THREADS; i++) {
            racers[i] = (struct racer){.who = who};
            if (i > 0) {
                struct store_new_session s = opened_session(&who);
                racers[i].rotation = rotation_of(&s);
            }
        }
        run_race(racers, act_logout_or_rotate);
        assert_int_equal(live_sessions(&who), 0);
        for (unsigned i = 0; i < THREADS; i++)
            assert_ok(racers[i].e);
        for (unsigned i = 1; i < THREADS; i++) {
            struct store_rotation next = rotation_after(&racers[i].rotation);
            assert_int_equal(rotated(&next), STORE_REVOKED);
        }
    }
}

/* Rotations that share a transaction, in whatever order, and the end of all: none holds what
 * another waits for while it waits itself. */
static void act_logout_or_rotate_all(struct racer *racer, struct store_conn *c)
{
    struct store_rotating rotations[SESSIONS];
    struct store_rotation_result results[SESSIONS];
    uint64_t ended = 0;
    if (racer->sessions == NULL) {
        racer->e = store_end_sessions(c, &racer->who.tenant_id, &racer->who.user_id, "x", &ended);
        return;
    }
    for (unsigned i = 0; i < SESSIONS; i++) {
        const struct store_rotation *r = &racer->sessions[(i + racer->first) % SESSIONS];
        rotations[i] = (struct store_rotating){r, "", ERR_INTERNAL, &results[i]};
    }
    store_rotate_many(c, rotations, SESSIONS);
    for (unsigned i = 0; i < SESSIONS; i++) {
        racer->e = racer->e == OK ? rotations[i].e : racer->e;
        racer->wins += rotations[i].e == OK && results[i].outcome == STORE_ROTATED;
    }
}

TEST(rotations_that_share_a_transaction_wait_for_nobody_who_waits_for_them)
{
    for (unsigned round = 0; round < ROUNDS; round++) {
        bool some_end_all = round % 2 == 1;
        struct racer racers[THREADS];
        struct store_rotation rotations[SESSIONS];
        struct someone who = someone_registered();
        for (unsigned i = 0; i < SESSIONS; i++) {
            struct store_new_session s = session_of(&who);
            s.max_sessions = SESSIONS;
            assert_ok(store_login_finish(conn, &s));
            rotations[i] = rotation_of(&s);
            rotations[i].leeway_ms = 30000;
        }
        for (unsigned i = 0; i < THREADS; i++)
            racers[i] = (struct racer){
                .who = who,
                .sessions = some_end_all && i >= THREADS / 2 ? NULL : rotations,
                .first = i * 7,
            };
        run_race(racers, act_logout_or_rotate_all);
        unsigned wins = 0;
        for (unsigned i = 0; i < THREADS; i++) {
            assert_ok(racers[i].e);
            wins += racers[i].wins;
        }
        assert_true(some_end_all ? wins <= SESSIONS : wins == SESSIONS);
        assert_int_equal(live_sessions(&who), some_end_all ? 0 : SESSIONS);
    }
}

int run_race_tests(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(of_simultaneous_uses_one_rotates_and_the_others_get_its_successor),
        cmocka_unit_test(without_a_leeway_simultaneous_uses_end_the_session_once),
        cmocka_unit_test(no_more_guesses_than_the_threshold_are_reserved_at_once),
        cmocka_unit_test(of_simultaneous_registrations_of_an_address_one_succeeds),
        cmocka_unit_test(simultaneous_repetitions_of_one_request_get_one_answer),
        cmocka_unit_test(simultaneous_logins_leave_no_more_than_the_maximum),
        cmocka_unit_test(no_session_outlives_the_end_of_all),
        cmocka_unit_test(rotations_that_share_a_transaction_wait_for_nobody_who_waits_for_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
