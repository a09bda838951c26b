/* serve.c: the start order, the signals, and the way down. */
#include <errno.h>
#include <malloc.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "auth/argon2.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/text.h"
#include "base/thread.h"
#include "boot.h"
#include "commands.h"
#include "net/http.h"
#include "serve_confine.h"
#include "serve_keys.h"

/* They parse, validate, and serve JWKS and health: more would take from the lanes. */
#define NETWORK_THREADS 2
#define OPERATIONS_CONNECTIONS_MAX 64
#define IDLE_SECONDS 60
#define REQUEST_SECONDS 10
#define DRAIN_SECONDS 30
#define OTHER_DESCRIPTORS 256

struct running {
    struct serve_keys keys;
    struct signing *signing; /* the first, until the service has it */
    struct confine_gaps gaps;
    struct store *store;
    struct service *service;
    int public_socket, operations_socket; /* bound; -1: the listener has it */
    struct http_server *public, *operations;
};

/* ---- starting ---- */

/* Signals are read by the main thread; every thread and process inherits the mask, so a signal to
 * the whole group ends this process first, and the others with it. */
static void block_signals(sigset_t *set)
{
    sigemptyset(set);
    sigaddset(set, SIGTERM);
    sigaddset(set, SIGINT);
    sigaddset(set, SIGHUP);
    pthread_sigmask(SIG_BLOCK, set, NULL);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* a file that may not grow is a full disk */
}

/* Large answers go back to the system when they are sent. Without this, glibc would keep the room
 * for the next one once it has seen some. */
static void give_memory_back(void)
{
    /* NOLINTNEXTLINE(concurrency-mt-unsafe): no threads yet */
    (void)mallopt(M_MMAP_THRESHOLD, 128 * 1024);
}

/* As many connections as the system lets us have descriptors for. */
static unsigned raise_descriptors(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return 512;
    rlim_t wanted = CONFIG_CONNECTIONS_MAX + OTHER_DESCRIPTORS;
    limit.rlim_cur = limit.rlim_max < wanted ? limit.rlim_max : wanted;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
    return limit.rlim_cur > (rlim_t)OTHER_DESCRIPTORS * 2
               ? (unsigned)(limit.rlim_cur - OTHER_DESCRIPTORS)
               : (unsigned)limit.rlim_cur / 2;
}

static void start_argon2(struct config *config)
{
    enum argon2_backend backend = ARGON2_AUTO;
    enum err e = argon2_backend_from_name(config->argon2_backend, &backend);
    if (e == OK)
        e = argon2_init(backend);
    if (e == ERR_INVALID)
        config_problem(config, "ARGON2_BACKEND", "%s cannot run on this processor",
                       config->argon2_backend);
    else if (e != OK)
        config_problem(config, "ARGON2_BACKEND", "failed its self-test");
}

static void note_migration(void *arg, unsigned version, const char *name)
{
    (void)arg;
    (void)version;
    log_note(LOG_INFO, "database.migrated", "migration applied", name);
}

/* Development brings the database up by itself. Production expects that `watchword migrate` has
 * run; a database that cannot be reached is waited for, in both. */
static void prepare_database(struct config *config, struct store *store)
{
    struct store_version version = {0, 0};
    enum err e;
    if (!config->production) {
        if (file_make_dir(config->data_dir) != OK)
            config_problem(config, "DATA_DIR", "%s cannot be made", config->data_dir);
        e = store_migrate(store, note_migration, NULL, &version);
    } else {
        e = store_read_version(store, &version);
    }
    if (e == ERR_CONFLICT || (e == OK && version.database > version.program))
        config_problem(config, "DATABASE_URL", "is a database of a newer version of watchword");
    else if (e == OK && version.database < version.program)
        config_problem(config, "DATABASE_URL", "is at version %u of %u: run watchword migrate",
                       version.database, version.program);
    else if (e != OK)
        log_note(LOG_ERROR, "database.down", "the database cannot be reached; waiting for it",
                 store_last_error());
}

