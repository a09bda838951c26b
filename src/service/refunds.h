/*
 * refunds.h: login attempts that are to be given back once the database answers again.
 *
 * An attempt counts as failed from its reservation on (store_login_begin). If the database goes
 * away before the attempt could be judged or settled, no user is to pay for that: what cannot be
 * refunded now is kept here, and the probe settles it. A process that dies first leaves the
 * attempts counted, and so does a list that is full: the safe side. Any thread may call.
 */
#ifndef WW_SERVICE_REFUNDS_H
#define WW_SERVICE_REFUNDS_H

#include "auth/identity.h"
#include "store/store.h"

#define REFUNDS_MAX 4096

struct refund {
    struct uuid tenant_id;
    uint8_t identity[IDENTITY_DIGEST_LEN];
    int64_t window_started_at; /* of store_login_begin */
};

struct refunds;

/* threshold: failures that lock. */
MUST_USE enum err refunds_open(unsigned threshold, struct refunds **out);
void refunds_close(struct refunds *refunds);

void refunds_keep(struct refunds *refunds, const struct refund *refund);

/* Gives back all that is kept, until the database fails again. */
void refunds_settle(struct refunds *refunds, struct store_conn *conn);

#endif
