#include "service/pace.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/random.h"

#define SAMPLES 64

/* An answer is due a sixth after the time that the slowest hash would take: the thread that hashed
 * has then wiped its arena as well, which would show. And up to another eighth later, at random:
 * what the machine still remembers of one kind or the other is a ten-thousandth of that. */
#define MARGIN_DIVISOR 6
#define SPREAD_DIVISOR 8

/* One in sixteen of the latest usual hashes may have been disturbed, and says little. */
#define OUTLIERS_DIVISOR 16

/* What a slow hash takes at most, as far as anybody waits for it. Hashes that stood still for a
 * while with the whole machine (a frozen container) would else be waited for as long by all that
 * follow, each with a place at the gate, and by a process that is to stop. */
#define SPAN_MAX_NS (10.0 * NS_PER_SECOND)

/* Until it is measured the work is taken this many times. Each that came late moves the measure by
 * an eighth of what it missed, all of them to twice the measure at most. */
#define GUESS_FACTOR 2
#define LATE_DIVISOR 8
#define LATE_FACTOR_MAX 2

struct pace {
    pthread_mutex_t lock; /* for all that follows */
    struct argon2_params usual;
    uint64_t ns[SAMPLES]; /* of the latest usual hashes, each */
    unsigned count, next;

    bool mixed; /* there are hashes of other parameters */
    struct argon2_params dearest;
    bool unmeasured, told;
    double ratio, ratio_max; /* the time of the dearest to that of a usual one */

    struct lane_job *waiting; /* by start_by_ns, which is when each is due */
    pthread_cond_t wake;
    bool closing, running;
    pthread_t thread;
    void (*due)(struct lane_job *job);
};

/* ---- what there is ---- */

/* The usual ones count among them: nobody is answered before those are done. */
static void set_dearest(struct pace *pace, const struct argon2_params *others)
{
    struct argon2_params dearest = pace->usual;
    argon2_raise(&dearest, others);
    pace->unmeasured = true;
    if (pace->mixed && argon2_same_params(&dearest, &pace->dearest))
        return; /* the last measure will do until then */
    pace->mixed = true;
    pace->dearest = dearest;
    pace->told = false;
    pace->ratio = GUESS_FACTOR * (double)argon2_work(&dearest) / (double)argon2_work(&pace->usual);
    pace->ratio_max = pace->ratio * LATE_FACTOR_MAX;
}

void pace_set(struct pace *pace, const struct argon2_params *dearest)
{
    pthread_mutex_lock(&pace->lock);
    if (dearest == NULL)
        pace->mixed = false;
    else
        set_dearest(pace, dearest);
    pthread_mutex_unlock(&pace->lock);
}

static void meet(struct pace *pace, const struct argon2_params *params)
{
    struct argon2_params dearest = pace->mixed ? pace->dearest : pace->usual;
    argon2_raise(&dearest, params);
    if (!pace->mixed || !argon2_same_params(&dearest, &pace->dearest))
        set_dearest(pace, &dearest);
}

void pace_record(struct pace *pace, const struct argon2_params *params, unsigned n, uint64_t ns)
{
    pthread_mutex_lock(&pace->lock);
    if (argon2_same_params(params, &pace->usual)) {
        pace->ns[pace->next] = ns / n;
        pace->next = (pace->next + 1) % SAMPLES;
        if (pace->count < SAMPLES)
            pace->count++;
    } else {
        meet(pace, params);
    }
    pthread_mutex_unlock(&pace->lock);
}

/* ---- how long it takes ---- */

bool pace_wants_measure(struct pace *pace, struct argon2_params *dearest)
{
    pthread_mutex_lock(&pace->lock);
    bool wanted = pace->mixed && pace->unmeasured;
    if (wanted) {
        pace->unmeasured = false;
        *dearest = pace->dearest;
    }
    pthread_mutex_unlock(&pace->lock);
    return wanted;
}

static void tell(uint64_t dearest_ns, uint64_t usual_ns)
{
    struct log_line line;
    log_begin(&line, LOG_INFO, "password.mixed_parameters",
              "stored passwords have unlike ARGON parameters; wrong passwords are all answered as "
              "late as the dearest");
    log_i64(&line, "dearest_ms", (int64_t)(dearest_ns / NS_PER_MS));
    log_i64(&line, "usual_ms", (int64_t)(usual_ns / NS_PER_MS));
    log_end(&line);
}

/* By the slower of those that are waited for to the faster of the usual: if one was disturbed, the
 * rest errs on the long side. */
