/*
 * err.h: the one error type.
 *
 * OK (0) is the only success. A kind says what the caller can do about it, not where it happened;
 * where it happened is logged once, by the function that first sees it. Outputs of a function are
 * untouched unless it returns OK. Every kind maps to exactly one HTTP status (err_http_status).
 */
#ifndef WW_BASE_ERR_H
#define WW_BASE_ERR_H

#include "base/macros.h"

enum err {
    OK = 0,
    ERR_MALFORMED,   /* the bytes are not of the form they must have               400 */
    ERR_INVALID,     /* well-formed, but a member is missing or of the wrong type  422 */
    ERR_DENIED,      /* a credential was checked and is not accepted               401 */
    ERR_FORBIDDEN,   /* known who it is; not allowed                               403 */
    ERR_NOT_FOUND,   /* no such thing                                              404 */
    ERR_CONFLICT,    /* exists already                                             409 */
    ERR_TOO_LARGE,   /* over a documented maximum                                  413 */
    ERR_LOCKED,      /* too many failures; refused for a while                     423 */
    ERR_LIMITED,     /* too many requests                                          429 */
    ERR_BUSY,        /* cannot be done in time                                     503 */
    ERR_UNAVAILABLE, /* something this service depends on is down                  503 */
    ERR_INTERNAL,    /* a broken invariant, or out of memory                       500 */
    ERR_KINDS,       /* how many there are; not an error */
};

/* The HTTP status of a kind: 200 for OK. */
unsigned err_http_status(enum err e);

/* A short English name for log lines, for example "unavailable". Never NULL. */
const char *err_name(enum err e);

#endif
