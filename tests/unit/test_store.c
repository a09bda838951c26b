/* The store, on each kind of database: opening, registering and logging in. */
#include "store_fixture.h"

#include <stdlib.h>

#include "base/clock.h"

static void count_migrations(void *arg, unsigned version, const char *name)
{
    (void)version;
    (void)name;
    ++*(unsigned *)arg;
}

TEST(a_migrated_database_is_at_this_version_and_migrating_again_changes_nothing)
{
    struct store_version version = {0, 0};
    unsigned applied = 0;
    assert_ok(store_migrate(store, count_migrations, &applied, &version));
    assert_int_equal(applied, 0);
    assert_true(version.program > 0);
    assert_int_equal(version.database, version.program);
    assert_ok(store_read_version(store, &version));
    assert_int_equal(version.database, version.program);
    assert_ok(store_probe(conn));
    assert_true(store_is_up(store));
}

TEST(a_database_of_the_future_is_refused)
{
    struct store_version version = {7, 7};
    unsigned applied = 0;
    store_raw("INSERT INTO migrations VALUES (999, 'future', 0)", NULL);
    assert_err(store_migrate(store, count_migrations, &applied, &version), ERR_CONFLICT);
    assert_err(store_probe(conn), ERR_CONFLICT);
    assert_false(store_is_up(store));
    assert_int_equal(version.database, 7);
    assert_ok(store_read_version(store, &version));
    assert_int_equal(version.database, 999);
    store_raw("DELETE FROM migrations WHERE version = 999", NULL);
    assert_ok(store_probe(conn));
    assert_true(store_is_up(store));
}

TEST(only_known_schemes_open)
{
    static const char *const bad[] = {
        "",         "sqlite",      "sqlite:",        "mysql://h/d", "/tmp/x",    "SQLITE:/tmp/x",
        "postgres", "postgresql:", " sqlite:/tmp/x", "file:/x",     "postgres:/"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct store *s = NULL;
        assert_err(store_open(&(struct store_config){.url = bad[i], .timeout_ms = 100}, &s),
                   ERR_INVALID);
        assert_null(s);
    }
    store_close(NULL);
    store_conn_close(NULL);
}

TEST(a_database_that_is_not_there_is_unavailable_and_says_why)
{
    static const char *const urls[] = {"sqlite:/nowhere/at/all",
                                       "postgresql://127.0.0.1:1/none?connect_timeout=2"};
    for (size_t i = 0; i < ARRAY_LEN(urls); i++) {
        struct store *s = NULL;
        struct store_conn *c = NULL;
        struct store_version version;
        struct someone who = someone_new();
        struct uuid id = {{7}};
        assert_ok(store_open(&(struct store_config){.url = urls[i], .timeout_ms = 500}, &s));
        assert_ok(store_conn_open(s, &c));
        for (unsigned n = 0; n < 3; n++)
            assert_err(someone_register(c, &who, NULL, &id), ERR_UNAVAILABLE);
        assert_int_equal(id.b[0], 7);
        assert_false(store_is_up(s));
        assert_true(strlen(store_last_error()) > 5);
        assert_err(store_probe(c), ERR_UNAVAILABLE);
        assert_err(store_read_version(s, &version), ERR_UNAVAILABLE);
        store_conn_close(c);
        store_close(s);
    }
}

TEST(a_batch_that_cannot_begin_marks_the_database_down)
{
    struct store *other = NULL;
    struct store_conn *waits = NULL;
    if (!store_is_single_writer(store)) /* a batch does nothing */
        return;
    assert_ok(store_fixture_open_another(0, 50, &other));
    assert_ok(store_conn_open(other, &waits));
    assert_ok(store_probe(waits));
    assert_true(store_is_up(other));
    assert_ok(store_batch_begin(conn)); /* the writer's lock is taken */
    enum err e = store_batch_begin(waits);
    assert_ok(store_batch_end(conn));
    assert_err(e, ERR_UNAVAILABLE);
    assert_false(store_is_up(other));
    store_conn_close(waits);
    store_close(other);
}

/* ---- registering ---- */

TEST(who_registered_is_found_by_tenant_and_address)
{
    struct someone who = someone_registered(), stranger = who;
    struct store_login login;
    assert_ok(begin_login(&who, &login));
    assert_true(login.found && login.active);
    assert_true(uuid_equal(&login.user_id, &who.user_id));
    assert_string_equal(login.password_hash, "hash");
    assert_in_range(login.now, clock_unix_ms() - 60000, clock_unix_ms() + 60000);
    assert_ok(uuid_make_v4(&stranger.tenant_id));
    assert_ok(begin_login(&stranger, &login));
    assert_false(login.found);
    stranger = who;
    stranger.email = "Ada@example.org"; /* canonical forms are compared byte by byte */
    assert_ok(begin_login(&stranger, &login));
    assert_false(login.found);
}

