/* commands_keys_client.c: the client that a drill plays with. */
#include <stdio.h>
#include <string.h>

#include "auth/key_entry.h"
#include "auth/rsa_key.h"
#include "base/clock.h"
#include "base/encode.h"
#include "base/failpoint.h"
#include "base/random.h"
#include "commands_keys_drill.h"

#define TIMEOUT_MS 10000
#define COOLDOWN_S 30

void drill_forget_tokens(struct drill *d)
{
    for (unsigned i = 0; i < DRILL_TOKENS_MAX; i++) {
        free(d->tokens[i]);
        d->tokens[i] = NULL;
    }
}

void drill_close(struct drill *d)
{
    keyring_close(d->ring);
    free(d->refresh_token);
    drill_forget_tokens(d);
    secret_wipe(d->password, sizeof d->password);
}

/* The drill's clock; test builds may let it run faster than the wall's. */
int64_t drill_now(const struct drill *d)
{
    int64_t now = clock_unix_ms() / MS_PER_SECOND;
    return d->started + (now - d->started) * SPEED();
}

void drill_pause(int64_t seconds)
{
    clock_sleep_ns((uint64_t)seconds * NS_PER_SECOND / (uint64_t)SPEED());
}

bool drill_say(const char *what, const char *detail)
{
    fprintf(stderr, "watchword: keys drill: %s%s%s\n", what, detail[0] != '\0' ? ": " : "", detail);
    return false;
}

/* ---- talking to the service ---- */

/* Gives the answer's JSON if it has that status. */
static json_t *ask(struct drill *d, const char *method, const char *path, const char *bearer,
                   const char *body, unsigned status)
{
    const struct http_client_request request = {method, path, bearer, body, TIMEOUT_MS};
    struct http_client_reply reply CLEANUP(http_client_reply_close) = {0};
    json_t *out = NULL;
    const char *why = NULL;
    if (http_client_fetch(&d->target, &request, &reply) != OK) {
        drill_say("no answer to", path);
        return NULL;
    }
    if (reply.status != status || json_read(reply.body, reply.len, &out, &why) != OK) {
        fprintf(stderr, "watchword: keys drill: %s answered %u: %.200s\n", path, reply.status,
                reply.body);
        return NULL;
    }
    return out;
}

static bool keep_tokens(struct drill *d, const json_t *answer)
{
    const char *access = json_string_value(json_object_get(answer, "access_token"));
    const char *refresh = json_string_value(json_object_get(answer, "refresh_token"));
    if (access == NULL || refresh == NULL)
        return drill_say("the service gives no refresh token in the body", "see REFRESH_DELIVERY");
    char **slot = &d->tokens[d->issued++ % DRILL_TOKENS_MAX];
    free(*slot);
    free(d->refresh_token);
    *slot = strdup(access);
    d->refresh_token = strdup(refresh);
    return *slot != NULL && d->refresh_token != NULL;
}

bool drill_log_in(struct drill *d)
{
    char tenant[UUID_LEN + 1], body[512];
    struct text t = text_on(body, sizeof body);
    uuid_format(&d->tenant_id, tenant);
    json_open(&t);
    json_str(&t, "tenant_id", tenant);
    json_str(&t, "email", d->email);
    json_str(&t, "password", d->password);
    json_str(&t, "delivery", "body");
    json_close(&t);
    json_t *answer CLEANUP(cleanup_json) = ask(d, "POST", "/api/auth/login", NULL, body, 200);
    secret_wipe(body, sizeof body);
    return answer != NULL && keep_tokens(d, answer);
}

static enum err name_account(struct drill *d)
{
    uint8_t raw[DRILL_PASSWORD_LEN];
    char id[UUID_LEN + 1];
    TRY(uuid_make_v7(clock_unix_ms(), &d->tenant_id));
    TRY(uuid_make_v7(clock_unix_ms(), &d->user_id));
    TRY(random_bytes(raw, sizeof raw));
    hex_encode(raw, sizeof raw, d->password);
    secret_wipe(raw, sizeof raw);
    uuid_format(&d->user_id, id);
    snprintf(d->email, sizeof d->email, "%s@drill.invalid", id);
    return OK;
}

