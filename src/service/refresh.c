/*
 * refresh.c: a refresh token for the next one.
 *
 *     start (network)  reads the token, checks its mac, limits
 *     rotate (DB)      rotation, retry or replay: the store decides, atomically
 *     sign (SIGN)      after the commit, which is safe: the client's retry gets the same successor
 *
 * Every refusal looks the same from outside.
 */
#include <string.h>

#include "base/clock.h"
#include "base/failpoint.h"
#include "service/call.h"

_Static_assert(STORE_ROTATIONS_MAX >= LANE_BATCH_MAX, "a batch is rotated at once");

void answer_invalid_refresh(struct call *call)
{
    answer_problem(call, OUTCOME_INVALID, ERR_DENIED, "invalid_refresh_token",
                   "invalid refresh token");
    if (call->refresh.by_cookie)
        answer_clear_cookie(call);
}

/* The outcome is for the operator alone: the answers are the same. */
static enum flow refuse(struct call *call, enum outcome outcome)
{
    answer_invalid_refresh(call);
    call->outcome = outcome;
    return FLOW_DONE;
}

/* ---- start ---- */

static enum flow answer_required(struct call *call)
{
    answer_problem(call, OUTCOME_MALFORMED, ERR_MALFORMED, "refresh_token_required",
                   "refresh token required");
    return FLOW_DONE;
}

enum flow refresh_read_token(struct call *call, struct refresh_token *out, enum err *judged)
{
    const struct service_keys *keys = call->service->config.keys;
    size_t len;
    const char *cookie = http_cookie(call->http, "refresh", &len);
    if (cookie != NULL && len > 0) { /* wins, and the body is not judged at all */
        call->refresh.by_cookie = true;
        *judged = refresh_token_parse(keys, cookie, len, out);
        secret_wipe((char *)(uintptr_t)cookie, len);
        return FLOW_NEXT;
    }
    if (call->http->body_len == 0)
        return answer_required(call);
    struct member members[] = {{.name = "refresh_token"},
                               {.name = "tenant_id", .type = MEMBER_IGNORED}};
    json_t *doc CLEANUP(cleanup_json) = NULL;
    if (body_read(call, members, ARRAY_LEN(members), &doc) == FLOW_DONE)
        return FLOW_DONE;
    if (members[0].value == NULL || members[0].len == 0)
        return answer_required(call);
    *judged = refresh_token_parse(keys, members[0].value, members[0].len, out);
    secret_wipe((char *)(uintptr_t)members[0].value, members[0].len);
    return FLOW_NEXT;
}

static enum err prepare(struct call *call)
{
    struct refresh_call *r = &call->refresh;
    const struct service_config *config = &call->service->config;
    r->rotation = (struct store_rotation){
        .session_id = r->presented.session_id,
        .generation = r->presented.generation,
        .sealed_len = REFRESH_SEALED_LEN,
        .client_ip = call->http->client_ip,
        .user_agent = call->http->user_agent,
        .idle_ms = config->settings.refresh_idle_ms,
        .leeway_ms = config->settings.refresh_leeway_ms,
    };
    TRY(refresh_token_next(config->keys, &r->presented, &r->next));
    TRY(refresh_token_digest(&r->presented, r->rotation.token_digest));
    TRY(refresh_token_digest(&r->next, r->rotation.next_digest));
    return refresh_token_seal(config->keys, &r->presented, &r->next, r->rotation.sealed);
}

enum flow refresh_start(struct call *call)
{
    struct refresh_call *r = &call->refresh;
    enum err judged = ERR_DENIED;
    if (limit_address(call) == FLOW_DONE ||
        refresh_read_token(call, &r->presented, &judged) == FLOW_DONE)
        return FLOW_DONE;
    if (judged == ERR_MALFORMED || judged == ERR_DENIED || judged == ERR_TOO_LARGE)
        return refuse(call, OUTCOME_INVALID);
    if (judged == OK) {
        call->session_id = r->presented.session_id;
        call->has_session = true;
        if (limit_refresh(call, &r->presented.session_id) == FLOW_DONE)
            return FLOW_DONE;
        judged = prepare(call);
    }
    if (judged != OK) {
        answer_fault(call, judged, "refresh token");
        return FLOW_DONE;
    }
    return FLOW_NEXT;
}

/* ---- rotate ---- */

