#include "config.h"

#include <arpa/inet.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "auth/key_lifecycle.h"
#include "auth/rsa_key.h"
#include "base/clock.h"
#include "base/encode.h"
#include "config_values.h"
#include "net/nats.h"

extern char **environ;

void config_problem(struct config *config, const char *name, const char *fmt, ...)
{
    if (config->problem_count == CONFIG_PROBLEMS_MAX)
        return;
    struct config_problem *p = &config->problems[config->problem_count++];
    p->name = name;
    va_list args;
    va_start(args, fmt);
    vsnprintf(p->text, sizeof p->text, fmt, args);
    va_end(args);
}

/* ---- groups ---- */

static void read_environment(struct config *c)
{
    static const char *const envs[] = {"development", "production", NULL};
    static const char *const levels[] = {"debug", "info", "warn", "error", NULL};
    static const char *const modes[] = {"auto", "require", "off", NULL};
    c->production = config_choice(c, "ENV", envs, 0) == 1;
    c->confine = (enum confine_mode)config_choice(c, "SANDBOX", modes, CONFINE_AUTO);
    c->log_level = (enum log_level)config_choice(c, "LOG_LEVEL", levels, LOG_INFO);
    config_path(c, "DATA_DIR", "./watchword-data", c->data_dir);
    for (char **e = environ; *e != NULL; e++) {
        if (strncmp(*e, "WATCHWORD_", 10) != 0)
            continue;
#ifdef WW_FAILPOINTS
        if (strncmp(*e, "WATCHWORD_FAIL_AT=", 18) == 0 ||
            strncmp(*e, "WATCHWORD_PAUSE_AT=", 19) == 0 ||
            strncmp(*e, "WATCHWORD_WITHOUT=", 18) == 0 || strncmp(*e, "WATCHWORD_SPEED=", 16) == 0)
            continue;
#endif
        config_problem(c, "WATCHWORD_*", "%.*s is not a setting", (int)strcspn(*e, "="), *e);
    }
}

static void read_database(struct config *c)
{
    config_secret(c, "DATABASE_URL", "DATABASE_URL_FILE", &c->database_url);
    if (c->database_url.len == 0) {
        char url[CONFIG_PATH_MAX + 32];
        int n = snprintf(url, sizeof url, "sqlite:%s/watchword.db", c->data_dir);
        if (secret_copy(url, (size_t)n, &c->database_url) != OK)
            config_problem(c, "DATABASE_URL", "out of memory");
        if (c->production)
            config_problem(c, "DATABASE_URL", "is required in production");
    }
    struct store *store = NULL;
    const struct store_config probe = {.url = (const char *)c->database_url.data,
                                       .timeout_ms = 1000};
    enum err e = store_open(&probe, &store);
    if (e == ERR_UNAVAILABLE)
        config_problem(c, "DATABASE_URL", "cannot be used here: %s", store_last_error());
    else if (e != OK)
        config_problem(c, "DATABASE_URL",
                       "must be sqlite:PATH, postgres://... or postgresql://..., well-formed");
    store_close(store);
    c->db_connections = config_small(c, "DB_POOL_SIZE", 8, 1, 128);
    c->db_timeout_ms = config_small(c, "DB_TIMEOUT_MS", 2000, 100, 60000);
}

/* The kinds that a list of subjects leaves. */
static unsigned read_excluded(struct config *c, const char *list)
{
    unsigned kinds = EVENTS_ALL;
    while (list != NULL) {
        enum event_kind kind = EVENT_KINDS;
        size_t len = strcspn(list, ",");
        if (store_event_find(list, len, &kind) != OK) {
            config_problem(c, "EVENTS_EXCLUDE", "must be a list of subjects; %.*s is none",
                           len < 64 ? (int)len : 64, list);
            break;
        }
        kinds &= ~EVENT_BIT(kind);
        list = list[len] != '\0' ? list + len + 1 : NULL;
    }
    return kinds;
}

static void read_events(struct config *c)
{
    config_secret(c, "NATS_URL", "NATS_URL_FILE", &c->nats_url);
    unsigned kinds = read_excluded(c, config_value("EVENTS_EXCLUDE"));
    c->events_backlog_max = config_number(c, "EVENTS_BACKLOG_MAX", 1000000, 100, 1000000000);
    if (c->nats_url.len == 0)
        return;
    c->events = kinds;
    const char *flaw = nats_url_flaw((const char *)c->nats_url.data);
    const char *why = NULL;
    if (flaw != NULL) /* which may not repeat the value: it can hold a password */
        config_problem(c, "NATS_URL", "%s", flaw);
    else if (nats_load(&why) != OK)
        config_problem(c, "NATS_URL", "cannot be used here: %s", why);
}

