/* routes.c: every endpoint, its steps, and the lane of each. */
#include "service/call.h"

#define DB_STEP(fn)                                                                                \
    {                                                                                              \
        .lane = LANE_DB, .db = (fn)                                                                \
    }
#define DB_STEP_FOR_MANY(fn)                                                                       \
    {                                                                                              \
        .lane = LANE_DB, .db_many = (fn)                                                           \
    }
#define SIGN_STEP(fn)                                                                              \
    {                                                                                              \
        .lane = LANE_SIGN, .sign_begin = fn##_begin, .sign_end = fn##_end                          \
    }
#define HASH_STEP(fn)                                                                              \
    {                                                                                              \
        .lane = LANE_HASH, .hash_begin = fn##_begin, .hash_end = fn##_end                          \
    }
#define HASH_IF_ROOM(fn)                                                                           \
    {                                                                                              \
        .lane = LANE_HASH, .hash_begin = fn##_begin, .hash_end = fn##_end, .optional = true        \
    }

const struct route ROUTES[] = {
    {.name = "register",
     .method = HTTP_POST,
     .path = "/api/auth/register",
     .listeners = ON_PUBLIC,
     .begin = register_start,
     .steps = {HASH_STEP(register_hash), DB_STEP(register_insert)},
     .statuses = {200, 400, 401, 409, 415, 422, 429, 500, 503}},
    {.name = "login",
     .method = HTTP_POST,
     .path = "/api/auth/login",
     .listeners = ON_PUBLIC,
     .begin = login_start,
     .steps = {DB_STEP(login_load), HASH_STEP(login_verify), HASH_IF_ROOM(login_rehash),
               SIGN_STEP(login_sign), DB_STEP(login_commit)},
     .statuses = {200, 400, 401, 403, 415, 422, 423, 429, 500, 503}},
    {.name = "rotate",
     .method = HTTP_POST,
     .path = "/api/auth/refresh",
     .listeners = ON_PUBLIC,
     .begin = refresh_start,
     .steps = {DB_STEP_FOR_MANY(refresh_rotate), SIGN_STEP(refresh_sign)},
     .statuses = {200, 400, 401, 415, 422, 429, 500, 503}},
    {.name = "logout",
     .method = HTTP_POST,
     .path = "/api/auth/logout",
     .listeners = ON_PUBLIC,
     .begin = logout_start,
     .steps = {DB_STEP(logout_end)},
     .statuses = {200, 400, 401, 415, 422, 429, 500, 503}},
    {.name = "sessions",
     .method = HTTP_GET,
     .path = "/api/auth/sessions",
     .listeners = ON_PUBLIC,
     .begin = sessions_start,
     .steps = {DB_STEP(sessions_list)},
     .statuses = {200, 401, 403, 429, 500, 503}},
    {.name = "revoke",
     .method = HTTP_POST,
     .path = "/api/auth/sessions/{id}/revoke",
     .listeners = ON_PUBLIC,
     .begin = sessions_revoke_start,
     .steps = {DB_STEP(sessions_revoke)},
     .statuses = {200, 400, 401, 403, 404, 415, 422, 429, 500, 503}},
    {.name = "logout-all",
     .method = HTTP_POST,
     .path = "/api/auth/logout-all",
     .listeners = ON_PUBLIC,
     .begin = sessions_start,
     .steps = {DB_STEP(sessions_logout_all)},
     .statuses = {200, 400, 401, 403, 415, 422, 429, 500, 503}},
    {.name = "jwks",
     .method = HTTP_GET,
     .path = "/.well-known/jwks.json",
     .listeners = ON_PUBLIC,
     .quiet = true,
     .begin = jwks_start,
     .statuses = {200, 304}},
    {.name = "jwks",
     .method = HTTP_GET,
     .path = "/api/auth/jwks",
     .listeners = ON_PUBLIC,
     .quiet = true,
     .begin = jwks_start,
     .statuses = {200, 304}},
    {.name = "live",
     .method = HTTP_GET,
     .path = "/health/live",
     .listeners = ON_BOTH,
     .quiet = true,
     .begin = health_live,
     .statuses = {200}},
    {.name = "live",
     .method = HTTP_GET,
     .path = "/healthz",
     .listeners = ON_BOTH,
     .quiet = true,
     .begin = health_live,
     .statuses = {200}},
    {.name = "ready",
     .method = HTTP_GET,
     .path = "/health/ready",
     .listeners = ON_BOTH,
     .quiet = true,
     .begin = health_ready,
     .statuses = {200, 503}},
    {.name = "ready",
     .method = HTTP_GET,
     .path = "/api/ready",
     .listeners = ON_BOTH,
     .quiet = true,
     .begin = health_ready,
     .statuses = {200, 503}},
    {.name = "metrics",
     .method = HTTP_GET,
     .path = "/metrics",
     .listeners = ON_OPERATIONS | ON_PUBLIC_IF_ASKED,
     .quiet = true,
     .begin = metrics_start,
     .statuses = {200, 500, 503}},
};
const size_t ROUTE_COUNT = ARRAY_LEN(ROUTES);
