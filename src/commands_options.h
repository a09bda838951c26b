/* commands_options.h: the options of the operator commands. --name VALUE or --name=VALUE, each at
 * most once; what a command does not know is wrong usage. A key is the one argument without a name;
 * after -- it may begin with two dashes. */
#ifndef WW_COMMANDS_OPTIONS_H
#define WW_COMMANDS_OPTIONS_H

#include <stdbool.h>

#include "auth/identity.h"

enum {
    OPTION_TENANT = 1 << 0,
    OPTION_EMAIL = 1 << 1,
    OPTION_USER = 1 << 2,
    OPTION_SESSION = 1 << 3,
    OPTION_YES = 1 << 4,
    OPTION_JSON = 1 << 5,
    OPTION_KID = 1 << 6,
    OPTION_EMERGENCY = 1 << 7,
    OPTION_SESSIONS = 1 << 8,
    OPTION_COMPROMISE = 1 << 9,
    OPTION_URL = 1 << 10,
};

/* How a user is named: a tenant, and one of the other two. */
#define OPTIONS_USER (OPTION_TENANT | OPTION_EMAIL | OPTION_USER)

struct options {
    unsigned given; /* which of the above */
    struct uuid tenant, user, session;
    char email[IDENTITY_MAX + 1]; /* canonical */
    const char *kid;              /* points into the arguments, as url does */
    const char *url;
};

/* Reads the arguments of a command ("user show"). allowed: what it knows; all of OPTIONS_USER,
 * OPTION_SESSION, OPTION_KID and OPTION_URL in it is also required. Says what is wrong; false is
 * then exit code 2. */
MUST_USE bool options_read(const char *command, unsigned allowed, int argc, char **argv,
                           struct options *out);

#endif
