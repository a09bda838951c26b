/* postgres.c: registering and logging in, on PostgreSQL, and the table of its operations. */
#include "store/postgres.h"

#include <string.h>

#include "base/failpoint.h"

/* libpq takes a port that is no number until it connects. */
static bool port_ok(const PQconninfoOption *options)
{
    for (; options->keyword != NULL; options++)
        if (strcmp(options->keyword, "port") == 0 && options->val != NULL &&
            options->val[strspn(options->val, "0123456789,")] != '\0')
            return false;
    return true;
}

static enum err check_url(const char *url)
{
    TRY(libpq_load());
    PQconninfoOption *options = PQconninfoParse(url, NULL);
    bool ok = options != NULL && port_ok(options);
    PQconninfoFree(options);
    return ok ? OK : ERR_INVALID;
}

static enum err conn_open(struct store *store, struct store_conn **out)
{
    struct pg_conn *conn = calloc(1, sizeof *conn);
    if (conn == NULL)
        return ERR_INTERNAL;
    conn->base.store = store;
    *out = &conn->base;
    return OK;
}

static void conn_close(struct store_conn *base)
{
    struct pg_conn *conn = (struct pg_conn *)base;
    pg_disconnect(conn);
    free(conn);
}

/* Every operation has its own transaction here. */
static enum err batch_nothing(struct store_conn *base)
{
    (void)base;
    return OK;
}

/* A server that answers and takes no writes is as good as none. Connecting to it anew shows when it
 * takes them again, or leads to the one that does. */
static enum err probe(struct store_conn *base)
{
    struct pg_conn *conn = (struct pg_conn *)base;
    struct pg_call call;
    PGresult *res CLEANUP(cleanup_result) = NULL;
    pg_call(&call, PG_PROBE);
    TRY(pg_run(conn, &call, 1, &res));
    if (pg_get_bool(res, 0, 1)) {
        pg_disconnect(conn);
        return store_fail(ERR_UNAVAILABLE, "postgresql", "the database is read-only");
    }
    return pg_get_i64(res, 0, 0) == STORE_MIGRATION_COUNT ? OK : ERR_CONFLICT;
}

/* The twin of a repeated request may have won between our look and our insert. */
static enum err find_idempotent(struct pg_conn *conn, const uint8_t *digest, struct uuid *user_id)
{
    struct pg_call call;
    PGresult *res CLEANUP(cleanup_result) = NULL;
    pg_call(&call, PG_IDEMPOTENCY_FIND);
    pg_put_bytes(&call, digest, STORE_DIGEST_LEN);
    pg_put_i64(&call, STORE_IDEMPOTENCY_MS);
    TRY(pg_run(conn, &call, 1, &res));
    if (PQntuples(res) == 0)
        return ERR_CONFLICT;
    *user_id = pg_get_id(res, 0, 0);
    return OK;
}

static enum err register_credential(struct store_conn *base, const struct store_credential *c,
                                    const uint8_t *digest, struct uuid *user_id)
{
    struct pg_conn *conn = (struct pg_conn *)base;
    struct pg_call call;
    PGresult *res CLEANUP(cleanup_result) = NULL;
    pg_call(&call, PG_REGISTER);
    pg_put_id(&call, &c->tenant_id);
    pg_put_id(&call, &c->user_id);
    pg_put_str(&call, c->email);
    pg_put_str(&call, c->password_hash);
    pg_put_bytes(&call, digest, digest != NULL ? STORE_DIGEST_LEN : 0);
    pg_put_i64(&call, STORE_IDEMPOTENCY_MS);
    pg_put_str(&call, c->disabled ? "disabled" : "active");
    pg_put_telling(&call, base, EVENT_USER_REGISTERED);
    TRY(pg_run(conn, &call, 1, &res));
    FAILPOINT("register.inserted");
    if (PQntuples(res) == 0)
        return digest != NULL ? find_idempotent(conn, digest, user_id) : ERR_CONFLICT;
    *user_id = pg_get_id(res, 0, 0);
    return OK;
}

static void read_login(const PGresult *res, int64_t lock_ms, struct store_login *out)
{
    *out = (struct store_login){.now = pg_get_i64(res, 0, 0), .found = !pg_is_null(res, 0, 1)};
    if (out->found) {
        out->user_id = pg_get_id(res, 0, 1);
        out->active = pg_get_bool(res, 0, 2);
        pg_get_str(res, 0, 3, out->password_hash, sizeof out->password_hash);
    }
    out->locked = pg_is_null(res, 0, 4); /* nothing was reserved */
    if (out->locked) {
        /* A lock that was made while we waited is not in our snapshot: its longest time then. */
        out->locked_until = pg_is_null(res, 0, 6) ? out->now + lock_ms : pg_get_i64(res, 0, 6);
        return;
    }
    out->window_started_at = pg_get_i64(res, 0, 4);
    out->last_attempt = !pg_is_null(res, 0, 5);
    out->locked_until = out->last_attempt ? pg_get_i64(res, 0, 5) : 0;
}

