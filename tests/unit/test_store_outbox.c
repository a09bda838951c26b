/* The outbox: which operation writes which events, and how they are read and removed. */
#include "store_fixture.h"

#define TRACE "trace-of-this-test"
#define MAX 64

/* Its own connections to the database under test, opened with all kinds of events. */
static struct store *telling;
static struct store_conn *plain, *relay;
static struct store_event events[MAX];
static size_t count;

/* Runs before each test: the fixture's operations go through a connection that tells. */
static int begin(void **state)
{
    (void)state;
    store_raw("DELETE FROM outbox", NULL);
    assert_ok(store_fixture_open_another(EVENTS_ALL, STORE_FIXTURE_TIMEOUT_MS, &telling));
    plain = conn;
    assert_ok(store_conn_open(telling, &conn));
    assert_ok(store_conn_open_background(telling, &relay));
    store_conn_trace(conn, TRACE);
    return 0;
}

static int end(void **state)
{
    (void)state;
    store_conn_close(relay);
    store_conn_close(conn);
    store_close(telling);
    conn = plain;
    return 0;
}

static struct store_backlog read_all(void)
{
    struct store_backlog backlog = {0};
    assert_ok(store_outbox_read(relay, events, MAX, &count, &backlog));
    return backlog;
}

static void delete_all(void)
{
    int64_t seqs[MAX];
    for (size_t i = 0; i < count; i++)
        seqs[i] = events[i].seq;
    assert_ok(store_outbox_delete(relay, seqs, count));
}

/* Forgets what there is, for example of a registration that only prepares. */
static void clear_events(void)
{
    (void)read_all();
    delete_all();
}

/* The one event of that kind among those read; all events are checked for what holds of all. */
static const struct store_event *the(enum event_kind kind)
{
    const struct store_event *found = NULL;
    for (size_t i = 0; i < count; i++) {
        assert_string_equal(events[i].trace_id, TRACE);
        assert_int_equal(events[i].id.b[6] >> 4, 7);
        assert_int_equal(events[i].id.b[8] >> 6, 2);
        int64_t made_at = 0;
        for (unsigned b = 0; b < 6; b++)
            made_at = made_at << 8 | events[i].id.b[b];
        assert_int_equal(made_at, events[i].occurred_at);
        if (events[i].kind == kind) {
            assert_null(found);
            found = &events[i];
        }
    }
    assert_non_null(found);
    return found;
}

static const struct store_event *the_only(enum event_kind kind)
{
    (void)read_all();
    assert_int_equal(count, 1);
    return the(kind);
}

static void assert_about(const struct store_event *event, const struct someone *who,
                         const struct uuid *session_id)
{
    assert_true(event->has_tenant && uuid_equal(&event->tenant_id, &who->tenant_id));
    assert_true(event->has_user && uuid_equal(&event->user_id, &who->user_id));
    assert_int_equal(event->has_session, session_id != NULL);
    if (session_id != NULL)
        assert_true(uuid_equal(&event->session_id, session_id));
}

TEST(each_subject_has_a_name_and_is_found_by_it)
{
    for (unsigned i = 0; i < EVENT_KINDS; i++) {
        const char *subject = store_event_subject((enum event_kind)i);
        enum event_kind kind = EVENT_KINDS;
        assert_memory_equal(subject, "auth.", 5);
        assert_ok(store_event_find(subject, strlen(subject), &kind));
        assert_int_equal(kind, i);
        assert_err(store_event_find(subject, strlen(subject) - 1, &kind), ERR_NOT_FOUND);
    }
}

TEST(a_registration_is_told_once_and_a_refused_one_not)
{
    struct someone who = someone_registered();
    const struct store_event *event = the_only(EVENT_USER_REGISTERED);
    assert_about(event, &who, NULL);
    assert_string_equal(event->label, who.email);
    struct uuid id;
    assert_err(someone_register(conn, &who, NULL, &id), ERR_CONFLICT);
    (void)the_only(EVENT_USER_REGISTERED);
}

