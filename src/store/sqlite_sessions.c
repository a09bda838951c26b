/* sqlite_sessions.c: rotating, ending and listing sessions, on SQLite. */
#include <string.h>

#include "base/clock.h"
#include "base/failpoint.h"
#include "store/sqlite.h"

/* The columns that SQ_SESSION_FIND and SQ_SESSION_LIST begin with. */
static void read_session(sqlite3_stmt *st, struct store_session *out)
{
    out->tenant_id = sqlite_column_id(st, 0);
    out->user_id = sqlite_column_id(st, 1);
    out->generation = (uint32_t)sqlite3_column_int64(st, 2);
    out->opened_at = sqlite3_column_int64(st, 3);
    out->rotated_at = sqlite3_column_int64(st, 4);
    out->idle_expires_at = sqlite3_column_int64(st, 5);
    out->absolute_expires_at = sqlite3_column_int64(st, 6);
    sqlite_column_str(st, 7, out->client_ip, sizeof out->client_ip);
    sqlite_column_str(st, 8, out->user_agent, sizeof out->user_agent);
}

struct found {
    bool exists;
    bool revoked; /* or its account is not active */
    bool fenced;  /* opened before all sessions were ended */
    bool digest_matches;
};

static enum err find(struct sqlite_conn *conn, const struct store_rotation *r,
                     struct store_rotation_result *out, struct found *found)
{
    sqlite3_stmt *st = sqlite_use(conn, SQ_SESSION_FIND);
    sqlite_bind_id(st, 1, &r->session_id);
    bool row = false;
    TRY(sqlite_step(conn, st, &row));
    found->exists = row;
    if (row) {
        out->session.id = r->session_id;
        read_session(st, &out->session);
        /* A digest of a secret, not a secret: nothing is learnt from how long this takes. */
        found->digest_matches =
            sqlite3_column_bytes(st, 9) == STORE_DIGEST_LEN &&
            memcmp(sqlite3_column_blob(st, 9), r->token_digest, STORE_DIGEST_LEN) == 0;
        int n = sqlite3_column_bytes(st, 10);
        if (n > 0 && n <= STORE_SEALED_MAX) {
            memcpy(out->sealed, sqlite3_column_blob(st, 10), (size_t)n);
            out->sealed_len = (size_t)n;
        }
        found->revoked = sqlite3_column_int(st, 11) != 0;
        found->fenced = sqlite3_column_int(st, 12) == 0;
    }
    while (row)
        TRY(sqlite_step(conn, st, &row));
    return OK;
}

static enum store_rotated judge(const struct store_rotation *r,
                                const struct store_rotation_result *res, const struct found *found)
{
    const struct store_session *s = &res->session;
    if (!found->exists)
        return STORE_UNKNOWN;
    if (found->revoked || found->fenced)
        return STORE_REVOKED;
    if (s->idle_expires_at <= res->now || s->absolute_expires_at <= res->now)
        return STORE_EXPIRED;
    if (WITHOUT("generation check"))
        return STORE_ROTATED;
    if (s->generation == r->generation)
        return found->digest_matches ? STORE_ROTATED : STORE_UNKNOWN;
    if (s->generation < r->generation) /* of a future that a restored backup has undone */
        return STORE_UNKNOWN;
    bool predecessor = s->generation - r->generation == 1;
    /* To both sides: a clock that went back makes the leeway no longer. */
    bool in_time =
        res->now < s->rotated_at + r->leeway_ms && s->rotated_at < res->now + r->leeway_ms;
    if (predecessor && res->sealed_len > 0 && in_time)
        return STORE_RETRIED;
    return WITHOUT("replay rule") ? STORE_UNKNOWN : STORE_REPLAYED;
}

