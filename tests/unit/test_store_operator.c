/* The store, on each kind of database: what operators do to users and sessions. */
#include "store_fixture.h"

#include <pthread.h>

static struct store_user found(const struct someone *who)
{
    struct store_user user;
    const struct store_user_name name = {.tenant_id = who->tenant_id, .user_id = &who->user_id};
    assert_ok(store_find_user(conn, &name, &user));
    return user;
}

static enum err find(const struct store_user_name *name)
{
    struct store_user user = {.live_sessions = 77};
    enum err e = store_find_user(conn, name, &user);
    if (e != OK)
        assert_int_equal(user.live_sessions, 77);
    return e;
}

static struct store_lock lock_of(const struct someone *who)
{
    struct store_lock lock;
    assert_ok(store_find_lock(conn, &who->tenant_id, who->digest, &lock));
    return lock;
}

static void fail_logins(const struct someone *who, unsigned n)
{
    struct store_login login;
    for (unsigned i = 0; i < n; i++)
        assert_ok(begin_login(who, &login));
}

static struct store_ended set_active(const struct someone *who, bool active)
{
    struct store_ended result;
    assert_ok(store_set_active(conn, &who->tenant_id, &who->user_id, active, &result));
    return result;
}

TEST(a_user_is_found_by_either_name_in_its_own_tenant)
{
    struct someone who = someone_registered(), other = someone_new();
    (void)opened_session(&who);
    struct store_user user = found(&who);
    assert_true(uuid_equal(&user.user_id, &who.user_id));
    assert_true(uuid_equal(&user.tenant_id, &who.tenant_id));
    assert_string_equal(user.email, who.email);
    assert_string_equal(user.password_hash, "hash");
    assert_true(user.active);
    assert_int_equal(user.live_sessions, 1);
    assert_int_equal(user.created_at, user.updated_at);
    struct store_user_name name = {.tenant_id = who.tenant_id, .email = who.email};
    assert_ok(store_find_user(conn, &name, &user));
    assert_true(uuid_equal(&user.user_id, &who.user_id));
    name.tenant_id = other.tenant_id;
    assert_err(find(&name), ERR_NOT_FOUND);
    name = (struct store_user_name){.tenant_id = other.tenant_id, .user_id = &who.user_id};
    assert_err(find(&name), ERR_NOT_FOUND);
    name = (struct store_user_name){.tenant_id = who.tenant_id, .user_id = &other.user_id};
    assert_err(find(&name), ERR_NOT_FOUND);
    name = (struct store_user_name){.tenant_id = who.tenant_id};
    assert_err(find(&name), ERR_NOT_FOUND);
}

TEST(failures_are_seen_and_forgotten)
{
    struct someone who = someone_new();
    bool locked = true;
    assert_int_equal(lock_of(&who).failures, 0);
    assert_int_equal(lock_of(&who).window_started_at, 0);
    assert_ok(store_unlock(conn, &who.tenant_id, &who.user_id, who.digest, &locked));
    assert_false(locked);
    fail_logins(&who, 2);
    struct store_lock lock = lock_of(&who);
    assert_int_equal(lock.failures, 2);
    assert_int_equal(lock.locked_until, 0);
    assert_in_range(lock.window_started_at, lock.now - 60000, lock.now);
    fail_logins(&who, 1);
    assert_true(lock_of(&who).locked_until > lock.now);
    assert_ok(store_unlock(conn, &who.tenant_id, &who.user_id, who.digest, &locked));
    assert_true(locked);
    assert_int_equal(lock_of(&who).failures, 0);
    struct store_login login;
    assert_ok(begin_login(&who, &login));
    assert_false(login.locked || login.last_attempt);
    assert_ok(store_unlock(conn, &who.tenant_id, &who.user_id, who.digest, &locked));
    assert_false(locked);
}

