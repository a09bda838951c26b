/*
 * keyring.h: the keys that sign access tokens, and the set that verifies them.
 *
 * A keyring holds one active key, which signs, and public keys that are still published so that
 * tokens signed earlier verify. It is opened once, then immutable and usable from any thread. A
 * struct signer is one thread's own handle on the active key: its own copy, so that threads do not
 * meet on the lock of OpenSSL's blinding values.
 */
#ifndef WW_AUTH_KEYRING_H
#define WW_AUTH_KEYRING_H

#include <openssl/evp.h>
#include <stdbool.h>

#include "base/secret.h"

#define KEYRING_BITS_MIN 2048
#define KEYRING_BITS_MAX 8192
#define KEYRING_PEM_MAX ((size_t)16 * 1024)
#define KID_MAX 128
#define SIGNATURE_MAX (KEYRING_BITS_MAX / 8)

struct keyring;
struct signer;

/* What a keyring is made of. kid "" means the key's RFC 7638 thumbprint. */
struct keyring_source {
    const struct secret *private_pem;
    const char *kid;
    const struct secret *previous_public_pem; /* len 0: none */
    const char *previous_kid;
};

/* What is wrong with a key, as a fixed text, and with which. */
struct keyring_flaw {
    const char *what;
    bool in_previous;
};

/* ERR_INVALID for a key that is not RSA, too small, broken or whose halves do not match, or for two
 * keys with one kid: *flaw says. Includes a self-test signature. */
MUST_USE enum err keyring_open(const struct keyring_source *source, struct keyring **out,
                               struct keyring_flaw *flaw);
void keyring_close(struct keyring *ring);

/* The slow checks as well (primality of the factors): for `check`, not for every start. */
MUST_USE enum err keyring_check_deep(const struct keyring *ring, const char **why);

/* A new RSA key of that many bits as PKCS#8 PEM. */
MUST_USE enum err keyring_generate(unsigned bits, struct secret *pem);

const char *keyring_active_kid(const struct keyring *ring);

/* The JWK set (RFC 7517), made once: public members only. */
const char *keyring_jwks(const struct keyring *ring, size_t *len);

/* The published key of that kid, owned by the ring; NULL if there is none. */
EVP_PKEY *keyring_find(const struct keyring *ring, const char *kid, size_t len);

MUST_USE enum err signer_open(const struct keyring *ring, struct signer **out);
void signer_close(struct signer *signer);
const char *signer_kid(const struct signer *signer);

/* RSASSA-PKCS1-v1_5 with SHA-256 (RS256, RFC 7518 section 3.3) over the bytes. */
MUST_USE enum err signer_sign(struct signer *signer, const void *data, size_t len,
                              uint8_t out[SIGNATURE_MAX], size_t *out_len);

#endif
