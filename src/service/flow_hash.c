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

static void hash_finish(struct call *call, enum err e, uint64_t ns)
{
    if (call->hash_ns == 0)
        call->hash_ns = ns;
    if (e != OK) {
        answer_fault(call, e, "password hash");
        flow_end(call);
        return;
    }
    flow_go_on(call, flow_step(call)->hash_end(call));
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

static bool fits(const struct hash_thread *thread, const struct call *call)
{
    return call->hash_job->params.memory_kib <= thread->memory_kib;
}

/* ---- the same time for every verification ---- */

static bool same_params(const struct argon2_params *a, const struct argon2_params *b)
{
    return a->memory_kib == b->memory_kib && a->iterations == b->iterations &&
           a->parallelism == b->parallelism;
}

static bool is_cheaper(const struct argon2_params *a, const struct argon2_params *b)
{
    return (uint64_t)a->memory_kib * a->iterations < (uint64_t)b->memory_kib * b->iterations;
}

/* The first of a process's verifications is a cheap one: a full hash shows how long those take. */
static void measure_full(struct service *service, struct hash_thread *thread)
{
    uint8_t salt[PASSWORD_SALT_LEN] = {0}, tag[PASSWORD_TAG_LEN];
    const struct argon2_job job = {.params = service->config.password->params,
                                   .salt = salt,
                                   .salt_len = sizeof salt,
                                   .tag = tag,
                                   .tag_len = sizeof tag};
    uint64_t begin = clock_mono_ns();
    if (argon2id_hash(thread->arena, &job) == OK)
        pace_record(&service->pace, clock_mono_ns() - begin);
}

static void keep_pace(struct service *service, struct hash_thread *thread,
                      const struct argon2_params *params, uint64_t begin_ns)
{
    const struct argon2_params *full = &service->config.password->params;
    if (same_params(params, full))
        pace_record(&service->pace, clock_mono_ns() - begin_ns);
    else if (is_cheaper(params, full) && !WITHOUT("pace") && !pace_wait(&service->pace, begin_ns))
        measure_full(service, thread);
}

/* ---- running ---- */

static void run_pair(struct service *service, struct hash_thread *thread, struct call *a,
                     struct call *b)
{
    uint64_t begin = clock_mono_ns();
    enum err e = argon2id_hash_pair(thread->arena, a->hash_job, b->hash_job);
    uint64_t ns = clock_mono_ns() - begin;
    keep_pace(service, thread, &a->hash_job->params, begin);
    hash_finish(a, e, ns);
    hash_finish(b, e, ns);
}

static void run_single(struct service *service, struct hash_thread *thread, struct call *call)
{
    uint64_t begin = clock_mono_ns();
    enum err e = fits(thread, call) ? argon2id_hash(thread->arena, call->hash_job)
                                    : hash_dearer(call->hash_job);
    uint64_t ns = clock_mono_ns() - begin;
    keep_pace(service, thread, &call->hash_job->params, begin);
    hash_finish(call, e, ns);
}

static bool can_pair(const struct hash_thread *thread, const struct call *a, const struct call *b)
{
    return thread->slots == 2 && fits(thread, a) &&
           same_params(&a->hash_job->params, &b->hash_job->params);
}

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
    const struct service *service = arg;
    if (!store_is_up(service->config.store)) {
        refuse_all(jobs, n);
        return;
    }
    struct call *a = flow_call(jobs[0]), *b = n == 2 ? flow_call(jobs[1]) : NULL;
    if (b != NULL && can_pair(context, a, b)) {
        run_pair(arg, context, a, b);
        return;
    }
    run_single(arg, context, a);
    if (b != NULL)
        run_single(arg, context, b);
}

/* ---- opening ---- */

/* One thread for each permit as long as there are cores for them; then two permits to a thread,
 * which hashes them as a pair. */
enum err flow_hash_open(struct service *service)
{
    urgent_set_cores(service->config.cores);
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
