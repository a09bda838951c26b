/*
 * service_keys.h: every internal key, derived from SERVICE_SECRET.
 *
 * One secret, one key per purpose: HKDF-SHA-256 (RFC 5869) with the purpose as info, so that what
 * is made with one key means nothing under another. During a change of the secret the previous one
 * is still known: each secret has an id, one byte derived from it, that travels inside refresh
 * tokens. Opened once; then immutable and usable from any thread.
 */
#ifndef WW_AUTH_SERVICE_KEYS_H
#define WW_AUTH_SERVICE_KEYS_H

#include <openssl/types.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/secret.h"

#define SERVICE_SECRET_MIN 32
#define MAC_LEN 32

enum key_purpose {
    KEY_TOKEN_MAC,   /* authenticates refresh tokens */
    KEY_TOKEN_SEAL,  /* with the old token: seals its successor */
    KEY_IDENTITY,    /* digests of e-mail addresses: lockout rows and log lines */
    KEY_IDEMPOTENCY, /* digests of X-Idempotency-Key */
    KEY_BEARER,      /* compares presented bearer secrets without learning their length */
    KEY_PURPOSES,
};

struct service_keys;

/* previous may have len 0. ERR_INVALID if a secret is shorter than SERVICE_SECRET_MIN; ERR_CONFLICT
 * if both are the same or derive the same id (one chance in 256): tokens could not tell them apart.
 */
MUST_USE enum err service_keys_open(const struct secret *current, const struct secret *previous,
                                    struct service_keys **out);
void service_keys_close(struct service_keys *keys);

/* Id of the secret that new things are made with. */
uint8_t service_keys_current_id(const struct service_keys *keys);
MUST_USE bool service_keys_knows(const struct service_keys *keys, uint8_t id);

/* AES-256-GCM, looked up once; lives as long as the keys. */
const EVP_CIPHER *service_keys_cipher(const struct service_keys *keys);

/* HMAC-SHA-256 over the concatenation of n parts. ERR_DENIED if the id is not known. */
struct mac_part {
    const void *data;
    size_t len;
};
MUST_USE enum err service_keys_mac(const struct service_keys *keys, uint8_t id,
                                   enum key_purpose purpose, const struct mac_part *parts, size_t n,
                                   uint8_t out[MAC_LEN]);

#endif
