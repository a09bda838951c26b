/* bearer.c: the Authorization field (RFC 6750). */
#include <string.h>
#include <strings.h>

#include "base/clock.h"
#include "service/call.h"

const char *bearer_token(const struct call *call)
{
    const char *value = http_header(call->http, "Authorization");
    if (value == NULL || strncasecmp(value, "Bearer ", 7) != 0)
        return NULL;
    value += 7;
    while (*value == ' ')
        value++;
    return *value != '\0' ? value : NULL;
}

enum flow bearer_require(struct call *call, struct access_claims *out)
{
    const struct service_config *config = &call->service->config;
    const char *token = bearer_token(call);
    int64_t now_s = clock_unix_ms() / MS_PER_SECOND;
    enum err e = ERR_DENIED;
    if (token != NULL) {
        struct signing *signing = service_hold_signing(call->service);
        e = access_token_verify(&config->access, signing_ring(signing), token, strlen(token), now_s,
                                out);
        signing_release(signing);
    }
    if (e == OK) {
        call->tenant_id = out->tenant_id;
        call->user_id = out->user_id;
        call->session_id = out->session_id;
        call->has_tenant = call->has_user = call->has_session = true;
        return FLOW_NEXT;
    }
    if (e == ERR_INTERNAL) {
        answer_fault(call, e, "access token");
        return FLOW_DONE;
    }
    answer_problem(call, OUTCOME_INVALID, ERR_DENIED, "invalid_token", "invalid access token");
    http_add_header(call->http, "WWW-Authenticate",
                    token == NULL ? "Bearer" : "Bearer error=\"invalid_token\"");
    return FLOW_DONE;
}
