#include "net/lane.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/thread.h"

/* Weight of the newest service time in the moving average: 1 / 2^3. */
#define AVERAGE_SHIFT 3
/* A place is promised if so many times the expected wait would do. What jobs took lately is a guess
 * at what they will take, and under a lasting overload the queue sits right at the limit: without a
 * margin half of those that were let in would be told at the end of their wait that it is over. */
#define PROMISE_MARGIN 2

struct flow {
    struct lane_job *head, *tail;
    unsigned len;      /* queued */
    unsigned coming;   /* admitted, not pushed yet */
    struct flow *next; /* ring of flows that have jobs */
};

struct worker {
    struct lane *lane;
    pthread_t thread;
    unsigned index;
    void *context;
};

struct lane {
    struct lane_config config;
    pthread_mutex_t lock;
    pthread_cond_t work;  /* a job arrived, or closing */
    pthread_cond_t ready; /* a worker has opened, or failed to */
    struct flow *flows;
    struct flow *turn; /* last of the ring: its next is the next to be served */
    unsigned queued, coming, busy;
    bool gathering;  /* a thread lets its batch grow; what is pushed meanwhile is for that */
    uint64_t job_ns; /* moving average of one job's time on one thread */
    uint64_t shed[LANE_DROPS];
    struct histogram wait;
    unsigned opened; /* or failed to */
    unsigned failed;
    enum err open_error;
    bool closing;
    unsigned started;
    struct worker workers[];
};

/* ---- the ring of flows (under the lock) ---- */

static struct flow *flow_of(struct lane *lane, const struct lane_job *job)
{
    return &lane->flows[job->flow & (lane->config.flows - 1)];
}

static void enqueue(struct lane *lane, struct lane_job *job)
{
    struct flow *flow = flow_of(lane, job);
    job->next = NULL;
    if (flow->len++ > 0) {
        flow->tail->next = job;
        flow->tail = job;
    } else {
        flow->head = flow->tail = job;
        if (lane->turn == NULL) {
            flow->next = flow;
        } else {
            flow->next = lane->turn->next;
            lane->turn->next = flow;
        }
        lane->turn = flow; /* last in the ring: served after all that wait already */
    }
    lane->queued++;
}

static struct lane_job *dequeue(struct lane *lane)
{
    struct flow *flow = lane->turn->next;
    struct lane_job *job = flow->head;
    flow->head = job->next;
    lane->queued--;
    if (--flow->len > 0)
        lane->turn = flow; /* has had its turn */
    else if (flow->next == flow)
        lane->turn = NULL;
    else
        lane->turn->next = flow->next;
    return job;
}

/* ---- admission (under the lock) ---- */

static unsigned min_unsigned(unsigned a, unsigned b)
{
    return a < b ? a : b;
}

/* Jobs that will be served before a new one of this flow: its own, and of each other flow no more
 * than that many, because turns go round. */
static unsigned jobs_ahead(struct lane *lane, const struct flow *own)
{
    unsigned own_len = own->len + own->coming;
    unsigned ahead = own_len;
    if (lane->config.flows == 1)
        return ahead;
    for (unsigned i = 0; i < lane->config.flows; i++) {
        const struct flow *flow = &lane->flows[i];
        if (flow != own)
            ahead += min_unsigned(flow->len + flow->coming, own_len + 1);
    }
    return ahead;
}

static uint64_t expected_wait_ns(struct lane *lane, unsigned ahead)
{
    unsigned threads = lane->config.threads;
    if (ahead + lane->busy < threads)
        return 0;
    /* Those in the works count for half: on average that much of them is left. */
    return lane->job_ns * (2 * (uint64_t)ahead + lane->busy) / (2 * (uint64_t)threads);
}

/* No thread could open: nobody takes anything out. */
static bool is_dead(const struct lane *lane)
{
    return lane->failed == lane->config.threads;
}

static enum err admit(struct lane *lane, struct lane_job *job)
{
    struct flow *flow = flow_of(lane, job);
    if (is_dead(lane) || lane->queued + lane->coming >= lane->config.capacity) {
        lane->shed[LANE_DROP_FULL]++;
        return ERR_BUSY;
    }
    uint64_t wait = expected_wait_ns(lane, jobs_ahead(lane, flow));
    if (clock_mono_ns() + PROMISE_MARGIN * wait > job->start_by_ns) {
        lane->shed[LANE_DROP_DEADLINE]++;
        return ERR_BUSY;
    }
    flow->coming++;
    lane->coming++;
    job->admitted = true;
    return OK;
}

static void withdraw(struct lane *lane, struct lane_job *job)
{
    if (!job->admitted)
        return;
    job->admitted = false;
    flow_of(lane, job)->coming--;
    lane->coming--;
}

