/* sqlite_login.c: registering and logging in, on SQLite. */
#include <string.h>

#include "base/clock.h"
#include "base/failpoint.h"
#include "store/sqlite.h"

/* ---- register ---- */

static enum err find_idempotent(struct sqlite_conn *conn, const uint8_t *digest, int64_t now,
                                bool *found, struct uuid *user_id)
{
    sqlite3_stmt *st = sqlite_use(conn, SQ_IDEMPOTENCY_FIND);
    sqlite_bind_digest(st, 1, digest);
    sqlite3_bind_int64(st, 2, now - STORE_IDEMPOTENCY_MS);
    bool row = false;
    TRY(sqlite_step(conn, st, &row));
    *found = row;
    if (row)
        *user_id = sqlite_column_id(st, 0);
    while (row)
        TRY(sqlite_step(conn, st, &row));
    return OK;
}

static enum err put_idempotent(struct sqlite_conn *conn, const struct store_credential *c,
                               const uint8_t *digest, int64_t now)
{
    sqlite3_stmt *st = sqlite_use(conn, SQ_IDEMPOTENCY_PUT);
    sqlite_bind_digest(st, 1, digest);
    sqlite_bind_id(st, 2, &c->tenant_id);
    sqlite_bind_id(st, 3, &c->user_id);
    sqlite3_bind_int64(st, 4, now);
    return sqlite_run(conn, st, NULL);
}

static enum err put_credential(struct sqlite_conn *conn, const struct store_credential *c,
                               int64_t now)
{
    sqlite3_stmt *st = sqlite_use(conn, SQ_CREDENTIAL_PUT);
    sqlite_bind_id(st, 1, &c->tenant_id);
    sqlite_bind_id(st, 2, &c->user_id);
    sqlite_bind_str(st, 3, c->email);
    sqlite_bind_str(st, 4, c->password_hash);
    sqlite3_bind_int64(st, 5, now);
    sqlite_bind_str(st, 6, c->disabled ? "disabled" : "active");
    int64_t changes = 0;
    TRY(sqlite_run(conn, st, &changes));
    return changes == 1 ? OK : ERR_CONFLICT;
}

static enum err register_once(struct sqlite_conn *conn, const struct store_credential *c,
                              const uint8_t *digest, struct uuid *user_id)
{
    int64_t now = clock_unix_ms();
    bool repeated = false;
    if (digest != NULL)
        TRY(find_idempotent(conn, digest, now, &repeated, user_id));
    if (repeated)
        return OK;
    TRY(put_credential(conn, c, now));
    FAILPOINT("register.inserted");
    const struct sqlite_told told = {.kind = EVENT_USER_REGISTERED,
                                     .occurred_at = now,
                                     .tenant_id = &c->tenant_id,
                                     .user_id = &c->user_id,
                                     .label = c->email};
    TRY(sqlite_tell(conn, &told));
    if (digest != NULL)
        TRY(put_idempotent(conn, c, digest, now));
    *user_id = c->user_id;
    return OK;
}

enum err sqlite_register(struct store_conn *base, const struct store_credential *c,
                         const uint8_t *idempotency_digest, struct uuid *user_id)
{
    struct sqlite_conn *conn = (struct sqlite_conn *)base;
    struct uuid id;
    TRY(sqlite_begin(conn));
    TRY(sqlite_end(conn, register_once(conn, c, idempotency_digest, &id)));
    *user_id = id;
    return OK;
}

/* ---- login ---- */

static enum err find_credential(struct sqlite_conn *conn, const struct store_login_request *r,
                                struct store_login *out)
{
    sqlite3_stmt *st = sqlite_use(conn, SQ_CREDENTIAL_BY_EMAIL);
    sqlite_bind_id(st, 1, &r->tenant_id);
    sqlite_bind_str(st, 2, r->email);
    bool row = false;
    TRY(sqlite_step(conn, st, &row));
    out->found = row;
    if (row) {
        out->user_id = sqlite_column_id(st, 0);
        out->active = sqlite3_column_int(st, 1) != 0;
        sqlite_column_str(st, 2, out->password_hash, sizeof out->password_hash);
    }
    while (row)
        TRY(sqlite_step(conn, st, &row));
    return OK;
}

struct throttle {
    int64_t failures;
    int64_t window_started_at;
    int64_t locked_until; /* 0: not locked */
};

static enum err find_throttle(struct sqlite_conn *conn, const struct store_login_request *r,
                              struct throttle *out)
{
    sqlite3_stmt *st = sqlite_use(conn, SQ_THROTTLE_FIND);
    sqlite_bind_id(st, 1, &r->tenant_id);
    sqlite_bind_digest(st, 2, r->identity_digest);
    bool row = false;
    TRY(sqlite_step(conn, st, &row));
    if (row)
        *out = (struct throttle){sqlite3_column_int64(st, 0), sqlite3_column_int64(st, 1),
                                 sqlite3_column_int64(st, 2)};
    while (row)
        TRY(sqlite_step(conn, st, &row));
    return OK;
}

