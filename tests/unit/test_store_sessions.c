/* The store, on each kind of database: rotating, ending and listing sessions; batches. */
#include "store_fixture.h"

#include <pthread.h>

static struct store_rotation_result rotate_result(const struct store_rotation *r)
{
    struct store_rotation_result result;
    assert_ok(store_rotate(conn, r, &result));
    return result;
}

TEST(a_current_token_is_rotated_into_its_successor)
{
    struct someone who = someone_registered();
    struct store_new_session s = opened_session(&who);
    struct store_rotation r = rotation_of(&s);
    for (uint32_t generation = 1; generation <= 5; generation++) {
        struct store_rotation_result result = rotate_result(&r);
        assert_int_equal(result.outcome, STORE_ROTATED);
        assert_int_equal(result.session.generation, generation);
        assert_true(uuid_equal(&result.session.id, &s.session_id));
        assert_true(uuid_equal(&result.session.user_id, &who.user_id));
        assert_true(uuid_equal(&result.session.tenant_id, &who.tenant_id));
        assert_in_range(result.now, result.session.opened_at, result.session.opened_at + 60000);
        r = rotation_after(&r);
    }
    assert_int_equal(live_sessions(&who), 1);
}

TEST(a_retry_within_the_leeway_gets_the_successor_of_the_first_time)
{
    struct someone who = someone_registered();
    struct store_new_session s = opened_session(&who);
    struct store_rotation first = rotation_of(&s), retry = first;
    assert_int_equal(rotated(&first), STORE_ROTATED);
    assert_ok(random_bytes(retry.sealed, sizeof retry.sealed));
    assert_ok(random_bytes(retry.next_digest, sizeof retry.next_digest));
    for (unsigned i = 0; i < 3; i++) {
        struct store_rotation_result result = rotate_result(&retry);
        assert_int_equal(result.outcome, STORE_RETRIED);
        assert_int_equal(result.sealed_len, first.sealed_len);
        assert_memory_equal(result.sealed, first.sealed, first.sealed_len);
        assert_int_equal(result.session.generation, 1);
    }
    struct store_rotation next = rotation_after(&first);
    assert_int_equal(rotated(&next), STORE_ROTATED); /* the chain goes on from the first */
}

TEST(a_spent_token_after_the_leeway_ends_the_session)
{
    struct someone who = someone_registered();
    struct store_new_session s = opened_session(&who);
    struct store_rotation r = rotation_of(&s), next = rotation_after(&r);
    r.leeway_ms = 0;
    assert_int_equal(rotated(&r), STORE_ROTATED);
    memcpy(next.token_digest, r.next_digest, sizeof next.token_digest);
    struct store_rotation_result result = rotate_result(&r);
    assert_int_equal(result.outcome, STORE_REPLAYED);
    assert_true(uuid_equal(&result.session.user_id, &who.user_id));
    assert_int_equal(live_sessions(&who), 0);
    assert_int_equal(rotated(&r), STORE_REVOKED);
    assert_int_equal(rotated(&next), STORE_REVOKED);
}

/* A session whose token is used twice at once, with this leeway. */
static void put_twins(struct store_rotation *rotations, int64_t leeway_ms)
{
    struct someone who = someone_registered();
    struct store_new_session s = opened_session(&who);
    for (unsigned i = 0; i < 2; i++) {
        rotations[i] = rotation_of(&s);
        rotations[i].leeway_ms = leeway_ms;
    }
}