static enum err advance(struct sqlite_conn *conn, const struct store_rotation *r,
                        struct store_rotation_result *res)
{
    int64_t end = res->session.absolute_expires_at;
    int64_t idle_end = res->now + r->idle_ms;
    res->session.idle_expires_at = idle_end < end ? idle_end : end;
    sqlite3_stmt *st = sqlite_use(conn, SQ_SESSION_ROTATE);
    sqlite_bind_id(st, 1, &r->session_id);
    sqlite_bind_digest(st, 2, r->next_digest);
    sqlite3_bind_blob(st, 3, r->sealed, (int)r->sealed_len, SQLITE_STATIC);
    sqlite3_bind_int64(st, 4, res->now);
    sqlite3_bind_int64(st, 5, res->session.idle_expires_at);
    sqlite_bind_str(st, 6, r->client_ip);
    sqlite_bind_str(st, 7, r->user_agent);
    TRY(sqlite_run(conn, st, NULL));
    res->session.generation++;
    FAILPOINT("rotate.updated");
    const struct sqlite_told told = {.kind = EVENT_TOKEN_REFRESHED,
                                     .occurred_at = res->now,
                                     .tenant_id = &res->session.tenant_id,
                                     .user_id = &res->session.user_id,
                                     .session_id = &r->session_id,
                                     .number = res->session.generation};
    return sqlite_tell(conn, &told);
}

enum err sqlite_end_one(struct sqlite_conn *conn, const struct uuid *id,
                        const struct uuid *tenant_id, const struct uuid *user_id,
                        const struct sqlite_told *told, bool *ended)
{
    bool own = tenant_id != NULL && user_id != NULL;
    sqlite3_stmt *st = sqlite_use(conn, own ? SQ_SESSION_END_OWN : SQ_SESSION_END);
    sqlite3_bind_int64(st, 1, told->occurred_at);
    sqlite_bind_id(st, 2, id);
    sqlite_bind_str(st, 3, told->label);
    if (own) {
        sqlite_bind_id(st, 4, tenant_id);
        sqlite_bind_id(st, 5, user_id);
    }
    bool row = false;
    TRY(sqlite_step(conn, st, &row));
    if (!row) {
        *ended = false;
        return OK;
    }
    bool was_live = sqlite3_column_int(st, 0) != 0;
    struct uuid tenant = sqlite_column_id(st, 1), user = sqlite_column_id(st, 2);
    struct sqlite_told whole = *told;
    whole.tenant_id = &tenant;
    whole.user_id = &user;
    whole.session_id = id;
    while (row)
        TRY(sqlite_step(conn, st, &row));
    *ended = was_live;
    return was_live ? sqlite_tell(conn, &whole) : OK;
}

static enum err revoke_one(struct sqlite_conn *conn, const struct uuid *session_id,
                           const char *reason, int64_t now)
{
    bool ended = false;
    const struct sqlite_told told = {
        .kind = EVENT_SESSION_REVOKED, .occurred_at = now, .label = reason};
    return sqlite_end_one(conn, session_id, NULL, NULL, &told, &ended);
}

/* Two events: what was seen, and what became of the session. */
static enum err end_replayed(struct sqlite_conn *conn, const struct store_rotation *r,
                             const struct store_rotation_result *res)
{
    const struct store_session *s = &res->session;
    TRY(revoke_one(conn, &r->session_id, "replay_detected", res->now));
    const struct sqlite_told seen = {.kind = EVENT_REPLAY_DETECTED,
                                     .occurred_at = res->now,
                                     .tenant_id = &s->tenant_id,
                                     .user_id = &s->user_id,
                                     .session_id = &r->session_id,
                                     .number = (int64_t)s->generation - r->generation,
                                     .age_ms = res->now - s->rotated_at,
                                     .client_ip = r->client_ip,
                                     .user_agent = r->user_agent,
                                     .previous_ip = s->client_ip,
                                     .previous_user_agent = s->user_agent};
    return sqlite_tell(conn, &seen);
}

static enum err rotate(struct sqlite_conn *conn, const struct store_rotation *r,
                       struct store_rotation_result *res)
{
    FAILPOINT("rotate.begin");
    struct found found = {0};
    TRY(find(conn, r, res, &found));
    res->outcome = judge(r, res, &found);
    if (res->outcome == STORE_ROTATED)
        return advance(conn, r, res);
    if (found.fenced) /* its row learns late that it had ended; nothing happens if it knows */
        return revoke_one(conn, &r->session_id, "operator", res->now);
    if (res->outcome == STORE_REPLAYED)
        return end_replayed(conn, r, res);
    return OK;
}