TEST(who_is_disabled_has_no_session_and_gets_none_until_enabled)
{
    struct someone who = someone_registered(), other = someone_registered();
    struct store_new_session s = opened_session(&who), next = session_of(&who);
    (void)opened_session(&who);
    (void)opened_session(&other);
    struct store_rotation r = rotation_of(&s);
    struct store_ended result = set_active(&who, false);
    assert_true(result.changed);
    assert_int_equal(result.ended, 2);
    assert_int_equal(rotated(&r), STORE_REVOKED);
    assert_err(store_login_finish(conn, &next), ERR_FORBIDDEN);
    assert_false(found(&who).active);
    assert_int_equal(live_sessions(&who), 0);
    assert_int_equal(live_sessions(&other), 1);
    result = set_active(&who, false);
    assert_false(result.changed);
    assert_int_equal(result.ended, 0);
    result = set_active(&who, true);
    assert_true(result.changed);
    assert_ok(store_login_finish(conn, &next));
    assert_int_equal(rotated(&r), STORE_REVOKED); /* what has ended does not come back */
    assert_false(set_active(&who, true).changed);
    assert_int_equal(live_sessions(&who), 1);
}

TEST(a_session_of_an_account_that_was_disabled_behind_our_back_is_revoked)
{
    struct someone who = someone_registered();
    struct store_new_session s = opened_session(&who);
    struct store_rotation r = rotation_of(&s);
    store_raw("UPDATE credentials SET status = 'disabled' WHERE user_id = %s", &who.user_id);
    assert_int_equal(rotated(&r), STORE_REVOKED);
}

TEST(who_is_deleted_leaves_nothing_and_nobody_else_is_touched)
{
    struct someone who = someone_new(), other = someone_registered();
    struct uuid id;
    uint64_t ended = 77;
    assert_ok(someone_register(conn, &who, who.digest, &id));
    struct store_new_session s = opened_session(&who);
    struct store_rotation r = rotation_of(&s);
    (void)opened_session(&other);
    fail_logins(&who, 3);
    assert_ok(store_delete_user(conn, &who.tenant_id, &who.user_id, who.digest, &ended));
    assert_int_equal(ended, 1);
    assert_int_equal(rotated(&r), STORE_UNKNOWN);
    assert_int_equal(lock_of(&who).failures, 0);
    assert_int_equal(live_sessions(&who), 0);
    assert_int_equal(live_sessions(&other), 1);
    assert_err(store_delete_user(conn, &who.tenant_id, &who.user_id, who.digest, &ended),
               ERR_NOT_FOUND);
    assert_int_equal(ended, 1);
    s = session_of(&who);
    assert_err(store_login_finish(conn, &s), ERR_FORBIDDEN);
    assert_ok(uuid_make_v4(&who.user_id)); /* the address and the key are free again */
    assert_ok(someone_register(conn, &who, who.digest, &id));
    assert_true(uuid_equal(&id, &who.user_id));
}

TEST(who_is_deleted_takes_along_no_key_of_the_same_id_in_another_tenant)
{
    struct someone who = someone_new(), twin = someone_new(), nobody = someone_new();
    struct uuid id;
    uint64_t ended = 0;
    twin.user_id = who.user_id;
    assert_ok(someone_register(conn, &who, who.digest, &id));
    assert_ok(someone_register(conn, &twin, twin.digest, &id));
    assert_ok(store_delete_user(conn, &who.tenant_id, &who.user_id, who.digest, &ended));
    assert_err(store_delete_user(conn, &nobody.tenant_id, &who.user_id, nobody.digest, &ended),
               ERR_NOT_FOUND);
    assert_ok(someone_register(conn, &twin, twin.digest, &id)); /* a repetition still */
    assert_true(uuid_equal(&id, &twin.user_id));
}

TEST(operations_on_nobody_change_nothing)
{
    struct someone nobody = someone_new(), who = someone_registered();
    struct store_ended result = {.ended = 77};
    uint64_t ended = 77;
    assert_err(store_set_active(conn, &nobody.tenant_id, &who.user_id, false, &result),
               ERR_NOT_FOUND);
    assert_err(store_delete_user(conn, &nobody.tenant_id, &who.user_id, who.digest, &ended),
               ERR_NOT_FOUND);
    assert_int_equal(result.ended, 77);
    assert_int_equal(ended, 77);
    assert_true(found(&who).active);
}

