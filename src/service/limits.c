/* limits.c: the rates that are counted in memory, before any work is done. */
#include "base/clock.h"
#include "service/call.h"

static enum flow take(struct call *call, const struct limit *limit, const void *key, size_t len)
{
    unsigned retry_after = 0;
    enum err e = limiter_take(call->service->limiter, limit, key, len, &retry_after);
    if (e == OK)
        return FLOW_NEXT;
    if (e == ERR_LIMITED) {
        call->limited_by = (enum limit_scope)limit->scope;
        answer_retry(call, OUTCOME_RATE_LIMITED, e, "rate_limited", "rate limited", retry_after);
        note_event(call, LOG_WARN, "auth.rate_limited", "rate limited");
    } else {
        answer_fault(call, e, "limiter");
    }
    return FLOW_DONE;
}

static struct limit per_minute(enum limit_scope scope, unsigned n)
{
    return (struct limit){.scope = scope, .interval_ns = 60 * NS_PER_SECOND / n, .burst = n};
}

enum flow limit_address(struct call *call)
{
    const struct service_settings *s = &call->service->config.settings;
    struct limit limit = {
        .scope = SCOPE_IP, .interval_ns = NS_PER_SECOND / s->ip_per_second, .burst = s->ip_burst};
    struct ip_address key = ip_limit_key(&call->http->client);
    return take(call, &limit, key.b, sizeof key.b);
}

enum flow limit_login(struct call *call, const uint8_t identity[IDENTITY_DIGEST_LEN])
{
    struct limit limit =
        per_minute(SCOPE_EMAIL, call->service->config.settings.login_per_min_per_email);
    return take(call, &limit, identity, IDENTITY_DIGEST_LEN);
}

enum flow limit_register(struct call *call, const uint8_t identity[IDENTITY_DIGEST_LEN])
{
    struct limit limit =
        per_minute(SCOPE_REGISTER, call->service->config.settings.register_per_min_per_email);
    return take(call, &limit, identity, IDENTITY_DIGEST_LEN);
}

enum flow limit_refresh(struct call *call, const struct uuid *session_id)
{
    struct limit limit =
        per_minute(SCOPE_REFRESH, call->service->config.settings.refresh_per_min_per_token);
    return take(call, &limit, session_id->b, sizeof session_id->b);
}