TEST(an_address_and_a_user_exist_once_in_a_tenant)
{
    struct someone who = someone_registered(), twin = who;
    struct uuid id = {{7}};
    assert_err(someone_register(conn, &who, NULL, &id), ERR_CONFLICT);
    assert_ok(uuid_make_v4(&twin.user_id));
    assert_err(someone_register(conn, &twin, NULL, &id), ERR_CONFLICT);
    twin = who;
    twin.email = "other@example.org";
    assert_err(someone_register(conn, &twin, NULL, &id), ERR_CONFLICT);
    assert_int_equal(id.b[0], 7);
    twin = who;
    assert_ok(uuid_make_v4(&twin.tenant_id));
    assert_ok(someone_register(conn, &twin, NULL, &id));
}

TEST(a_repeated_request_gets_the_first_answer_and_changes_nothing)
{
    struct someone who = someone_new(), again = who, other = someone_new();
    struct uuid id;
    struct store_login login;
    assert_ok(someone_register(conn, &who, who.digest, &id));
    assert_ok(uuid_make_v4(&again.user_id));
    assert_ok(someone_register(conn, &again, who.digest, &id));
    assert_true(uuid_equal(&id, &who.user_id));
    assert_ok(someone_register(conn, &other, who.digest, &id));
    assert_true(uuid_equal(&id, &who.user_id));
    assert_ok(begin_login(&other, &login));
    assert_false(login.found);
    assert_err(someone_register(conn, &again, other.digest, &id), ERR_CONFLICT);
    assert_ok(someone_register(conn, &other, other.digest, &id)); /* a conflict keeps no key */
    assert_true(uuid_equal(&id, &other.user_id));
}

TEST(an_idempotency_key_holds_for_a_day)
{
    struct someone who = someone_new(), next = someone_new();
    struct uuid id;
    assert_ok(someone_register(conn, &who, who.digest, &id));
    store_raw("UPDATE idempotency_keys SET created_at = created_at - 86390000 WHERE user_id = %s",
              &who.user_id);
    assert_ok(someone_register(conn, &next, who.digest, &id));
    assert_true(uuid_equal(&id, &who.user_id));
    store_raw("UPDATE idempotency_keys SET created_at = created_at - 20000 WHERE user_id = %s",
              &who.user_id);
    assert_ok(someone_register(conn, &next, who.digest, &id));
    assert_true(uuid_equal(&id, &next.user_id));
}

TEST(hostile_text_is_only_text)
{
    static const char *const texts[] = {"'; DROP TABLE credentials; --",
                                        "\" OR \"1\"=\"1",
                                        "a\\'b\\\\",
                                        "%s%n$1$2?1",
                                        "\xf0\x9f\x98\x80 \xe2\x80\xae\xcc\x81",
                                        "\n\r\t\x01\x7f",
                                        "{\"a\":1}",
                                        "NULL",
                                        ""};
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        struct someone who = someone_new();
        struct uuid id;
        struct store_login login;
        struct store_session listed;
        size_t count = 0;
        who.email = texts[i];
        const struct store_credential c = {who.tenant_id, who.user_id, texts[i], texts[i], false};
        assert_ok(store_register(conn, &c, NULL, &id));
        assert_ok(begin_login(&who, &login));
        assert_true(login.found);
        assert_string_equal(login.password_hash, texts[i]);
        struct store_new_session s = session_of(&who);
        s.user_agent = texts[i];
        assert_ok(store_login_finish(conn, &s));
        assert_ok(store_list_sessions(conn, &who.tenant_id, &who.user_id, &listed, 1, &count));
        assert_int_equal(count, 1);
        assert_string_equal(listed.user_agent, texts[i]);
        assert_ok(store_end_session(conn, &s.session_id, NULL, NULL, texts[i]));
    }
}

TEST(a_stored_hash_of_any_size_is_cut)
{
    static char huge[100001];
    struct someone who = someone_new();
    struct uuid id;
    struct store_login login;
    memset(huge, 'h', sizeof huge - 1);
    const struct store_credential c = {who.tenant_id, who.user_id, who.email, huge, false};
    assert_ok(store_register(conn, &c, NULL, &id));
    assert_ok(begin_login(&who, &login));
    assert_true(login.found);
    assert_int_equal(strlen(login.password_hash), STORE_HASH_MAX);
}

