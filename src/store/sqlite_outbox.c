/* sqlite_outbox.c: events on their way out, on SQLite. */
#include <string.h>

#include "base/clock.h"
#include "base/text.h"
#include "store/sqlite.h"

/* ---- writing ---- */

static void bind_id(sqlite3_stmt *st, int at, const struct uuid *id)
{
    if (id != NULL)
        sqlite_bind_id(st, at, id);
}

static void bind_number(sqlite3_stmt *st, int at, int64_t v)
{
    if (v != 0)
        sqlite3_bind_int64(st, at, v);
}

/* What is not bound is null. */
static void bind_told(sqlite3_stmt *st, const struct sqlite_told *told)
{
    sqlite3_bind_int64(st, 3, told->occurred_at);
    sqlite3_bind_int64(st, 4, told->held_until);
    bind_id(st, 6, told->tenant_id);
    bind_id(st, 7, told->user_id);
    bind_id(st, 8, told->session_id);
    if (told->identity != NULL)
        sqlite_bind_digest(st, 9, told->identity);
    sqlite_bind_str(st, 10, told->label);
    sqlite_bind_str(st, 11, told->detail);
    bind_number(st, 12, told->number);
    bind_number(st, 13, told->age_ms);
    sqlite_bind_str(st, 14, told->client_ip);
    sqlite_bind_str(st, 15, told->user_agent);
    sqlite_bind_str(st, 16, told->previous_ip);
    sqlite_bind_str(st, 17, told->previous_user_agent);
    bind_id(st, 18, told->attempt_id);
}

enum err sqlite_tell(struct sqlite_conn *conn, const struct sqlite_told *told)
{
    struct uuid id;
    if (!store_tells(&conn->base, told->kind))
        return OK;
    if (uuid_make_v7(told->occurred_at, &id) != OK)
        return store_fail(ERR_INTERNAL, "sqlite", "random numbers");
    sqlite3_stmt *st = sqlite_use(conn, SQ_OUTBOX_PUT);
    sqlite_bind_id(st, 1, &id);
    sqlite_bind_str(st, 2, store_event_subject(told->kind));
    sqlite_bind_str(st, 5, conn->base.trace_id);
    bind_told(st, told);
    return sqlite_run(conn, st, NULL);
}

enum err sqlite_take_back(struct sqlite_conn *conn, const struct uuid *attempt_id)
{
    if (attempt_id == NULL || !store_tells(&conn->base, EVENT_ACCOUNT_LOCKED))
        return OK;
    sqlite3_stmt *st = sqlite_use(conn, SQ_OUTBOX_TAKE_BACK);
    sqlite_bind_id(st, 1, attempt_id);
    return sqlite_run(conn, st, NULL);
}

enum err sqlite_release(struct sqlite_conn *conn, const struct uuid *attempt_id)
{
    if (!store_tells(&conn->base, EVENT_ACCOUNT_LOCKED))
        return OK;
    sqlite3_stmt *st = sqlite_use(conn, SQ_OUTBOX_RELEASE);
    sqlite_bind_id(st, 1, attempt_id);
    return sqlite_run(conn, st, NULL);
}

/* Every instance sees the change of a key; the first to say so is the one that tells. */
static enum err tell_once(struct sqlite_conn *conn, const struct sqlite_told *told)
{
    sqlite3_stmt *st = sqlite_use(conn, SQ_OUTBOX_CLAIM_KEY);
    int64_t changes = 0;
    sqlite_bind_str(st, 1, told->label);
    sqlite_bind_str(st, 2, told->detail);
    sqlite3_bind_int64(st, 3, told->occurred_at);
    TRY(sqlite_run(conn, st, &changes));
    return changes == 1 ? sqlite_tell(conn, told) : OK;
}

enum err sqlite_tell_key(struct store_conn *base, enum event_kind kind, const char *kid,
                         const char *state)
{
    struct sqlite_conn *conn = (struct sqlite_conn *)base;
    const struct sqlite_told told = {
        .kind = kind, .occurred_at = clock_unix_ms(), .label = kid, .detail = state};
    TRY(sqlite_begin(conn));
    return sqlite_end(conn, tell_once(conn, &told));
}

/* ---- reading: no transaction, so that no writer waits ---- */

static bool column_id(sqlite3_stmt *st, int at, struct uuid *out)
{
    if (sqlite3_column_type(st, at) == SQLITE_NULL)
        return false;
    *out = sqlite_column_id(st, at);
    return true;
}

static void column_client(sqlite3_stmt *st, int at, struct store_client *out)
{
    out->known = sqlite3_column_type(st, at) != SQLITE_NULL;
    sqlite_column_str(st, at, out->ip, sizeof out->ip);
    sqlite_column_str(st, at + 1, out->user_agent, sizeof out->user_agent);
}

