/*
 * config_values.h: one value of the environment at a time, checked as its kind of value is. For
 * config.c alone.
 */
#ifndef WW_CONFIG_VALUES_H
#define WW_CONFIG_VALUES_H

#include <stdio.h>
#include <string.h>

#include "base/encode.h"
#include "base/file.h"
#include "base/text.h"

#define SECRET_FILE_MAX ((size_t)32 * 1024)

/* NULL if unset; an empty value counts as unset, as compose files write it. */
static const char *value_of(const char *name)
{
    const char *v = getenv(name); /* NOLINT(concurrency-mt-unsafe): no threads yet */
    return v != NULL && v[0] != '\0' ? v : NULL;
}

static const char *string(const char *name, const char *fallback)
{
    const char *v = value_of(name);
    return v != NULL ? v : fallback;
}

static uint64_t number(struct config *c, const char *name, uint64_t fallback, uint64_t min,
                       uint64_t max)
{
    const char *v = value_of(name);
    uint64_t n = 0;
    if (v == NULL)
        return fallback;
    if (decimal_parse(v, strlen(v), min, max, &n) == OK)
        return n;
    config_problem(c, name, "must be a whole number from %llu to %llu", (unsigned long long)min,
                   (unsigned long long)max);
    return fallback;
}

static unsigned small(struct config *c, const char *name, unsigned fallback, unsigned min,
                      unsigned max)
{
    return (unsigned)number(c, name, fallback, min, max);
}

static bool boolean(struct config *c, const char *name, bool fallback)
{
    const char *v = value_of(name);
    if (v == NULL)
        return fallback;
    if (strcmp(v, "true") == 0)
        return true;
    if (strcmp(v, "false") != 0)
        config_problem(c, name, "must be true or false");
    return false;
}

/* The position of the value in a NULL-terminated list. */
static unsigned choice(struct config *c, const char *name, const char *const *list,
                       unsigned fallback)
{
    const char *v = value_of(name);
    if (v == NULL)
        return fallback;
    for (unsigned i = 0; list[i] != NULL; i++)
        if (strcmp(v, list[i]) == 0)
            return i;
    char all[96];
    struct text t = text_on(all, sizeof all);
    for (unsigned i = 0; list[i] != NULL; i++)
        text_put_f(&t, "%s%s", i > 0 ? ", " : "", list[i]);
    config_problem(c, name, "must be one of: %s", all);
    return fallback;
}

static void path(struct config *c, const char *name, const char *fallback, char *out)
{
    const char *v = string(name, fallback);
    if (strlen(v) >= CONFIG_PATH_MAX - 64) {
        config_problem(c, name, "is too long");
        v = fallback;
    }
    text_copy(out, CONFIG_PATH_MAX, v, strlen(v));
}

/* ---- secrets: NAME or NAME_FILE ---- */

static void drop_line_end(struct secret *s)
{
    while (s->len > 0 && (s->data[s->len - 1] == '\n' || s->data[s->len - 1] == '\r'))
        s->data[--s->len] = '\0';
}

static void secret_from_file(struct config *c, const char *file_name, struct secret *out)
{
    const char *file = value_of(file_name);
    enum err e = file_read(file, SECRET_FILE_MAX, out);
    if (e == OK)
        drop_line_end(out);
    else
        config_problem(c, file_name, "cannot be read (%s)", err_name(e));
    if (e == OK && out->len == 0)
        config_problem(c, file_name, "the file is empty");
}

static void secret(struct config *c, const char *name, const char *file_name, struct secret *out)
{
    char *v = getenv(name); /* NOLINT(concurrency-mt-unsafe): no threads yet */
    bool given = v != NULL && v[0] != '\0';
    if (given && value_of(file_name) != NULL)
        config_problem(c, name, "is given together with %s; give one", file_name);
    if (given) {
        if (secret_copy(v, strlen(v), out) != OK)
            config_problem(c, name, "is too long");
        /* The environment stays readable in /proc for the life of the process. */
        secret_wipe(v, strlen(v));
    } else if (value_of(file_name) != NULL) {
        secret_from_file(c, file_name, out);
    }
}

#endif
