/*
 * flow.c: how calls move through the lanes.
 *
 * A call goes from step to step, each on a thread of its lane, and at the end back to the network
 * thread. What a lane cannot take in time is answered 503 on the spot. A place in the HASH lane is
 * taken at the door, before the database is asked, so that a flood costs nothing but the refusal.
 */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/failpoint.h"
#include "base/random.h"
#include "service/call.h"

#define SIGN_TIMEOUT_NS (10 * NS_PER_SECOND)

/* What a job takes, until the lane has seen some: a database round trip with its fsync. */
#define DB_GUESS_NS (2 * NS_PER_MS)

/* Transactions that may wait are begun together: at the slowest, and at the fastest, this often.
 * Their quotient is a power of two. */
#define GATHER_SLOWEST_NS (4 * NS_PER_MS)
#define GATHER_FASTEST_NS (NS_PER_MS / 4)

struct call *flow_call(const struct lane_job *job)
{
    return call_of((const struct http_request *)job);
}

const struct step *flow_step(const struct call *call)
{
    return call->step < STEPS_MAX ? &call->route->steps[call->step] : NULL;
}

static bool is_step(const struct step *step)
{
    return step != NULL && (step->db != NULL || step->db_many != NULL || step->sign_begin != NULL ||
                            step->hash_begin != NULL);
}

/* ---- refusing ---- */

static void answer_busy(struct call *call)
{
    unsigned seconds = lane_retry_after(call->service->lanes[LANE_HASH]);
    answer_retry(call, OUTCOME_HASH_BUSY, ERR_BUSY, "auth_busy", "auth busy", seconds);
    note_event(call, LOG_WARN, "auth.hash_busy", "no room for another password hash");
}

static void answer_shed(struct call *call, enum lane_id lane)
{
    if (lane == LANE_HASH)
        answer_busy(call);
    else if (lane == LANE_DB)
        answer_unavailable(call, "the database lane is full or late");
    else
        answer_unsigned(call, "the signing lane is full or late");
}

/* The client has hung up; or the process is about to end, and the client is to ask again. */
static void answer_gone(struct call *call)
{
    answer_retry(call, OUTCOME_CLIENT_GONE, ERR_UNAVAILABLE, "unavailable",
                 "temporarily unavailable", 1);
}

/* ---- moving ---- */

static void advance(struct call *call);

static uint64_t start_by(const struct call *call, enum lane_id lane)
{
    const struct service_settings *s = &call->service->config.settings;
    switch (lane) {
    case LANE_HASH: /* from when the request was there, however long its body took */
        return call->begun_ns + s->hash_acquire_timeout_ms * NS_PER_MS;
    case LANE_DB: /* from now: a login that has been hashed is not thrown away for its age. A
                   * quarter of the time stays for the operation itself. */
        return clock_mono_ns() + s->db_timeout_ms * NS_PER_MS * 3 / 4;
    default:
        return clock_mono_ns() + SIGN_TIMEOUT_NS;
    }
}

static enum err push(struct call *call, enum lane_id lane)
{
    struct lane_job *job = &call->http->job;
    bool keep_place = call->hash_place && lane != LANE_HASH;
    job->admitted = call->hash_place && lane == LANE_HASH;
    if (!keep_place)
        call->hash_place = false;
    job->start_by_ns = start_by(call, lane);
    return lane_push(call->service->lanes[lane], job);
}

/* Back to the network thread; and if others wait for this one's place at the gate, the next goes
 * on. */
static void leave(struct call *call)
{
    struct gate *gate = call->gated ? call->service->gate : NULL;
    uint32_t key = call->gate_key;
    http_resume(call->http); /* from here on it is not ours to look at */
    PAUSE("flow.resumed");
    struct lane_job *next = gate != NULL ? gate_leave(gate, key) : NULL;
    if (next != NULL)
        advance(flow_call(next));
}

static void undo_later(struct call *call)
{
    if (call->undo != NULL)
        call->undo(call, NULL);
    leave(call);
}

static void leave_place(struct call *call)
{
    if (!call->hash_place)
        return;
    call->http->job.admitted = true;
    lane_withdraw(call->service->lanes[LANE_HASH], &call->http->job);
    call->hash_place = false;
}

/* The answer is set. What has to be undone goes first; then back to the network thread. */
void flow_end(struct call *call)
{
    leave_place(call);
    if (call->undo == NULL) {
        leave(call);
        return;
    }
    /* While its client waits, a database that has just failed is not asked again. */
    call->undoing = true;
    if (call->outcome != OUTCOME_DB_UNAVAILABLE && push(call, LANE_DB) == OK)
        return;
    undo_later(call);
}

static void advance(struct call *call)
{
    for (;; call->step++) {
        const struct step *step = flow_step(call);
        if (!is_step(step)) {
            flow_end(call);
            return;
        }
        if (step->lane == LANE_HASH) {
            call->hash_job = NULL;
            if (step->hash_begin(call, &call->hash_job) == FLOW_DONE) {
                flow_end(call);
                return;
            }
            if (call->hash_job == NULL)
                continue;
        }
        if (push(call, step->lane) == OK)
            return;
        if (!step->optional) {
            answer_shed(call, step->lane);
            flow_end(call);
            return;
        }
    }
}

