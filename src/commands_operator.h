/*
 * commands_operator.h: what the operator commands have in common: their arguments, the part of the
 * configuration that they need, the database, the user they are about, the question before they
 * destroy something, and the line in the log afterwards.
 */
#ifndef WW_COMMANDS_OPERATOR_H
#define WW_COMMANDS_OPERATOR_H

#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "boot.h"
#include "commands_options.h"
#include "config.h"
#include "store/store.h"

struct operation {
    struct options options;
    struct config config;
    struct boot boot; /* keys, if the command asked for them */
    struct store *store;
    struct store_conn *conn;
    char trace_id[33];                     /* of the audit line and the events */
    struct store_user user;                /* if the command names one */
    uint8_t identity[IDENTITY_DIGEST_LEN]; /* with keys: the user's */
};

/* Beside the database: which part of the configuration has to be right. */
enum operator_needs { NEEDS_NOTHING, NEEDS_KEYS, NEEDS_PASSWORDS };

struct operator_command {
    const char *name; /* "user show" */
    unsigned options; /* which it knows */
    enum operator_needs needs;
    const char *destroys; /* what it does (to the user, if it names one), if that has to be
                           * confirmed; or NULL */
    int (*run)(struct operation *op); /* gives the exit code */
};

/* Finds the command that argv begins with and runs it. group is "user" or "session"; every name
 * begins with it. */
int operator_main(const char *group, const struct operator_command *commands, size_t n, int argc,
                  char **argv);

/* What an operator does can be followed like a request: sets op->trace_id. */
MUST_USE enum err operator_begin_trace(struct operation *op);

/* Opens op->store and op->conn, if the database is at this program's version; says why not. Begins
 * the trace. Fine if it is open. */
MUST_USE bool operator_open_database(struct operation *op);
void operator_close(struct operation *op);

/* Ends every session of everybody, on all instances; the audit line says who asked. Opens the
 * database if it is not open. False if it could not be done: says why. */
MUST_USE bool operator_end_all_sessions(struct operation *op,
                                        char ended_before[CLOCK_RFC3339_LEN + 1]);

/* Says why the database failed; gives exit code 1. */
int operator_failed(const struct operation *op, enum err e);

/* The audit line: trace id, tenant, user (unless NULL), who asked. Others may be added before
 * log_end. */
void operator_audit(const struct operation *op, struct log_line *line, const char *event,
                    const char *message, const struct uuid *tenant_id, const struct uuid *user_id);
/* Who asked, for an audit line that is about more than one user. */
void operator_sign(struct log_line *line);

/* ---- output: text for people, or one JSON object; what the user's device sent is untrusted ----
 */
bool operator_json(const struct operation *op);
void operator_put_id(struct text *t, const char *key, const struct uuid *id);
void operator_put_time(struct text *t, const char *key, int64_t unix_ms);
/* Copies with everything but printable ASCII replaced, so that it cannot command a terminal. */
void operator_printable(const char *from, char *out, size_t cap);

#endif
