/*
 * store.h: what the service remembers. The only door to the database.
 *
 * A struct store describes a database (SQLite or PostgreSQL) and may be shared by threads. A struct
 * store_conn is one thread's connection with its prepared statements. Each operation below is one
 * transaction and, on PostgreSQL, one round trip on its usual path.
 *
 * Every operation may return ERR_UNAVAILABLE (the database is down, slow, full or locked: nothing
 * was changed, or on a lost COMMIT nobody knows; each operation is safe to repeat,
 * store_login_refund as it says), ERR_BUSY (this one met a lock or was too slow, nothing was
 * changed; others are not affected) or ERR_INTERNAL. Outputs are untouched unless it returns OK.
 * Times are Unix milliseconds by the database's clock on PostgreSQL and this machine's on SQLite.
 */
#ifndef WW_STORE_STORE_H
#define WW_STORE_STORE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/uuid.h"
#include "store/outbox.h"

#define STORE_HASH_MAX 511 /* longer stored strings are cut: no valid hash is that long */
#define STORE_SEALED_MAX 64

struct store;
struct store_conn;

struct store_config {
    const char *url;     /* sqlite:PATH, postgres://..., postgresql://... */
    unsigned timeout_ms; /* one operation's limit, and one statement's on the server */
    unsigned events;     /* EVENT_BIT of each kind that operations write; 0: none */
};

/* ERR_INVALID if it is not one of these URLs, ERR_UNAVAILABLE if what it takes to use it is not
 * installed. Does not connect. */
MUST_USE enum err store_open(const struct store_config *config, struct store **out);
void store_close(struct store *store);

/* "sqlite" or "postgresql". */
const char *store_kind(const struct store *store);

/* SQLite has one writer at a time: one thread with batches beats many. PostgreSQL takes the number
 * that is configured. */
MUST_USE bool store_is_single_writer(const struct store *store);

/* False from the moment an operation finds the database unreachable until a probe reaches it. */
MUST_USE bool store_is_up(const struct store *store);

/* ---- migrations ---- */
struct store_version {
    unsigned database; /* highest migration applied; 0 for an empty database */
    unsigned program;  /* highest that this program knows */
};

typedef void store_migration_note(void *arg, unsigned version, const char *name);

/* Brings the database to this program's version, under a lock, and tells of each step taken.
 * ERR_CONFLICT if the database is newer than the program. */
MUST_USE enum err store_migrate(struct store *store, store_migration_note *note, void *arg,
                                struct store_version *out);
MUST_USE enum err store_read_version(struct store *store, struct store_version *out);

/* Why the last operation of this thread failed, for the operator's log. Never for an answer. */
const char *store_last_error(void);

/* ---- connections ---- */

/* Cheap: connects when first used, and again after a loss, no more often than a back-off allows. */
MUST_USE enum err store_conn_open(struct store *store, struct store_conn **out);
/* For work that can be done again: on SQLite its commits do not wait for the disk, and its failures
 * do not make the database count as down. */
MUST_USE enum err store_conn_open_background(struct store *store, struct store_conn **out);
void store_conn_close(struct store_conn *conn);

/* What follows on this connection gives up at this time, connecting included, give or take 100 ms.
 * Before the first call, and with 0: each operation timeout_ms after its own start. */
void store_conn_deadline(struct store_conn *conn, uint64_t mono_ns);

/* Operations between begin and end share one transaction on a single-writer store (and one fsync);
 * elsewhere each has its own and these do nothing. If end fails, all of them failed. */
MUST_USE enum err store_batch_begin(struct store_conn *conn);
MUST_USE enum err store_batch_end(struct store_conn *conn);

/* Reaches the database, sees that it takes writes and compares versions: OK, ERR_CONFLICT (not
 * migrated, or too new). Updates store_is_up. */
MUST_USE enum err store_probe(struct store_conn *conn);

/* ---- credentials ---- */
struct store_credential {
    struct uuid tenant_id;
    struct uuid user_id;
    const char *email; /* canonical */
    const char *password_hash;
    bool disabled; /* may not log in until store_set_active */
};

/* Adds a credential. With an idempotency digest (STORE_DIGEST_LEN bytes, or NULL) that was used
 * within a day, changes nothing and gives the user id of that time. ERR_CONFLICT if tenant+email or
 * tenant+user_id exists. */
