/*
 * register.c: a new credential.
 *
 *     start (network)  who may, shape, address, password rules, limits
 *     hash (HASH)
 *     insert (DB)
 */
#include <string.h>

#include "base/clock.h"
#include "base/failpoint.h"
#include "service/call.h"

#define IDEMPOTENCY_KEY_MAX 255

/* ---- start ---- */

/* Both sides through a MAC: the comparison tells neither content nor length. */
static enum flow require_register_token(struct call *call)
{
    const struct service *service = call->service;
    if (service->config.register_token->len == 0)
        return FLOW_NEXT;
    const char *given = bearer_token(call);
    uint8_t mac[MAC_LEN] = {0};
    enum err e = ERR_DENIED;
    if (given != NULL) {
        const struct mac_part part = {given, strlen(given)};
        e = service_keys_mac(service->config.keys, service_keys_current_id(service->config.keys),
                             KEY_BEARER, &part, 1, mac);
    }
    if (e == OK && ct_equal(mac, service->register_mac, sizeof mac))
        return FLOW_NEXT;
    if (e != OK && given != NULL) {
        answer_fault(call, e, "register token");
        return FLOW_DONE;
    }
    answer_problem(call, OUTCOME_INVALID, ERR_DENIED, "unauthorized", "unauthorized");
    http_add_header(call->http, "WWW-Authenticate", "Bearer");
    return FLOW_DONE;
}

static enum flow read_user_id(struct call *call, const struct member *member)
{
    call->has_user = true;
    if (member->value != NULL)
        return body_uuid(call, member, &call->user_id);
    if (uuid_make_v7(clock_unix_ms(), &call->user_id) == OK)
        return FLOW_NEXT;
    answer_fault(call, ERR_INTERNAL, "random numbers");
    return FLOW_DONE;
}

/* Bound to what it was used for: the same key with other particulars is another key. */
static enum flow read_idempotency(struct call *call, bool user_given)
{
    struct register_call *r = &call->registration;
    const struct service_keys *keys = call->service->config.keys;
    const char *key = http_header(call->http, "X-Idempotency-Key");
    if (key == NULL)
        return FLOW_NEXT;
    size_t len = strlen(key);
    if (len == 0 || len > IDEMPOTENCY_KEY_MAX) {
        answer_problem(call, OUTCOME_MALFORMED, ERR_MALFORMED, "invalid_idempotency_key",
                       "X-Idempotency-Key must have 1 to 255 characters");
        return FLOW_DONE;
    }
    uint8_t key_len = (uint8_t)len;
    /* No address begins with a zero byte: without it, an id whose bytes are letters could be the
     * beginning of one. */
    uint8_t user[1 + sizeof call->user_id.b] = {0};
    memcpy(user + 1, call->user_id.b, sizeof call->user_id.b);
    const struct mac_part parts[] = {
        {&key_len, 1},
        {key, len},
        {call->tenant_id.b, sizeof call->tenant_id.b},
        {user, user_given ? sizeof user : 0},
        {r->email, strlen(r->email)},
    };
    enum err e = service_keys_mac(keys, service_keys_current_id(keys), KEY_IDEMPOTENCY, parts,
                                  ARRAY_LEN(parts), r->idempotency);
    if (e != OK) {
        answer_fault(call, e, "idempotency key");
        return FLOW_DONE;
    }
    r->idempotent = true;
    return FLOW_NEXT;
}

static enum flow check_password(struct call *call, const struct member *member)
{
    struct register_call *r = &call->registration;
    enum err e = password_normalise(member->value, member->len, &r->password);
    if (e == ERR_INTERNAL) {
        answer_fault(call, e, "out of memory");
        return FLOW_DONE;
    }
    const char *why = e == ERR_TOO_LARGE ? "password is too long"
                      : e == OK
                          ? password_refusal(call->service->config.password, &r->password, r->email)
                          : "password is not valid text";
    if (why == NULL)
        return FLOW_NEXT;
    answer_problem(call, OUTCOME_WEAK_PASSWORD, ERR_MALFORMED, "weak_password", why);
    return FLOW_DONE;
}

