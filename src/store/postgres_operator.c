/* postgres_operator.c: what operators do to users and sessions, on PostgreSQL. */
#include "store/postgres.h"

static void clear(PGresult **results, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        PQclear(results[i]);
}

static void call_user(struct pg_call *call, enum pg_statement statement,
                      const struct uuid *tenant_id, const struct uuid *user_id)
{
    pg_call(call, statement);
    pg_put_id(call, tenant_id);
    pg_put_id(call, user_id);
}

static void call_identity(struct pg_call *call, enum pg_statement statement,
                          const struct uuid *tenant_id, const uint8_t *identity_digest)
{
    pg_call(call, statement);
    pg_put_id(call, tenant_id);
    pg_put_bytes(call, identity_digest, STORE_DIGEST_LEN);
}

enum err pg_find_user(struct store_conn *base, const struct store_user_name *name,
                      struct store_user *out)
{
    struct pg_call call;
    PGresult *res CLEANUP(cleanup_result) = NULL;
    pg_call(&call, PG_USER_FIND);
    pg_put_id(&call, &name->tenant_id);
    pg_put_str(&call, name->email);
    pg_put_bytes(&call, name->user_id != NULL ? name->user_id->b : NULL, sizeof(struct uuid));
    TRY(pg_run((struct pg_conn *)base, &call, 1, &res));
    if (PQntuples(res) == 0)
        return ERR_NOT_FOUND;
    out->tenant_id = name->tenant_id;
    out->user_id = pg_get_id(res, 0, 0);
    pg_get_str(res, 0, 1, out->email, sizeof out->email);
    pg_get_str(res, 0, 2, out->password_hash, sizeof out->password_hash);
    out->active = pg_get_bool(res, 0, 3);
    out->created_at = pg_get_i64(res, 0, 4);
    out->updated_at = pg_get_i64(res, 0, 5);
    out->live_sessions = (uint64_t)pg_get_i64(res, 0, 6);
    return OK;
}

enum err pg_find_lock(struct store_conn *base, const struct uuid *tenant_id,
                      const uint8_t *identity_digest, struct store_lock *out)
{
    struct pg_call call;
    PGresult *res CLEANUP(cleanup_result) = NULL;
    call_identity(&call, PG_LOCK_FIND, tenant_id, identity_digest);
    TRY(pg_run((struct pg_conn *)base, &call, 1, &res));
    if (PQntuples(res) != 1)
        return store_fail(ERR_INTERNAL, "postgresql", "the lock gave no row");
    *out = (struct store_lock){.failures = pg_get_i64(res, 0, 0),
                               .window_started_at = pg_get_i64(res, 0, 1),
                               .locked_until = pg_get_i64(res, 0, 2),
                               .now = pg_get_i64(res, 0, 3)};
    return OK;
}

enum err pg_unlock(struct store_conn *base, const struct uuid *tenant_id,
                   const struct uuid *user_id, const uint8_t *identity_digest, bool *locked)
{
    struct pg_call call;
    PGresult *res CLEANUP(cleanup_result) = NULL;
    call_identity(&call, PG_LOCK_DELETE, tenant_id, identity_digest);
    if (pg_put_telling(&call, base, EVENT_ACCOUNT_UNLOCKED))
        pg_put_id(&call, user_id);
    TRY(pg_run((struct pg_conn *)base, &call, 1, &res));
    *locked = PQntuples(res) == 1 && pg_get_bool(res, 0, 0);
    return OK;
}

/* First the lock that a login takes before it opens its session: whoever comes second sees what the
 * first one left. */
enum err pg_set_active(struct store_conn *base, const struct uuid *tenant_id,
                       const struct uuid *user_id, bool active, struct store_ended *out)
{
    struct pg_call calls[3];
    PGresult *results[3] = {NULL};
    unsigned n = active ? 2 : 3;
    call_user(&calls[0], PG_LOGIN_LOCK, tenant_id, user_id);
    call_user(&calls[1], PG_USER_SET_STATUS, tenant_id, user_id);
    pg_put_str(&calls[1], active ? "active" : "disabled");
    pg_put_telling(&calls[1], base, active ? EVENT_USER_ENABLED : EVENT_USER_DISABLED);
    call_user(&calls[2], PG_SESSION_END_ALL, tenant_id, user_id);
    pg_put_str(&calls[2], "account_disabled");
    pg_put_telling(&calls[2], base, EVENT_SESSION_REVOKED);
    TRY(pg_run((struct pg_conn *)base, calls, n, results));
    bool found = PQntuples(results[0]) == 1;
    if (found)
        *out = (struct store_ended){.changed = pg_changes(results[1]) == 1,
                                    .ended = active ? 0 : (uint64_t)pg_get_i64(results[2], 0, 0)};
    clear(results, n);
    return found ? OK : ERR_NOT_FOUND;
}

