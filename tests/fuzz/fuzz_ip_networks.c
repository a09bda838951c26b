/* Lists of networks: each network that is parsed contains its own base, and none is too long. */
#include "fuzz.h"

#include "net/client_ip.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct ip_networks nets = {.count = 12345}, again;
    char *in = strndup((const char *)data, size);
    REQUIRE(in != NULL);
    if (ip_networks_parse(in, &nets) == OK) {
        REQUIRE(nets.count <= IP_NETWORKS_MAX);
        for (unsigned i = 0; i < nets.count; i++) {
            char text[IP_TEXT_MAX + 1];
            REQUIRE(nets.net[i].prefix <= 128);
            REQUIRE(ip_networks_contain(&nets, &nets.net[i].base));
            ip_format(&nets.net[i].base, text);
            REQUIRE(ip_networks_parse(text, &again) == OK && again.count == 1);
            REQUIRE(memcmp(&again.net[0].base, &nets.net[i].base, sizeof again.net[0].base) == 0);
        }
    } else {
        REQUIRE(nets.count == 12345);
    }
    free(in);
    return 0;
}