static enum err start_service(const struct config *config, const struct boot *boot,
                              struct running *r)
{
    struct signing *signing = TAKE(r->signing);
    const struct service_config service = {
        .settings = config->service,
        .access = boot_access_policy(config),
        .password = &config->password,
        .signing = signing,
        .sign_threads = r->keys.links,
        .signer_stuck = serve_keys_stuck,
        .signer_arg = &r->keys,
        .keys = boot->keys,
        .register_token = &config->register_token,
        .store = r->store,
        .nats_url = config->nats_url.len > 0 ? (const char *)config->nats_url.data : NULL,
        .events_backlog_max = config->events_backlog_max,
        .cors_origins = config->cors_origins,
        .metrics_public = config->metrics_public,
        .db_threads = config->db_connections,
        .hash_permits = config->max_concurrent_hashes,
        .cores = (unsigned)sysconf(_SC_NPROCESSORS_ONLN),
    };
    return service_open(&service, &r->service);
}

static enum err cannot_listen(const char *prefix, const char *host, unsigned port)
{
    char why[128];
    fprintf(stderr, "watchword: %sHOST %s, %sPORT %u: cannot listen: %s\n", prefix, host, prefix,
            port, strerror_r(errno, why, sizeof why));
    return ERR_UNAVAILABLE;
}

/* The addresses are taken while that is still allowed; nobody is heard before all is ready. */
static enum err bind_listeners(const struct config *config, struct running *r)
{
    if (http_bind(config->ops_host, config->ops_port, &r->operations_socket) != OK)
        return cannot_listen("OPS_", config->ops_host, config->ops_port);
    if (http_bind(config->host, config->port, &r->public_socket) != OK)
        return cannot_listen("", config->host, config->port);
    return OK;
}

/* What the listeners have in common is filled in here. Takes the socket. */
static enum err start_listener(const struct config *config, const char *prefix, int *bound,
                               struct http_config http, struct http_server **out)
{
    http.socket = *bound;
    http.idle_seconds = IDLE_SECONDS;
    http.request_seconds = REQUEST_SECONDS;
    http.trusted_proxies = config->trusted_proxies;
    *bound = -1;
    return http_open(&http, out) == OK ? OK : cannot_listen(prefix, http.host, http.port);
}

static enum err start_listeners(const struct config *config, struct running *r)
{
    const struct http_config operations = {
        .host = config->ops_host,
        .port = config->ops_port,
        .threads = 1,
        .connections_max = OPERATIONS_CONNECTIONS_MAX,
        .handler = service_operations_handler(r->service),
    };
    const struct http_config public = {
        .host = config->host,
        .port = config->port,
        .threads = NETWORK_THREADS,
        .connections_max = raise_descriptors(),
        .connections_per_address = config->connections_per_address,
        .handler = service_public_handler(r->service),
    };
    TRY(start_listener(config, "OPS_", &r->operations_socket, operations, &r->operations));
    return start_listener(config, "", &r->public_socket, public, &r->public);
}

static void note_started(const struct config *config, const struct running *r)
{
    struct log_line line;
    char address[300];
    log_begin(&line, LOG_INFO, "service.started", "watchword " WATCHWORD_VERSION " is listening");
    config_address(config->host, config->port, address, sizeof address);
    log_str(&line, "address", address);
    config_address(config->ops_host, config->ops_port, address, sizeof address);
    log_str(&line, "operations_address", address);
    log_str(&line, "store", store_kind(r->store));
    struct signing *signing = service_hold_signing(r->service);
    log_str(&line, "kid", keyring_active_kid(signing_ring(signing)));
    signing_release(signing);
    log_str(&line, "argon2", argon2_backend_name(argon2_backend_in_use()));
    log_i64(&line, "hash_memory_bytes", (int64_t)service_hash_memory(r->service));
    log_end(&line);
    if (!config->production)
        log_note(LOG_WARN, "service.development",
                 "development mode: keys are generated, registration may be open, cookies are not "
                 "Secure",
                 NULL);
}

/* ---- stopping ---- */

static void stop(struct running *r)
{
    if (r->service != NULL)
        service_drain(r->service);
    if (r->public != NULL) {
        log_note(LOG_INFO, "service.draining", "no new connections; finishing what is under way",
                 NULL);
        http_quiesce(r->public);
        uint64_t end = clock_mono_ns() + DRAIN_SECONDS * NS_PER_SECOND;
        while (http_in_flight(r->public) > 0) {
            if (clock_mono_ns() > end) /* what is under way has limits of its own */
                service_abandon(r->service);
            usleep(5000);
        }
    }
    http_close(r->public);
    http_close(r->operations);
    service_close(r->service);
    signing_release(r->signing);
    store_close(r->store);
    serve_keys_stop(&r->keys);
    if (r->public_socket >= 0)
        close(r->public_socket);
    if (r->operations_socket >= 0)
        close(r->operations_socket);
}

