/*
 * flow_hash.c: the HASH lane. One thread for each permit as long as there are cores for them; then
 * two permits to a thread, which hashes them as a pair. All memory is set aside at the start.
 */
#include "base/clock.h"
#include "base/failpoint.h"
#include "base/urgent.h"
#include "service/call.h"

#define HASH_FLOWS 256

/* Until a hash has been seen: half a nanosecond a byte filled, slower than most machines. */
static uint64_t hash_guess_ns(const struct argon2_params *params)
{
    return (uint64_t)params->memory_kib * 1024 * params->iterations / 2;
}

void flow_hash_release(void *arg)
{
    struct service *service = arg;
    for (unsigned i = 0; i < service->hash_threads; i++)
        sem_post(&service->listening);
}

struct hash_thread {
    struct argon2_arena *arena;
    uint32_t memory_kib; /* of one slot */
    unsigned slots;
};

static enum err hash_open(void *arg, unsigned index, void **context)
{
    struct service *service = arg;
    const struct service_config *c = &service->config;
    struct hash_thread *thread = calloc(1, sizeof *thread);
    if (thread == NULL)
        return ERR_INTERNAL;
    /* Touching the memory keeps the kernel's map of this process busy; the listeners go first. */
    while (sem_wait(&service->listening) != 0)
        ;
    /* The permits, spread over the threads: one or two each. */
    unsigned threads = service->hash_threads;
    thread->slots = c->hash_permits * (index + 1) / threads - c->hash_permits * index / threads;
    enum err e = argon2_arena_open(c->password->params.memory_kib, thread->slots, &thread->arena);
    if (e != OK) {
        free(thread);
        return e;
    }
    atomic_fetch_add(&service->hash_memory, argon2_arena_bytes(thread->arena));
    thread->memory_kib = c->password->params.memory_kib;
    *context = thread;
    return OK;
}

static void hash_close(void *context)
{
    struct hash_thread *thread = context;
    argon2_arena_close(thread->arena);
    free(thread);
}

static void hash_idle(void *context)
{
    struct hash_thread *thread = context;
    argon2_arena_wipe(thread->arena);
}

/* A hash of dearer times than these (ARGON_MEMORY_KB was lowered, or differs between instances)
 * gets memory for this once; password_verify_begin has judged that it is not too much. */
static enum err hash_dearer(const struct argon2_job *job)
{
    struct argon2_arena *arena = NULL;
    TRY(argon2_arena_open(job->params.memory_kib, 1, &arena));
    enum err e = argon2id_hash(arena, job);
    argon2_arena_close(arena);
    return e;
}

/* ---- running ---- */

/* One of n jobs that a thread took at once. A wrong password waits for its time (pace.h). */
static void judge(struct call *call, enum err e, uint64_t ns, uint64_t begin_ns, unsigned n)
{
    if (call->hash_ns == 0)
        call->hash_ns = ns;
    if (e != OK) {
        answer_fault(call, e, "password hash");
        flow_end(call);
        return;
    }
    enum flow verdict = flow_step(call)->hash_end(call);
    if (call->verify == VERIFY_FAIL && !WITHOUT("pace") &&
        pace_hold(call->service->pace, &call->http->job, begin_ns, n))
        return;
    flow_go_on(call, verdict);
}

static void run_pair(struct service *service, struct hash_thread *thread, struct call *a,
                     struct call *b)
{
    uint64_t begin = clock_mono_ns();
    enum err e = argon2id_hash_pair(thread->arena, a->hash_job, b->hash_job);
    uint64_t ns = clock_mono_ns() - begin;
    pace_record(service->pace, &a->hash_job->params, 2, ns);
    judge(a, e, ns, begin, 2);
    judge(b, e, ns, begin, 2);
}

static enum err hash_one(struct hash_thread *thread, const struct argon2_job *job)
{
    return job->params.memory_kib <= thread->memory_kib ? argon2id_hash(thread->arena, job)
                                                        : hash_dearer(job);
}

