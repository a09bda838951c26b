#include "base/urgent.h"

#include <linux/futex.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/failpoint.h"

#define ALLOWANCE_MAX_NS (10 * NS_PER_MS) /* of sleep, in one piece */
#define ALLOWANCE_MIN_NS (NS_PER_MS / 2)  /* for less it is not worth falling asleep */
#define WORK_FOR_SLEEP 3                  /* time of a core for each time asleep */

atomic_uint urgent_under_way;

static unsigned cores;
static atomic_uint long_under_way;

/* Threads that sleep, and a number that is another whenever a piece of work has ended. */
static atomic_uint sleeping, ended;

/* What this thread may sleep yet, and how much it had worked when that was last added to. */
static _Thread_local uint64_t allowance_ns = ALLOWANCE_MAX_NS, paid_ns;

void urgent_set_cores(unsigned n)
{
    cores = n;
}

void urgent_long_begin(void)
{
    atomic_fetch_add(&long_under_way, 1);
}

void urgent_long_end(void)
{
    atomic_fetch_sub(&long_under_way, 1);
}

void urgent_begin(void)
{
    atomic_fetch_add(&urgent_under_way, 1);
}

/* No mutex: who holds one has a low priority, and nobody urgent is to wait for that. */
void urgent_end(void)
{
    atomic_fetch_sub(&urgent_under_way, 1);
    atomic_fetch_add(&ended, 1);
    if (atomic_load(&sleeping) > 0)
        (void)syscall(SYS_futex, &ended, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

/* By the time it had a core, not by the clock: who hardly gets one is not kept from it as well. */
static void earn(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    uint64_t worked_ns = (uint64_t)t.tv_sec * NS_PER_SECOND + (uint64_t)t.tv_nsec;
    uint64_t earned = (worked_ns - paid_ns) / WORK_FOR_SLEEP;
    uint64_t room = ALLOWANCE_MAX_NS - allowance_ns;
    allowance_ns += earned < room ? earned : room;
    paid_ns = worked_ns;
}

static void spend(uint64_t spent)
{
    allowance_ns -= spent < allowance_ns ? spent : allowance_ns;
}

/* How many threads have to sleep, that all urgent work may have a core. */
static unsigned in_the_way(void)
{
    unsigned urgent = atomic_load(&urgent_under_way);
    unsigned all = urgent + atomic_load(&long_under_way);
    unsigned without_core = all > cores ? all - cores : 0;
    return urgent < without_core ? urgent : without_core;
}

static bool may_sleep(void)
{
    earn();
    return allowance_ns >= ALLOWANCE_MIN_NS;
}

void urgent_sleep(void)
{
    unsigned before = atomic_load(&ended); /* before looking: an end from here on is noticed */
    if (in_the_way() == 0 || WITHOUT("right of way") || !may_sleep())
        return;
    if (atomic_fetch_add(&sleeping, 1) < in_the_way()) {
        const struct timespec limit = {.tv_nsec = (long)allowance_ns};
        uint64_t begin_ns = clock_mono_ns();
        (void)syscall(SYS_futex, &ended, FUTEX_WAIT_PRIVATE, before, &limit, NULL, 0);
        spend(clock_mono_ns() - begin_ns);
    }
    atomic_fetch_sub(&sleeping, 1);
}