/* scheme://host[:port], nothing after it; or *. */
static bool origin_ok(const char *s, size_t len)
{
    if (len == 1 && s[0] == '*')
        return true;
    size_t scheme = len > 8 && strncmp(s, "https://", 8) == 0  ? 8
                    : len > 7 && strncmp(s, "http://", 7) == 0 ? 7
                                                               : 0;
    for (size_t i = scheme; i < len; i++)
        if (strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-:[]", s[i]) ==
            NULL)
            return false;
    return scheme > 0 && len > scheme;
}

static bool origins_ok(const char *list)
{
    for (;;) {
        size_t len = strcspn(list, ",");
        if (!origin_ok(list, len))
            return false;
        if (list[len] == '\0')
            return true;
        list += len + 1;
    }
}

/* An address, or localhost: a listener is not to wait for a name server. */
static const char *host(struct config *c, const char *name)
{
    const char *v = config_string(name, "127.0.0.1");
    uint8_t address[16];
    if (strcmp(v, "localhost") != 0 && inet_pton(AF_INET, v, address) != 1 &&
        inet_pton(AF_INET6, v, address) != 1)
        config_problem(c, name, "must be an IPv4 or IPv6 address, or localhost");
    return v;
}

void config_address(const char *host, unsigned port, char *out, size_t size)
{
    bool brackets = strchr(host, ':') != NULL;
    snprintf(out, size, "%s%s%s:%u", brackets ? "[" : "", host, brackets ? "]" : "", port);
}

static void read_listeners(struct config *c)
{
    c->host = host(c, "HOST");
    c->port = config_small(c, "PORT", 8080, 1, 65535);
    c->ops_host = host(c, "OPS_HOST");
    c->ops_port = config_small(c, "OPS_PORT", 9090, 1, 65535);
    if (c->port == c->ops_port && strcmp(c->host, c->ops_host) == 0)
        config_problem(c, "OPS_PORT", "is the same as PORT");
    c->metrics_public = config_boolean(c, "METRICS_PUBLIC", false);
    const char *proxies = config_string("TRUSTED_PROXIES", "127.0.0.0/8,::1");
    if (ip_networks_parse(strcmp(proxies, "none") == 0 ? "" : proxies, &c->trusted_proxies) != OK)
        config_problem(c, "TRUSTED_PROXIES",
                       "must be a list of addresses or networks (10.0.0.0/8,::1), at most %d, or "
                       "none",
                       IP_NETWORKS_MAX);
    c->connections_per_address =
        config_small(c, "CONNECTIONS_PER_ADDRESS", 256, 1, CONFIG_CONNECTIONS_MAX);
    c->cors_origins = config_value("CORS_ORIGINS");
    if (c->cors_origins != NULL && !origins_ok(c->cors_origins))
        config_problem(c, "CORS_ORIGINS",
                       "must be a list of origins: https://app.example,http://localhost:3000");
    if (c->production && c->cors_origins != NULL && strchr(c->cors_origins, '*') != NULL)
        config_problem(c, "CORS_ORIGINS", "may not contain * in production");
}

/* The key itself is not for this process: what the environment held of it has been moved away, or
 * goes now. */
static void private_key(struct config *c)
{
    char *v = getenv("JWT_PRIVATE_KEY_PEM"); /* NOLINT(concurrency-mt-unsafe): no threads yet */
    bool in_environment = v != NULL && v[0] != '\0';
    c->jwt_key_file = config_value("JWT_PRIVATE_KEY_PEM_FILE");
    c->jwt_key_given = in_environment || c->jwt_key_file != NULL;
    if (in_environment && c->jwt_key_file != NULL)
        config_problem(c, "JWT_PRIVATE_KEY_PEM",
                       "is given together with JWT_PRIVATE_KEY_PEM_FILE; give one");
    if (in_environment)
        secret_wipe(v, strlen(v));
}

/* Whether or not there is a key yet that it could name. */
static void kid_problem(struct config *c, const char *name, const char *kid)
{
    if (kid[0] != '\0' && !rsa_key_kid_ok(kid))
        config_problem(c, name,
                       "must be 1 to %d printable ASCII characters without blanks, quotes and "
                       "backslashes",
                       KID_MAX);
}

