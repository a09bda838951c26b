/*
 * lane.h: a bounded queue and the threads that work it off.
 *
 * A lane takes only what it can begin in time: it knows how long recent jobs took, and refuses at
 * the door (ERR_BUSY) a job whose turn would come after job->start_by_ns. A job can be admitted
 * ahead of being pushed, while it is still busy elsewhere: its place is then counted. What was
 * admitted may still be dropped when its turn comes, because its time is over or its client has
 * gone; the drop callback says so, once, and the job has left the lane.
 *
 * Pushing gives the job away: between lane_push and run or drop nobody else may touch it. Jobs are
 * picked round robin over flows (for example tenants), so one flow's flood does not delay
 * another's. Flows are hashed into a fixed number of queues: two that share one share its turn.
 *
 * Every function may be called from any thread.
 */
#ifndef WW_NET_LANE_H
#define WW_NET_LANE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "net/metrics.h"

#define LANE_BATCH_MAX 64

struct lane;

/* Embedded in what is queued; the lane owns these members while it holds the job. */
struct lane_job {
    struct lane_job *next;
    uint64_t start_by_ns;  /* monotonic; set by the owner before admitting or pushing */
    uint64_t pushed_at_ns; /* set by the lane */
    uint32_t flow;         /* fairness key, any value */
    bool admitted;
};

enum lane_drop {
    LANE_DROP_FULL,     /* refused at the door: too many; or no thread could open */
    LANE_DROP_DEADLINE, /* its turn came, or would come, too late */
    LANE_DROP_GONE,     /* nobody waits for the answer any more */
    LANE_DROPS,
};

struct lane_config {
    const char *name; /* at most 15 characters: the threads' name */
    unsigned threads; /* 1 or more */
    unsigned batch;   /* jobs handed over at once, at most; 1 to LANE_BATCH_MAX */
    unsigned capacity;
    unsigned flows;          /* a power of two; 1: first come, first served */
    uint64_t first_guess_ns; /* a job's time, until one has been seen */
    bool background;         /* its threads give way to all others */
    void *arg;               /* handed to the callbacks */

    /* On the thread itself, before its first job; the context is handed to the other three. An
     * error ends the start of the lane. */
    enum err (*thread_open)(void *arg, unsigned index, void **context);
    /* The start has failed, and threads may still be in thread_open: lets them go on. May be NULL.
     */
    void (*open_failed)(void *arg);
    void (*thread_close)(void *context);
    /* Owns the jobs from here on. */
    void (*run)(void *arg, void *context, struct lane_job **jobs, unsigned n);
    /* Owns the job; runs on a lane thread. */
    void (*drop)(void *arg, struct lane_job *job, enum lane_drop why);
    bool (*gone)(const struct lane_job *job);
    /* Nothing to do; may be NULL. Called once when a thread runs out of jobs. */
    void (*idle)(void *context);
    /* How long a batch that is not full may wait for more before it is begun; may be NULL. One
     * thread waits at a time, and then takes all that fits; without a wait no thread takes more
     * than its share. */
    uint64_t (*spare_ns)(void *arg);
    /* Whether a job may be handed over together with the first of a batch; NULL: any may. */
    bool (*joins)(const struct lane_job *first, const struct lane_job *job);
};

/* Starts the threads; each opens its context, and only then takes jobs. If none can, what was
 * queued is dropped (LANE_DROP_FULL), and everything else is refused. */
MUST_USE enum err lane_open(const struct lane_config *config, struct lane **out);
/* Waits until every thread has opened its context; the error of one that could not. */
MUST_USE enum err lane_wait_open(struct lane *lane);

/* Works off what was pushed, then ends the threads. Nothing may be pushed any more. */
void lane_close(struct lane *lane);

/* Counts the job in, or refuses it: ERR_BUSY. */
MUST_USE enum err lane_admit(struct lane *lane, struct lane_job *job);
/* Gives an admitted job's place back; nothing if it was not admitted. */
void lane_withdraw(struct lane *lane, struct lane_job *job);
/* Queues a job, admitting it first if it was not. ERR_BUSY: refused, the caller still owns it. */
MUST_USE enum err lane_push(struct lane *lane, struct lane_job *job);

/* Seconds, at least 1, after which a refused job would probably be taken. */
unsigned lane_retry_after(struct lane *lane);

/* How long the threads need for what is queued now. */
uint64_t lane_backlog_ns(struct lane *lane);

struct lane_stats {
    unsigned depth; /* queued and admitted */
    unsigned busy;  /* threads at work */
    uint64_t shed[LANE_DROPS];
    struct histogram wait; /* of every job whose turn came, from its push */
};
void lane_read_stats(struct lane *lane, struct lane_stats *out);

#endif
