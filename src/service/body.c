/* body.c: JSON request bodies, held to the members that an endpoint knows. */
#include <string.h>
#include <strings.h>

#include "service/call.h"

#define SHOWN_NAME_MAX 64

/* application/json, or any type with the +json suffix (RFC 6839), in UTF-8. */
static bool is_json_type(const char *type)
{
    size_t n = strcspn(type, "; \t");
    bool json = (n == 16 && strncasecmp(type, "application/json", n) == 0) ||
                (n > 17 && strncasecmp(type, "application/", 12) == 0 &&
                 strncasecmp(type + n - 5, "+json", 5) == 0);
    const char *charset = strcasestr(type + n, "charset=");
    return json && (charset == NULL || strncasecmp(charset + 8, "utf-8", 5) == 0 ||
                    strncasecmp(charset + 8, "\"utf-8\"", 7) == 0);
}

static enum flow refuse_member(struct call *call, enum err kind, const char *error,
                               const char *what, const char *name)
{
    char message[SHOWN_NAME_MAX + 64];
    char shown[SHOWN_NAME_MAX + 1];
    struct text t = text_on(message, sizeof message);
    text_copy_utf8(shown, sizeof shown, name, strlen(name));
    text_put_f(&t, "%s: %s", what, shown);
    answer_problem(call, OUTCOME_MALFORMED, kind, error, message);
    return FLOW_DONE;
}

static struct member *find_member(struct member *members, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(members[i].name, name) == 0)
            return &members[i];
    return NULL;
}

static enum flow take_members(struct call *call, struct member *members, size_t n, json_t *doc)
{
    const char *name;
    json_t *value;
    json_object_foreach(doc, name, value)
    {
        if (find_member(members, n, name) == NULL)
            return refuse_member(call, ERR_MALFORMED, "unknown_member", "unknown member", name);
    }
    for (size_t i = 0; i < n; i++) {
        struct member *m = &members[i];
        value = json_object_get(doc, m->name);
        if (m->type == MEMBER_IGNORED)
            continue;
        if (value == NULL && m->required)
            return refuse_member(call, ERR_INVALID, "missing_member", "missing member", m->name);
        if (value == NULL)
            continue;
        if (!json_is_string(value))
            return refuse_member(call, ERR_INVALID, "invalid_member", "must be a string", m->name);
        m->value = json_string_value(value);
        m->len = json_string_length(value);
    }
    return FLOW_NEXT;
}

enum flow body_read(struct call *call, struct member *members, size_t n, json_t **doc)
{
    const char *type = http_header(call->http, "Content-Type");
    if (type == NULL || !is_json_type(type)) {
        answer_problem_status(call, OUTCOME_MALFORMED, 415, "unsupported_media_type",
                              "content type must be application/json");
        return FLOW_DONE;
    }
    const char *why = NULL;
    const char *body = call->http->body != NULL ? call->http->body : "";
    enum err e = json_read(body, call->http->body_len, doc, &why);
    if (e != OK) {
        answer_problem(call, OUTCOME_MALFORMED, e, "malformed_body", why);
        return FLOW_DONE;
    }
    return take_members(call, members, n, *doc);
}

enum flow body_uuid(struct call *call, const struct member *member, struct uuid *out)
{
    if (uuid_parse(member->value, member->len, out) == OK)
        return FLOW_NEXT;
    return refuse_member(call, ERR_INVALID, "invalid_member", "must be a UUID", member->name);
}
