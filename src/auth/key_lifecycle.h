/*
 * key_lifecycle.h: what may happen to a signing key, and when. Pure: the clock is an argument.
 *
 *     publish         activate          (another is activated)       retire
 *  ->  ------>  next  ------->  active  ---------------------->  retiring  -->  gone
 *                 \________________\______________________________/
 *                                   revoke: at once, from any state
 *
 * Two waits keep every verifier that follows HTTP and caches what it fetched for ten minutes able
 * to verify every token (docs/architecture.md, "Signing keys"):
 *
 * - A key signs no earlier than KEY_PUBLISH_WAIT_S after it was published. By then each instance
 * has picked it up, and no cache holds a JWKS without it.
 * - A key stays published for KEY_RETIRE_WAIT_S after its successor became active. By then each
 *   instance signs with the successor, the last token of the old key has expired everywhere, and
 *   nobody needs what caches still hold. Tokens may live for an hour; that theirs are shorter at
 *   present, or in this process, does not say that they always were.
 *
 * A clock that goes back makes these waits longer, never shorter: what lies in the future has not
 * been waited for. Times are Unix seconds. Not thread-safe: a set belongs to one thread.
 */
#ifndef WW_AUTH_KEY_LIFECYCLE_H
#define WW_AUTH_KEY_LIFECYCLE_H

#include "auth/key_set.h"

#define KEY_JWKS_MAX_AGE_S 300   /* the max-age that the JWKS is served with */
#define KEY_VERIFIER_CACHE_S 600 /* how long a verifier may hold what it fetched */
#define KEY_PICK_UP_S 30         /* until every instance has seen a change of the keys */
#define KEY_VERIFIER_LEEWAY_S 30 /* by which verifiers accept an expired token */
#define KEY_TOKEN_TTL_MAX_S 3600 /* no access token may live longer */
#define KEY_PUBLISH_WAIT_S (KEY_PICK_UP_S + KEY_JWKS_MAX_AGE_S + KEY_VERIFIER_CACHE_S)
#define KEY_RETIRE_WAIT_S                                                                          \
    (KEY_PICK_UP_S + KEY_TOKEN_TTL_MAX_S + KEY_VERIFIER_LEEWAY_S + KEY_JWKS_MAX_AGE_S +            \
     KEY_VERIFIER_CACHE_S)

/* Why a change was refused. */
struct key_refusal {
    const char *what; /* a fixed text: "it ..." */
    int64_t wait_s;   /* try again in so many seconds; 0: waiting does not help */
};

/* Adds a key as next; the set takes the entry with its secrets, which then is zeroed. A full set
 * forgets the key that was revoked first. ERR_CONFLICT if the kid is known, also as revoked;
 * ERR_TOO_LARGE if the set is full of others. */
MUST_USE enum err key_publish(struct key_set *set, struct key_entry *entry, int64_t now,
                              struct key_refusal *why);

/* The key signs from now on, the active one retires and loses its private half. ERR_NOT_FOUND;
 * ERR_CONFLICT if it is active already; ERR_FORBIDDEN if it is not next, or has not been for long
 * enough unless emergency. */
MUST_USE enum err key_activate(struct key_set *set, const char *kid, int64_t now, bool emergency,
                               struct key_refusal *why);

/* The key leaves the set: one that retires when its time has come (or at once in an emergency), one
 * that is next at any time. ERR_NOT_FOUND; ERR_FORBIDDEN. */
MUST_USE enum err key_retire(struct key_set *set, const char *kid, int64_t now, bool emergency,
                             struct key_refusal *why);

/* The key is neither published nor used any more. If it is active, the one that has been next for
 * longest becomes active without a wait. ERR_NOT_FOUND; ERR_CONFLICT if it is revoked already;
 * ERR_FORBIDDEN if it is active and none is next. */
MUST_USE enum err key_revoke(struct key_set *set, const char *kid, int64_t now,
                             struct key_refusal *why);

/* The key that would follow the active one; NULL if none is next. */
const struct key_entry *key_successor(const struct key_set *set);

/* Seconds until a next key may be active, or a retiring one gone: 0 now, -1 never (another state).
 */
int64_t key_wait(const struct key_entry *entry, int64_t now);

/* When the key came into its state; 0 if that is unknown. */
int64_t key_state_since(const struct key_entry *entry);

/* What a regular look at the keys has to do next. */
enum key_due {
    KEY_DUE_NOTHING,
    KEY_DUE_PUBLISH,  /* make and publish a key: the active one is old, or nearly, and none is next
                       */
    KEY_DUE_ACTIVATE, /* kid: the next key; its time and that of the active one have come */
    KEY_DUE_RETIRE,   /* kid: a retiring key whose time has come */
};
/* rotate_s: the active key is replaced when it is so old; 0: only when asked. */
enum key_due key_due(const struct key_set *set, int64_t rotate_s, int64_t now, const char **kid);

#endif
