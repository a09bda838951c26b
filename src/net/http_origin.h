/* http_origin.h: where a request comes from: the client's address and the trace it belongs to.
 * Private to net/http.c. */
#ifndef WW_NET_HTTP_ORIGIN_H
#define WW_NET_HTTP_ORIGIN_H

#include "net/http.h"

/* Sets client and client_ip. */
void http_find_client(struct http_request *request, const struct ip_networks *trusted);

/* Sets trace_id: x-trace-id if it is 1 to 64 characters of [A-Za-z0-9._-], else the trace id of
 * traceparent (W3C Trace Context), else a new random one. */
void http_find_trace_id(struct http_request *request);

#endif