static void read_keys(struct config *c)
{
    char fallback[CONFIG_PATH_MAX + 8], address[sizeof c->issuer - 8];
    private_key(c);
    config_secret(c, "JWT_PREV_PUBLIC_KEY_PEM", "JWT_PREV_PUBLIC_KEY_PEM_FILE",
                  &c->jwt_previous_key);
    secret_unescape_lines(&c->jwt_previous_key);
    c->jwt_kid = config_string("JWT_KID", "");
    c->jwt_previous_kid = config_string("JWT_PREV_KID", "");
    kid_problem(c, "JWT_KID", c->jwt_kid);
    kid_problem(c, "JWT_PREV_KID", c->jwt_previous_kid);
    if ((c->jwt_previous_key.len > 0) != (c->jwt_previous_kid[0] != '\0'))
        config_problem(c, "JWT_PREV_KID", "must be given together with JWT_PREV_PUBLIC_KEY_PEM");
    snprintf(fallback, sizeof fallback, "%s/keys", c->data_dir);
    config_path(c, "KEYS_DIR", fallback, c->keys_dir);
    c->keys_rotate_days = config_small(c, "KEYS_ROTATE_DAYS", 0, 1, 3650);
    if (c->keys_rotate_days > 0 && c->jwt_key_given)
        config_problem(c, "KEYS_ROTATE_DAYS", "needs KEYS_DIR, without JWT_PRIVATE_KEY_PEM");
    if (c->production && !c->jwt_key_given && config_value("KEYS_DIR") == NULL)
        config_problem(c, "JWT_PRIVATE_KEY_PEM", "or KEYS_DIR is required in production");

    const char *issuer = config_value("JWT_ISSUER");
    config_address(c->host, c->port, address, sizeof address);
    if (issuer != NULL && strlen(issuer) >= sizeof c->issuer)
        config_problem(c, "JWT_ISSUER", "is longer than %zu characters", sizeof c->issuer - 1);
    else if (issuer != NULL)
        text_copy(c->issuer, sizeof c->issuer, issuer, strlen(issuer));
    else
        snprintf(c->issuer, sizeof c->issuer, "http://%s", address);
    c->audience = config_string("JWT_AUDIENCE", "watchword");
    if (strlen(c->audience) > 255)
        config_problem(c, "JWT_AUDIENCE", "is longer than 255 characters");
    if (c->production && issuer == NULL)
        config_problem(c, "JWT_ISSUER", "is required in production");
    if (c->production && config_value("JWT_AUDIENCE") == NULL)
        config_problem(c, "JWT_AUDIENCE", "is required in production");
    c->access_ttl_minutes =
        config_small(c, "ACCESS_TOKEN_TTL_MINUTES", 15, 1, KEY_TOKEN_TTL_MAX_S / 60);
    const char *extra = config_value("JWT_EXTRA_CLAIMS");
    const char *why =
        extra != NULL ? access_extra_claims(extra, strlen(extra), c->extra_claims) : NULL;
    if (why != NULL)
        config_problem(c, "JWT_EXTRA_CLAIMS", "%s", why);
}

static void read_secrets(struct config *c)
{
    config_secret(c, "SERVICE_SECRET", "SERVICE_SECRET_FILE", &c->service_secret);
    config_secret(c, "SERVICE_SECRET_PREVIOUS", "SERVICE_SECRET_PREVIOUS_FILE",
                  &c->service_secret_previous);
    if (c->service_secret.len > 0 && c->service_secret.len < SERVICE_SECRET_MIN)
        config_problem(c, "SERVICE_SECRET", "must have at least %d bytes", SERVICE_SECRET_MIN);
    if (c->service_secret_previous.len > 0 && c->service_secret_previous.len < SERVICE_SECRET_MIN)
        config_problem(c, "SERVICE_SECRET_PREVIOUS", "must have at least %d bytes",
                       SERVICE_SECRET_MIN);
    if (c->production && c->service_secret.len == 0)
        config_problem(c, "SERVICE_SECRET", "is required in production");
    config_secret(c, "REGISTER_TOKEN", "REGISTER_TOKEN_FILE", &c->register_token);
    if (c->register_token.len > 0 && c->register_token.len < CONFIG_REGISTER_TOKEN_MIN)
        config_problem(c, "REGISTER_TOKEN", "must have at least %d bytes",
                       CONFIG_REGISTER_TOKEN_MIN);
    c->register_open = config_boolean(c, "REGISTER_OPEN", false);
    if (c->production && c->register_token.len == 0 && !c->register_open)
        config_problem(c, "REGISTER_TOKEN", "is required in production unless REGISTER_OPEN=true");
    if (c->register_token.len > 0 && c->register_open)
        config_problem(c, "REGISTER_OPEN", "contradicts REGISTER_TOKEN");
}

