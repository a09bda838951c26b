#include "unit.h"

#include <arpa/inet.h>
#include <stdio.h>

#include "net/client_ip.h"

static struct ip_networks networks(const char *in)
{
    struct ip_networks nets;
    assert_ok(ip_networks_parse(in, &nets));
    return nets;
}

static struct ip_address address(const char *in)
{
    return networks(in).net[0].base;
}

static const char *text_of(struct ip_address ip)
{
    static char out[IP_TEXT_MAX + 1];
    ip_format(&ip, out);
    return out;
}

TEST(networks_contain_what_lies_within_them)
{
    static const struct {
        const char *nets, *ip;
        bool inside;
    } cases[] = {
        {"10.0.0.0/8", "10.255.255.255", true},
        {"10.0.0.0/8", "11.0.0.0", false},
        {"10.0.0.0/8", "9.255.255.255", false},
        {"10.1.2.3/8", "10.9.9.9", true}, /* host bits do not matter */
        {"192.168.4.0/23", "192.168.5.255", true},
        {"192.168.4.0/23", "192.168.6.0", false},
        {"192.0.2.1", "192.0.2.1", true},
        {"192.0.2.1", "192.0.2.2", false},
        {"192.0.2.1/32", "192.0.2.0", false},
        {"192.0.2.2/31", "192.0.2.3", true},
        {"192.0.2.2/31", "192.0.2.1", false},
        {"0.0.0.0/0", "255.255.255.255", true},
        {"0.0.0.0/0", "2001:db8::1", false},
        {"0.0.0.0/0", "::1", false},
        {"::/0", "2001:db8::1", true},
        {"2001:db8::/32", "2001:db8:ffff::1", true},
        {"2001:db8::/32", "2001:db9::", false},
        {"2001:db8::/33", "2001:db8:8000::", false},
        {"fc00::/7", "fdff::1", true},
        {"fc00::/7", "fe00::1", false},
        {"::1", "::1", true},
        {"::1/128", "::2", false},
        {"::ffff:10.0.0.0/104", "10.9.9.9", true},
        {"10.0.0.0/8", "::ffff:10.9.9.9", true},
        {"10.0.0.0/8, 192.168.0.0/16 ,\t::1", "::1", true},
        {"10.0.0.0/8, 192.168.0.0/16 ,\t::1", "192.168.1.1", true},
        {"", "10.0.0.1", false},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct ip_networks nets = networks(cases[i].nets);
        struct ip_address ip = address(cases[i].ip);
        if (ip_networks_contain(&nets, &ip) != cases[i].inside)
            fail_msg("%s and %s", cases[i].nets, cases[i].ip);
    }
}

TEST(what_is_no_network_is_refused)
{
    static const char *const bad[] = {
        " ",
        ",",
        "10.0.0.0/33",
        "10.0.0.0/",
        "10.0.0.0/-1",
        "10.0.0.0/08",
        "10.0.0.0/+8",
        "10.0.0/8",
        "10.0.0.0.0",
        "010.0.0.1",
        "10.0.0.256",
        "localhost",
        "::1/129",
        "::1/",
        ":::",
        "fe80::1%eth0",
        "[::1]",
        "10.0.0.1:80",
        "10.0.0.1 /8",
        "10.0.0.1/ 8",
        "10.0.0.0/8/8",
        "10.0.0.0/8,,::1",
        "1",
        "0x0a.0.0.1",
        "1111:2222:3333:4444:5555:6666:7777:8888:9999",
        "::ffff:10.0.0.0/129",
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct ip_networks nets = {.count = 77};
        if (ip_networks_parse(bad[i], &nets) != ERR_MALFORMED)
            fail_msg("accepted: \"%s\"", bad[i]);
        assert_int_equal(nets.count, 77);
    }
}

TEST(a_list_has_no_empty_entries)
{
    struct ip_networks nets;
    assert_err(ip_networks_parse("10.0.0.0/8,", &nets), ERR_MALFORMED);
    assert_err(ip_networks_parse(",10.0.0.0/8", &nets), ERR_MALFORMED);
    assert_err(ip_networks_parse("10.0.0.0/8,,::1", &nets), ERR_MALFORMED);
}

TEST(there_are_at_most_sixty_four_networks)
{
    char in[IP_NETWORKS_MAX * 10 + 10] = "";
    struct ip_networks nets;
    for (unsigned i = 0; i < IP_NETWORKS_MAX; i++)
        strcat(in, i > 0 ? ",10.0.0.0" : "10.0.0.0");
    assert_ok(ip_networks_parse(in, &nets));
    assert_int_equal(nets.count, IP_NETWORKS_MAX);
    strcat(in, ",10.0.0.0");
    assert_err(ip_networks_parse(in, &nets), ERR_TOO_LARGE);
}

