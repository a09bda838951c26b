/* The sweep: what must go goes, what must stay stays, on either store. */
#include "store_fixture.h"

#include <string.h>

#include "base/clock.h"
#include "base/text.h"

#define DAY MS_PER_DAY

/* The whole table, step by step, in a turn that began then. */
static struct store_swept swept_at(enum store_sweep what, int64_t now)
{
    const struct store_sweep_rules rules = {
        .now = now, .session_ms = 10 * DAY, .client_data_ms = 5 * DAY};
    struct store_swept all = {0};
    struct store_sweep_place place = {0};
    while (!place.end) {
        struct store_swept step;
        assert_ok(store_sweep_step(conn, what, &rules, &place, &step));
        all.deleted += step.deleted;
        all.erased += step.erased;
        all.live += step.live;
    }
    return all;
}

static struct store_swept swept(enum store_sweep what)
{
    return swept_at(what, clock_unix_ms());
}

/* A new session with one column set to a time relative to now. */
static struct uuid session_with(const char *column, int64_t offset_ms)
{
    struct someone who = someone_registered();
    struct store_new_session session = opened_session(&who);
    char sql[160];
    struct text t = text_on(sql, sizeof sql);
    text_put_f(&t, "UPDATE sessions SET %s = %lld WHERE id = %%s", column,
               (long long)(clock_unix_ms() + offset_ms));
    store_raw(sql, &session.session_id);
    return session.session_id;
}

static bool is_there(struct uuid id)
{
    struct store_revoked revoked;
    enum err e = store_revoke_session(conn, &id, "operator", &revoked);
    assert_true(e == OK || e == ERR_NOT_FOUND);
    return e == OK;
}

TEST(sessions_go_when_their_end_is_long_past_and_not_before)
{
    static const char *const ends[] = {"revoked_at", "idle_expires_at", "absolute_expires_at"};
    struct uuid old[ARRAY_LEN(ends)], young[ARRAY_LEN(ends)];
    for (size_t i = 0; i < ARRAY_LEN(ends); i++) {
        old[i] = session_with(ends[i], -10 * DAY - 1000);
        young[i] = session_with(ends[i], -10 * DAY + 60000);
    }
    struct uuid live = session_with("rotated_at", -9 * DAY);
    assert_int_equal(swept(STORE_SWEEP_SESSIONS).deleted, ARRAY_LEN(ends));
    assert_int_equal(swept(STORE_SWEEP_SESSIONS).deleted, 0);
    for (size_t i = 0; i < ARRAY_LEN(ends); i++) {
        assert_false(is_there(old[i]));
        assert_true(is_there(young[i]));
    }
    assert_true(is_there(live));
}

/* The clock has been looked at when the turn began; it may jump while the table is walked. */
TEST(what_goes_had_ended_when_the_turn_began)
{
    struct uuid old = session_with("revoked_at", -11 * DAY);
    struct uuid idle = session_with("rotated_at", -6 * DAY);
    struct store_swept done = swept_at(STORE_SWEEP_SESSIONS, clock_unix_ms() - 2 * DAY);
    assert_int_equal(done.deleted, 0);
    assert_int_equal(done.erased, 0);
    done = swept(STORE_SWEEP_SESSIONS);
    assert_int_equal(done.deleted, 1);
    assert_int_equal(done.erased, 1);
    assert_false(is_there(old));
    assert_true(is_there(idle));
}

TEST(a_spent_token_of_a_live_session_is_still_a_replay_after_the_sweep)
{
    struct someone who = someone_registered();
    struct store_new_session session = opened_session(&who);
    struct store_rotation first = rotation_of(&session);
    assert_int_equal(rotated(&first), STORE_ROTATED);
    struct store_rotation second = rotation_after(&first);
    assert_int_equal(rotated(&second), STORE_ROTATED);
    store_raw("UPDATE sessions SET opened_at = opened_at - 2000000000,"
              " rotated_at = rotated_at - 2000000000 WHERE id = %s",
              &session.session_id);
    assert_int_equal(swept(STORE_SWEEP_SESSIONS).deleted, 0);
    assert_int_equal(rotated(&first), STORE_REPLAYED);
}

/* The address and user agent of the last use, as the list shows them. */
static void assert_client_data(const struct someone *who, bool there)
{
    struct store_session session;
    size_t count = 0;
    assert_ok(store_list_sessions(conn, &who->tenant_id, &who->user_id, &session, 1, &count));
    assert_int_equal(count, 1);
    assert_int_equal(session.client_ip[0] != '\0', there);
    assert_int_equal(session.user_agent[0] != '\0', there);
}

TEST(addresses_go_when_the_session_has_not_been_used_for_long)
{
    static const int64_t ages[] = {5 * DAY + 1000, 5 * DAY - 60000};
    struct someone who[ARRAY_LEN(ages)];
    char sql[160];
    for (size_t i = 0; i < ARRAY_LEN(ages); i++) {
        who[i] = someone_registered();
        struct store_new_session session = opened_session(&who[i]);
        struct text t = text_on(sql, sizeof sql);
        text_put_f(&t, "UPDATE sessions SET rotated_at = %lld WHERE id = %%s",
                   (long long)(clock_unix_ms() - ages[i]));
        store_raw(sql, &session.session_id);
        assert_client_data(&who[i], true);
    }
    assert_true(swept(STORE_SWEEP_SESSIONS).erased >= 1); /* other tests' are in the table too */
    assert_client_data(&who[0], false);
    assert_client_data(&who[1], true);
    assert_int_equal(swept(STORE_SWEEP_SESSIONS).erased, 0);
}

