/* routes.c: every endpoint, its steps, and the lane of each. */
#include "service/call.h"

#define DB_STEP(fn)                                                                                \
    {                                                                                              \
        .lane = LANE_DB, .db = (fn)                                                                \
    }
#define SIGN_STEP(fn)                                                                              \
    {                                                                                              \
        .lane = LANE_SIGN, .sign = (fn)                                                            \
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
     .steps = {HASH_STEP(register_hash), DB_STEP(register_insert)}},
    {.name = "login",
     .method = HTTP_POST,
     .path = "/api/auth/login",
     .listeners = ON_PUBLIC,
     .begin = login_start,
     .steps = {DB_STEP(login_load), HASH_STEP(login_verify), HASH_IF_ROOM(login_rehash),
               SIGN_STEP(login_sign), DB_STEP(login_commit)}},
    {.name = "rotate",
     .method = HTTP_POST,
     .path = "/api/auth/refresh",
     .listeners = ON_PUBLIC,
     .begin = refresh_start,
     .steps = {DB_STEP(refresh_rotate), SIGN_STEP(refresh_sign)}},
    {.name = "logout",
     .method = HTTP_POST,
     .path = "/api/auth/logout",
     .listeners = ON_PUBLIC,
     .begin = logout_start,
     .steps = {DB_STEP(logout_end)}},
    {.name = "sessions",
     .method = HTTP_GET,
     .path = "/api/auth/sessions",
     .listeners = ON_PUBLIC,
     .begin = sessions_start,
     .steps = {DB_STEP(sessions_list)}},
    {.name = "revoke",
     .method = HTTP_POST,
     .path = "/api/auth/sessions/{id}/revoke",
     .listeners = ON_PUBLIC,
     .begin = sessions_revoke_start,
     .steps = {DB_STEP(sessions_revoke)}},
    {.name = "logout-all",
     .method = HTTP_POST,
     .path = "/api/auth/logout-all",
     .listeners = ON_PUBLIC,
     .begin = sessions_start,
     .steps = {DB_STEP(sessions_logout_all)}},
    {.name = "jwks",
     .method = HTTP_GET,
     .path = "/.well-known/jwks.json",
     .listeners = ON_PUBLIC,
     .quiet = true,
     .begin = jwks_start},
    {.name = "jwks",
     .method = HTTP_GET,
     .path = "/api/auth/jwks",
     .listeners = ON_PUBLIC,
     .quiet = true,
     .begin = jwks_start},
    {.name = "live",
     .method = HTTP_GET,
     .path = "/health/live",
     .listeners = ON_BOTH,
     .quiet = true,
     .begin = health_live},
    {.name = "live",
     .method = HTTP_GET,
     .path = "/healthz",
     .listeners = ON_BOTH,
     .quiet = true,
     .begin = health_live},
    {.name = "ready",
     .method = HTTP_GET,
     .path = "/health/ready",
     .listeners = ON_BOTH,
     .quiet = true,
     .begin = health_ready},
    {.name = "ready",
     .method = HTTP_GET,
     .path = "/api/ready",
     .listeners = ON_BOTH,
     .quiet = true,
     .begin = health_ready},
};
const size_t ROUTE_COUNT = ARRAY_LEN(ROUTES);
