/*
 * sha256.h: SHA-256 (FIPS 180-4) through OpenSSL, its provider looked up once: the one-shot
 * functions of OpenSSL 3 look it up, under a lock, at every call. Any thread may call.
 */
#ifndef WW_BASE_SHA256_H
#define WW_BASE_SHA256_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define SHA256_LEN 32

/* ERR_INTERNAL: OpenSSL could not; out is then not to be used. */
MUST_USE enum err sha256(const void *data, size_t len, uint8_t out[SHA256_LEN]);

#endif
