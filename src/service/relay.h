/*
 * relay.h: carries events from the outbox to NATS.
 *
 * One thread of low priority with a connection of its own to each. It reads the oldest events in
 * the order they were written, publishes them in batches, and deletes what the stream has
 * acknowledged: a crash anywhere in between sends some of them again, with the same id, which the
 * stream drops. Nothing else waits for it, and NATS may be absent for as long as it likes: the
 * outbox grows up to a maximum, beyond which the oldest events are dropped and counted.
 *
 * Of several instances on one database one publishes at a time (see store_outbox_read), so the
 * order holds for all of them together.
 */
#ifndef WW_SERVICE_RELAY_H
#define WW_SERVICE_RELAY_H

#include "store/store.h"

struct relay;

struct relay_config {
    struct store *store;
    const char *nats_url; /* copied */
    uint64_t backlog_max; /* rows */
};

/* Starts the thread; connects to nothing yet. */
MUST_USE enum err relay_open(const struct relay_config *config, struct relay **out);
/* Sends what can be sent at once, a few seconds at most, and ends. NULL is fine. */
void relay_close(struct relay *relay);

/* Something has been committed that may have events. Cheap; any thread. NULL is fine. */
void relay_wake(struct relay *relay);

/* ---- for the metrics; any thread; of NULL all is 0 ---- */
MUST_USE bool relay_is_connected(const struct relay *relay);
uint64_t relay_published(const struct relay *relay, enum event_kind kind);
uint64_t relay_failed(const struct relay *relay, enum event_kind kind);
uint64_t relay_dropped(const struct relay *relay);
uint64_t relay_backlog(const struct relay *relay);
/* How long the oldest event has been waiting. */
double relay_oldest_seconds(const struct relay *relay);

#endif