/* The columns of SQ_OUTBOX_READ. */
static enum err column_event(sqlite3_stmt *st, struct store_event *out)
{
    const char *subject = (const char *)sqlite3_column_text(st, 2);
    if (subject == NULL)
        return ERR_NOT_FOUND;
    TRY(store_event_find(subject, strlen(subject), &out->kind));
    out->seq = sqlite3_column_int64(st, 0);
    out->id = sqlite_column_id(st, 1);
    out->occurred_at = sqlite3_column_int64(st, 3);
    sqlite_column_str(st, 4, out->trace_id, sizeof out->trace_id);
    out->has_tenant = column_id(st, 5, &out->tenant_id);
    out->has_user = column_id(st, 6, &out->user_id);
    out->has_session = column_id(st, 7, &out->session_id);
    out->has_identity = sqlite3_column_bytes(st, 8) == STORE_DIGEST_LEN;
    if (out->has_identity)
        memcpy(out->identity, sqlite3_column_blob(st, 8), STORE_DIGEST_LEN);
    sqlite_column_str(st, 9, out->label, sizeof out->label);
    sqlite_column_str(st, 10, out->detail, sizeof out->detail);
    out->number = sqlite3_column_int64(st, 11);
    out->age_ms = sqlite3_column_int64(st, 12);
    column_client(st, 13, &out->presented);
    column_client(st, 15, &out->previous);
    return OK;
}

static enum err read_events(struct sqlite_conn *conn, int64_t now, struct store_event *out,
                            size_t max, size_t *count)
{
    sqlite3_stmt *st = sqlite_use(conn, SQ_OUTBOX_READ);
    sqlite3_bind_int64(st, 1, now);
    bool row = false;
    TRY(sqlite_step(conn, st, &row));
    for (*count = 0; row && *count < max;) {
        if (column_event(st, &out[*count]) == OK) /* else of a later version: left for it */
            (*count)++;
        TRY(sqlite_step(conn, st, &row));
    }
    sqlite3_reset(st); /* there may be more */
    sqlite3_clear_bindings(st);
    return OK;
}

static enum err measure(struct sqlite_conn *conn, struct store_backlog *out)
{
    sqlite3_stmt *st = sqlite_use(conn, SQ_OUTBOX_MEASURE);
    sqlite3_bind_int64(st, 1, STORE_BACKLOG_EXACT + 1);
    bool row = false;
    TRY(sqlite_step(conn, st, &row));
    while (row) {
        out->rows = (uint64_t)sqlite3_column_int64(st, 0);
        if (out->rows == STORE_BACKLOG_EXACT + 1)
            out->rows = (uint64_t)(sqlite3_column_int64(st, 2) - sqlite3_column_int64(st, 1) + 1);
        out->oldest_at = sqlite3_column_int64(st, 3); /* 0 for NULL */
        TRY(sqlite_step(conn, st, &row));
    }
    return OK;
}

enum err sqlite_outbox_read(struct store_conn *base, struct store_event *out, size_t max,
                            size_t *count, struct store_backlog *backlog)
{
    struct sqlite_conn *conn = (struct sqlite_conn *)base;
    struct store_backlog b = {.ours = true, .now = clock_unix_ms()};
    size_t n = 0;
    enum err e = sqlite_ready(conn);
    if (e == OK)
        e = measure(conn, &b);
    if (e == OK && b.rows > 0)
        e = read_events(conn, b.now, out, max, &n);
    if (e != OK) {
        sqlite_disconnect(conn);
        return e;
    }
    *count = n;
    *backlog = b;
    return OK;
}

/* ---- removing ---- */

static enum err delete_rows(struct sqlite_conn *conn, const int64_t *seqs, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        sqlite3_stmt *st = sqlite_use(conn, SQ_OUTBOX_DELETE);
        sqlite3_bind_int64(st, 1, seqs[i]);
        TRY(sqlite_run(conn, st, NULL));
    }
    return OK;
}

enum err sqlite_outbox_delete(struct store_conn *base, const int64_t *seqs, size_t n)
{
    struct sqlite_conn *conn = (struct sqlite_conn *)base;
    TRY(sqlite_begin(conn));
    return sqlite_end(conn, delete_rows(conn, seqs, n));
}

enum err sqlite_outbox_drop(struct store_conn *base, uint64_t n, uint64_t *dropped)
{
    struct sqlite_conn *conn = (struct sqlite_conn *)base;
    int64_t changes = 0;
    TRY(sqlite_begin(conn));
    sqlite3_stmt *st = sqlite_use(conn, SQ_OUTBOX_DROP);
    sqlite3_bind_int64(st, 1, (int64_t)n);
    TRY(sqlite_end(conn, sqlite_run(conn, st, &changes)));
    *dropped = (uint64_t)changes;
    return OK;
}