static void run_singles(struct service *service, struct hash_thread *thread, struct lane_job **jobs,
                        unsigned n)
{
    uint64_t all_begin = clock_mono_ns();
    for (unsigned i = 0; i < n; i++) {
        struct call *call = flow_call(jobs[i]);
        const struct argon2_job *job = call->hash_job;
        uint64_t begin = clock_mono_ns();
        enum err e = hash_one(thread, job);
        uint64_t ns = clock_mono_ns() - begin;
        pace_record(service->pace, &job->params, 1, ns);
        judge(call, e, ns, all_begin, n);
    }
}

static bool can_pair(const struct hash_thread *thread, const struct call *a, const struct call *b)
{
    return thread->slots == 2 && a->hash_job->params.memory_kib <= thread->memory_kib &&
           argon2_same_params(&a->hash_job->params, &b->hash_job->params);
}

/* ---- how long the dearest stored hash takes ---- */

/* One, or a pair; 0 on failure. */
static uint64_t time_hash(struct hash_thread *thread, const struct argon2_params *params, bool pair)
{
    uint8_t salt[PASSWORD_SALT_LEN] = {0}, tag[2][PASSWORD_TAG_LEN];
    struct argon2_job job = {.params = *params,
                             .salt = salt,
                             .salt_len = sizeof salt,
                             .tag = tag[0],
                             .tag_len = sizeof tag[0]};
    struct argon2_job other = job;
    other.tag = tag[1];
    uint64_t begin = clock_mono_ns();
    enum err e = pair ? argon2id_hash_pair(thread->arena, &job, &other) : hash_one(thread, &job);
    return e == OK ? clock_mono_ns() - begin : 0;
}

static void measure_if_wanted(struct service *service, struct hash_thread *thread)
{
    const struct argon2_params *usual = &service->config.password->params;
    struct argon2_params dearest;
    if (!pace_wants_measure(service->pace, &dearest))
        return;
    uint64_t alone = time_hash(thread, usual, false);
    uint64_t each = thread->slots == 2 ? time_hash(thread, usual, true) / 2 : alone;
    uint64_t longest = time_hash(thread, &dearest, false);
    if (alone == 0 || each == 0 || longest == 0)
        return; /* for want of memory: the guess stays */
    pace_record(service->pace, usual, 1, alone);
    pace_measured(service->pace, longest, alone, each);
}

/* ---- the lane's callbacks ---- */

/* What cannot be committed is not hashed. */
static void refuse_all(struct lane_job **jobs, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        answer_unavailable(flow_call(jobs[i]), "the database is down");
        flow_end(flow_call(jobs[i]));
    }
}

static void hash_run(void *arg, void *context, struct lane_job **jobs, unsigned n)
{
    struct service *service = arg;
    if (!store_is_up(service->config.store)) {
        refuse_all(jobs, n);
        return;
    }
    measure_if_wanted(service, context);
    if (n == 2 && can_pair(context, flow_call(jobs[0]), flow_call(jobs[1])))
        run_pair(service, context, flow_call(jobs[0]), flow_call(jobs[1]));
    else
        run_singles(service, context, jobs, n);
}

static void pace_due(struct lane_job *job)
{
    flow_go_on(flow_call(job), FLOW_DONE);
}

/* ---- opening ---- */

/* One thread for each permit as long as there are cores for them; then two permits to a thread,
 * which hashes them as a pair. */
enum err flow_hash_open(struct service *service)
{
    urgent_set_cores(service->config.cores);
    TRY(pace_open(&service->config.password->params, pace_due, &service->pace));
    unsigned permits = service->config.hash_permits;
    unsigned threads = permits < service->config.cores ? permits : service->config.cores;
    service->hash_threads = threads > (permits + 1) / 2 ? threads : (permits + 1) / 2;
    struct lane_config config = {
        .name = "hash",
        .first_guess_ns = hash_guess_ns(&service->config.password->params),
        .threads = service->hash_threads,
        .batch = 2,
        .capacity = LANE_CAPACITY,
        .flows = HASH_FLOWS,
        .background = true,
        .arg = service,
        .thread_open = hash_open,
        .open_failed = flow_hash_release,
        .thread_close = hash_close,
        .run = hash_run,
        .drop = flow_drop,
        .gone = flow_gone,
        .idle = hash_idle,
    };
    return lane_open(&config, &service->lanes[LANE_HASH]);
}
