/*
 * key_set.h: the signing keys of a service, each with its state.
 *
 * Exactly one key signs (active). Others are published before they do (next) or for as long as
 * tokens they signed are about (retiring); a revoked key is only remembered, so that nobody
 * publishes it again. What may happen when is key_lifecycle.h's. A set owns the secrets in it and
 * belongs to one thread.
 */
#ifndef WW_AUTH_KEY_SET_H
#define WW_AUTH_KEY_SET_H

#include "base/secret.h"

#define KEYS_MAX 16
#define KID_MAX 128

enum key_state { KEY_NEXT, KEY_ACTIVE, KEY_RETIRING, KEY_REVOKED, KEY_STATES };

struct key_entry {
    char kid[KID_MAX + 1];
    enum key_state state;
    int64_t created_at, published_at, activated_at, retired_at, revoked_at; /* Unix seconds; 0: not
                                                                               (yet), or unknown */
    struct secret private_pem; /* PKCS#8; len 0: not held */
    struct secret public_pem;  /* SPKI */
};

struct key_set {
    struct key_entry keys[KEYS_MAX];
    unsigned count;
};

/* "next", "active", "retiring", "revoked". */
const char *key_state_name(enum key_state state);
/* ERR_NOT_FOUND if no state has that name. */
MUST_USE enum err key_state_from_name(const char *name, enum key_state *out);

/* NULL if there is none. */
struct key_entry *key_set_find(struct key_set *set, const char *kid);
const struct key_entry *key_set_active(const struct key_set *set);

/* Takes the entry out, wiped. */
void key_set_remove(struct key_set *set, struct key_entry *entry);

/* NULL if it is sound: one active key, distinct kids, a public half for each that is published, a
 * private one for each that signs or will. Otherwise what is wrong, as a fixed text. */
const char *key_set_flaw(const struct key_set *set);
/* The same for a set that holds public halves alone. */
const char *key_set_public_flaw(const struct key_set *set);

void key_entry_close(struct key_entry *entry);
/* A zeroed set is fine, and is what remains. */
void key_set_close(struct key_set *set);

#endif