TEST(a_repeated_registration_is_not_told_again)
{
    struct someone who = someone_new();
    struct uuid id;
    assert_ok(someone_register(conn, &who, who.digest, &id));
    assert_ok(someone_register(conn, &who, who.digest, &id));
    (void)the_only(EVENT_USER_REGISTERED);
}

TEST(a_login_and_its_refreshes_are_told)
{
    struct someone who = someone_registered();
    clear_events();
    struct store_new_session session = opened_session(&who);
    assert_about(the_only(EVENT_USER_LOGGED_IN), &who, &session.session_id);
    clear_events();
    struct store_rotation r = rotation_of(&session);
    assert_int_equal(rotated(&r), STORE_ROTATED);
    const struct store_event *event = the_only(EVENT_TOKEN_REFRESHED);
    assert_about(event, &who, &session.session_id);
    assert_int_equal(event->number, 1);
    assert_int_equal(rotated(&r), STORE_RETRIED); /* changes nothing */
    (void)the_only(EVENT_TOKEN_REFRESHED);
}

TEST(a_replay_is_told_with_both_clients_and_with_the_end_of_the_session)
{
    struct someone who = someone_registered();
    struct store_new_session session = opened_session(&who);
    struct store_rotation first = rotation_of(&session), second = rotation_after(&first);
    assert_int_equal(rotated(&first), STORE_ROTATED);
    assert_int_equal(rotated(&second), STORE_ROTATED);
    clear_events();
    first.client_ip = "198.51.100.7";
    first.user_agent = "thief";
    assert_int_equal(rotated(&first), STORE_REPLAYED);
    (void)read_all();
    assert_int_equal(count, 2);
    const struct store_event *seen = the(EVENT_REPLAY_DETECTED);
    assert_about(seen, &who, &session.session_id);
    assert_int_equal(seen->number, 2);
    assert_in_range(seen->age_ms, 0, 60000);
    assert_true(seen->presented.known && seen->previous.known);
    assert_string_equal(seen->presented.ip, "198.51.100.7");
    assert_string_equal(seen->presented.user_agent, "thief");
    assert_string_equal(seen->previous.ip, "192.0.2.2");
    assert_string_equal(seen->previous.user_agent, "second");
    const struct store_event *revoked = the(EVENT_SESSION_REVOKED);
    assert_about(revoked, &who, &session.session_id);
    assert_string_equal(revoked->label, "replay_detected");
    assert_int_equal(rotated(&first), STORE_REVOKED);
    (void)read_all();
    assert_int_equal(count, 2);
}

TEST(logout_and_revocation_are_told_and_only_when_something_ends)
{
    struct someone who = someone_registered();
    struct store_new_session a = opened_session(&who), b = opened_session(&who);
    clear_events();
    assert_ok(store_end_session(conn, &a.session_id, NULL, NULL, "logout"));
    assert_err(store_end_session(conn, &a.session_id, NULL, NULL, "logout"), ERR_NOT_FOUND);
    assert_about(the_only(EVENT_USER_LOGGED_OUT), &who, &a.session_id);
    clear_events();
    assert_ok(store_end_session(conn, &b.session_id, &who.tenant_id, &who.user_id, "user_revoked"));
    const struct store_event *event = the_only(EVENT_SESSION_REVOKED);
    assert_about(event, &who, &b.session_id);
    assert_string_equal(event->label, "user_revoked");
}

TEST(each_session_that_ends_with_others_is_told)
{
    struct someone who = someone_registered();
    struct store_new_session first = opened_session(&who);
    (void)opened_session(&who);
    clear_events();
    uint64_t ended = 0;
    assert_ok(store_end_sessions(conn, &who.tenant_id, &who.user_id, "logout_all", &ended));
    (void)read_all();
    assert_int_equal(count, 2);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(events[i].kind, EVENT_SESSION_REVOKED);
        assert_string_equal(events[i].label, "logout_all");
    }
    assert_true(uuid_equal(&events[0].session_id, &first.session_id) ||
                uuid_equal(&events[1].session_id, &first.session_id));
}

