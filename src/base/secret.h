/*
 * secret.h: bytes that must not leak.
 *
 * A struct secret owns its bytes: whole pages of their own, locked in memory where the system lets
 * us, left out of core dumps, wiped before they are given back. There is no function that prints
 * one. Short-lived secrets on the stack are wiped with secret_wipe. Reading a secret from several
 * threads is fine; opening and closing is for one.
 */
#ifndef WW_BASE_SECRET_H
#define WW_BASE_SECRET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define SECRET_MAX ((size_t)64 * 1024)

struct secret {
    uint8_t *data; /* len bytes, followed by a NUL that is not part of them */
    size_t len; /* may be lowered by its owner; what is cut off is wiped in the end all the same */
    size_t mapped; /* bytes of the pages */
};

/* Allocates len zero bytes (0 to SECRET_MAX). */
MUST_USE enum err secret_open(size_t len, struct secret *out);

/* Takes a copy of the bytes; the caller still has to wipe the original. */
MUST_USE enum err secret_copy(const void *from, size_t len, struct secret *out);

/* Wipes and frees; a zeroed secret is fine, and is what remains. */
void secret_close(struct secret *s);

/* Overwrites memory in a way the compiler cannot drop. */
void secret_wipe(void *p, size_t len);

/* Puts a line feed for each "\n" of two characters: environment files cannot hold line breaks. */
void secret_unescape_lines(struct secret *text);

/* Equality in time that depends on len alone. The only way secrets are compared. */
MUST_USE bool ct_equal(const void *a, const void *b, size_t len);

#endif
