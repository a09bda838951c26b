/*
 * call.h: one use of one endpoint, and the steps it takes. Private to service/.
 *
 * A route names the use case's steps and the lane each runs in. begin runs on the network thread
 * and checks everything that needs no waiting; the steps are straight-line blocking code on lane
 * threads. A step either goes on (FLOW_NEXT) or has set the answer (FLOW_DONE). A call belongs to
 * one thread at a time, so nothing in it is locked.
 */
#ifndef WW_SERVICE_CALL_H
#define WW_SERVICE_CALL_H

#include <pthread.h>
#include <semaphore.h>

#include "auth/argon2.h"
#include "auth/identity.h"
#include "auth/refresh_token.h"
#include "base/json.h"
#include "base/log.h"
#include "net/limiter.h"
#include "net/metrics.h"
#include "service/census.h"
#include "service/gate.h"
#include "service/outcome.h"
#include "service/pace.h"
#include "service/refunds.h"
#include "service/relay.h"
#include "service/service.h"

struct call;
struct service_metrics;

enum flow { FLOW_NEXT, FLOW_DONE };

enum lane_id { LANE_DB, LANE_HASH, LANE_SIGN, LANES };

struct step {
    enum lane_id lane;
    /* The one of the lane: */
    enum flow (*db)(struct call *call, struct store_conn *conn);
    /* The same for one or several calls, LANE_BATCH_MAX at most, that gain by sharing a round trip.
     * Leaves each its verdict. */
    void (*db_many)(struct call **calls, unsigned n, struct store_conn *conn);
    /* What the access token is to say; an error ends the call: 503. Then it is issued, or could not
     * be, and sign_end goes on. */
    enum err (*sign_begin)(struct call *call, struct access_claims *out);
    enum flow (*sign_end)(struct call *call);
    /* Prepares the job; NULL: nothing to hash, go on. Then the hash runs, and hash_end judges. */
    enum flow (*hash_begin)(struct call *call, struct argon2_job **job);
    enum flow (*hash_end)(struct call *call);
    bool optional; /* if the lane has no room, go on without it */
};

#define STEPS_MAX 5
#define STATUSES_MAX 10

/* Bits. */
enum route_listener { ON_PUBLIC = 1, ON_OPERATIONS = 2, ON_BOTH = 3, ON_PUBLIC_IF_ASKED = 4 };

struct route {
    const char *name; /* for log lines and failure points */
    enum http_method method;
    const char *path; /* {id} stands for one segment */
    unsigned listeners;
    bool quiet; /* logged at debug level only */
    /* FLOW_DONE: answered. FLOW_NEXT: the steps follow. */
    enum flow (*begin)(struct call *call);
    struct step steps[STEPS_MAX]; /* up to the first without a function */
    /* All it can answer, up to the first 0: its series in the metrics. */
    uint16_t statuses[STATUSES_MAX];
};

extern const struct route ROUTES[];
extern const size_t ROUTE_COUNT;

/* ---- what use cases keep between steps ---- */

struct login_call {
    char email[IDENTITY_MAX + 1];
    struct password password;
    struct password_work work;
    uint8_t identity[IDENTITY_DIGEST_LEN];
    enum delivery delivery;
    struct uuid attempt_id;
    struct store_login found;
    uint64_t found_mono_ns;     /* when that was */
    int64_t opened_at;          /* the session; by the database's clock */
    char new_hash[PHC_MAX + 1]; /* "": the stored one stays */
    struct uuid session_id;
    struct refresh_token token;
};

struct register_call {
    char email[IDENTITY_MAX + 1];
    struct password password;
    struct password_work work;
    uint8_t idempotency[STORE_DIGEST_LEN];
    bool idempotent;
};

struct refresh_call {
    struct refresh_token presented;
    struct refresh_token next;
    struct store_rotation rotation;
    bool by_cookie;
    struct store_rotation_result result;
};

struct sessions_call {
    struct access_claims caller;
    struct uuid target;
};

enum limit_scope { SCOPE_NONE, SCOPE_IP, SCOPE_EMAIL, SCOPE_REFRESH, SCOPE_REGISTER, SCOPES };

enum verify { VERIFY_NONE, VERIFY_OK, VERIFY_FAIL, VERIFY_ERROR };

struct call {
    struct service *service;
    struct http_request *http;
    const struct route *route; /* NULL: no such path or method */
    unsigned step;
    bool operations; /* came in on the operations listener */
    struct uuid path_id;

    /* ---- flow.c's ---- */
    uint64_t begun_ns; /* monotonic: when the request was complete */
    struct argon2_job *hash_job;
    bool hash_place; /* admitted to the HASH lane, not pushed yet */
    bool gated;      /* set by begin: one of few at once that share gate_key */
    uint32_t gate_key;
    bool undoing; /* on its way through the DB lane for undo */
    enum flow verdict;

    /* Puts right in the database what must be, before the answer goes out. conn NULL: the database
     * is away; what has to be done is noted for later. Sets itself to NULL when that is so. */
    void (*undo)(struct call *call, struct store_conn *conn);
    bool settled; /* by a DB step: nothing is left to undo, once its transaction is through */