/* An account of a tenant of its own, which is removed in the end. */
bool drill_open_account(struct drill *d)
{
    char tenant[UUID_LEN + 1], user[UUID_LEN + 1], body[512];
    struct text t = text_on(body, sizeof body);
    const struct secret *token = &d->k->op.config.register_token;
    if (name_account(d) != OK)
        return drill_say("out of random bytes", "");
    uuid_format(&d->tenant_id, tenant);
    uuid_format(&d->user_id, user);
    json_open(&t);
    json_str(&t, "tenant_id", tenant);
    json_str(&t, "user_id", user);
    json_str(&t, "email", d->email);
    json_str(&t, "password", d->password);
    json_close(&t);
    json_t *answer CLEANUP(cleanup_json) =
        ask(d, "POST", "/api/auth/register", token->len > 0 ? (const char *)token->data : NULL,
            body, 200);
    secret_wipe(body, sizeof body);
    d->registered = answer != NULL;
    return d->registered && drill_log_in(d);
}

void drill_close_account(struct drill *d)
{
    uint8_t identity[IDENTITY_DIGEST_LEN];
    uint64_t ended = 0;
    const struct operation *op = &d->k->op;
    if (!d->registered)
        return;
    if (identity_digest(op->boot.keys, &d->tenant_id, d->email, identity) != OK ||
        store_delete_user(op->conn, &d->tenant_id, &d->user_id, identity, &ended) != OK)
        drill_say("its account could not be removed", d->email);
}

/* ---- the verifier ---- */

static enum err add_jwk(struct key_set *set, const json_t *jwk)
{
    EVP_PKEY *pkey CLEANUP(cleanup_rsa_key) = NULL;
    struct secret pem CLEANUP(secret_close) = {0};
    const char *kid = json_string_value(json_object_get(jwk, "kid"));
    const char *n = json_string_value(json_object_get(jwk, "n"));
    const char *e = json_string_value(json_object_get(jwk, "e"));
    const char *why = NULL;
    if (kid == NULL || kid[0] == '\0' || n == NULL || e == NULL || set->count == KEYS_MAX)
        return ERR_INVALID;
    TRY(rsa_key_from_members(n, e, &pkey));
    TRY(rsa_key_public_pem(pkey, &pem));
    /* Which of them signs is not told, and no matter here. */
    TRY(key_entry_public(&pem, kid, set->count == 0 ? KEY_ACTIVE : KEY_RETIRING,
                         &set->keys[set->count], &why));
    set->count++;
    return OK;
}

/* What the service publishes now. */
static bool fetch_ring(struct drill *d, struct keyring **out)
{
    struct key_set set CLEANUP(key_set_close) = {0};
    json_t *jwks CLEANUP(cleanup_json) = ask(d, "GET", "/.well-known/jwks.json", NULL, NULL, 200);
    const json_t *keys = json_object_get(jwks, "keys");
    if (jwks == NULL)
        return false;
    for (size_t i = 0; i < json_array_size(keys); i++)
        if (add_jwk(&set, json_array_get(keys, i)) != OK)
            return drill_say("the JWKS holds a key that cannot be used", "");
    return keyring_open(&set, out) == OK || drill_say("the JWKS is not sound", "");
}

bool drill_fetch_keys(struct drill *d)
{
    struct keyring *ring = NULL;
    if (!fetch_ring(d, &ring))
        return false;
    keyring_close(d->ring);
    d->ring = ring;
    d->fetched_at = drill_now(d);
    return true;
}

static enum err read_kid(const char *token, char out[KID_MAX + 1])
{
    char header[512];
    size_t len = 0;
    const char *why = NULL;
    json_t *json CLEANUP(cleanup_json) = NULL;
    TRY(base64url_decode(token, strcspn(token, "."), (uint8_t *)header, sizeof header, &len));
    TRY(json_read(header, len, &json, &why));
    const char *kid = json_string_value(json_object_get(json, "kid"));
    if (kid == NULL)
        return ERR_MALFORMED;
    text_copy(out, KID_MAX + 1, kid, strlen(kid));
    return OK;
}