static enum err login_begin(struct store_conn *base, const struct store_login_request *r,
                            struct store_login *out)
{
    struct pg_call call;
    PGresult *res CLEANUP(cleanup_result) = NULL;
    pg_call(&call, PG_LOGIN_BEGIN);
    pg_put_id(&call, &r->tenant_id);
    pg_put_str(&call, r->email);
    pg_put_bytes(&call, r->identity_digest, STORE_DIGEST_LEN);
    pg_put_i64(&call, r->threshold);
    pg_put_i64(&call, r->lock_ms);
    pg_put_id(&call, &r->attempt_id);
    if (pg_put_telling(&call, base, EVENT_ACCOUNT_LOCKED))
        pg_put_i64(&call, r->hold_ms);
    TRY(pg_run((struct pg_conn *)base, &call, 1, &res));
    FAILPOINT("login.reserved");
    if (PQntuples(res) != 1)
        return store_fail(ERR_INTERNAL, "postgresql", "login gave no row");
    read_login(res, r->lock_ms, out);
    return OK;
}

static enum err login_refund(struct store_conn *base, const struct store_refund *refund)
{
    struct pg_call call;
    PGresult *res CLEANUP(cleanup_result) = NULL;
    pg_call(&call, PG_LOGIN_REFUND);
    pg_put_id(&call, &refund->tenant_id);
    pg_put_bytes(&call, refund->identity_digest, STORE_DIGEST_LEN);
    pg_put_i64(&call, refund->window_started_at);
    pg_put_i64(&call, refund->threshold);
    pg_put_id(&call, &refund->attempt_id);
    TRY(pg_run((struct pg_conn *)base, &call, 1, &res));
    return pg_changes(res) == 1 ? OK : ERR_NOT_FOUND;
}

static enum err confirm_lock(struct store_conn *base, const struct uuid *tenant_id,
                             const uint8_t *identity_digest, const struct uuid *attempt_id)
{
    struct pg_call call;
    PGresult *res CLEANUP(cleanup_result) = NULL;
    pg_call(&call, PG_LOCK_CONFIRM);
    pg_put_id(&call, tenant_id);
    pg_put_bytes(&call, identity_digest, STORE_DIGEST_LEN);
    pg_put_id(&call, attempt_id);
    TRY(pg_run((struct pg_conn *)base, &call, 1, &res));
    return PQntuples(res) == 1 ? OK : ERR_NOT_FOUND;
}

static enum err login_finish(struct store_conn *base, const struct store_new_session *s)
{
    struct pg_call calls[3];
    pg_call(&calls[0], PG_LOGIN_LOCK);
    pg_put_id(&calls[0], &s->tenant_id);
    pg_put_id(&calls[0], &s->user_id);
    pg_call(&calls[1], PG_LOGIN_FINISH);
    pg_put_id(&calls[1], &s->session_id);
    pg_put_id(&calls[1], &s->tenant_id);
    pg_put_id(&calls[1], &s->user_id);
    pg_put_bytes(&calls[1], s->token_digest, STORE_DIGEST_LEN);
    pg_put_bytes(&calls[1], s->identity_digest, STORE_DIGEST_LEN);
    pg_put_str(&calls[1], s->client_ip);
    pg_put_str(&calls[1], s->user_agent);
    pg_put_i64(&calls[1], s->idle_ms);
    pg_put_i64(&calls[1], s->absolute_ms);
    pg_put_str(&calls[1], s->new_hash != NULL ? s->old_hash : NULL);
    pg_put_str(&calls[1], s->new_hash);
    pg_put_i64(&calls[1], s->opened_at);
    if (pg_put_telling(&calls[1], base, EVENT_USER_LOGGED_IN))
        pg_put_bytes(&calls[1], s->attempt_id != NULL ? s->attempt_id->b : NULL,
                     sizeof(struct uuid));
    pg_call(&calls[2], PG_LOGIN_EVICT);
    pg_put_id(&calls[2], &s->tenant_id);
    pg_put_id(&calls[2], &s->user_id);
    pg_put_i64(&calls[2], s->max_sessions);
    pg_put_id(&calls[2], &s->session_id);
    pg_put_telling(&calls[2], base, EVENT_SESSION_REVOKED);
    PGresult *results[3] = {NULL};
    TRY(pg_run((struct pg_conn *)base, calls, 3, results));
    FAILPOINT("login.opened");
    bool opened = PQntuples(results[1]) == 1;
    for (unsigned i = 0; i < ARRAY_LEN(results); i++)
        PQclear(results[i]);
    return opened ? OK : ERR_FORBIDDEN;
}

const struct store_ops STORE_POSTGRESQL = {
    .kind = "postgresql",
    .single_writer = false,
    .check_url = check_url,
    .migrate = pg_migrate,
    .read_version = pg_read_version,
    .conn_open = conn_open,
    .conn_close = conn_close,
    .batch_begin = batch_nothing,
    .batch_end = batch_nothing,
    .probe = probe,
    .register_credential = register_credential,
    .login_begin = login_begin,
    .login_refund = login_refund,
    .confirm_lock = confirm_lock,
    .login_finish = login_finish,
    .rotate = pg_rotate,
    .rotate_many = pg_rotate_many,
    .end_session = pg_end_session,
    .end_sessions = pg_end_sessions,
    .list_sessions = pg_list_sessions,
    .find_user = pg_find_user,
    .find_lock = pg_find_lock,
    .unlock = pg_unlock,
    .set_active = pg_set_active,
    .delete_user = pg_delete_user,
    .revoke_session = pg_revoke_session,
    .read_hashes = pg_read_hashes,
    .fence_sessions = pg_fence_sessions,
    .tell_key = pg_tell_key,
    .outbox_read = pg_outbox_read,
    .outbox_delete = pg_outbox_delete,
    .outbox_drop = pg_outbox_drop,
    .sweep_begin = pg_sweep_begin,
    .sweep_keep = pg_sweep_keep,
    .sweep_end = pg_sweep_end,
    .sweep_step = pg_sweep_step,
};
