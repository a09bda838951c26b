/* sqlite_operator.c: what operators do to users and sessions, on SQLite. Every operation is a write
 * transaction, so a login comes whole before it or whole after. */
#include "base/clock.h"
#include "store/sqlite.h"

#define CLEAR_LOG_MS 100

/* Whether the statement gives a row. */
static enum err exists(struct sqlite_conn *conn, sqlite3_stmt *st, bool *found)
{
    bool row = false;
    TRY(sqlite_step(conn, st, &row));
    *found = row;
    while (row)
        TRY(sqlite_step(conn, st, &row));
    return OK;
}

static sqlite3_stmt *use_user(struct sqlite_conn *conn, enum sqlite_statement which,
                              const struct uuid *tenant_id, const struct uuid *user_id)
{
    sqlite3_stmt *st = sqlite_use(conn, which);
    sqlite_bind_id(st, 1, tenant_id);
    sqlite_bind_id(st, 2, user_id);
    return st;
}

static sqlite3_stmt *use_identity(struct sqlite_conn *conn, enum sqlite_statement which,
                                  const struct uuid *tenant_id, const uint8_t *identity_digest)
{
    sqlite3_stmt *st = sqlite_use(conn, which);
    sqlite_bind_id(st, 1, tenant_id);
    sqlite_bind_digest(st, 2, identity_digest);
    return st;
}

/* ---- looking ---- */

static enum err find_user(struct sqlite_conn *conn, const struct store_user_name *name,
                          struct store_user *out)
{
    sqlite3_stmt *st = sqlite_use(conn, SQ_USER_FIND);
    sqlite3_bind_int64(st, 1, clock_unix_ms());
    sqlite_bind_id(st, 2, &name->tenant_id);
    if (name->email != NULL)
        sqlite_bind_str(st, 3, name->email);
    if (name->user_id != NULL)
        sqlite_bind_id(st, 4, name->user_id);
    bool row = false;
    TRY(sqlite_step(conn, st, &row));
    if (!row)
        return ERR_NOT_FOUND;
    out->tenant_id = name->tenant_id;
    out->user_id = sqlite_column_id(st, 0);
    sqlite_column_str(st, 1, out->email, sizeof out->email);
    sqlite_column_str(st, 2, out->password_hash, sizeof out->password_hash);
    out->active = sqlite3_column_int(st, 3) != 0;
    out->created_at = sqlite3_column_int64(st, 4);
    out->updated_at = sqlite3_column_int64(st, 5);
    out->live_sessions = (uint64_t)sqlite3_column_int64(st, 6);
    while (row)
        TRY(sqlite_step(conn, st, &row));
    return OK;
}

enum err sqlite_find_user(struct store_conn *base, const struct store_user_name *name,
                          struct store_user *out)
{
    struct sqlite_conn *conn = (struct sqlite_conn *)base;
    struct store_user user;
    TRY(sqlite_begin(conn));
    TRY(sqlite_end(conn, find_user(conn, name, &user)));
    *out = user;
    return OK;
}

static enum err find_lock(struct sqlite_conn *conn, const struct uuid *tenant_id,
                          const uint8_t *identity_digest, struct store_lock *out)
{
    sqlite3_stmt *st = use_identity(conn, SQ_THROTTLE_FIND, tenant_id, identity_digest);
    bool row = false;
    TRY(sqlite_step(conn, st, &row));
    if (row) {
        out->failures = sqlite3_column_int64(st, 0);
        out->window_started_at = sqlite3_column_int64(st, 1);
        out->locked_until = sqlite3_column_int64(st, 2); /* 0 for NULL */
    }
    while (row)
        TRY(sqlite_step(conn, st, &row));
    return OK;
}

enum err sqlite_find_lock(struct store_conn *base, const struct uuid *tenant_id,
                          const uint8_t *identity_digest, struct store_lock *out)
{
    struct sqlite_conn *conn = (struct sqlite_conn *)base;
    struct store_lock lock = {.now = clock_unix_ms()};
    TRY(sqlite_begin(conn));
    TRY(sqlite_end(conn, find_lock(conn, tenant_id, identity_digest, &lock)));
    *out = lock;
    return OK;
}

/* ---- users ---- */

/* If whoever reserved the attempt that locked has died, its event is held still. */
static enum err forget_failures(struct sqlite_conn *conn, const struct uuid *tenant_id,
                                const uint8_t *identity_digest)
{
    if (store_tells(&conn->base, EVENT_ACCOUNT_LOCKED))
        TRY(sqlite_run(
            conn, use_identity(conn, SQ_OUTBOX_TAKE_BACK_LOCK, tenant_id, identity_digest), NULL));
    return sqlite_run(conn, use_identity(conn, SQ_THROTTLE_CLEAR, tenant_id, identity_digest),
                      NULL);
}

