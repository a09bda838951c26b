/*
 * outcome.h: how a call can end. One closed set: the log line's reason and the counters' label.
 */
#ifndef WW_SERVICE_OUTCOME_H
#define WW_SERVICE_OUTCOME_H

enum outcome {
    OUTCOME_NONE, /* nothing to tell */
    OUTCOME_OK,
    OUTCOME_MALFORMED, /* framing, body, members */
    OUTCOME_INVALID_EMAIL,
    OUTCOME_WEAK_PASSWORD,
    OUTCOME_RATE_LIMITED,
    OUTCOME_NOT_FOUND, /* no such account, session or path */
    OUTCOME_INVALID_PASSWORD,
    OUTCOME_INACTIVE,
    OUTCOME_LOCKED,
    OUTCOME_HASH_BUSY,
    OUTCOME_EXISTS,
    OUTCOME_INVALID, /* a token that is none of ours */
    OUTCOME_EXPIRED,
    OUTCOME_REVOKED,
    OUTCOME_REPLAYED,
    OUTCOME_RETRIED, /* a refresh that got the same successor once more */
    OUTCOME_FORBIDDEN,
    OUTCOME_METHOD_NOT_ALLOWED,
    OUTCOME_PREFLIGHT,
    OUTCOME_CLIENT_GONE, /* hung up while its request waited, or met the process at its end */
    OUTCOME_DB_UNAVAILABLE,
    OUTCOME_INTERNAL,
    OUTCOMES,
};

/* NULL for OUTCOME_NONE. */
const char *outcome_name(enum outcome outcome);

#endif
