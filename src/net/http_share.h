/*
 * http_share.h: one address may hold only so many of the connections.
 *
 * Without this a single machine could take them all with sockets that say nothing. An address is
 * what limits count by (IPv6 by its /64); trusted proxies have no limit, since behind them
 * everybody comes from one address. Memory: one small entry for each address that is connected.
 *
 * The functions for libmicrohttpd are called on its threads; any thread may call the others.
 * Private to net/http.c and its test.
 */
#ifndef WW_NET_HTTP_SHARE_H
#define WW_NET_HTTP_SHARE_H

#include <microhttpd.h>

#include "base/err.h"
#include "net/client_ip.h"

struct http_shares;

struct http_share_config {
    unsigned limit; /* connections of one address; 1 or more */
    struct ip_networks unlimited;
    /* A connection was refused; first: it is the address's first since it last held none. */
    void (*refused)(void *arg, const struct ip_address *client, bool first);
    void *arg;
};

MUST_USE enum err http_shares_open(const struct http_share_config *config,
                                   struct http_shares **out);
/* NULL is allowed here, and stands for no limit below. */
void http_shares_close(struct http_shares *shares);

/* One more connection for this address, or none: it has its share, or there is no memory. What was
 * taken must be given back once. */
MUST_USE bool http_share_take(struct http_shares *shares, const struct ip_address *client);
void http_share_give(struct http_shares *shares, const struct ip_address *client);

/* An MHD_AcceptPolicyCallback, with the shares as its argument. */
enum MHD_Result http_share_accept(void *shares, const struct sockaddr *addr, socklen_t len);
/* For MHD_OPTION_NOTIFY_CONNECTION. */
void http_share_connection(struct http_shares *shares, struct MHD_Connection *connection,
                           enum MHD_ConnectionNotificationCode code);

#endif
