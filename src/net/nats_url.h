/* nats_url.h: one server of NATS_URL's list. Private to net/nats*.c; for others there are
 * nats_url_flaw and nats_list_ports in nats.h. */
#ifndef WW_NET_NATS_URL_H
#define WW_NET_NATS_URL_H

#include <stdbool.h>
#include <stddef.h>

struct nats_server {
    char host[256];
    unsigned port;
    const char *url; /* inside the copy of the list */
    bool secure;
};

/* Host, port and scheme of the URL of that length; NULL if it is well-formed, else what is wrong
 * with it. out->url is left. */
const char *nats_server_read(const char *url, size_t len, struct nats_server *out);

#endif
