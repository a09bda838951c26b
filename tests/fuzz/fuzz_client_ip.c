/* Forwarded headers: an untrusted peer is the client whatever it sends; what a trusted proxy
 * appends is the client unless it is trusted itself; what stands left of that changes nothing. */
#include "fuzz.h"

#include "net/client_ip.h"

static bool same(struct ip_address a, const struct ip_address *b)
{
    return memcmp(a.b, b->b, sizeof a.b) == 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct ip_networks trusted, hosts;
    REQUIRE(ip_networks_parse("10.0.0.0/8,2001:db8::/32", &trusted) == OK);
    REQUIRE(ip_networks_parse("10.0.0.1,192.0.2.1,198.51.100.7", &hosts) == OK);
    const struct ip_address *proxy = &hosts.net[0].base, *stranger = &hosts.net[1].base;
    char *in = malloc(size + 64);
    REQUIRE(in != NULL);
    memcpy(in, data, size);
    in[size] = '\0';
    REQUIRE(same(client_ip(&trusted, stranger, in, in), stranger));
    struct ip_address ip = client_ip(&trusted, proxy, in, NULL);
    REQUIRE(same(client_ip(&trusted, proxy, in, "for=192.0.2.1"), &ip));
    (void)client_ip(&trusted, proxy, NULL, in);
    size_t len = strlen(in);
    strcpy(in + len, ", 198.51.100.7");
    REQUIRE(same(client_ip(&trusted, proxy, in, NULL), &hosts.net[2].base));
    strcpy(in + len, ", for=\"198.51.100.7:443\";proto=https");
    REQUIRE(same(client_ip(&trusted, proxy, NULL, in), &hosts.net[2].base));
    strcpy(in + len, ",unknown");
    REQUIRE(same(client_ip(&trusted, proxy, in, NULL), proxy));
    free(in);
    return 0;
}