TEST(addresses_come_from_sockets_and_are_shown_in_one_form)
{
    struct sockaddr_in v4 = {.sin_family = AF_INET};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};
    struct sockaddr unix_socket = {.sa_family = AF_UNIX};
    struct ip_address ip;
    inet_pton(AF_INET, "192.0.2.1", &v4.sin_addr);
    ip_from_sockaddr((const struct sockaddr *)&v4, &ip);
    assert_string_equal(text_of(ip), "192.0.2.1");
    inet_pton(AF_INET6, "2001:0db8:0::0001", &v6.sin6_addr);
    ip_from_sockaddr((const struct sockaddr *)&v6, &ip);
    assert_string_equal(text_of(ip), "2001:db8::1");
    inet_pton(AF_INET6, "::ffff:192.0.2.1", &v6.sin6_addr);
    ip_from_sockaddr((const struct sockaddr *)&v6, &ip);
    assert_string_equal(text_of(ip), "192.0.2.1");
    ip_from_sockaddr(&unix_socket, &ip);
    assert_string_equal(text_of(ip), "::");
}

TEST(the_longest_address_fits)
{
    struct ip_address ip;
    memset(ip.b, 0xff, sizeof ip.b);
    assert_string_equal(text_of(ip), "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff");
    ip = address("0000:0000:0000:0000:0000:ffff:192.168.158.190");
    assert_string_equal(text_of(ip), "192.168.158.190");
}

TEST(limits_count_by_whole_v4_addresses_and_v6_networks)
{
    struct ip_address v4 = address("192.0.2.7"), v6 = address("2001:db8:1:2:3:4:5:6");
    assert_string_equal(text_of(ip_limit_key(&v4)), "192.0.2.7");
    assert_string_equal(text_of(ip_limit_key(&v6)), "2001:db8:1:2::");
}

/* Our proxies are in 10.0.0.0/8 and 2001:db8::/32. */
struct walk_case {
    const char *peer, *xff, *forwarded, *client;
};

static void walk(const struct walk_case *cases, size_t n)
{
    struct ip_networks trusted = networks("10.0.0.0/8,2001:db8::/32");
    for (size_t i = 0; i < n; i++) {
        struct ip_address peer = address(cases[i].peer);
        const char *got = text_of(client_ip(&trusted, &peer, cases[i].xff, cases[i].forwarded));
        if (strcmp(got, cases[i].client) != 0)
            fail_msg("case %zu: %s, not %s", i, got, cases[i].client);
    }
}

TEST(headers_of_strangers_are_ignored)
{
    static const struct walk_case cases[] = {
        {"203.0.113.9", "1.1.1.1", NULL, "203.0.113.9"},
        {"203.0.113.9", NULL, "for=1.1.1.1", "203.0.113.9"},
        {"203.0.113.9", "10.0.0.1", "for=10.0.0.1", "203.0.113.9"},
        {"2001:db9::1", "1.1.1.1", NULL, "2001:db9::1"},
        {"203.0.113.9", NULL, NULL, "203.0.113.9"},
    };
    walk(cases, ARRAY_LEN(cases));
}

TEST(the_client_is_the_right_most_hop_that_is_not_ours)
{
    static const struct walk_case cases[] = {
        {"10.0.0.1", NULL, NULL, "10.0.0.1"},
        {"10.0.0.1", "198.51.100.7", NULL, "198.51.100.7"},
        {"10.0.0.1", "1.1.1.1, 198.51.100.7", NULL, "198.51.100.7"},
        {"10.0.0.1", "1.1.1.1,198.51.100.7,10.0.0.2", NULL, "198.51.100.7"},
        {"10.0.0.1", "1.1.1.1,198.51.100.7 , 10.0.0.2,2001:db8::5", NULL, "198.51.100.7"},
        {"10.0.0.1", "10.0.0.3,10.0.0.2", NULL, "10.0.0.3"},
        {"2001:db8::1", "2001:db9::7", NULL, "2001:db9::7"},
        {"::ffff:10.0.0.1", "198.51.100.7", NULL, "198.51.100.7"},
        {"10.0.0.1", "::ffff:198.51.100.7", NULL, "198.51.100.7"},
        {"10.0.0.1", "198.51.100.7,::ffff:10.0.0.2", NULL, "198.51.100.7"},
    };
    walk(cases, ARRAY_LEN(cases));
}