    /* ---- for the counters and the log line ---- */
    enum outcome outcome;
    const char *error; /* a literal: the problem's code */
    enum limit_scope limited_by;
    enum verify verify;
    uint64_t hash_ns;        /* of the first hash; 0: none was made */
    bool locked_now;         /* this attempt locked the account */
    bool replayed;           /* by a DB step: true once its transaction is through */
    int64_t replay_distance; /* generations */
    bool concluded;          /* counted and logged */
    bool scraping;           /* holds one of the places for the metrics' text */

    bool has_tenant, has_user, has_session;
    struct uuid tenant_id, user_id, session_id;
    char identity_tag[IDENTITY_TAG_LEN + 1];
    const char *fault; /* a literal or store_last_error: what went wrong inside */
    char fault_text[256];

    struct signing *signing; /* held as long as its JWK set is on its way; or NULL */
    char *access_token;      /* ACCESS_TOKEN_MAX bytes, once there is one */
    size_t access_token_len;
    union {
        struct login_call login;
        struct register_call registration;
        struct refresh_call refresh;
        struct sessions_call sessions;
    };
};

struct service {
    struct service_config config;
    struct service_metrics *metrics;
    struct lane *lanes[LANES];
    struct limiter *limiter;
    struct probe *probe;
    struct refunds *refunds;
    struct relay *relay; /* NULL: no events */
    struct census *census;
    struct sweep *sweep;
    struct pace *pace;
    uint64_t flow_factors[2]; /* random */
    struct gate *gate;
    sem_t listening;           /* posted for each hash thread once the listeners are up */
    atomic_size_t hash_memory; /* bytes of the arenas */
    unsigned hash_threads;
    uint8_t register_mac[MAC_LEN]; /* of the register token */
    atomic_bool draining, abandoned;
    pthread_mutex_t signing_lock; /* of the pointer */
    struct signing *signing;
    atomic_uint signer_restarts, faulty_signatures;
};

/* ---- handler.c: between http.h and the use cases ---- */
struct call *call_of(const struct http_request *request);

/* ---- flow.c ---- */
/* The route's begin, and if that says FLOW_NEXT the steps. */
enum http_verdict flow_start(struct call *call);
/* For a begin whose steps will hash, once the tenant is known and before it puts work into the
 * request: a place in the HASH lane. FLOW_DONE: answered 503. */
enum flow flow_take_place(struct call *call);
MUST_USE enum err flow_open(struct service *service);
/* Waits until the memory for hashing is there. */
MUST_USE enum err flow_wait_open(struct service *service);
void flow_close(struct service *service);

/* ---- between flow.c, flow_hash.c and flow_sign.c ---- */
#define LANE_CAPACITY 4096
struct call *flow_call(const struct lane_job *job);
const struct step *flow_step(const struct call *call);
/* The step has run: on to the next, or to the end. */
void flow_go_on(struct call *call, enum flow verdict);
/* The answer is set: undo what must be, then back to the network thread. */
void flow_end(struct call *call);
void flow_drop(void *arg, struct lane_job *job, enum lane_drop why);
bool flow_gone(const struct lane_job *job);
MUST_USE enum err flow_hash_open(struct service *service);
/* Lets the hash threads open, which wait until the listeners are up. May be repeated. */
void flow_hash_release(void *service);
MUST_USE enum err flow_sign_open(struct service *service);

/* ---- answer.c: each sets the whole answer ---- */
/* A JSON body that is on the heap and NUL-terminated; the answer takes it. */
void answer_json(struct call *call, unsigned status, char *body, size_t len, bool secret);
/* {"ok":true} */
void answer_ok(struct call *call);
/* problem+json; the outcome is for the log line and the counters. */
void answer_problem(struct call *call, enum outcome outcome, enum err kind, const char *error,
                    const char *message);
void answer_problem_status(struct call *call, enum outcome outcome, unsigned status,
                           const char *error, const char *message);
/* The same, with Retry-After. */
void answer_retry(struct call *call, enum outcome outcome, enum err kind, const char *error,
                  const char *message, unsigned seconds);
/* 503 "temporarily unavailable", for want of the database. what is for the operator. */
void answer_unavailable(struct call *call, const char *what);
/* The same, for want of a signature. */
void answer_unsigned(struct call *call, const char *what);
/* 500, or 503 for what the store could not do. */
void answer_fault(struct call *call, enum err e, const char *what);
/* The token pair: login and refresh. cookie: as a Set-Cookie; body: in the JSON. */
void answer_tokens(struct call *call, const char *refresh_token, bool in_cookie, bool in_body,
                   int64_t cookie_seconds);
void answer_clear_cookie(struct call *call);
/* Forgets an answer that was set, for one that turned out differently. */
void answer_reset(struct call *call);

/* ---- body.c ---- */
enum member_type { MEMBER_STRING, MEMBER_IGNORED };
struct member {
    const char *name;
    enum member_type type;
    bool required;
    const char *value; /* set by body_read; NULL if absent */
    size_t len;
};
/* Reads the JSON body; the values point into *doc, which the caller frees. FLOW_DONE: answered. */
enum flow body_read(struct call *call, struct member *members, size_t n, json_t **doc);
/* A member as UUID; FLOW_DONE: answered 422. */
enum flow body_uuid(struct call *call, const struct member *member, struct uuid *out);

