/*
 * sqlite_sweep.c: the sweep, on SQLite. Tables are walked in the order of their keys, which is the
 * order of the file. A step looks first, and takes the writer's lock only if there is something to
 * change.
 */
#include <string.h>

#include "base/clock.h"
#include "base/failpoint.h"
#include "store/sqlite.h"

/* So few that nobody waits long for the writer's lock. */
#define ROWS_AT_ONCE 64

/* In all statements: ?1 ?2 the key to begin behind, ?3 ?4 the key to end with, ?5 when what is to
 * be deleted must have ended, ?6 when what is to be erased must have been used last, ?7 now. Keys
 * of one column leave the second alone. */
#define OVER                                                                                       \
    "min(idle_expires_at, absolute_expires_at, coalesce(revoked_at, idle_expires_at)) <= ?5"
#define TELLING "rotated_at <= ?6 AND (client_ip <> '' OR user_agent <> '')"
#define THROTTLE_OVER "max(window_started_at, coalesce(locked_until, 0)) <= ?5"

static const struct {
    const char *look; /* key, key, to be deleted, to be erased, live */
    const char *remove, *erase;
} SQL[STORE_SWEEPS] = {
    [STORE_SWEEP_SESSIONS] =
        {"SELECT id, NULL, " OVER ", " TELLING ", revoked_at IS NULL AND idle_expires_at > ?7"
         " AND absolute_expires_at > ?7 AND opened_at >"
         " (SELECT value FROM settings WHERE name = 'sessions_not_before')"
         " FROM sessions WHERE id > ?1 ORDER BY id LIMIT ?3",
         "DELETE FROM sessions WHERE id > ?1 AND id <= ?3 AND " OVER,
         "UPDATE sessions SET client_ip = '', user_agent = '' WHERE id > ?1 AND id <= ?3"
         " AND " TELLING},
    [STORE_SWEEP_THROTTLES] =
        {"SELECT tenant_id, identity_digest, " THROTTLE_OVER ", 0, 0 FROM login_throttle"
         " WHERE (tenant_id, identity_digest) > (?1, ?2)"
         " ORDER BY tenant_id, identity_digest LIMIT ?3",
         "DELETE FROM login_throttle WHERE (tenant_id, identity_digest) > (?1, ?2)"
         " AND (tenant_id, identity_digest) <= (?3, ?4) AND " THROTTLE_OVER,
         NULL},
    [STORE_SWEEP_KEYS] = {"SELECT key_digest, NULL, created_at <= ?5, 0, 0 FROM idempotency_keys"
                          " WHERE key_digest > ?1 ORDER BY key_digest LIMIT ?3",
                          "DELETE FROM idempotency_keys WHERE key_digest > ?1 AND key_digest <= ?3"
                          " AND created_at <= ?5",
                          NULL},
};

struct times {
    int64_t delete_before, erase_before, now;
};

static struct times times_of(enum store_sweep what, const struct store_sweep_rules *rules)
{
    const int64_t ages[STORE_SWEEPS] = {[STORE_SWEEP_SESSIONS] = rules->session_ms,
                                        [STORE_SWEEP_THROTTLES] = STORE_THROTTLE_MS,
                                        [STORE_SWEEP_KEYS] = STORE_IDEMPOTENCY_MS};
    struct times t = {.now = rules->now};
    t.delete_before = t.now - ages[what];
    t.erase_before = t.now - rules->client_data_ms;
    return t;
}

static void cleanup_statement(sqlite3_stmt **st)
{
    sqlite3_finalize(*st);
}

/* NULL if it cannot be prepared. */
static sqlite3_stmt *prepare(struct sqlite_conn *conn, const char *sql,
                             const struct store_sweep_place *from, const struct times *t)
{
    sqlite3_stmt *st = NULL;
    (void)sqlite3_prepare_v2(conn->db, sql, -1, &st, NULL);
    sqlite3_bind_blob(st, 1, from->key, (int)from->key_len, SQLITE_STATIC);
    sqlite3_bind_blob(st, 2, from->key2, (int)from->key2_len, SQLITE_STATIC);
    sqlite3_bind_int64(st, 5, t->delete_before);
    sqlite3_bind_int64(st, 6, t->erase_before);
    sqlite3_bind_int64(st, 7, t->now);
    return st;
}

static void read_key(sqlite3_stmt *st, struct store_sweep_place *place)
{
    place->key_len = (size_t)sqlite3_column_bytes(st, 0);
    place->key2_len = (size_t)sqlite3_column_bytes(st, 1);
    if (place->key_len > sizeof place->key)
        place->key_len = sizeof place->key;
    if (place->key2_len > sizeof place->key2)
        place->key2_len = sizeof place->key2;
    if (place->key_len > 0)
        memcpy(place->key, sqlite3_column_blob(st, 0), place->key_len);
    if (place->key2_len > 0)
        memcpy(place->key2, sqlite3_column_blob(st, 1), place->key2_len);
}