enum err lane_admit(struct lane *lane, struct lane_job *job)
{
    pthread_mutex_lock(&lane->lock);
    enum err e = admit(lane, job);
    pthread_mutex_unlock(&lane->lock);
    return e;
}

void lane_withdraw(struct lane *lane, struct lane_job *job)
{
    pthread_mutex_lock(&lane->lock);
    withdraw(lane, job);
    pthread_mutex_unlock(&lane->lock);
}

enum err lane_push(struct lane *lane, struct lane_job *job)
{
    pthread_mutex_lock(&lane->lock);
    if (is_dead(lane)) /* the place it was promised is none */
        withdraw(lane, job);
    enum err e = job->admitted ? OK : admit(lane, job);
    if (e == OK) {
        withdraw(lane, job);
        job->pushed_at_ns = clock_mono_ns();
        enqueue(lane, job);
        if (!lane->gathering)
            pthread_cond_signal(&lane->work);
    }
    pthread_mutex_unlock(&lane->lock);
    return e;
}

unsigned lane_retry_after(struct lane *lane)
{
    pthread_mutex_lock(&lane->lock);
    uint64_t ns = expected_wait_ns(lane, lane->queued + lane->coming);
    pthread_mutex_unlock(&lane->lock);
    uint64_t seconds = (ns + NS_PER_SECOND - 1) / NS_PER_SECOND;
    return seconds < 1 ? 1 : seconds > 60 ? 60 : (unsigned)seconds;
}

uint64_t lane_backlog_ns(struct lane *lane)
{
    pthread_mutex_lock(&lane->lock);
    uint64_t ns = lane->queued * lane->job_ns / lane->config.threads;
    pthread_mutex_unlock(&lane->lock);
    return ns;
}

void lane_read_stats(struct lane *lane, struct lane_stats *out)
{
    pthread_mutex_lock(&lane->lock);
    *out = (struct lane_stats){.depth = lane->queued + lane->coming, .busy = lane->busy};
    for (unsigned i = 0; i < LANE_DROPS; i++)
        out->shed[i] = lane->shed[i];
    out->wait = lane->wait;
    pthread_mutex_unlock(&lane->lock);
}

/* ---- the threads ---- */

static void drop(struct lane *lane, struct lane_job *job, enum lane_drop why)
{
    pthread_mutex_lock(&lane->lock);
    lane->shed[why]++;
    pthread_mutex_unlock(&lane->lock);
    lane->config.drop(lane->config.arg, job, why);
}

/* Drops what is too late or waited for by nobody; the rest stays, in order. */
static unsigned sift(struct lane *lane, struct lane_job **jobs, unsigned n)
{
    uint64_t now = clock_mono_ns();
    unsigned kept = 0;
    for (unsigned i = 0; i < n; i++) {
        if (now > jobs[i]->start_by_ns)
            drop(lane, jobs[i], LANE_DROP_DEADLINE);
        else if (lane->config.gone(jobs[i]))
            drop(lane, jobs[i], LANE_DROP_GONE);
        else
            jobs[kept++] = jobs[i];
    }
    return kept;
}

static void learn(struct lane *lane, uint64_t elapsed_ns, unsigned n)
{
    uint64_t each = elapsed_ns / n;
    lane->job_ns += (each >> AVERAGE_SHIFT) - (lane->job_ns >> AVERAGE_SHIFT);
}

/* Lets a batch grow if there is time to spare: whether there was. Under the lock, which it gives
 * up. */
static bool gather(struct lane *lane)
{
    if (lane->config.spare_ns == NULL || lane->closing || lane->queued >= lane->config.batch)
        return false;
    lane->gathering = true;
    pthread_mutex_unlock(&lane->lock);
    uint64_t ns = lane->config.spare_ns(lane->config.arg);
    if (ns > 0)
        clock_sleep_ns(ns);
    pthread_mutex_lock(&lane->lock);
    lane->gathering = false;
    return ns > 0;
}

static bool joins(const struct lane *lane, const struct lane_job *first)
{
    return lane->config.joins == NULL || lane->config.joins(first, lane->turn->next->head);
}

/* Waits for jobs and takes up to a batch; 0 when the lane is closing and empty. Under the lock. */
static unsigned take(struct worker *worker, struct lane_job **jobs)
{
    struct lane *lane = worker->lane;
    if (lane->queued == 0 && !lane->closing && lane->config.idle != NULL) {
        pthread_mutex_unlock(&lane->lock);
        lane->config.idle(worker->context);
        pthread_mutex_lock(&lane->lock);
    }
    while ((lane->queued == 0 || lane->gathering) && !lane->closing)
        pthread_cond_wait(&lane->work, &lane->lock);
    unsigned share = lane->config.batch;
    if (!gather(lane)) /* the others are to work as well */
        share = (lane->queued + lane->config.threads - 1) / lane->config.threads;
    unsigned n = 0;
    while (lane->turn != NULL && n < min_unsigned(share, lane->config.batch) &&
           (n == 0 || joins(lane, jobs[0])))
        jobs[n++] = dequeue(lane);
    if (lane->queued > 0)
        pthread_cond_signal(&lane->work);
    uint64_t now = clock_mono_ns();
    for (unsigned i = 0; i < n; i++)
        histogram_add(&lane->wait, now - jobs[i]->pushed_at_ns);
    return n;
}