void flow_go_on(struct call *call, enum flow verdict)
{
    if (verdict == FLOW_DONE) {
        flow_end(call);
        return;
    }
    call->step++;
    advance(call);
}

static bool needs_signature(const struct route *route)
{
    for (unsigned i = 0; i < STEPS_MAX; i++)
        if (route->steps[i].sign_begin != NULL)
            return true;
    return false;
}

/* Which queue of the HASH lane. By random factors, so that nobody can pick a tenant id that shares
 * another's; folded, because the end of an id moves the upper bits of its product alone. */
static uint32_t flow_of_tenant(const struct call *call)
{
    const uint64_t *factors = call->service->flow_factors;
    uint64_t half[2];
    memcpy(half, call->tenant_id.b, sizeof half);
    uint64_t h = half[0] * factors[0] + half[1] * factors[1];
    h ^= h >> 32;
    return (uint32_t)(h * (factors[0] | 1) >> 32);
}

enum flow flow_take_place(struct call *call)
{
    struct lane_job *job = &call->http->job;
    job->flow = flow_of_tenant(call);
    job->start_by_ns = start_by(call, LANE_HASH);
    call->hash_place = lane_admit(call->service->lanes[LANE_HASH], job) == OK;
    if (call->hash_place)
        return FLOW_NEXT;
    answer_busy(call);
    return FLOW_DONE;
}

/* Whether what it needs is there; else answered. */
static enum flow look_ahead(struct call *call)
{
    if (http_is_closing(call->http))
        answer_gone(call);
    else if (!store_is_up(call->service->config.store)) /* no queueing for what is not there */
        answer_unavailable(call, "the database is down");
    /* A refresh that cannot be signed must not be rotated either: its retry might come too late. */
    else if (needs_signature(call->route) && !service_can_sign(call->service))
        answer_unsigned(call, "the signer is down");
    else
        return FLOW_NEXT;
    return FLOW_DONE;
}

enum http_verdict flow_start(struct call *call)
{
    call->begun_ns = clock_mono_ns();
    if (call->route->begin(call) == FLOW_DONE || look_ahead(call) == FLOW_DONE) {
        leave_place(call);
        return HTTP_ANSWERED;
    }
    http_suspend(call->http);
    if (call->gated) {
        enum gate_verdict verdict =
            gate_enter(call->service->gate, call->gate_key, &call->http->job);
        if (verdict == GATE_WAITS)
            return HTTP_PENDING;
        if (verdict == GATE_FULL) {
            call->gated = false;
            answer_busy(call);
            flow_end(call);
            return HTTP_PENDING;
        }
    }
    advance(call);
    return HTTP_PENDING;
}

/* ---- what the lanes call ---- */

bool flow_gone(const struct lane_job *job)
{
    const struct http_request *request = (const struct http_request *)job;
    const struct call *call = call_of(request);
    return !call->undoing && (atomic_load(&call->service->abandoned) || http_client_gone(request));
}

void flow_drop(void *arg, struct lane_job *job, enum lane_drop why)
{
    (void)arg;
    struct call *call = flow_call(job);
    if (call->undoing) {
        undo_later(call);
        return;
    }
    const struct step *step = flow_step(call);
    if (step->optional) {
        flow_go_on(call, FLOW_NEXT);
        return;
    }
    if (why == LANE_DROP_GONE)
        answer_gone(call);
    else
        answer_shed(call, step->lane);
    flow_end(call);
}

/* ---- DB lane ---- */

static enum err db_open(void *arg, unsigned index, void **context)
{
    (void)index;
    struct service *service = arg;
    return store_conn_open(service->config.store, (struct store_conn **)context);
}

static void db_close(void *context)
{
    store_conn_close(context);
}

static void db_run_one(struct call *call, struct store_conn *conn)
{
    const struct step *step = flow_step(call);
    call->verdict = FLOW_DONE;
    store_conn_trace(conn, call->http->trace_id);
    if (call->undoing)
        call->undo(call, conn);
    else if (step->db_many != NULL)
        step->db_many(&call, 1, conn);
    else
        call->verdict = step->db(call, conn);
}

/* Only jobs that are run by one function at once share a transaction on PostgreSQL: others would
 * wait for each other's round trips. */
static bool db_joins(const struct lane_job *first, const struct lane_job *job)
{
    const struct call *a = flow_call(first);
    const struct call *b = flow_call(job);
    return !a->undoing && !b->undoing && flow_step(a)->db_many != NULL &&
           flow_step(a)->db_many == flow_step(b)->db_many;
}