TEST(a_session_that_a_fence_has_ended_is_told_when_it_is_next_presented)
{
    struct someone who = someone_registered();
    struct store_new_session session = opened_session(&who);
    struct store_rotation r = rotation_of(&session);
    int64_t fence = 0;
    clear_events();
    sleep_ms(2);
    assert_ok(store_fence_sessions(conn, &fence));
    assert_int_equal(rotated(&r), STORE_REVOKED);
    assert_int_equal(rotated(&r), STORE_REVOKED);
    const struct store_event *event = the_only(EVENT_SESSION_REVOKED);
    assert_about(event, &who, &session.session_id);
    assert_string_equal(event->label, "operator");
    sleep_ms(2); /* what follows opens its sessions later than the fence */
}

TEST(the_session_that_makes_room_is_told)
{
    struct someone who = someone_registered();
    struct store_new_session oldest = opened_session(&who);
    sleep_ms(2); /* else nobody could say which is the oldest */
    struct store_new_session next = session_of(&who);
    clear_events();
    next.max_sessions = 1;
    assert_ok(store_login_finish(conn, &next));
    (void)read_all();
    assert_int_equal(count, 2);
    assert_about(the(EVENT_USER_LOGGED_IN), &who, &next.session_id);
    const struct store_event *event = the(EVENT_SESSION_REVOKED);
    assert_about(event, &who, &oldest.session_id);
    assert_string_equal(event->label, "session_limit");
}

/* The attempt that locks; its name is in attempt_id. */
static struct uuid attempt_id;
static struct store_login locking_attempt(const struct someone *who, int64_t hold_ms)
{
    struct store_login_request request = login_of(who);
    struct store_login login = {0};
    request.hold_ms = hold_ms;
    for (unsigned i = 0; i < request.threshold; i++) {
        assert_ok(uuid_make_v4(&attempt_id));
        request.attempt_id = attempt_id;
        assert_ok(store_login_begin(conn, &request, &login));
    }
    assert_true(login.last_attempt);
    return login;
}

static enum err confirm(const struct someone *who)
{
    return store_confirm_lock(conn, &who->tenant_id, who->digest, &attempt_id);
}

TEST(a_lock_is_told_when_the_attempt_has_been_judged)
{
    struct someone who = someone_new(); /* not registered: locks all the same */
    int64_t locked_until = locking_attempt(&who, 600000).locked_until;
    assert_int_equal(read_all().rows, 1);
    assert_int_equal(count, 0); /* held */
    assert_ok(confirm(&who));
    const struct store_event *event = the_only(EVENT_ACCOUNT_LOCKED);
    assert_false(event->has_user);
    assert_true(event->has_identity);
    assert_memory_equal(event->identity, who.digest, sizeof who.digest);
    assert_int_equal(event->number, locked_until);
}

TEST(a_lock_whose_judge_never_came_is_told_after_a_while)
{
    struct someone who = someone_registered();
    clear_events();
    (void)locking_attempt(&who, 20);
    sleep_ms(40);
    assert_about(the_only(EVENT_ACCOUNT_LOCKED), &who, NULL);
}

static void refund(const struct someone *who, int64_t window)
{
    struct store_refund r = {.tenant_id = who->tenant_id,
                             .attempt_id = attempt_id,
                             .window_started_at = window,
                             .threshold = 3};
    memcpy(r.identity_digest, who->digest, sizeof r.identity_digest);
    assert_ok(store_login_refund(conn, &r));
}

TEST(a_lock_that_was_none_is_not_told)
{
    struct someone who = someone_registered();
    clear_events();
    struct store_login login = locking_attempt(&who, 600000);
    refund(&who, login.window_started_at);
    assert_int_equal(read_all().rows, 0);
    (void)locking_attempt(&(struct someone){.tenant_id = who.tenant_id, .email = "x@y.example"},
                          600000);
    refund(&(struct someone){.tenant_id = who.tenant_id}, 0); /* nobody learnt of it */
    assert_int_equal(read_all().rows, 0);

    struct someone other = someone_registered();
    clear_events();
    (void)locking_attempt(&other, 600000);
    struct store_new_session session = session_of(&other);
    session.attempt_id = &attempt_id;
    assert_ok(store_login_finish(conn, &session));
    (void)the_only(EVENT_USER_LOGGED_IN);
    assert_int_equal(read_all().rows, 1);
}

