/*
 * keys_source.h: the signing keys, from wherever the configuration says they are: the environment
 * (one key that signs, and one before it that still verifies) or KEYS_DIR.
 *
 * A private key that the environment holds is moved out of it first thing, into sealed memory that
 * only a descriptor leads to: the descriptor goes to the process that signs, and nobody else can
 * read the key. Part of main, like the commands.
 */
#ifndef WW_KEYS_SOURCE_H
#define WW_KEYS_SOURCE_H

#include "keys_dir.h"

struct keys_source {
    int private_fd;              /* of the environment's key or of its file; -1: dir */
    const char *private_setting; /* which of the two */
    const char *kid; /* of that key, or of the only one in a directory that does not say; "": the
                        thumbprint */
    const struct secret *previous_pem; /* public; len 0: none */
    const char *previous_kid;
    const char *dir;
};

/* Takes JWT_PRIVATE_KEY_PEM out of the environment, where a mark remains for config_read. -1 if it
 * is not there; if it cannot be moved the process ends, for it could not be kept. Before other
 * threads run. */
int keys_source_take(void);

/* Sets private_fd and private_setting: taken is what keys_source_take gave, file the path of
 * JWT_PRIVATE_KEY_PEM_FILE or NULL. */
MUST_USE enum err keys_source_open(struct keys_source *source, int taken, const char *file,
                                   struct keys_flaw *flaw);

/* May be called again and again. ERR_NOT_FOUND: the directory holds no key. Whatever the error,
 * *flaw says. */
MUST_USE enum err keys_source_load(const struct keys_source *source, struct key_set *out,
                                   struct keys_flaw *flaw);

#endif
