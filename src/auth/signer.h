/*
 * signer.h: the private half of a key, at work.
 *
 * Each thread that signs opens a signer of its own: its own copy of the key, so that threads do not
 * meet on the lock of OpenSSL's blinding values. Every signature is verified before it is handed
 * out: a fault in the arithmetic, which could tell a factor of the modulus, never leaves.
 */
#ifndef WW_AUTH_SIGNER_H
#define WW_AUTH_SIGNER_H

#include <stddef.h>

#include "auth/key_set.h"

#define SIGNATURE_MAX 1024 /* bytes of the largest modulus, RSA_KEY_BITS_MAX */

struct signer;

/* A copy of the entry's private key; the entry may go afterwards. */
MUST_USE enum err signer_open(const struct key_entry *entry, struct signer **out);
void signer_close(struct signer *signer);
const char *signer_kid(const struct signer *signer);

/* RSASSA-PKCS1-v1_5 with SHA-256 (RS256, RFC 7518 section 3.3) over the bytes. ERR_INTERNAL also if
 * the signature does not verify. */
MUST_USE enum err signer_sign(struct signer *signer, const void *data, size_t len,
                              uint8_t out[SIGNATURE_MAX], size_t *out_len);

#endif
