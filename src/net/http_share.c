#include "net/http_share.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"

#define BUCKET_BITS 10

struct holder {
    struct holder *next;
    struct ip_address key;
    unsigned held;
    bool told; /* that it has been refused */
};

struct http_shares {
    struct http_share_config config;
    pthread_mutex_t lock; /* of the buckets */
    uint64_t factor;      /* odd and random */
    struct holder *buckets[1 << BUCKET_BITS];
};

enum err http_shares_open(const struct http_share_config *config, struct http_shares **out)
{
    uint64_t factor = 0;
    TRY(random_bytes(&factor, sizeof factor));
    struct http_shares *shares = calloc(1, sizeof *shares);
    if (shares == NULL)
        return ERR_INTERNAL;
    shares->config = *config;
    shares->factor = factor | 1;
    pthread_mutex_init(&shares->lock, NULL);
    *out = shares;
    return OK;
}

void http_shares_close(struct http_shares *shares)
{
    if (shares == NULL)
        return;
    for (size_t i = 0; i < ARRAY_LEN(shares->buckets); i++) {
        while (shares->buckets[i] != NULL) {
            struct holder *holder = shares->buckets[i];
            shares->buckets[i] = holder->next;
            free(holder);
        }
    }
    pthread_mutex_destroy(&shares->lock);
    free(shares);
}

/* ---- holders (under the lock) ---- */

/* Where the holder is, or would be. Multiply-shift hashing (Dietzfelbinger): who does not know the
 * factor cannot pick addresses that meet in one bucket. One half of a key is constant. */
static struct holder **find(struct http_shares *shares, const struct ip_address *key)
{
    uint64_t high = 0, low = 0;
    memcpy(&high, key->b, sizeof high);
    memcpy(&low, key->b + 8, sizeof low);
    struct holder **at = &shares->buckets[(high ^ low) * shares->factor >> (64 - BUCKET_BITS)];
    while (*at != NULL && memcmp(&(*at)->key, key, sizeof *key) != 0)
        at = &(*at)->next;
    return at;
}

static bool take(struct http_shares *shares, const struct ip_address *key, bool *first)
{
    struct holder **at = find(shares, key);
    if (*at == NULL) {
        struct holder *holder = calloc(1, sizeof *holder);
        if (holder == NULL)
            return false;
        holder->key = *key;
        *at = holder;
    }
    if ((*at)->held < shares->config.limit) {
        (*at)->held++;
        return true;
    }
    *first = !(*at)->told;
    (*at)->told = true;
    return false;
}

static void give(struct http_shares *shares, const struct ip_address *key)
{
    struct holder **at = find(shares, key);
    struct holder *holder = *at;
    if (holder == NULL || --holder->held > 0)
        return;
    *at = holder->next;
    free(holder);
}

/* ---- taking and giving ---- */

static bool is_unlimited(const struct http_shares *shares, const struct ip_address *client)
{
    return shares == NULL || ip_networks_contain(&shares->config.unlimited, client);
}

bool http_share_take(struct http_shares *shares, const struct ip_address *client)
{
    if (is_unlimited(shares, client))
        return true;
    struct ip_address key = ip_limit_key(client);
    bool first = false;
    pthread_mutex_lock(&shares->lock);
    bool taken = take(shares, &key, &first);
    pthread_mutex_unlock(&shares->lock);
    if (!taken)
        shares->config.refused(shares->config.arg, client, first);
    return taken;
}

void http_share_give(struct http_shares *shares, const struct ip_address *client)
{
    if (is_unlimited(shares, client))
        return;
    struct ip_address key = ip_limit_key(client);
    pthread_mutex_lock(&shares->lock);
    give(shares, &key);
    pthread_mutex_unlock(&shares->lock);
}

/* ---- libmicrohttpd ---- */

/* libmicrohttpd asks whether an address may connect and then, on the same thread, tells that the
 * connection is there - unless it ran out of something in between: then it tells nobody. What was
 * taken and has no connection by the time it asks again is given back. */
static _Thread_local struct {
    bool open;
    struct ip_address client;
} asked;

enum MHD_Result http_share_accept(void *arg, const struct sockaddr *addr, socklen_t len)
{
    (void)len;
    struct http_shares *shares = arg;
    if (asked.open)
        http_share_give(shares, &asked.client);
    ip_from_sockaddr(addr, &asked.client);
    asked.open = http_share_take(shares, &asked.client);
    return asked.open ? MHD_YES : MHD_NO;
}

void http_share_connection(struct http_shares *shares, struct MHD_Connection *connection,
                           enum MHD_ConnectionNotificationCode code)
{
    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        asked.open = false;
        return;
    }
    struct ip_address client;
    ip_from_sockaddr(
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS)->client_addr,
        &client);
    http_share_give(shares, &client);
}
