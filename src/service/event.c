#include "service/event.h"

#include "auth/identity.h"
#include "base/clock.h"
#include "base/json.h"

#define SCHEMA_VERSION "1.0.0"

/* What the change did to what there is: docs/events/README.md. */
static const char *const MUTATION_CLASSES[EVENT_KINDS] = {
    [EVENT_USER_REGISTERED] = "create", [EVENT_USER_LOGGED_IN] = "create",
    [EVENT_TOKEN_REFRESHED] = "update", [EVENT_USER_LOGGED_OUT] = "delete",
    [EVENT_SESSION_REVOKED] = "delete", [EVENT_REPLAY_DETECTED] = "update",
    [EVENT_ACCOUNT_LOCKED] = "update",  [EVENT_ACCOUNT_UNLOCKED] = "update",
    [EVENT_USER_DISABLED] = "update",   [EVENT_USER_ENABLED] = "update",
    [EVENT_USER_DELETED] = "delete",    [EVENT_KEY_ROTATED] = "update",
    [EVENT_KEY_REVOKED] = "delete",
};

/* ---- members ---- */

static void put_id(struct text *t, const char *key, const struct uuid *id)
{
    char s[UUID_LEN + 1];
    uuid_format(id, s);
    json_str(t, key, s);
}

static void put_id_or_null(struct text *t, const char *key, bool has, const struct uuid *id)
{
    if (has) {
        put_id(t, key, id);
        return;
    }
    json_key(t, key);
    text_put(t, "null");
}

static void put_time(struct text *t, const char *key, int64_t unix_ms)
{
    char s[CLOCK_RFC3339_LEN + 1];
    clock_format_rfc3339(unix_ms, s);
    json_str(t, key, s);
}

static void put_client(struct text *t, const char *key, const struct store_client *client)
{
    if (!client->known) /* the user has been deleted since */
        return;
    json_key(t, key);
    json_open(t);
    json_str(t, "ip", client->ip);
    json_str(t, "user_agent", client->user_agent);
    json_close(t);
}

/* ---- the payload ---- */

static void put_replay(const struct store_event *event, struct text *t)
{
    json_i64(t, "distance", event->number);
    json_i64(t, "age_seconds", event->age_ms > 0 ? event->age_ms / MS_PER_SECOND : 0);
    put_client(t, "previous", &event->previous);
    put_client(t, "presented", &event->presented);
}

static void put_identity(const struct store_event *event, struct text *t)
{
    char tag[IDENTITY_TAG_LEN + 1];
    identity_tag(event->identity, tag);
    json_str(t, "identity", tag);
}

static void put_own_members(const struct store_event *event, struct text *t)
{
    switch (event->kind) {
    case EVENT_USER_REGISTERED:
        if (event->label[0] != '\0')
            json_str(t, "email", event->label);
        break;
    case EVENT_TOKEN_REFRESHED:
        json_i64(t, "generation", event->number);
        break;
    case EVENT_SESSION_REVOKED:
        json_str(t, "reason", event->label);
        break;
    case EVENT_REPLAY_DETECTED:
        put_replay(event, t);
        break;
    case EVENT_ACCOUNT_LOCKED:
        put_identity(event, t);
        put_time(t, "locked_until", event->number);
        break;
    case EVENT_ACCOUNT_UNLOCKED:
        put_identity(event, t);
        break;
    case EVENT_KEY_ROTATED:
    case EVENT_KEY_REVOKED:
        json_str(t, "kid", event->label);
        json_str(t, "state", event->detail);
        break;
    case EVENT_USER_LOGGED_IN:
    case EVENT_USER_LOGGED_OUT:
    case EVENT_USER_DISABLED:
    case EVENT_USER_ENABLED:
    case EVENT_USER_DELETED:
    case EVENT_KINDS:
        break;
    }
}

static void put_payload(const struct store_event *event, struct text *t)
{
    json_key(t, "payload");
    json_open(t);
    if (event->has_user)
        put_id(t, "user_id", &event->user_id);
    if (event->has_session)
        put_id(t, "session_id", &event->session_id);
    put_own_members(event, t);
    json_close(t);
}

/* ---- the envelope ---- */

void event_put(const struct store_event *event, struct text *t)
{
    json_open(t);
    put_id(t, "event_id", &event->id);
    json_str(t, "event_type", store_event_subject(event->kind));
    put_time(t, "occurred_at", event->occurred_at);
    put_id_or_null(t, "tenant_id", event->has_tenant, &event->tenant_id);
    json_str(t, "source_module", "watchword@" WATCHWORD_VERSION);
    json_str(t, "source_version", WATCHWORD_VERSION);
    json_str(t, "schema_version", SCHEMA_VERSION);
    json_str(t, "trace_id", event->trace_id);
    json_bool(t, "replay_safe", true);
    json_str(t, "mutation_class", MUTATION_CLASSES[event->kind]);
    put_id_or_null(t, "actor_id", event->has_user, &event->user_id);
    json_str(t, "actor_type", "User");
    put_payload(event, t);
    json_close(t);
}
