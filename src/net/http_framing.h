/* http_framing.h: whether a header section leaves any doubt about where its request ends. */
#ifndef WW_NET_HTTP_FRAMING_H
#define WW_NET_HTTP_FRAMING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Fed with every header line in turn; starts zeroed. */
struct http_framing {
    unsigned hosts, lengths, codings, types, authorizations;
    uint64_t length; /* of the Content-Length line */
    bool broken;
};

void http_framing_line(struct http_framing *framing, const char *name, size_t name_len,
                       const char *value, size_t value_len);

/* RFC 9112: one Host (needed from 1.1 on), and at most one of Content-Length and
 * Transfer-Encoding: chunked. Stricter than the RFC where proxies are known to differ: Content-Type
 * and Authorization come once at most. */
bool http_framing_ok(const struct http_framing *framing, bool http_1_1);

#endif