static enum err unlock(struct sqlite_conn *conn, const struct uuid *tenant_id,
                       const struct uuid *user_id, const uint8_t *identity_digest,
                       struct store_lock *before)
{
    TRY(find_lock(conn, tenant_id, identity_digest, before));
    TRY(forget_failures(conn, tenant_id, identity_digest));
    const struct sqlite_told told = {.kind = EVENT_ACCOUNT_UNLOCKED,
                                     .occurred_at = before->now,
                                     .tenant_id = tenant_id,
                                     .user_id = user_id,
                                     .identity = identity_digest};
    return before->locked_until > before->now ? sqlite_tell(conn, &told) : OK;
}

enum err sqlite_unlock(struct store_conn *base, const struct uuid *tenant_id,
                       const struct uuid *user_id, const uint8_t *identity_digest, bool *locked)
{
    struct sqlite_conn *conn = (struct sqlite_conn *)base;
    struct store_lock before = {.now = clock_unix_ms()};
    TRY(sqlite_begin(conn));
    TRY(sqlite_end(conn, unlock(conn, tenant_id, user_id, identity_digest, &before)));
    *locked = before.locked_until > before.now;
    return OK;
}

static enum err set_active(struct sqlite_conn *conn, const struct uuid *tenant_id,
                           const struct uuid *user_id, bool active, struct store_ended *out)
{
    bool found = false;
    int64_t changes = 0, now = clock_unix_ms();
    uint64_t ended = 0;
    TRY(exists(conn, use_user(conn, SQ_USER_EXISTS, tenant_id, user_id), &found));
    if (!found)
        return ERR_NOT_FOUND;
    sqlite3_stmt *st = use_user(conn, SQ_USER_SET_STATUS, tenant_id, user_id);
    sqlite_bind_str(st, 3, active ? "active" : "disabled");
    sqlite3_bind_int64(st, 4, now);
    TRY(sqlite_run(conn, st, &changes));
    const struct sqlite_told told = {.kind = active ? EVENT_USER_ENABLED : EVENT_USER_DISABLED,
                                     .occurred_at = now,
                                     .tenant_id = tenant_id,
                                     .user_id = user_id};
    if (changes == 1)
        TRY(sqlite_tell(conn, &told));
    if (!active)
        TRY(sqlite_end_all(conn, tenant_id, user_id, "account_disabled", &ended));
    *out = (struct store_ended){.changed = changes == 1, .ended = ended};
    return OK;
}

enum err sqlite_set_active(struct store_conn *base, const struct uuid *tenant_id,
                           const struct uuid *user_id, bool active, struct store_ended *out)
{
    struct sqlite_conn *conn = (struct sqlite_conn *)base;
    struct store_ended result = {0};
    TRY(sqlite_begin(conn));
    TRY(sqlite_end(conn, set_active(conn, tenant_id, user_id, active, &result)));
    *out = result;
    return OK;
}

static enum err delete_user(struct sqlite_conn *conn, const struct uuid *tenant_id,
                            const struct uuid *user_id, const uint8_t *identity_digest,
                            uint64_t *ended)
{
    int64_t changes = 0;
    TRY(sqlite_run(conn, use_user(conn, SQ_USER_DELETE, tenant_id, user_id), &changes));
    if (changes == 0)
        return ERR_NOT_FOUND;
    TRY(sqlite_end_all(conn, tenant_id, user_id, "account_deleted", ended)); /* counts them */
    TRY(sqlite_run(conn, use_user(conn, SQ_SESSION_DELETE_ALL, tenant_id, user_id), NULL));
    TRY(forget_failures(conn, tenant_id, identity_digest));
    TRY(sqlite_run(conn, use_user(conn, SQ_OUTBOX_SCRUB, tenant_id, user_id), NULL));
    const struct sqlite_told told = {.kind = EVENT_USER_DELETED,
                                     .occurred_at = clock_unix_ms(),
                                     .tenant_id = tenant_id,
                                     .user_id = user_id};
    TRY(sqlite_tell(conn, &told));
    return sqlite_run(conn, use_user(conn, SQ_IDEMPOTENCY_DELETE, tenant_id, user_id), NULL);
}

/* The write-ahead log still has the rows in its old pages. While this waits, for readers too,
 * nobody can write: who reads for longer, a backup for example, makes it wait for the next time the
 * log begins anew. */
static void clear_log(struct sqlite_conn *conn)
{
    sqlite3_busy_timeout(conn->db, CLEAR_LOG_MS);
    (void)sqlite3_wal_checkpoint_v2(conn->db, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL);
}