MUST_USE enum err store_register(struct store_conn *conn, const struct store_credential *credential,
                                 const uint8_t *idempotency_digest, struct uuid *user_id);

#define STORE_HASH_PAGE 256

/* Some of the stored hashes; zeroed before the first page, then each page goes on where the one
 * before ended. */
struct store_hash_page {
    struct uuid tenant_id, user_id; /* of the last one read */
    size_t count;                   /* less than STORE_HASH_PAGE: there are no more */
    char hashes[STORE_HASH_PAGE][STORE_HASH_MAX + 1];
};

/* Reads the next page of all credentials there are. */
MUST_USE enum err store_read_hashes(struct store_conn *conn, struct store_hash_page *page);

/* ---- login ---- */
struct store_login_request {
    struct uuid tenant_id;
    const char *email;
    uint8_t identity_digest[STORE_DIGEST_LEN];
    struct uuid attempt_id; /* new for each */
    unsigned threshold;     /* failures that lock */
    int64_t lock_ms;        /* how long; also the window in which failures count */
    int64_t hold_ms;        /* longer than it takes to judge the attempt: see store_login */
};

struct store_login {
    bool found; /* the four members below are set */
    struct uuid user_id;
    bool active;
    char password_hash[STORE_HASH_MAX + 1];

    bool locked;               /* refused: nothing was reserved */
    bool last_attempt;         /* this attempt, if it fails, is the one that locks */
    int64_t locked_until;      /* when locked or last_attempt */
    int64_t window_started_at; /* names the reservation, for store_login_refund */
    int64_t now;
};

/* The attempt that locks writes the event at once, held: store_confirm_lock lets it go when the
 * password was wrong, store_login_finish and store_login_refund take it back. If none of them comes
 * (a crash), the lock stays, and the event goes out after hold_ms.
 *
 * Finds the credential and reserves one attempt, counted as failed until store_login_finish clears
 * it: however many guesses run at once, no more than threshold are verified. The same statements
 * whether or not the account exists. */
MUST_USE enum err store_login_begin(struct store_conn *conn,
                                    const struct store_login_request *request,
                                    struct store_login *out);

struct store_refund {
    struct uuid tenant_id;
    uint8_t identity_digest[STORE_DIGEST_LEN];
    struct uuid attempt_id;
    int64_t window_started_at; /* of store_login_begin; 0 if nobody knows whether there is one */
    unsigned threshold;
};

/* Gives the reserved attempt back, and takes its held event back: the password was not judged, or
 * was right. ERR_NOT_FOUND if nothing is there to give back. Of a reservation that nobody knows of:
 * only if it was made, and no other has followed; once. Of one that is known: each time, so with
 * ERR_UNAVAILABLE it is not known any more. */
MUST_USE enum err store_login_refund(struct store_conn *conn, const struct store_refund *refund);

/* The password of a last_attempt was wrong: lets its held event go. ERR_NOT_FOUND if the lock is
 * gone by now (another attempt was right, or has been given back, or an operator has unlocked):
 * takes the event back. */
MUST_USE enum err store_confirm_lock(struct store_conn *conn, const struct uuid *tenant_id,
                                     const uint8_t identity_digest[STORE_DIGEST_LEN],
                                     const struct uuid *attempt_id);

struct store_new_session {
    struct uuid session_id;
    struct uuid tenant_id;
    struct uuid user_id;
    uint8_t token_digest[STORE_DIGEST_LEN];
    uint8_t identity_digest[STORE_DIGEST_LEN]; /* whose failures are forgotten */
    const char *client_ip;
    const char *user_agent;
    int64_t opened_at; /* by the database's clock; the auth_time of its tokens */
    int64_t idle_ms;
    int64_t absolute_ms;
    unsigned max_sessions;
    const char *old_hash;          /* with new_hash: replaced if it is still this one */
    const char *new_hash;          /* NULL: leave the hash alone */
    const struct uuid *attempt_id; /* of a last_attempt: its held event is taken back; else NULL */
};

/* Opens the session, ends the user's oldest beyond max_sessions, clears the failures, stores the
 * new hash. ERR_FORBIDDEN if the account is not active any more. */
MUST_USE enum err store_login_finish(struct store_conn *conn,
                                     const struct store_new_session *session);

