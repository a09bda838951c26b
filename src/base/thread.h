/*
 * thread.h: how the kernel is to treat a thread.
 */
#ifndef WW_BASE_THREAD_H
#define WW_BASE_THREAD_H

/* For work that takes long or that nobody waits for: the calling thread, and those it starts from
 * here on, give way to all others of the machine. Their nice value is higher by 10. From Linux 6.12
 * on they also have the longest turns there are: the scheduler then lets whoever wakes and wants a
 * shorter one interrupt at once, instead of at the end of the turn. What the kernel refuses stays
 * as it was; nothing depends on it but latency. */
void thread_make_background(void);

#endif
