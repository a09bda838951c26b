/*
 * config.h: the environment, read once into one constant struct.
 *
 * Nothing is guessed: a value that cannot be parsed, is out of range, or contradicts another is a
 * problem with the name of its variable. All problems are collected, so that an operator sees them
 * at once. Only main.c, boot, serve* and the commands include this; every module is handed what
 * concerns it.
 */
#ifndef WW_CONFIG_H
#define WW_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#include "auth/access_token.h"
#include "auth/password.h"
#include "base/log.h"
#include "confine.h"
#include "net/client_ip.h"
#include "service/service.h"

#define CONFIG_PROBLEMS_MAX 64
#define CONFIG_PATH_MAX 1024
#define CONFIG_CONNECTIONS_MAX 8192  /* of the public listener */
#define CONFIG_REGISTER_TOKEN_MIN 16 /* bytes: nobody is to guess it at the rate of an address */

struct config_problem {
    const char *name; /* of the variable */
    char text[160];
};

struct config {
    bool production;
    enum confine_mode confine;
    enum log_level log_level;
    char data_dir[CONFIG_PATH_MAX];

    struct secret database_url;
    unsigned db_connections;
    unsigned db_timeout_ms;

    struct secret nats_url; /* len 0: no events */
    unsigned events;        /* EVENT_BIT of each kind that is told; 0 without NATS_URL */
    uint64_t events_backlog_max;

    const char *host, *ops_host;
    unsigned port, ops_port;
    struct ip_networks trusted_proxies;
    unsigned connections_per_address; /* of the public listener */
    const char *cors_origins;         /* comma-separated, or NULL */
    bool metrics_public;

    bool jwt_key_given;       /* in the environment or in a file; otherwise KEYS_DIR */
    const char *jwt_key_file; /* NULL: none */
    const char *jwt_kid;
    struct secret jwt_previous_key;
    const char *jwt_previous_kid;
    char keys_dir[CONFIG_PATH_MAX];
    unsigned keys_rotate_days; /* 0: never by itself */
    char issuer[256];
    const char *audience;
    unsigned access_ttl_minutes;
    char extra_claims[ACCESS_EXTRA_CLAIMS_MAX];

    struct secret service_secret; /* len 0: generated in data_dir (development) */
    struct secret service_secret_previous;
    struct secret register_token; /* len 0: none */
    bool register_open;

    struct password_policy password;
    const char *argon2_backend;
    unsigned max_concurrent_hashes;
    unsigned hash_acquire_timeout_ms;
    struct service_settings service;

    unsigned problem_count;
    struct config_problem problems[CONFIG_PROBLEMS_MAX];
};

/* Reads the environment; secrets in it are overwritten once they are taken. Look at problem_count.
 * Strings point into the environment. */
void config_read(struct config *config);
void config_close(struct config *config);

/* For the processes beside the one that faces the network: only what signing takes; the rest is
 * left as it is. */
void config_read_signing(struct config *config);

/* A listener's address as an URL has it: IPv6 in brackets. */
void config_address(const char *host, unsigned port, char *out, size_t size);
/* Overwrites every secret that the environment still holds. */
void config_wipe_secrets(void);

/* Adds a problem that showed later, for example a key that cannot be used. */
void config_problem(struct config *config, const char *name, const char *fmt, ...)
    PRINTF_LIKE(3, 4);

#endif