/* ---- sessions ---- */
struct store_rotation {
    struct uuid session_id;
    uint32_t generation; /* of the token presented */
    uint8_t token_digest[STORE_DIGEST_LEN];
    uint8_t next_digest[STORE_DIGEST_LEN];
    uint8_t sealed[STORE_SEALED_MAX]; /* the successor */
    size_t sealed_len;
    const char *client_ip;
    const char *user_agent;
    int64_t idle_ms;
    int64_t leeway_ms;
};

enum store_rotated {
    STORE_ROTATED,  /* the successor is now the session's token */
    STORE_RETRIED,  /* was rotated within the leeway: sealed holds the successor of that time */
    STORE_REPLAYED, /* was spent before: the session has just been ended */
    STORE_EXPIRED,
    STORE_REVOKED, /* or the account is not active */
    STORE_UNKNOWN, /* no such session, or not a token of its chain */
};

struct store_session {
    struct uuid id;
    struct uuid tenant_id;
    struct uuid user_id;
    uint32_t generation;
    int64_t opened_at;
    int64_t rotated_at; /* last use */
    int64_t idle_expires_at;
    int64_t absolute_expires_at;
    char
        client_ip[STORE_IP_MAX + 1]; /* of the last use; of the use before on a rotation's answer */
    char user_agent[STORE_AGENT_MAX + 1];
};

struct store_rotation_result {
    enum store_rotated outcome;
    struct store_session session; /* set unless UNKNOWN */
    uint8_t sealed[STORE_SEALED_MAX];
    size_t sealed_len; /* RETRIED */
    int64_t now;
};

/* Rotation, retry and replay (docs/architecture.md, "Refresh tokens"): of any number of
 * simultaneous uses of one token, exactly one gets ROTATED. */
MUST_USE enum err store_rotate(struct store_conn *conn, const struct store_rotation *rotation,
                               struct store_rotation_result *out);

/* One of several rotations. */
struct store_rotating {
    const struct store_rotation *rotation;
    const char *trace_id;
    enum err e;
    struct store_rotation_result *result; /* if e is OK */
};

/* Several at once, 1 to STORE_ROTATIONS_MAX of them, the same session more than once among them
 * too: what store_rotate would have done with each, in fewer round trips and commits. */
#define STORE_ROTATIONS_MAX 64
void store_rotate_many(struct store_conn *conn, struct store_rotating *rotations, size_t n);

/* Ends a session if it is live. ERR_NOT_FOUND if it is not. With an owner (both ids or both NULL),
 * only that user's. */
MUST_USE enum err store_end_session(struct store_conn *conn, const struct uuid *session_id,
                                    const struct uuid *tenant_id, const struct uuid *user_id,
                                    const char *reason);

/* Ends all live sessions of the user. */
MUST_USE enum err store_end_sessions(struct store_conn *conn, const struct uuid *tenant_id,
                                     const struct uuid *user_id, const char *reason,
                                     uint64_t *ended);

/* The user's live sessions, newest first, at most max of them. */
MUST_USE enum err store_list_sessions(struct store_conn *conn, const struct uuid *tenant_id,
                                      const struct uuid *user_id, struct store_session *out,
                                      size_t max, size_t *count);

/* ---- what operators do; ERR_NOT_FOUND if there is no such user or session ---- */
struct store_user_name {
    struct uuid tenant_id;
    const struct uuid *user_id; /* this or the other; NULL if not known */
    const char *email;          /* canonical */
};

struct store_user {
    struct uuid tenant_id;
    struct uuid user_id;
    char email[STORE_EMAIL_MAX + 1];
    char password_hash[STORE_HASH_MAX + 1];
    bool active;
    int64_t created_at;
    int64_t updated_at;
    uint64_t live_sessions;
};

MUST_USE enum err store_find_user(struct store_conn *conn, const struct store_user_name *name,
                                  struct store_user *out);

struct store_lock {
    int64_t failures;          /* 0: none are remembered; the others are then 0 too */
    int64_t window_started_at; /* of the first of them */
    int64_t locked_until;      /* 0 if they are too few; may lie in the past */
    int64_t now;
};

/* The failed logins of an identity, whether or not such an account exists. */
MUST_USE enum err store_find_lock(struct store_conn *conn, const struct uuid *tenant_id,
                                  const uint8_t identity_digest[STORE_DIGEST_LEN],
                                  struct store_lock *out);

