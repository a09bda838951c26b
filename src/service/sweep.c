/*
 * sweep.c: the thread that takes away what nobody needs any more (store.h, "the sweep").
 *
 * It walks whole tables, some rows at a time, and sleeps ten times as long as each step took:
 * whatever the database's size, a sweep has a tenth of one connection. One instance sweeps at a
 * time, once an hour. What it counts on its way is the number of live sessions.
 */
#include <pthread.h>

#include "base/clock.h"
#include "base/thread.h"
#include "service/call.h"

#define PERIOD_MS INT64_C(3600000)
/* How often each instance asks whether a sweep is due. */
#define ASK_MS 2000
/* Of an instance that died in the middle, another takes over after this. */
#define LEASE_MS INT64_C(60000)
#define KEEP_NS (15 * NS_PER_SECOND)

/* How far the database's clock may stray from the course of time. */
#define STRAY_MAX_MS INT64_C(3600000)

#define REST_FACTOR 10
#define REST_MIN_MS 2
#define REST_MAX_MS 1000

struct sweep {
    struct store *store;
    struct store_conn *conn;
    struct store_sweep_rules rules;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool closing, running;
    int64_t first_now; /* the database's clock at the first look, and this machine's */
    uint64_t first_boot_ns;
    bool strayed;
    atomic_uint_fast64_t totals[SWEPT_KINDS];
    atomic_uint_fast64_t live_sessions;
};

/* ---- the thread's sleep ---- */

/* False: it is time to end. */
static bool rest(struct sweep *sweep, uint64_t ms)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    uint64_t ns = (uint64_t)until.tv_nsec + ms * NS_PER_MS;
    until.tv_sec += (time_t)(ns / NS_PER_SECOND);
    until.tv_nsec = (long)(ns % NS_PER_SECOND);
    pthread_mutex_lock(&sweep->lock);
    while (!sweep->closing && pthread_cond_timedwait(&sweep->wake, &sweep->lock, &until) == 0)
        ;
    bool go_on = !sweep->closing;
    pthread_mutex_unlock(&sweep->lock);
    return go_on;
}

static bool rest_after(struct sweep *sweep, uint64_t step_ns)
{
    uint64_t ms = step_ns * REST_FACTOR / NS_PER_MS;
    return rest(sweep, ms < REST_MIN_MS ? REST_MIN_MS : ms > REST_MAX_MS ? REST_MAX_MS : ms);
}

/* ---- one sweep ---- */

struct walk {
    struct store_swept found; /* all together */
    uint64_t kept_at_ns;
};

static void count(struct sweep *sweep, struct walk *walk, enum store_sweep what,
                  const struct store_swept *step)
{
    walk->found.deleted += step->deleted;
    walk->found.erased += step->erased;
    walk->found.live += step->live;
    atomic_fetch_add(&sweep->totals[what], step->deleted);
    atomic_fetch_add(&sweep->totals[SWEPT_CLIENT_DATA], step->erased);
}

static enum err keep_turn(struct sweep *sweep, struct walk *walk)
{
    uint64_t now = clock_mono_ns();
    if (now < walk->kept_at_ns + KEEP_NS)
        return OK;
    walk->kept_at_ns = now;
    return store_sweep_keep(sweep->conn, LEASE_MS);
}

/* ERR_BUSY: it is time to end. */
static enum err walk_table(struct sweep *sweep, struct walk *walk, enum store_sweep what)
{
    struct store_sweep_place place = {0};
    while (!place.end) {
        struct store_swept step = {0};
        uint64_t begin = clock_mono_ns();
        TRY(store_sweep_step(sweep->conn, what, &sweep->rules, &place, &step));
        count(sweep, walk, what, &step);
        if (!rest_after(sweep, clock_mono_ns() - begin))
            return ERR_BUSY;
        TRY(keep_turn(sweep, walk));
    }
    return OK;
}

static void tell(const struct walk *walk)
{
    struct log_line line;
    if (walk->found.deleted + walk->found.erased == 0 || !log_wants(LOG_INFO))
        return;
    log_begin(&line, LOG_INFO, "sweep.done", "what had expired is gone");
    log_i64(&line, "deleted", (int64_t)walk->found.deleted);
    log_i64(&line, "client_data_erased", (int64_t)walk->found.erased);
    log_i64(&line, "live_sessions", (int64_t)walk->found.live);
    log_end(&line);
}

