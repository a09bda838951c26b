/*
 * event.h: an event as its readers see it: one JSON object, described by docs/events/.
 *
 * A pure function of the outbox's row: sent twice, an event is the same bytes. Only what is listed
 * here leaves the service; passwords, tokens, hashes and keys never get as far as the outbox.
 */
#ifndef WW_SERVICE_EVENT_H
#define WW_SERVICE_EVENT_H

#include "base/text.h"
#include "store/outbox.h"

/* The longest: an e-mail address or two user agents, every byte of them escaped. */
#define EVENT_TEXT_MAX ((size_t)8192)

/* Writes the event; t is empty. */
void event_put(const struct store_event *event, struct text *t);

#endif
