#include "net/http.h"

#include <errno.h>
#include <microhttpd.h>
#include <netdb.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/encode.h"
#include "base/failpoint.h"
#include "base/log.h"
#include "base/random.h"
#include "base/secret.h"
#include "base/text.h"
#include "net/http_deadline.h"
#include "net/http_framing.h"
#include "net/http_layout.h"
#include "net/http_origin.h"
#include "net/http_share.h"

/* The header section, the answer's, and the growing edge of the body live in this. More than 32
 * KiB, because libmicrohttpd then maps it: when the connection ends, tokens and passwords that were
 * in it are out of the process at once. */
#define CONNECTION_MEMORY ((size_t)36 * 1024)
/* A body that is too large is read and thrown away up to here, so that the client gets to hear why;
 * beyond, the connection ends. */
#define DISCARD_MAX ((size_t)1024 * 1024)
#define BODY_FIRST_CAP 1024

struct http_server {
    struct http_config config;
    struct MHD_Daemon *daemon;
    struct http_deadlines *deadlines;
    struct http_shares *shares; /* NULL: no limit for an address */
    int listener;
    atomic_bool quiescing;
    atomic_bool closing; /* raised by http_close: see there */
    atomic_uint in_flight;
};

/* ---- reading ---- */

static enum http_method method_of(const char *name)
{
    static const struct {
        const char *name;
        enum http_method method;
    } known[] = {
        {"GET", HTTP_GET}, {"HEAD", HTTP_HEAD}, {"POST", HTTP_POST}, {"OPTIONS", HTTP_OPTIONS}};
    for (size_t i = 0; i < ARRAY_LEN(known); i++)
        if (strcmp(name, known[i].name) == 0)
            return known[i].method;
    return HTTP_OTHER;
}

struct seen {
    struct http_framing framing;
    struct http_layout layout;
};

static enum MHD_Result see_line(void *arg, enum MHD_ValueKind kind, const char *name,
                                size_t name_len, const char *value, size_t value_len)
{
    (void)kind;
    struct seen *seen = arg;
    http_framing_line(&seen->framing, name, name_len, value, value_len);
    http_layout_line(&seen->layout, name, name_len, value, value_len);
    return MHD_YES;
}

/* ---- the life of a request ---- */

static void free_request(struct http_request *request)
{
    if (request == NULL)
        return;
    if (request->begun)
        atomic_fetch_sub(&request->server->in_flight, 1);
    request->server->config.handler.release(request);
    if (request->body != NULL) {
        secret_wipe(request->body, request->body_len);
        free(request->body);
    }
    /* An answer that was queued belongs to libmicrohttpd. */
    if (request->answer.body != NULL && !request->answer.body_lasts) {
        secret_wipe(request->answer.body, request->answer.body_len);
        free(request->answer.body);
    }
    secret_wipe(&request->answer, sizeof request->answer);
    free(request);
}

static void check_header_section(struct http_request *request, const char *url, const char *method,
                                 const char *version)
{
    struct seen seen = {.layout = http_layout_begin(
                            method, url, http_deadline_target_end(request->connection), version)};
    MHD_get_connection_values_n(request->connection, MHD_HEADER_KIND, see_line, &seen);
    bool forgiving = MHD_VERSION < 0x00097600;
    if (!http_framing_ok(&seen.framing, strcmp(version, "HTTP/1.1") == 0) ||
        (forgiving && !http_layout_ok(&seen.layout)))
        request->refusal = HTTP_REFUSE_FRAMING;
    else if (seen.framing.length > DISCARD_MAX)
        request->refusal = HTTP_REFUSE_TOO_LARGE;
}

static struct http_request *new_request(struct http_server *server,
                                        struct MHD_Connection *connection, const char *url,
                                        const char *method, const char *version)
{
    struct http_request *request = calloc(1, sizeof *request);
    if (request == NULL)
        return NULL;
    request->server = server;
    request->connection = connection;
    request->socket =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
    request->started_ns = clock_mono_ns();
    request->method = method_of(method);
    request->path = url;
    request->refusal = -1;
    http_find_client(request, &server->config.trusted_proxies);
    http_find_trace_id(request);
    const char *agent = http_header(request, "User-Agent");
    if (agent != NULL)
        text_copy_utf8(request->user_agent, sizeof request->user_agent, agent, strlen(agent));
    check_header_section(request, url, method, version);
    return request;
}

