#include "net/http_deadline.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "base/clock.h"

struct watched {
    struct watched *next, **link;
    struct http_deadlines *owner;
    int socket;
    atomic_uint_fast64_t end_ns; /* 0: none */
    const char *target_end;
};

struct http_deadlines {
    uint64_t request_ns;
    uint64_t idle_ns; /* and then the time for a request line, which nobody sees begin */
    pthread_t thread;
    pthread_mutex_t lock; /* of the list, and of closing */
    pthread_cond_t wake;
    struct watched *first;
    bool closing;
    bool running;
};

static void check_all(struct http_deadlines *d)
{
    uint64_t now = clock_mono_ns();
    for (struct watched *w = d->first; w != NULL; w = w->next) {
        uint64_t end = atomic_load_explicit(&w->end_ns, memory_order_relaxed);
        if (end != 0 && now > end)
            shutdown(w->socket, SHUT_RDWR);
    }
}

static void *watch(void *arg)
{
    struct http_deadlines *d = arg;
    pthread_setname_np(pthread_self(), "deadlines");
    pthread_mutex_lock(&d->lock);
    while (!d->closing) {
        struct timespec next;
        clock_gettime(CLOCK_MONOTONIC, &next);
        next.tv_sec++;
        pthread_cond_timedwait(&d->wake, &d->lock, &next);
        check_all(d);
    }
    pthread_mutex_unlock(&d->lock);
    return NULL;
}

enum err http_deadlines_open(unsigned idle_seconds, unsigned request_seconds,
                             struct http_deadlines **out)
{
    struct http_deadlines *d = calloc(1, sizeof *d);
    if (d == NULL)
        return ERR_INTERNAL;
    d->request_ns = request_seconds * NS_PER_SECOND;
    d->idle_ns = (idle_seconds + request_seconds) * NS_PER_SECOND;
    pthread_mutex_init(&d->lock, NULL);
    clock_cond_init(&d->wake);
    d->running = pthread_create(&d->thread, NULL, watch, d) == 0;
    if (!d->running) {
        http_deadlines_close(d);
        return ERR_INTERNAL;
    }
    *out = d;
    return OK;
}

void http_deadlines_close(struct http_deadlines *d)
{
    if (d == NULL)
        return;
    pthread_mutex_lock(&d->lock);
    d->closing = true;
    pthread_cond_signal(&d->wake);
    pthread_mutex_unlock(&d->lock);
    if (d->running)
        pthread_join(d->thread, NULL);
    pthread_cond_destroy(&d->wake);
    pthread_mutex_destroy(&d->lock);
    free(d);
}

static void add(struct http_deadlines *d, struct MHD_Connection *connection, void **context)
{
    struct watched *w = calloc(1, sizeof *w);
    if (w == NULL)
        return; /* the inactivity timeout still holds */
    w->owner = d;
    /* A new connection has the time of one request: the first should be on its way already. */
    atomic_store_explicit(&w->end_ns, clock_mono_ns() + d->request_ns, memory_order_relaxed);
    w->socket = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
    pthread_mutex_lock(&d->lock);
    w->next = d->first;
    w->link = &d->first;
    if (w->next != NULL)
        w->next->link = &w->next;
    d->first = w;
    pthread_mutex_unlock(&d->lock);
    *context = w;
}

/* Called before the socket is closed, so the watch never touches a reused descriptor. */
static void drop(struct http_deadlines *d, void **context)
{
    struct watched *w = *context;
    if (w == NULL)
        return;
    pthread_mutex_lock(&d->lock);
    *w->link = w->next;
    if (w->next != NULL)
        w->next->link = w->link;
    pthread_mutex_unlock(&d->lock);
    free(w);
    *context = NULL;
}

void http_deadline_connection(void *deadlines, struct MHD_Connection *connection,
                              void **socket_context, enum MHD_ConnectionNotificationCode code)
{
    if (code == MHD_CONNECTION_NOTIFY_STARTED)
        add(deadlines, connection, socket_context);
    else
        drop(deadlines, socket_context);
}

static struct watched *watched_of(struct MHD_Connection *connection)
{
    return MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT)->socket_context;
}

/* 0: no end. */
static void set_end(struct watched *w, uint64_t in_ns)
{
    if (w != NULL)
        atomic_store_explicit(&w->end_ns, in_ns > 0 ? clock_mono_ns() + in_ns : 0,
                              memory_order_relaxed);
}

void http_deadline_reading(struct MHD_Connection *connection, const char *target_end)
{
    struct watched *w = watched_of(connection);
    if (w == NULL)
        return;
    w->target_end = target_end;
    set_end(w, w->owner->request_ns);
}

const char *http_deadline_target_end(struct MHD_Connection *connection)
{
    const struct watched *w = watched_of(connection);
    return w != NULL ? w->target_end : NULL;
}

void http_deadline_busy(struct MHD_Connection *connection)
{
    set_end(watched_of(connection), 0);
}

void http_deadline_writing(struct MHD_Connection *connection)
{
    struct watched *w = watched_of(connection);
    if (w != NULL)
        set_end(w, w->owner->request_ns);
}

void http_deadline_idle(struct MHD_Connection *connection)
{
    struct watched *w = watched_of(connection);
    if (w != NULL)
        set_end(w, w->owner->idle_ns);
}
