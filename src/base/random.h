/*
 * random.h: the one source of randomness, the kernel's (getrandom(2)). It has no state in this
 * process that a fork could copy or a memory error could show. Any thread may call.
 */
#ifndef WW_BASE_RANDOM_H
#define WW_BASE_RANDOM_H

#include <stddef.h>

#include "base/err.h"

/* Fills out[0..len). ERR_UNAVAILABLE when the generator fails: then nothing may be issued. */
MUST_USE enum err random_bytes(void *out, size_t len);

#endif
