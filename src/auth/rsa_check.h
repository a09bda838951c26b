/*
 * rsa_check.h: whether the values of a private RSA key belong together (RFC 8017 section 3.2):
 * n = p q, the exponents, the coefficient; and whether the factors lie far enough apart (FIPS
 * 186-4, B.3.3). A fraction of a millisecond: for every start. Whether the factors are prime is a
 * slower question (rsa_key_check_deep).
 */
#ifndef WW_AUTH_RSA_CHECK_H
#define WW_AUTH_RSA_CHECK_H

#include <openssl/evp.h>

/* NULL if they do; otherwise what is wrong, as a fixed text. Any thread may call. */
const char *rsa_check_private(const EVP_PKEY *key);

#endif
