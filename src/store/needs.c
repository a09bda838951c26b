#include "store/needs.h"

#include <arpa/inet.h>
#include <limits.h>
#include <string.h>

#include "base/encode.h"
#include "base/text.h"
#include "store/libpq.h"
#include "store/ops.h"

#define POSTGRESQL_PORT "5432"
#define DNS_PORT 53

static void tell_path(const struct store_needs *needs, const char *first, const char *rest,
                      bool write)
{
    char path[PATH_MAX];
    struct text t = text_on(path, sizeof path);
    text_put(&t, first);
    text_put(&t, rest);
    if (text_ok(&t))
        needs->path(needs->arg, path, write);
}

/* ---- SQLite ---- */

static void sqlite_needs(const char *path, const struct store_needs *needs)
{
    static const char *const suffixes[] = {"", "-wal", "-shm", "-journal"};
    char dir[PATH_MAX];
    const char *slash = strrchr(path, '/');
    for (size_t i = 0; i < ARRAY_LEN(suffixes); i++)
        tell_path(needs, path, suffixes[i], true);
    text_copy(dir, sizeof dir, path, slash != NULL ? (size_t)(slash - path) : 0);
    needs->directory(needs->arg, dir[0] != '\0' ? dir : slash != NULL ? "/" : ".");
}

/* ---- PostgreSQL: what the URL says, else libpq's environment, else its default ---- */

static void tell_files(const PQconninfoOption *options, const struct store_needs *needs)
{
    static const char *const files[][2] = {
        {"sslcert", "PGSSLCERT"},         {"sslkey", "PGSSLKEY"},
        {"sslrootcert", "PGSSLROOTCERT"}, {"sslcrl", "PGSSLCRL"},
        {"sslcrldir", "PGSSLCRLDIR"},     {"passfile", "PGPASSFILE"},
        {"service", "PGSERVICEFILE"},
    };
    const char *home = getenv("HOME"); /* NOLINT(concurrency-mt-unsafe): read only, by then */
    for (size_t i = 0; i < ARRAY_LEN(files); i++) {
        const char *path = libpq_option(options, files[i][0], files[i][1]);
        if (path != NULL)
            needs->path(needs->arg, path, false);
    }
    if (home != NULL && home[0] != '\0') {
        tell_path(needs, home, "/.postgresql", false);
        tell_path(needs, home, "/.pgpass", false);
    }
}

static void tell_ports(const char *list, const struct store_needs *needs)
{
    for (;;) {
        size_t len = strcspn(list, ",");
        uint64_t port = 0;
        if (decimal_parse(len > 0 ? list : POSTGRESQL_PORT, len > 0 ? len : 4, 1, UINT16_MAX,
                          &port) == OK)
            needs->port(needs->arg, (unsigned)port);
        if (list[len] == '\0')
            return;
        list += len + 1;
    }
}

/* A list of which one has to be looked up: not a path, not an address. */
static bool has_name(const char *hosts)
{
    uint8_t address[16];
    char host[256];
    for (;;) {
        size_t len = strcspn(hosts, ",");
        text_copy(host, sizeof host, hosts, len);
        if (len > 0 && host[0] != '/' && inet_pton(AF_INET, host, address) != 1 &&
            inet_pton(AF_INET6, host, address) != 1)
            return true;
        if (hosts[len] == '\0')
            return false;
        hosts += len + 1;
    }
}

static enum err postgres_needs(const char *url, const struct store_needs *needs)
{
    TRY(libpq_load());
    PQconninfoOption *options = PQconninfoParse(url, NULL);
    if (options == NULL)
        return ERR_INVALID;
    const char *ports = libpq_option(options, "port", "PGPORT");
    const char *hosts = libpq_option(options, "host", "PGHOST");
    tell_files(options, needs);
    tell_ports(ports != NULL ? ports : POSTGRESQL_PORT, needs);
    if (hosts != NULL && has_name(hosts))
        needs->port(needs->arg, DNS_PORT); /* for answers too long for UDP */
    PQconninfoFree(options);
    return OK;
}

enum err store_list_needs(const struct store *store, const struct store_needs *needs)
{
    if (store->ops == &STORE_POSTGRESQL)
        return postgres_needs(store->url, needs);
    sqlite_needs(store->url, needs);
    return OK;
}
