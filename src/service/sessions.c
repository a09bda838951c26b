/* sessions.c: a user's own sessions: listing them, ending one, ending all. */
#include <string.h>

#include "base/clock.h"
#include "service/call.h"

/* A session's JSON at its longest: every byte of the user agent escaped. */
#define ENTRY_MAX ((size_t)STORE_AGENT_MAX * 6 + 640)

static enum flow refuse_other(struct call *call)
{
    answer_problem(call, OUTCOME_FORBIDDEN, ERR_FORBIDDEN, "forbidden", "forbidden");
    return FLOW_DONE;
}

/* Ids that old clients still send must be the caller's own. */
static bool is_own(const char *given, size_t len, const struct uuid *own)
{
    struct uuid id;
    return given == NULL || (uuid_parse(given, len, &id) == OK && uuid_equal(&id, own));
}

static bool query_is_own(const struct call *call, const char *name, const struct uuid *own)
{
    const char *given = http_query(call->http, name);
    return is_own(given, given != NULL ? strlen(given) : 0, own);
}

static enum flow body_is_own(struct call *call)
{
    if (call->http->body_len == 0)
        return FLOW_NEXT;
    struct member members[] = {{.name = "tenant_id"}, {.name = "user_id"}};
    json_t *doc CLEANUP(cleanup_json) = NULL;
    if (body_read(call, members, ARRAY_LEN(members), &doc) == FLOW_DONE)
        return FLOW_DONE;
    if (!is_own(members[0].value, members[0].len, &call->tenant_id) ||
        !is_own(members[1].value, members[1].len, &call->user_id))
        return refuse_other(call);
    return FLOW_NEXT;
}

enum flow sessions_start(struct call *call)
{
    if (limit_address(call) == FLOW_DONE ||
        bearer_require(call, &call->sessions.caller) == FLOW_DONE)
        return FLOW_DONE;
    if (!query_is_own(call, "tenant_id", &call->tenant_id) ||
        !query_is_own(call, "user_id", &call->user_id))
        return refuse_other(call);
    return call->http->method == HTTP_POST ? body_is_own(call) : FLOW_NEXT;
}

/* ---- list ---- */

static void put_id(struct text *t, const char *key, const struct uuid *id)
{
    char s[UUID_LEN + 1];
    uuid_format(id, s);
    json_str(t, key, s);
}

static void put_time(struct text *t, const char *key, int64_t unix_ms)
{
    char s[CLOCK_RFC3339_LEN + 1];
    clock_format_rfc3339(unix_ms, s);
    json_str(t, key, s);
}

static void put_session(struct text *t, const struct store_session *s, const struct uuid *current)
{
    json_open(t);
    put_id(t, "session_id", &s->id);
    put_id(t, "tenant_id", &s->tenant_id);
    put_id(t, "user_id", &s->user_id);
    json_key(t, "device_info");
    json_open(t);
    json_str(t, "ip", s->client_ip);
    json_str(t, "user_agent", s->user_agent);
    json_close(t);
    put_time(t, "issued_at", s->opened_at);
    put_time(t, "last_used_at", s->rotated_at);
    put_time(t, "expires_at", s->idle_expires_at);
    put_time(t, "absolute_expires_at", s->absolute_expires_at);
    json_bool(t, "current", uuid_equal(&s->id, current));
    json_close(t);
}

static void answer_list(struct call *call, const struct store_session *sessions, size_t count)
{
    size_t cap = count * ENTRY_MAX + 32;
    char *body = malloc(cap);
    if (body == NULL) {
        answer_fault(call, ERR_INTERNAL, "out of memory");
        return;
    }
    struct text t = text_on(body, cap);
    text_put(&t, "{\"sessions\":[");
    for (size_t i = 0; i < count; i++)
        put_session(&t, &sessions[i], &call->sessions.caller.session_id);
    text_put(&t, "]}");
    answer_json(call, 200, body, t.len, false);
    http_add_header(call->http, "Cache-Control", "no-store");
    call->outcome = OUTCOME_OK;
}

enum flow sessions_list(struct call *call, struct store_conn *conn)
{
    size_t max = call->service->config.settings.max_sessions_per_user;
    struct store_session *list = calloc(max, sizeof *list);
    size_t count = 0;
    enum err e = list != NULL ? store_list_sessions(conn, &call->tenant_id, &call->user_id, list,
                                                    max, &count)
                              : ERR_INTERNAL;
    if (e == OK)
        answer_list(call, list, count);
    else
        answer_fault(call, e, list != NULL ? store_last_error() : "out of memory");
    free(list);
    return FLOW_DONE;
}

/* ---- ending ---- */

enum flow sessions_revoke_start(struct call *call)
{
    call->sessions.target = call->path_id;
    return sessions_start(call);
}

enum flow sessions_revoke(struct call *call, struct store_conn *conn)
{
    enum err e = store_end_session(conn, &call->sessions.target, &call->tenant_id, &call->user_id,
                                   "user_revoked");
    if (e == OK)
        answer_ok(call);
    else if (e == ERR_NOT_FOUND)
        answer_problem(call, OUTCOME_NOT_FOUND, e, "session_not_found", "session not found");
    else
        answer_fault(call, e, store_last_error());
    return FLOW_DONE;
}

enum flow sessions_logout_all(struct call *call, struct store_conn *conn)
{
    uint64_t ended = 0;
    enum err e = store_end_sessions(conn, &call->tenant_id, &call->user_id, "logout_all", &ended);
    if (e == OK) {
        answer_ok(call);
        answer_clear_cookie(call);
    } else {
        answer_fault(call, e, store_last_error());
    }
    return FLOW_DONE;
}
