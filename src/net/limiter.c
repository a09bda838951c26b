#include "net/limiter.h"

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/random.h"

#define DIGEST_LEN 16
#define KEPT_LEN 12 /* what follows in the digest says which set it is */
#define WAYS 8
#define LOCKS 64

struct place {
    uint8_t digest[KEPT_LEN];
    uint32_t tolerance_ms; /* of its limit; rounded down, so that it keeps its place */
    uint64_t full_at_ns;   /* GCRA's theoretical arrival time; in the past: idle */
};

struct limiter {
    EVP_MAC *mac;
    EVP_MAC_CTX *keyed; /* template, duplicated for each use */
    size_t sets;
    struct place *places;
    pthread_mutex_t locks[LOCKS];
};

static enum err open_mac(struct limiter *limiter)
{
    uint8_t key[16];
    unsigned size = DIGEST_LEN;
    OSSL_PARAM params[] = {OSSL_PARAM_construct_uint(OSSL_MAC_PARAM_SIZE, &size),
                           OSSL_PARAM_construct_end()};
    TRY(random_bytes(key, sizeof key));
    limiter->mac = EVP_MAC_fetch(NULL, "SIPHASH", NULL);
    limiter->keyed = limiter->mac != NULL ? EVP_MAC_CTX_new(limiter->mac) : NULL;
    if (limiter->keyed == NULL || EVP_MAC_init(limiter->keyed, key, sizeof key, params) != 1)
        return ERR_INTERNAL;
    return OK;
}

static void cleanup_limiter(struct limiter **limiter)
{
    limiter_close(*limiter);
}

enum err limiter_open(size_t places, struct limiter **out)
{
    struct limiter *limiter CLEANUP(cleanup_limiter) = calloc(1, sizeof *limiter);
    if (limiter == NULL)
        return ERR_INTERNAL;
    for (unsigned i = 0; i < LOCKS; i++)
        pthread_mutex_init(&limiter->locks[i], NULL);
    limiter->sets = 1;
    while (limiter->sets * WAYS < places)
        limiter->sets *= 2;
    limiter->places = calloc(limiter->sets * WAYS, sizeof *limiter->places);
    if (limiter->places == NULL)
        return ERR_INTERNAL;
    TRY(open_mac(limiter));
    *out = TAKE(limiter);
    return OK;
}

void limiter_close(struct limiter *limiter)
{
    if (limiter == NULL)
        return;
    EVP_MAC_CTX_free(limiter->keyed);
    EVP_MAC_free(limiter->mac);
    for (unsigned i = 0; i < LOCKS; i++)
        pthread_mutex_destroy(&limiter->locks[i]);
    free(limiter->places);
    free(limiter);
}

size_t limiter_bytes(const struct limiter *limiter)
{
    return limiter->sets * WAYS * sizeof *limiter->places;
}

static enum err digest_key(const struct limiter *limiter, uint32_t scope, const void *key,
                           size_t key_len, uint8_t out[DIGEST_LEN])
{
    size_t n = 0;
    EVP_MAC_CTX *ctx = EVP_MAC_CTX_dup(limiter->keyed);
    bool ok = ctx != NULL && EVP_MAC_update(ctx, (const uint8_t *)&scope, sizeof scope) == 1 &&
              EVP_MAC_update(ctx, key, key_len) == 1 &&
              EVP_MAC_final(ctx, out, &n, DIGEST_LEN) == 1 && n == DIGEST_LEN;
    EVP_MAC_CTX_free(ctx);
    return ok ? OK : ERR_INTERNAL;
}

static uint64_t tolerance_ns(const struct limit *limit)
{
    return limit->interval_ns * (limit->burst - 1);
}

/* By its own measure: keys of all scopes share the table. */
static bool is_refused(const struct place *place, uint64_t now)
{
    return place->full_at_ns > now + place->tolerance_ms * NS_PER_MS;
}

static void give_to(struct place *place, const uint8_t *digest, const struct limit *limit)
{
    uint64_t ms = tolerance_ns(limit) / NS_PER_MS;
    memcpy(place->digest, digest, KEPT_LEN);
    place->tolerance_ms = ms < UINT32_MAX ? (uint32_t)ms : UINT32_MAX;
    place->full_at_ns = 0;
}

/* The key's place, or the one it may have; NULL if every place of its set is being refused. */
static struct place *find_place(struct place *set, const uint8_t *digest, const struct limit *limit,
                                uint64_t now)
{
    struct place *victim = NULL;
    for (unsigned i = 0; i < WAYS; i++) {
        if (memcmp(set[i].digest, digest, KEPT_LEN) == 0)
            return &set[i];
        if (!is_refused(&set[i], now) && (victim == NULL || set[i].full_at_ns < victim->full_at_ns))
            victim = &set[i];
    }
    if (victim != NULL)
        give_to(victim, digest, limit);
    return victim;
}

static enum err take(struct place *place, const struct limit *limit, uint64_t now,
                     unsigned *retry_after)
{
    uint64_t tolerance = tolerance_ns(limit);
    uint64_t full_at = place->full_at_ns > now ? place->full_at_ns : now;
    if (full_at - now > tolerance) {
        uint64_t wait = full_at - now - tolerance;
        *retry_after = (unsigned)((wait + NS_PER_SECOND - 1) / NS_PER_SECOND);
        return ERR_LIMITED;
    }
    place->full_at_ns = full_at + limit->interval_ns;
    return OK;
}

enum err limiter_take(struct limiter *limiter, const struct limit *limit, const void *key,
                      size_t key_len, unsigned *retry_after)
{
    if (limit->interval_ns == 0)
        return OK;
    uint8_t digest[DIGEST_LEN];
    uint32_t hash = 0;
    TRY(digest_key(limiter, limit->scope, key, key_len, digest));
    memcpy(&hash, digest + KEPT_LEN, sizeof hash);
    size_t set = hash & (limiter->sets - 1);
    uint64_t now = clock_mono_ns();
    enum err e = OK;
    pthread_mutex_lock(&limiter->locks[set % LOCKS]);
    struct place *place = find_place(&limiter->places[set * WAYS], digest, limit, now);
    if (place != NULL)
        e = take(place, limit, now, retry_after);
    pthread_mutex_unlock(&limiter->locks[set % LOCKS]);
    return e;
}
