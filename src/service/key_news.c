/* key_news.c: what the service tells of a change of its signing keys: counters and events. */
#include <string.h>

#include "service/metrics.h"

static void tell(struct service *service, enum event_kind kind, const char *kid, const char *state)
{
    struct store *store = service->config.store;
    struct store_conn *conn = NULL;
    if (!store_has_events(store))
        return;
    enum err e = store_conn_open(store, &conn);
    if (e == OK)
        e = store_tell_key(conn, kind, kid, state);
    store_conn_close(conn);
    if (e != OK)
        log_note(LOG_ERROR, "events.key_untold", "the event of a key could not be written", kid);
}

/* A key that signed is gone without having retired. */
static bool was_revoked(const struct keyring_key *active_before, const struct keyring *after)
{
    return keyring_find(after, active_before->kid, strlen(active_before->kid)) == NULL;
}

void key_news_tell(struct service *service, const struct keyring *before,
                   const struct keyring *after)
{
    struct metrics *counted = service->metrics->counted;
    const char *kid = keyring_active_kid(after);
    if (strcmp(kid, keyring_active_kid(before)) == 0)
        return;
    for (unsigned i = 0; i < keyring_count(before); i++) {
        const struct keyring_key key = keyring_key_at(before, i);
        if (key.state != KEY_ACTIVE || !was_revoked(&key, after))
            continue;
        metrics_count(counted, M_KEY_CHANGES, KEY_CHANGE_REVOKED);
        tell(service, EVENT_KEY_REVOKED, key.kid, "revoked");
    }
    metrics_count(counted, M_KEY_CHANGES, KEY_CHANGE_ROTATED);
    tell(service, EVENT_KEY_ROTATED, kid, "active");
}