/* How much there is to do up to *to. */
static enum err look(struct sqlite_conn *conn, enum store_sweep what, const struct times *t,
                     const struct store_sweep_place *from, struct store_sweep_place *to,
                     struct store_swept *found)
{
    sqlite3_stmt *st CLEANUP(cleanup_statement) = prepare(conn, SQL[what].look, from, t);
    sqlite3_bind_int64(st, 3, ROWS_AT_ONCE);
    unsigned rows = 0;
    bool row = false;
    TRY(sqlite_step(conn, st, &row));
    for (; row; rows++) {
        read_key(st, to);
        bool gone = sqlite3_column_int(st, 2) != 0;
        found->deleted += gone;
        found->erased += !gone && sqlite3_column_int(st, 3) != 0;
        found->live += sqlite3_column_int(st, 4) != 0;
        TRY(sqlite_step(conn, st, &row));
    }
    to->end = rows < ROWS_AT_ONCE;
    return OK;
}

static enum err change(struct sqlite_conn *conn, const char *sql, const struct times *t,
                       const struct store_sweep_place *from, const struct store_sweep_place *to,
                       uint64_t *changes)
{
    sqlite3_stmt *st CLEANUP(cleanup_statement) = prepare(conn, sql, from, t);
    sqlite3_bind_blob(st, 3, to->key, (int)to->key_len, SQLITE_STATIC);
    sqlite3_bind_blob(st, 4, to->key2, (int)to->key2_len, SQLITE_STATIC);
    int64_t n = 0;
    TRY(sqlite_run(conn, st, &n));
    FAILPOINT("sweep.step");
    *changes = (uint64_t)n;
    return OK;
}

/* What was counted may have changed since: what is reported is what was done. */
static enum err change_all(struct sqlite_conn *conn, enum store_sweep what, const struct times *t,
                           const struct store_sweep_place *from, const struct store_sweep_place *to,
                           struct store_swept *done)
{
    if (done->deleted > 0)
        TRY(change(conn, SQL[what].remove, t, from, to, &done->deleted));
    if (done->erased > 0)
        TRY(change(conn, SQL[what].erase, t, from, to, &done->erased));
    return OK;
}

enum err sqlite_sweep_step(struct store_conn *base, enum store_sweep what,
                           const struct store_sweep_rules *rules, struct store_sweep_place *place,
                           struct store_swept *out)
{
    struct sqlite_conn *conn = (struct sqlite_conn *)base;
    struct times t = times_of(what, rules);
    struct store_sweep_place to = *place;
    struct store_swept done = {0};
    if (conn->db == NULL)
        TRY(sqlite_connect(base->store, false, &conn->db));
    TRY(look(conn, what, &t, place, &to, &done));
    if (done.deleted + done.erased > 0) {
        TRY(sqlite_begin(conn));
        TRY(sqlite_end(conn, change_all(conn, what, &t, place, &to, &done)));
        /* A step changes many pages. Carried into the database here, where nobody waits for it,
         * they are no burden to the commit of a request. It blocks nobody; what it leaves is for
         * the next. */
        (void)sqlite3_wal_checkpoint_v2(conn->db, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
    }
    *place = to;
    *out = done;
    return OK;
}

/* ---- whose turn it is ---- */

/* A due time that lies far ahead was set by a clock that was wrong. */
static enum err begin(struct sqlite_conn *conn, int64_t lease_ms, int64_t now,
                      struct store_sweep_turn *out)
{
    sqlite3_stmt *st = sqlite_use(conn, SQ_SWEEP_CLAIM);
    sqlite3_bind_int64(st, 1, now);
    sqlite3_bind_int64(st, 2, now + lease_ms);
    sqlite3_bind_int64(st, 3, now + STORE_SWEEP_PAUSE_MAX_MS);
    int64_t changes = 0;
    TRY(sqlite_run(conn, st, &changes));
    out->ours = changes == 1;
    st = sqlite_use(conn, SQ_SWEEP_LIVE);
    bool row = false;
    TRY(sqlite_step(conn, st, &row));
    while (row) {
        out->live_sessions = (uint64_t)sqlite3_column_int64(st, 0);
        TRY(sqlite_step(conn, st, &row));
    }
    return OK;
}

enum err sqlite_sweep_begin(struct store_conn *base, int64_t lease_ms, struct store_sweep_turn *out)
{
    struct sqlite_conn *conn = (struct sqlite_conn *)base;
    struct store_sweep_turn turn = {.now = clock_unix_ms()};
    TRY(sqlite_begin(conn));
    TRY(sqlite_end(conn, begin(conn, lease_ms, turn.now, &turn)));
    *out = turn;
    return OK;
}

static enum err set(struct sqlite_conn *conn, const char *name, int64_t value)
{
    sqlite3_stmt *st = sqlite_use(conn, SQ_SETTING_SET);
    sqlite_bind_str(st, 1, name);
    sqlite3_bind_int64(st, 2, value);
    return sqlite_run(conn, st, NULL);
}

enum err sqlite_sweep_keep(struct store_conn *base, int64_t lease_ms)
{
    struct sqlite_conn *conn = (struct sqlite_conn *)base;
    TRY(sqlite_begin(conn));
    return sqlite_end(conn, set(conn, "sweep_due", clock_unix_ms() + lease_ms));
}

static enum err finish(struct sqlite_conn *conn, int64_t due, uint64_t live_sessions)
{
    TRY(set(conn, "sweep_due", due));
    return set(conn, "live_sessions", (int64_t)live_sessions);
}

enum err sqlite_sweep_end(struct store_conn *base, int64_t pause_ms, uint64_t live_sessions)
{
    struct sqlite_conn *conn = (struct sqlite_conn *)base;
    TRY(sqlite_begin(conn));
    return sqlite_end(conn, finish(conn, clock_unix_ms() + pause_ms, live_sessions));
}
