/*
 * pace.h: when a wrong password is answered, whatever the stored hash is made of.
 *
 * A stored hash of other parameters than the setting's takes another time than the hash that is
 * computed for an account that does not exist. So as long as there are such hashes, every failed
 * verification is answered at one time after its hash began: when the dearest of them would be done
 * for sure, and a random moment later. Cheap or dear, real or invented, all wait here for it, and
 * hold no permit meanwhile; none for more than 13 seconds, even if the dearest takes that long.
 * What succeeds does not wait.
 *
 * Which hashes there are the census tells (service/census.h), and in between each that is met. How
 * long the dearest takes is measured once, in proportion to a usual one; the latest usual ones say
 * how fast the machine is at the moment.
 *
 * Any thread may call. One thread hands out what has waited.
 */
#ifndef WW_SERVICE_PACE_H
#define WW_SERVICE_PACE_H

#include <stdbool.h>
#include <stdint.h>

#include "auth/argon2.h"
#include "net/lane.h"

struct pace;

/* usual: the parameters of new hashes. due is handed each job whose time has come. */
MUST_USE enum err pace_open(const struct argon2_params *usual, void (*due)(struct lane_job *job),
                            struct pace **out);
/* Nothing may wait any more. */
void pace_close(struct pace *pace);

/* All stored hashes have been looked at: there are some of other parameters, and none is dearer
 * than these (argon2_raise). NULL: there are none. */
void pace_set(struct pace *pace, const struct argon2_params *dearest);

/* Hashes of these parameters were computed, n of them in ns. */
void pace_record(struct pace *pace, const struct argon2_params *params, unsigned n, uint64_t ns);

/* The dearest hashes have changed: true for one caller, who is to tell how long one takes, a usual
 * one, and each of a pair of usual ones (or the same again, where there are no pairs). Until then
 * their work is guessed from their parameters. */
MUST_USE bool pace_wants_measure(struct pace *pace, struct argon2_params *dearest);
void pace_measured(struct pace *pace, uint64_t dearest_ns, uint64_t usual_ns,
                   uint64_t usual_of_pair_ns);

/* A verification has failed; it was begun at begin_ns by a thread that took n jobs at once. False:
 * go on. True: due will be called with the job. */
MUST_USE bool pace_hold(struct pace *pace, struct lane_job *job, uint64_t begin_ns, unsigned n);

#endif