TEST(a_malformed_hop_ends_the_walk_at_what_we_know)
{
    static const struct walk_case cases[] = {
        {"10.0.0.1", "", NULL, "10.0.0.1"},
        {"10.0.0.1", ",", NULL, "10.0.0.1"},
        {"10.0.0.1", "198.51.100.7,", NULL, "10.0.0.1"},
        {"10.0.0.1", "unknown", NULL, "10.0.0.1"},
        {"10.0.0.1", "198.51.100.7, unknown, 10.0.0.2", NULL, "10.0.0.2"},
        {"10.0.0.1", "198.51.100.7,,10.0.0.2", NULL, "10.0.0.2"},
        {"10.0.0.1", "198.51.100.7 10.0.0.2", NULL, "10.0.0.1"},
        {"10.0.0.1", "198.51.100.07", NULL, "10.0.0.1"},
        {"10.0.0.1", "127.1", NULL, "10.0.0.1"},
        {"10.0.0.1", "fe80::1%eth0", NULL, "10.0.0.1"},
        {"10.0.0.1", "<script>", NULL, "10.0.0.1"},
        {"10.0.0.1", "198.51.100.7;", NULL, "10.0.0.1"},
        {"10.0.0.1", "\"", NULL, "10.0.0.1"},
        {"10.0.0.1", "[", NULL, "10.0.0.1"},
        {"10.0.0.1", "[]", NULL, "10.0.0.1"},
        {"10.0.0.1", "[2001:db9::1", NULL, "10.0.0.1"},
        {"10.0.0.1", "[2001:db9::1]x", NULL, "10.0.0.1"},
        {"10.0.0.1", ":443", NULL, "10.0.0.1"},
        {"10.0.0.1", "1111:2222:3333:4444:5555:6666:7777:8888:9999:aaaa:bbbb", NULL, "10.0.0.1"},
    };
    walk(cases, ARRAY_LEN(cases));
}

TEST(hops_may_have_ports_brackets_and_quotes)
{
    static const struct walk_case cases[] = {
        {"10.0.0.1", "198.51.100.7:4711", NULL, "198.51.100.7"},
        {"10.0.0.1", "\"198.51.100.7:4711\"", NULL, "198.51.100.7"},
        {"10.0.0.1", "[2001:db9::7]:4711", NULL, "2001:db9::7"},
        {"10.0.0.1", "[2001:db9::7]", NULL, "2001:db9::7"},
        {"10.0.0.1", "\"[2001:db9::7]:4711\", 10.0.0.2:80", NULL, "2001:db9::7"},
    };
    walk(cases, ARRAY_LEN(cases));
}

TEST(forwarded_is_read_when_the_other_is_absent)
{
    static const struct walk_case cases[] = {
        {"10.0.0.1", NULL, "for=198.51.100.7", "198.51.100.7"},
        {"10.0.0.1", NULL, "For=198.51.100.7;proto=https", "198.51.100.7"},
        {"10.0.0.1", NULL, "by=10.0.0.1; proto=https ;FOR=\"198.51.100.7:99\"", "198.51.100.7"},
        {"10.0.0.1", NULL, "for=1.1.1.1, for=\"[2001:db9::7]:4711\"", "2001:db9::7"},
        {"10.0.0.1", NULL, "for=198.51.100.7, for=10.0.0.2", "198.51.100.7"},
        {"10.0.0.1", NULL, "for=198.51.100.7, for=_hidden", "10.0.0.1"},
        {"10.0.0.1", NULL, "for=198.51.100.7, proto=https", "10.0.0.1"},
        {"10.0.0.1", NULL, "for=", "10.0.0.1"},
        {"10.0.0.1", NULL, "for=unknown", "10.0.0.1"},
        {"10.0.0.1", NULL, "xfor=198.51.100.7", "10.0.0.1"},
        {"10.0.0.1", NULL, ";;;", "10.0.0.1"},
        {"10.0.0.1", NULL, "", "10.0.0.1"},
        {"10.0.0.1", "198.51.100.7", "for=203.0.113.1", "198.51.100.7"},
        {"10.0.0.1", "junk", "for=203.0.113.1", "10.0.0.1"},
    };
    walk(cases, ARRAY_LEN(cases));
}

TEST(a_list_of_ten_thousand_is_walked_to_its_end)
{
    enum { HOPS = 10000 };
    struct ip_networks trusted = networks("10.0.0.0/8");
    struct ip_address peer = address("10.0.0.1");
    char *list = malloc(HOPS * 16);
    assert_non_null(list);
    size_t n = (size_t)sprintf(list, "198.51.100.7");
    for (unsigned i = 0; i < HOPS; i++)
        n += (size_t)sprintf(list + n, ",10.0.%u.%u", i / 256 % 256, i % 256);
    assert_string_equal(text_of(client_ip(&trusted, &peer, list, NULL)), "198.51.100.7");
    free(list);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(networks_contain_what_lies_within_them),
        cmocka_unit_test(what_is_no_network_is_refused),
        cmocka_unit_test(a_list_has_no_empty_entries),
        cmocka_unit_test(there_are_at_most_sixty_four_networks),
        cmocka_unit_test(addresses_come_from_sockets_and_are_shown_in_one_form),
        cmocka_unit_test(the_longest_address_fits),
        cmocka_unit_test(limits_count_by_whole_v4_addresses_and_v6_networks),
        cmocka_unit_test(headers_of_strangers_are_ignored),
        cmocka_unit_test(the_client_is_the_right_most_hop_that_is_not_ours),
        cmocka_unit_test(a_malformed_hop_ends_the_walk_at_what_we_know),
        cmocka_unit_test(hops_may_have_ports_brackets_and_quotes),
        cmocka_unit_test(forwarded_is_read_when_the_other_is_absent),
        cmocka_unit_test(a_list_of_ten_thousand_is_walked_to_its_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
