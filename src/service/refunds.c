#include "service/refunds.h"

#include <pthread.h>

/* Looks for a reservation that nobody knows of; the probe comes by once a second. */
#define TRIES_MAX 4

struct kept {
    struct store_refund refund;
    unsigned tries;
};

struct refunds {
    pthread_mutex_t lock;
    unsigned count, room;
    struct kept *kept; /* grows by doubling up to REFUNDS_MAX; mostly there is none */
};

enum err refunds_open(struct refunds **out)
{
    struct refunds *refunds = calloc(1, sizeof *refunds);
    if (refunds == NULL)
        return ERR_INTERNAL;
    pthread_mutex_init(&refunds->lock, NULL);
    *out = refunds;
    return OK;
}

void refunds_close(struct refunds *refunds)
{
    if (refunds == NULL)
        return;
    pthread_mutex_destroy(&refunds->lock);
    free(refunds->kept);
    free(refunds);
}

/* Under the lock. */
static bool make_room(struct refunds *refunds)
{
    if (refunds->count < refunds->room)
        return true;
    unsigned room = refunds->room > 0 ? 2 * refunds->room : 64;
    if (room > REFUNDS_MAX)
        return false;
    struct kept *grown = realloc(refunds->kept, room * sizeof *grown);
    if (grown == NULL)
        return false;
    refunds->kept = grown;
    refunds->room = room;
    return true;
}

static void keep(struct refunds *refunds, const struct kept *kept)
{
    pthread_mutex_lock(&refunds->lock);
    if (make_room(refunds))
        refunds->kept[refunds->count++] = *kept;
    pthread_mutex_unlock(&refunds->lock);
}

/* Counting back by the window may be repeated at the cost of another's failure. The name is gone
 * with the refund; or with the next attempt, and then this one stays counted, the safe side. */
enum err refunds_try(struct store_conn *conn, struct store_refund *refund)
{
    enum err e = store_login_refund(conn, refund);
    if (e == ERR_UNAVAILABLE)
        refund->window_started_at = 0;
    return e;
}

void refunds_keep(struct refunds *refunds, const struct store_refund *refund)
{
    keep(refunds, &(struct kept){*refund, 0});
}

/* All of them; the list is empty then. */
static struct kept *take_all(struct refunds *refunds, unsigned *count)
{
    pthread_mutex_lock(&refunds->lock);
    struct kept *all = TAKE(refunds->kept);
    *count = refunds->count;
    refunds->count = refunds->room = 0;
    pthread_mutex_unlock(&refunds->lock);
    return all;
}

/* What is to be tried again, later. */
static bool stays(struct kept *kept, enum err e)
{
    if (e == ERR_NOT_FOUND && kept->refund.window_started_at == 0)
        return ++kept->tries < TRIES_MAX;
    return e == ERR_UNAVAILABLE || e == ERR_BUSY;
}

void refunds_settle(struct refunds *refunds, struct store_conn *conn)
{
    unsigned count = 0;
    struct kept *all CLEANUP(cleanup_free) = take_all(refunds, &count);
    enum err e = OK;
    for (unsigned i = 0; i < count; i++) {
        if (e != ERR_UNAVAILABLE)
            e = refunds_try(conn, &all[i].refund);
        if (stays(&all[i], e))
            keep(refunds, &all[i]);
    }
}
