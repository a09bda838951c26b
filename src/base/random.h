/* random.h: the one source of randomness, OpenSSL's CSPRNG. Any thread may call. */
#ifndef WW_BASE_RANDOM_H
#define WW_BASE_RANDOM_H

#include <stddef.h>

#include "base/err.h"

/* Fills out[0..len). ERR_INTERNAL when the generator fails: then nothing may be issued. */
MUST_USE enum err random_bytes(void *out, size_t len);

#endif
