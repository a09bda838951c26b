/*
 * thread.h: how the kernel is to treat a thread.
 */
#ifndef WW_BASE_THREAD_H
#define WW_BASE_THREAD_H

#include <sched.h>

/* From Linux 6.12 on a thread can say how long its turns of a core are to be, and who wakes and has
 * shorter ones than who runs interrupts at once. Older kernels ignore that. What the kernel refuses
 * stays as it was; nothing depends on it but latency. */

/* For a service that many wait for: the calling thread, and the threads and processes it starts
 * from here on, take the shortest turns there are, of 0.1 ms. A policy that an operator has chosen
 * stays. */
void thread_make_prompt(void);

/* For work that takes long or that nobody waits for: the calling thread, and those it starts from
 * here on, give way to all others of the machine. Their nice value is higher by 10 and their turns
 * take 0.2 ms. */
void thread_make_background(void);

/* From background work, every few hundred microseconds: whoever waits for this core goes first. If
 * nobody does, it goes on at once; else it loses the rest of its turn. The scheduler by itself
 * would let others wait for its next tick, milliseconds later, if they had more than their share
 * of the core just before: one who has computed for 0.1 ms, slept and woken again. */
static inline void thread_give_way(void)
{
    (void)sched_yield();
}

#endif