/* Takes a piece of the body and wipes it where libmicrohttpd keeps it: it may hold a password. */
static bool take_body(struct http_request *request, char *data, size_t len)
{
    bool ok = true;
    if (request->body_len + len > HTTP_BODY_MAX) {
        request->refusal = HTTP_REFUSE_TOO_LARGE;
        request->discarded += len;
        ok = request->discarded <= DISCARD_MAX;
    } else {
        if (request->body_len + len > request->body_cap || request->body == NULL) {
            size_t cap = request->body_cap > 0 ? request->body_cap : BODY_FIRST_CAP;
            while (cap < request->body_len + len)
                cap *= 2;
            char *grown = malloc(cap + 1);
            if (grown == NULL)
                return false;
            if (request->body != NULL) {
                memcpy(grown, request->body, request->body_len);
                secret_wipe(request->body, request->body_len);
                free(request->body);
            }
            request->body = grown;
            request->body_cap = cap;
        }
        memcpy(request->body + request->body_len, data, len);
        request->body_len += len;
        request->body[request->body_len] = '\0';
    }
    secret_wipe(data, len);
    return ok;
}

void http_add_header(struct http_request *request, const char *name, const char *value)
{
    struct http_answer *a = &request->answer;
    size_t len = strlen(value) + 1;
    if (a->header_count == HTTP_HEADERS_MAX || len > sizeof a->header_text - a->header_text_len)
        return;
    char *copy = a->header_text + a->header_text_len;
    memcpy(copy, value, len);
    a->header_text_len += len;
    a->headers[a->header_count++] = (struct http_header){name, copy};
}

/* A body that holds a secret, and the response that may hold one in its cookie. */
struct secret_body {
    struct MHD_Response *response;
    size_t len;
    char *body;
};

static void wipe_and_free(void *arg)
{
    struct secret_body *secret = arg;
    const char *cookie = MHD_get_response_header(secret->response, "Set-Cookie");
    if (cookie != NULL) /* libmicrohttpd's copy, which it is about to free */
        secret_wipe((char *)(uintptr_t)cookie, strlen(cookie));
    secret_wipe(secret->body, secret->len);
    free(secret->body);
    free(secret);
}

static struct MHD_Response *make_secret_response(struct http_answer *a)
{
    struct secret_body *secret = malloc(sizeof *secret);
    if (secret == NULL)
        return NULL;
    *secret = (struct secret_body){NULL, a->body_len, a->body};
    secret->response = MHD_create_response_from_buffer_with_free_callback_cls(
        a->body_len, a->body, wipe_and_free, secret);
    if (secret->response == NULL) {
        free(secret);
        return NULL;
    }
    return secret->response;
}

static struct MHD_Response *make_response(struct http_request *request)
{
    struct http_answer *a = &request->answer;
    static char nothing[] = "";
    struct MHD_Response *response;
    if (a->body_lasts || a->body == NULL)
        response = MHD_create_response_from_buffer(a->body_len, a->body != NULL ? a->body : nothing,
                                                   MHD_RESPMEM_PERSISTENT);
    else if (a->secret)
        response = make_secret_response(a);
    else
        response = MHD_create_response_from_buffer_with_free_callback(a->body_len, a->body, free);
    if (response == NULL)
        return NULL;
    if (!a->body_lasts)
        a->body = NULL;
    if (a->content_type != NULL)
        MHD_add_response_header(response, "Content-Type", a->content_type);
    MHD_add_response_header(response, "X-Content-Type-Options", "nosniff");
    MHD_add_response_header(response, "x-trace-id", request->trace_id);
    for (unsigned i = 0; i < a->header_count; i++)
        MHD_add_response_header(response, a->headers[i].name, a->headers[i].value);
    bool closing = request->refusal == HTTP_REFUSE_FRAMING ||
                   atomic_load_explicit(&request->server->quiescing, memory_order_relaxed);
    if (closing)
        MHD_add_response_header(response, "Connection", "close");
    return response;
}

static enum MHD_Result send_answer(struct http_request *request)
{
    struct http_server *server = request->server;
    server->config.handler.finish(server->config.handler.arg, request);
    http_deadline_writing(request->connection);
    struct MHD_Response *response = make_response(request);
    if (response == NULL)
        return MHD_NO;
    enum MHD_Result result =
        MHD_queue_response(request->connection, request->answer.status, response);
    MHD_destroy_response(response);
    return result;
}

