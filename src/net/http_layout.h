/*
 * http_layout.h: what libmicrohttpd forgave. Private to net/http.c.
 *
 * Up to 0.9.75 the library accepts what RFC 9112 lets it refuse and proxies read differently: lines
 * that end in a bare LF or CR, folded header lines, NUL in a value, more than one blank in the
 * request line. It parses in place, turning each delimiter into NUL, so where the parts lie tells
 * how they were delimited: from the method to the last header every part must follow the one before
 * exactly as it does in a canonical request. What does not is refused. Later versions are strict
 * themselves.
 */
#ifndef WW_NET_HTTP_LAYOUT_H
#define WW_NET_HTTP_LAYOUT_H

#include <stdbool.h>
#include <stddef.h>

/* Fed with every header line in turn; starts with the end of the request line. */
struct http_layout {
    const char *expected; /* where the next name has to be */
    bool broken;
};

/* The request line: target_end is where the target ended when it was first parsed. */
struct http_layout http_layout_begin(const char *method, const char *target, const char *target_end,
                                     const char *version);
void http_layout_line(struct http_layout *layout, const char *name, size_t name_len,
                      const char *value, size_t value_len);
/* All lines seen: the empty line has to follow. */
bool http_layout_ok(const struct http_layout *layout);

#endif
