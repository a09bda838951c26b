/*
 * keys_dir.h: the signing keys that KEYS_DIR holds. Part of main, like the commands.
 *
 * The private halves are *.pem files (PKCS#8, mode 0600), one a key, under any name. keyring.json
 * (keys_index.h) says which keys are published and in which state; a PEM file whose key it does not
 * name waits to be published. Without keyring.json the one *.pem is the active key.
 *
 * Reading takes no lock: whoever changes the directory (keys_change.h) replaces keyring.json in one
 * step, and destroys private halves only after it. A reader that meets a change looks again.
 */
#ifndef WW_KEYS_DIR_H
#define WW_KEYS_DIR_H

#include "auth/key_set.h"

#define KEYS_DIR_FILES_MAX 64
#define KEYS_DIR_NAME_MAX 128

/* What is wrong, and with what: the setting, and in the text the file where one is at fault. */
struct keys_flaw {
    const char *setting; /* a literal */
    char text[256];
};

void keys_flaw_set(struct keys_flaw *flaw, const char *setting, const char *fmt, ...)
    PRINTF_LIKE(3, 4);

/* Reads the keys with both their halves; lone_kid ("": its thumbprint) is what the only key of a
 * directory without keyring.json is called. ERR_NOT_FOUND: there is none. Refused is a directory
 * that others may write to, a file that others may read or that is a link, and any key that is
 * weak, broken or there twice. Whatever the error, *flaw says. */
MUST_USE enum err keys_dir_read(const char *dir, const char *lone_kid, struct key_set *out,
                                struct keys_flaw *flaw);

/* Makes dir and in it a first key, which is active. Fine if another process was faster. */
MUST_USE enum err keys_dir_generate(const char *dir, struct keys_flaw *flaw);

/* ---- for those who change it or show it ---- */

/* A *.pem file. */
struct keys_file {
    char name[KEYS_DIR_NAME_MAX];
    struct key_entry key; /* kid: its thumbprint, or that of keyring.json */
    bool listed;          /* keyring.json knows its key */
};

struct keys_listing {
    bool indexed; /* there is a keyring.json */
    struct key_set set;
    struct keys_file *files; /* KEYS_DIR_FILES_MAX of them */
    unsigned file_count;
};

/* As keys_dir_read, but an empty directory is fine, and so is one without an active key. */
MUST_USE enum err keys_listing_open(const char *dir, const char *lone_kid, struct keys_listing *out,
                                    struct keys_flaw *flaw);
void keys_listing_close(struct keys_listing *listing);

#endif
