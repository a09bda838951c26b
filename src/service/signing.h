/*
 * signing.h: the keys of a service as they are at one time, and the way to where they sign.
 *
 * A struct signing is what the keeper's signer said when it came up: the published keys, and one
 * link for each thread of the SIGN lane. When the keys change or the signer is replaced, a new one
 * takes its place at once; whoever holds the old one goes on with it, and it ends with its last
 * holder. The private keys are never in this process.
 */
#ifndef WW_SERVICE_SIGNING_H
#define WW_SERVICE_SIGNING_H

#include <stdbool.h>

#include "auth/keyring.h"
#include "net/sign_link.h"

struct signing;
struct service;

/* Takes the keyring and the sockets, also on failure. Held once, by the caller. */
MUST_USE enum err signing_open(struct keyring *ring, const int *sockets, unsigned count,
                               unsigned generation, struct signing **out);
/* NULL is fine. */
void signing_release(struct signing *signing);

const struct keyring *signing_ring(const struct signing *signing);
unsigned signing_generation(const struct signing *signing);
/* The process at the other end is there, as far as is known. */
MUST_USE bool signing_usable(const struct signing *signing);

/* Has the inputs signed with the active key, over the link of this thread of the SIGN lane. Number
 * and errors as sign_link_ask; after ERR_UNAVAILABLE or ERR_BUSY it is not usable any more. */
MUST_USE enum err signing_sign(struct signing *signing, unsigned thread, struct sign_ask *asks,
                               unsigned n);

/* ---- of a service; any thread ---- */

/* The present one, held once more. */
struct signing *service_hold_signing(struct service *service);
/* Takes signing in place of the present one. */
void service_set_signing(struct service *service, struct signing *signing);
/* Whether the present one is usable. */
MUST_USE bool service_can_sign(struct service *service);
/* The signer of that generation is known to be gone. */
void service_signer_lost(struct service *service, unsigned generation);

#endif
