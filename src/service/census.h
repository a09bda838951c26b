/*
 * census.h: what the stored password hashes are made of, so that operators know when an old pepper
 * can go, and that wrong passwords can be answered as if there were but one kind (pace.h). One
 * thread of low priority reads them page by page, now and then; a scrape finds the figures of the
 * last whole count.
 */
#ifndef WW_SERVICE_CENSUS_H
#define WW_SERVICE_CENSUS_H

#include <stdatomic.h>

#include "auth/password.h"
#include "service/pace.h"
#include "store/store.h"

struct census_figures {
    uint64_t count[PASSWORD_STANDINGS];
    bool mixed;                   /* some that can be verified have other parameters */
    struct argon2_params dearest; /* no less than any of those (argon2_raise) */
};

/* Counts once. Pauses between pages for pause_ns, and gives up with ERR_BUSY when *stop (may be
 * NULL) becomes true. */
MUST_USE enum err census_count(struct store_conn *conn, const struct password_policy *policy,
                               uint64_t pause_ns, const atomic_bool *stop,
                               struct census_figures *out);

struct census;

/* Begins with a count at once. Store, policy and pace have to outlive it. */
MUST_USE enum err census_open(struct store *store, const struct password_policy *policy,
                              struct pace *pace, struct census **out);
void census_close(struct census *census);

/* False before the first whole count. Any thread. */
MUST_USE bool census_read(struct census *census, struct census_figures *out);

#endif
