/*
 * http_deadline.h: no connection may take for ever to send a request or to read its answer.
 *
 * libmicrohttpd's own timeout restarts with every byte, so a client that trickles keeps a
 * connection as long as it likes. Here each phase has an end that no byte moves: a watch thread
 * shuts the socket down when it passes, and libmicrohttpd cleans up. Private to net/http.c.
 */
#ifndef WW_NET_HTTP_DEADLINE_H
#define WW_NET_HTTP_DEADLINE_H

#include <microhttpd.h>

#include "base/err.h"

struct http_deadlines;

/* idle_seconds: between requests; request_seconds: for one, or for its answer to be read. */
MUST_USE enum err http_deadlines_open(unsigned idle_seconds, unsigned request_seconds,
                                      struct http_deadlines **out);
/* After the daemon has stopped: no connection is left. */
void http_deadlines_close(struct http_deadlines *deadlines);

/* For MHD_OPTION_NOTIFY_CONNECTION, with the deadlines as its argument. */
void http_deadline_connection(void *deadlines, struct MHD_Connection *connection,
                              void **socket_context, enum MHD_ConnectionNotificationCode code);

/* The connection enters a phase. The end of the request target, while it is still whole, is kept
 * for http_layout. */
void http_deadline_reading(struct MHD_Connection *connection, const char *target_end);
const char *http_deadline_target_end(struct MHD_Connection *connection);
void http_deadline_busy(struct MHD_Connection *connection); /* ours to end: no limit here */
void http_deadline_writing(struct MHD_Connection *connection);
void http_deadline_idle(struct MHD_Connection *connection);

#endif
