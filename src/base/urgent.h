/*
 * urgent.h: short work that somebody waits for goes before long work, in the midst of it.
 *
 * A signature takes a millisecond of a core, a hash fifty or more, and hashing threads keep all
 * cores busy. Their low priority (base/thread.h) lets a signature interrupt them when it begins.
 * But it is itself interrupted, by whatever wakes on its core for a moment; by then it has had more
 * than its share of the time, and the scheduler goes on with the hash until that yields. Therefore
 * whoever computes for long looks every now and then whether something urgent is under way, and
 * sleeps until it is done: then there is nothing else on that core to go on with.
 *
 * Nobody sleeps while there are cores for all, nor more threads than there are urgent pieces of
 * work, and none for more than a third of the time that it had a core: who asks for nothing but
 * signatures cannot keep others from logging in. One account for the process; any thread may call.
 */
#ifndef WW_BASE_URGENT_H
#define WW_BASE_URGENT_H

#include <stdatomic.h>

/* How many cores there are. Called once, before there are threads; until then it is as if there
 * were none. */
void urgent_set_cores(unsigned cores);

/* Long work begins and ends in this thread, which calls urgent_let_pass in between. */
void urgent_long_begin(void);
void urgent_long_end(void);

/* A piece of urgent work begins and ends: some milliseconds that keep one core busy. */
void urgent_begin(void);
void urgent_end(void);

/* How many have begun and not ended. */
extern atomic_uint urgent_under_way;

/* urgent_let_pass, once there is something to be let past. */
void urgent_sleep(void);

/* From long work, every few ten microseconds: sleeps, up to 10 ms, while there is urgent work and
 * no core for it. */
static inline void urgent_let_pass(void)
{
    if (atomic_load_explicit(&urgent_under_way, memory_order_relaxed) > 0)
        urgent_sleep();
}

#endif