/* The same rule as PostgreSQL's PG_LOGIN_BEGIN states in SQL. */
static enum err reserve(struct sqlite_conn *conn, const struct store_login_request *r,
                        struct store_login *out)
{
    struct throttle t = {0};
    if (WITHOUT("reservation")) /* the attempt is not counted before it is judged: never, here */
        return OK;
    TRY(find_throttle(conn, r, &t));
    if (t.locked_until > out->now) {
        out->locked = true;
        out->locked_until = t.locked_until;
        return OK;
    }
    bool fresh = t.locked_until != 0 || t.window_started_at <= out->now - r->lock_ms;
    if (fresh)
        t = (struct throttle){.window_started_at = out->now};
    t.failures++;
    out->last_attempt = t.failures >= r->threshold;
    out->locked_until = out->last_attempt ? out->now + r->lock_ms : 0;
    out->window_started_at = t.window_started_at;
    sqlite3_stmt *st = sqlite_use(conn, SQ_THROTTLE_RESERVE);
    sqlite_bind_id(st, 1, &r->tenant_id);
    sqlite_bind_digest(st, 2, r->identity_digest);
    sqlite3_bind_int64(st, 3, t.failures);
    sqlite3_bind_int64(st, 4, t.window_started_at);
    if (out->last_attempt)
        sqlite3_bind_int64(st, 5, out->locked_until);
    else
        sqlite3_bind_null(st, 5);
    sqlite_bind_id(st, 6, &r->attempt_id);
    return sqlite_run(conn, st, NULL);
}

/* Held until the attempt has been judged. */
static enum err tell_lock(struct sqlite_conn *conn, const struct store_login_request *r,
                          struct store_login *out)
{
    const struct sqlite_told told = {.kind = EVENT_ACCOUNT_LOCKED,
                                     .occurred_at = out->now,
                                     .held_until = out->now + r->hold_ms,
                                     .tenant_id = &r->tenant_id,
                                     .user_id = out->found ? &out->user_id : NULL,
                                     .attempt_id = &r->attempt_id,
                                     .identity = r->identity_digest,
                                     .number = out->locked_until};
    return sqlite_tell(conn, &told);
}

static enum err login_begin(struct sqlite_conn *conn, const struct store_login_request *r,
                            struct store_login *out)
{
    TRY(reserve(conn, r, out));
    if (out->locked) /* whether there is such an account must not show: it is not looked for */
        return OK;
    TRY(find_credential(conn, r, out));
    if (out->last_attempt)
        TRY(tell_lock(conn, r, out));
    FAILPOINT("login.reserved");
    return OK;
}

enum err sqlite_login_begin(struct store_conn *base, const struct store_login_request *request,
                            struct store_login *out)
{
    struct sqlite_conn *conn = (struct sqlite_conn *)base;
    struct store_login login = {.now = clock_unix_ms()};
    TRY(sqlite_begin(conn));
    TRY(sqlite_end(conn, login_begin(conn, request, &login)));
    *out = login;
    return OK;
}

static enum err refund_one(struct sqlite_conn *conn, const struct store_refund *refund)
{
    int64_t changes = 0;
    sqlite3_stmt *st = sqlite_use(conn, SQ_THROTTLE_REFUND);
    sqlite_bind_id(st, 1, &refund->tenant_id);
    sqlite_bind_digest(st, 2, refund->identity_digest);
    sqlite3_bind_int64(st, 3, refund->window_started_at);
    sqlite3_bind_int64(st, 4, refund->threshold);
    sqlite_bind_id(st, 5, &refund->attempt_id);
    TRY(sqlite_run(conn, st, &changes));
    TRY(sqlite_take_back(conn, &refund->attempt_id));
    return changes == 1 ? OK : ERR_NOT_FOUND;
}

enum err sqlite_login_refund(struct store_conn *base, const struct store_refund *refund)
{
    struct sqlite_conn *conn = (struct sqlite_conn *)base;
    TRY(sqlite_begin(conn));
    return sqlite_end(conn, refund_one(conn, refund));
}

static enum err confirm_lock(struct sqlite_conn *conn, const struct uuid *tenant_id,
                             const uint8_t *identity_digest, const struct uuid *attempt_id)
{
    sqlite3_stmt *st = sqlite_use(conn, SQ_THROTTLE_LOCKED_BY);
    sqlite_bind_id(st, 1, tenant_id);
    sqlite_bind_digest(st, 2, identity_digest);
    sqlite_bind_id(st, 3, attempt_id);
    bool row = false;
    TRY(sqlite_step(conn, st, &row));
    bool stands = row;
    while (row)
        TRY(sqlite_step(conn, st, &row));
    if (stands)
        return sqlite_release(conn, attempt_id);
    TRY(sqlite_take_back(conn, attempt_id));
    return ERR_NOT_FOUND;
}

