/* lane_fixture.h: a lane whose jobs wait at a gate, and a record of what became of them. */
#ifndef WW_TESTS_LANE_FIXTURE_H
#define WW_TESTS_LANE_FIXTURE_H

#include "unit.h"

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "net/lane.h"

#define LATER (clock_mono_ns() + 3600 * NS_PER_SECOND)
#define JOBS 64

/* A gate that jobs wait at, and a record of what became of them. */
struct fixture {
    struct lane *lane;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool open;
    unsigned waiting; /* jobs at the gate */
    unsigned order[JOBS], done;
    unsigned runs, largest_batch;
    unsigned dropped[LANE_DROPS];
    unsigned opened, closed, idles, spared;
    int priority;
    enum err open_result; /* of the second thread */
    bool all_fail;        /* of all threads */
    sem_t *open_wait;     /* or NULL: what thread_open waits for */
};

struct job {
    struct lane_job base;
    unsigned id;
    atomic_uint ends; /* run or dropped, together */
    bool gone;
};

static enum err thread_open(void *arg, unsigned index, void **context)
{
    struct fixture *f = arg;
    pthread_mutex_lock(&f->lock);
    f->opened++;
    f->priority = getpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid));
    pthread_mutex_unlock(&f->lock);
    while (f->open_wait != NULL && sem_wait(f->open_wait) != 0)
        ;
    *context = f;
    return index == 1 || f->all_fail ? f->open_result : OK;
}

static void thread_close(void *context)
{
    struct fixture *f = context;
    pthread_mutex_lock(&f->lock);
    f->closed++;
    pthread_mutex_unlock(&f->lock);
}

static void run(void *arg, void *context, struct lane_job **jobs, unsigned n)
{
    struct fixture *f = arg;
    pthread_mutex_lock(&f->lock);
    if (context != f)
        abort();
    f->waiting += n;
    f->runs++;
    f->largest_batch = n > f->largest_batch ? n : f->largest_batch;
    pthread_cond_broadcast(&f->changed);
    while (!f->open)
        pthread_cond_wait(&f->changed, &f->lock);
    for (unsigned i = 0; i < n; i++) {
        struct job *job = (struct job *)jobs[i];
        if (f->done < JOBS)
            f->order[f->done] = job->id;
        f->done++;
        atomic_fetch_add(&job->ends, 1);
    }
    pthread_cond_broadcast(&f->changed);
    pthread_mutex_unlock(&f->lock);
}

static void drop(void *arg, struct lane_job *base, enum lane_drop why)
{
    struct fixture *f = arg;
    pthread_mutex_lock(&f->lock);
    f->dropped[why]++;
    f->done++;
    atomic_fetch_add(&((struct job *)base)->ends, 1);
    pthread_cond_broadcast(&f->changed);
    pthread_mutex_unlock(&f->lock);
}

static bool gone(const struct lane_job *base)
{
    return ((const struct job *)base)->gone;
}

static void idle(void *context)
{
    struct fixture *f = context;
    pthread_mutex_lock(&f->lock);
    f->idles++;
    pthread_cond_broadcast(&f->changed);
    pthread_mutex_unlock(&f->lock);
}

static struct lane_config config_of(struct fixture *f, unsigned threads, unsigned batch,
                                    unsigned capacity, unsigned flows)
{
    return (struct lane_config){.name = "test",
                                .threads = threads,
                                .batch = batch,
                                .capacity = capacity,
                                .flows = flows,
                                .arg = f,
                                .thread_open = thread_open,
                                .thread_close = thread_close,
                                .run = run,
                                .drop = drop,
                                .gone = gone,
                                .idle = idle};
}

static void start(struct fixture *f, unsigned threads, unsigned batch, unsigned capacity,
                  unsigned flows)
{
    *f = (struct fixture){.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
    struct lane_config config = config_of(f, threads, batch, capacity, flows);
    assert_ok(lane_open(&config, &f->lane));
    assert_ok(lane_wait_open(f->lane));
}

static void open_gate(struct fixture *f)
{
    pthread_mutex_lock(&f->lock);
    f->open = true;
    pthread_cond_broadcast(&f->changed);
    pthread_mutex_unlock(&f->lock);
}

static void wait_for(struct fixture *f, const unsigned *counter, unsigned value)
{
    pthread_mutex_lock(&f->lock);
    while (*counter < value)
        pthread_cond_wait(&f->changed, &f->lock);
    pthread_mutex_unlock(&f->lock);
}

static struct job job_of(unsigned id, uint32_t flow)
{
    return (struct job){.base = {.start_by_ns = LATER, .flow = flow}, .id = id};
}

/* Occupies every thread, so that what is pushed after it stays queued until the gate opens. */
static void occupy(struct fixture *f, struct job *blockers, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        blockers[i] = job_of(1000 + i, 0);
        assert_ok(lane_push(f->lane, &blockers[i].base));
        wait_for(f, &f->waiting, i + 1);
    }
}

static struct lane_stats stats_of(struct fixture *f)
{
    struct lane_stats stats;
    lane_read_stats(f->lane, &stats);
    return stats;
}

#endif