static enum flow check_identity(struct call *call, const struct member *member,
                                uint8_t identity[IDENTITY_DIGEST_LEN])
{
    struct register_call *r = &call->registration;
    enum err e = identity_canonical(member->value, member->len, r->email);
    if (e == ERR_MALFORMED) {
        answer_problem(call, OUTCOME_INVALID_EMAIL, e, "invalid_email", "invalid email");
        return FLOW_DONE;
    }
    if (e == OK)
        e = identity_digest(call->service->config.keys, &call->tenant_id, r->email, identity);
    if (e != OK) {
        answer_fault(call, e, "identity");
        return FLOW_DONE;
    }
    identity_tag(identity, call->identity_tag);
    return FLOW_NEXT;
}

static enum flow start(struct call *call, struct member members[4])
{
    uint8_t identity[IDENTITY_DIGEST_LEN];
    if (body_uuid(call, &members[0], &call->tenant_id) == FLOW_DONE)
        return FLOW_DONE;
    call->has_tenant = true;
    if (read_user_id(call, &members[3]) == FLOW_DONE ||
        check_identity(call, &members[1], identity) == FLOW_DONE ||
        read_idempotency(call, members[3].value != NULL) == FLOW_DONE ||
        check_password(call, &members[2]) == FLOW_DONE)
        return FLOW_DONE;
    return limit_register(call, identity);
}

enum flow register_start(struct call *call)
{
    struct member members[] = {{.name = "tenant_id", .required = true},
                               {.name = "email", .required = true},
                               {.name = "password", .required = true},
                               {.name = "user_id"}};
    /* First of all: a token cannot be guessed at, nor the password's strength be estimated, more
     * often than an address may ask. */
    if (limit_address(call) == FLOW_DONE || require_register_token(call) == FLOW_DONE)
        return FLOW_DONE;
    json_t *doc CLEANUP(cleanup_json) = NULL;
    if (body_read(call, members, ARRAY_LEN(members), &doc) == FLOW_DONE)
        return FLOW_DONE;
    enum flow flow = start(call, members);
    secret_wipe((char *)(uintptr_t)members[2].value, members[2].len);
    return flow;
}

/* ---- hash ---- */

enum flow register_hash_begin(struct call *call, struct argon2_job **job)
{
    struct register_call *r = &call->registration;
    enum err e = password_hash_begin(call->service->config.password, &r->password, &r->work);
    if (e != OK) {
        answer_fault(call, e, "random numbers");
        return FLOW_DONE;
    }
    *job = &r->work.job;
    return FLOW_NEXT;
}

enum flow register_hash_end(struct call *call)
{
    password_wipe(&call->registration.password);
    FAILPOINT("register.hashed");
    return FLOW_NEXT;
}

/* ---- insert ---- */

static void answer_registered(struct call *call)
{
    char user[UUID_LEN + 1];
    char *body = malloc(96);
    if (body == NULL) {
        answer_fault(call, ERR_INTERNAL, "out of memory");
        return;
    }
    struct text t = text_on(body, 96);
    uuid_format(&call->user_id, user);
    json_open(&t);
    json_bool(&t, "ok", true);
    json_str(&t, "user_id", user);
    json_close(&t);
    answer_json(call, 200, body, t.len, false);
    http_add_header(call->http, "Cache-Control", "no-store");
    call->outcome = OUTCOME_OK;
}

enum flow register_insert(struct call *call, struct store_conn *conn)
{
    struct register_call *r = &call->registration;
    char hash[PHC_MAX + 1];
    enum err e = password_hash_finish(&r->work, hash);
    if (e == OK) {
        struct store_credential credential = {.tenant_id = call->tenant_id,
                                              .user_id = call->user_id,
                                              .email = r->email,
                                              .password_hash = hash};
        e = store_register(conn, &credential, r->idempotent ? r->idempotency : NULL,
                           &call->user_id);
    }
    if (e == OK) {
        answer_registered(call);
    } else if (e == ERR_CONFLICT) {
        answer_problem(call, OUTCOME_EXISTS, e, "credential_exists", "credential already exists");
    } else {
        answer_fault(call, e, store_last_error());
    }
    return FLOW_DONE;
}
