#include "unit.h"

#include <arpa/inet.h>
#include <pthread.h>
#include <stdatomic.h>

#include "net/http_share.h"

struct seen {
    atomic_uint refused, first;
};

static void see(void *arg, const struct ip_address *client, bool first)
{
    (void)client;
    struct seen *seen = arg;
    seen->refused++;
    seen->first += first;
}

static struct http_shares *opened(unsigned limit, const char *unlimited, struct seen *seen)
{
    struct http_share_config config = {.limit = limit, .refused = see, .arg = seen};
    struct http_shares *shares = NULL;
    *seen = (struct seen){0};
    assert_ok(ip_networks_parse(unlimited, &config.unlimited));
    assert_ok(http_shares_open(&config, &shares));
    return shares;
}

static struct ip_address address(const char *text)
{
    struct ip_networks one;
    assert_ok(ip_networks_parse(text, &one));
    return one.net[0].base;
}

static unsigned take_all(struct http_shares *shares, const char *client, unsigned tries)
{
    struct ip_address ip = address(client);
    unsigned taken = 0;
    while (tries-- > 0)
        taken += http_share_take(shares, &ip);
    return taken;
}

TEST(an_address_has_its_share_and_no_more)
{
    struct seen seen;
    struct http_shares *shares = opened(3, "", &seen);
    struct ip_address ip = address("192.0.2.1");
    assert_int_equal(take_all(shares, "192.0.2.1", 10), 3);
    assert_int_equal(seen.refused, 7);
    assert_int_equal(seen.first, 1);
    assert_int_equal(take_all(shares, "192.0.2.2", 10), 3);
    assert_int_equal(seen.first, 2);
    http_share_give(shares, &ip);
    assert_int_equal(take_all(shares, "192.0.2.1", 10), 1);
    assert_int_equal(seen.first, 2); /* it never let go of all */
    for (unsigned i = 0; i < 3; i++)
        http_share_give(shares, &ip);
    assert_int_equal(take_all(shares, "192.0.2.1", 10), 3);
    assert_int_equal(seen.first, 3);
    http_shares_close(shares);
}

TEST(ipv6_counts_by_its_64)
{
    struct seen seen;
    struct http_shares *shares = opened(2, "", &seen);
    assert_int_equal(take_all(shares, "2001:db8:0:1::1", 1), 1);
    assert_int_equal(take_all(shares, "2001:db8:0:1:ffff::2", 1), 1);
    assert_int_equal(take_all(shares, "2001:db8:0:1::3", 1), 0);
    assert_int_equal(take_all(shares, "2001:db8:0:2::1", 5), 2);
    http_shares_close(shares);
}

TEST(ipv4_in_ipv6_is_ipv4)
{
    struct seen seen;
    struct http_shares *shares = opened(2, "", &seen);
    struct sockaddr_in v4 = {.sin_family = AF_INET};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};
    inet_pton(AF_INET, "192.0.2.1", &v4.sin_addr);
    inet_pton(AF_INET6, "::ffff:192.0.2.1", &v6.sin6_addr);
    struct ip_address a, b;
    ip_from_sockaddr((struct sockaddr *)&v4, &a);
    ip_from_sockaddr((struct sockaddr *)&v6, &b);
    assert_true(http_share_take(shares, &a));
    assert_true(http_share_take(shares, &b));
    assert_false(http_share_take(shares, &a));
    assert_int_equal(take_all(shares, "192.0.2.2", 5), 2); /* not the whole of ::ffff:0:0/64 */
    http_shares_close(shares);
}

TEST(proxies_have_no_limit)
{
    struct seen seen;
    struct http_shares *shares = opened(2, "10.0.0.0/8,2001:db8::/48", &seen);
    struct ip_address proxy = address("10.1.2.3");
    assert_int_equal(take_all(shares, "10.1.2.3", 100), 100);
    assert_int_equal(take_all(shares, "2001:db8:0:7::1", 100), 100);
    assert_int_equal(take_all(shares, "11.1.2.3", 100), 2);
    for (unsigned i = 0; i < 100; i++)
        http_share_give(shares, &proxy);
    assert_int_equal(seen.refused, 98);
    assert_int_equal(take_all(NULL, "192.0.2.1", 100), 100); /* no shares at all */
    http_shares_close(shares);
}

TEST(many_addresses_are_kept_apart)
{
    struct seen seen;
    struct http_shares *shares = opened(2, "", &seen);
    for (unsigned i = 0; i < 3 * 20000; i++) {
        struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(i % 20000)};
        struct ip_address ip;
        ip_from_sockaddr((struct sockaddr *)&v4, &ip);
        assert_int_equal(http_share_take(shares, &ip), i < 2 * 20000);
    }
    assert_int_equal(seen.refused, 20000);
    http_shares_close(shares);
}

/* What libmicrohttpd accepted and then could not keep. */
TEST(a_connection_that_never_came_holds_nothing)
{
    struct seen seen;
    struct http_shares *shares = opened(2, "", &seen);
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(7)};
    for (unsigned i = 0; i < 10; i++)
        assert_int_equal(http_share_accept(shares, (struct sockaddr *)&v4, sizeof v4), MHD_YES);
    http_share_connection(shares, NULL, MHD_CONNECTION_NOTIFY_STARTED);
    assert_int_equal(http_share_accept(shares, (struct sockaddr *)&v4, sizeof v4), MHD_YES);
    http_share_connection(shares, NULL, MHD_CONNECTION_NOTIFY_STARTED);
    assert_int_equal(http_share_accept(shares, (struct sockaddr *)&v4, sizeof v4), MHD_NO);
    assert_int_equal(seen.refused, 1);
    http_shares_close(shares);
}

#define THREADS 4
#define ROUNDS 50000

static atomic_uint held, too_many;

static void *come_and_go(void *arg)
{
    struct ip_address ip = address("192.0.2.1");
    for (unsigned i = 0; i < ROUNDS; i++) {
        if (!http_share_take(arg, &ip))
            continue;
        too_many += atomic_fetch_add(&held, 1) >= 2;
        atomic_fetch_sub(&held, 1);
        http_share_give(arg, &ip);
    }
    return NULL;
}

TEST(threads_never_exceed_it_together)
{
    struct seen seen;
    struct http_shares *shares = opened(2, "", &seen);
    pthread_t threads[THREADS];
    for (unsigned i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, come_and_go, shares), 0);
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(too_many, 0);
    assert_int_equal(take_all(shares, "192.0.2.1", 10), 2); /* all was given back */
    http_shares_close(shares);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_address_has_its_share_and_no_more),
        cmocka_unit_test(ipv6_counts_by_its_64),
        cmocka_unit_test(ipv4_in_ipv6_is_ipv4),
        cmocka_unit_test(proxies_have_no_limit),
        cmocka_unit_test(many_addresses_are_kept_apart),
        cmocka_unit_test(a_connection_that_never_came_holds_nothing),
        cmocka_unit_test(threads_never_exceed_it_together),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