enum err sqlite_confirm_lock(struct store_conn *base, const struct uuid *tenant_id,
                             const uint8_t *identity_digest, const struct uuid *attempt_id)
{
    struct sqlite_conn *conn = (struct sqlite_conn *)base;
    TRY(sqlite_begin(conn));
    return sqlite_end(conn, confirm_lock(conn, tenant_id, identity_digest, attempt_id));
}

static enum err check_active(struct sqlite_conn *conn, const struct store_new_session *s)
{
    sqlite3_stmt *st = sqlite_use(conn, SQ_CREDENTIAL_IS_ACTIVE);
    sqlite_bind_id(st, 1, &s->tenant_id);
    sqlite_bind_id(st, 2, &s->user_id);
    bool row = false;
    TRY(sqlite_step(conn, st, &row));
    bool active = row;
    while (row)
        TRY(sqlite_step(conn, st, &row));
    return active ? OK : ERR_FORBIDDEN;
}

static enum err put_session(struct sqlite_conn *conn, const struct store_new_session *s,
                            int64_t now)
{
    int64_t end = s->opened_at + s->absolute_ms;
    int64_t idle_end = s->opened_at + s->idle_ms;
    sqlite3_stmt *st = sqlite_use(conn, SQ_SESSION_PUT);
    sqlite_bind_id(st, 1, &s->session_id);
    sqlite_bind_id(st, 2, &s->tenant_id);
    sqlite_bind_id(st, 3, &s->user_id);
    sqlite_bind_digest(st, 4, s->token_digest);
    sqlite3_bind_int64(st, 5, s->opened_at);
    sqlite3_bind_int64(st, 6, idle_end < end ? idle_end : end);
    sqlite3_bind_int64(st, 7, end);
    sqlite_bind_str(st, 8, s->client_ip);
    sqlite_bind_str(st, 9, s->user_agent);
    sqlite3_bind_int64(st, 10, now);
    return sqlite_run(conn, st, NULL);
}

static enum err evict(struct sqlite_conn *conn, const struct store_new_session *s, int64_t now)
{
    sqlite3_stmt *st = sqlite_use(conn, SQ_SESSION_EVICT);
    sqlite3_bind_int64(st, 1, now);
    sqlite_bind_id(st, 2, &s->tenant_id);
    sqlite_bind_id(st, 3, &s->user_id);
    sqlite3_bind_int64(st, 4, s->max_sessions);
    sqlite_bind_id(st, 5, &s->session_id);
    bool row = false;
    TRY(sqlite_step(conn, st, &row));
    while (row) {
        struct uuid id = sqlite_column_id(st, 0);
        const struct sqlite_told told = {.kind = EVENT_SESSION_REVOKED,
                                         .occurred_at = now,
                                         .tenant_id = &s->tenant_id,
                                         .user_id = &s->user_id,
                                         .session_id = &id,
                                         .label = "session_limit"};
        TRY(sqlite_tell(conn, &told));
        TRY(sqlite_step(conn, st, &row));
    }
    return OK;
}

static enum err tell_login(struct sqlite_conn *conn, const struct store_new_session *s, int64_t now)
{
    const struct sqlite_told told = {.kind = EVENT_USER_LOGGED_IN,
                                     .occurred_at = now,
                                     .tenant_id = &s->tenant_id,
                                     .user_id = &s->user_id,
                                     .session_id = &s->session_id};
    TRY(sqlite_tell(conn, &told));
    return sqlite_take_back(conn, s->attempt_id);
}

static enum err clear_throttle(struct sqlite_conn *conn, const struct store_new_session *s)
{
    sqlite3_stmt *st = sqlite_use(conn, SQ_THROTTLE_CLEAR);
    sqlite_bind_id(st, 1, &s->tenant_id);
    sqlite_bind_digest(st, 2, s->identity_digest);
    return sqlite_run(conn, st, NULL);
}

static enum err rehash(struct sqlite_conn *conn, const struct store_new_session *s, int64_t now)
{
    if (s->new_hash == NULL)
        return OK;
    sqlite3_stmt *st = sqlite_use(conn, SQ_CREDENTIAL_REHASH);
    sqlite_bind_id(st, 1, &s->tenant_id);
    sqlite_bind_id(st, 2, &s->user_id);
    sqlite_bind_str(st, 3, s->old_hash);
    sqlite_bind_str(st, 4, s->new_hash);
    sqlite3_bind_int64(st, 5, now);
    return sqlite_run(conn, st, NULL);
}

static enum err login_finish(struct sqlite_conn *conn, const struct store_new_session *s)
{
    int64_t now = clock_unix_ms();
    TRY(check_active(conn, s));
    TRY(put_session(conn, s, now));
    FAILPOINT("login.opened");
    TRY(tell_login(conn, s, now));
    TRY(evict(conn, s, now));
    TRY(clear_throttle(conn, s));
    return rehash(conn, s, now);
}

enum err sqlite_login_finish(struct store_conn *base, const struct store_new_session *session)
{
    struct sqlite_conn *conn = (struct sqlite_conn *)base;
    TRY(sqlite_begin(conn));
    return sqlite_end(conn, login_finish(conn, session));
}
