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

#include "store/store.h"

#define REFUNDS_MAX 4096

struct refunds;

MUST_USE enum err refunds_open(struct refunds **out);
void refunds_close(struct refunds *refunds);

/* store_login_refund. If it may have been done and nobody knows, the refund goes by the attempt's
 * name from then on: however often it is tried again, the attempt is given back once. */
MUST_USE enum err refunds_try(struct store_conn *conn, struct store_refund *refund);

void refunds_keep(struct refunds *refunds, const struct store_refund *refund);

/* Gives back all that is kept, until the database fails again. What nobody knows of stays for a few
 * times more: a server that was frozen may still be about to run the statement. */
void refunds_settle(struct refunds *refunds, struct store_conn *conn);

#endif
