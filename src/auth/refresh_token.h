/*
 * refresh_token.h: the refresh token, its digest and its sealed successor.
 *
 *     wwr_ + base64url( version 1 | key id 1 | session id 16 | generation 4 | random 32 | mac 16 )
 *
 * The mac is HMAC-SHA-256, cut to 16 bytes, over everything before it, under a key of the service:
 * a forged or mistyped token is refused without asking the database. The database keeps SHA-256 of
 * the random part of the current token only. A successor is kept sealed (AES-256-GCM) under a key
 * that needs the old token *and* the service's secret, so neither a dump nor the secret, nor both
 * together, opens it. Pure functions; any thread may call.
 */
#ifndef WW_AUTH_REFRESH_TOKEN_H
#define WW_AUTH_REFRESH_TOKEN_H

#include <stdint.h>

#include "auth/service_keys.h"
#include "base/uuid.h"

#define REFRESH_RANDOM_LEN 32
#define REFRESH_DIGEST_LEN 32
#define REFRESH_SEALED_LEN (12 + 1 + REFRESH_RANDOM_LEN + 16) /* nonce, key id and random, tag */
#define REFRESH_TOKEN_LEN 98 /* "wwr_" and 94 characters of base64url */

struct refresh_token {
    uint8_t key_id;
    struct uuid session_id;
    uint32_t generation; /* 0 at login, one more with each rotation */
    uint8_t random[REFRESH_RANDOM_LEN];
};

/* The first token of a session. */
MUST_USE enum err refresh_token_make(const struct service_keys *keys, const struct uuid *session_id,
                                     struct refresh_token *out);

/* The token that follows old: next generation, fresh random part. ERR_TOO_LARGE after 2^32 - 1. */
MUST_USE enum err refresh_token_next(const struct service_keys *keys,
                                     const struct refresh_token *old, struct refresh_token *out);

MUST_USE enum err refresh_token_format(const struct service_keys *keys,
                                       const struct refresh_token *token,
                                       char out[REFRESH_TOKEN_LEN + 1]);

/* ERR_MALFORMED: not of a token's form. ERR_DENIED: of the form, but not made by this service. */
MUST_USE enum err refresh_token_parse(const struct service_keys *keys, const char *in, size_t len,
                                      struct refresh_token *out);

/* SHA-256 of the random part: what the database keeps. */
MUST_USE enum err refresh_token_digest(const struct refresh_token *token,
                                       uint8_t out[REFRESH_DIGEST_LEN]);

/* next under the key that only a holder of old can have the service derive. */
MUST_USE enum err refresh_token_seal(const struct service_keys *keys,
                                     const struct refresh_token *old,
                                     const struct refresh_token *next,
                                     uint8_t out[REFRESH_SEALED_LEN]);

/* ERR_DENIED if old is not the token that the successor was sealed for. */
MUST_USE enum err refresh_token_unseal(const struct service_keys *keys,
                                       const struct refresh_token *old, const uint8_t *sealed,
                                       size_t sealed_len, struct refresh_token *out);

#endif
