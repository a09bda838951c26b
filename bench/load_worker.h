/*
 * load_worker.h: one thread of the load generator; its connections and their event loop.
 *
 * Every connection has at most one request in flight. A request is one send() of bytes prepared in
 * advance, an answer is normally one recv(). The generator shares its cores with the service that
 * it measures, so whatever it does not spend, the service has.
 *
 * Closed loop: a connection sends its next request when the answer to the last one is complete.
 * Open loop (rate > 0): requests are due at fixed times, whatever the service does; the first free
 * connection takes the oldest due one, and its duration runs from when it was due. A service that
 * stalls is therefore charged for all the requests that had to wait (no coordinated omission).
 */
#ifndef WW_BENCH_LOAD_WORKER_H
#define WW_BENCH_LOAD_WORKER_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "histogram.h"

enum {
    LOAD_TOKEN_MAX = 512,    /* longest refresh token, with its final NUL */
    LOAD_REQUEST_MAX = 2048, /* longest request */
    LOAD_STATUS_MAX = 600,
};

enum load_kind {
    LOAD_GET,     /* requests[0] for ever */
    LOAD_LOGIN,   /* connection i cycles through requests i, i + connections, ... */
    LOAD_REFRESH, /* each connection has its own chain; requests are logins that start one */
};

struct load_request {
    size_t length;
    char bytes[LOAD_REQUEST_MAX];
};

/* What to do. Shared by all workers and constant while they run, except for `tokens`, of which slot
 * i belongs to connection i, and `failed`. */
struct load_plan {
    enum load_kind kind;
    struct sockaddr_storage address;
    socklen_t address_length;
    char host[300]; /* for the Host header */
    unsigned connections, threads;
    double rate; /* requests a second over all threads; 0: closed loop */
    int64_t warmup_ns, window_ns;
    struct load_request *requests;
    size_t n_requests;
    char (*tokens)[LOAD_TOKEN_MAX]; /* "" where there is none; left as the chains ended */
    pthread_barrier_t start;        /* all connections of all threads are ready */
    atomic_bool failed;             /* some thread never became ready */
};

/* What happened within the measured window (`reconnects` and below: during the whole run). */
struct load_result {
    uint64_t answers, bytes;
    uint64_t status[LOAD_STATUS_MAX];
    struct histogram ok, other; /* durations of 2xx answers, and of all others */
    uint64_t unsent;            /* due, but no connection was free until the end */
    uint64_t unanswered;        /* sent, but no answer within ten seconds after the end */
    uint64_t reconnects, connect_errors, bad_answers, chains_lost;
    bool realtime; /* with a rate: the thread went before all others, as it asked to */
};

/* Writes a POST of a JSON body. Returns 0, or -1 if it does not fit. */
int load_build_post(const struct load_plan *plan, const char *path, const char *body,
                    struct load_request *out);

/* Runs worker number `index` (0 to threads - 1) to its end; one call a thread. `result` starts as
 * zeroes. Returns 0, or -1 if this or another worker could not become ready (said on stderr). */
int load_worker_run(struct load_plan *plan, unsigned index, struct load_result *result);

#endif