/* ---- failed logins ---- */

static struct store_login begun(const struct someone *who)
{
    struct store_login login;
    assert_ok(begin_login(who, &login));
    return login;
}

static void locks_at_the_third(const struct someone *who)
{
    struct store_login login;
    for (unsigned i = 1; i <= 3; i++) {
        login = begun(who);
        assert_false(login.locked);
        assert_int_equal(login.last_attempt, i == 3);
    }
    assert_int_equal(login.locked_until, login.now + 60000);
    int64_t until = login.locked_until;
    for (unsigned i = 0; i < 3; i++) {
        login = begun(who);
        assert_true(login.locked);
        assert_false(login.last_attempt);
        assert_int_equal(login.locked_until, until);
    }
}

TEST(failures_lock_at_the_threshold_and_waiting_costs_nothing)
{
    struct someone who = someone_registered();
    locks_at_the_third(&who);
}

TEST(an_invented_account_locks_alike)
{
    struct someone who = someone_new();
    locks_at_the_third(&who);
}

TEST(a_lock_is_of_one_tenant_and_one_identity)
{
    struct someone who = someone_registered(), other = who;
    locks_at_the_third(&who);
    other.digest[0] ^= 1;
    assert_false(begun(&other).locked);
    other = who;
    assert_ok(uuid_make_v4(&other.tenant_id));
    assert_false(begun(&other).locked);
    assert_true(begun(&who).locked);
}

static enum err refund_of(const struct someone *who, int64_t window, struct uuid attempt)
{
    struct store_refund refund = {.tenant_id = who->tenant_id,
                                  .attempt_id = attempt,
                                  .window_started_at = window,
                                  .threshold = 3};
    memcpy(refund.identity_digest, who->digest, sizeof refund.identity_digest);
    return store_login_refund(conn, &refund);
}

static void refund(const struct someone *who, int64_t window)
{
    enum err e = refund_of(who, window, (struct uuid){{0}});
    assert_true(e == OK || e == ERR_NOT_FOUND);
}

TEST(an_attempt_that_nobody_knows_of_is_refunded_by_its_name_and_once)
{
    struct someone who = someone_registered();
    struct store_login_request request = login_of(&who);
    struct store_login login;
    struct uuid other;
    assert_ok(uuid_make_v4(&other));
    for (unsigned i = 0; i < 5; i++) {
        assert_ok(uuid_make_v4(&request.attempt_id));
        assert_err(refund_of(&who, 0, request.attempt_id), ERR_NOT_FOUND); /* not made yet */
        assert_ok(store_login_begin(conn, &request, &login));
        assert_false(login.locked || login.last_attempt);
        assert_err(refund_of(&who, 0, other), ERR_NOT_FOUND);
        assert_ok(refund_of(&who, 0, request.attempt_id));
        assert_err(refund_of(&who, 0, request.attempt_id), ERR_NOT_FOUND);
    }
    locks_at_the_third(&who);
}

TEST(the_unknown_attempt_that_locked_is_refunded_too)
{
    struct someone who = someone_registered();
    struct store_login_request request = login_of(&who);
    struct store_login login;
    for (unsigned i = 0; i < 3; i++) {
        assert_ok(uuid_make_v4(&request.attempt_id));
        assert_ok(store_login_begin(conn, &request, &login));
    }
    assert_true(login.last_attempt);
    assert_ok(refund_of(&who, 0, request.attempt_id));
    assert_ok(store_login_begin(conn, &request, &login));
    assert_true(login.last_attempt && !login.locked);
}

TEST(a_refunded_attempt_does_not_count)
{
    struct someone who = someone_registered();
    for (unsigned i = 0; i < 10; i++) {
        struct store_login login = begun(&who);
        assert_false(login.locked || login.last_attempt);
        refund(&who, login.window_started_at);
    }
    locks_at_the_third(&who);
}

TEST(refunding_the_attempt_that_locks_unlocks)
{
    struct someone who = someone_registered();
    begun(&who);
    begun(&who);
    struct store_login last = begun(&who);
    assert_true(last.last_attempt);
    assert_true(begun(&who).locked);
    refund(&who, last.window_started_at);
    struct store_login login = begun(&who);
    assert_false(login.locked);
    assert_true(login.last_attempt);
}

