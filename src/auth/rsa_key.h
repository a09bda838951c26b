/*
 * rsa_key.h: RSA keys as PEM text: reading them, what is wrong with them, and making them.
 */
#ifndef WW_AUTH_RSA_KEY_H
#define WW_AUTH_RSA_KEY_H

#include <openssl/evp.h>
#include <stdbool.h>

#include "auth/key_set.h"
#include "base/encode.h"

#define RSA_KEY_BITS_MIN 2048
#define RSA_KEY_BITS_MAX 8192
#define RSA_KEY_PEM_MAX ((size_t)16 * 1024)
/* The members n and e of a JWK (RFC 7518 section 6.3.1), base64url, with the NUL. */
#define RSA_KEY_N_MAX (BASE64_LEN(RSA_KEY_BITS_MAX / 8) + 1)
#define RSA_KEY_E_MAX 16

/* ERR_INVALID for what is not an unencrypted RSA key of that kind, or a weak one: *why says, as a
 * fixed text. Does not see whether the halves of a private key match. */
MUST_USE enum err rsa_key_read(const struct secret *pem, bool private, EVP_PKEY **out,
                               const char **why);

/* The JWK's members. */
MUST_USE enum err rsa_key_members(const EVP_PKEY *pkey, char n[RSA_KEY_N_MAX],
                                  char e[RSA_KEY_E_MAX]);

/* The public key of a JWK's members. ERR_INVALID. */
MUST_USE enum err rsa_key_from_members(const char *n, const char *e, EVP_PKEY **out);

/* RFC 7638. */
MUST_USE enum err rsa_key_thumbprint(const EVP_PKEY *pkey, char out[KID_MAX + 1]);

/* 1 to KID_MAX printable ASCII characters without quotes and backslashes. */
MUST_USE bool rsa_key_kid_ok(const char *kid);

/* The public half as SubjectPublicKeyInfo in PEM. */
MUST_USE enum err rsa_key_public_pem(const EVP_PKEY *pkey, struct secret *out);

/* A new key of that many bits as PKCS#8 in PEM. */
MUST_USE enum err rsa_key_generate(unsigned bits, struct secret *pem);

/* The slow checks as well (primality of the factors): for `check`, not for every start. */
MUST_USE enum err rsa_key_check_deep(const struct secret *private_pem, const char **why);

static inline void cleanup_rsa_key(EVP_PKEY **pkey)
{
    EVP_PKEY_free(*pkey);
}

#endif
