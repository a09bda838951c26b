/* postgres_sessions.c: rotating, ending and listing sessions, on PostgreSQL. */
#include <string.h>

#include "base/clock.h"
#include "base/failpoint.h"
#include "store/postgres.h"

/* SESSION_COLUMNS of postgres_sql.c. */
static void read_session(const PGresult *res, int row, struct store_session *out)
{
    out->tenant_id = pg_get_id(res, row, 0);
    out->user_id = pg_get_id(res, row, 1);
    out->generation = (uint32_t)pg_get_i64(res, row, 2);
    out->opened_at = pg_get_i64(res, row, 3);
    out->rotated_at = pg_get_i64(res, row, 4);
    out->idle_expires_at = pg_get_i64(res, row, 5);
    out->absolute_expires_at = pg_get_i64(res, row, 6);
    pg_get_str(res, row, 7, out->client_ip, sizeof out->client_ip);
    pg_get_str(res, row, 8, out->user_agent, sizeof out->user_agent);
}
enum { AFTER_SESSION = 9 };

static void put_rotation(struct pg_call *call, const struct store_rotation *r)
{
    pg_call(call, PG_ROTATE);
    pg_put_id(call, &r->session_id);
    pg_put_i64(call, r->generation);
    pg_put_bytes(call, r->token_digest, STORE_DIGEST_LEN);
    pg_put_bytes(call, r->next_digest, STORE_DIGEST_LEN);
    pg_put_bytes(call, r->sealed, r->sealed_len);
    pg_put_str(call, r->client_ip);
    pg_put_str(call, r->user_agent);
    pg_put_i64(call, r->idle_ms);
}

/* The row that a rotation has returned; false: there is none. */
static bool read_rotated(const PGresult *res, const struct store_rotation *r,
                         struct store_rotation_result *out)
{
    if (PQntuples(res) != 1)
        return false;
    *out = (struct store_rotation_result){.outcome = STORE_ROTATED};
    read_session(res, 0, &out->session);
    out->session.id = r->session_id;
    out->now = pg_get_i64(res, 0, AFTER_SESSION);
    return true;
}

/* Why the update above found no row. By then the generation may have moved on, never back, so a
 * spent token is still spent. The lock first, then each statement sees what is true under it. */
static enum err refuse(struct pg_conn *conn, const struct store_rotation *r, PGresult *results[4])
{
    struct pg_call calls[4];
    pg_call(&calls[0], PG_ROTATE_LOCK);
    pg_put_id(&calls[0], &r->session_id);
    pg_call(&calls[1], PG_ROTATE_FENCED);
    pg_put_id(&calls[1], &r->session_id);
    pg_put_telling(&calls[1], &conn->base, EVENT_SESSION_REVOKED);
    pg_call(&calls[2], PG_ROTATE_REPLAY);
    pg_put_id(&calls[2], &r->session_id);
    pg_put_i64(&calls[2], r->generation);
    pg_put_i64(&calls[2], r->leeway_ms);
    if (conn->base.store->events != 0) {
        pg_put_str(&calls[2], r->client_ip);
        pg_put_str(&calls[2], r->user_agent);
        pg_put_telling(&calls[2], &conn->base, EVENT_REPLAY_DETECTED);
        pg_put_telling(&calls[2], &conn->base, EVENT_SESSION_REVOKED);
    }
    pg_call(&calls[3], PG_ROTATE_FIND);
    pg_put_id(&calls[3], &r->session_id);
    return pg_run(conn, calls, 4, results);
}

static enum store_rotated judge(const struct store_rotation *r, PGresult *replay,
                                const PGresult *found, struct store_rotation_result *res)
{
    if (PQntuples(found) == 0)
        return STORE_UNKNOWN;
    read_session(found, 0, &res->session);
    res->session.id = r->session_id;
    res->now = pg_get_i64(found, 0, AFTER_SESSION);
    if (pg_changes(replay) == 1)
        return STORE_REPLAYED;
    if (pg_get_bool(found, 0, AFTER_SESSION + 1))
        return STORE_REVOKED;
    const struct store_session *s = &res->session;
    if (s->idle_expires_at <= res->now || s->absolute_expires_at <= res->now)
        return STORE_EXPIRED;
    if (s->generation <= r->generation)
        return STORE_UNKNOWN;
    int n = PQgetlength(found, 0, AFTER_SESSION + 2);
    if (n <= 0 || n > STORE_SEALED_MAX)
        return STORE_UNKNOWN;
    memcpy(res->sealed, PQgetvalue(found, 0, AFTER_SESSION + 2), (size_t)n);
    res->sealed_len = (size_t)n;
    return STORE_RETRIED;
}

static enum err not_rotated(struct pg_conn *conn, const struct store_rotation *rotation,
                            struct store_rotation_result *out)
{
    PGresult *results[4] = {NULL};
    TRY(refuse(conn, rotation, results));
    struct store_rotation_result res = {.outcome = STORE_UNKNOWN};
    res.outcome = judge(rotation, results[2], results[3], &res);
    for (unsigned i = 0; i < ARRAY_LEN(results); i++)
        PQclear(results[i]);
    *out = res;
    return OK;
}

enum err pg_rotate(struct store_conn *base, const struct store_rotation *rotation,
                   struct store_rotation_result *out)
{
    struct pg_conn *conn = (struct pg_conn *)base;
    struct pg_call call;
    FAILPOINT("rotate.begin");
    PGresult *rotated CLEANUP(cleanup_result) = NULL;
    put_rotation(&call, rotation);
    pg_put_telling(&call, base, EVENT_TOKEN_REFRESHED);
    TRY(pg_run(conn, &call, 1, &rotated));
    FAILPOINT("rotate.updated");
    return read_rotated(rotated, rotation, out) ? OK : not_rotated(conn, rotation, out);
}