/* OWASP's Password Storage table for Argon2id: equal strength at falling memory. */
static bool above_floor(const struct argon2_params *p)
{
    static const uint32_t memory_at[6] = {0, 47104, 19456, 12288, 9216, 7168};
    uint32_t t = p->iterations < 5 ? p->iterations : 5;
    return p->memory_kib >= memory_at[t];
}

static bool pepper_exists(const struct password_policy *policy, const char *id, size_t len)
{
    for (unsigned i = 0; i < policy->pepper_count; i++)
        if (strlen(policy->peppers[i].id) == len && strncmp(policy->peppers[i].id, id, len) == 0)
            return true;
    return false;
}

/* keyid:base64[,keyid:base64...]; the first is current. */
static void read_pepper(struct config *c)
{
    struct secret ring CLEANUP(secret_close) = {0};
    config_secret(c, "PASSWORD_PEPPER", "PASSWORD_PEPPER_FILE", &ring);
    char *entry = (char *)ring.data;
    while (entry != NULL) {
        size_t len = strcspn(entry, ",");
        size_t id_len = strcspn(entry, ":");
        struct pepper *pepper = &c->password.peppers[c->password.pepper_count];
        uint8_t key[64];
        size_t key_len = 0;
        size_t digits = len > id_len ? len - id_len - 1 : 0;
        while (digits > 0 && entry[id_len + digits] == '=') /* padding is optional here */
            digits--;
        if (c->password.pepper_count == PASSWORD_PEPPERS_MAX || id_len >= len ||
            !phc_keyid_ok(entry, id_len) || pepper_exists(&c->password, entry, id_len) ||
            base64_decode(entry + id_len + 1, digits, key, sizeof key, &key_len) != OK ||
            key_len < 16 || secret_copy(key, key_len, &pepper->key) != OK) {
            config_problem(
                c, "PASSWORD_PEPPER",
                "must be distinct keyid:base64 entries (16 to 64 bytes each, at most %d)",
                PASSWORD_PEPPERS_MAX);
            return;
        }
        secret_wipe(key, sizeof key);
        text_copy(pepper->id, sizeof pepper->id, entry, id_len);
        c->password.pepper_count++;
        if (entry[len] == '\0')
            return;
        entry += len + 1; /* what follows a comma is an entry: a trailing comma is a mistake */
    }
}

static void read_passwords(struct config *c)
{
    unsigned cores = (unsigned)sysconf(_SC_NPROCESSORS_ONLN);
    struct password_policy *p = &c->password;
    p->params.memory_kib = config_small(c, "ARGON_MEMORY_KB", 65536, 7168, 4194303);
    p->params.iterations = config_small(c, "ARGON_ITERATIONS", 3, 1, 100);
    p->params.parallelism = config_small(c, "ARGON_PARALLELISM", 1, 1, 16);
    if (!above_floor(&p->params))
        config_problem(c, "ARGON_MEMORY_KB",
                       "with ARGON_ITERATIONS=%u is below the OWASP floor (47104, 19456, 12288, "
                       "9216, 7168 KiB for 1 to 5)",
                       p->params.iterations);
    p->min_length = config_small(c, "PASSWORD_MIN_LENGTH", 15, 8, 64);
    p->max_length = config_small(c, "PASSWORD_MAX_LENGTH", 256, 64, 256);
    p->min_score = config_small(c, "PASSWORD_MIN_SCORE", 3, 0, 4);
    read_pepper(c);
    c->argon2_backend = config_string("ARGON2_BACKEND", "auto");
    enum argon2_backend backend;
    if (argon2_backend_from_name(c->argon2_backend, &backend) != OK)
        config_problem(c, "ARGON2_BACKEND", "must be auto, portable, avx2, avx512 or libargon2");
    c->max_concurrent_hashes = config_small(c, "MAX_CONCURRENT_HASHES", 2 * cores, 1, 512);
    c->hash_acquire_timeout_ms = config_small(c, "HASH_ACQUIRE_TIMEOUT_MS", 5000, 10, 60000);
}

