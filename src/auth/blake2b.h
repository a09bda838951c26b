/*
 * blake2b.h: BLAKE2b (RFC 7693), unkeyed, any output length from 1 to 64 bytes.
 *
 * Our own because Argon2 needs output lengths other than 64, which change the result and which
 * OpenSSL's EVP interface cannot ask for; and having it, it serves for 64 as well: one way to do
 * a thing. A state may be used by one thread at a time.
 */
#ifndef WW_AUTH_BLAKE2B_H
#define WW_AUTH_BLAKE2B_H

#include <stddef.h>
#include <stdint.h>

#define BLAKE2B_OUT_MAX 64u
#define BLAKE2B_BLOCK 128u

struct blake2b {
    uint64_t h[8];
    uint64_t counted; /* bytes compressed so far */
    uint8_t buffer[BLAKE2B_BLOCK];
    size_t buffered;
    size_t out_len;
};

/* Begins a hash of out_len bytes (1 to BLAKE2B_OUT_MAX). */
void blake2b_begin(struct blake2b *s, size_t out_len);

/* Adds len bytes; NULL is fine when len is 0. */
void blake2b_add(struct blake2b *s, const void *data, size_t len);

/* Adds a 32-bit number, little-endian (LE32 of RFC 9106). */
void blake2b_add_le32(struct blake2b *s, uint32_t n);

/* Writes out_len bytes and wipes the state. */
void blake2b_end(struct blake2b *s, uint8_t *out);

#endif
