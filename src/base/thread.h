/*
 * thread.h: how the kernel is to treat a thread.
 */
#ifndef WW_BASE_THREAD_H
#define WW_BASE_THREAD_H

/* For work that nobody waits for, or that takes long anyway: the calling thread, and those it
 * starts from here on, give way to all others of the machine. It gets a nice value that is higher
 * by 10 and, from Linux 6.12 on, the longest turns there are: the scheduler lets whoever wakes and
 * wants a shorter one interrupt it at once, instead of at the end of its turn. Without system call
 * filters that forbid it; where the kernel refuses, the thread stays as it is. */
void thread_make_background(void);

#endif