/* Forgets them. *locked tells whether they locked. user_id is whose identity it is. */
MUST_USE enum err store_unlock(struct store_conn *conn, const struct uuid *tenant_id,
                               const struct uuid *user_id,
                               const uint8_t identity_digest[STORE_DIGEST_LEN], bool *locked);

struct store_ended {
    bool changed;   /* false: it was so before */
    uint64_t ended; /* live sessions that are no more */
};

/* Lets the user log in, or not: then all sessions end with the reason account_disabled, and no
 * login that is under way opens another. */
MUST_USE enum err store_set_active(struct store_conn *conn, const struct uuid *tenant_id,
                                   const struct uuid *user_id, bool active,
                                   struct store_ended *out);

/* Removes credential, sessions, failed logins and idempotency keys, and takes address and clients
 * out of events that have not been sent. No login that is under way leaves anything behind. */
MUST_USE enum err store_delete_user(struct store_conn *conn, const struct uuid *tenant_id,
                                    const struct uuid *user_id,
                                    const uint8_t identity_digest[STORE_DIGEST_LEN],
                                    uint64_t *ended);

struct store_revoked {
    struct uuid tenant_id;
    struct uuid user_id;
    bool changed; /* false: it had ended before */
};

/* Ends one session, whoever's it is. */
MUST_USE enum err store_revoke_session(struct store_conn *conn, const struct uuid *session_id,
                                       const char *reason, struct store_revoked *out);

/* Ends every session there is, of everybody: none that was opened up to now, also by a clock that
 * was ahead, is refreshed, listed or counted from here on, on any instance, however many there are.
 * A row learns of it, with the reason "operator", when its session is next presented. Gives the
 * time, which never goes back. If it fails, those opened by such a clock may be left. */
MUST_USE enum err store_fence_sessions(struct store_conn *conn, int64_t *not_before);

/* ---- the sweep: what nobody needs any more goes, in small steps ---- */
enum store_sweep {
    STORE_SWEEP_SESSIONS,  /* ended long ago; and addresses and user agents of those not used lately
                            */
    STORE_SWEEP_THROTTLES, /* failed logins whose window and lock are over */
    STORE_SWEEP_KEYS,      /* idempotency keys that hold no more */
    STORE_SWEEPS,
};

/* No pause between sweeps is longer. */
#define STORE_SWEEP_PAUSE_MAX_MS INT64_C(86400000)

struct store_sweep_turn {
    bool ours;
    uint64_t live_sessions; /* as the last sweep counted them; 0 before the first */
    int64_t now;
};

/* Of all instances one sweeps at a time: the first that asks once a sweep is due. The turn is its
 * own for lease_ms, and for as long again with each keep; that of an instance that died lapses.
 * Nothing bad happens if two should sweep at once. */
MUST_USE enum err store_sweep_begin(struct store_conn *conn, int64_t lease_ms,
                                    struct store_sweep_turn *out);
MUST_USE enum err store_sweep_keep(struct store_conn *conn, int64_t lease_ms);
/* The next is due after the pause. */
MUST_USE enum err store_sweep_end(struct store_conn *conn, int64_t pause_ms,
                                  uint64_t live_sessions);

struct store_sweep_rules {
    int64_t now;            /* of the turn, for the whole of it: its clock has been looked at */
    int64_t session_ms;     /* how long an ended session's row stays */
    int64_t client_data_ms; /* how long after its last use a session keeps address and user agent */
};

/* How far a table has been walked; zero at its beginning. */
struct store_sweep_place {
    bool end;
    uint32_t page;                                         /* PostgreSQL */
    uint8_t key[STORE_DIGEST_LEN], key2[STORE_DIGEST_LEN]; /* SQLite */
    size_t key_len, key2_len;
};

struct store_swept {
    uint64_t deleted; /* rows */
    uint64_t erased;  /* rows that lost address and user agent */
    uint64_t live;    /* sessions met that are live */
};

/* Walks on by some hundred rows, in one short transaction, and moves the place on. */
MUST_USE enum err store_sweep_step(struct store_conn *conn, enum store_sweep what,
                                   const struct store_sweep_rules *rules,
                                   struct store_sweep_place *place, struct store_swept *out);

#endif
