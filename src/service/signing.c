#include "service/signing.h"

#include <stdatomic.h>
#include <unistd.h>

#include "base/urgent.h"
#include "service/call.h"

_Static_assert(ACCESS_TOKEN_MAX <= SIGN_LINK_INPUT_MAX, "what is signed fits a message");

struct signing {
    struct keyring *ring;
    unsigned generation;
    atomic_uint holders;
    atomic_bool lost;
    unsigned count;
    struct sign_link links[];
};

static void close_from(const int *sockets, unsigned first, unsigned count)
{
    for (unsigned i = first; i < count; i++)
        close(sockets[i]);
}

static void cleanup_signing(struct signing **signing)
{
    signing_release(*signing);
}

enum err signing_open(struct keyring *ring, const int *sockets, unsigned count, unsigned generation,
                      struct signing **out)
{
    struct signing *signing CLEANUP(cleanup_signing) =
        calloc(1, sizeof *signing + count * sizeof signing->links[0]);
    if (signing == NULL) {
        keyring_close(ring);
        close_from(sockets, 0, count);
        return ERR_INTERNAL;
    }
    signing->ring = ring;
    signing->generation = generation;
    atomic_init(&signing->holders, 1);
    for (; signing->count < count; signing->count++) {
        unsigned i = signing->count;
        enum err e = sign_link_open(sockets[i], &signing->links[i]);
        if (e != OK) {
            close_from(sockets, i + 1, count);
            return e;
        }
    }
    *out = TAKE(signing);
    return OK;
}

void signing_release(struct signing *signing)
{
    if (signing == NULL || atomic_fetch_sub(&signing->holders, 1) > 1)
        return;
    for (unsigned i = 0; i < signing->count; i++)
        sign_link_close(&signing->links[i]);
    keyring_close(signing->ring);
    free(signing);
}

const struct keyring *signing_ring(const struct signing *signing)
{
    return signing->ring;
}

unsigned signing_generation(const struct signing *signing)
{
    return signing->generation;
}

bool signing_usable(const struct signing *signing)
{
    return !atomic_load_explicit(&signing->lost, memory_order_relaxed);
}

enum err signing_sign(struct signing *signing, unsigned thread, struct sign_ask *asks, unsigned n)
{
    if (thread >= signing->count || !signing_usable(signing))
        return ERR_UNAVAILABLE;
    urgent_begin();
    enum err e = sign_link_ask(&signing->links[thread], asks, n);
    urgent_end();
    if (e == ERR_UNAVAILABLE || e == ERR_BUSY)
        atomic_store(&signing->lost, true);
    return e;
}

/* ---- of a service ---- */

struct signing *service_hold_signing(struct service *service)
{
    pthread_mutex_lock(&service->signing_lock);
    struct signing *signing = service->signing;
    atomic_fetch_add(&signing->holders, 1);
    pthread_mutex_unlock(&service->signing_lock);
    return signing;
}

void service_set_signing(struct service *service, struct signing *signing)
{
    pthread_mutex_lock(&service->signing_lock);
    struct signing *before = service->signing;
    service->signing = signing;
    pthread_mutex_unlock(&service->signing_lock);
    if (!signing_usable(before)) /* it was not the keys that changed */
        atomic_fetch_add(&service->signer_restarts, 1);
    struct signing *after = service_hold_signing(service);
    key_news_tell(service, before->ring, after->ring);
    signing_release(after);
    signing_release(before);
}

bool service_can_sign(struct service *service)
{
    struct signing *signing = service_hold_signing(service);
    bool usable = signing_usable(signing);
    signing_release(signing);
    return usable;
}

void service_signer_lost(struct service *service, unsigned generation)
{
    struct signing *signing = service_hold_signing(service);
    if (signing->generation == generation)
        atomic_store(&signing->lost, true);
    signing_release(signing);
}