TEST(a_lock_that_is_gone_before_its_attempt_has_been_judged_is_not_told)
{
    struct someone who = someone_registered();
    struct store_login login = locking_attempt(&who, 600000);
    struct store_new_session session = session_of(&who); /* an earlier attempt was right */
    clear_events();
    assert_ok(store_login_finish(conn, &session));
    clear_events();
    assert_err(confirm(&who), ERR_NOT_FOUND);
    assert_int_equal(read_all().rows, 0);

    login = locking_attempt(&who, 600000);
    struct uuid locking = attempt_id;
    assert_ok(uuid_make_v4(&attempt_id)); /* an earlier one is given back */
    refund(&who, login.window_started_at);
    attempt_id = locking;
    assert_err(confirm(&who), ERR_NOT_FOUND);
    assert_int_equal(read_all().rows, 0);

    bool locked = false;
    assert_ok(store_unlock(conn, &who.tenant_id, &who.user_id, who.digest, &locked));
    (void)locking_attempt(&who, 600000);
    assert_ok(store_unlock(conn, &who.tenant_id, &who.user_id, who.digest, &locked));
    assert_true(locked);
    assert_err(confirm(&who), ERR_NOT_FOUND);
    (void)the_only(EVENT_ACCOUNT_UNLOCKED);
    assert_int_equal(read_all().rows, 1);
}

TEST(a_lock_is_confirmed_without_events_too)
{
    struct someone who = someone_registered();
    struct store_conn *told = conn;
    bool locked = false;
    conn = plain;
    (void)locking_attempt(&who, 600000);
    assert_ok(confirm(&who));
    assert_ok(store_unlock(conn, &who.tenant_id, &who.user_id, who.digest, &locked));
    assert_err(confirm(&who), ERR_NOT_FOUND);
    conn = told;
}

TEST(what_operators_do_is_told_once)
{
    struct someone who = someone_registered();
    struct store_new_session session = opened_session(&who);
    struct store_ended ended;
    clear_events();
    assert_ok(store_set_active(conn, &who.tenant_id, &who.user_id, false, &ended));
    (void)read_all();
    assert_int_equal(count, 2);
    assert_about(the(EVENT_USER_DISABLED), &who, NULL);
    assert_about(the(EVENT_SESSION_REVOKED), &who, &session.session_id);
    assert_string_equal(the(EVENT_SESSION_REVOKED)->label, "account_disabled");
    clear_events();
    assert_ok(store_set_active(conn, &who.tenant_id, &who.user_id, false, &ended));
    (void)read_all();
    assert_int_equal(count, 0);
    assert_ok(store_set_active(conn, &who.tenant_id, &who.user_id, true, &ended));
    assert_about(the_only(EVENT_USER_ENABLED), &who, NULL);
    clear_events();
    session = opened_session(&who);
    clear_events();
    struct store_revoked revoked;
    assert_ok(store_revoke_session(conn, &session.session_id, "operator", &revoked));
    assert_ok(store_revoke_session(conn, &session.session_id, "operator", &revoked));
    assert_about(the_only(EVENT_SESSION_REVOKED), &who, &session.session_id);
}

TEST(an_unlocking_is_told_if_there_was_a_lock)
{
    struct someone who = someone_registered();
    bool locked = true;
    clear_events();
    assert_ok(store_unlock(conn, &who.tenant_id, &who.user_id, who.digest, &locked));
    assert_false(locked);
    assert_int_equal(read_all().rows, 0);
    (void)locking_attempt(&who, 0);
    clear_events();
    assert_ok(store_unlock(conn, &who.tenant_id, &who.user_id, who.digest, &locked));
    assert_true(locked);
    const struct store_event *event = the_only(EVENT_ACCOUNT_UNLOCKED);
    assert_about(event, &who, NULL);
    assert_memory_equal(event->identity, who.digest, sizeof who.digest);
}

