/* probe.c: one thread that asks the database how it is, so that no request has to find out. */
#include <pthread.h>

#include "base/clock.h"
#include "service/call.h"

#define INTERVAL_UP_MS 1000
#define INTERVAL_DOWN_MS 200

struct probe {
    struct store *store;
    struct store_conn *conn;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool closing;
    bool running;
    bool doubted;
    struct refunds *refunds;
    enum err state;     /* of the last look; ERR_KINDS before the first */
    atomic_bool usable; /* reachable and migrated */
};

static void tell(struct probe *probe, enum err e)
{
    if (e == probe->state)
        return;
    if (e == OK && probe->state != ERR_KINDS)
        log_note(LOG_INFO, "database.up", "the database answers again", NULL);
    else if (e == ERR_CONFLICT)
        log_note(LOG_ERROR, "database.version",
                 "the database is not at this program's version: the older of the two needs an "
                 "upgrade, or watchword migrate",
                 NULL);
    else if (e != OK)
        log_note(LOG_ERROR, "database.down", "the database cannot be reached", store_last_error());
    probe->state = e;
}

static void look(struct probe *probe)
{
    enum err e = store_probe(probe->conn);
    tell(probe, e);
    if (e == OK) /* before anyone hears that it is up */
        refunds_settle(probe->refunds, probe->conn);
    atomic_store(&probe->usable, e == OK);
}

static void wait_for_next(struct probe *probe)
{
    bool up = atomic_load(&probe->usable) && store_is_up(probe->store);
    uint64_t ms = up ? INTERVAL_UP_MS : INTERVAL_DOWN_MS;
    struct timespec next;
    clock_gettime(CLOCK_MONOTONIC, &next);
    uint64_t ns = (uint64_t)next.tv_nsec + ms * NS_PER_MS;
    next.tv_sec += (time_t)(ns / NS_PER_SECOND);
    next.tv_nsec = (long)(ns % NS_PER_SECOND);
    while (!probe->closing && !probe->doubted &&
           pthread_cond_timedwait(&probe->wake, &probe->lock, &next) == 0)
        ;
    probe->doubted = false;
}

static void *watch(void *arg)
{
    struct probe *probe = arg;
    pthread_setname_np(pthread_self(), "probe");
    pthread_mutex_lock(&probe->lock);
    while (!probe->closing) {
        wait_for_next(probe);
        if (probe->closing)
            break;
        pthread_mutex_unlock(&probe->lock);
        look(probe);
        pthread_mutex_lock(&probe->lock);
    }
    pthread_mutex_unlock(&probe->lock);
    return NULL;
}

enum err probe_open(struct service *service, struct probe **out)
{
    struct probe *probe = calloc(1, sizeof *probe);
    if (probe == NULL)
        return ERR_INTERNAL;
    probe->store = service->config.store;
    probe->refunds = service->refunds;
    probe->state = ERR_KINDS;
    pthread_mutex_init(&probe->lock, NULL);
    clock_cond_init(&probe->wake);
    enum err e = store_conn_open(probe->store, &probe->conn);
    if (e == OK) {
        look(probe); /* once before anyone asks */
        probe->running = pthread_create(&probe->thread, NULL, watch, probe) == 0;
        e = probe->running ? OK : ERR_INTERNAL;
    }
    if (e != OK) {
        probe_close(probe);
        return e;
    }
    *out = probe;
    return OK;
}

void probe_close(struct probe *probe)
{
    if (probe == NULL)
        return;
    pthread_mutex_lock(&probe->lock);
    probe->closing = true;
    pthread_cond_signal(&probe->wake);
    pthread_mutex_unlock(&probe->lock);
    if (probe->running)
        pthread_join(probe->thread, NULL);
    store_conn_close(probe->conn);
    pthread_cond_destroy(&probe->wake);
    pthread_mutex_destroy(&probe->lock);
    free(probe);
}

void probe_doubt(struct probe *probe)
{
    pthread_mutex_lock(&probe->lock);
    probe->doubted = true;
    pthread_cond_signal(&probe->wake);
    pthread_mutex_unlock(&probe->lock);
}

bool probe_ready(const struct probe *probe)
{
    return atomic_load(&probe->usable) && store_is_up(probe->store);
}
