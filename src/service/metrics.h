/*
 * metrics.h: what metrics.c and metrics_table.c share. Private to service/.
 */
#ifndef WW_SERVICE_METRICS_H
#define WW_SERVICE_METRICS_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/process.h"
#include "net/metrics.h"
#include "service/call.h"

enum metric_id {
    M_LOGIN,
    M_REGISTER,
    M_REFRESH,
    M_LOGOUT,
    M_LOCKOUTS,
    M_LIMITED,
    M_REFUSED,
    M_REPLAY,
    M_PUBLISHED,
    M_PUBLISH_FAILED,
    M_OUTBOX_BACKLOG,
    M_OUTBOX_OLDEST,
    M_OUTBOX_DROPPED,
    M_UP,
    M_CREDENTIALS,
    M_KEY_AGE,
    M_KEY_CHANGES,
    M_VERIFY,
    M_LANE_DEPTH,
    M_LANE_BUSY,
    M_LANE_WAIT,
    M_LANE_SHED,
    M_SIGNER_RESTARTS,
    M_FAULTY_SIGNATURES,
    M_CPU,
    M_RESIDENT,
    M_THREADS,
    M_OPEN_FDS,
    M_MAX_FDS,
    M_STARTED,
    M_BUILD,
    M_LOG_DROPPED,
    M_SWEPT,
    M_LIVE_SESSIONS,
    M_HTTP_REQUESTS,
    M_HTTP_DURATION,
    METRICS,
};

/* Families without a number of series here get it when the service starts. */
extern const struct metric METRIC_TABLE[METRICS];

enum key_change { KEY_CHANGE_ROTATED, KEY_CHANGE_REVOKED, KEY_CHANGES };

#define USE_CASE_COUNT 4
#define USE_CASE_OUTCOMES_MAX 12

/* One whose results are counted. */
struct use_case {
    enum flow (*begin)(struct call *call);
    enum metric_id metric;
    unsigned good; /* so many of the outcomes are successes: the first ones */
    enum outcome outcomes[USE_CASE_OUTCOMES_MAX]; /* OUTCOME_INTERNAL is the last */
};
extern const struct use_case USE_CASES[USE_CASE_COUNT];

#define HTTP_SERIES_MAX 192
#define HTTP_METHODS (HTTP_OTHER + 1)

struct http_series {
    uint8_t path; /* position in ROUTES; ROUTE_COUNT: other */
    uint8_t method;
    uint16_t status; /* 0: other */
    char status_text[8];
};

/* What the callbacks of the table are handed. */
struct service_metrics {
    struct service *service;
    struct metrics *counted;
    atomic_uint texts[2]; /* on their way to clients: of the public listener, of operations */
    pthread_mutex_t lock; /* a scrape's, for the one below */
    struct process_usage usage;
    struct signing *signing; /* held during a scrape */
    bool census_known;
    struct census_figures census;
    double started_s; /* taken once, so that it stays the same */
    unsigned http_count;
    struct http_series http[HTTP_SERIES_MAX];
};

#endif