TEST(a_lock_whose_judge_never_came_is_not_told_after_its_end_was)
{
    struct someone who = someone_registered();
    bool locked = false;
    uint64_t ended = 0;
    clear_events();
    (void)locking_attempt(&who, 0);
    assert_ok(store_unlock(conn, &who.tenant_id, &who.user_id, who.digest, &locked));
    assert_true(locked);
    (void)the_only(EVENT_ACCOUNT_UNLOCKED);
    clear_events();
    (void)locking_attempt(&who, 0);
    assert_ok(store_delete_user(conn, &who.tenant_id, &who.user_id, who.digest, &ended));
    (void)the_only(EVENT_USER_DELETED);
}

TEST(a_deleted_user_leaves_no_address_and_no_client_in_what_waits)
{
    struct someone who = someone_registered();
    struct store_new_session session = opened_session(&who);
    struct store_rotation first = rotation_of(&session), second = rotation_after(&first);
    assert_int_equal(rotated(&first), STORE_ROTATED);
    assert_int_equal(rotated(&second), STORE_ROTATED);
    assert_int_equal(rotated(&first), STORE_REPLAYED);
    session = opened_session(&who);
    uint64_t ended = 0;
    assert_ok(store_delete_user(conn, &who.tenant_id, &who.user_id, who.digest, &ended));
    (void)read_all();
    assert_string_equal(the(EVENT_USER_REGISTERED)->label, "");
    assert_false(the(EVENT_REPLAY_DETECTED)->presented.known);
    assert_false(the(EVENT_REPLAY_DETECTED)->previous.known);
    assert_about(the(EVENT_USER_DELETED), &who, NULL);
    const struct store_event *last = NULL;
    for (size_t i = 0; i < count; i++)
        if (events[i].kind == EVENT_SESSION_REVOKED)
            last = &events[i];
    assert_about(last, &who, &session.session_id);
    assert_string_equal(last->label, "account_deleted");
}

TEST(keys_are_told_without_a_tenant)
{
    for (unsigned i = 0; i < 3; i++) /* as three instances would */
        assert_ok(store_tell_key(conn, EVENT_KEY_REVOKED, "stolen", "revoked"));
    assert_ok(store_tell_key(conn, EVENT_KEY_ROTATED, "stolen", "gone")); /* who comes late */
    const struct store_event *event = the_only(EVENT_KEY_REVOKED);
    assert_false(event->has_tenant || event->has_user || event->has_session);
    assert_string_equal(event->label, "stolen");
    assert_string_equal(event->detail, "revoked");
}

TEST(without_events_nothing_is_written)
{
    struct store_conn *told = conn;
    conn = plain;
    struct someone who = someone_registered();
    struct store_new_session session = opened_session(&who);
    struct store_rotation r = rotation_of(&session), next = rotation_after(&r);
    (void)rotated(&r);
    (void)rotated(&next);
    assert_int_equal(rotated(&r), STORE_REPLAYED);
    struct store_login_request request = login_of(&who);
    struct store_login login = {0};
    for (unsigned i = 0; i < request.threshold; i++)
        assert_ok(store_login_begin(conn, &request, &login));
    assert_true(login.last_attempt);
    assert_ok(store_tell_key(conn, EVENT_KEY_ROTATED, "kid", "active"));
    uint64_t ended = 0;
    assert_ok(store_delete_user(conn, &who.tenant_id, &who.user_id, who.digest, &ended));
    conn = told;
    assert_int_equal(read_all().rows, 0);
}

