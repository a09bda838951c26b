/*
 * access_token.h: RS256 access tokens (RFC 7519, profile of RFC 9068).
 *
 * Issuing is in two halves, because signing happens elsewhere: access_token_prepare makes what is
 * to be signed, access_token_finish adds the signature. Any thread may call. The service accepts
 * only what it issues: RS256, typ at+jwt, a published kid, its own iss and aud.
 */
#ifndef WW_AUTH_ACCESS_TOKEN_H
#define WW_AUTH_ACCESS_TOKEN_H

#include "auth/keyring.h"
#include "base/text.h"
#include "base/uuid.h"

#define ACCESS_TOKEN_MAX 8192
#define ACCESS_EXTRA_CLAIMS_MAX 2048
#define ACCESS_LEEWAY_SECONDS 30

/* Fixed for the life of the process. */
struct access_policy {
    const char *issuer;
    const char *audience;
    const char *extra_claims; /* members of a JSON object without its braces, or "" */
    int64_t ttl_seconds;
};

struct access_claims {
    struct uuid tenant_id;
    struct uuid user_id;
    struct uuid session_id;
    int64_t auth_time; /* Unix seconds of the login */
};

/* The header of tokens that the key of that kid signs, as JSON. */
void access_token_header(const char *kid, struct text *t);

/* The signing input (RFC 7515 section 5.1): header and claims of a new token, without the last dot.
 * kid is that of the key that will sign; now_s is iat. */
MUST_USE enum err access_token_prepare(const struct access_policy *policy, const char *kid,
                                       const struct access_claims *claims, int64_t now_s,
                                       char out[ACCESS_TOKEN_MAX], size_t *out_len);

/* Adds the signature: the compact serialization, NUL-terminated; *len counts without the NUL. */
MUST_USE enum err access_token_finish(char token[ACCESS_TOKEN_MAX], size_t *len,
                                      const uint8_t *signature, size_t signature_len);

/* ERR_DENIED for everything that is not a valid token of this service at now_s; ERR_INTERNAL when
 * it could not be judged. */
MUST_USE enum err access_token_verify(const struct access_policy *policy,
                                      const struct keyring *ring, const char *in, size_t len,
                                      int64_t now_s, struct access_claims *out);

/* Whether these members (a JSON object) may be added to tokens; else a fixed text that says why
 * not. On success writes them without braces. */
const char *access_extra_claims(const char *json, size_t len, char out[ACCESS_EXTRA_CLAIMS_MAX]);

#endif
