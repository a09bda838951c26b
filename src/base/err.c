#include "base/err.h"

static const struct {
    const char *name;
    unsigned http;
} KINDS[ERR_KINDS] = {
    [OK] = {"ok", 200},
    [ERR_MALFORMED] = {"malformed", 400},
    [ERR_INVALID] = {"invalid", 422},
    [ERR_DENIED] = {"denied", 401},
    [ERR_FORBIDDEN] = {"forbidden", 403},
    [ERR_NOT_FOUND] = {"not found", 404},
    [ERR_CONFLICT] = {"conflict", 409},
    [ERR_TOO_LARGE] = {"too large", 413},
    [ERR_LOCKED] = {"locked", 423},
    [ERR_LIMITED] = {"limited", 429},
    [ERR_BUSY] = {"busy", 503},
    [ERR_UNAVAILABLE] = {"unavailable", 503},
    [ERR_INTERNAL] = {"internal", 500},
};

unsigned err_http_status(enum err e)
{
    return e < ERR_KINDS ? KINDS[e].http : 500;
}

const char *err_name(enum err e)
{
    return e < ERR_KINDS ? KINDS[e].name : "unknown";
}
