/*
 * limiter.h: rates per key, in memory of fixed size.
 *
 * GCRA (the leaky bucket as a meter): a key may have `burst` events at once and then one each
 * interval. Keys are stored as 96-bit keyed digests in a table that is allocated at the start and
 * never grows. When a key needs a place and its set of places is taken, the place of the key that
 * is closest to idle goes - but never one that is being refused right now, by its own limit. If all
 * of a set are, the new key passes uncounted: a limit may be missed under such an attack, but
 * nobody is locked out by it, and what matters most, failed logins, is counted in the database.
 *
 * Any thread may call.
 */
#ifndef WW_NET_LIMITER_H
#define WW_NET_LIMITER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct limiter;

/* Distinct kinds of key never meet, even with equal bytes. */
struct limit {
    uint32_t scope;
    uint64_t interval_ns; /* one event each; 0: no limit */
    uint32_t burst;       /* 1 or more */
};

/* places is rounded up to a power of two; each takes 24 bytes. */
MUST_USE enum err limiter_open(size_t places, struct limiter **out);
void limiter_close(struct limiter *limiter);

/* Counts one event of the key. ERR_LIMITED: over the limit, not counted, and *retry_after is the
 * time in whole seconds, rounded up, after which it would pass. */
MUST_USE enum err limiter_take(struct limiter *limiter, const struct limit *limit, const void *key,
                               size_t key_len, unsigned *retry_after);

/* The table's size in bytes. */
size_t limiter_bytes(const struct limiter *limiter);

#endif