static enum err walk_all(struct sweep *sweep)
{
    struct walk walk = {.kept_at_ns = clock_mono_ns()};
    for (unsigned what = 0; what < STORE_SWEEPS; what++)
        TRY(walk_table(sweep, &walk, (enum store_sweep)what));
    TRY(store_sweep_end(sweep->conn, PERIOD_MS, walk.found.live));
    atomic_store(&sweep->live_sessions, walk.found.live);
    tell(&walk);
    return OK;
}

/* A clock that has jumped ahead shows sessions as expired that are not. They are refused as long as
 * it is wrong; deleted they would be lost for good. */
static bool clock_is_sane(struct sweep *sweep, int64_t now)
{
    uint64_t boot = clock_boot_ns();
    if (sweep->first_boot_ns == 0) {
        sweep->first_now = now;
        sweep->first_boot_ns = boot;
    }
    int64_t passed = (int64_t)((boot - sweep->first_boot_ns) / NS_PER_MS);
    int64_t stray = now - sweep->first_now - passed;
    bool strayed = stray > STRAY_MAX_MS || stray < -STRAY_MAX_MS;
    if (strayed && !sweep->strayed)
        log_note(
            LOG_ERROR, "sweep.clock",
            "the database's clock has jumped: nothing is deleted until it is right, or restart",
            NULL);
    sweep->strayed = strayed;
    return !strayed;
}

/* What fails here is nobody's loss: the turn lapses, and somebody sweeps again. */
static void look(struct sweep *sweep)
{
    struct store_sweep_turn turn = {0};
    if (!store_is_up(sweep->store) || store_sweep_begin(sweep->conn, LEASE_MS, &turn) != OK)
        return;
    atomic_store(&sweep->live_sessions, turn.live_sessions);
    sweep->rules.now = turn.now; /* whatever happens to the clock while it walks */
    if (!clock_is_sane(sweep, turn.now) || !turn.ours)
        return;
    enum err e = walk_all(sweep);
    if (e != OK && e != ERR_BUSY)
        log_note(LOG_ERROR, "sweep.failed", "expired rows stay for now", store_last_error());
}

static void *sweep_main(void *arg)
{
    struct sweep *sweep = arg;
    pthread_setname_np(pthread_self(), "sweep");
    thread_make_background();
    while (rest(sweep, ASK_MS))
        look(sweep);
    return NULL;
}

/* ---- opening ---- */

enum err sweep_open(struct service *service, struct sweep **out)
{
    struct sweep *sweep = calloc(1, sizeof *sweep);
    if (sweep == NULL)
        return ERR_INTERNAL;
    sweep->store = service->config.store;
    sweep->rules = (struct store_sweep_rules){
        .session_ms = service->config.settings.session_retention_ms,
        .client_data_ms = service->config.settings.client_data_retention_ms};
    pthread_mutex_init(&sweep->lock, NULL);
    clock_cond_init(&sweep->wake);
    enum err e = store_conn_open(sweep->store, &sweep->conn);
    if (e == OK) {
        sweep->running = pthread_create(&sweep->thread, NULL, sweep_main, sweep) == 0;
        e = sweep->running ? OK : ERR_INTERNAL;
    }
    if (e != OK) {
        sweep_close(sweep);
        return e;
    }
    *out = sweep;
    return OK;
}

void sweep_close(struct sweep *sweep)
{
    if (sweep == NULL)
        return;
    pthread_mutex_lock(&sweep->lock);
    sweep->closing = true;
    pthread_cond_signal(&sweep->wake);
    pthread_mutex_unlock(&sweep->lock);
    if (sweep->running)
        pthread_join(sweep->thread, NULL);
    store_conn_close(sweep->conn);
    pthread_cond_destroy(&sweep->wake);
    pthread_mutex_destroy(&sweep->lock);
    free(sweep);
}

uint64_t sweep_total(struct sweep *sweep, enum swept_kind kind)
{
    return atomic_load(&sweep->totals[kind]);
}

uint64_t sweep_live_sessions(struct sweep *sweep)
{
    return atomic_load(&sweep->live_sessions);
}
