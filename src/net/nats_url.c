#include "net/nats_url.h"

#include <string.h>

#include "base/encode.h"
#include "base/text.h"
#include "net/nats.h"

#define DEFAULT_PORT 4222

const char *nats_server_read(const char *url, size_t len, struct nats_server *out)
{
    size_t scheme = len > 7 && strncmp(url, "nats://", 7) == 0  ? 7
                    : len > 6 && strncmp(url, "tls://", 6) == 0 ? 6
                                                                : 0;
    if (scheme == 0)
        return "must begin with nats:// or tls://";
    if (len >= NATS_URL_MAX)
        return "is too long";
    const char *p = url + scheme, *end = url + len;
    for (const char *at = p; at < end; at++)
        if (*at == '@')
            p = at + 1;
    bool literal = p < end && *p == '[';
    size_t host = literal ? strcspn(p, "],") + 1 : strcspn(p, ":/,");
    if (p + host > end)
        return "has no host";
    const char *name = literal ? p + 1 : p;
    size_t name_len = literal ? host - 2 : host;
    if (name_len == 0 || name_len >= sizeof out->host || (literal && host < 3))
        return "has no host";
    uint64_t port = DEFAULT_PORT;
    p += host;
    if (p < end &&
        (*p != ':' || decimal_parse(p + 1, (size_t)(end - p - 1), 1, 65535, &port) != OK))
        return "has a port that is none, or something after it";
    text_copy(out->host, sizeof out->host, name, name_len);
    out->port = (unsigned)port;
    out->secure = scheme == 6;
    return NULL;
}

const char *nats_url_flaw(const char *url)
{
    for (unsigned count = 1;; count++) {
        struct nats_server server;
        size_t len = strcspn(url, ",");
        const char *flaw = nats_server_read(url, len, &server);
        if (flaw != NULL)
            return flaw;
        if (url[len] == '\0')
            return NULL;
        if (count == NATS_SERVERS_MAX)
            return "names too many servers";
        url += len + 1;
    }
}

bool nats_list_ports(const char *url, void (*note)(void *arg, unsigned port), void *arg)
{
    bool secure = false;
    for (;;) {
        struct nats_server server;
        size_t len = strcspn(url, ",");
        if (nats_server_read(url, len, &server) == NULL) {
            note(arg, server.port);
            secure = secure || server.secure;
        }
        if (url[len] == '\0')
            return secure;
        url += len + 1;
    }
}
