/* logout.c: ends the session that a token belongs to, spent or current. Ending twice is fine. */
#include "service/call.h"

enum flow logout_start(struct call *call)
{
    struct refresh_call *r = &call->refresh;
    enum err judged = ERR_DENIED;
    if (limit_address(call) == FLOW_DONE ||
        refresh_read_token(call, &r->presented, &judged) == FLOW_DONE)
        return FLOW_DONE;
    if (judged == OK) {
        call->session_id = r->presented.session_id;
        call->has_session = true;
        return FLOW_NEXT;
    }
    if (judged == ERR_DENIED) { /* of a token's form, but none of ours: nothing to end */
        answer_ok(call);
        call->outcome = OUTCOME_NOT_FOUND;
        answer_clear_cookie(call);
    } else if (judged == ERR_INTERNAL) {
        answer_fault(call, judged, "refresh token");
    } else {
        answer_invalid_refresh(call);
    }
    return FLOW_DONE;
}

enum flow logout_end(struct call *call, struct store_conn *conn)
{
    enum err e = store_end_session(conn, &call->session_id, NULL, NULL, "logout");
    if (e == OK || e == ERR_NOT_FOUND) {
        answer_ok(call);
        answer_clear_cookie(call);
        if (e == ERR_NOT_FOUND) /* ended before */
            call->outcome = OUTCOME_NOT_FOUND;
    } else {
        answer_fault(call, e, store_last_error());
    }
    return FLOW_DONE;
}
