/*
 * gate.h: how many attempts on one identity are under way at once.
 *
 * A reserved attempt counts as failed until it is judged (store_login_begin). Were all of a burst
 * reserved together, a user's own thirty parallel logins would look like thirty failures and lock
 * the account. So no more than a few pass at once, fewer than would lock; the rest wait here, in
 * order, and each that leaves lets the next one in. Guesses wait in the same line, and find the
 * lock when their turn comes. Identities share places by hash: two that meet wait for each other.
 *
 * Any thread may call.
 */
#ifndef WW_SERVICE_GATE_H
#define WW_SERVICE_GATE_H

#include <stdbool.h>
#include <stdint.h>

#include "net/lane.h"

struct gate;

enum gate_verdict {
    GATE_PASSED, /* go on, and leave in the end */
    GATE_WAITS,  /* given away: some gate_leave hands it out */
    GATE_FULL,   /* too many wait already */
};

/* width: how many pass at once, 1 or more. */
MUST_USE enum err gate_open(unsigned width, struct gate **out);
void gate_close(struct gate *gate);

enum gate_verdict gate_enter(struct gate *gate, uint32_t key, struct lane_job *job);
/* What passed with that key is done: the job whose turn it is, which has passed now, or NULL. */
struct lane_job *gate_leave(struct gate *gate, uint32_t key);

#endif
