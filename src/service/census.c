#include "service/census.h"

#include <pthread.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/thread.h"

#define INTERVAL_MS (60 * 60 * 1000)
#define AGAIN_MS (10 * 1000) /* after a count that failed */
#define PAUSE_NS (10 * NS_PER_MS)

struct census {
    struct store_conn *conn;
    const struct password_policy *policy;
    struct pace *pace;
    pthread_t thread;
    pthread_mutex_t lock; /* for the three below */
    pthread_cond_t wake;
    bool counted;
    struct census_figures figures;
    atomic_bool closing;
    bool running;
};

static void cleanup_page(struct store_hash_page **page)
{
    free(*page);
}

static void count_one(struct census_figures *figures, const struct password_policy *policy,
                      const char *stored)
{
    struct argon2_params params = policy->params;
    figures->count[password_standing(policy, stored, &params)]++;
    if (argon2_same_params(&params, &policy->params))
        return;
    if (!figures->mixed)
        figures->dearest = params;
    argon2_raise(&figures->dearest, &params);
    figures->mixed = true;
}

enum err census_count(struct store_conn *conn, const struct password_policy *policy,
                      uint64_t pause_ns, const atomic_bool *stop, struct census_figures *out)
{
    struct census_figures figures = {0};
    struct store_hash_page *page CLEANUP(cleanup_page) = calloc(1, sizeof *page);
    if (page == NULL)
        return ERR_INTERNAL;
    do {
        if (stop != NULL && atomic_load(stop))
            return ERR_BUSY;
        TRY(store_read_hashes(conn, page));
        for (size_t i = 0; i < page->count; i++)
            count_one(&figures, policy, page->hashes[i]);
        if (pause_ns > 0)
            clock_sleep_ns(pause_ns);
    } while (page->count == STORE_HASH_PAGE);
    *out = figures;
    return OK;
}

static void keep(struct census *census, const struct census_figures *figures)
{
    uint64_t lost = figures->count[PASSWORD_UNKNOWN_PEPPER];
    struct log_line line;
    pace_set(census->pace, figures->mixed ? &figures->dearest : NULL);
    pthread_mutex_lock(&census->lock);
    census->figures = *figures;
    census->counted = true;
    pthread_mutex_unlock(&census->lock);
    if (lost == 0)
        return;
    log_begin(&line, LOG_ERROR, "password.pepper_missing",
              "PASSWORD_PEPPER lacks a key that stored passwords need; their owners cannot log in");
    log_i64(&line, "passwords", (int64_t)lost);
    log_end(&line);
}

static void *count_now_and_then(void *arg)
{
    struct census *census = arg;
    pthread_setname_np(pthread_self(), "census");
    thread_make_background();
    while (!atomic_load(&census->closing)) {
        struct census_figures figures;
        bool ok =
            census_count(census->conn, census->policy, PAUSE_NS, &census->closing, &figures) == OK;
        if (ok)
            keep(census, &figures);
        struct timespec next;
        clock_gettime(CLOCK_MONOTONIC, &next);
        next.tv_sec += (ok ? INTERVAL_MS : AGAIN_MS) / 1000;
        pthread_mutex_lock(&census->lock);
        while (!atomic_load(&census->closing) &&
               pthread_cond_timedwait(&census->wake, &census->lock, &next) == 0)
            continue;
        pthread_mutex_unlock(&census->lock);
    }
    return NULL;
}

enum err census_open(struct store *store, const struct password_policy *policy, struct pace *pace,
                     struct census **out)
{
    struct census *census = calloc(1, sizeof *census);
    if (census == NULL)
        return ERR_INTERNAL;
    census->policy = policy;
    census->pace = pace;
    clock_cond_init(&census->wake);
    pthread_mutex_init(&census->lock, NULL);
    enum err e = store_conn_open(store, &census->conn);
    if (e == OK) {
        census->running = pthread_create(&census->thread, NULL, count_now_and_then, census) == 0;
        e = census->running ? OK : ERR_INTERNAL;
    }
    if (e != OK) {
        census_close(census);
        return e;
    }
    *out = census;
    return OK;
}

void census_close(struct census *census)
{
    if (census == NULL)
        return;
    pthread_mutex_lock(&census->lock);
    atomic_store(&census->closing, true);
    pthread_cond_signal(&census->wake);
    pthread_mutex_unlock(&census->lock);
    if (census->running)
        pthread_join(census->thread, NULL);
    store_conn_close(census->conn);
    pthread_cond_destroy(&census->wake);
    pthread_mutex_destroy(&census->lock);
    free(census);
}

bool census_read(struct census *census, struct census_figures *out)
{
    pthread_mutex_lock(&census->lock);
    bool counted = census->counted;
    if (counted)
        *out = census->figures;
    pthread_mutex_unlock(&census->lock);
    return counted;
}
