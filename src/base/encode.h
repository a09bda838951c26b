/*
 * encode.h: binary to text and back, strictly. A decoder accepts exactly the one canonical encoding
 * of each value: no padding, no white space, no stray trailing bits (RFC 4648 section 3.5), so two
 * different strings never mean the same bytes. Any thread may call.
 */
#ifndef WW_BASE_ENCODE_H
#define WW_BASE_ENCODE_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* Characters that n bytes take in unpadded base64, without the final NUL. */
#define BASE64_LEN(n) (((n)*4 + 2) / 3)

/* base64url without padding (RFC 4648 section 5, as RFC 7515 uses it). out holds BASE64_LEN + 1. */
size_t base64url_encode(const uint8_t *in, size_t len, char *out);

/* ERR_MALFORMED unless canonical; ERR_TOO_LARGE if it decodes to more than cap bytes. */
MUST_USE enum err base64url_decode(const char *in, size_t in_len, uint8_t *out, size_t cap,
                                   size_t *out_len);

/* The standard alphabet without padding, as PHC strings use it. */
size_t base64_encode(const uint8_t *in, size_t len, char *out);
MUST_USE enum err base64_decode(const char *in, size_t in_len, uint8_t *out, size_t cap,
                                size_t *out_len);

/* Lower-case hexadecimal; out holds 2 * len + 1. */
void hex_encode(const uint8_t *in, size_t len, char *out);

/* A whole number in plain decimal: digits only, no sign, no leading zero, within [min, max]. */
MUST_USE enum err decimal_parse(const char *in, size_t len, uint64_t min, uint64_t max,
                                uint64_t *out);

#endif
