#include "commands_options.h"

#include <stdio.h>
#include <string.h>

static const struct option {
    const char *name;
    unsigned bit;
    bool has_value;
} OPTIONS[] = {
    {"--tenant", OPTION_TENANT, true},
    {"--email", OPTION_EMAIL, true},
    {"--user", OPTION_USER, true},
    {"--session", OPTION_SESSION, true},
    {"--yes", OPTION_YES, false},
    {"--json", OPTION_JSON, false},
    {"--emergency", OPTION_EMERGENCY, false},
    {"--sessions", OPTION_SESSIONS, false},
    {"--compromise", OPTION_COMPROMISE, false},
    {"--url", OPTION_URL, true},
};

/* The names alone are repeated: a value may be what nobody should see. */
static bool wrong(const char *command, const char *name, size_t len, const char *what)
{
    fprintf(stderr, "watchword: %s: %.*s %s\n", command, (int)len, name, what);
    return false;
}

static bool wrong_option(const char *command, const struct option *option, const char *what)
{
    return wrong(command, option->name, strlen(option->name), what);
}

static const struct option *find(const char *name, size_t len, unsigned allowed)
{
    for (size_t i = 0; i < ARRAY_LEN(OPTIONS); i++)
        if ((OPTIONS[i].bit & allowed) != 0 && strlen(OPTIONS[i].name) == len &&
            strncmp(OPTIONS[i].name, name, len) == 0)
            return &OPTIONS[i];
    return NULL;
}

static bool take(const char *command, const struct option *option, const char *value,
                 struct options *out)
{
    struct uuid *ids[] = {&out->tenant, NULL, &out->user, &out->session};
    if (option->bit == OPTION_URL) {
        out->url = value;
        return true;
    }
    if (option->bit == OPTION_EMAIL)
        return identity_canonical(value, strlen(value), out->email) == OK ||
               wrong_option(command, option, "is not an e-mail address");
    for (unsigned i = 0; i < ARRAY_LEN(ids); i++)
        if (option->bit == 1U << i)
            return uuid_parse(value, strlen(value), ids[i]) == OK ||
                   wrong_option(command, option, "is not a UUID");
    return true;
}

static bool take_kid(const char *command, unsigned allowed, const char *argument,
                     struct options *out)
{
    if ((allowed & OPTION_KID) == 0)
        return wrong(command, argument, strlen(argument), "is not an option");
    if ((out->given & OPTION_KID) != 0)
        return wrong(command, argument, strlen(argument), "is a second key; name one");
    out->given |= OPTION_KID;
    out->kid = argument;
    return true;
}

/* One argument, and the next if that is its value; *used is how many. */
static bool read_one(const char *command, unsigned allowed, int argc, char **argv,
                     struct options *out, int *used)
{
    const char *argument = argv[0];
    size_t len = strcspn(argument, "=");
    *used = 1;
    if (strcmp(argument, "--") == 0 && argc == 2) {
        *used = 2;
        return take_kid(command, allowed, argv[1], out);
    }
    if (strncmp(argument, "--", 2) != 0)
        return take_kid(command, allowed, argument, out);
    const struct option *option = find(argument, len, allowed);
    if (option == NULL)
        return wrong(command, argument, len, "is not an option of this command");
    if ((out->given & option->bit) != 0)
        return wrong_option(command, option, "is given twice");
    out->given |= option->bit;
    const char *value = argument[len] == '=' ? argument + len + 1 : NULL;
    if (!option->has_value)
        return value == NULL || wrong_option(command, option, "takes no value");
    if (value == NULL && argc > 1 && strncmp(argv[1], "--", 2) != 0) {
        value = argv[1];
        *used = 2;
    }
    if (value == NULL || value[0] == '\0')
        return wrong_option(command, option, "needs a value");
    return take(command, option, value, out);
}

static bool complete(const char *command, unsigned allowed, const struct options *out)
{
    static const unsigned either = OPTION_EMAIL | OPTION_USER;
    unsigned missing = allowed & ~out->given;
    if ((missing & OPTION_TENANT) != 0)
        return wrong(command, "--tenant", 8, "is required");
    if ((missing & OPTION_SESSION) != 0)
        return wrong(command, "--session", 9, "is required");
    if ((missing & OPTION_KID) != 0)
        return wrong(command, "KID", 3, "is required: the key's id, as keys list shows it");
    if ((missing & OPTION_URL) != 0)
        return wrong(command, "--url", 5, "is required");
    if ((allowed & either) == 0)
        return true;
    if ((missing & either) == either)
        return wrong(command, "--email or --user", 17, "is required");
    if ((missing & either) == 0)
        return wrong(command, "--email and --user", 18, "are both given; give one");
    return true;
}

bool options_read(const char *command, unsigned allowed, int argc, char **argv, struct options *out)
{
    struct options options = {0};
    for (int at = 0; at < argc;) {
        int used = 0;
        if (!read_one(command, allowed, argc - at, argv + at, &options, &used))
            return false;
        at += used;
    }
    if (!complete(command, allowed, &options))
        return false;
    *out = options;
    return true;
}