TEST(a_refund_of_another_window_or_of_nothing_changes_nothing)
{
    struct someone who = someone_registered();
    struct store_login login = begun(&who);
    refund(&who, login.window_started_at - 1);
    refund(&who, login.window_started_at);
    for (unsigned i = 0; i < 5; i++)
        refund(&who, login.window_started_at); /* never below zero */
    locks_at_the_third(&who);
    struct someone unknown = someone_new();
    refund(&unknown, 0);
    locks_at_the_third(&unknown);
}

TEST(a_lock_ends_by_itself_and_counting_starts_afresh)
{
    struct someone who = someone_registered();
    struct store_login_request request = login_of(&who);
    struct store_login login;
    request.lock_ms = 400;
    for (unsigned i = 0; i < 3; i++)
        assert_ok(store_login_begin(conn, &request, &login));
    assert_true(login.last_attempt);
    int64_t window = login.window_started_at;
    assert_ok(store_login_begin(conn, &request, &login));
    assert_true(login.locked);
    sleep_ms(450);
    locks_at_the_third(&who);
    refund(&who, window); /* of the lock that has ended */
    assert_true(begun(&who).locked);
}

TEST(failures_of_an_earlier_window_are_forgotten)
{
    struct someone who = someone_registered();
    struct store_login_request request = login_of(&who);
    struct store_login login;
    request.lock_ms = 300;
    assert_ok(store_login_begin(conn, &request, &login));
    assert_ok(store_login_begin(conn, &request, &login));
    sleep_ms(350);
    assert_ok(store_login_begin(conn, &request, &login));
    assert_false(login.last_attempt);
}

TEST(a_threshold_of_one_locks_at_once)
{
    struct someone who = someone_registered();
    struct store_login_request request = login_of(&who);
    struct store_login login;
    request.threshold = 1;
    assert_ok(store_login_begin(conn, &request, &login));
    assert_true(login.last_attempt && !login.locked);
    assert_ok(store_login_begin(conn, &request, &login));
    assert_true(login.locked);
}

/* ---- a login that succeeds ---- */

TEST(finishing_opens_the_session_and_forgets_the_failures)
{
    struct someone who = someone_registered();
    struct store_session listed;
    size_t count = 0;
    begun(&who);
    begun(&who);
    struct store_new_session s = opened_session(&who);
    assert_ok(store_list_sessions(conn, &who.tenant_id, &who.user_id, &listed, 1, &count));
    assert_int_equal(count, 1);
    assert_true(uuid_equal(&listed.id, &s.session_id));
    assert_true(uuid_equal(&listed.user_id, &who.user_id));
    assert_true(uuid_equal(&listed.tenant_id, &who.tenant_id));
    assert_int_equal(listed.generation, 0);
    assert_int_equal(listed.rotated_at, listed.opened_at);
    assert_int_equal(listed.idle_expires_at, listed.opened_at + s.idle_ms);
    assert_int_equal(listed.absolute_expires_at, listed.opened_at + s.absolute_ms);
    assert_string_equal(listed.client_ip, "192.0.2.1");
    assert_string_equal(listed.user_agent, "first");
    locks_at_the_third(&who);
}

TEST(who_is_unknown_or_disabled_gets_no_session)
{
    struct someone who = someone_registered(), unknown = someone_new();
    struct store_new_session s = session_of(&unknown);
    assert_err(store_login_finish(conn, &s), ERR_FORBIDDEN);
    store_raw("UPDATE credentials SET status = 'disabled' WHERE user_id = %s", &who.user_id);
    assert_false(begun(&who).active);
    s = session_of(&who);
    s.old_hash = "hash";
    s.new_hash = "new";
    assert_err(store_login_finish(conn, &s), ERR_FORBIDDEN);
    assert_int_equal(live_sessions(&who), 0);
    assert_string_equal(begun(&who).password_hash, "hash");
    assert_true(begun(&who).last_attempt || begun(&who).locked); /* nothing was cleared */
}

TEST(a_hash_is_replaced_only_if_it_is_still_the_old_one)
{
    struct someone who = someone_registered();
    struct store_new_session s = session_of(&who);
    s.old_hash = "not this one";
    s.new_hash = "new";
    assert_ok(store_login_finish(conn, &s));
    assert_string_equal(begun(&who).password_hash, "hash");
    s = session_of(&who);
    s.old_hash = "hash";
    s.new_hash = "new";
    assert_ok(store_login_finish(conn, &s));
    assert_string_equal(begun(&who).password_hash, "new");
}

