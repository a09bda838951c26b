/*
 * http.h: the HTTP/1.1 server (libmicrohttpd, epoll) and the request that travels through it.
 *
 * A request is read whole on a network thread, then handed to the handler's begin. begin either
 * answers at once, or calls http_suspend and gives the request away; whoever holds it last sets the
 * answer and calls http_resume, and must not touch it after. At any time exactly one thread owns a
 * request, so it has no locks.
 *
 * What the server itself refuses (broken framing, too large) goes to the handler's refuse, so that
 * every answer is made in one place. Requests that libmicrohttpd cannot even parse get its own
 * short HTML page and a closed connection.
 */
#ifndef WW_NET_HTTP_H
#define WW_NET_HTTP_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "net/client_ip.h"
#include "net/lane.h"

#define HTTP_BODY_MAX ((size_t)16 * 1024)
#define HTTP_TRACE_ID_MAX 64
#define HTTP_AGENT_MAX 256
#define HTTP_HEADERS_MAX 12

struct MHD_Connection;
struct http_server;

enum http_method {
    HTTP_GET,
    HTTP_HEAD,
    HTTP_POST,
    HTTP_OPTIONS,
    HTTP_OTHER,
};

enum http_verdict {
    HTTP_ANSWERED, /* the answer is set */
    HTTP_PENDING,  /* suspended and given away */
};

enum http_refusal {
    HTTP_REFUSE_FRAMING,   /* 400: ambiguous or broken request */
    HTTP_REFUSE_TOO_LARGE, /* 413: the body */
};

struct http_header {
    const char *name;  /* a literal */
    const char *value; /* a literal, or inside the answer's header_text */
};

struct http_answer {
    unsigned status;
    const char *content_type; /* NULL without a body */
    char *body; /* from malloc, freed (and wiped if secret) by the server; or lasting */
    size_t body_len;
    bool body_lasts; /* the body outlives the server: neither copied nor freed */
    bool secret;
    unsigned header_count;
    struct http_header headers[HTTP_HEADERS_MAX];
    size_t header_text_len;
    char header_text[1024];
};

struct http_request {
    struct lane_job job; /* first: a queued job is its request */
    struct http_server *server;
    struct MHD_Connection *connection;
    int socket;

    enum http_method method;
    const char *path; /* as sent, not unescaped; without the query */
    char *body;       /* body_len bytes and a NUL; NULL if there is none */
    size_t body_len;
    struct ip_address client;
    char client_ip[IP_TEXT_MAX + 1];
    char user_agent[HTTP_AGENT_MAX + 1];
    char trace_id[HTTP_TRACE_ID_MAX + 1];
    uint64_t started_ns; /* monotonic: when the header section was complete */

    struct http_answer answer;
    void *app; /* the handler's own; freed by its release */

    /* private to http.c */
    size_t body_cap;
    size_t discarded;
    int refusal; /* -1: none */
    bool begun;
};

struct http_handler {
    void *arg;
    enum http_verdict (*begin)(void *arg, struct http_request *request);
    void (*refuse)(void *arg, struct http_request *request, enum http_refusal why);
    /* The answer is complete and about to be sent; on a network thread, once for each request. */
    void (*finish)(void *arg, struct http_request *request);
    void (*release)(struct http_request *request);
    /* A connection was refused, because its address has as many as it may. first: of those since
     * it last had none. */
    void (*turned_away)(void *arg, const struct ip_address *client, bool first);
};

struct http_config {
    int socket; /* from http_bind; http_open takes it, also on failure */
    const char *host;
    unsigned port; /* 1 to 65535 */
    unsigned threads;
    unsigned connections_max;
    unsigned connections_per_address; /* 0: no limit; IPv6 by /64; none for trusted proxies */
    unsigned idle_seconds;            /* between requests */
    unsigned request_seconds;         /* from the request line to the end of the body */
    struct ip_networks trusted_proxies;
    struct http_handler handler;
};

/* A socket on that address, which does not listen yet. ERR_UNAVAILABLE if the address cannot be had
 * (errno tells). */
MUST_USE enum err http_bind(const char *host, unsigned port, int *out);

/* Listens. ERR_UNAVAILABLE if the address cannot be had (errno tells). */
MUST_USE enum err http_open(const struct http_config *config, struct http_server **out);

/* No new connections; open ones are told to close with their next answer. */
void http_quiesce(struct http_server *server);
/* Requests that have been begun and whose answer has not been sent to its last byte. */
unsigned http_in_flight(const struct http_server *server);
/* Ends all connections. After http_quiesce it waits until what is in flight has been answered, and
 * what begins meanwhile must not be suspended (http_is_closing). Otherwise no request may be
 * suspended any more. */
void http_close(struct http_server *server);

/* ---- reading a request (network thread only) ---- */
const char *http_header(const struct http_request *request, const char *name);
/* NULL: there is none. Not terminated: *len bytes. */
const char *http_cookie(const struct http_request *request, const char *name, size_t *len);
const char *http_query(const struct http_request *request, const char *name);

/* ---- answering ---- */
/* Copies the value; what does not fit is dropped, which no caller comes near. */
void http_add_header(struct http_request *request, const char *name, const char *value);

/* ---- giving away (see above) ---- */
/* Not if http_is_closing. */
void http_suspend(struct http_request *request);
void http_resume(struct http_request *request);

/* http_close has begun and may not wait for this request: begin must answer it. If this is false in
 * begin, the request may be suspended, whenever that is. */
MUST_USE bool http_is_closing(const struct http_request *request);

/* The client has closed its side. */
MUST_USE bool http_client_gone(const struct http_request *request);

#endif