TEST(live_sessions_are_counted)
{
    uint64_t before = swept(STORE_SWEEP_SESSIONS).live;
    session_with("rotated_at", 0);
    session_with("rotated_at", 0);
    session_with("revoked_at", -1000);
    session_with("idle_expires_at", -1000);
    assert_int_equal(swept(STORE_SWEEP_SESSIONS).live, before + 2);
}

static struct someone failed_with(const char *assignments)
{
    struct someone who = someone_new();
    struct store_login login;
    char sql[256];
    assert_ok(begin_login(&who, &login));
    struct text t = text_on(sql, sizeof sql);
    text_put_f(&t, "UPDATE login_throttle SET %s WHERE tenant_id = %%s", assignments);
    store_raw(sql, &who.tenant_id);
    return who;
}

static int64_t failures_of(const struct someone *who)
{
    struct store_lock lock;
    assert_ok(store_find_lock(conn, &who->tenant_id, who->digest, &lock));
    return lock.failures;
}

TEST(failed_logins_go_when_window_and_lock_are_over)
{
    struct someone over = failed_with("window_started_at = window_started_at - 86401000");
    struct someone in_window = failed_with("window_started_at = window_started_at - 86300000");
    struct someone locked = failed_with("locked_until = window_started_at,"
                                        " window_started_at = window_started_at - 86401000");
    struct someone lock_over = failed_with("locked_until = window_started_at - 86401000,"
                                           " window_started_at = window_started_at - 90000000");
    assert_int_equal(swept(STORE_SWEEP_THROTTLES).deleted, 2);
    assert_int_equal(failures_of(&over), 0);
    assert_int_equal(failures_of(&lock_over), 0);
    assert_int_equal(failures_of(&in_window), 1);
    assert_int_equal(failures_of(&locked), 1);
}

TEST(idempotency_keys_go_after_a_day)
{
    static const char *const ages[] = {"86401000", "86300000"};
    char sql[160];
    for (size_t i = 0; i < ARRAY_LEN(ages); i++) {
        struct someone who = someone_new();
        struct uuid user_id;
        assert_ok(someone_register(conn, &who, who.digest, &user_id));
        struct text t = text_on(sql, sizeof sql);
        text_put_f(&t,
                   "UPDATE idempotency_keys SET created_at = created_at - %s"
                   " WHERE user_id = %%s",
                   ages[i]);
        store_raw(sql, &user_id);
    }
    assert_int_equal(swept(STORE_SWEEP_KEYS).deleted, 1);
    assert_int_equal(swept(STORE_SWEEP_KEYS).deleted, 0);
}

TEST(a_table_of_many_steps_is_walked_to_its_end)
{
    enum { MANY = 900 };
    struct someone who = someone_registered();
    for (unsigned i = 0; i < MANY; i++) {
        struct store_new_session session = session_of(&who);
        session.max_sessions = MANY;
        assert_ok(store_login_finish(conn, &session));
    }
    assert_true(swept(STORE_SWEEP_SESSIONS).live >= MANY);
    store_raw("UPDATE sessions SET revoked_at = 1 WHERE tenant_id = %s AND generation = 0",
              &who.tenant_id);
    assert_int_equal(swept(STORE_SWEEP_SESSIONS).deleted, MANY);
}

TEST(one_sweeps_at_a_time_and_not_too_often)
{
    struct store_sweep_turn turn;
    assert_ok(store_sweep_begin(conn, 300, &turn));
    assert_false(turn.ours); /* the first is due an hour after the database was made */
    store_raw("UPDATE settings SET value = 1 WHERE name = 'sweep_due'", NULL);
    assert_ok(store_sweep_begin(conn, 300, &turn));
    assert_true(turn.ours);
    assert_ok(store_sweep_begin(conn, 300, &turn));
    assert_false(turn.ours);
    assert_ok(store_sweep_keep(conn, 600));
    sleep_ms(350);
    assert_ok(store_sweep_begin(conn, 300, &turn));
    assert_false(turn.ours);
    sleep_ms(350); /* whoever had the turn has died */
    assert_ok(store_sweep_begin(conn, 60000, &turn));
    assert_true(turn.ours);
    assert_ok(store_sweep_end(conn, 300, 42));
    assert_ok(store_sweep_begin(conn, 60000, &turn));
    assert_false(turn.ours);
    assert_int_equal(turn.live_sessions, 42);
    sleep_ms(350);
    assert_ok(store_sweep_begin(conn, 60000, &turn));
    assert_true(turn.ours);
    assert_ok(store_sweep_end(conn, STORE_SWEEP_PAUSE_MAX_MS + 60000, 0)); /* a wrong clock's */
    assert_ok(store_sweep_begin(conn, 60000, &turn));
    assert_true(turn.ours);
}

/* Other tests have left rows that are long over, and may have ended all sessions at once. */
static int start_afresh(void **state)
{
    (void)state;
    store_raw("UPDATE settings SET value = 0 WHERE name = 'sessions_not_before'", NULL);
    for (unsigned what = 0; what < STORE_SWEEPS; what++)
        (void)swept((enum store_sweep)what);
    return 0;
}

int run_sweep_tests(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sessions_go_when_their_end_is_long_past_and_not_before),
        cmocka_unit_test(what_goes_had_ended_when_the_turn_began),
        cmocka_unit_test(a_spent_token_of_a_live_session_is_still_a_replay_after_the_sweep),
        cmocka_unit_test(addresses_go_when_the_session_has_not_been_used_for_long),
        cmocka_unit_test(live_sessions_are_counted),
        cmocka_unit_test(failed_logins_go_when_window_and_lock_are_over),
        cmocka_unit_test(idempotency_keys_go_after_a_day),
        cmocka_unit_test(a_table_of_many_steps_is_walked_to_its_end),
        cmocka_unit_test(one_sweeps_at_a_time_and_not_too_often),
    };
    return cmocka_run_group_tests(tests, start_afresh, NULL);
}
