#include "service/service.h"

#include <string.h>

#include "service/call.h"

/* 3 MiB: keys that are being limited, or were lately. */
#define LIMITER_PLACES ((size_t)128 * 1024)

static enum err prepare_register_mac(struct service *service)
{
    const struct service_config *c = &service->config;
    const struct mac_part part = {c->register_token->data, c->register_token->len};
    return service_keys_mac(c->keys, service_keys_current_id(c->keys), KEY_BEARER, &part, 1,
                            service->register_mac);
}

static enum err open_relay(struct service *service)
{
    const struct relay_config config = {.store = service->config.store,
                                        .nats_url = service->config.nats_url,
                                        .backlog_max = service->config.events_backlog_max};
    return relay_open(&config, &service->relay);
}

static void cleanup_service(struct service **service)
{
    service_close(*service);
}

enum err service_open(const struct service_config *config, struct service **out)
{
    struct service *service CLEANUP(cleanup_service) = calloc(1, sizeof *service);
    if (service == NULL) {
        signing_release(config->signing);
        return ERR_INTERNAL;
    }
    service->config = *config;
    service->signing = config->signing;
    pthread_mutex_init(&service->signing_lock, NULL);
    sem_init(&service->listening, 0, 0);
    if (config->register_token->len > 0)
        TRY(prepare_register_mac(service));
    TRY(metrics_open_service(service));
    TRY(limiter_open(LIMITER_PLACES, &service->limiter));
    unsigned at_once =
        config->settings.lockout_threshold / 2; /* two instances then stay below it */
    TRY(gate_open(at_once > 0 ? at_once : 1, &service->gate));
    TRY(refunds_open(&service->refunds));
    TRY(flow_open(service));
    TRY(probe_open(service, &service->probe));
    if (config->nats_url != NULL)
        TRY(open_relay(service));
    TRY(census_open(config->store, config->password, service->pace, &service->census));
    TRY(sweep_open(service, &service->sweep));
    *out = TAKE(service);
    return OK;
}

enum err service_wait_open(struct service *service)
{
    return flow_wait_open(service);
}

void service_drain(struct service *service)
{
    atomic_store(&service->draining, true);
    flow_hash_release(service); /* what was queued during a start that failed needs its threads */
}

void service_abandon(struct service *service)
{
    atomic_store(&service->abandoned, true);
}

void service_close(struct service *service)
{
    if (service == NULL)
        return;
    census_close(service->census);
    sweep_close(service->sweep);
    flow_close(service);       /* its last calls may still have something to settle */
    pace_close(service->pace); /* its thread, too, leaves the gate after a call has gone */
    probe_close(service->probe);
    relay_close(service->relay); /* after the last event has been written */
    refunds_close(service->refunds);
    gate_close(service->gate);
    limiter_close(service->limiter);
    metrics_close_service(service);
    sem_destroy(&service->listening);
    signing_release(service->signing);
    pthread_mutex_destroy(&service->signing_lock);
    free(service);
}

size_t service_hash_memory(const struct service *service)
{
    return service->hash_memory;
}