TEST(the_oldest_sessions_go_beyond_the_maximum)
{
    struct someone who = someone_registered(), other = someone_registered();
    struct store_new_session first[5];
    (void)opened_session(&other);
    for (unsigned i = 0; i < 5; i++) {
        first[i] = session_of(&who);
        first[i].max_sessions = 3;
        assert_ok(store_login_finish(conn, &first[i]));
        sleep_ms(3);
    }
    assert_int_equal(live_sessions(&who), 3);
    assert_int_equal(live_sessions(&other), 1);
    for (unsigned i = 0; i < 5; i++) {
        struct store_rotation r = rotation_of(&first[i]);
        assert_int_equal(rotated(&r), i < 2 ? STORE_REVOKED : STORE_ROTATED);
    }
}

TEST(a_session_just_opened_is_not_the_oldest_whatever_the_clock_says)
{
    struct someone who = someone_registered();
    struct store_new_session before = session_of(&who), now = session_of(&who);
    now.opened_at -= 20000; /* the clock has gone back, or this login took longer than the other */
    before.max_sessions = now.max_sessions = 1;
    assert_ok(store_login_finish(conn, &before));
    assert_ok(store_login_finish(conn, &now));
    assert_int_equal(live_sessions(&who), 1);
    struct store_rotation r = rotation_of(&now);
    assert_int_equal(rotated(&r), STORE_ROTATED);
    r = rotation_of(&before);
    assert_int_equal(rotated(&r), STORE_REVOKED);
}

int run_login_tests(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(
            a_migrated_database_is_at_this_version_and_migrating_again_changes_nothing),
        cmocka_unit_test(a_database_of_the_future_is_refused),
        cmocka_unit_test(only_known_schemes_open),
        cmocka_unit_test(a_database_that_is_not_there_is_unavailable_and_says_why),
        cmocka_unit_test(a_batch_that_cannot_begin_marks_the_database_down),
        cmocka_unit_test(who_registered_is_found_by_tenant_and_address),
        cmocka_unit_test(an_address_and_a_user_exist_once_in_a_tenant),
        cmocka_unit_test(a_repeated_request_gets_the_first_answer_and_changes_nothing),
        cmocka_unit_test(an_idempotency_key_holds_for_a_day),
        cmocka_unit_test(hostile_text_is_only_text),
        cmocka_unit_test(a_stored_hash_of_any_size_is_cut),
        cmocka_unit_test(failures_lock_at_the_threshold_and_waiting_costs_nothing),
        cmocka_unit_test(an_invented_account_locks_alike),
        cmocka_unit_test(an_attempt_that_nobody_knows_of_is_refunded_by_its_name_and_once),
        cmocka_unit_test(the_unknown_attempt_that_locked_is_refunded_too),
        cmocka_unit_test(a_lock_is_of_one_tenant_and_one_identity),
        cmocka_unit_test(a_refunded_attempt_does_not_count),
        cmocka_unit_test(refunding_the_attempt_that_locks_unlocks),
        cmocka_unit_test(a_refund_of_another_window_or_of_nothing_changes_nothing),
        cmocka_unit_test(a_lock_ends_by_itself_and_counting_starts_afresh),
        cmocka_unit_test(failures_of_an_earlier_window_are_forgotten),
        cmocka_unit_test(a_threshold_of_one_locks_at_once),
        cmocka_unit_test(finishing_opens_the_session_and_forgets_the_failures),
        cmocka_unit_test(who_is_unknown_or_disabled_gets_no_session),
        cmocka_unit_test(a_hash_is_replaced_only_if_it_is_still_the_old_one),
        cmocka_unit_test(the_oldest_sessions_go_beyond_the_maximum),
        cmocka_unit_test(a_session_just_opened_is_not_the_oldest_whatever_the_clock_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

static int run_all(const char *pg_url)
{
    if (store_fixture_open(pg_url) != 0)
        return 1;
    printf("---- %s ----\n", store_kind(store));
    int failed = run_login_tests() + run_session_tests() + run_operator_tests() + run_race_tests() +
                 run_outbox_tests() + run_sweep_tests();
    store_fixture_close();
    return failed;
}

int main(void)
{
    const char *pg_url = getenv("WATCHWORD_TEST_PG_URL");
    int failed = run_all(NULL);
    if (pg_url != NULL && pg_url[0] != '\0')
        failed += run_all(pg_url);
    else
        printf("WATCHWORD_TEST_PG_URL is not set: SQLite alone\n");
    return failed;
}
