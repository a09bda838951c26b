#include "auth/keyring.h"

#include <string.h>

#include "auth/rsa_key.h"
#include "base/encode.h"
#include "base/json.h"
#include "base/sha256.h"

/* A key of 8192 bits takes 1.5 KiB: sixteen of them fit. */
#define JWKS_MAX ((size_t)26 * 1024)
#define ETAG_DIGITS 32

struct key {
    EVP_PKEY *pkey;
    char kid[KID_MAX + 1];
    struct keyring_key known; /* its kid is the one above */
};

struct keyring {
    struct key keys[KEYS_MAX];
    unsigned count;
    const struct key *active;
    char *jwks;
    size_t jwks_len;
    char etag[ETAG_DIGITS + 3];
};

static enum err add_key(struct keyring *ring, const struct key_entry *entry)
{
    struct key *key = &ring->keys[ring->count];
    const char *why = NULL;
    if (!rsa_key_kid_ok(entry->kid))
        return ERR_INVALID;
    TRY(rsa_key_read(&entry->public_pem, false, &key->pkey, &why));
    ring->count++;
    memcpy(key->kid, entry->kid, sizeof key->kid);
    key->known = (struct keyring_key){.kid = key->kid,
                                      .state = entry->state,
                                      .created_at = entry->created_at,
                                      .published_at = entry->published_at,
                                      .activated_at = entry->activated_at,
                                      .retired_at = entry->retired_at};
    if (entry->state == KEY_ACTIVE)
        ring->active = key;
    return OK;
}

static enum err put_jwk(struct text *t, const struct key *key)
{
    char n[RSA_KEY_N_MAX], e[RSA_KEY_E_MAX];
    TRY(rsa_key_members(key->pkey, n, e));
    json_open(t);
    json_str(t, "kty", "RSA");
    json_str(t, "use", "sig");
    json_str(t, "kid", key->kid);
    json_str(t, "alg", "RS256");
    json_str(t, "n", n);
    json_str(t, "e", e);
    json_close(t);
    return OK;
}

static enum err build_jwks(struct keyring *ring)
{
    char buf[JWKS_MAX];
    struct text t = text_on(buf, sizeof buf);
    text_put(&t, "{\"keys\":[");
    for (unsigned i = 0; i < ring->count; i++)
        TRY(put_jwk(&t, &ring->keys[i]));
    text_put(&t, "]}");
    if (!text_ok(&t))
        return ERR_TOO_LARGE;
    ring->jwks = strdup(buf);
    ring->jwks_len = t.len;
    return ring->jwks != NULL ? OK : ERR_INTERNAL;
}

static enum err build_etag(struct keyring *ring)
{
    uint8_t digest[SHA256_LEN];
    char hex[2 * SHA256_LEN + 1];
    TRY(sha256(ring->jwks, ring->jwks_len, digest));
    hex_encode(digest, sizeof digest, hex);
    struct text t = text_on(ring->etag, sizeof ring->etag);
    text_put_f(&t, "\"%.*s\"", ETAG_DIGITS, hex);
    return OK;
}

static void cleanup_ring(struct keyring **ring)
{
    keyring_close(*ring);
}

enum err keyring_open(const struct key_set *set, struct keyring **out)
{
    if (key_set_public_flaw(set) != NULL)
        return ERR_INVALID;
    struct keyring *ring CLEANUP(cleanup_ring) = calloc(1, sizeof *ring);
    if (ring == NULL)
        return ERR_INTERNAL;
    for (unsigned i = 0; i < set->count; i++)
        if (set->keys[i].state != KEY_REVOKED)
            TRY(add_key(ring, &set->keys[i]));
    TRY(build_jwks(ring));
    TRY(build_etag(ring));
    *out = TAKE(ring);
    return OK;
}

void keyring_close(struct keyring *ring)
{
    if (ring == NULL)
        return;
    for (unsigned i = 0; i < ring->count; i++)
        EVP_PKEY_free(ring->keys[i].pkey);
    free(ring->jwks);
    free(ring);
}

const char *keyring_active_kid(const struct keyring *ring)
{
    return ring->active->kid;
}

const char *keyring_jwks(const struct keyring *ring, size_t *len)
{
    *len = ring->jwks_len;
    return ring->jwks;
}

const char *keyring_jwks_etag(const struct keyring *ring)
{
    return ring->etag;
}

unsigned keyring_count(const struct keyring *ring)
{
    return ring->count;
}

struct keyring_key keyring_key_at(const struct keyring *ring, unsigned i)
{
    return ring->keys[i].known;
}

EVP_PKEY *keyring_find(const struct keyring *ring, const char *kid, size_t len)
{
    for (unsigned i = 0; i < ring->count; i++) {
        const char *have = ring->keys[i].kid;
        if (strlen(have) == len && strncmp(have, kid, len) == 0) /* lint: public */
            return ring->keys[i].pkey;
    }
    return NULL;
}