enum err pg_delete_user(struct store_conn *base, const struct uuid *tenant_id,
                        const struct uuid *user_id, const uint8_t *identity_digest, uint64_t *ended)
{
    struct pg_call calls[6];
    PGresult *results[6] = {NULL};
    call_user(&calls[0], PG_LOGIN_LOCK, tenant_id, user_id);
    call_user(&calls[1], PG_SESSION_DELETE_ALL, tenant_id, user_id);
    pg_put_telling(&calls[1], base, EVENT_SESSION_REVOKED);
    call_identity(&calls[2], PG_LOCK_DELETE, tenant_id, identity_digest);
    if (base->store->events != 0) { /* not told: that the user is deleted says it */
        pg_put_str(&calls[2], base->trace_id);
        pg_put_i64(&calls[2], 0);
        pg_put_id(&calls[2], user_id);
    }
    call_user(&calls[3], PG_IDEMPOTENCY_DELETE, tenant_id, user_id);
    call_user(&calls[4], PG_USER_DELETE, tenant_id, user_id);
    pg_put_telling(&calls[4], base, EVENT_USER_DELETED);
    call_user(&calls[5], PG_OUTBOX_SCRUB, tenant_id, user_id);
    TRY(pg_run((struct pg_conn *)base, calls, ARRAY_LEN(calls), results));
    bool found = pg_changes(results[4]) == 1;
    if (found)
        *ended = (uint64_t)pg_get_i64(results[1], 0, 0);
    clear(results, ARRAY_LEN(results));
    return found ? OK : ERR_NOT_FOUND;
}

enum err pg_read_hashes(struct store_conn *base, struct store_hash_page *page)
{
    struct pg_call call;
    PGresult *res CLEANUP(cleanup_result) = NULL;
    pg_call(&call, PG_CREDENTIAL_PAGE);
    pg_put_id(&call, &page->tenant_id);
    pg_put_id(&call, &page->user_id);
    pg_put_i64(&call, STORE_HASH_PAGE);
    TRY(pg_run((struct pg_conn *)base, &call, 1, &res));
    page->count = (size_t)PQntuples(res);
    for (size_t i = 0; i < page->count && i < STORE_HASH_PAGE; i++)
        pg_get_str(res, (int)i, 2, page->hashes[i], sizeof page->hashes[i]);
    if (page->count > 0) {
        page->tenant_id = pg_get_id(res, (int)page->count - 1, 0);
        page->user_id = pg_get_id(res, (int)page->count - 1, 1);
    }
    return OK;
}

static enum err fence(struct pg_conn *conn, int64_t at, int64_t *not_before)
{
    struct pg_call call;
    PGresult *res CLEANUP(cleanup_result) = NULL;
    pg_call(&call, PG_SESSION_FENCE);
    pg_put_i64(&call, at);
    TRY(pg_run(conn, &call, 1, &res));
    if (PQntuples(res) != 1)
        return store_fail(ERR_INTERNAL, "postgresql", "the settings lack sessions_not_before");
    *not_before = pg_get_i64(res, 0, 0);
    return OK;
}

static enum err find_latest(struct pg_conn *conn, int64_t *opened_at)
{
    struct pg_call call;
    PGresult *res CLEANUP(cleanup_result) = NULL;
    pg_call(&call, PG_SESSION_LATEST);
    TRY(pg_run(conn, &call, 1, &res));
    *opened_at = pg_get_i64(res, 0, 0);
    return OK;
}

/* First what takes no time. Whether some were opened while the clock was ahead is seen in the whole
 * table alone. */
enum err pg_fence_sessions(struct store_conn *base, int64_t *not_before)
{
    struct pg_conn *conn = (struct pg_conn *)base;
    int64_t at = 0, latest = 0;
    TRY(fence(conn, 0, &at));
    TRY(find_latest(conn, &latest));
    if (latest > at)
        TRY(fence(conn, latest, &at));
    *not_before = at;
    return OK;
}

enum err pg_revoke_session(struct store_conn *base, const struct uuid *session_id,
                           const char *reason, struct store_revoked *out)
{
    struct pg_call call;
    PGresult *res CLEANUP(cleanup_result) = NULL;
    pg_call(&call, PG_SESSION_REVOKE);
    pg_put_id(&call, session_id);
    pg_put_str(&call, reason);
    pg_put_telling(&call, base, EVENT_SESSION_REVOKED);
    TRY(pg_run((struct pg_conn *)base, &call, 1, &res));
    if (PQntuples(res) == 0)
        return ERR_NOT_FOUND;
    *out = (struct store_revoked){.tenant_id = pg_get_id(res, 0, 0),
                                  .user_id = pg_get_id(res, 0, 1),
                                  .changed = pg_get_bool(res, 0, 2)};
    return OK;
}
