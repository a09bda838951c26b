/*
 * pace.h: how long a verification takes, whatever it was.
 *
 * An account whose stored hash is of yesterday's cheaper parameters would answer sooner than one
 * that does not exist. So a cheaper verification keeps its permit as long as a full one takes: a
 * time drawn from the latest full ones, so that not even the spread differs. Any thread may call.
 */
#ifndef WW_SERVICE_PACE_H
#define WW_SERVICE_PACE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#define PACE_SAMPLES 64

struct pace {
    pthread_mutex_t lock;
    uint64_t ns[PACE_SAMPLES]; /* the latest full verifications */
    unsigned count, next;
};

void pace_open(struct pace *pace);
void pace_close(struct pace *pace);

/* A full verification took this long. */
void pace_record(struct pace *pace, uint64_t ns);

/* Waits until begin_ns plus the time of some full verification; false if none has been seen. */
bool pace_wait(struct pace *pace, uint64_t begin_ns);

#endif
