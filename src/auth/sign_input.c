#include "auth/sign_input.h"

#include <string.h>

#include "base/encode.h"
#include "base/json.h"

/* Room for every JSON text that access_token_prepare makes. */
#define PART_MAX (ACCESS_TOKEN_MAX / 2)
/* Times are written in at most so many digits: until the year 33658. */
#define TIME_DIGITS_MAX 12

struct reader {
    const char *at, *end;
};

/* ---- one member after the other ---- */

static bool take(struct reader *r, const char *bytes, size_t len)
{
    if ((size_t)(r->end - r->at) < len || memcmp(r->at, bytes, len) != 0) /* lint: public */
        return false;
    r->at += len;
    return true;
}

static bool take_text(struct reader *r, const char *text)
{
    return take(r, text, strlen(text));
}

/* As it is written: lower case, with hyphens. */
static bool take_uuid(struct reader *r, struct uuid *out)
{
    char written[UUID_LEN + 1];
    if (r->end - r->at < UUID_LEN || uuid_parse(r->at, UUID_LEN, out) != OK)
        return false;
    uuid_format(out, written);
    return take(r, written, UUID_LEN);
}

static bool take_time(struct reader *r, int64_t *out)
{
    size_t digits = 0;
    uint64_t value = 0;
    while (digits < (size_t)(r->end - r->at) && r->at[digits] >= '0' && r->at[digits] <= '9')
        digits++;
    if (digits > TIME_DIGITS_MAX || decimal_parse(r->at, digits, 0, INT64_MAX, &value) != OK)
        return false;
    r->at += digits;
    *out = (int64_t)value;
    return true;
}

static bool take_quoted(struct reader *r, const char *value)
{
    char json[ACCESS_EXTRA_CLAIMS_MAX];
    struct text t = text_on(json, sizeof json);
    json_quote(&t, value, strlen(value));
    return text_ok(&t) && take(r, json, t.len);
}

static bool take_extra(struct reader *r, const char *extra)
{
    return extra[0] == '\0' || (take_text(r, ",") && take_text(r, extra));
}

struct claims {
    struct uuid sub, tenant_id, jti, session_id, sid;
    int64_t iat, exp, auth_time;
};

static bool take_claims(struct reader *r, const struct access_policy *policy, struct claims *c)
{
    return take_text(r, "{\"iss\":") && take_quoted(r, policy->issuer) &&
           take_text(r, ",\"aud\":") && take_quoted(r, policy->audience) &&
           take_text(r, ",\"sub\":\"") && take_uuid(r, &c->sub) &&
           take_text(r, "\",\"tenant_id\":\"") && take_uuid(r, &c->tenant_id) &&
           take_text(r, "\",\"iat\":") && take_time(r, &c->iat) && take_text(r, ",\"exp\":") &&
           take_time(r, &c->exp) && take_text(r, ",\"jti\":\"") && take_uuid(r, &c->jti) &&
           take_text(r, "\",\"session_id\":\"") && take_uuid(r, &c->session_id) &&
           take_text(r, "\",\"sid\":\"") && take_uuid(r, &c->sid) &&
           take_text(r, "\",\"actor_type\":\"user\",\"auth_time\":") &&
           take_time(r, &c->auth_time) && take_text(r, ",\"ver\":\"2\"") &&
           take_extra(r, policy->extra_claims) && take_text(r, "}") && r->at == r->end;
}

static bool claims_ok(const struct claims *c, const struct access_policy *policy, int64_t now_s)
{
    int64_t skew = c->iat - now_s;
    return uuid_equal(&c->session_id, &c->sid) && c->exp - c->iat == policy->ttl_seconds &&
           skew >= -SIGN_INPUT_SKEW_SECONDS && skew <= SIGN_INPUT_SKEW_SECONDS;
}

/* ---- the two parts ---- */

static bool take_header(struct reader *r, const char *kid)
{
    char json[KID_MAX + 64], encoded[BASE64_LEN(sizeof json) + 1];
    struct text t = text_on(json, sizeof json);
    access_token_header(kid, &t);
    return text_ok(&t) &&
           take(r, encoded, base64url_encode((const uint8_t *)json, t.len, encoded)) &&
           take_text(r, ".");
}

enum err sign_input_check(const struct sign_input_rules *rules, const char *in, size_t len,
                          int64_t now_s)
{
    struct reader outer = {in, in + len};
    uint8_t json[PART_MAX];
    size_t n = 0;
    if (!take_header(&outer, rules->kid) ||
        base64url_decode(outer.at, (size_t)(outer.end - outer.at), json, sizeof json, &n) != OK)
        return ERR_DENIED;
    struct reader r = {(const char *)json, (const char *)json + n};
    struct claims claims;
    if (!take_claims(&r, rules->policy, &claims) || !claims_ok(&claims, rules->policy, now_s))
        return ERR_DENIED;
    return OK;
}
