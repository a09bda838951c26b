/*
 * outbox.h: events on their way out. Part of store.h.
 *
 * An operation that changes something writes its events in the same transaction: both are
 * committed, or neither. It does so only for the kinds that the store was opened with; without any,
 * the outbox is never touched. service/relay.c reads them in order, publishes them, and deletes
 * what has arrived.
 *
 * A row holds facts in columns, not text: service/event.c alone turns it into JSON.
 */
#ifndef WW_STORE_OUTBOX_H
#define WW_STORE_OUTBOX_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/uuid.h"

#define STORE_EMAIL_MAX 254
#define STORE_IP_MAX 45
#define STORE_AGENT_MAX 256
#define STORE_DIGEST_LEN 32

/* Behind each: what a row carries beside tenant, user and session. */
enum event_kind {
    EVENT_USER_REGISTERED, /* label: e-mail address; none if the user has been deleted since */
    EVENT_USER_LOGGED_IN,
    EVENT_TOKEN_REFRESHED, /* number: generation */
    EVENT_USER_LOGGED_OUT,
    EVENT_SESSION_REVOKED,  /* label: reason */
    EVENT_REPLAY_DETECTED,  /* number: distance; age_ms; both clients */
    EVENT_ACCOUNT_LOCKED,   /* identity; user only if there is one; number: locked until */
    EVENT_ACCOUNT_UNLOCKED, /* identity */
    EVENT_USER_DISABLED,
    EVENT_USER_ENABLED,
    EVENT_USER_DELETED,
    EVENT_KEY_ROTATED, /* no tenant; label: kid; detail: state */
    EVENT_KEY_REVOKED, /* the same */
    EVENT_KINDS,
};

#define EVENT_BIT(kind) (1U << (kind))
#define EVENTS_ALL (EVENT_BIT(EVENT_KINDS) - 1)

/* "auth.user_registered". */
const char *store_event_subject(enum event_kind kind);
/* ERR_NOT_FOUND if there is no such subject. */
MUST_USE enum err store_event_find(const char *subject, size_t len, enum event_kind *out);

struct store;
struct store_conn;

/* Whether it was opened with any kind of events. */
MUST_USE bool store_has_events(const struct store *store);

#define STORE_TRACE_MAX 64
/* The trace id of the events that the operations after this one write. */
void store_conn_trace(struct store_conn *conn, const char *trace_id);

/* An event that is no part of another operation: of keys, which live outside the database.
 * state: "next", "active", "gone", "revoked". Written once for each kid and state, however many
 * instances tell it; of a key that was told to be revoked, nothing more. */
MUST_USE enum err store_tell_key(struct store_conn *conn, enum event_kind kind, const char *kid,
                                 const char *state);

/* ---- for the relay ---- */

#define STORE_DETAIL_MAX 32

struct store_client {
    bool known;
    char ip[STORE_IP_MAX + 1];
    char user_agent[STORE_AGENT_MAX + 1];
};

struct store_event {
    int64_t seq;
    struct uuid id; /* version 7 */
    enum event_kind kind;
    int64_t occurred_at;
    char trace_id[STORE_TRACE_MAX + 1];
    bool has_tenant, has_user, has_session, has_identity;
    struct uuid tenant_id, user_id, session_id;
    uint8_t identity[STORE_DIGEST_LEN];
    char label[STORE_EMAIL_MAX + 1]; /* "": none */
    char detail[STORE_DETAIL_MAX + 1];
    int64_t number;
    int64_t age_ms;
    struct store_client presented, previous;
};

struct store_backlog {
    bool ours;     /* whether this connection is the one that publishes */
    uint64_t rows; /* exact up to STORE_BACKLOG_EXACT, beyond it at least as many as there are */
    int64_t oldest_at; /* 0: there are none */
    int64_t now;
};
/* Counting is paid for once a second and more often while an outage lasts: no further than this. */
#define STORE_BACKLOG_EXACT 1000

/* The oldest events that are not held, in the order they were written, at most max. Of several
 * instances on PostgreSQL one publishes: whose connection holds an advisory lock, for as long as
 * the connection lives. The others are told how long the backlog is, and no events. */
MUST_USE enum err store_outbox_read(struct store_conn *conn, struct store_event *out, size_t max,
                                    size_t *count, struct store_backlog *backlog);
MUST_USE enum err store_outbox_delete(struct store_conn *conn, const int64_t *seqs, size_t n);
/* Drops at most n of the oldest, held or not, unsent. */
MUST_USE enum err store_outbox_drop(struct store_conn *conn, uint64_t n, uint64_t *dropped);

#endif