static bool verify(struct drill *d, const char *token)
{
    char kid[KID_MAX + 1];
    struct access_claims claims;
    int64_t now = drill_now(d);
    if (now - d->fetched_at >= KEY_VERIFIER_CACHE_S && !drill_fetch_keys(d))
        return false;
    if (read_kid(token, kid) != OK)
        return drill_say("a token has no kid", "");
    if (keyring_find(d->ring, kid, strlen(kid)) == NULL && now - d->fetched_at >= COOLDOWN_S &&
        !drill_fetch_keys(d))
        return false;
    if (access_token_verify(&d->access, d->ring, token, strlen(token),
                            clock_unix_ms() / MS_PER_SECOND, &claims) == OK) {
        d->verified++;
        return true;
    }
    d->failed++;
    return drill_say("a good token does not verify; its kid", kid);
}

/* One refresh; its token, and those of the last minutes, go to the verifier. False if the service
 * does not play along. */
bool drill_round_trip(struct drill *d)
{
    char body[512];
    struct text t = text_on(body, sizeof body);
    json_open(&t);
    json_str(&t, "refresh_token", d->refresh_token);
    json_close(&t);
    json_t *answer CLEANUP(cleanup_json) = ask(d, "POST", "/api/auth/refresh", NULL, body, 200);
    if (answer == NULL || !keep_tokens(d, answer))
        return false;
    const char *newest = d->tokens[(d->issued - 1) % DRILL_TOKENS_MAX];
    if (read_kid(newest, d->kid) != OK)
        return drill_say("a token has no kid", "");
    for (unsigned i = 0; i < DRILL_TOKENS_MAX; i++)
        if (d->tokens[i] != NULL)
            (void)verify(d, d->tokens[i]);
    return true;
}

/* Waits until the JWKS has the key, or has it no more. */
bool drill_wait_published(struct drill *d, const char *kid, bool expected)
{
    uint64_t end = clock_mono_ns() + DRILL_SEEN_S * NS_PER_SECOND;
    while (clock_mono_ns() < end) {
        struct keyring *ring = NULL;
        if (!fetch_ring(d, &ring))
            return false;
        bool there = keyring_find(ring, kid, strlen(kid)) != NULL;
        keyring_close(ring);
        if (there == expected)
            return true;
        clock_sleep_ns(NS_PER_SECOND / 4);
    }
    return drill_say("the service did not follow; does it use this KEYS_DIR?", kid);
}

/* ---- an end ---- */

/* Whether the session of before still refreshes. False in *known: the service gave neither answer.
 */
static bool refreshes(struct drill *d, bool *known)
{
    char body[512];
    struct text t = text_on(body, sizeof body);
    const struct http_client_request request = {"POST", "/api/auth/refresh", NULL, body,
                                                TIMEOUT_MS};
    struct http_client_reply reply CLEANUP(http_client_reply_close) = {0};
    json_t *answer CLEANUP(cleanup_json) = NULL;
    const char *why = NULL;
    json_open(&t);
    json_str(&t, "refresh_token", d->refresh_token);
    json_close(&t);
    *known = http_client_fetch(&d->target, &request, &reply) == OK &&
             (reply.status == 200 || reply.status == 401);
    if (!*known || reply.status == 401)
        return false;
    *known = json_read(reply.body, reply.len, &answer, &why) == OK && keep_tokens(d, answer);
    return true;
}

bool drill_wait_ended(struct drill *d)
{
    uint64_t end = clock_mono_ns() + DRILL_SEEN_S * NS_PER_SECOND;
    while (clock_mono_ns() < end) {
        bool known = false;
        bool goes_on = refreshes(d, &known);
        if (!known)
            return drill_say("no clear answer to a refresh", "");
        if (!goes_on)
            return true;
        drill_pause(DRILL_PAUSE_S);
    }
    return drill_say("an old session still refreshes", "");
}