TEST(of_rotations_that_share_a_transaction_each_gets_its_own_verdict)
{
    enum { KEPT, ENDED, STRANGER, RETRIED, REPLAYED = RETRIED + 2, COUNT = REPLAYED + 2 };
    struct store_rotation rotations[COUNT];
    struct store_rotation_result results[COUNT];
    struct store_rotating all[COUNT];
    struct someone who[3] = {someone_registered(), someone_registered(), someone_registered()};
    uint64_t ended = 0;
    for (unsigned i = KEPT; i <= STRANGER; i++) {
        struct store_new_session s = opened_session(&who[i]);
        rotations[i] = rotation_of(&s);
    }
    assert_ok(store_end_sessions(conn, &who[ENDED].tenant_id, &who[ENDED].user_id, "x", &ended));
    rotations[STRANGER].token_digest[0] ^= 1;
    put_twins(&rotations[RETRIED], 30000);
    put_twins(&rotations[REPLAYED], 0);
    for (unsigned i = 0; i < COUNT; i++)
        all[i] = (struct store_rotating){&rotations[i], "", ERR_INTERNAL, &results[i]};
    store_rotate_many(conn, all, COUNT);
    for (unsigned i = 0; i < COUNT; i++)
        assert_ok(all[i].e);
    assert_int_equal(results[KEPT].outcome, STORE_ROTATED);
    assert_true(uuid_equal(&results[KEPT].session.id, &rotations[KEPT].session_id));
    assert_int_equal(results[KEPT].session.generation, 1);
    assert_int_equal(results[ENDED].outcome, STORE_REVOKED);
    assert_int_equal(results[STRANGER].outcome, STORE_UNKNOWN);
    unsigned won = results[RETRIED].outcome == STORE_ROTATED ? RETRIED : RETRIED + 1;
    unsigned late = RETRIED + RETRIED + 1 - won;
    assert_int_equal(results[won].outcome, STORE_ROTATED);
    assert_int_equal(results[late].outcome, STORE_RETRIED);
    assert_memory_equal(results[late].sealed, rotations[won].sealed, rotations[won].sealed_len);
    won = results[REPLAYED].outcome == STORE_ROTATED ? REPLAYED : REPLAYED + 1;
    late = REPLAYED + REPLAYED + 1 - won;
    assert_int_equal(results[won].outcome, STORE_ROTATED);
    assert_int_equal(results[late].outcome, STORE_REPLAYED);
}

/* Sessions of different users, each with what rotates it. */
static void put_rotations(struct store_rotating *all, struct store_rotation *rotations,
                          struct store_rotation_result *results, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        struct someone who = someone_registered();
        struct store_new_session s = opened_session(&who);
        rotations[i] = rotation_of(&s);
        all[i] = (struct store_rotating){&rotations[i], "", ERR_INTERNAL, &results[i]};
    }
}

TEST(a_session_that_somebody_holds_does_not_hold_up_those_beside_it)
{
    struct store_rotation rotations[4];
    struct store_rotation_result results[4];
    struct store_rotating all[4];
    struct store *impatient;
    struct store_conn *c;
    if (store_is_single_writer(store))
        skip(); /* SQLite locks no rows */
    assert_ok(store_fixture_open_another(0, 1000, &impatient));
    assert_ok(store_conn_open(impatient, &c));
    put_rotations(all, rotations, results, 4);
    store_hold("SELECT FROM sessions WHERE id = %s FOR UPDATE", &rotations[2].session_id);
    store_rotate_many(c, all, 4);
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(all[i].e, i == 2 ? ERR_BUSY : OK);
        if (i != 2)
            assert_int_equal(results[i].outcome, STORE_ROTATED);
    }
    store_let_go();
    store_rotate_many(c, &all[2], 1);
    assert_ok(all[2].e);
    assert_int_equal(results[2].outcome, STORE_ROTATED);
    store_conn_close(c);
    store_close(impatient);
}

TEST(a_rotation_that_fails_does_not_take_those_beside_it_along)
{
    struct store_rotation rotations[3];
    struct store_rotation_result results[3];
    struct store_rotating all[3];
    put_rotations(all, rotations, results, 3);
    rotations[1].user_agent = "\xff"; /* no text for PostgreSQL; it never gets so far */
    store_rotate_many(conn, all, 3);
    for (unsigned i = 0; i < 3; i += 2) {
        assert_ok(all[i].e);
        assert_int_equal(results[i].outcome, STORE_ROTATED);
    }
}

TEST(the_leeway_ends_in_time)
{
    struct someone who = someone_registered();
    struct store_new_session s = opened_session(&who);
    struct store_rotation r = rotation_of(&s);
    r.leeway_ms = 400;
    assert_int_equal(rotated(&r), STORE_ROTATED);
    sleep_ms(450);
    assert_int_equal(rotated(&r), STORE_REPLAYED);
}

TEST(a_clock_that_goes_back_does_not_prolong_the_leeway)
{
    static const char back[] = "UPDATE sessions SET rotated_at = rotated_at + 20000 WHERE id = %s";
    static const int64_t leeways[] = {0, 10000};
    for (unsigned i = 0; i < ARRAY_LEN(leeways); i++) {
        struct someone who = someone_registered();
        struct store_new_session s = opened_session(&who);
        struct store_rotation r = rotation_of(&s);
        r.leeway_ms = leeways[i];
        assert_int_equal(rotated(&r), STORE_ROTATED);
        store_raw(back, &s.session_id);
        assert_int_equal(rotated(&r), STORE_REPLAYED);
    }
}

