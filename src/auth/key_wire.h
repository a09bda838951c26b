/*
 * key_wire.h: a key set without its secrets as one message between the processes of a service.
 *
 * Both ends are the same program, so the layout is the compiler's. What arrives is checked all the
 * same.
 */
#ifndef WW_AUTH_KEY_WIRE_H
#define WW_AUTH_KEY_WIRE_H

#include "auth/key_set.h"

#define KEY_WIRE_PEM_MAX 2048 /* a public key of 8192 bits takes 1.5 KiB */

struct key_wire {
    uint32_t count;
    struct key_wire_key {
        char kid[KID_MAX + 1];
        uint8_t state;
        uint16_t pem_len;
        int64_t created_at, published_at, activated_at, retired_at, revoked_at;
        uint8_t public_pem[KEY_WIRE_PEM_MAX];
    } keys[KEYS_MAX];
};

/* The bytes of *out that are used: what follows need not be sent. ERR_TOO_LARGE for a public key
 * that is none of ours. */
MUST_USE enum err key_wire_pack(const struct key_set *set, struct key_wire *out, size_t *size);

/* ERR_MALFORMED unless the size is that of count keys, with a kid, a known state and a text each.
 */
MUST_USE enum err key_wire_unpack(const struct key_wire *in, size_t size, struct key_set *out);

#endif
