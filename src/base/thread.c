#include "base/thread.h"

#include <linux/sched.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clock.h"

#define NICE_MORE 10
/* The least that the kernel takes, and what is longer: its rest is lost by giving way. */
#define PROMPT_TURN_NS (NS_PER_MS / 10)
#define BACKGROUND_TURN_NS (NS_PER_MS / 5)

/* As sched_setattr(2) has it; the C library of Debian 12 does not. */
struct attributes {
    uint32_t size, policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime_ns; /* for SCHED_OTHER: the length of a turn */
    uint64_t deadline_ns, period_ns;
};

/* The kernel refuses a turn to a policy that has none, real-time ones. */
static void set(uint64_t flags, int nice, uint64_t turn_ns)
{
    struct attributes wanted = {.size = sizeof wanted,
                                .policy = SCHED_OTHER,
                                .flags = flags,
                                .nice = nice,
                                .runtime_ns = turn_ns};
    (void)syscall(SYS_sched_setattr, 0, &wanted, 0);
}

/* On Linux a thread has a nice value of its own, and 0 is the one that calls. */
static int own_nice(void)
{
    return getpriority(PRIO_PROCESS, 0);
}

void thread_make_prompt(void)
{
    set(SCHED_FLAG_KEEP_POLICY, own_nice(), PROMPT_TURN_NS);
}

void thread_make_background(void)
{
    int nice = own_nice() + NICE_MORE;
    (void)setpriority(PRIO_PROCESS, 0, nice);
    set(0, nice, BACKGROUND_TURN_NS);
}
