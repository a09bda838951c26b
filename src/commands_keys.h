/* commands_keys.h: what the files of `watchword keys` share. */
#ifndef WW_COMMANDS_KEYS_H
#define WW_COMMANDS_KEYS_H

#include "commands_operator.h"
#include "keys_change.h"

struct keys_operation {
    const char *command;
    struct operation op;
    struct keys_change change; /* for commands that change the keys once */
    int64_t now;               /* Unix seconds */
};

MUST_USE bool keys_given(const struct keys_operation *k, unsigned option);

/* Says what is wrong with the directory; gives exit code 1. */
int keys_flawed(const struct keys_flaw *flaw);

/* The audit line of a change. */
void keys_audit(const struct keys_operation *k, const char *event, const char *message,
                const char *kid);

/* Makes a key in the directory of the change that is under way. */
MUST_USE enum err keys_generate(struct keys_operation *k, struct key_entry *out,
                                struct keys_flaw *flaw);

/* Revokes and commits; makes a successor if none is next. */
MUST_USE enum err keys_revoke(struct keys_operation *k, const char *kid, struct key_refusal *why,
                              struct keys_flaw *flaw);

/* ---- commands_keys_drill.c ---- */
int keys_drill(struct keys_operation *k);

#endif
