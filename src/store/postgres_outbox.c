/* postgres_outbox.c: events on their way out, on PostgreSQL. */
#include <string.h>

#include "base/text.h"
#include "store/postgres.h"

/* A number and a comma. */
#define SEQ_TEXT_MAX 21
#define SUBJECTS_MAX 1024

static void clear(PGresult **results, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        PQclear(results[i]);
}

enum err pg_tell_key(struct store_conn *base, enum event_kind kind, const char *kid,
                     const char *state)
{
    struct pg_call call;
    PGresult *res CLEANUP(cleanup_result) = NULL;
    pg_call(&call, PG_OUTBOX_TELL_KEY);
    pg_put_str(&call, store_event_subject(kind));
    pg_put_str(&call, base->trace_id);
    pg_put_str(&call, kid);
    pg_put_str(&call, state);
    return pg_run((struct pg_conn *)base, &call, 1, &res);
}

/* ---- reading ---- */

static bool get_id(const PGresult *res, int row, int column, struct uuid *out)
{
    if (pg_is_null(res, row, column))
        return false;
    *out = pg_get_id(res, row, column);
    return true;
}

static void get_client(const PGresult *res, int row, int column, struct store_client *out)
{
    out->known = !pg_is_null(res, row, column);
    pg_get_str(res, row, column, out->ip, sizeof out->ip);
    pg_get_str(res, row, column + 1, out->user_agent, sizeof out->user_agent);
}

/* The columns of PG_OUTBOX_READ. */
static enum err get_event(const PGresult *res, int row, struct store_event *out)
{
    TRY(store_event_find(PQgetvalue(res, row, 2), (size_t)PQgetlength(res, row, 2), &out->kind));
    out->seq = pg_get_i64(res, row, 0);
    out->id = pg_get_id(res, row, 1);
    out->occurred_at = pg_get_i64(res, row, 3);
    pg_get_str(res, row, 4, out->trace_id, sizeof out->trace_id);
    out->has_tenant = get_id(res, row, 5, &out->tenant_id);
    out->has_user = get_id(res, row, 6, &out->user_id);
    out->has_session = get_id(res, row, 7, &out->session_id);
    out->has_identity = PQgetlength(res, row, 8) == STORE_DIGEST_LEN;
    if (out->has_identity)
        memcpy(out->identity, PQgetvalue(res, row, 8), STORE_DIGEST_LEN);
    pg_get_str(res, row, 9, out->label, sizeof out->label);
    pg_get_str(res, row, 10, out->detail, sizeof out->detail);
    out->number = pg_get_i64(res, row, 11);
    out->age_ms = pg_get_i64(res, row, 12);
    get_client(res, row, 13, &out->presented);
    get_client(res, row, 15, &out->previous);
    return OK;
}

static void get_events(const PGresult *res, struct store_event *out, size_t max, size_t *count)
{
    size_t n = 0;
    for (int row = 0; row < PQntuples(res) && n < max; row++)
        if (get_event(res, row, &out[n]) == OK)
            n++;
    *count = n;
}

static void get_backlog(const PGresult *res, struct store_backlog *out)
{
    out->now = pg_get_i64(res, 0, 0);
    out->rows = (uint64_t)pg_get_i64(res, 0, 1);
    if (out->rows == STORE_BACKLOG_EXACT + 1)
        out->rows = (uint64_t)(pg_get_i64(res, 0, 3) - pg_get_i64(res, 0, 2) + 1);
    out->oldest_at = pg_get_i64(res, 0, 4); /* null reads as 0 */
}

/* What a later version has written is left for it, and holds nothing up. */
static void put_subjects(struct pg_call *call, char buf[SUBJECTS_MAX])
{
    struct text t = text_on(buf, SUBJECTS_MAX);
    for (unsigned i = 0; i < EVENT_KINDS; i++) {
        text_put_char(&t, i == 0 ? '{' : ',');
        text_put(&t, store_event_subject((enum event_kind)i));
    }
    text_put_char(&t, '}');
    pg_put_str(call, buf);
}

/* An advisory lock is counted each time it is taken: it is asked for only while we do not have it.
 */
static enum err lead(struct pg_conn *conn)
{
    struct pg_call call;
    PGresult *res CLEANUP(cleanup_result) = NULL;
    if (conn->leads)
        return OK;
    pg_call(&call, PG_OUTBOX_LEAD);
    TRY(pg_run(conn, &call, 1, &res));
    conn->leads = pg_get_bool(res, 0, 0);
    return OK;
}

enum err pg_outbox_read(struct store_conn *base, struct store_event *out, size_t max, size_t *count,
                        struct store_backlog *backlog)
{
    struct pg_conn *conn = (struct pg_conn *)base;
    struct pg_call calls[2];
    PGresult *results[2] = {NULL};
    char subjects[SUBJECTS_MAX];
    TRY(lead(conn));
    pg_call(&calls[0], PG_OUTBOX_MEASURE);
    pg_put_i64(&calls[0], STORE_BACKLOG_EXACT + 1);
    pg_call(&calls[1], PG_OUTBOX_READ);
    pg_put_i64(&calls[1], (int64_t)max);
    put_subjects(&calls[1], subjects);
    unsigned n = conn->leads ? 2 : 1;
    TRY(pg_run(conn, calls, n, results));
    get_backlog(results[0], backlog);
    backlog->ours = conn->leads; /* still: a connection that was lost and made anew has no lock */
    *count = 0;
    if (n == 2 && conn->leads)
        get_events(results[1], out, max, count);
    clear(results, n);
    return OK;
}

/* ---- removing ---- */

enum err pg_outbox_delete(struct store_conn *base, const int64_t *seqs, size_t n)
{
    struct pg_call call;
    PGresult *res CLEANUP(cleanup_result) = NULL;
    size_t cap = n * SEQ_TEXT_MAX + 3;
    char *list CLEANUP(cleanup_free) = malloc(cap);
    if (list == NULL)
        return store_fail(ERR_INTERNAL, "postgresql", "out of memory");
    struct text t = text_on(list, cap);
    for (size_t i = 0; i < n; i++) {
        text_put_char(&t, i == 0 ? '{' : ',');
        text_put_i64(&t, seqs[i]);
    }
    text_put_char(&t, '}');
    pg_call(&call, PG_OUTBOX_DELETE);
    pg_put_str(&call, list);
    return pg_run((struct pg_conn *)base, &call, 1, &res);
}

enum err pg_outbox_drop(struct store_conn *base, uint64_t n, uint64_t *dropped)
{
    struct pg_call call;
    PGresult *res CLEANUP(cleanup_result) = NULL;
    pg_call(&call, PG_OUTBOX_DROP);
    pg_put_i64(&call, (int64_t)n);
    TRY(pg_run((struct pg_conn *)base, &call, 1, &res));
    *dropped = pg_changes(res);
    return OK;
}
