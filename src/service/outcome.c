#include "service/outcome.h"

#include <stddef.h>

static const char *const NAMES[OUTCOMES] = {
    [OUTCOME_OK] = "ok",
    [OUTCOME_MALFORMED] = "malformed",
    [OUTCOME_INVALID_EMAIL] = "invalid_email",
    [OUTCOME_WEAK_PASSWORD] = "weak_password",
    [OUTCOME_RATE_LIMITED] = "rate_limited",
    [OUTCOME_NOT_FOUND] = "not_found",
    [OUTCOME_INVALID_PASSWORD] = "invalid_password",
    [OUTCOME_INACTIVE] = "inactive",
    [OUTCOME_LOCKED] = "locked",
    [OUTCOME_HASH_BUSY] = "hash_busy",
    [OUTCOME_EXISTS] = "exists",
    [OUTCOME_INVALID] = "invalid",
    [OUTCOME_EXPIRED] = "expired",
    [OUTCOME_REVOKED] = "revoked",
    [OUTCOME_REPLAYED] = "replayed",
    [OUTCOME_RETRIED] = "retried",
    [OUTCOME_FORBIDDEN] = "forbidden",
    [OUTCOME_METHOD_NOT_ALLOWED] = "method_not_allowed",
    [OUTCOME_PREFLIGHT] = "preflight",
    [OUTCOME_CLIENT_GONE] = "client_gone",
    [OUTCOME_DB_UNAVAILABLE] = "db_unavailable",
    [OUTCOME_INTERNAL] = "internal",
};

const char *outcome_name(enum outcome outcome)
{
    return outcome < OUTCOMES ? NAMES[outcome] : NULL;
}
