#include "service/gate.h"

#include <pthread.h>
#include <stdlib.h>

#define PLACES 1024 /* a power of two */
#define WAITING_MAX 64

struct place {
    unsigned inside, waiting;
    struct lane_job *head, *tail;
};

struct gate {
    pthread_mutex_t lock;
    unsigned width;
    struct place places[PLACES];
};

enum err gate_open(unsigned width, struct gate **out)
{
    struct gate *gate = calloc(1, sizeof *gate);
    if (gate == NULL)
        return ERR_INTERNAL;
    pthread_mutex_init(&gate->lock, NULL);
    gate->width = width;
    *out = gate;
    return OK;
}

void gate_close(struct gate *gate)
{
    if (gate == NULL)
        return;
    pthread_mutex_destroy(&gate->lock);
    free(gate);
}

static void append(struct place *place, struct lane_job *job)
{
    job->next = NULL;
    if (place->waiting++ > 0)
        place->tail->next = job;
    else
        place->head = job;
    place->tail = job;
}

enum gate_verdict gate_enter(struct gate *gate, uint32_t key, struct lane_job *job)
{
    struct place *place = &gate->places[key & (PLACES - 1)];
    enum gate_verdict verdict = GATE_FULL;
    pthread_mutex_lock(&gate->lock);
    if (place->inside < gate->width) {
        place->inside++;
        verdict = GATE_PASSED;
    } else if (place->waiting < WAITING_MAX) {
        append(place, job);
        verdict = GATE_WAITS;
    }
    pthread_mutex_unlock(&gate->lock);
    return verdict;
}

struct lane_job *gate_leave(struct gate *gate, uint32_t key)
{
    struct place *place = &gate->places[key & (PLACES - 1)];
    struct lane_job *next = NULL;
    pthread_mutex_lock(&gate->lock);
    if (place->waiting > 0) { /* takes over the place */
        next = place->head;
        place->head = next->next;
        place->waiting--;
    } else {
        place->inside--;
    }
    pthread_mutex_unlock(&gate->lock);
    return next;
}
