/* cors.c: which web origins may call (Fetch standard). Off unless CORS_ORIGINS lists some. */
#include <string.h>

#include "service/call.h"

static bool is_listed(const char *list, const char *origin)
{
    size_t len = strlen(origin);
    while (list != NULL && *list != '\0') {
        while (*list == ' ' || *list == ',')
            list++;
        size_t n = strcspn(list, ", ");
        if ((n == len && strncmp(list, origin, n) == 0) || (n == 1 && *list == '*'))
            return true;
        list += n;
    }
    return false;
}

bool cors_apply(struct call *call)
{
    const char *list = call->service->config.cors_origins;
    if (list == NULL)
        return false;
    http_add_header(call->http, "Vary", "Origin"); /* what has no Origin may be cached, too */
    const char *origin = http_header(call->http, "Origin");
    if (origin == NULL || strlen(origin) > 255 || !is_listed(list, origin))
        return false;
    http_add_header(call->http, "Access-Control-Allow-Origin", origin);
    http_add_header(call->http, "Access-Control-Allow-Credentials", "true");
    if (call->http->method != HTTP_OPTIONS ||
        http_header(call->http, "Access-Control-Request-Method") == NULL) {
        http_add_header(call->http, "Access-Control-Expose-Headers", "x-trace-id, retry-after");
        return false;
    }
    http_add_header(call->http, "Access-Control-Allow-Methods", "GET, POST");
    http_add_header(call->http, "Access-Control-Allow-Headers",
                    "authorization, content-type, traceparent, x-idempotency-key, x-trace-id");
    http_add_header(call->http, "Access-Control-Max-Age", "600");
    call->http->answer.status = 204;
    call->outcome = OUTCOME_PREFLIGHT;
    return true;
}
