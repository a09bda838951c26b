#include "service/pace.h"

#include <errno.h>
#include <time.h>

#include "base/clock.h"
#include "base/random.h"

/* A sleep ends late, by a tenth of a millisecond and more, and on a core that has gone idle: enough
 * to be told from a hash over some thousand logins. So the last stretch is waited for awake. */
#define AWAKE_NS NS_PER_MS

void pace_open(struct pace *pace)
{
    *pace = (struct pace){0};
    pthread_mutex_init(&pace->lock, NULL);
}

void pace_close(struct pace *pace)
{
    pthread_mutex_destroy(&pace->lock);
}

void pace_record(struct pace *pace, uint64_t ns)
{
    pthread_mutex_lock(&pace->lock);
    pace->ns[pace->next] = ns;
    pace->next = (pace->next + 1) % PACE_SAMPLES;
    if (pace->count < PACE_SAMPLES)
        pace->count++;
    pthread_mutex_unlock(&pace->lock);
}

/* One of the samples, 0 if there are none. */
static uint64_t draw(struct pace *pace)
{
    uint8_t r = 0;
    if (random_bytes(&r, sizeof r) != OK)
        r = 0;
    pthread_mutex_lock(&pace->lock);
    uint64_t ns = pace->count > 0 ? pace->ns[r % pace->count] : 0;
    pthread_mutex_unlock(&pace->lock);
    return ns;
}

static void sleep_until(uint64_t mono_ns)
{
    struct timespec until = {.tv_sec = (time_t)(mono_ns / NS_PER_SECOND),
                             .tv_nsec = (long)(mono_ns % NS_PER_SECOND)};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) == EINTR)
        ;
}

bool pace_wait(struct pace *pace, uint64_t begin_ns)
{
    uint64_t ns = draw(pace);
    if (ns == 0)
        return false;
    uint64_t end = begin_ns + ns;
    sleep_until(end - AWAKE_NS);
    while (clock_mono_ns() < end)
        continue;
    return true;
}