static void db_run_all(struct store_conn *conn, struct lane_job **jobs, unsigned n, bool joined)
{
    struct call *calls[LANE_BATCH_MAX];
    for (unsigned i = 0; i < n; i++)
        calls[i] = flow_call(jobs[i]);
    if (joined && n > 1) {
        flow_step(calls[0])->db_many(calls, n, conn);
        return;
    }
    for (unsigned i = 0; i < n; i++)
        db_run_one(calls[i], conn);
}

/* The transaction did not happen: whatever the step answered is not true. */
static void db_failed(struct call *call, const char *why)
{
    if (call->undoing) {
        undo_later(call);
        return;
    }
    answer_reset(call);
    call->replayed = false;
    answer_unavailable(call, why);
    flow_end(call);
}

static void failpoint_committed(const struct call *call)
{
#ifdef WW_FAILPOINTS
    char point[64];
    unsigned last = call->step + 1;
    bool ends =
        call->verdict == FLOW_DONE || !is_step(last < STEPS_MAX ? &call->route->steps[last] : NULL);
    snprintf(point, sizeof point, "%s.committed", call->route->name);
    if (ends || strcmp(call->route->name, "rotate") == 0)
        FAILPOINT(point);
#else
    (void)call;
#endif
}

static void db_done(struct call *call)
{
    failpoint_committed(call);
    if (call->settled)
        call->undo = NULL;
    if (call->replayed)
        refresh_note_replay(call);
    if (call->undoing)
        leave(call);
    else
        flow_go_on(call, call->verdict);
}

static enum err db_run_batch(const struct service *service, struct store_conn *conn,
                             struct lane_job **jobs, unsigned n)
{
    uint64_t oldest = jobs[0]->pushed_at_ns;
    for (unsigned i = 1; i < n; i++)
        if (jobs[i]->pushed_at_ns < oldest)
            oldest = jobs[i]->pushed_at_ns;
    store_conn_deadline(conn, oldest + service->config.settings.db_timeout_ms * NS_PER_MS);
    TRY(store_batch_begin(conn));
    db_run_all(conn, jobs, n, !store_is_single_writer(service->config.store));
    return store_batch_end(conn);
}

static void db_run(void *arg, void *context, struct lane_job **jobs, unsigned n)
{
    const struct service *service = arg;
    struct store_conn *conn = context;
    const char *why = "the database is down";
    enum err e = ERR_UNAVAILABLE;
    if (store_is_up(service->config.store)) { /* else nobody has to find out again */
        e = db_run_batch(service, conn, jobs, n);
        why = store_last_error();
    }
    for (unsigned i = 0; i < n; i++) {
        if (e != OK)
            db_failed(flow_call(jobs[i]), why);
        else
            db_done(flow_call(jobs[i]));
    }
    if (e == OK)
        relay_wake(service->relay);
    if (!store_is_up(service->config.store))
        probe_doubt(service->probe);
}

/* ---- opening ---- */

/* While signatures are behind, a later commit delays nobody. Transactions are then begun on common
 * ticks, so that they share a commit (SQLite) or at least its fsync (PostgreSQL). A tick is at most
 * half of what the signatures still need; slower ticks are among the faster ones. */
static uint64_t db_spare_ns(void *arg)
{
    struct service *service = arg;
    uint64_t behind = lane_backlog_ns(service->lanes[LANE_SIGN]);
    uint64_t tick = GATHER_SLOWEST_NS;
    while (tick > behind / 2 && tick >= GATHER_FASTEST_NS)
        tick /= 2;
    return tick >= GATHER_FASTEST_NS ? tick - clock_mono_ns() % tick : 0;
}

static enum err open_db_lane(struct service *service)
{
    bool single = store_is_single_writer(service->config.store);
    struct lane_config config = {
        .name = "db",
        .first_guess_ns = DB_GUESS_NS,
        .threads = single ? 1 : service->config.db_threads,
        .batch = LANE_BATCH_MAX,
        .capacity = LANE_CAPACITY,
        .flows = 1,
        .arg = service,
        .thread_open = db_open,
        .thread_close = db_close,
        .run = db_run,
        .drop = flow_drop,
        .gone = flow_gone,
        .spare_ns = db_spare_ns,
        .joins = single ? NULL : db_joins,
    };
    return lane_open(&config, &service->lanes[LANE_DB]);
}

enum err flow_open(struct service *service)
{
    TRY(random_bytes(service->flow_factors, sizeof service->flow_factors));
    TRY(flow_hash_open(service));
    TRY(flow_sign_open(service));
    TRY(open_db_lane(service));
    TRY(lane_wait_open(service->lanes[LANE_SIGN]));
    return lane_wait_open(service->lanes[LANE_DB]);
}

enum err flow_wait_open(struct service *service)
{
    flow_hash_release(service);
    return lane_wait_open(service->lanes[LANE_HASH]);
}

void flow_close(struct service *service)
{
    flow_hash_release(service); /* a start that failed half-way never did */
    for (unsigned i = 0; i < LANES; i++) {
        lane_close(service->lanes[i]);
        service->lanes[i] = NULL;
    }
}