TEST(kinds_that_are_not_wanted_are_not_written)
{
    struct store *few = NULL;
    struct store_conn *told = conn;
    assert_ok(store_fixture_open_another(
        EVENTS_ALL & ~(EVENT_BIT(EVENT_TOKEN_REFRESHED) | EVENT_BIT(EVENT_REPLAY_DETECTED)),
        STORE_FIXTURE_TIMEOUT_MS, &few));
    assert_ok(store_conn_open(few, &conn));
    store_conn_trace(conn, TRACE);
    struct someone who = someone_registered();
    struct store_new_session session = opened_session(&who);
    struct store_rotation r = rotation_of(&session), next = rotation_after(&r);
    (void)rotated(&r);
    (void)rotated(&next);
    assert_int_equal(rotated(&r), STORE_REPLAYED);
    store_conn_close(conn);
    store_close(few);
    conn = told;
    (void)read_all();
    assert_int_equal(count, 3);
    assert_int_equal(events[0].kind, EVENT_USER_REGISTERED);
    assert_int_equal(events[1].kind, EVENT_USER_LOGGED_IN);
    assert_int_equal(events[2].kind, EVENT_SESSION_REVOKED);
}

TEST(events_are_read_in_order_measured_deleted_and_dropped)
{
    for (unsigned i = 0; i < 5; i++) {
        char kid[8];
        snprintf(kid, sizeof kid, "kid-%u", i);
        assert_ok(store_tell_key(conn, EVENT_KEY_ROTATED, kid, "active"));
    }
    struct store_backlog backlog = {0};
    assert_ok(store_outbox_read(relay, events, 3, &count, &backlog));
    assert_int_equal(count, 3);
    assert_int_equal(backlog.rows, 5);
    assert_true(backlog.ours);
    assert_int_equal(backlog.oldest_at, events[0].occurred_at);
    assert_true(events[0].seq < events[1].seq && events[1].seq < events[2].seq);
    int64_t middle = events[1].seq;
    assert_ok(store_outbox_delete(relay, &middle, 1));
    assert_ok(store_outbox_delete(relay, NULL, 0));
    assert_int_equal(read_all().rows, 4);
    assert_true(events[0].seq < middle && events[1].seq > middle);
    uint64_t dropped = 0;
    int64_t newest = events[3].seq;
    assert_ok(store_outbox_drop(relay, 3, &dropped));
    assert_int_equal(dropped, 3);
    assert_int_equal(read_all().rows, 1);
    assert_int_equal(events[0].seq, newest);
    delete_all();
    backlog = read_all();
    assert_int_equal(backlog.rows, 0);
    assert_int_equal(backlog.oldest_at, 0);
    assert_ok(store_tell_key(conn, EVENT_KEY_ROTATED, "kid-6", "active"));
    assert_true(the_only(EVENT_KEY_ROTATED)->seq > newest); /* never given again */
}

TEST(events_of_a_later_version_hold_nothing_up)
{
    bool sqlite = store_is_single_writer(store);
    store_raw(sqlite ? "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 100)"
                       " INSERT INTO outbox (event_id, subject, occurred_at, held_until, trace_id)"
                       " SELECT randomblob(16), 'auth.to_come', i, 0, 't' FROM n"
                     : "INSERT INTO outbox (subject, trace_id)"
                       " SELECT 'auth.to_come', 't' FROM generate_series(1, 100)",
              NULL);
    assert_ok(store_tell_key(conn, EVENT_KEY_ROTATED, "behind", "next"));
    assert_ok(store_tell_key(conn, EVENT_KEY_ROTATED, "behind", "active"));
    assert_int_equal(read_all().rows, 102);
    assert_int_equal(count, 2);
    assert_string_equal(events[0].detail, "next");
    delete_all();
    assert_int_equal(read_all().rows, 100); /* left for it */
}

TEST(a_long_backlog_is_measured_without_counting_it)
{
    bool sqlite = store_is_single_writer(store);
    store_raw(sqlite ? "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 10100)"
                       " INSERT INTO outbox (event_id, subject, occurred_at, held_until, trace_id)"
                       " SELECT randomblob(16), 'auth.key_rotated', i, 0, 't' FROM n"
                     : "INSERT INTO outbox (subject, trace_id)"
                       " SELECT 'auth.key_rotated', 't' FROM generate_series(1, 10100)",
              NULL);
    assert_int_equal(read_all().rows, 10100);
    uint64_t dropped = 0;
    assert_ok(store_outbox_drop(relay, 100000, &dropped));
    assert_int_equal(dropped, 10100);
}

