#include "boot.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/encode.h"
#include "base/file.h"
#include "base/random.h"
#include "base/text.h"

#define GENERATED_SECRET_LEN 32

static void file_problem(struct config *config, const char *name, const char *path, enum err e)
{
    if (e == ERR_FORBIDDEN)
        config_problem(config, name, "%s must be a file of this user's with mode 0600", path);
    else
        config_problem(config, name, "%s cannot be used (%s)", path, err_name(e));
}

/* ---- the service secret ---- */

static enum err generate_secret(const char *path)
{
    uint8_t raw[GENERATED_SECRET_LEN];
    char hex[2 * GENERATED_SECRET_LEN + 1];
    TRY(random_bytes(raw, sizeof raw));
    hex_encode(raw, sizeof raw, hex);
    enum err e = file_create_private(path, hex, sizeof hex - 1);
    secret_wipe(raw, sizeof raw);
    secret_wipe(hex, sizeof hex);
    return e == ERR_CONFLICT ? OK : e; /* somebody else was faster: theirs will do */
}

/* May leave the secret empty if nothing may be generated. */
static void find_secret(struct config *config, bool may_generate)
{
    char path[CONFIG_PATH_MAX + 32];
    if (config->service_secret.len > 0 || config->production)
        return;
    snprintf(path, sizeof path, "%s/service-secret", config->data_dir);
    enum err e = file_read_private(path, SECRET_MAX, &config->service_secret);
    if (e == ERR_NOT_FOUND && !may_generate)
        return;
    if (e == ERR_NOT_FOUND) {
        e = file_make_dir(config->data_dir);
        if (e == OK)
            e = generate_secret(path);
        if (e == OK)
            e = file_read_private(path, SECRET_MAX, &config->service_secret);
    }
    if (e != OK)
        file_problem(config, "DATA_DIR", path, e);
}

static void open_keys(struct config *config, struct boot *boot)
{
    if (config->service_secret.len == 0)
        return;
    enum err e =
        service_keys_open(&config->service_secret, &config->service_secret_previous, &boot->keys);
    if (e == ERR_CONFLICT)
        config_problem(config, "SERVICE_SECRET_PREVIOUS",
                       "is SERVICE_SECRET, or derives the same id: take another new secret");
    else if (e != OK)
        config_problem(config, "SERVICE_SECRET", "cannot be used (%s)", err_name(e));
}

/* ---- what signs ---- */

enum err boot_keys_source(const struct config *config, int taken, struct keys_source *out,
                          struct keys_flaw *flaw)
{
    struct keys_source source = {.kid = config->jwt_kid,
                                 .previous_pem = &config->jwt_previous_key,
                                 .previous_kid = config->jwt_previous_kid,
                                 .dir = config->keys_dir};
    TRY(keys_source_open(&source, taken, config->jwt_key_file, flaw));
    *out = source;
    return OK;
}

struct access_policy boot_access_policy(const struct config *config)
{
    return (struct access_policy){.issuer = config->issuer,
                                  .audience = config->audience,
                                  .extra_claims = config->extra_claims,
                                  .ttl_seconds = (int64_t)config->access_ttl_minutes * 60};
}

/* ---- memory ---- */

static uint64_t read_limit(const char *path)
{
    uint64_t limit = UINT64_MAX;
    char line[32] = "";
    FILE *f = fopen(path, "re"); /* cgroup files have no size to go by */
    if (f == NULL)
        return UINT64_MAX;
    bool read = fgets(line, sizeof line, f) != NULL;
    fclose(f);
    /* "max" is not a number: no limit. */
    if (!read || decimal_parse(line, strcspn(line, "\n"), 0, UINT64_MAX, &limit) != OK)
        return UINT64_MAX;
    return limit;
}

/* A limit holds for all that is below. A path that is not there, as a container may see that of its
 * host, leaves the root. */
static uint64_t least_limit(const char *root, const char *path, const char *file)
{
    char name[PATH_MAX];
    uint64_t least = UINT64_MAX;
    for (size_t len = strlen(path) + 1; len-- > 0;) {
        if (len > 0 && path[len] != '/' && path[len] != '\0')
            continue;
        snprintf(name, sizeof name, "%s%.*s/%s", root, (int)len, path, file);
        uint64_t limit = read_limit(name);
        least = limit < least ? limit : least;
    }
    return least;
}

/* A line of /proc/self/cgroup: 0::PATH, or NUMBER:CONTROLLERS:PATH before version 2. */
static uint64_t line_limit(char *line)
{
    line[strcspn(line, "\n")] = '\0';
    const char *controllers = strchr(line, ':');
    const char *path = controllers != NULL ? strchr(controllers + 1, ':') : NULL;
    if (path == NULL)
        return UINT64_MAX;
    if (path == controllers + 1)
        return least_limit("/sys/fs/cgroup", path + 1, "memory.max");
    const char *memory = strstr(controllers, "memory");
    return memory != NULL && memory < path
               ? least_limit("/sys/fs/cgroup/memory", path + 1, "memory.limit_in_bytes")
               : UINT64_MAX;
}

uint64_t boot_memory_limit(void)
{
    uint64_t limit = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
    char line[PATH_MAX];
    FILE *f = fopen("/proc/self/cgroup", "re");
    while (f != NULL && fgets(line, sizeof line, f) != NULL) {
        uint64_t cgroup = line_limit(line);
        limit = cgroup < limit ? cgroup : limit;
    }
    if (f != NULL)
        fclose(f);
    return limit;
}

static void check_memory(struct config *config)
{
    uint64_t needed =
        (uint64_t)config->max_concurrent_hashes * config->password.params.memory_kib * 1024;
    uint64_t limit = boot_memory_limit();
    if (needed >= limit)
        config_problem(config, "MAX_CONCURRENT_HASHES",
                       "x ARGON_MEMORY_KB needs %llu MiB; there are %llu",
                       (unsigned long long)(needed >> 20), (unsigned long long)(limit >> 20));
}

void boot_open(struct config *config, bool may_generate, struct boot *out)
{
    *out = (struct boot){0};
    check_memory(config);
    find_secret(config, may_generate);
    open_keys(config, out);
}

void boot_close(struct boot *boot)
{
    service_keys_close(boot->keys);
    *boot = (struct boot){0};
}
