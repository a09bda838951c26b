/* answer.c: every answer this service gives. */
#include <string.h>

#include "service/call.h"

#define COOKIE_NAME "refresh"
#define COOKIE_MAX 512
#define PROBLEM_MAX 768

static const char *title_of(unsigned status)
{
    switch (status) {
    case 400:
        return "Bad Request";
    case 401:
        return "Unauthorized";
    case 403:
        return "Forbidden";
    case 404:
        return "Not Found";
    case 405:
        return "Method Not Allowed";
    case 409:
        return "Conflict";
    case 413:
        return "Content Too Large";
    case 415:
        return "Unsupported Media Type";
    case 422:
        return "Unprocessable Content";
    case 423:
        return "Locked";
    case 429:
        return "Too Many Requests";
    case 503:
        return "Service Unavailable";
    default:
        return "Internal Server Error";
    }
}

void answer_reset(struct call *call)
{
    struct http_answer *a = &call->http->answer;
    if (a->body != NULL && !a->body_lasts) {
        if (a->secret)
            secret_wipe(a->body, a->body_len);
        free(a->body);
    }
    secret_wipe(a, sizeof *a);
    call->outcome = OUTCOME_NONE;
    call->error = NULL;
}

void answer_json(struct call *call, unsigned status, char *body, size_t len, bool secret)
{
    struct http_answer *a = &call->http->answer;
    a->status = status;
    a->content_type = "application/json";
    a->body = body;
    a->body_len = len;
    a->secret = secret;
    if (secret)
        http_add_header(call->http, "Cache-Control", "no-store");
}

void answer_ok(struct call *call)
{
    static char ok[] = "{\"ok\":true}";
    answer_json(call, 200, ok, sizeof ok - 1, false);
    call->http->answer.body_lasts = true;
    http_add_header(call->http, "Cache-Control", "no-store");
    call->outcome = OUTCOME_OK;
}

void answer_problem_status(struct call *call, enum outcome outcome, unsigned status,
                           const char *error, const char *message)
{
    struct http_answer *a = &call->http->answer;
    char *body = malloc(PROBLEM_MAX);
    a->status = status;
    call->outcome = outcome;
    call->error = error;
    http_add_header(call->http, "Cache-Control", "no-store");
    if (body == NULL) /* the status alone says enough */
        return;
    struct text t = text_on(body, PROBLEM_MAX);
    json_open(&t);
    json_i64(&t, "status", status);
    json_str(&t, "title", title_of(status));
    json_str(&t, "error", error);
    json_str(&t, "message", message);
    json_str(&t, "trace_id", call->http->trace_id);
    json_close(&t);
    a->content_type = "application/problem+json";
    a->body = body;
    a->body_len = t.len;
}

void answer_problem(struct call *call, enum outcome outcome, enum err kind, const char *error,
                    const char *message)
{
    answer_problem_status(call, outcome, err_http_status(kind), error, message);
}

void answer_retry(struct call *call, enum outcome outcome, enum err kind, const char *error,
                  const char *message, unsigned seconds)
{
    char value[16];
    struct text t = text_on(value, sizeof value);
    text_put_u64(&t, seconds);
    answer_problem(call, outcome, kind, error, message);
    http_add_header(call->http, "Retry-After", value);
}

static void unavailable(struct call *call, enum outcome outcome, const char *what)
{
    text_copy(call->fault_text, sizeof call->fault_text, what, strlen(what));
    call->fault = call->fault_text;
    answer_retry(call, outcome, ERR_UNAVAILABLE, "unavailable", "temporarily unavailable", 1);
}

void answer_unavailable(struct call *call, const char *what)
{
    unavailable(call, OUTCOME_DB_UNAVAILABLE, what);
}

void answer_unsigned(struct call *call, const char *what)
{
    unavailable(call, OUTCOME_INTERNAL, what);
}

void answer_fault(struct call *call, enum err e, const char *what)
{
    if (e == ERR_UNAVAILABLE || e == ERR_BUSY) {
        answer_unavailable(call, what);
        return;
    }
    text_copy(call->fault_text, sizeof call->fault_text, what, strlen(what));
    call->fault = call->fault_text;
    answer_problem(call, OUTCOME_INTERNAL, ERR_INTERNAL, "internal", "internal error");
}

static void set_cookie(struct call *call, const char *value, int64_t seconds)
{
    char cookie[COOKIE_MAX];
    struct text t = text_on(cookie, sizeof cookie);
    text_put_f(&t, COOKIE_NAME "=%s; Path=/api/auth; HttpOnly; SameSite=Lax; Max-Age=%lld%s", value,
               (long long)seconds, call->service->config.settings.cookie_secure ? "; Secure" : "");
    http_add_header(call->http, "Set-Cookie", cookie);
    secret_wipe(cookie, sizeof cookie);
}

void answer_clear_cookie(struct call *call)
{
    set_cookie(call, "", 0);
}

void answer_tokens(struct call *call, const char *refresh_token, bool in_cookie, bool in_body,
                   int64_t cookie_seconds)
{
    size_t cap = call->access_token_len + REFRESH_TOKEN_LEN + 256;
    char *body = malloc(cap);
    if (body == NULL) {
        answer_fault(call, ERR_INTERNAL, "out of memory");
        return;
    }
    int64_t ttl = call->service->config.access.ttl_seconds;
    struct text t = text_on(body, cap);
    json_open(&t);
    json_str(&t, "token_type", "Bearer");
    json_str_n(&t, "access_token", call->access_token, call->access_token_len);
    json_i64(&t, "expires_in", ttl);
    json_i64(&t, "expires_in_seconds", ttl);
    if (in_body)
        json_str(&t, "refresh_token", refresh_token);
    json_close(&t);
    answer_json(call, 200, body, t.len, true);
    if (in_cookie)
        set_cookie(call, refresh_token, cookie_seconds);
}
