/* key_news.c: what the service tells of a change of its signing keys: counters and events. An
 * operator's command tells of what it has done as well; the store takes the first to tell. */
#include <string.h>

#include "base/encode.h"
#include "base/random.h"
#include "service/metrics.h"

static enum err write_event(struct store *store, enum event_kind kind, const char *kid,
                            const char *state)
{
    struct store_conn *conn = NULL;
    uint8_t id[16];
    char trace_id[2 * sizeof id + 1];
    TRY(random_bytes(id, sizeof id));
    hex_encode(id, sizeof id, trace_id);
    /* One wait is enough: it is the main thread that waits. */
    TRY(store_is_up(store) ? store_conn_open(store, &conn) : ERR_UNAVAILABLE);
    store_conn_trace(conn, trace_id); /* of no request: the event's own */
    enum err e = store_tell_key(conn, kind, kid, state);
    store_conn_close(conn);
    return e;
}

static void tell(struct service *service, enum event_kind kind, const char *kid, const char *state)
{
    struct store *store = service->config.store;
    if (store_has_events(store) && write_event(store, kind, kid, state) != OK)
        log_note(LOG_ERROR, "events.key_untold", "the event of a key could not be written", kid);
}

static bool is_in(const struct keyring *ring, const char *kid)
{
    return keyring_find(ring, kid, strlen(kid)) != NULL;
}

/* A key that goes while it signs was revoked. */
static void tell_gone(struct service *service, const struct keyring_key *key)
{
    if (key->state != KEY_ACTIVE) {
        tell(service, EVENT_KEY_ROTATED, key->kid, "gone");
        return;
    }
    metrics_count(service->metrics->counted, M_KEY_CHANGES, KEY_CHANGE_REVOKED);
    tell(service, EVENT_KEY_REVOKED, key->kid, "revoked");
}

void key_news_tell(struct service *service, const struct keyring *before,
                   const struct keyring *after)
{
    const char *active = keyring_active_kid(after);
    for (unsigned i = 0; i < keyring_count(after); i++) {
        const struct keyring_key key = keyring_key_at(after, i);
        if (key.state == KEY_NEXT && !is_in(before, key.kid))
            tell(service, EVENT_KEY_ROTATED, key.kid, "next");
    }
    for (unsigned i = 0; i < keyring_count(before); i++) {
        const struct keyring_key key = keyring_key_at(before, i);
        if (!is_in(after, key.kid))
            tell_gone(service, &key);
    }
    if (strcmp(active, keyring_active_kid(before)) != 0) {
        metrics_count(service->metrics->counted, M_KEY_CHANGES, KEY_CHANGE_ROTATED);
        tell(service, EVENT_KEY_ROTATED, active, "active");
    }
}
