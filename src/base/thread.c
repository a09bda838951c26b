#include "base/thread.h"

#include <sched.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clock.h"

#define NICE_MORE 10
#define TURN_MS 100 /* the most that the kernel takes */

/* As sched_setattr(2) has it; the C library of Debian 12 does not. */
struct attributes {
    uint32_t size, policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime_ns; /* for SCHED_OTHER: the length of a turn */
    uint64_t deadline_ns, period_ns;
};

void thread_make_background(void)
{
    id_t tid = (id_t)syscall(SYS_gettid); /* on Linux a thread has a nice value of its own */
    int nice = getpriority(PRIO_PROCESS, tid) + NICE_MORE;
    struct attributes wanted = {.size = sizeof wanted,
                                .policy = SCHED_OTHER,
                                .nice = nice,
                                .runtime_ns = TURN_MS * NS_PER_MS};
    (void)setpriority(PRIO_PROCESS, tid, nice);
    (void)syscall(SYS_sched_setattr, tid, &wanted, 0);
}