enum err sqlite_delete_user(struct store_conn *base, const struct uuid *tenant_id,
                            const struct uuid *user_id, const uint8_t *identity_digest,
                            uint64_t *ended)
{
    struct sqlite_conn *conn = (struct sqlite_conn *)base;
    uint64_t n = 0;
    TRY(sqlite_begin(conn));
    TRY(sqlite_end(conn, delete_user(conn, tenant_id, user_id, identity_digest, &n)));
    *ended = n;
    if (!conn->in_batch)
        clear_log(conn);
    return OK;
}

/* ---- sessions ---- */

static enum err revoke_session(struct sqlite_conn *conn, const struct uuid *session_id,
                               const char *reason, struct store_revoked *out)
{
    sqlite3_stmt *st = sqlite_use(conn, SQ_SESSION_OWNER);
    sqlite_bind_id(st, 1, session_id);
    bool row = false;
    TRY(sqlite_step(conn, st, &row));
    if (!row)
        return ERR_NOT_FOUND;
    out->tenant_id = sqlite_column_id(st, 0);
    out->user_id = sqlite_column_id(st, 1);
    while (row)
        TRY(sqlite_step(conn, st, &row));
    const struct sqlite_told told = {
        .kind = EVENT_SESSION_REVOKED, .occurred_at = clock_unix_ms(), .label = reason};
    return sqlite_end_one(conn, session_id, NULL, NULL, &told, &out->changed);
}

static enum err read_page(struct sqlite_conn *conn, struct store_hash_page *page)
{
    sqlite3_stmt *st = use_user(conn, SQ_CREDENTIAL_PAGE, &page->tenant_id, &page->user_id);
    sqlite3_bind_int64(st, 3, STORE_HASH_PAGE);
    struct uuid tenant_id = page->tenant_id, user_id = page->user_id; /* those in page are bound */
    bool row = false;
    TRY(sqlite_step(conn, st, &row));
    for (page->count = 0; row; page->count++) {
        tenant_id = sqlite_column_id(st, 0);
        user_id = sqlite_column_id(st, 1);
        sqlite_column_str(st, 2, page->hashes[page->count], sizeof page->hashes[0]);
        TRY(sqlite_step(conn, st, &row));
    }
    page->tenant_id = tenant_id;
    page->user_id = user_id;
    return OK;
}

/* Without a transaction: a reader holds no writer up. */
enum err sqlite_read_hashes(struct store_conn *base, struct store_hash_page *page)
{
    struct sqlite_conn *conn = (struct sqlite_conn *)base;
    TRY(sqlite_ready(conn));
    enum err e = read_page(conn, page);
    if (e != OK)
        sqlite_disconnect(conn);
    return e;
}

static enum err move_fence(struct sqlite_conn *conn, int64_t at, int64_t *not_before)
{
    sqlite3_stmt *st = sqlite_use(conn, SQ_SESSION_FENCE);
    sqlite3_bind_int64(st, 1, at);
    bool row = false;
    TRY(sqlite_step(conn, st, &row));
    if (!row)
        return store_fail(ERR_INTERNAL, "sqlite", "the settings lack sessions_not_before");
    *not_before = sqlite3_column_int64(st, 0);
    while (row)
        TRY(sqlite_step(conn, st, &row));
    return OK;
}

static enum err fence(struct sqlite_conn *conn, int64_t at, int64_t *not_before)
{
    TRY(sqlite_begin(conn));
    return sqlite_end(conn, move_fence(conn, at, not_before));
}

/* Without a transaction, as it reads the whole table. */
static enum err find_latest(struct sqlite_conn *conn, int64_t *opened_at)
{
    sqlite3_stmt *st = sqlite_use(conn, SQ_SESSION_LATEST);
    bool row = false;
    enum err e = sqlite_step(conn, st, &row);
    while (e == OK && row) {
        *opened_at = sqlite3_column_int64(st, 0);
        e = sqlite_step(conn, st, &row);
    }
    if (e != OK)
        sqlite_disconnect(conn);
    return e;
}

/* First what takes no time. Whether some were opened while the clock was ahead is seen in the whole
 * table alone. */
enum err sqlite_fence_sessions(struct store_conn *base, int64_t *not_before)
{
    struct sqlite_conn *conn = (struct sqlite_conn *)base;
    int64_t at = 0, latest = 0;
    TRY(fence(conn, clock_unix_ms(), &at));
    TRY(find_latest(conn, &latest));
    if (latest > at)
        TRY(fence(conn, latest, &at));
    *not_before = at;
    return OK;
}

enum err sqlite_revoke_session(struct store_conn *base, const struct uuid *session_id,
                               const char *reason, struct store_revoked *out)
{
    struct sqlite_conn *conn = (struct sqlite_conn *)base;
    struct store_revoked result = {0};
    TRY(sqlite_begin(conn));
    TRY(sqlite_end(conn, revoke_session(conn, session_id, reason, &result)));
    *out = result;
    return OK;
}
