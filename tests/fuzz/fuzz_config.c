/*
 * The environment: entries NAME=VALUE with a NUL after each, as in /proc/PID/environ.
 *
 * Whatever stands there is read to the end; each problem names a variable and says something; a
 * configuration without problems keeps every promise that the modules rely on; and secrets are
 * gone from the environment afterwards.
 */
#include "fuzz.h"

#include "config.h"

#define ENTRIES_MAX 256

extern char **environ;

static const char *const SECRETS[] = {
    "DATABASE_URL",   "JWT_PRIVATE_KEY_PEM",     "JWT_PREV_PUBLIC_KEY_PEM",
    "SERVICE_SECRET", "SERVICE_SECRET_PREVIOUS", "PASSWORD_PEPPER",
    "REGISTER_TOKEN",
};

/* A file that a fuzzer names is none of its business: what ends in _FILE is never there. */
static bool names_a_file(const char *entry)
{
    size_t name = strcspn(entry, "=");
    return name >= 5 && strncmp(entry + name - 5, "_FILE", 5) == 0;
}

/* Each entry in a block of its own, so that a read past its end shows. */
static unsigned split(const uint8_t *data, size_t size, char *entries[ENTRIES_MAX + 1])
{
    unsigned count = 0;
    while (size > 0 && count < ENTRIES_MAX) {
        size_t len = strnlen((const char *)data, size);
        char *entry = strndup((const char *)data, len);
        REQUIRE(entry != NULL);
        if (names_a_file(entry)) {
            free(entry);
            entry = strdup("SERVICE_SECRET_FILE=/nonexistent/secret");
            REQUIRE(entry != NULL);
        }
        entries[count++] = entry;
        size_t used = len < size ? len + 1 : len;
        data += used;
        size -= used;
    }
    entries[count] = NULL;
    return count;
}

static void check_problems(const struct config *c)
{
    REQUIRE(c->problem_count <= CONFIG_PROBLEMS_MAX);
    for (unsigned i = 0; i < c->problem_count; i++) {
        REQUIRE(c->problems[i].name != NULL && c->problems[i].name[0] != '\0');
        size_t len = strnlen(c->problems[i].text, sizeof c->problems[i].text);
        REQUIRE(len > 0 && len < sizeof c->problems[i].text);
    }
}

static void check_promises(const struct config *c)
{
    const struct service_settings *s = &c->service;
    const struct argon2_params *p = &c->password.params;
    REQUIRE(c->port >= 1 && c->port <= 65535 && c->ops_port >= 1 && c->ops_port <= 65535);
    REQUIRE(c->host[0] != '\0' && c->ops_host[0] != '\0' && c->audience[0] != '\0');
    REQUIRE(c->database_url.len > 0 && c->db_connections >= 1 && c->db_timeout_ms >= 100);
    REQUIRE(c->connections_per_address >= 1);
    REQUIRE(c->trusted_proxies.count <= IP_NETWORKS_MAX);
    REQUIRE(p->iterations >= 1 && p->parallelism >= 1 && p->memory_kib >= 7168);
    REQUIRE((uint64_t)p->memory_kib * p->iterations >= 7168 * 5);
    REQUIRE(c->password.min_length >= 8 && c->password.min_length <= c->password.max_length);
    REQUIRE(c->password.pepper_count <= PASSWORD_PEPPERS_MAX);
    for (unsigned i = 0; i < c->password.pepper_count; i++)
        REQUIRE(c->password.peppers[i].key.len >= 16 && c->password.peppers[i].id[0] != '\0');
    REQUIRE(c->max_concurrent_hashes >= 1 && c->hash_acquire_timeout_ms >= 10);
    REQUIRE(c->access_ttl_minutes >= 1 && c->access_ttl_minutes <= 60);
    REQUIRE(s->refresh_idle_ms > 0 && s->refresh_idle_ms <= s->refresh_absolute_ms);
    REQUIRE(s->refresh_leeway_ms >= 0 && s->refresh_leeway_ms <= 60000);
    REQUIRE(s->lockout_threshold >= 1 && s->lockout_ms > 0 && s->max_sessions_per_user >= 1);
    REQUIRE(s->ip_per_second >= 1 && s->ip_burst >= 1);
    REQUIRE(c->service_secret.len == 0 || c->service_secret.len >= 32);
    if (c->production)
        REQUIRE(c->service_secret.len > 0 && (c->register_token.len > 0) != c->register_open);
}

/* Of several entries of one name the first is the one that counts. */
static bool is_first(char *const *entries, unsigned i, size_t name_len)
{
    for (unsigned k = 0; k < i; k++)
        if (strncmp(entries[k], entries[i], name_len + 1) == 0)
            return false;
    return true;
}

/* They were copied before they were given away: their length is known from there. */
static void check_wiped(char *const *entries, const size_t *lengths, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        for (size_t k = 0; k < sizeof SECRETS / sizeof SECRETS[0]; k++) {
            size_t name = strlen(SECRETS[k]);
            if (lengths[i] <= name || strncmp(entries[i], SECRETS[k], name) != 0 ||
                entries[i][name] != '=' || !is_first(entries, i, name))
                continue;
            for (size_t at = name + 1; at < lengths[i]; at++)
                REQUIRE(entries[i][at] == '\0');
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *entries[ENTRIES_MAX + 1];
    size_t lengths[ENTRIES_MAX];
    unsigned count = split(data, size, entries);
    for (unsigned i = 0; i < count; i++)
        lengths[i] = strlen(entries[i]);
    char **own = environ;
    struct config *config = malloc(sizeof *config);
    REQUIRE(config != NULL);
    environ = entries;
    config_read(config);
    environ = own;
    check_problems(config);
    if (config->problem_count == 0)
        check_promises(config);
    check_wiped(entries, lengths, count);
    config_close(config);
    free(config);
    for (unsigned i = 0; i < count; i++)
        free(entries[i]);
    return 0;
}
