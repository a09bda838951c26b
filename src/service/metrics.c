/*
 * metrics.c: counting, and GET /metrics.
 *
 * Everything a request changes is counted where the request ends, in metrics_count_call, on a
 * network thread. What others know already (lanes, probe, kernel) is asked at the scrape.
 */
#include "service/metrics.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"

#define TEXT_MAX ((size_t)256 * 1024)
/* Texts on their way at once from each listener: a slow reader keeps one in memory. Those of the
 * public one must not keep the operator's scrape out. */
#define TEXTS_MAX 8

/* ---- the series of HTTP requests ---- */

static enum err add_series(struct service_metrics *m, size_t path, enum http_method method,
                           unsigned status)
{
    if (m->http_count == HTTP_SERIES_MAX)
        return ERR_INTERNAL;
    struct http_series *s = &m->http[m->http_count++];
    *s = (struct http_series){(uint8_t)path, (uint8_t)method, (uint16_t)status, "other"};
    if (status != 0)
        snprintf(s->status_text, sizeof s->status_text, "%u", status % 1000);
    return OK;
}

static enum err add_route(struct service_metrics *m, size_t path, enum http_method method)
{
    const struct route *route = &ROUTES[path];
    for (unsigned i = 0; i < STATUSES_MAX && route->statuses[i] != 0; i++)
        TRY(add_series(m, path, method, route->statuses[i]));
    return OK;
}

/* What never got as far as a route. The very last is for what should not happen. */
static enum err add_others(struct service_metrics *m)
{
    static const uint16_t statuses[] = {400, 404, 405, 413};
    for (unsigned method = 0; method < HTTP_METHODS; method++)
        for (unsigned i = 0; i < ARRAY_LEN(statuses); i++)
            TRY(add_series(m, ROUTE_COUNT, (enum http_method)method, statuses[i]));
    TRY(add_series(m, ROUTE_COUNT, HTTP_OPTIONS, 204));
    return add_series(m, ROUTE_COUNT, HTTP_OTHER, 0);
}

static enum err build_series(struct service_metrics *m)
{
    for (size_t i = 0; i < ROUTE_COUNT; i++) {
        TRY(add_route(m, i, ROUTES[i].method));
        if (ROUTES[i].method == HTTP_GET)
            TRY(add_route(m, i, HTTP_HEAD));
    }
    return add_others(m);
}

static unsigned find_series(const struct service_metrics *m, const struct call *call)
{
    size_t path = call->route != NULL ? (size_t)(call->route - ROUTES) : ROUTE_COUNT;
    unsigned i = 0;
    while (i < m->http_count - 1 &&
           (m->http[i].path != path || m->http[i].method != call->http->method ||
            m->http[i].status != call->http->answer.status))
        i++;
    return i;
}

/* ---- counting ---- */

static void count_outcome(struct metrics *counted, const struct call *call)
{
    const struct use_case *use = NULL;
    for (unsigned i = 0; i < USE_CASE_COUNT && call->route != NULL; i++)
        if (USE_CASES[i].begin == call->route->begin)
            use = &USE_CASES[i];
    if (use == NULL)
        return;
    unsigned i = 0;
    while (use->outcomes[i] != call->outcome && use->outcomes[i] != OUTCOME_INTERNAL)
        i++;
    metrics_count(counted, use->metric, i);
}

static void count_replay(struct metrics *counted, const struct call *call)
{
    unsigned series = call->replay_distance <= 1 ? 0 : call->replay_distance <= 5 ? 1 : 2;
    metrics_count(counted, M_REPLAY, series);
}

void metrics_count_call(const struct call *call)
{
    const struct service_metrics *m = call->service->metrics;
    count_outcome(m->counted, call);
    if (call->limited_by != SCOPE_NONE)
        metrics_count(m->counted, M_LIMITED, call->limited_by - 1);
    if (call->locked_now)
        metrics_count(m->counted, M_LOCKOUTS, 0);
    if (call->replayed)
        count_replay(m->counted, call);
    if (call->verify != VERIFY_NONE && call->hash_ns > 0)
        metrics_observe(m->counted, M_VERIFY, call->verify - 1, call->hash_ns);
    metrics_observe(m->counted, M_HTTP_DURATION, find_series(m, call),
                    clock_mono_ns() - call->http->started_ns);
}

/* ---- GET /metrics ---- */

static void put_all(struct service_metrics *m, struct text *t)
{
    pthread_mutex_lock(&m->lock);
    if (process_read(&m->usage) != OK)
        m->usage = (struct process_usage){0}; /* shows as NaN */
    m->census_known = census_read(m->service->census, &m->census);
    m->signing = service_hold_signing(m->service);
    metrics_put(m->counted, t);
    signing_release(m->signing);
    pthread_mutex_unlock(&m->lock);
}

static void answer_text(struct call *call)
{
    struct http_answer *a = &call->http->answer;
    char *body = malloc(TEXT_MAX);
    if (body == NULL) {
        answer_fault(call, ERR_INTERNAL, "out of memory");
        return;
    }
    struct text t = text_on(body, TEXT_MAX);
    put_all(call->service->metrics, &t);
    if (!text_ok(&t)) {
        free(body);
        answer_fault(call, ERR_INTERNAL, "the metrics are longer than their buffer");
        return;
    }
    a->status = 200;
    a->content_type = "text/plain; version=0.0.4; charset=utf-8";
    a->body = body;
    a->body_len = t.len;
    http_add_header(call->http, "Cache-Control", "no-store");
    call->outcome = OUTCOME_OK;
}

static atomic_uint *texts_of(const struct call *call)
{
    return &call->service->metrics->texts[call->operations];
}

enum flow metrics_start(struct call *call)
{
    call->scraping = true;
    if (atomic_fetch_add(texts_of(call), 1) < TEXTS_MAX)
        answer_text(call);
    else
        answer_retry(call, OUTCOME_RATE_LIMITED, ERR_UNAVAILABLE, "unavailable",
                     "temporarily unavailable", 1);
    return FLOW_DONE;
}

void metrics_sent(const struct call *call)
{
    if (call->scraping)
        atomic_fetch_sub(texts_of(call), 1);
}

/* ---- opening ---- */

static unsigned outcome_count(const struct use_case *use)
{
    unsigned n = 0;
    while (n < USE_CASE_OUTCOMES_MAX && use->outcomes[n] != OUTCOME_NONE)
        n++;
    return n;
}

enum err metrics_open_service(struct service *service)
{
    struct service_metrics *m = service->metrics = calloc(1, sizeof *m);
    struct metric table[METRICS];
    if (m == NULL)
        return ERR_INTERNAL;
    m->service = service;
    pthread_mutex_init(&m->lock, NULL);
    TRY(build_series(m));
    struct process_usage usage;
    if (process_read(&usage) == OK)
        m->started_s = (double)usage.started_unix_ms / (double)MS_PER_SECOND;
    memcpy(table, METRIC_TABLE, sizeof table);
    for (unsigned i = 0; i < USE_CASE_COUNT; i++)
        table[USE_CASES[i].metric].series = outcome_count(&USE_CASES[i]);
    table[M_HTTP_REQUESTS].series = table[M_HTTP_DURATION].series = m->http_count;
    return metrics_open(table, METRICS, m, &m->counted);
}

void metrics_close_service(struct service *service)
{
    if (service->metrics == NULL)
        return;
    metrics_close(service->metrics->counted);
    pthread_mutex_destroy(&service->metrics->lock);
    free(service->metrics);
}
