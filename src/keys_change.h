/*
 * keys_change.h: changing the keys in KEYS_DIR. Part of main, like the commands.
 *
 * A change holds the directory's lock, so that of several instances and operators one changes it at
 * a time. It is made in memory (key_lifecycle.h) and committed in one step, the replacement of
 * keyring.json; only then are the private halves that nobody needs any more destroyed. Killed at
 * any point, the directory holds the keys of before or of after, and the next change tidies up.
 */
#ifndef WW_KEYS_CHANGE_H
#define WW_KEYS_CHANGE_H

#include "auth/key_lifecycle.h"
#include "keys_dir.h"

#define KEYS_GENERATED_BITS 2048

struct keys_change {
    const char *dir;
    int lock; /* a descriptor */
    struct keys_listing before;
    struct key_set set; /* to be changed */
};

/* Takes the lock and reads the directory. ERR_BUSY if another holds the lock for long. lone_kid as
 * for keys_dir_read; dir has to outlive the change. */
MUST_USE enum err keys_change_begin(const char *dir, const char *lone_kid, struct keys_change *out,
                                    struct keys_flaw *flaw);

/* Puts the set in place, then destroys the private halves that nobody needs any more; that one
 * cannot be destroyed is in the log, and no error. */
MUST_USE enum err keys_change_commit(struct keys_change *change, struct keys_flaw *flaw);

/* Lets go. A change that was not committed has not happened. */
void keys_change_end(struct keys_change *change);

/* Makes a new key in a file of its own, which no set names yet. */
MUST_USE enum err keys_change_generate(struct keys_change *change, unsigned bits,
                                       struct key_entry *out, struct keys_flaw *flaw);

/* The key that waits to be published, as an entry of its own; ERR_NOT_FOUND. */
MUST_USE enum err keys_change_take(const struct keys_change *change, const char *kid,
                                   struct key_entry *out);

/* Destroys the file of a key that waits to be published. ERR_NOT_FOUND. */
MUST_USE enum err keys_change_discard(struct keys_change *change, const char *kid,
                                      struct keys_flaw *flaw);

/* ---- the regular look ---- */

/* What was done, in this order. */
struct keys_tended {
    struct {
        enum key_due what;
        char kid[KID_MAX + 1];
    } steps[KEYS_MAX + 2];
    unsigned count;
};

/* Whether there may be something to do. Reads keyring.json alone, so no key comes into this
 * process; without one it cannot tell, and says yes if keys rotate. */
MUST_USE bool keys_dir_may_be_due(const char *dir, int64_t rotate_s, int64_t now);

/* Does what is due (key_lifecycle.h). Looks without the lock first, so an instance that finds
 * nothing to do writes nothing. OK also when another instance was faster. */
MUST_USE enum err keys_dir_tend(const char *dir, const char *lone_kid, int64_t rotate_s,
                                int64_t now, struct keys_tended *out, struct keys_flaw *flaw);

#endif
