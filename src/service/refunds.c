#include "service/refunds.h"

#include <pthread.h>
#include <stdlib.h>

struct refunds {
    pthread_mutex_t lock;
    unsigned threshold;
    unsigned count, room;
    struct refund *kept; /* grows by doubling up to REFUNDS_MAX; mostly there is none */
};

enum err refunds_open(unsigned threshold, struct refunds **out)
{
    struct refunds *refunds = calloc(1, sizeof *refunds);
    if (refunds == NULL)
        return ERR_INTERNAL;
    pthread_mutex_init(&refunds->lock, NULL);
    refunds->threshold = threshold;
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
    struct refund *grown = realloc(refunds->kept, room * sizeof *grown);
    if (grown == NULL)
        return false;
    refunds->kept = grown;
    refunds->room = room;
    return true;
}

void refunds_keep(struct refunds *refunds, const struct refund *refund)
{
    pthread_mutex_lock(&refunds->lock);
    if (make_room(refunds))
        refunds->kept[refunds->count++] = *refund;
    pthread_mutex_unlock(&refunds->lock);
}

/* True if there was one. */
static bool take(struct refunds *refunds, struct refund *out)
{
    pthread_mutex_lock(&refunds->lock);
    bool any = refunds->count > 0;
    if (any)
        *out = refunds->kept[--refunds->count];
    if (!any) { /* an outage is rare: its memory goes back */
        free(refunds->kept);
        refunds->kept = NULL;
        refunds->room = 0;
    }
    pthread_mutex_unlock(&refunds->lock);
    return any;
}

void refunds_settle(struct refunds *refunds, struct store_conn *conn)
{
    struct refund refund;
    while (take(refunds, &refund)) {
        enum err e = store_login_refund(conn, &refund.tenant_id, refund.identity,
                                        refund.window_started_at, refunds->threshold);
        if (e != OK) {
            refunds_keep(refunds, &refund);
            return;
        }
    }
}
