/* sqlite.h: the connection of the SQLite store. Private to store/sqlite*.c. */
#ifndef WW_STORE_SQLITE_H
#define WW_STORE_SQLITE_H

#include <sqlite3.h>

#include "store/ops.h"

enum sqlite_statement {
    SQ_BEGIN,
    SQ_COMMIT,
    SQ_ROLLBACK,
    SQ_IDEMPOTENCY_FIND,
    SQ_IDEMPOTENCY_PUT,
    SQ_CREDENTIAL_PUT,
    SQ_CREDENTIAL_BY_EMAIL,
    SQ_CREDENTIAL_IS_ACTIVE,
    SQ_CREDENTIAL_PAGE,
    SQ_CREDENTIAL_REHASH,
    SQ_THROTTLE_FIND,
    SQ_THROTTLE_RESERVE,
    SQ_THROTTLE_REFUND,
    SQ_THROTTLE_LOCKED_BY,
    SQ_THROTTLE_CLEAR,
    SQ_SESSION_PUT,
    SQ_SESSION_EVICT,
    SQ_SESSION_FIND,
    SQ_SESSION_ROTATE,
    SQ_SESSION_END,
    SQ_SESSION_END_OWN,
    SQ_SESSION_END_ALL,
    SQ_SESSION_LIST,
    SQ_SESSION_FENCE,
    SQ_SESSION_LATEST,
    SQ_SESSION_DELETE_ALL,
    SQ_SESSION_OWNER,
    SQ_USER_FIND,
    SQ_USER_SET_STATUS,
    SQ_USER_EXISTS,
    SQ_USER_DELETE,
    SQ_IDEMPOTENCY_DELETE,
    SQ_OUTBOX_PUT,
    SQ_OUTBOX_TAKE_BACK,
    SQ_OUTBOX_TAKE_BACK_LOCK,
    SQ_OUTBOX_CLAIM_KEY,
    SQ_OUTBOX_RELEASE,
    SQ_OUTBOX_SCRUB,
    SQ_OUTBOX_READ,
    SQ_OUTBOX_MEASURE,
    SQ_OUTBOX_DELETE,
    SQ_OUTBOX_DROP,
    SQ_SWEEP_CLAIM,
    SQ_SWEEP_LIVE,
    SQ_SETTING_SET,
    SQ_STATEMENTS,
};

extern const char *const SQ_SQL[SQ_STATEMENTS];

struct sqlite_conn {
    struct store_conn base;
    sqlite3 *db;
    sqlite3_stmt *statements[SQ_STATEMENTS];
    bool in_batch;
    uint64_t next_check_ns; /* of a damaged file */
    bool broken; /* something failed inside the transaction: it can only be rolled back */
};

/* Connects if it is not; a read without a transaction of its own begins with this. After a fault
 * sqlite_disconnect: the file may have been replaced or healed. */
MUST_USE enum err sqlite_ready(struct sqlite_conn *conn);
void sqlite_disconnect(struct sqlite_conn *conn);

/* Opens the file; create makes it. */
MUST_USE enum err sqlite_connect(struct store *store, bool create, sqlite3 **out);

/* The kind of an SQLite result code, with the message kept for the log. */
MUST_USE enum err sqlite_failure(sqlite3 *db, int rc, const char *what);

/* One transaction: begin, the operation, and its end with the outcome so far. Inside a batch the
 * batch's transaction is the one. */
MUST_USE enum err sqlite_begin(struct sqlite_conn *conn);
MUST_USE enum err sqlite_end(struct sqlite_conn *conn, enum err e);

/* A prepared statement ready for binding; NULL if it cannot be prepared. */
sqlite3_stmt *sqlite_use(struct sqlite_conn *conn, enum sqlite_statement which);

/* Runs to the next row. *row tells whether there is one; after the last the statement is reset. */
MUST_USE enum err sqlite_step(struct sqlite_conn *conn, sqlite3_stmt *st, bool *row);

/* Runs a statement that gives no rows; *changes may be NULL. */
MUST_USE enum err sqlite_run(struct sqlite_conn *conn, sqlite3_stmt *st, int64_t *changes);

/* ---- sqlite_login.c ---- */
enum err sqlite_register(struct store_conn *base, const struct store_credential *c,
                         const uint8_t *idempotency_digest, struct uuid *user_id);
enum err sqlite_login_begin(struct store_conn *base, const struct store_login_request *request,
                            struct store_login *out);
enum err sqlite_login_refund(struct store_conn *base, const struct store_refund *refund);
enum err sqlite_confirm_lock(struct store_conn *base, const struct uuid *tenant_id,
                             const uint8_t *identity_digest, const struct uuid *attempt_id);
enum err sqlite_login_finish(struct store_conn *base, const struct store_new_session *session);

/* ---- sqlite_sessions.c ---- */
enum err sqlite_rotate(struct store_conn *base, const struct store_rotation *rotation,
                       struct store_rotation_result *out);
enum err sqlite_end_session(struct store_conn *base, const struct uuid *session_id,
                            const struct uuid *tenant_id, const struct uuid *user_id,
                            const char *reason);