void refresh_note_replay(const struct call *call)
{
    const struct refresh_call *r = &call->refresh;
    const struct store_session *s = &r->result.session;
    struct log_line line;
    if (!note_begin(call, &line, LOG_WARN, "security.refresh_replay_detected",
                    "a spent refresh token was presented; the session has been ended"))
        return;
    log_i64(&line, "distance", call->replay_distance);
    log_i64(&line, "age_seconds", (r->result.now - s->rotated_at) / MS_PER_SECOND);
    log_str(&line, "previous_ip", s->client_ip);
    log_str(&line, "previous_user_agent", s->user_agent);
    log_end(&line);
}

/* To be told once the end of the session has been committed. */
static enum flow refuse_replay(struct call *call)
{
    const struct refresh_call *r = &call->refresh;
    call->replayed = true;
    call->replay_distance = (int64_t)r->result.session.generation - r->presented.generation;
    return refuse(call, OUTCOME_REPLAYED);
}

static void take_owner(struct call *call)
{
    call->tenant_id = call->refresh.result.session.tenant_id;
    call->user_id = call->refresh.result.session.user_id;
    call->has_tenant = call->has_user = true;
}

/* The successor of then, instead of the one just made. */
static enum flow retry(struct call *call)
{
    struct refresh_call *r = &call->refresh;
    enum err e = refresh_token_unseal(call->service->config.keys, &r->presented, r->result.sealed,
                                      r->result.sealed_len, &r->next);
    if (e == ERR_DENIED)
        return refuse(call, OUTCOME_INVALID);
    if (e != OK) {
        answer_fault(call, e, "refresh token");
        return FLOW_DONE;
    }
    call->outcome = OUTCOME_RETRIED;
    return FLOW_NEXT;
}

static enum flow rotated(struct call *call, enum err e)
{
    const struct refresh_call *r = &call->refresh;
    if (e != OK) {
        answer_fault(call, e, store_last_error());
        return FLOW_DONE;
    }
    if (r->result.outcome != STORE_UNKNOWN)
        take_owner(call);
    switch (r->result.outcome) {
    case STORE_ROTATED:
        call->outcome = OUTCOME_OK;
        return FLOW_NEXT;
    case STORE_RETRIED:
        return retry(call);
    case STORE_REPLAYED:
        return refuse_replay(call);
    case STORE_EXPIRED:
        return refuse(call, OUTCOME_EXPIRED);
    case STORE_REVOKED:
        return refuse(call, OUTCOME_REVOKED);
    case STORE_UNKNOWN:
        break;
    }
    return refuse(call, OUTCOME_INVALID);
}

void refresh_rotate(struct call **calls, unsigned n, struct store_conn *conn)
{
    struct store_rotating rotations[LANE_BATCH_MAX];
    for (unsigned i = 0; i < n; i++) {
        struct refresh_call *r = &calls[i]->refresh;
        rotations[i] = (struct store_rotating){&r->rotation, calls[i]->http->trace_id, ERR_INTERNAL,
                                               &r->result};
    }
    store_rotate_many(conn, rotations, n);
    for (unsigned i = 0; i < n; i++)
        calls[i]->verdict = rotated(calls[i], rotations[i].e);
}

/* ---- sign ---- */

static int64_t seconds_left(const struct call *call)
{
    const struct store_rotation_result *result = &call->refresh.result;
    int64_t left = result->session.idle_expires_at - result->now;
    return left > 0 ? left / MS_PER_SECOND : 0;
}

enum err refresh_sign_begin(struct call *call, struct access_claims *out)
{
    const struct store_session *session = &call->refresh.result.session;
    *out = (struct access_claims){.tenant_id = call->tenant_id,
                                  .user_id = call->user_id,
                                  .session_id = session->id,
                                  .auth_time = session->opened_at / MS_PER_SECOND};
    return OK;
}

enum flow refresh_sign_end(struct call *call)
{
    struct refresh_call *r = &call->refresh;
    char token[REFRESH_TOKEN_LEN + 1];
    FAILPOINT("rotate.signed");
    enum err e = refresh_token_format(call->service->config.keys, &r->next, token);
    if (e != OK) {
        answer_fault(call, e, "refresh token");
        return FLOW_DONE;
    }
    answer_tokens(call, token, r->by_cookie, !r->by_cookie, seconds_left(call));
    secret_wipe(token, sizeof token);
    return FLOW_DONE;
}