enum err sqlite_rotate(struct store_conn *base, const struct store_rotation *rotation,
                       struct store_rotation_result *out)
{
    struct sqlite_conn *conn = (struct sqlite_conn *)base;
    struct store_rotation_result res = {.now = clock_unix_ms()};
    TRY(sqlite_begin(conn));
    TRY(sqlite_end(conn, rotate(conn, rotation, &res)));
    *out = res;
    return OK;
}

static enum err end_session(struct sqlite_conn *conn, const struct uuid *session_id,
                            const struct uuid *tenant_id, const struct uuid *user_id,
                            const char *reason)
{
    struct sqlite_told told = {.kind = tenant_id != NULL ? EVENT_SESSION_REVOKED
                                                         : EVENT_USER_LOGGED_OUT,
                               .occurred_at = clock_unix_ms(),
                               .label = reason};
    bool ended = false;
    TRY(sqlite_end_one(conn, session_id, tenant_id, user_id, &told, &ended));
    return ended ? OK : ERR_NOT_FOUND;
}

enum err sqlite_end_session(struct store_conn *base, const struct uuid *session_id,
                            const struct uuid *tenant_id, const struct uuid *user_id,
                            const char *reason)
{
    struct sqlite_conn *conn = (struct sqlite_conn *)base;
    TRY(sqlite_begin(conn));
    return sqlite_end(conn, end_session(conn, session_id, tenant_id, user_id, reason));
}

enum err sqlite_end_all(struct sqlite_conn *conn, const struct uuid *tenant_id,
                        const struct uuid *user_id, const char *reason, uint64_t *ended)
{
    int64_t now = clock_unix_ms();
    sqlite3_stmt *st = sqlite_use(conn, SQ_SESSION_END_ALL);
    sqlite3_bind_int64(st, 1, now);
    sqlite_bind_id(st, 2, tenant_id);
    sqlite_bind_id(st, 3, user_id);
    sqlite_bind_str(st, 4, reason);
    bool row = false;
    TRY(sqlite_step(conn, st, &row));
    for (*ended = 0; row;) {
        bool was_live = sqlite3_column_int(st, 0) != 0;
        struct uuid id = sqlite_column_id(st, 1);
        const struct sqlite_told told = {.kind = EVENT_SESSION_REVOKED,
                                         .occurred_at = now,
                                         .tenant_id = tenant_id,
                                         .user_id = user_id,
                                         .session_id = &id,
                                         .label = reason};
        if (was_live)
            TRY(sqlite_tell(conn, &told));
        *ended += was_live;
        TRY(sqlite_step(conn, st, &row));
    }
    return OK;
}

enum err sqlite_end_sessions(struct store_conn *base, const struct uuid *tenant_id,
                             const struct uuid *user_id, const char *reason, uint64_t *ended)
{
    struct sqlite_conn *conn = (struct sqlite_conn *)base;
    uint64_t n = 0;
    TRY(sqlite_begin(conn));
    TRY(sqlite_end(conn, sqlite_end_all(conn, tenant_id, user_id, reason, &n)));
    *ended = n;
    return OK;
}

static enum err list(struct sqlite_conn *conn, const struct uuid *tenant_id,
                     const struct uuid *user_id, struct store_session *out, size_t max,
                     size_t *count)
{
    sqlite3_stmt *st = sqlite_use(conn, SQ_SESSION_LIST);
    sqlite3_bind_int64(st, 1, clock_unix_ms());
    sqlite_bind_id(st, 2, tenant_id);
    sqlite_bind_id(st, 3, user_id);
    sqlite3_bind_int64(st, 4, (int64_t)max);
    bool row = false;
    TRY(sqlite_step(conn, st, &row));
    for (*count = 0; row; (*count)++) {
        read_session(st, &out[*count]);
        out[*count].id = sqlite_column_id(st, 9);
        TRY(sqlite_step(conn, st, &row));
    }
    return OK;
}

enum err sqlite_list_sessions(struct store_conn *base, const struct uuid *tenant_id,
                              const struct uuid *user_id, struct store_session *out, size_t max,
                              size_t *count)
{
    struct sqlite_conn *conn = (struct sqlite_conn *)base;
    size_t n = 0;
    TRY(sqlite_begin(conn));
    TRY(sqlite_end(conn, list(conn, tenant_id, user_id, out, max, &n)));
    *count = n;
    return OK;
}
