#include "store/outbox.h"

#include <string.h>

#include "base/text.h"
#include "store/ops.h"

static const char *const SUBJECTS[EVENT_KINDS] = {
    [EVENT_USER_REGISTERED] = "auth.user_registered",
    [EVENT_USER_LOGGED_IN] = "auth.user_logged_in",
    [EVENT_TOKEN_REFRESHED] = "auth.token_refreshed",
    [EVENT_USER_LOGGED_OUT] = "auth.user_logged_out",
    [EVENT_SESSION_REVOKED] = "auth.session_revoked",
    [EVENT_REPLAY_DETECTED] = "auth.refresh_replay_detected",
    [EVENT_ACCOUNT_LOCKED] = "auth.account_locked",
    [EVENT_ACCOUNT_UNLOCKED] = "auth.account_unlocked",
    [EVENT_USER_DISABLED] = "auth.user_disabled",
    [EVENT_USER_ENABLED] = "auth.user_enabled",
    [EVENT_USER_DELETED] = "auth.user_deleted",
    [EVENT_KEY_ROTATED] = "auth.key_rotated",
    [EVENT_KEY_REVOKED] = "auth.key_revoked",
};

const char *store_event_subject(enum event_kind kind)
{
    return SUBJECTS[kind];
}

enum err store_event_find(const char *subject, size_t len, enum event_kind *out)
{
    for (unsigned i = 0; i < EVENT_KINDS; i++) {
        if (strlen(SUBJECTS[i]) == len && strncmp(SUBJECTS[i], subject, len) == 0) {
            *out = (enum event_kind)i;
            return OK;
        }
    }
    return ERR_NOT_FOUND;
}

bool store_tells(const struct store_conn *conn, enum event_kind kind)
{
    return (conn->store->events & EVENT_BIT(kind)) != 0;
}

bool store_has_events(const struct store *store)
{
    return store->events != 0;
}

void store_conn_trace(struct store_conn *conn, const char *trace_id)
{
    if (conn->store->events != 0)
        text_copy(conn->trace_id, sizeof conn->trace_id, trace_id, strlen(trace_id));
}

enum err store_tell_key(struct store_conn *conn, enum event_kind kind, const char *kid,
                        const char *state)
{
    return store_tells(conn, kind) ? conn->store->ops->tell_key(conn, kind, kid, state) : OK;
}

enum err store_outbox_read(struct store_conn *conn, struct store_event *out, size_t max,
                           size_t *count, struct store_backlog *backlog)
{
    return conn->store->ops->outbox_read(conn, out, max, count, backlog);
}

enum err store_outbox_delete(struct store_conn *conn, const int64_t *seqs, size_t n)
{
    return n > 0 ? conn->store->ops->outbox_delete(conn, seqs, n) : OK;
}

enum err store_outbox_drop(struct store_conn *conn, uint64_t n, uint64_t *dropped)
{
    return conn->store->ops->outbox_drop(conn, n, dropped);
}