static void read_tokens(struct config *c, struct service_settings *s)
{
    static const char *const deliveries[] = {"body", "cookie", "both", NULL};
    s->delivery = (enum delivery)(config_choice(c, "REFRESH_DELIVERY", deliveries, 0) + 1);
    int64_t idle_minutes = (int64_t)config_number(c, "REFRESH_IDLE_MINUTES", 0, 1, 525600);
    int64_t idle_days = (int64_t)config_number(c, "REFRESH_TOKEN_TTL_DAYS", 14, 1, 365);
    s->refresh_idle_ms = idle_minutes > 0 ? idle_minutes * MS_PER_MINUTE : idle_days * MS_PER_DAY;
    s->refresh_absolute_ms =
        (int64_t)config_number(c, "REFRESH_ABSOLUTE_MAX_DAYS", 30, 1, 365) * MS_PER_DAY;
    if (s->refresh_idle_ms > s->refresh_absolute_ms)
        config_problem(c, idle_minutes > 0 ? "REFRESH_IDLE_MINUTES" : "REFRESH_TOKEN_TTL_DAYS",
                       "is longer than REFRESH_ABSOLUTE_MAX_DAYS");
    s->refresh_leeway_ms =
        (int64_t)config_number(c, "REFRESH_LEEWAY_SECONDS", 10, 0, 60) * MS_PER_SECOND;
    s->max_sessions_per_user = config_small(c, "MAX_SESSIONS_PER_USER", 50, 1, 1000);
    s->session_retention_ms =
        (int64_t)config_number(c, "SESSION_RETENTION_DAYS", 30, 0, 3650) * MS_PER_DAY;
    s->client_data_retention_ms =
        (int64_t)config_number(c, "CLIENT_DATA_RETENTION_DAYS", 30, 1, 3650) * MS_PER_DAY;
}

#define RATE_MAX 1000000

static void read_service(struct config *c)
{
    struct service_settings *s = &c->service;
    read_tokens(c, s);
    s->cookie_secure = c->production;
    s->lockout_threshold = config_small(c, "LOCKOUT_THRESHOLD", 10, 1, 100);
    s->lockout_ms = (int64_t)config_number(c, "LOCKOUT_MINUTES", 15, 1, 1440) * MS_PER_MINUTE;
    s->login_per_min_per_email = config_small(c, "LOGIN_PER_MIN_PER_EMAIL", 5, 1, RATE_MAX);
    s->register_per_min_per_email = config_small(c, "REGISTER_PER_MIN_PER_EMAIL", 5, 1, RATE_MAX);
    s->refresh_per_min_per_token = config_small(c, "REFRESH_PER_MIN_PER_TOKEN", 20, 1, RATE_MAX);
    s->ip_per_second = config_small(c, "IP_RL_PER_SECOND", 10, 1, RATE_MAX);
    s->ip_burst = config_small(c, "IP_RL_BURST", 20, 1, RATE_MAX);
    s->hash_acquire_timeout_ms = c->hash_acquire_timeout_ms;
    s->db_timeout_ms = c->db_timeout_ms;
}

void config_read(struct config *config)
{
    *config = (struct config){0};
    read_environment(config);
    read_database(config);
    read_events(config);
    read_listeners(config);
    read_keys(config);
    read_secrets(config);
    read_passwords(config);
    read_service(config);
}

void config_read_signing(struct config *config)
{
    *config = (struct config){0};
    read_environment(config);
    read_listeners(config);
    read_keys(config);
}

void config_wipe_secrets(void)
{
    static const char *const names[] = {
        "DATABASE_URL",    "SERVICE_SECRET", "SERVICE_SECRET_PREVIOUS",
        "PASSWORD_PEPPER", "REGISTER_TOKEN", "NATS_URL",
        "PGPASSWORD"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        char *v = getenv(names[i]); /* NOLINT(concurrency-mt-unsafe): no threads yet */
        if (v != NULL)
            secret_wipe(v, strlen(v));
    }
}

void config_close(struct config *config)
{
    secret_close(&config->database_url);
    secret_close(&config->nats_url);
    secret_close(&config->jwt_previous_key);
    secret_close(&config->service_secret);
    secret_close(&config->service_secret_previous);
    secret_close(&config->register_token);
    for (unsigned i = 0; i < config->password.pepper_count; i++)
        secret_close(&config->password.peppers[i].key);
}