void pace_measured(struct pace *pace, uint64_t dearest_ns, uint64_t usual_ns,
                   uint64_t usual_of_pair_ns)
{
    uint64_t longest = dearest_ns > usual_ns ? dearest_ns : usual_ns;
    uint64_t fastest = usual_of_pair_ns < usual_ns ? usual_of_pair_ns : usual_ns;
    pthread_mutex_lock(&pace->lock);
    bool told = pace->told;
    pace->told = true;
    pace->ratio = (double)longest / (double)fastest;
    pace->ratio_max = pace->ratio * LATE_FACTOR_MAX;
    pthread_mutex_unlock(&pace->lock);
    if (!told)
        tell(longest, fastest);
}

static int by_size(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* What few of the latest usual ones took longer than; 0 if there are none. */
static uint64_t slow_usual_ns(const struct pace *pace)
{
    uint64_t sorted[SAMPLES];
    if (pace->count == 0)
        return 0;
    memcpy(sorted, pace->ns, sizeof sorted);
    qsort(sorted, pace->count, sizeof sorted[0], by_size);
    return sorted[pace->count - 1 - pace->count / OUTLIERS_DIVISOR];
}

static uint64_t due_at(struct pace *pace, uint64_t begin_ns, unsigned n)
{
    uint32_t r = 0;
    if (random_bytes(&r, sizeof r) != OK)
        r = 0;
    double usual = (double)slow_usual_ns(pace) * n;
    double took = (double)(clock_mono_ns() - begin_ns);
    /* It was disturbed; or they are dearer than was thought, then again and again. */
    if (usual > 0 && took > usual * pace->ratio)
        pace->ratio += (took / usual - pace->ratio) / LATE_DIVISOR;
    if (pace->ratio > pace->ratio_max)
        pace->ratio = pace->ratio_max;
    double span = usual * pace->ratio;
    if (span > SPAN_MAX_NS)
        span = SPAN_MAX_NS;
    return begin_ns + (uint64_t)(span + span / MARGIN_DIVISOR +
                                 span / SPREAD_DIVISOR * ((double)r / (double)UINT32_MAX));
}

/* ---- waiting ---- */

static void insert(struct pace *pace, struct lane_job *job)
{
    struct lane_job **place = &pace->waiting;
    while (*place != NULL && (*place)->start_by_ns <= job->start_by_ns)
        place = &(*place)->next;
    job->next = *place;
    *place = job;
}

bool pace_hold(struct pace *pace, struct lane_job *job, uint64_t begin_ns, unsigned n)
{
    pthread_mutex_lock(&pace->lock);
    bool held = pace->mixed;
    if (held) {
        job->start_by_ns = due_at(pace, begin_ns, n);
        insert(pace, job);
        pthread_cond_signal(&pace->wake);
    }
    pthread_mutex_unlock(&pace->lock);
    return held;
}

static void wait_for(struct pace *pace, uint64_t mono_ns)
{
    struct timespec until = {.tv_sec = (time_t)(mono_ns / NS_PER_SECOND),
                             .tv_nsec = (long)(mono_ns % NS_PER_SECOND)};
    pthread_cond_timedwait(&pace->wake, &pace->lock, &until);
}

static void *hand_out(void *arg)
{
    struct pace *pace = arg;
    pthread_setname_np(pthread_self(), "pace");
    pthread_mutex_lock(&pace->lock);
    while (!pace->closing) {
        struct lane_job *first = pace->waiting;
        if (first == NULL) {
            pthread_cond_wait(&pace->wake, &pace->lock);
        } else if (first->start_by_ns > clock_mono_ns()) {
            wait_for(pace, first->start_by_ns);
        } else {
            pace->waiting = first->next;
            pthread_mutex_unlock(&pace->lock);
            pace->due(first);
            pthread_mutex_lock(&pace->lock);
        }
    }
    pthread_mutex_unlock(&pace->lock);
    return NULL;
}

/* ---- opening ---- */

enum err pace_open(const struct argon2_params *usual, void (*due)(struct lane_job *job),
                   struct pace **out)
{
    struct pace *pace = calloc(1, sizeof *pace);
    if (pace == NULL)
        return ERR_INTERNAL;
    pace->usual = *usual;
    pace->due = due;
    clock_cond_init(&pace->wake);
    pthread_mutex_init(&pace->lock, NULL);
    pace->running = pthread_create(&pace->thread, NULL, hand_out, pace) == 0;
    if (!pace->running) {
        pace_close(pace);
        return ERR_INTERNAL;
    }
    *out = pace;
    return OK;
}

void pace_close(struct pace *pace)
{
    if (pace == NULL)
        return;
    pthread_mutex_lock(&pace->lock);
    pace->closing = true;
    pthread_cond_signal(&pace->wake);
    pthread_mutex_unlock(&pace->lock);
    if (pace->running)
        pthread_join(pace->thread, NULL);
    pthread_cond_destroy(&pace->wake);
    pthread_mutex_destroy(&pace->lock);
    free(pace);
}