TEST(any_session_can_be_revoked_once)
{
    struct someone who = someone_registered();
    struct store_new_session s = opened_session(&who);
    struct store_revoked revoked = {.changed = true};
    struct uuid unknown;
    assert_ok(uuid_make_v4(&unknown));
    assert_err(store_revoke_session(conn, &unknown, "operator", &revoked), ERR_NOT_FOUND);
    for (unsigned i = 0; i < 2; i++) {
        assert_ok(store_revoke_session(conn, &s.session_id, "operator", &revoked));
        assert_int_equal(revoked.changed, i == 0);
        assert_true(uuid_equal(&revoked.tenant_id, &who.tenant_id));
        assert_true(uuid_equal(&revoked.user_id, &who.user_id));
    }
    struct store_rotation r = rotation_of(&s);
    assert_int_equal(rotated(&r), STORE_REVOKED);
}

/* ---- against logins that are under way ---- */

enum { LOGINS = 5, ROUNDS = 8 };

struct login_thread {
    pthread_barrier_t *start;
    struct store_new_session session;
    enum err e;
};

static void *log_in(void *arg)
{
    struct login_thread *t = arg;
    struct store_conn *c = NULL;
    t->e = store_conn_open(store, &c);
    if (t->e == OK)
        t->e = store_probe(c);
    pthread_barrier_wait(t->start);
    if (t->e == OK)
        t->e = store_login_finish(c, &t->session);
    store_conn_close(c);
    return NULL;
}

static void race_logins(const struct someone *who, bool delete)
{
    struct login_thread logins[LOGINS];
    pthread_t threads[LOGINS];
    pthread_barrier_t start;
    uint64_t ended = 0;
    pthread_barrier_init(&start, NULL, LOGINS + 1);
    for (unsigned i = 0; i < LOGINS; i++) {
        logins[i] = (struct login_thread){.start = &start, .session = session_of(who)};
        assert_int_equal(pthread_create(&threads[i], NULL, log_in, &logins[i]), 0);
    }
    pthread_barrier_wait(&start);
    enum err e = OK;
    if (delete)
        e = store_delete_user(conn, &who->tenant_id, &who->user_id, who->digest, &ended);
    else
        ended = set_active(who, false).ended;
    unsigned opened = 0;
    for (unsigned i = 0; i < LOGINS; i++) {
        pthread_join(threads[i], NULL);
        opened += logins[i].e == OK;
        if (logins[i].e != OK)
            assert_err(logins[i].e, ERR_FORBIDDEN);
    }
    pthread_barrier_destroy(&start);
    assert_ok(e);
    assert_int_equal(ended, opened); /* each either came before and was ended, or was refused */
    assert_int_equal(live_sessions(who), 0);
}

TEST(no_login_that_is_under_way_outlives_a_disabling_or_a_deletion)
{
    for (unsigned round = 0; round < ROUNDS; round++) {
        struct someone who = someone_registered();
        race_logins(&who, round % 2 == 0);
    }
}

TEST(no_session_opened_before_a_fence_is_good_for_anything)
{
    struct someone who = someone_registered(), other = someone_registered();
    struct store_new_session s = opened_session(&who), spare = opened_session(&who);
    struct store_new_session theirs = opened_session(&other);
    struct store_rotation first = rotation_of(&s);
    assert_int_equal(rotated(&first), STORE_ROTATED);
    struct store_rotation r = rotation_after(&first), r2 = rotation_of(&theirs);
    int64_t fence = 0, again = 0;
    assert_ok(store_fence_sessions(conn, &fence));
    assert_int_equal(rotated(&r), STORE_REVOKED);
    assert_int_equal(rotated(&r), STORE_REVOKED);
    assert_int_equal(rotated(&first), STORE_REVOKED); /* neither a retry nor a replay */
    assert_int_equal(rotated(&r2), STORE_REVOKED);
    assert_int_equal(live_sessions(&who), 0);
    assert_int_equal(found(&who).live_sessions, 0);
    assert_int_equal(found(&other).live_sessions, 0);
    struct store_revoked revoked;
    assert_ok(store_revoke_session(conn, &s.session_id, "operator", &revoked));
    assert_false(revoked.changed); /* its row had learnt of it */
    assert_ok(store_revoke_session(conn, &spare.session_id, "operator", &revoked));
    assert_true(revoked.changed); /* this one's had not */

    sleep_ms(2);
    struct store_new_session later = opened_session(&who);
    struct store_rotation next = rotation_of(&later);
    assert_int_equal(rotated(&next), STORE_ROTATED);
    assert_int_equal(rotated(&next), STORE_RETRIED);
    assert_int_equal(live_sessions(&who), 1);
    assert_int_equal(found(&who).live_sessions, 1);
    assert_ok(store_fence_sessions(conn, &again));
    assert_true(again > fence);
    next = rotation_after(&next);
    assert_int_equal(rotated(&next), STORE_REVOKED);
}

