/*
 * identity.h: e-mail addresses as identifiers.
 *
 * One canonical form, made once and compared byte by byte everywhere: the local part NFKC
 * case-folded (so full-width and Kelvin-sign look-alikes meet their plain form), the domain as
 * lower-case A-labels (IDNA 2008). Surrounding ASCII spaces are dropped. Invisible and control
 * characters are refused. Pure functions; any thread may call.
 */
#ifndef WW_AUTH_IDENTITY_H
#define WW_AUTH_IDENTITY_H

#include "auth/service_keys.h"
#include "base/uuid.h"

#define IDENTITY_MAX 254      /* RFC 5321 section 4.5.3.1.3, without the angle brackets */
#define IDENTITY_LOCAL_MAX 64 /* RFC 5321 section 4.5.3.1.1 */
#define IDENTITY_DIGEST_LEN 32
#define IDENTITY_TAG_LEN 16 /* hexadecimal digits shown in log lines and events */

/* ERR_MALFORMED if it is not an address. */
MUST_USE enum err identity_canonical(const char *in, size_t len, char out[IDENTITY_MAX + 1]);

/* Keyed digest of tenant and canonical address: names an identity without telling it. */
MUST_USE enum err identity_digest(const struct service_keys *keys, const struct uuid *tenant_id,
                                  const char *canonical, uint8_t out[IDENTITY_DIGEST_LEN]);

/* The short form of a digest for log lines. */
void identity_tag(const uint8_t digest[IDENTITY_DIGEST_LEN], char out[IDENTITY_TAG_LEN + 1]);

#endif
