/*
 * keyring.h: the published keys, which verify access tokens.
 *
 * A keyring is made of a key set and holds public halves alone: all that are published (next,
 * active, retiring), not the revoked ones. Immutable once opened, and usable from any thread: when
 * the keys change, a new one takes its place.
 */
#ifndef WW_AUTH_KEYRING_H
#define WW_AUTH_KEYRING_H

#include <openssl/evp.h>

#include "auth/key_set.h"

struct keyring;

/* What is known of a published key. */
struct keyring_key {
    const char *kid;
    enum key_state state;
    int64_t created_at, published_at, activated_at, retired_at; /* Unix seconds; 0: not (yet) */
};

/* Reads the public halves; the set may go afterwards. ERR_INVALID for a set that
 * key_set_public_flaw or a key that key_entry_public would refuse. */
MUST_USE enum err keyring_open(const struct key_set *set, struct keyring **out);
void keyring_close(struct keyring *ring);

const char *keyring_active_kid(const struct keyring *ring);

/* The JWK set (RFC 7517), made once. */
const char *keyring_jwks(const struct keyring *ring, size_t *len);
/* A strong entity tag (RFC 9110 section 8.8.3) of those bytes, quoted. */
const char *keyring_jwks_etag(const struct keyring *ring);

unsigned keyring_count(const struct keyring *ring);
struct keyring_key keyring_key_at(const struct keyring *ring, unsigned i);

/* The published key of that kid, owned by the ring; NULL if there is none. */
EVP_PKEY *keyring_find(const struct keyring *ring, const char *kid, size_t len);

#endif