TEST(one_connection_publishes_and_when_it_is_gone_another)
{
    struct store_conn *second = NULL;
    struct store_backlog backlog = {0};
    if (store_is_single_writer(store)) /* one process, and no lock */
        return;
    assert_ok(store_tell_key(conn, EVENT_KEY_ROTATED, "kid", "active"));
    assert_true(read_all().ours);
    assert_true(read_all().ours); /* asked again, taken once */
    assert_ok(store_conn_open_background(telling, &second));
    assert_ok(store_outbox_read(second, events, MAX, &count, &backlog));
    assert_false(backlog.ours);
    assert_int_equal(backlog.rows, 1);
    assert_int_equal(count, 0);
    store_conn_close(relay);
    relay = second;
    for (unsigned i = 0; i < 100 && !read_all().ours; i++)
        sleep_ms(20);
    (void)the_only(EVENT_KEY_ROTATED);
}

TEST(each_schema_of_a_database_has_its_own_that_publishes)
{
    struct store *beside = NULL;
    struct store_conn *theirs = NULL;
    struct store_backlog backlog = {0};
    if (store_is_single_writer(store))
        return;
    assert_true(read_all().ours);
    store_fixture_open_schema("beside", EVENTS_ALL, &beside);
    assert_ok(store_conn_open_background(beside, &theirs));
    assert_ok(store_tell_key(theirs, EVENT_KEY_ROTATED, "kid", "active"));
    assert_ok(store_outbox_read(theirs, events, MAX, &count, &backlog));
    assert_true(backlog.ours);
    assert_int_equal(count, 1);
    assert_int_equal(read_all().rows, 0);
    store_conn_close(theirs);
    store_close(beside);
}

#define OUTBOX_TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int run_outbox_tests(void)
{
    const struct CMUnitTest tests[] = {
        OUTBOX_TEST(each_subject_has_a_name_and_is_found_by_it),
        OUTBOX_TEST(a_registration_is_told_once_and_a_refused_one_not),
        OUTBOX_TEST(a_repeated_registration_is_not_told_again),
        OUTBOX_TEST(a_login_and_its_refreshes_are_told),
        OUTBOX_TEST(a_replay_is_told_with_both_clients_and_with_the_end_of_the_session),
        OUTBOX_TEST(logout_and_revocation_are_told_and_only_when_something_ends),
        OUTBOX_TEST(each_session_that_ends_with_others_is_told),
        OUTBOX_TEST(a_session_that_a_fence_has_ended_is_told_when_it_is_next_presented),
        OUTBOX_TEST(the_session_that_makes_room_is_told),
        OUTBOX_TEST(a_lock_is_told_when_the_attempt_has_been_judged),
        OUTBOX_TEST(a_lock_whose_judge_never_came_is_told_after_a_while),
        OUTBOX_TEST(a_lock_that_was_none_is_not_told),
        OUTBOX_TEST(a_lock_that_is_gone_before_its_attempt_has_been_judged_is_not_told),
        OUTBOX_TEST(a_lock_is_confirmed_without_events_too),
        OUTBOX_TEST(what_operators_do_is_told_once),
        OUTBOX_TEST(an_unlocking_is_told_if_there_was_a_lock),
        OUTBOX_TEST(a_lock_whose_judge_never_came_is_not_told_after_its_end_was),
        OUTBOX_TEST(a_deleted_user_leaves_no_address_and_no_client_in_what_waits),
        OUTBOX_TEST(keys_are_told_without_a_tenant),
        OUTBOX_TEST(without_events_nothing_is_written),
        OUTBOX_TEST(kinds_that_are_not_wanted_are_not_written),
        OUTBOX_TEST(events_are_read_in_order_measured_deleted_and_dropped),
        OUTBOX_TEST(events_of_a_later_version_hold_nothing_up),
        OUTBOX_TEST(a_long_backlog_is_measured_without_counting_it),
        OUTBOX_TEST(one_connection_publishes_and_when_it_is_gone_another),
        OUTBOX_TEST(each_schema_of_a_database_has_its_own_that_publishes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
