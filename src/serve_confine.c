#include "serve_confine.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/process.h"
#include "net/nats.h"
#include "store/needs.h"

struct allowing {
    struct landlock landlock;
    const char *keys; /* the directory or the file they are in; NULL: neither */
};

static void allow_path(void *arg, const char *path, bool write)
{
    struct allowing *a = arg;
    landlock_allow_path(&a->landlock, path, LANDLOCK_READ | (write ? LANDLOCK_WRITE : 0));
}

/* What holds below a directory holds for all of it: a database beside the keys gets its files
 * alone. */
static bool is_above(const char *dir, const char *keys)
{
    char outer[PATH_MAX], inner[PATH_MAX];
    if (keys == NULL)
        return false;
    if (realpath(dir, outer) == NULL || realpath(keys, inner) == NULL)
        return true;
    size_t len = strlen(outer);
    return strncmp(outer, inner, len) == 0 && (len == 1 || inner[len] == '/' || inner[len] == '\0');
}

static void allow_directory(void *arg, const char *path)
{
    struct allowing *a = arg;
    if (!is_above(path, a->keys))
        landlock_allow_path(&a->landlock, path, LANDLOCK_READ | LANDLOCK_WRITE | LANDLOCK_CHANGE);
}

static void allow_port(void *arg, unsigned port)
{
    struct allowing *a = arg;
    landlock_allow_connect(&a->landlock, port);
}

/* The system's authorities are among what everyone may read; others are named by OpenSSL's own
 * variables. */
static void allow_nats(struct allowing *a, const char *url)
{
    static const char *const names[] = {"SSL_CERT_FILE", "SSL_CERT_DIR"};
    if (!nats_list_ports(url, allow_port, a))
        return;
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        const char *path = getenv(names[i]); /* NOLINT(concurrency-mt-unsafe): no threads yet */
        if (path != NULL && path[0] != '\0')
            allow_path(a, path, false);
    }
}

static enum err refuse(const char *what)
{
    fprintf(stderr, "watchword: SANDBOX is require, and this kernel has no %s\n", what);
    return ERR_UNAVAILABLE;
}

enum err serve_confine_files(const struct config *config, const struct store *store,
                             struct confine_gaps *gaps)
{
    struct allowing allowing = {.keys = config->jwt_key_given ? config->jwt_key_file
                                                              : config->keys_dir};
    const struct store_needs needs = {&allowing, allow_path, allow_directory, allow_port};
    struct process_usage usage;
    (void)!process_read(&usage); /* opens what it will go on reading */
    confine_network_begin(&allowing.landlock);
    if (allowing.landlock.fd >= 0)
        TRY(store_list_needs(store, &needs));
    if (allowing.landlock.fd >= 0 && config->nats_url.len > 0)
        allow_nats(&allowing, (const char *)config->nats_url.data);
    if (confine_network_files(config->confine, &allowing.landlock, gaps) != OK)
        return refuse("Landlock");
    return OK;
}

enum err serve_confine_calls(const struct config *config, struct confine_gaps *gaps)
{
    if (confine_network_calls(config->confine, gaps) != OK)
        return refuse("seccomp filters");
    if (config->confine == CONFINE_OFF && config->production)
        log_note(LOG_WARN, "sandbox.off", "the processes are not confined", "SANDBOX=off");
    else if (gaps->files)
        log_note(LOG_WARN, "sandbox.incomplete", "files are not confined", "no Landlock");
    else if (gaps->ports)
        log_note(LOG_WARN, "sandbox.incomplete", "TCP connections are not confined",
                 "Landlock before ABI 4");
    if (gaps->calls && config->confine != CONFINE_OFF)
        log_note(LOG_WARN, "sandbox.incomplete", "system calls are not confined", "no seccomp");
    return OK;
}
