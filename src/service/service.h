/*
 * service.h: the use cases, and what they share.
 *
 * A struct service ties the rules (auth/), the database (store/) and the lanes (net/) together.
 * Each use case is one file: login.c reads top to bottom as a login happens. Opened once by main;
 * every function may be called from any thread.
 */
#ifndef WW_SERVICE_SERVICE_H
#define WW_SERVICE_SERVICE_H

#include "auth/access_token.h"
#include "auth/password.h"
#include "auth/service_keys.h"
#include "net/http.h"
#include "service/signing.h"
#include "store/store.h"

enum delivery { DELIVER_BODY = 1, DELIVER_COOKIE = 2, DELIVER_BOTH = 3 };

/* Plain values; times in milliseconds unless named otherwise. */
struct service_settings {
    bool cookie_secure; /* false in development: http://localhost */
    enum delivery delivery;
    int64_t refresh_idle_ms;
    int64_t refresh_absolute_ms;
    int64_t refresh_leeway_ms;
    unsigned max_sessions_per_user;
    int64_t session_retention_ms;     /* of rows, after the session's end */
    int64_t client_data_retention_ms; /* of address and user agent, after its last use */
    unsigned lockout_threshold;
    int64_t lockout_ms;
    unsigned login_per_min_per_email;
    unsigned register_per_min_per_email;
    unsigned refresh_per_min_per_token;
    unsigned ip_per_second;
    unsigned ip_burst;
    unsigned hash_acquire_timeout_ms;
    unsigned db_timeout_ms;
};

struct service_config {
    struct service_settings settings;
    struct access_policy access;
    const struct password_policy *password; /* outlives the service, like all that follows */
    const struct service_keys *keys;
    const struct secret *register_token; /* len 0: registration is open */
    struct store *store;
    const char *nats_url; /* NULL: no events; else the store was opened with some */
    uint64_t events_backlog_max;
    const char *cors_origins; /* comma-separated; NULL: none */
    bool metrics_public;      /* on the public listener as well */
    unsigned db_threads;
    unsigned hash_permits; /* hashes in memory at once */
    unsigned cores;
    unsigned sign_threads;   /* as many as each struct signing has links */
    struct signing *signing; /* the first; service_open takes it, also on failure */
    /* The signer of that generation has not answered; any thread may be told. */
    void (*signer_stuck)(void *arg, unsigned generation);
    void *signer_arg;
};

struct service;

/* Starts the lanes and the database probe. The memory for hashing is not there yet: calls that need
 * it wait. */
MUST_USE enum err service_open(const struct service_config *config, struct service **out);
/* Once the listeners are up: sets that memory aside. ERR_INTERNAL if the system does not have it.
 */
MUST_USE enum err service_wait_open(struct service *service);
/* Readiness turns false; what is under way goes on, also if a start has failed before
 * service_wait_open. */
void service_drain(struct service *service);
/* What waits for its turn is given up, as if all clients had gone. */
void service_abandon(struct service *service);
/* Nothing may be under way any more. */
void service_close(struct service *service);

/* Bytes that are set aside for hashing. */
size_t service_hash_memory(const struct service *service);

/* What the two listeners serve. */
struct http_handler service_public_handler(struct service *service);
struct http_handler service_operations_handler(struct service *service);

#endif
