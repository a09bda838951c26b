/*
 * keys_source.h: the signing keys, from wherever the configuration says they are: the environment
 * (one key that signs, and one before it that still verifies) or KEYS_DIR.
 */
#ifndef WW_KEYS_SOURCE_H
#define WW_KEYS_SOURCE_H

#include "keys_dir.h"

/* Owns nothing. */
struct keys_source {
    const struct secret *private_pem; /* len 0: dir */
    const char *kid; /* of the private_pem, or of the only key in a directory that does not say; "":
                        the thumbprint */
    const struct secret *previous_pem; /* public; len 0: none */
    const char *previous_kid;
    const char *dir;
};

/* ERR_NOT_FOUND: the directory holds no key. Whatever the error, *flaw says. */
MUST_USE enum err keys_source_load(const struct keys_source *source, struct key_set *out,
                                   struct keys_flaw *flaw);

#endif
