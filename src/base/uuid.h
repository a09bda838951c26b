/* uuid.h: 128-bit identifiers (RFC 9562). A value type; any thread may call. */
#ifndef WW_BASE_UUID_H
#define WW_BASE_UUID_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct uuid {
    uint8_t b[16];
};

#define UUID_LEN 36

/* Accepts 8-4-4-4-12 hexadecimal digits or 32 of them without hyphens, any case. */
MUST_USE enum err uuid_parse(const char *in, size_t len, struct uuid *out);

/* Lower case, hyphenated. */
void uuid_format(const struct uuid *u, char out[UUID_LEN + 1]);

/* Version 7: milliseconds of unix_ms, then 74 random bits. */
MUST_USE enum err uuid_make_v7(int64_t unix_ms, struct uuid *out);

/* Version 4: 122 random bits; tells nothing about when it was made. */
MUST_USE enum err uuid_make_v4(struct uuid *out);

bool uuid_equal(const struct uuid *a, const struct uuid *b);

#endif
