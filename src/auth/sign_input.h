/*
 * sign_input.h: what may be signed.
 *
 * The process that holds the private key signs nothing but access tokens of this service, and looks
 * at what it is given with a reader of its own: the exact bytes that access_token_prepare writes,
 * member by member, for the key it holds, with our issuer, audience and extra claims, an iat of now
 * and an exp that follows by the lifetime. There is no other way to write the same thing, so
 * nothing that a JSON parser might see differently is left. No allocation; any thread may call.
 */
#ifndef WW_AUTH_SIGN_INPUT_H
#define WW_AUTH_SIGN_INPUT_H

#include "auth/access_token.h"

/* How far iat may be from the signer's clock, in seconds: the time a request waits to be signed. */
#define SIGN_INPUT_SKEW_SECONDS 60

struct sign_input_rules {
    const char *kid;
    const struct access_policy *policy;
};

/* ERR_DENIED for everything else. */
MUST_USE enum err sign_input_check(const struct sign_input_rules *rules, const char *in, size_t len,
                                   int64_t now_s);

#endif