static bool comes_before(const struct store_rotating *a, const struct store_rotating *b)
{
    return memcmp(a->rotation->session_id.b, b->rotation->session_id.b, sizeof(struct uuid)) <
           0; /* lint: public */
}

/* By session: two transactions that each need what the other holds would wait for each other.
 * Whoever else locks several sessions goes by the same order. They are few. */
static void sort(struct store_rotating *rotations, size_t n, struct store_rotating **sorted)
{
    for (size_t i = 0; i < n; i++) {
        size_t place = i;
        for (; place > 0 && comes_before(&rotations[i], sorted[place - 1]); place--)
            sorted[place] = sorted[place - 1];
        sorted[place] = &rotations[i];
    }
}

/* The rotations in one transaction; what found no row is left at ERR_NOT_FOUND. */
static enum err advance_all(struct pg_conn *conn, struct store_rotating **sorted, unsigned n)
{
    struct pg_call calls[STORE_ROTATIONS_MAX] = {0};
    PGresult *results[STORE_ROTATIONS_MAX];
    for (unsigned i = 0; i < n; i++) {
        put_rotation(&calls[i], sorted[i]->rotation);
        pg_put_telling_of(&calls[i], &conn->base, sorted[i]->trace_id, EVENT_TOKEN_REFRESHED);
    }
    FAILPOINT("rotate.begin");
    TRY(pg_run(conn, calls, n, results));
    FAILPOINT("rotate.updated");
    for (unsigned i = 0; i < n; i++) {
        struct store_rotating *r = sorted[i];
        r->e = read_rotated(results[i], r->rotation, r->result) ? OK : ERR_NOT_FOUND;
        PQclear(results[i]);
    }
    return OK;
}

/* There is time to meet with another lock and to hear of it. */
static bool may_wait(const struct store_conn *base)
{
    return clock_mono_ns() + pg_lock_timeout_ms(base->store) * NS_PER_MS < store_deadline_ns(base);
}

void pg_rotate_many(struct store_conn *base, struct store_rotating *rotations, size_t n)
{
    struct pg_conn *conn = (struct pg_conn *)base;
    struct store_rotating *sorted[STORE_ROTATIONS_MAX] = {NULL};
    sort(rotations, n, sorted);
    enum err e = advance_all(conn, sorted, (unsigned)n);
    for (size_t i = 0; i < n; i++) {
        struct store_rotating *r = &rotations[i];
        store_conn_trace(base, r->trace_id);
        if (e == ERR_UNAVAILABLE)
            r->e = e;
        else if (e != OK) /* what one of them met with says nothing of the others */
            r->e = may_wait(base) ? pg_rotate(base, r->rotation, r->result) : ERR_BUSY;
        else if (r->e == ERR_NOT_FOUND)
            r->e = not_rotated(conn, r->rotation, r->result);
    }
}

enum err pg_end_session(struct store_conn *base, const struct uuid *session_id,
                        const struct uuid *tenant_id, const struct uuid *user_id,
                        const char *reason)
{
    struct pg_call call;
    PGresult *res CLEANUP(cleanup_result) = NULL;
    pg_call(&call, tenant_id != NULL ? PG_SESSION_END_OWN : PG_SESSION_END);
    pg_put_id(&call, session_id);
    pg_put_str(&call, reason);
    if (tenant_id != NULL) {
        pg_put_id(&call, tenant_id);
        pg_put_id(&call, user_id);
    }
    pg_put_telling(&call, base, tenant_id != NULL ? EVENT_SESSION_REVOKED : EVENT_USER_LOGGED_OUT);
    TRY(pg_run((struct pg_conn *)base, &call, 1, &res));
    return PQntuples(res) == 1 ? OK : ERR_NOT_FOUND;
}

enum err pg_end_sessions(struct store_conn *base, const struct uuid *tenant_id,
                         const struct uuid *user_id, const char *reason, uint64_t *ended)
{
    struct pg_call calls[2];
    pg_call(&calls[0], PG_LOGIN_LOCK);
    pg_put_id(&calls[0], tenant_id);
    pg_put_id(&calls[0], user_id);
    pg_call(&calls[1], PG_SESSION_END_ALL);
    pg_put_id(&calls[1], tenant_id);
    pg_put_id(&calls[1], user_id);
    pg_put_str(&calls[1], reason);
    pg_put_telling(&calls[1], base, EVENT_SESSION_REVOKED);
    PGresult *results[2] = {NULL};
    TRY(pg_run((struct pg_conn *)base, calls, 2, results));
    *ended = (uint64_t)pg_get_i64(results[1], 0, 0);
    for (unsigned i = 0; i < ARRAY_LEN(results); i++)
        PQclear(results[i]);
    return OK;
}

enum err pg_list_sessions(struct store_conn *base, const struct uuid *tenant_id,
                          const struct uuid *user_id, struct store_session *out, size_t max,
                          size_t *count)
{
    struct pg_call call;
    PGresult *res CLEANUP(cleanup_result) = NULL;
    pg_call(&call, PG_SESSION_LIST);
    pg_put_id(&call, tenant_id);
    pg_put_id(&call, user_id);
    pg_put_i64(&call, (int64_t)max);
    TRY(pg_run((struct pg_conn *)base, &call, 1, &res));
    size_t n = 0;
    for (; n < max && n < (size_t)PQntuples(res); n++) {
        read_session(res, (int)n, &out[n]);
        out[n].id = pg_get_id(res, (int)n, AFTER_SESSION);
    }
    *count = n;
    return OK;
}