TEST(a_session_opened_while_the_clock_was_ahead_is_behind_the_fence)
{
    struct someone who = someone_registered();
    struct store_new_session s = session_of(&who);
    int64_t fence = 0;
    s.opened_at += 3600000;
    assert_ok(store_login_finish(conn, &s));
    struct store_rotation r = rotation_of(&s);
    assert_ok(store_fence_sessions(conn, &fence));
    assert_int_equal(fence, s.opened_at);
    assert_int_equal(live_sessions(&who), 0);
    assert_int_equal(rotated(&r), STORE_REVOKED);
    store_raw("DELETE FROM sessions WHERE id = %s", &s.session_id);
    store_raw("UPDATE settings SET value = 0 WHERE name = 'sessions_not_before'", NULL);
}

TEST(a_login_opens_a_session_that_is_good_also_while_the_fence_lies_ahead)
{
    struct someone who = someone_registered();
    struct store_new_session s = session_of(&who);
    struct store_session listed;
    int64_t fence = 0;
    size_t count = 0;
    s.opened_at += 3600000; /* the clock was ahead; now it is right */
    assert_ok(store_login_finish(conn, &s));
    assert_ok(store_fence_sessions(conn, &fence));
    struct store_new_session next = opened_session(&who);
    assert_int_equal(found(&who).live_sessions, 1);
    assert_ok(store_list_sessions(conn, &who.tenant_id, &who.user_id, &listed, 1, &count));
    assert_int_equal(count, 1);
    assert_true(uuid_equal(&listed.id, &next.session_id));
    assert_int_equal(listed.idle_expires_at, next.opened_at + next.idle_ms);
    assert_int_equal(listed.absolute_expires_at, next.opened_at + next.absolute_ms);
    struct store_rotation r = rotation_of(&next);
    assert_int_equal(rotated(&r), STORE_ROTATED);
    assert_ok(store_fence_sessions(conn, &fence)); /* ends that one too */
    assert_int_equal(live_sessions(&who), 0);
    store_raw("DELETE FROM sessions WHERE tenant_id = %s", &who.tenant_id);
    store_raw("UPDATE settings SET value = 0 WHERE name = 'sessions_not_before'", NULL);
}

TEST(a_fence_never_moves_back)
{
    struct someone who = someone_registered();
    int64_t fence = 0, again = 0;
    assert_ok(store_fence_sessions(conn, &fence));
    store_raw("UPDATE settings SET value = value + 3600000 WHERE name = 'sessions_not_before'",
              NULL);
    assert_ok(store_fence_sessions(conn, &again));
    assert_int_equal(again, fence + 3600000);
    store_raw("UPDATE settings SET value = 0 WHERE name = 'sessions_not_before'", NULL);
    struct store_new_session s = opened_session(&who);
    struct store_rotation r = rotation_of(&s);
    assert_int_equal(rotated(&r), STORE_ROTATED);
}

int run_operator_tests(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_user_is_found_by_either_name_in_its_own_tenant),
        cmocka_unit_test(failures_are_seen_and_forgotten),
        cmocka_unit_test(who_is_disabled_has_no_session_and_gets_none_until_enabled),
        cmocka_unit_test(a_session_of_an_account_that_was_disabled_behind_our_back_is_revoked),
        cmocka_unit_test(who_is_deleted_leaves_nothing_and_nobody_else_is_touched),
        cmocka_unit_test(who_is_deleted_takes_along_no_key_of_the_same_id_in_another_tenant),
        cmocka_unit_test(operations_on_nobody_change_nothing),
        cmocka_unit_test(any_session_can_be_revoked_once),
        cmocka_unit_test(no_session_opened_before_a_fence_is_good_for_anything),
        cmocka_unit_test(a_session_opened_while_the_clock_was_ahead_is_behind_the_fence),
        cmocka_unit_test(a_login_opens_a_session_that_is_good_also_while_the_fence_lies_ahead),
        cmocka_unit_test(a_fence_never_moves_back),
        cmocka_unit_test(no_login_that_is_under_way_outlives_a_disabling_or_a_deletion),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
