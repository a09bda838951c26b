/* handler.c: from an HTTP request to a use case, and back. */
#include <string.h>

#include "base/clock.h"
#include "service/metrics.h"

struct call *call_of(const struct http_request *request)
{
    return request->app;
}

/* ---- routes ---- */

/* The template's {id} takes one segment that is a UUID; everything else must be equal. */
static bool path_matches(const char *template, const char *path, struct uuid *id)
{
    const char *hole = strstr(template, "{id}");
    if (hole == NULL)
        return strcmp(template, path) == 0;
    size_t before = (size_t)(hole - template);
    if (strncmp(template, path, before) != 0)
        return false;
    const char *segment = path + before;
    size_t len = strcspn(segment, "/");
    return strcmp(hole + 4, segment + len) == 0 && uuid_parse(segment, len, id) == OK;
}

static bool method_matches(enum http_method wanted, enum http_method got)
{
    return wanted == got || (wanted == HTTP_GET && got == HTTP_HEAD);
}

/* Sets call->route, or answers 404 or 405. */
static enum flow find_route(struct call *call)
{
    const char *allow = NULL;
    unsigned here = call->operations                       ? ON_OPERATIONS
                    : call->service->config.metrics_public ? ON_PUBLIC | ON_PUBLIC_IF_ASKED
                                                           : ON_PUBLIC;
    for (size_t i = 0; i < ROUTE_COUNT; i++) {
        const struct route *route = &ROUTES[i];
        if ((route->listeners & here) == 0 ||
            !path_matches(route->path, call->http->path, &call->path_id))
            continue;
        if (method_matches(route->method, call->http->method)) {
            call->route = route;
            return FLOW_NEXT;
        }
        allow = route->method == HTTP_GET ? "GET, HEAD" : "POST";
    }
    if (allow == NULL) {
        answer_problem(call, OUTCOME_NOT_FOUND, ERR_NOT_FOUND, "not_found", "not found");
    } else {
        answer_problem_status(call, OUTCOME_METHOD_NOT_ALLOWED, 405, "method_not_allowed",
                              "method not allowed");
        http_add_header(call->http, "Allow", allow);
    }
    return FLOW_DONE;
}

/* ---- the four functions of an http_handler ---- */

static struct call *new_call(struct service *service, struct http_request *request, bool operations)
{
    struct call *call = calloc(1, sizeof *call);
    if (call == NULL)
        return NULL;
    call->service = service;
    call->http = request;
    call->operations = operations;
    request->app = call;
    return call;
}

static enum http_verdict begin(struct service *service, struct http_request *request,
                               bool operations)
{
    struct call *call = new_call(service, request, operations);
    if (call == NULL) {
        request->answer.status = 503;
        return HTTP_ANSWERED;
    }
    if (request->method == HTTP_OPTIONS && cors_apply(call))
        return HTTP_ANSWERED;
    if (find_route(call) == FLOW_DONE)
        return HTTP_ANSWERED;
    return flow_start(call);
}

static enum http_verdict begin_public(void *arg, struct http_request *request)
{
    return begin(arg, request, false);
}

static enum http_verdict begin_operations(void *arg, struct http_request *request)
{
    return begin(arg, request, true);
}

static void refuse(void *arg, struct http_request *request, enum http_refusal why)
{
    struct call *call = new_call(arg, request, false);
    if (call == NULL)
        request->answer.status = 503;
    else if (why == HTTP_REFUSE_TOO_LARGE)
        answer_problem(call, OUTCOME_MALFORMED, ERR_TOO_LARGE, "body_too_large",
                       "body is larger than 16 KiB");
    else
        answer_problem(call, OUTCOME_MALFORMED, ERR_MALFORMED, "malformed_request",
                       "malformed request");
}

/* Once for each call: what came of it. */
static void conclude(struct call *call)
{
    if (call->concluded)
        return;
    call->concluded = true;
    metrics_count_call(call);
    note_request(call);
}

static void finish(void *arg, struct http_request *request)
{
    (void)arg;
    struct call *call = call_of(request);
    if (call == NULL)
        return;
    if (request->method != HTTP_OPTIONS)
        (void)cors_apply(call);
    conclude(call);
}

static void release(struct http_request *request)
{
    struct call *call = call_of(request);
    if (call == NULL)
        return;
    conclude(call); /* the connection ended before the answer could go out */
    metrics_sent(call);
    signing_release(call->signing);
    if (call->access_token != NULL) {
        secret_wipe(call->access_token, ACCESS_TOKEN_MAX);
        free(call->access_token);
    }
    /* Calls that were answered on the spot have seen no secret worth the time. */
    if (call->has_tenant || call->has_session)
        secret_wipe(call, sizeof *call);
    free(call);
}

/* Counted each time, told once. */
static void turned_away(void *arg, const struct ip_address *client, bool first)
{
    const struct service *service = arg;
    metrics_count(service->metrics->counted, M_REFUSED, 0);
    if (!first || !log_wants(LOG_WARN))
        return;
    struct log_line line;
    char text[IP_TEXT_MAX + 1];
    ip_format(client, text);
    log_begin(&line, LOG_WARN, "http.connections_refused",
              "an address has CONNECTIONS_PER_ADDRESS connections and gets no more");
    log_str(&line, "client_ip", text);
    log_end(&line);
}

struct http_handler service_public_handler(struct service *service)
{
    return (struct http_handler){service, begin_public, refuse, finish, release, turned_away};
}

struct http_handler service_operations_handler(struct service *service)
{
    return (struct http_handler){service, begin_operations, refuse, finish, release, turned_away};
}