static void work(struct worker *worker)
{
    struct lane *lane = worker->lane;
    struct lane_job *jobs[LANE_BATCH_MAX];
    pthread_mutex_lock(&lane->lock);
    for (;;) {
        unsigned n = take(worker, jobs);
        if (n == 0)
            break;
        lane->busy++;
        pthread_mutex_unlock(&lane->lock);
        n = sift(lane, jobs, n);
        uint64_t begin = clock_mono_ns();
        if (n > 0)
            lane->config.run(lane->config.arg, worker->context, jobs, n);
        uint64_t elapsed = clock_mono_ns() - begin;
        pthread_mutex_lock(&lane->lock);
        lane->busy--;
        if (n > 0)
            learn(lane, elapsed, n);
    }
    pthread_mutex_unlock(&lane->lock);
}

/* What was queued before the last thread had failed to open; admit lets in no more. */
static void drop_stranded(struct lane *lane)
{
    pthread_mutex_lock(&lane->lock);
    while (is_dead(lane) && lane->queued > 0) {
        struct lane_job *job = dequeue(lane);
        pthread_mutex_unlock(&lane->lock);
        drop(lane, job, LANE_DROP_FULL);
        pthread_mutex_lock(&lane->lock);
    }
    pthread_mutex_unlock(&lane->lock);
}

static void *worker_main(void *arg)
{
    struct worker *worker = arg;
    struct lane *lane = worker->lane;
    pthread_setname_np(pthread_self(), lane->config.name);
    if (lane->config.background)
        thread_make_background();
    enum err e = lane->config.thread_open(lane->config.arg, worker->index, &worker->context);
    pthread_mutex_lock(&lane->lock);
    lane->opened++;
    if (e != OK) {
        lane->open_error = e;
        lane->failed++;
    }
    pthread_cond_signal(&lane->ready);
    pthread_mutex_unlock(&lane->lock);
    if (e != OK) {
        drop_stranded(lane);
        return NULL;
    }
    work(worker);
    lane->config.thread_close(worker->context);
    return NULL;
}

static enum err start_workers(struct lane *lane)
{
    for (unsigned i = 0; i < lane->config.threads; i++) {
        struct worker *worker = &lane->workers[i];
        *worker = (struct worker){.lane = lane, .index = i};
        if (pthread_create(&worker->thread, NULL, worker_main, worker) != 0) {
            log_note(LOG_ERROR, "service.no_thread",
                     "a thread cannot be started: is a limit of processes in the way?",
                     lane->config.name);
            return ERR_INTERNAL;
        }
        lane->started++;
    }
    return OK;
}

static void cleanup_lane(struct lane **lane)
{
    lane_close(*lane);
}

enum err lane_open(const struct lane_config *config, struct lane **out)
{
    struct lane *lane CLEANUP(cleanup_lane) =
        calloc(1, sizeof *lane + config->threads * sizeof lane->workers[0]);
    if (lane == NULL)
        return ERR_INTERNAL;
    lane->config = *config;
    lane->job_ns = config->first_guess_ns;
    pthread_mutex_init(&lane->lock, NULL);
    pthread_cond_init(&lane->work, NULL);
    pthread_cond_init(&lane->ready, NULL);
    lane->flows = calloc(config->flows, sizeof *lane->flows);
    if (lane->flows == NULL)
        return ERR_INTERNAL;
    enum err e = start_workers(lane);
    if (e != OK) {
        if (config->open_failed != NULL)
            config->open_failed(config->arg);
        return e;
    }
    *out = TAKE(lane);
    return OK;
}

enum err lane_wait_open(struct lane *lane)
{
    pthread_mutex_lock(&lane->lock);
    while (lane->opened < lane->started)
        pthread_cond_wait(&lane->ready, &lane->lock);
    enum err e = lane->open_error;
    pthread_mutex_unlock(&lane->lock);
    return e;
}

void lane_close(struct lane *lane)
{
    if (lane == NULL)
        return;
    pthread_mutex_lock(&lane->lock);
    lane->closing = true;
    pthread_cond_broadcast(&lane->work);
    pthread_mutex_unlock(&lane->lock);
    for (unsigned i = 0; i < lane->started; i++)
        pthread_join(lane->workers[i].thread, NULL);
    pthread_cond_destroy(&lane->ready);
    pthread_cond_destroy(&lane->work);
    pthread_mutex_destroy(&lane->lock);
    free(lane->flows);
    free(lane);
}
