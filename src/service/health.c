/* health.c: alive and ready. Both are read from memory, so they answer at once, always. */
#include <string.h>

#include "service/call.h"

static void answer_status(struct call *call, unsigned status, const char *body)
{
    answer_json(call, status, (char *)(uintptr_t)body, strlen(body), false);
    call->http->answer.body_lasts = true;
    http_add_header(call->http, "Cache-Control", "no-store");
    if (status == 200)
        call->outcome = OUTCOME_OK;
}

enum flow health_live(struct call *call)
{
    answer_status(call, 200, "{\"status\":\"alive\"}");
    return FLOW_DONE;
}

/* NATS away degrades, and no more. */
static void answer_detail(struct call *call, bool database, bool signer, bool draining)
{
    const struct relay *relay = call->service->relay;
    bool events = relay == NULL || relay_is_connected(relay);
    char *body = malloc(256);
    if (body == NULL) {
        call->http->answer.status = 503;
        return;
    }
    bool ready = database && signer && !draining;
    struct text t = text_on(body, 256);
    json_open(&t);
    json_str(&t, "status", !ready ? "not_ready" : events ? "ready" : "degraded");
    json_key(&t, "checks");
    json_open(&t);
    json_str(&t, "database", database ? "up" : "down");
    json_str(&t, "signing_key", signer ? "active" : "unavailable");
    json_str(&t, "nats", relay == NULL ? "off" : events ? "up" : "down");
    json_bool(&t, "draining", draining);
    json_close(&t);
    json_close(&t);
    answer_json(call, ready ? 200 : 503, body, t.len, false);
    http_add_header(call->http, "Cache-Control", "no-store");
}

enum flow health_ready(struct call *call)
{
    bool database = probe_ready(call->service->probe);
    bool signer = service_can_sign(call->service);
    bool draining = atomic_load(&call->service->draining);
    if (call->operations)
        answer_detail(call, database, signer, draining);
    else if (database && signer && !draining)
        answer_status(call, 200, "{\"status\":\"ready\"}");
    else
        answer_status(call, 503, "{\"status\":\"not_ready\"}");
    if (call->http->answer.status == 503)
        http_add_header(call->http, "Retry-After", "1");
    return FLOW_DONE;
}