static enum MHD_Result begin(struct http_request *request)
{
    const struct http_handler *handler = &request->server->config.handler;
    request->begun = true;
    atomic_fetch_add(&request->server->in_flight, 1);
    if (request->refusal >= 0) {
        handler->refuse(handler->arg, request, (enum http_refusal)request->refusal);
        return send_answer(request);
    }
    http_deadline_busy(request->connection);
    if (handler->begin(handler->arg, request) == HTTP_ANSWERED)
        return send_answer(request);
    return MHD_YES; /* given away: not ours to look at */
}

/* libmicrohttpd's callback: once for the header section, once for each piece of the body, once at
 * its end, and once after a resume. */
static enum MHD_Result on_request(void *arg, struct MHD_Connection *connection, const char *url,
                                  const char *method, const char *version, const char *upload,
                                  size_t *upload_len, void **state)
{
    struct http_request *request = *state;
    if (request == NULL) {
        request = *state = new_request(arg, connection, url, method, version);
        if (request == NULL)
            return MHD_NO;
        /* Where the request ends is unclear, or too far away: answer now and close. */
        return request->refusal >= 0 ? begin(request) : MHD_YES;
    }
    if (*upload_len > 0) {
        bool ok = take_body(request, (char *)(uintptr_t)upload, *upload_len);
        *upload_len = 0;
        return ok ? MHD_YES : MHD_NO;
    }
    return request->begun ? send_answer(request) : begin(request);
}

static void on_completed(void *arg, struct MHD_Connection *connection, void **state,
                         enum MHD_RequestTerminationCode why)
{
    (void)arg;
    (void)why;
    free_request(*state);
    *state = NULL;
    http_deadline_idle(connection);
}

static void on_connection(void *arg, struct MHD_Connection *connection, void **context,
                          enum MHD_ConnectionNotificationCode code)
{
    struct http_server *server = arg;
    http_deadline_connection(server->deadlines, connection, context, code);
    http_share_connection(server->shares, connection, code);
}

static void *on_request_line(void *arg, const char *uri, struct MHD_Connection *connection)
{
    (void)arg;
    http_deadline_reading(connection, uri + strlen(uri));
    return NULL;
}

/* Paths and query values are compared as they were sent: nothing this service knows needs escapes,
 * and %00 or %2f cannot mean one thing to a proxy and another here. */
static size_t leave_escaped(void *arg, struct MHD_Connection *connection, char *s)
{
    (void)arg;
    (void)connection;
    return strlen(s);
}

static void log_nothing(void *arg, const char *fmt, va_list args)
{
    (void)arg;
    (void)fmt;
    (void)args;
}

void http_suspend(struct http_request *request)
{
    MHD_suspend_connection(request->connection);
}

void http_resume(struct http_request *request)
{
    MHD_resume_connection(request->connection);
}

bool http_is_closing(const struct http_request *request)
{
    return atomic_load(&request->server->closing);
}

