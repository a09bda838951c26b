/*
 * http_client.h: one HTTP/1.1 request and its whole answer, for commands that look at a running
 * service from beside it. Blocking, without TLS, a connection for each request. Any thread may
 * call.
 */
#ifndef WW_NET_HTTP_CLIENT_H
#define WW_NET_HTTP_CLIENT_H

#include <stddef.h>

#include "base/err.h"

#define HTTP_CLIENT_REPLY_MAX ((size_t)128 * 1024)

struct http_client_target {
    char host[256]; /* without the brackets of an IPv6 address */
    char port[6];
};

/* http://HOST[:PORT], with or without a slash at its end. ERR_INVALID for anything else. */
MUST_USE enum err http_client_parse(const char *url, struct http_client_target *out);

struct http_client_request {
    const char *method, *path;
    const char *bearer;  /* NULL: no Authorization */
    const char *json;    /* NULL: no body */
    unsigned timeout_ms; /* of each wait */
};

struct http_client_reply {
    unsigned status;
    char *body; /* NUL-terminated; free it */
    size_t len;
};

/* ERR_UNAVAILABLE if there is no whole answer, ERR_TOO_LARGE if it is longer than
 * HTTP_CLIENT_REPLY_MAX. */
MUST_USE enum err http_client_fetch(const struct http_client_target *target,
                                    const struct http_client_request *request,
                                    struct http_client_reply *out);

static inline void http_client_reply_close(struct http_client_reply *reply)
{
    free(reply->body);
    reply->body = NULL;
}

#endif