/* ---- limits.c: FLOW_DONE: answered 429 ---- */
enum flow limit_address(struct call *call);
enum flow limit_login(struct call *call, const uint8_t identity[IDENTITY_DIGEST_LEN]);
enum flow limit_register(struct call *call, const uint8_t identity[IDENTITY_DIGEST_LEN]);
enum flow limit_refresh(struct call *call, const struct uuid *session_id);

/* ---- bearer.c ---- */
/* "Bearer x": x, or NULL. */
const char *bearer_token(const struct call *call);
/* FLOW_DONE: answered 401. */
enum flow bearer_require(struct call *call, struct access_claims *out);

/* ---- cors.c ---- */
/* Adds the CORS fields for a listed origin; true if it was a preflight and is answered. */
bool cors_apply(struct call *call);

/* ---- probe.c: watches the database ---- */
MUST_USE enum err probe_open(struct service *service, struct probe **out);
void probe_close(struct probe *probe);
/* Reachable and migrated. */
MUST_USE bool probe_ready(const struct probe *probe);
/* An operation has failed: look now. */
void probe_doubt(struct probe *probe);

/* ---- sweep.c: takes away what has expired ---- */
enum swept_kind {
    SWEPT_SESSIONS = STORE_SWEEP_SESSIONS,
    SWEPT_THROTTLES = STORE_SWEEP_THROTTLES,
    SWEPT_KEYS = STORE_SWEEP_KEYS,
    SWEPT_CLIENT_DATA,
    SWEPT_KINDS,
};
MUST_USE enum err sweep_open(struct service *service, struct sweep **out);
void sweep_close(struct sweep *sweep);
/* Rows that this instance has deleted, or has taken address and user agent from. */
uint64_t sweep_total(struct sweep *sweep, enum swept_kind kind);
/* As the last sweep counted, whichever instance's. */
uint64_t sweep_live_sessions(struct sweep *sweep);

/* ---- metrics.c ---- */
MUST_USE enum err metrics_open_service(struct service *service);
void metrics_close_service(struct service *service);
/* Counts a call that has come to its end. */
void metrics_count_call(const struct call *call);
/* The answer has left, and with it the text of a scrape. */
void metrics_sent(const struct call *call);

/* ---- key_news.c ---- */
/* Counts and tells what has changed; may wait for the database. For the thread that sets them. */
void key_news_tell(struct service *service, const struct keyring *before,
                   const struct keyring *after);

/* ---- note.c ---- */
/* The request's one log line. Of a flood of refusals of one kind, some. */
void note_request(const struct call *call);
/* A security event's own line, with what identifies the call. */
void note_event(const struct call *call, enum log_level level, const char *event,
                const char *message);
/* Starts such a line; the caller adds to it and ends it. False: sampled out. */
MUST_USE bool note_begin(const struct call *call, struct log_line *line, enum log_level level,
                         const char *event, const char *message);

/* ---- use cases ---- */
enum flow login_start(struct call *call);
enum flow login_load(struct call *call, struct store_conn *conn);
enum flow login_verify_begin(struct call *call, struct argon2_job **job);
enum flow login_verify_end(struct call *call);
enum flow login_rehash_begin(struct call *call, struct argon2_job **job);
enum flow login_rehash_end(struct call *call);
enum err login_sign_begin(struct call *call, struct access_claims *out);
enum flow login_sign_end(struct call *call);
enum flow login_commit(struct call *call, struct store_conn *conn);

enum flow register_start(struct call *call);
enum flow register_hash_begin(struct call *call, struct argon2_job **job);
enum flow register_hash_end(struct call *call);
enum flow register_insert(struct call *call, struct store_conn *conn);

enum flow refresh_start(struct call *call);
void refresh_rotate(struct call **calls, unsigned n, struct store_conn *conn);
enum err refresh_sign_begin(struct call *call, struct access_claims *out);
enum flow refresh_sign_end(struct call *call);
/* The token in the cookie or the body. FLOW_DONE: answered, because there is none. Otherwise
 * *judged says what it is worth (refresh_token_parse). Shared with logout. */
enum flow refresh_read_token(struct call *call, struct refresh_token *out, enum err *judged);
void answer_invalid_refresh(struct call *call);
/* The replay's own line, once it is committed. */
void refresh_note_replay(const struct call *call);

enum flow logout_start(struct call *call);
enum flow logout_end(struct call *call, struct store_conn *conn);

enum flow sessions_start(struct call *call);
enum flow sessions_list(struct call *call, struct store_conn *conn);
enum flow sessions_revoke_start(struct call *call);
enum flow sessions_revoke(struct call *call, struct store_conn *conn);
enum flow sessions_logout_all(struct call *call, struct store_conn *conn);

enum flow jwks_start(struct call *call);
enum flow metrics_start(struct call *call);
enum flow health_live(struct call *call);
enum flow health_ready(struct call *call);

#endif