/* Until a signal ends it, or the keeper has: without that nothing can be signed for good, and a
 * supervisor's fresh start is the way back. */
static enum err run(const sigset_t *set, struct running *r)
{
    int signals = signalfd(-1, set, SFD_CLOEXEC);
    struct pollfd on[] = {{signals, POLLIN, 0}, {keeper_fd(r->keys.keeper), POLLIN, 0}};
    enum err e = signals >= 0 ? OK : ERR_INTERNAL;
    struct signalfd_siginfo taken = {.ssi_signo = SIGHUP};
    while (e == OK && taken.ssi_signo == SIGHUP) {
        if (poll(on, 2, -1) < 0)
            continue;
        if (on[1].revents != 0)
            e = serve_keys_news(&r->keys, r->service);
        if (on[0].revents != 0 && read(signals, &taken, sizeof taken) == sizeof taken &&
            taken.ssi_signo == SIGHUP)
            serve_keys_reload(&r->keys);
    }
    if (signals >= 0)
        close(signals);
    return e;
}

/* A SQLite database that is open here keeps its files: those that the limits are made for. */
static enum err confine_and_start(const struct config *config, const struct boot *boot,
                                  struct running *r)
{
    struct store_conn *kept = NULL;
    if (store_is_single_writer(r->store) && store_conn_open(r->store, &kept) == OK)
        (void)!store_probe(kept); /* if it cannot be opened, the probe thread says so */
    enum err e = serve_confine_files(config, r->store, &r->gaps);
    if (e == OK)
        e = start_service(config, boot, r);
    store_conn_close(kept);
    if (e != OK)
        fprintf(stderr, "watchword: cannot start (%s)\n", err_name(e));
    return e;
}

static enum err start(struct config *config, struct boot *boot, struct running *r)
{
    const struct store_config store_config = {.url = (const char *)config->database_url.data,
                                              .timeout_ms = config->db_timeout_ms,
                                              .events = config->events};
    if (config->problem_count == 0 && store_open(&store_config, &r->store) != OK)
        return ERR_INTERNAL; /* its URL has been looked at already */
    if (config->problem_count == 0)
        prepare_database(config, r->store);
    if (config->problem_count == 0)
        start_argon2(config);
    r->signing = serve_keys_wait(&r->keys, config);
    if (print_problems(config))
        return ERR_INVALID;
    TRY(bind_listeners(config, r));
    TRY(confine_and_start(config, boot, r));
    TRY(start_listeners(config, r));
    TRY(serve_confine_calls(config, &r->gaps));
    enum err e = service_wait_open(r->service);
    if (e != OK)
        fprintf(stderr, "watchword: MAX_CONCURRENT_HASHES x ARGON_MEMORY_KB: the memory cannot be "
                        "had\n");
    return e;
}

static enum err serve(struct running *running, const sigset_t *signals)
{
    struct config config CLEANUP(config_close);
    struct boot boot CLEANUP(boot_close);
    config_read(&config);
    log_set_level(config.log_level);
    boot_open(&config, config.problem_count == 0, &boot);
    enum err e = start(&config, &boot, running);
    if (e == OK) {
        note_started(&config, running);
        e = run(signals, running);
    }
    stop(running);
    if (e == OK)
        log_note(LOG_INFO, "service.stopped", "stopped", NULL);
    return e;
}

int command_serve(int argc, char **argv)
{
    (void)argv;
    if (argc > 0) {
        fprintf(stderr, "watchword: serve takes no arguments\n");
        return 2;
    }
    sigset_t signals;
    struct running running = {.public_socket = -1, .operations_socket = -1};
    close_range(STDERR_FILENO + 1, ~0U, 0); /* nothing that was left open by whoever started us */
    block_signals(&signals);
    give_memory_back();
    thread_make_prompt(); /* and all threads and processes of the service */
    if (serve_keys_start(&running.keys) != OK)
        return 1;
    return serve(&running, &signals) == OK ? 0 : 1;
}
