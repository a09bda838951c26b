#include "net/client_ip.h"

#include <arpa/inet.h>
#include <string.h>

#include "base/encode.h"
#include "base/text.h"

static const uint8_t MAPPED_PREFIX[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

static bool is_mapped(const struct ip_address *ip)
{
    return memcmp(ip->b, MAPPED_PREFIX, sizeof MAPPED_PREFIX) == 0;
}

static struct ip_address from_v4(const void *addr)
{
    struct ip_address ip;
    memcpy(ip.b, MAPPED_PREFIX, sizeof MAPPED_PREFIX);
    memcpy(ip.b + 12, addr, 4);
    return ip;
}

/* A plain address, nothing around it. */
static bool parse_address(const char *in, size_t len, struct ip_address *out)
{
    char s[IP_TEXT_MAX + 1];
    uint8_t v4[4];
    struct ip_address v6;
    if (len == 0 || len > IP_TEXT_MAX)
        return false;
    text_copy(s, sizeof s, in, len);
    if (inet_pton(AF_INET, s, v4) == 1) {
        *out = from_v4(v4);
        return true;
    }
    if (inet_pton(AF_INET6, s, v6.b) != 1)
        return false;
    *out = v6;
    return true;
}

/* ---- networks ---- */

static void trim(const char **s, size_t *len)
{
    while (*len > 0 && (**s == ' ' || **s == '\t')) {
        (*s)++;
        (*len)--;
    }
    while (*len > 0 && ((*s)[*len - 1] == ' ' || (*s)[*len - 1] == '\t'))
        (*len)--;
}

static enum err parse_network(const char *in, size_t len, struct ip_networks *out)
{
    trim(&in, &len);
    const char *slash = memchr(in, '/', len);
    size_t addr_len = slash != NULL ? (size_t)(slash - in) : len;
    struct ip_address base;
    if (!parse_address(in, addr_len, &base))
        return ERR_MALFORMED;
    unsigned width = is_mapped(&base) && memchr(in, ':', addr_len) == NULL ? 32 : 128;
    uint64_t bits = width;
    if (slash != NULL && decimal_parse(slash + 1, len - addr_len - 1, 0, width, &bits) != OK)
        return ERR_MALFORMED;
    if (out->count == IP_NETWORKS_MAX)
        return ERR_TOO_LARGE;
    out->net[out->count].base = base;
    out->net[out->count].prefix = (unsigned)bits + (128 - width);
    out->count++;
    return OK;
}

enum err ip_networks_parse(const char *in, struct ip_networks *out)
{
    struct ip_networks nets = {0};
    while (*in != '\0') {
        size_t len = strcspn(in, ",");
        TRY(parse_network(in, len, &nets));
        in += len;
        if (*in == ',' && *++in == '\0')
            return ERR_MALFORMED; /* a trailing comma */
    }
    *out = nets;
    return OK;
}

static bool same_prefix(const uint8_t *a, const uint8_t *b, unsigned bits)
{
    unsigned bytes = bits / 8;
    if (memcmp(a, b, bytes) != 0)
        return false;
    if (bits % 8 == 0)
        return true;
    unsigned shift = 8 - bits % 8;
    return a[bytes] >> shift == b[bytes] >> shift;
}

bool ip_networks_contain(const struct ip_networks *nets, const struct ip_address *ip)
{
    for (unsigned i = 0; i < nets->count; i++)
        if (same_prefix(nets->net[i].base.b, ip->b, nets->net[i].prefix))
            return true;
    return false;
}

/* ---- addresses ---- */

void ip_from_sockaddr(const struct sockaddr *sa, struct ip_address *out)
{
    if (sa->sa_family == AF_INET)
        *out = from_v4(&((const struct sockaddr_in *)(const void *)sa)->sin_addr);
    else if (sa->sa_family == AF_INET6)
        memcpy(out->b, &((const struct sockaddr_in6 *)(const void *)sa)->sin6_addr, sizeof out->b);
    else
        *out = (struct ip_address){{0}};
}

void ip_format(const struct ip_address *ip, char out[IP_TEXT_MAX + 1])
{
    if (is_mapped(ip))
        inet_ntop(AF_INET, ip->b + 12, out, IP_TEXT_MAX + 1);
    else
        inet_ntop(AF_INET6, ip->b, out, IP_TEXT_MAX + 1);
}

struct ip_address ip_limit_key(const struct ip_address *ip)
{
    struct ip_address key = *ip;
    if (!is_mapped(&key))
        memset(key.b + 8, 0, 8);
    return key;
}

/* ---- forwarded headers ---- */

/* An address as proxies write it: alone, in brackets, with a port after it. */
static bool parse_node(const char *in, size_t len, struct ip_address *out)
{
    trim(&in, &len);
    if (len >= 2 && in[0] == '"' && in[len - 1] == '"') {
        in++;
        len -= 2;
    }
    if (len > 0 && in[0] == '[') {
        const char *close = memchr(in, ']', len);
        if (close == NULL)
            return false;
        size_t rest = len - (size_t)(close - in) - 1;
        return (rest == 0 || close[1] == ':') && memchr(in, ':', len) != NULL &&
               parse_address(in + 1, (size_t)(close - in) - 1, out);
    }
    const char *colon = memchr(in, ':', len);
    if (colon != NULL && memchr(colon + 1, ':', len - (size_t)(colon - in) - 1) == NULL)
        len = (size_t)(colon - in); /* one colon: IPv4 and a port */
    return parse_address(in, len, out);
}

/* The for= parameter of one Forwarded element. */
static bool parse_forwarded(const char *in, size_t len, struct ip_address *out)
{
    while (len > 0) {
        const char *semi = memchr(in, ';', len);
        size_t n = semi != NULL ? (size_t)(semi - in) : len;
        const char *pair = in;
        size_t pair_len = n;
        trim(&pair, &pair_len);
        if (pair_len > 4 && strncasecmp(pair, "for=", 4) == 0)
            return parse_node(pair + 4, pair_len - 4, out);
        in += n;
        len -= n;
        if (len > 0) {
            in++;
            len--;
        }
    }
    return false;
}

typedef bool parse_element(const char *in, size_t len, struct ip_address *out);

/* From the right: our proxy appended last. */
static struct ip_address walk(const struct ip_networks *trusted, const struct ip_address *peer,
                              const char *list, parse_element *parse)
{
    struct ip_address client = *peer;
    size_t end = strlen(list);
    for (;;) {
        size_t begin = end;
        while (begin > 0 && list[begin - 1] != ',')
            begin--;
        struct ip_address hop;
        if (!parse(list + begin, end - begin, &hop))
            return client;
        client = hop;
        if (begin == 0 || !ip_networks_contain(trusted, &hop))
            return client;
        end = begin - 1;
    }
}

struct ip_address client_ip(const struct ip_networks *trusted, const struct ip_address *peer,
                            const char *x_forwarded_for, const char *forwarded)
{
    if (!ip_networks_contain(trusted, peer))
        return *peer;
    if (x_forwarded_for != NULL)
        return walk(trusted, peer, x_forwarded_for, parse_node);
    if (forwarded != NULL)
        return walk(trusted, peer, forwarded, parse_forwarded);
    return *peer;
}
