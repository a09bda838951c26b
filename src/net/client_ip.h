/*
 * client_ip.h: who is asking, when proxies stand between.
 *
 * The client is the peer of the connection, unless the peer is a trusted proxy: then it is the
 * right-most address in X-Forwarded-For (or RFC 7239 Forwarded) that is not itself a trusted proxy.
 * A malformed entry ends the walk: what stands left of it was not written by anyone we trust.
 * Everything here is pure; a struct ip_networks is immutable once parsed.
 */
#ifndef WW_NET_CLIENT_IP_H
#define WW_NET_CLIENT_IP_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

/* IPv4 as ::ffff:a.b.c.d, so that there is one kind. */
struct ip_address {
    uint8_t b[16];
};

#define IP_TEXT_MAX 45
#define IP_NETWORKS_MAX 64

struct ip_networks {
    unsigned count;
    struct {
        struct ip_address base;
        unsigned prefix; /* bits of the 128 */
    } net[IP_NETWORKS_MAX];
};

/* "10.0.0.0/8,::1": ERR_MALFORMED if an entry is not an address or network, ERR_TOO_LARGE if there
 * are more than IP_NETWORKS_MAX. */
MUST_USE enum err ip_networks_parse(const char *in, struct ip_networks *out);
MUST_USE bool ip_networks_contain(const struct ip_networks *nets, const struct ip_address *ip);

void ip_from_sockaddr(const struct sockaddr *sa, struct ip_address *out);
/* "a.b.c.d" or RFC 5952. */
void ip_format(const struct ip_address *ip, char out[IP_TEXT_MAX + 1]);

/* The address that limits count by: IPv6 cut to its /64. */
struct ip_address ip_limit_key(const struct ip_address *ip);

/* The two header fields, or NULL; several lines of one field joined by commas. X-Forwarded-For goes
 * first. */
struct ip_address client_ip(const struct ip_networks *trusted, const struct ip_address *peer,
                            const char *x_forwarded_for, const char *forwarded);

#endif
