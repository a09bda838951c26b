#include "config_values.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/encode.h"
#include "base/file.h"
#include "base/text.h"

#define SECRET_FILE_MAX ((size_t)32 * 1024)

const char *config_value(const char *name)
{
    const char *v = getenv(name); /* NOLINT(concurrency-mt-unsafe): no threads yet */
    return v != NULL && v[0] != '\0' ? v : NULL;
}

const char *config_string(const char *name, const char *fallback)
{
    const char *v = config_value(name);
    return v != NULL ? v : fallback;
}

uint64_t config_number(struct config *c, const char *name, uint64_t fallback, uint64_t min,
                       uint64_t max)
{
    const char *v = config_value(name);
    uint64_t n = 0;
    if (v == NULL)
        return fallback;
    if (decimal_parse(v, strlen(v), min, max, &n) == OK)
        return n;
    config_problem(c, name, "must be a whole number from %llu to %llu", (unsigned long long)min,
                   (unsigned long long)max);
    return fallback;
}

unsigned config_small(struct config *c, const char *name, unsigned fallback, unsigned min,
                      unsigned max)
{
    return (unsigned)config_number(c, name, fallback, min, max);
}

bool config_boolean(struct config *c, const char *name, bool fallback)
{
    const char *v = config_value(name);
    if (v == NULL)
        return fallback;
    if (strcmp(v, "true") == 0)
        return true;
    if (strcmp(v, "false") != 0)
        config_problem(c, name, "must be true or false");
    return false;
}

unsigned config_choice(struct config *c, const char *name, const char *const *list,
                       unsigned fallback)
{
    const char *v = config_value(name);
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

void config_path(struct config *c, const char *name, const char *fallback, char *out)
{
    const char *v = config_string(name, fallback);
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
    const char *file = config_value(file_name);
    enum err e = file_read(file, SECRET_FILE_MAX, out);
    if (e == OK)
        drop_line_end(out);
    else
        config_problem(c, file_name, "cannot be read (%s)", err_name(e));
    if (e == OK && out->len == 0)
        config_problem(c, file_name, "the file is empty");
}

void config_secret(struct config *c, const char *name, const char *file_name, struct secret *out)
{
    char *v = getenv(name); /* NOLINT(concurrency-mt-unsafe): no threads yet */
    bool given = v != NULL && v[0] != '\0';
    if (given && config_value(file_name) != NULL)
        config_problem(c, name, "is given together with %s; give one", file_name);
    if (given) {
        if (secret_copy(v, strlen(v), out) != OK)
            config_problem(c, name, "is too long");
        /* The environment stays readable in /proc for the life of the process. */
        secret_wipe(v, strlen(v));
    } else if (config_value(file_name) != NULL) {
        secret_from_file(c, file_name, out);
    }
}
