/*
 * keys_dir.h: the signing keys that KEYS_DIR holds. Part of main, like the commands.
 *
 * One *.pem (PKCS#8, mode 0600) is the active key.
 */
#ifndef WW_KEYS_DIR_H
#define WW_KEYS_DIR_H

#include "auth/key_set.h"

/* What is wrong, and with what: the setting, and in the text the file where one is at fault. */
struct keys_flaw {
    const char *setting; /* a literal */
    char text[256];
};

void keys_flaw_set(struct keys_flaw *flaw, const char *setting, const char *fmt, ...)
    PRINTF_LIKE(3, 4);

/* Reads the keys with both their halves. ERR_NOT_FOUND: there is none. Whatever the error, *flaw
 * says. */
MUST_USE enum err keys_dir_read(const char *dir, struct key_set *out, struct keys_flaw *flaw);

/* Makes dir and in it a first key, which is active. Fine if another process was faster. */
MUST_USE enum err keys_dir_generate(const char *dir, struct keys_flaw *flaw);

#endif
