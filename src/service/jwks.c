/* jwks.c: the public keys (RFC 7517). From memory: nothing that is down matters here. */
#include <string.h>

#include "service/call.h"

/* If-None-Match: *, or a list of entity tags; weak comparison (RFC 9110 section 13.1.2). The tag is
 * long and random-looking, so finding it quoted inside the list is finding it in the list. */
static bool is_known(const struct call *call, const char *etag)
{
    const char *known = http_header(call->http, "If-None-Match");
    return known != NULL && (strcmp(known, "*") == 0 || strstr(known, etag) != NULL);
}

enum flow jwks_start(struct call *call)
{
    struct http_answer *a = &call->http->answer;
    call->signing = service_hold_signing(call->service); /* until the answer has been sent */
    const struct keyring *ring = signing_ring(call->signing);
    const char *etag = keyring_jwks_etag(ring);
    http_add_header(call->http, "ETag", etag);
    http_add_header(call->http, "Cache-Control", "public, max-age=300");
    call->outcome = OUTCOME_OK;
    if (is_known(call, etag)) {
        a->status = 304;
        return FLOW_DONE;
    }
    size_t len = 0;
    const char *set = keyring_jwks(ring, &len);
    answer_json(call, 200, (char *)(uintptr_t)set, len, false);
    a->body_lasts = true;
    return FLOW_DONE;
}
