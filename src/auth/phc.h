/*
 * phc.h: the PHC string form of an Argon2id hash, as the database keeps it.
 *
 *     $argon2id$v=19$m=65536,t=3,p=1[,keyid=PEPPER]$salt$tag
 *
 * https://github.com/P-H-C/phc-string-format; keyid names the pepper (RFC 9106's secret value) that
 * went in. Parsing is strict and bounded: a stored string is data, and may be hostile.
 */
#ifndef WW_AUTH_PHC_H
#define WW_AUTH_PHC_H

#include <stdbool.h>

#include "auth/argon2.h"
#include "base/err.h"

#define PHC_MAX 256
#define PHC_KEYID_MAX 16
#define PHC_SALT_MAX 64
#define PHC_TAG_MAX 64

struct phc {
    struct argon2_params params;
    char keyid[PHC_KEYID_MAX + 1]; /* "" without a pepper */
    uint8_t salt[PHC_SALT_MAX];
    size_t salt_len; /* 8 to PHC_SALT_MAX */
    uint8_t tag[PHC_TAG_MAX];
    size_t tag_len; /* 16 to PHC_TAG_MAX */
};

/* ERR_MALFORMED unless it is of the form above with RFC 9106's bounds: p 1 to 255, t 1 to 2^32 - 1,
 * m 8p to 2^32 - 1. Whether the work asked for is affordable is the caller's to judge. */
MUST_USE enum err phc_parse(const char *in, size_t len, struct phc *out);

MUST_USE enum err phc_format(const struct phc *phc, char out[PHC_MAX + 1]);

/* 1 to PHC_KEYID_MAX characters of [A-Za-z0-9._-]. */
MUST_USE bool phc_keyid_ok(const char *id, size_t len);

#endif