TEST(a_token_of_two_generations_ago_is_a_replay_even_within_the_leeway)
{
    struct someone who = someone_registered();
    struct store_new_session s = opened_session(&who);
    struct store_rotation r0 = rotation_of(&s), r1 = rotation_after(&r0), r2;
    assert_int_equal(rotated(&r0), STORE_ROTATED);
    assert_int_equal(rotated(&r1), STORE_ROTATED);
    r2 = rotation_after(&r1);
    assert_int_equal(rotated(&r0), STORE_REPLAYED);
    assert_int_equal(rotated(&r2), STORE_REVOKED);
}

TEST(what_is_not_of_the_chain_is_unknown_and_hurts_nobody)
{
    struct someone who = someone_registered();
    struct store_new_session s = opened_session(&who);
    struct store_rotation good = rotation_of(&s), bad = good;
    for (size_t bit = 0; bit < 8 * STORE_DIGEST_LEN; bit += 37) {
        bad = good;
        bad.token_digest[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_int_equal(rotated(&bad), STORE_UNKNOWN);
    }
    bad = good;
    bad.generation = 1; /* of a future that this database does not know */
    assert_int_equal(rotated(&bad), STORE_UNKNOWN);
    bad.generation = UINT32_MAX;
    assert_int_equal(rotated(&bad), STORE_UNKNOWN);
    bad = good;
    assert_ok(uuid_make_v4(&bad.session_id));
    assert_int_equal(rotated(&bad), STORE_UNKNOWN);
    assert_int_equal(rotated(&good), STORE_ROTATED);
}

TEST(an_idle_session_expires_and_use_prolongs_it)
{
    struct someone who = someone_registered();
    struct store_new_session s = session_of(&who), idle = session_of(&who);
    s.idle_ms = idle.idle_ms = 1000;
    assert_ok(store_login_finish(conn, &s));
    assert_ok(store_login_finish(conn, &idle));
    struct store_rotation r = rotation_of(&s), untouched = rotation_of(&idle);
    sleep_ms(600);
    assert_int_equal(rotated(&r), STORE_ROTATED);
    sleep_ms(600);
    r = rotation_after(&r);
    assert_int_equal(rotated(&untouched), STORE_EXPIRED);
    assert_int_equal(rotated(&r), STORE_ROTATED);
    assert_int_equal(live_sessions(&who), 1);
    assert_err(store_end_session(conn, &idle.session_id, NULL, NULL, "x"), ERR_NOT_FOUND);
}

TEST(no_use_prolongs_a_session_beyond_its_absolute_end)
{
    struct someone who = someone_registered();
    struct store_new_session s = session_of(&who);
    s.absolute_ms = 700;
    assert_ok(store_login_finish(conn, &s));
    struct store_rotation r = rotation_of(&s);
    struct store_rotation_result result = rotate_result(&r);
    assert_int_equal(result.outcome, STORE_ROTATED);
    struct store_session listed;
    size_t count = 0;
    assert_ok(store_list_sessions(conn, &who.tenant_id, &who.user_id, &listed, 1, &count));
    assert_int_equal(listed.idle_expires_at, listed.absolute_expires_at);
    assert_int_equal(listed.absolute_expires_at, listed.opened_at + 700);
    sleep_ms(750);
    struct store_rotation next = rotation_after(&r);
    assert_int_equal(rotated(&next), STORE_EXPIRED);
    assert_int_equal(rotated(&r), STORE_EXPIRED); /* no replay: it is over anyway */
    assert_int_equal(live_sessions(&who), 0);
}

/* ---- ending ---- */

TEST(an_ended_session_is_revoked_at_once_and_ends_once)
{
    struct someone who = someone_registered();
    struct store_new_session s = opened_session(&who);
    struct store_rotation r = rotation_of(&s), next = rotation_after(&r);
    assert_int_equal(rotated(&r), STORE_ROTATED);
    memcpy(next.token_digest, r.next_digest, sizeof next.token_digest);
    assert_ok(store_end_session(conn, &s.session_id, NULL, NULL, "logout"));
    assert_int_equal(rotated(&next), STORE_REVOKED);
    assert_int_equal(rotated(&r), STORE_REVOKED); /* the sealed successor went with it */
    assert_err(store_end_session(conn, &s.session_id, NULL, NULL, "logout"), ERR_NOT_FOUND);
    struct uuid unknown;
    assert_ok(uuid_make_v4(&unknown));
    assert_err(store_end_session(conn, &unknown, NULL, NULL, "logout"), ERR_NOT_FOUND);
}

TEST(only_the_owner_ends_a_session_in_the_owners_name)
{
    struct someone who = someone_registered(), other = someone_registered();
    struct store_new_session s = opened_session(&who);
    assert_err(store_end_session(conn, &s.session_id, &other.tenant_id, &other.user_id, "x"),
               ERR_NOT_FOUND);
    assert_err(store_end_session(conn, &s.session_id, &who.tenant_id, &other.user_id, "x"),
               ERR_NOT_FOUND);
    assert_err(store_end_session(conn, &s.session_id, &other.tenant_id, &who.user_id, "x"),
               ERR_NOT_FOUND);
    assert_int_equal(live_sessions(&who), 1);
    assert_ok(store_end_session(conn, &s.session_id, &who.tenant_id, &who.user_id, "x"));
    assert_int_equal(live_sessions(&who), 0);
}

struct ending {
    struct uuid session_id;
    const struct someone *owner; /* NULL: by its token */
    enum err e;
};

static void *end_session(void *arg)
{
    struct ending *ending = arg;
    struct store_conn *c = NULL;
    const struct uuid *tenant_id = ending->owner != NULL ? &ending->owner->tenant_id : NULL;
    const struct uuid *user_id = ending->owner != NULL ? &ending->owner->user_id : NULL;
    ending->e = store_conn_open(store, &c);
    if (ending->e == OK)
        ending->e = store_end_session(c, &ending->session_id, tenant_id, user_id, "x");
    store_conn_close(c);
    return NULL;
}

TEST(a_rotation_under_way_at_the_idle_end_does_not_outlive_the_end_of_its_session)
{
    struct someone who = someone_registered();
    if (store_is_single_writer(store)) /* nothing is under way beside the end */
        return;
    for (unsigned i = 0; i < 2; i++) {
        struct store_new_session s = session_of(&who);
        struct ending ending = {.session_id = s.session_id, .owner = i == 0 ? NULL : &who};
        pthread_t thread;
        s.opened_at -= s.idle_ms; /* the idle end is now */
        assert_ok(store_login_finish(conn, &s));
        store_hold("UPDATE sessions SET idle_expires_at = absolute_expires_at WHERE id = %s",
                   &s.session_id);
        assert_int_equal(pthread_create(&thread, NULL, end_session, &ending), 0);
        sleep_ms(200);
        store_commit();
        pthread_join(thread, NULL);
        assert_ok(ending.e);
        assert_int_equal(live_sessions(&who), 0);
    }
}

TEST(ending_all_counts_the_live_ones_of_that_user)
{
    struct someone who = someone_registered(), other = someone_registered();
    uint64_t ended = 77;
    for (unsigned i = 0; i < 4; i++)
        (void)opened_session(&who);
    struct store_new_session s = opened_session(&who);
    (void)opened_session(&other);
    assert_ok(store_end_session(conn, &s.session_id, NULL, NULL, "logout"));
    assert_ok(store_end_sessions(conn, &other.tenant_id, &who.user_id, "x", &ended));
    assert_int_equal(ended, 0);
    assert_ok(store_end_sessions(conn, &who.tenant_id, &who.user_id, "logout_all", &ended));
    assert_int_equal(ended, 4);
    assert_ok(store_end_sessions(conn, &who.tenant_id, &who.user_id, "logout_all", &ended));
    assert_int_equal(ended, 0);
    assert_int_equal(live_sessions(&who), 0);
    assert_int_equal(live_sessions(&other), 1);
}

/* ---- listing ---- */

TEST(sessions_are_listed_newest_first_up_to_the_maximum)
{
    struct someone who = someone_registered();
    struct store_new_session opened[5];
    struct store_session listed[5];
    size_t count = 77;
    assert_ok(store_list_sessions(conn, &who.tenant_id, &who.user_id, listed, 5, &count));
    assert_int_equal(count, 0);
    for (unsigned i = 0; i < 5; i++) {
        opened[i] = opened_session(&who);
        sleep_ms(3);
    }
    for (size_t max = 0; max <= 5; max++) {
        assert_ok(store_list_sessions(conn, &who.tenant_id, &who.user_id, listed, max, &count));
        assert_int_equal(count, max);
        for (size_t i = 0; i < max; i++)
            assert_true(uuid_equal(&listed[i].id, &opened[4 - i].session_id));
    }
}

TEST(a_list_shows_the_last_use)
{
    struct someone who = someone_registered();
    struct store_new_session s = opened_session(&who);
    struct store_rotation r = rotation_of(&s);
    struct store_session listed;
    size_t count = 0;
    sleep_ms(3);
    assert_int_equal(rotated(&r), STORE_ROTATED);
    assert_ok(store_list_sessions(conn, &who.tenant_id, &who.user_id, &listed, 1, &count));
    assert_int_equal(listed.generation, 1);
    assert_true(listed.rotated_at > listed.opened_at);
    assert_string_equal(listed.client_ip, "192.0.2.2");
    assert_string_equal(listed.user_agent, "second");
}

/* ---- batches ---- */

TEST(what_a_batch_holds_is_there_when_it_has_ended)
{
    struct someone who[3];
    struct uuid id;
    assert_ok(store_batch_begin(conn));
    for (unsigned i = 0; i < 3; i++) {
        who[i] = someone_new();
        assert_ok(someone_register(conn, &who[i], NULL, &id));
    }
    assert_err(someone_register(conn, &who[0], NULL, &id), ERR_CONFLICT); /* an answer, no fault */
    struct store_new_session s = session_of(&who[1]);
    assert_ok(store_login_finish(conn, &s));
    assert_ok(store_batch_end(conn));
    assert_int_equal(live_sessions(&who[1]), 1);
    for (unsigned i = 0; i < 3; i++)
        assert_err(someone_register(conn, &who[i], NULL, &id), ERR_CONFLICT);
}

/* Two sessions of one id break a constraint: a fault. */
TEST(a_failing_batch_changes_nothing)
{
    if (!store_is_single_writer(store))
        skip();
    struct someone before = someone_registered(), in_batch = someone_new(), after = someone_new();
    struct store_new_session s = opened_session(&before), twin = s;
    struct store_rotation r = rotation_of(&s);
    struct uuid id;
    assert_ok(store_batch_begin(conn));
    assert_ok(someone_register(conn, &in_batch, NULL, &id));
    assert_int_equal(rotated(&r), STORE_ROTATED);
    assert_int_not_equal(store_login_finish(conn, &twin), OK);
    assert_int_not_equal(someone_register(conn, &after, NULL, &id), OK);
    assert_int_not_equal(store_batch_end(conn), OK);
    assert_ok(someone_register(conn, &in_batch, NULL, &id));
    assert_ok(someone_register(conn, &after, NULL, &id));
    assert_int_equal(rotated(&r), STORE_ROTATED); /* as if for the first time */
}

TEST(a_fault_outside_a_batch_changes_nothing_and_the_next_operation_works)
{
    struct someone who = someone_registered();
    struct store_new_session s = opened_session(&who), twin = s;
    struct store_login login;
    assert_ok(begin_login(&who, &login));
    twin.old_hash = "hash";
    twin.new_hash = "new";
    twin.max_sessions = 1;
    assert_int_not_equal(store_login_finish(conn, &twin), OK);
    assert_ok(begin_login(&who, &login)); /* the second failure: the first was not cleared */
    assert_ok(begin_login(&who, &login));
    assert_true(login.last_attempt);
    assert_string_equal(login.password_hash, "hash");
    assert_int_equal(live_sessions(&who), 1);
}

int run_session_tests(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_current_token_is_rotated_into_its_successor),
        cmocka_unit_test(a_retry_within_the_leeway_gets_the_successor_of_the_first_time),
        cmocka_unit_test(a_spent_token_after_the_leeway_ends_the_session),
        cmocka_unit_test(of_rotations_that_share_a_transaction_each_gets_its_own_verdict),
        cmocka_unit_test(a_rotation_that_fails_does_not_take_those_beside_it_along),
        cmocka_unit_test(a_session_that_somebody_holds_does_not_hold_up_those_beside_it),
        cmocka_unit_test(the_leeway_ends_in_time),
        cmocka_unit_test(a_clock_that_goes_back_does_not_prolong_the_leeway),
        cmocka_unit_test(a_token_of_two_generations_ago_is_a_replay_even_within_the_leeway),
        cmocka_unit_test(what_is_not_of_the_chain_is_unknown_and_hurts_nobody),
        cmocka_unit_test(an_idle_session_expires_and_use_prolongs_it),
        cmocka_unit_test(no_use_prolongs_a_session_beyond_its_absolute_end),
        cmocka_unit_test(an_ended_session_is_revoked_at_once_and_ends_once),
        cmocka_unit_test(only_the_owner_ends_a_session_in_the_owners_name),
        cmocka_unit_test(
            a_rotation_under_way_at_the_idle_end_does_not_outlive_the_end_of_its_session),
        cmocka_unit_test(ending_all_counts_the_live_ones_of_that_user),
        cmocka_unit_test(sessions_are_listed_newest_first_up_to_the_maximum),
        cmocka_unit_test(a_list_shows_the_last_use),
        cmocka_unit_test(what_a_batch_holds_is_there_when_it_has_ended),
        cmocka_unit_test(a_failing_batch_changes_nothing),
        cmocka_unit_test(a_fault_outside_a_batch_changes_nothing_and_the_next_operation_works),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