bool http_client_gone(const struct http_request *request)
{
    char byte;
    ssize_t n = recv(request->socket, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    return n == 0 || (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR);
}

/* ---- opening and closing ---- */

enum err http_bind(const char *host, unsigned port, int *out)
{
    char service[8];
    struct text t = text_on(service, sizeof service);
    text_put_u64(&t, port);
    struct addrinfo hints = {.ai_family = AF_UNSPEC,
                             .ai_socktype = SOCK_STREAM,
                             .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    struct addrinfo *list = NULL;
    if (getaddrinfo(host, service, &hints, &list) != 0) {
        errno = EADDRNOTAVAIL;
        return ERR_UNAVAILABLE;
    }
    int fd = socket(list->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int on = 1;
    bool ok = fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0 &&
              bind(fd, list->ai_addr, list->ai_addrlen) == 0;
    int saved = errno;
    freeaddrinfo(list);
    if (ok) {
        *out = fd;
        return OK;
    }
    if (fd >= 0)
        close(fd);
    errno = saved;
    return ERR_UNAVAILABLE;
}

static struct MHD_Daemon *start_daemon(struct http_server *server)
{
    const struct http_config *c = &server->config;
    unsigned flags = MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ITC |
                     MHD_USE_TURBO | MHD_USE_ERROR_LOG;
    struct MHD_OptionItem options[] = {
        {MHD_OPTION_EXTERNAL_LOGGER, (intptr_t)log_nothing, NULL},
        {MHD_OPTION_LISTEN_SOCKET, server->listener, NULL},
        {MHD_OPTION_CONNECTION_MEMORY_LIMIT, (intptr_t)CONNECTION_MEMORY, NULL},
        {MHD_OPTION_CONNECTION_LIMIT, (intptr_t)c->connections_max, NULL},
        {MHD_OPTION_CONNECTION_TIMEOUT, (intptr_t)c->idle_seconds, NULL},
        {MHD_OPTION_STRICT_FOR_CLIENT, 1, NULL},
        {MHD_OPTION_NOTIFY_COMPLETED, (intptr_t)on_completed, server},
        {MHD_OPTION_NOTIFY_CONNECTION, (intptr_t)on_connection, server},
        {MHD_OPTION_URI_LOG_CALLBACK, (intptr_t)on_request_line, server},
        {MHD_OPTION_UNESCAPE_CALLBACK, (intptr_t)leave_escaped, server},
        /* A pool of one is not a pool: the plain single thread does the same with less. */
        {c->threads > 1 ? MHD_OPTION_THREAD_POOL_SIZE : MHD_OPTION_END, (intptr_t)c->threads, NULL},
        {MHD_OPTION_END, 0, NULL},
    };
    return MHD_start_daemon(flags, (uint16_t)c->port, http_share_accept, server->shares, on_request,
                            server, MHD_OPTION_ARRAY, options, MHD_OPTION_END);
}

static enum err open_shares(struct http_server *server)
{
    const struct http_config *c = &server->config;
    const struct http_share_config config = {.limit = c->connections_per_address,
                                             .unlimited = c->trusted_proxies,
                                             .refused = c->handler.turned_away,
                                             .arg = c->handler.arg};
    return config.limit > 0 ? http_shares_open(&config, &server->shares) : OK;
}

enum err http_open(const struct http_config *config, struct http_server **out)
{
    struct http_server *server = calloc(1, sizeof *server);
    if (server == NULL) {
        close(config->socket);
        return ERR_INTERNAL;
    }
    server->config = *config;
    server->listener = config->socket;
    enum err e = listen(server->listener, SOMAXCONN) == 0 ? OK : ERR_UNAVAILABLE;
    if (e == OK)
        e = http_deadlines_open(config->idle_seconds, config->request_seconds, &server->deadlines);
    if (e == OK)
        e = open_shares(server);
    if (e == OK)
        server->daemon = start_daemon(server);
    if (e == OK && server->daemon == NULL)
        e = ERR_UNAVAILABLE;
    if (e != OK) {
        int saved = errno;
        http_close(server);
        errno = saved;
        return e;
    }
    *out = server;
    return OK;
}

void http_quiesce(struct http_server *server)
{
    atomic_store_explicit(&server->quiescing, true, memory_order_relaxed);
    server->listener = MHD_quiesce_daemon(server->daemon);
    /* Closing it has to wait for the daemon's end; refusing connections need not. */
    shutdown(server->listener, SHUT_RDWR);
}

unsigned http_in_flight(const struct http_server *server)
{
    return atomic_load(&server->in_flight);
}

/* libmicrohttpd aborts the process if a request is suspended when its daemon stops. A connection
 * that was kept alive can begin one until then. It is counted in in_flight first, and only then
 * looks at closing, in one order for all threads: so either it is waited for here, or it sees that
 * it must not be suspended. */
static void wait_for_suspended(struct http_server *server)
{
    PAUSE("http.closing");
    atomic_store(&server->closing, true);
    while (http_in_flight(server) > 0)
        usleep(1000);
    PAUSE("http.closed");
}

void http_close(struct http_server *server)
{
    if (server == NULL)
        return;
    bool quiesced = atomic_load(&server->quiescing);
    if (quiesced)
        wait_for_suspended(server);
    if (server->daemon != NULL)
        MHD_stop_daemon(server->daemon);
    /* The daemon closes its listener unless that was taken from it, or it never started. */
    if (server->listener >= 0 && (quiesced || server->daemon == NULL))
        close(server->listener);
    http_deadlines_close(server->deadlines);
    http_shares_close(server->shares);
    free(server);
}
