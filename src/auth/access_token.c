#include "auth/access_token.h"

#include <string.h>

#include "auth/rsa_key.h"
#include "base/encode.h"
#include "base/json.h"

/* Not client_id: RFC 9068 asks for one and there are no clients here, so who has verifiers that
 * insist gives it with JWT_EXTRA_CLAIMS. */
static const char *const OWN_CLAIMS[] = {"iss",        "aud", "sub",      "tenant_id",  "iat",
                                         "exp",        "nbf", "jti",      "session_id", "sid",
                                         "actor_type", "ver", "auth_time"};

/* ---- issuing ---- */

void access_token_header(const char *kid, struct text *t)
{
    json_open(t);
    json_str(t, "alg", "RS256");
    json_str(t, "typ", "at+jwt");
    json_str(t, "kid", kid);
    json_close(t);
}

static void put_uuid(struct text *t, const char *key, const struct uuid *id)
{
    char s[UUID_LEN + 1];
    uuid_format(id, s);
    json_str(t, key, s);
}

static void put_claims(struct text *t, const struct access_policy *policy,
                       const struct access_claims *claims, const struct uuid *jti, int64_t now_s)
{
    json_open(t);
    json_str(t, "iss", policy->issuer);
    json_str(t, "aud", policy->audience);
    put_uuid(t, "sub", &claims->user_id);
    put_uuid(t, "tenant_id", &claims->tenant_id);
    json_i64(t, "iat", now_s);
    json_i64(t, "exp", now_s + policy->ttl_seconds);
    put_uuid(t, "jti", jti);
    put_uuid(t, "session_id", &claims->session_id);
    put_uuid(t, "sid", &claims->session_id);
    json_str(t, "actor_type", "user");
    json_i64(t, "auth_time", claims->auth_time);
    json_str(t, "ver", "2");
    if (policy->extra_claims[0] != '\0') {
        text_put_char(t, ',');
        text_put(t, policy->extra_claims);
    }
    json_close(t);
}

static void put_base64url(struct text *t, const uint8_t *data, size_t len)
{
    if (BASE64_LEN(len) + 1 > t->cap - t->len) {
        t->full = true;
        return;
    }
    t->len += base64url_encode(data, len, t->p + t->len);
}

enum err access_token_prepare(const struct access_policy *policy, const char *kid,
                              const struct access_claims *claims, int64_t now_s,
                              char out[ACCESS_TOKEN_MAX], size_t *out_len)
{
    struct uuid jti;
    TRY(uuid_make_v4(&jti));
    char json[ACCESS_TOKEN_MAX / 2];
    struct text t = text_on(out, ACCESS_TOKEN_MAX);
    struct text part = text_on(json, sizeof json);
    access_token_header(kid, &part);
    put_base64url(&t, (const uint8_t *)part.p, part.len);
    text_put_char(&t, '.');
    bool fits = text_ok(&part);
    part = text_on(json, sizeof json);
    put_claims(&part, policy, claims, &jti, now_s);
    put_base64url(&t, (const uint8_t *)part.p, part.len);
    if (!fits || !text_ok(&part) || !text_ok(&t))
        return ERR_INTERNAL;
    *out_len = t.len;
    return OK;
}

enum err access_token_finish(char token[ACCESS_TOKEN_MAX], size_t *len, const uint8_t *signature,
                             size_t signature_len)
{
    struct text t = {.p = token, .len = *len, .cap = ACCESS_TOKEN_MAX};
    text_put_char(&t, '.');
    put_base64url(&t, signature, signature_len);
    if (!text_ok(&t))
        return ERR_INTERNAL;
    *len = t.len;
    return OK;
}

/* ---- verifying ---- */

struct parts {
    const char *header, *claims, *signature;
    size_t header_len, claims_len, signature_len;
};

static enum err split(const char *in, size_t len, struct parts *out)
{
    const char *end = in + len;
    const char *dot1 = memchr(in, '.', len);
    if (dot1 == NULL)
        return ERR_DENIED;
    const char *dot2 = memchr(dot1 + 1, '.', (size_t)(end - dot1 - 1));
    if (dot2 == NULL || memchr(dot2 + 1, '.', (size_t)(end - dot2 - 1)) != NULL)
        return ERR_DENIED;
    *out = (struct parts){in,
                          dot1 + 1,
                          dot2 + 1,
                          (size_t)(dot1 - in),
                          (size_t)(dot2 - dot1 - 1),
                          (size_t)(end - dot2 - 1)};
    return OK;
}

static enum err decode_json(const char *in, size_t len, json_t **out)
{
    uint8_t buf[ACCESS_TOKEN_MAX];
    size_t n = 0;
    const char *why = NULL;
    if (base64url_decode(in, len, buf, sizeof buf, &n) != OK)
        return ERR_DENIED;
    return json_read((const char *)buf, n, out, &why) == OK ? OK : ERR_DENIED;
}