enum err sqlite_end_sessions(struct store_conn *base, const struct uuid *tenant_id,
                             const struct uuid *user_id, const char *reason, uint64_t *ended);
enum err sqlite_list_sessions(struct store_conn *base, const struct uuid *tenant_id,
                              const struct uuid *user_id, struct store_session *out, size_t max,
                              size_t *count);

/* Inside a transaction; *ended counts those that were live. */
MUST_USE enum err sqlite_end_all(struct sqlite_conn *conn, const struct uuid *tenant_id,
                                 const struct uuid *user_id, const char *reason, uint64_t *ended);

/* ---- sqlite_operator.c ---- */
enum err sqlite_find_user(struct store_conn *base, const struct store_user_name *name,
                          struct store_user *out);
enum err sqlite_find_lock(struct store_conn *base, const struct uuid *tenant_id,
                          const uint8_t *identity_digest, struct store_lock *out);
enum err sqlite_unlock(struct store_conn *base, const struct uuid *tenant_id,
                       const struct uuid *user_id, const uint8_t *identity_digest, bool *locked);
enum err sqlite_set_active(struct store_conn *base, const struct uuid *tenant_id,
                           const struct uuid *user_id, bool active, struct store_ended *out);
enum err sqlite_delete_user(struct store_conn *base, const struct uuid *tenant_id,
                            const struct uuid *user_id, const uint8_t *identity_digest,
                            uint64_t *ended);
enum err sqlite_read_hashes(struct store_conn *base, struct store_hash_page *page);
enum err sqlite_fence_sessions(struct store_conn *base, int64_t *not_before);
enum err sqlite_revoke_session(struct store_conn *base, const struct uuid *session_id,
                               const char *reason, struct store_revoked *out);

/* ---- sqlite_outbox.c ---- */

/* What an event says; NULL and 0 are left out. */
struct sqlite_told {
    enum event_kind kind;
    int64_t occurred_at, held_until;
    const struct uuid *tenant_id, *user_id, *session_id, *attempt_id;
    const uint8_t *identity;
    const char *label, *detail;
    int64_t number, age_ms;
    const char *client_ip, *user_agent, *previous_ip, *previous_user_agent;
};

/* Writes it, inside a transaction, if its kind is wanted. */
MUST_USE enum err sqlite_tell(struct sqlite_conn *conn, const struct sqlite_told *told);
/* Removes the attempt's held event, inside a transaction. NULL: there is none. */
MUST_USE enum err sqlite_take_back(struct sqlite_conn *conn, const struct uuid *attempt_id);
/* Lets it go, inside a transaction. */
MUST_USE enum err sqlite_release(struct sqlite_conn *conn, const struct uuid *attempt_id);

/* Ends the session if it is live and tells so: told has the kind, the time and the reason. With an
 * owner (both ids or both NULL), only that user's. In sqlite_sessions.c. */
MUST_USE enum err sqlite_end_one(struct sqlite_conn *conn, const struct uuid *session_id,
                                 const struct uuid *tenant_id, const struct uuid *user_id,
                                 const struct sqlite_told *told, bool *ended);

enum err sqlite_tell_key(struct store_conn *base, enum event_kind kind, const char *kid,
                         const char *state);
enum err sqlite_outbox_read(struct store_conn *base, struct store_event *out, size_t max,
                            size_t *count, struct store_backlog *backlog);
enum err sqlite_outbox_delete(struct store_conn *base, const int64_t *seqs, size_t n);
enum err sqlite_outbox_drop(struct store_conn *base, uint64_t n, uint64_t *dropped);

/* ---- sqlite_sweep.c ---- */
enum err sqlite_sweep_begin(struct store_conn *base, int64_t lease_ms,
                            struct store_sweep_turn *out);
enum err sqlite_sweep_keep(struct store_conn *base, int64_t lease_ms);
enum err sqlite_sweep_end(struct store_conn *base, int64_t pause_ms, uint64_t live_sessions);
enum err sqlite_sweep_step(struct store_conn *base, enum store_sweep what,
                           const struct store_sweep_rules *rules, struct store_sweep_place *place,
                           struct store_swept *out);

/* ---- binding and reading; columns and parameters count as SQLite counts them ---- */
static inline void sqlite_bind_id(sqlite3_stmt *st, int at, const struct uuid *id)
{
    sqlite3_bind_blob(st, at, id->b, sizeof id->b, SQLITE_STATIC);
}

static inline void sqlite_bind_digest(sqlite3_stmt *st, int at, const uint8_t *digest)
{
    sqlite3_bind_blob(st, at, digest, STORE_DIGEST_LEN, SQLITE_STATIC);
}

static inline void sqlite_bind_str(sqlite3_stmt *st, int at, const char *s)
{
    sqlite3_bind_text(st, at, s, -1, SQLITE_STATIC); /* NULL: null */
}

struct uuid sqlite_column_id(sqlite3_stmt *st, int at);
void sqlite_column_str(sqlite3_stmt *st, int at, char *out, size_t cap);

#endif