static bool is_string(const json_t *object, const char *key, const char *wanted)
{
    const json_t *v = json_object_get(object, key);
    return json_is_string(v) && json_string_length(v) == strlen(wanted) &&
           strcmp(json_string_value(v), wanted) == 0; /* lint: public */
}

/* Exactly the header that is issued: no crit, no jwk, no jku, nothing that asks for more. */
static EVP_PKEY *key_of_header(const struct keyring *ring, const char *in, size_t len)
{
    json_t *header CLEANUP(cleanup_json) = NULL;
    if (decode_json(in, len, &header) != OK || json_object_size(header) != 3 ||
        !is_string(header, "alg", "RS256") || !is_string(header, "typ", "at+jwt"))
        return NULL;
    const json_t *kid = json_object_get(header, "kid");
    if (!json_is_string(kid))
        return NULL;
    return keyring_find(ring, json_string_value(kid), json_string_length(kid));
}

static enum err check_signature(EVP_PKEY *key, const char *signed_part, size_t signed_len,
                                const char *signature, size_t signature_len)
{
    uint8_t sig[RSA_KEY_BITS_MAX / 8];
    size_t n = 0;
    if (base64url_decode(signature, signature_len, sig, sizeof sig, &n) != OK)
        return ERR_DENIED;
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    enum err e = ERR_INTERNAL;
    if (md != NULL && EVP_DigestVerifyInit(md, NULL, EVP_sha256(), NULL, key) == 1)
        e = EVP_DigestVerify(md, sig, n, (const uint8_t *)signed_part, signed_len) == 1
                ? OK
                : ERR_DENIED;
    EVP_MD_CTX_free(md);
    return e;
}

static enum err uuid_claim(const json_t *claims, const char *key, struct uuid *out)
{
    const json_t *v = json_object_get(claims, key);
    if (!json_is_string(v) || uuid_parse(json_string_value(v), json_string_length(v), out) != OK)
        return ERR_DENIED;
    return OK;
}

static enum err time_claim(const json_t *claims, const char *key, int64_t *out)
{
    const json_t *v = json_object_get(claims, key);
    if (!json_is_integer(v))
        return ERR_DENIED;
    *out = json_integer_value(v);
    return OK;
}

static enum err read_claims(const struct access_policy *policy, const json_t *claims, int64_t now_s,
                            struct access_claims *out)
{
    struct access_claims c;
    int64_t exp = 0, iat = 0;
    if (!is_string(claims, "iss", policy->issuer) || !is_string(claims, "aud", policy->audience) ||
        !is_string(claims, "actor_type", "user"))
        return ERR_DENIED;
    TRY(time_claim(claims, "exp", &exp));
    TRY(time_claim(claims, "iat", &iat));
    TRY(time_claim(claims, "auth_time", &c.auth_time));
    if (exp <= now_s - ACCESS_LEEWAY_SECONDS || iat > now_s + ACCESS_LEEWAY_SECONDS)
        return ERR_DENIED;
    if (json_object_get(claims, "nbf") != NULL) /* never issued */
        return ERR_DENIED;
    TRY(uuid_claim(claims, "sub", &c.user_id));
    TRY(uuid_claim(claims, "tenant_id", &c.tenant_id));
    TRY(uuid_claim(claims, "sid", &c.session_id));
    *out = c;
    return OK;
}

enum err access_token_verify(const struct access_policy *policy, const struct keyring *ring,
                             const char *in, size_t len, int64_t now_s, struct access_claims *out)
{
    struct parts p;
    if (len >= ACCESS_TOKEN_MAX)
        return ERR_DENIED;
    TRY(split(in, len, &p));
    EVP_PKEY *key = key_of_header(ring, p.header, p.header_len);
    if (key == NULL)
        return ERR_DENIED;
    TRY(check_signature(key, in, (size_t)(p.signature - 1 - in), p.signature, p.signature_len));
    json_t *claims CLEANUP(cleanup_json) = NULL;
    TRY(decode_json(p.claims, p.claims_len, &claims));
    return read_claims(policy, claims, now_s, out);
}

const char *access_extra_claims(const char *json, size_t len, char out[ACCESS_EXTRA_CLAIMS_MAX])
{
    json_t *object CLEANUP(cleanup_json) = NULL;
    const char *why = NULL;
    if (json_read(json, len, &object, &why) != OK)
        return "must be a JSON object";
    for (size_t i = 0; i < ARRAY_LEN(OWN_CLAIMS); i++)
        if (json_object_get(object, OWN_CLAIMS[i]) != NULL)
            return "may not replace a claim of the service";
    char buf[ACCESS_EXTRA_CLAIMS_MAX + 2];
    size_t n = json_dumpb(object, buf, sizeof buf, JSON_COMPACT);
    if (n < 2 || n >= sizeof buf)
        return "is too long";
    memcpy(out, buf + 1, n - 2); /* without the braces */
    out[n - 2] = '\0';
    return NULL;
}
