/* postgres.h: the connection of the PostgreSQL store. Private to store/postgres*.c. */
#ifndef WW_STORE_POSTGRES_H
#define WW_STORE_POSTGRES_H

#include "store/libpq.h"
#include "store/ops.h"

enum pg_statement {
    PG_PROBE,
    PG_IDEMPOTENCY_FIND,
    PG_REGISTER,
    PG_LOGIN_BEGIN,
    PG_LOGIN_REFUND,
    PG_LOCK_CONFIRM,
    PG_LOGIN_LOCK,
    PG_LOGIN_FINISH,
    PG_LOGIN_EVICT,
    PG_ROTATE,
    PG_ROTATE_LOCK,
    PG_ROTATE_FENCED,
    PG_ROTATE_REPLAY,
    PG_ROTATE_FIND,
    PG_SESSION_END,
    PG_SESSION_END_OWN,
    PG_SESSION_END_ALL,
    PG_SESSION_LIST,
    PG_SESSION_FENCE,
    PG_SESSION_LATEST,
    PG_SESSION_DELETE_ALL,
    PG_SESSION_REVOKE,
    PG_USER_FIND,
    PG_CREDENTIAL_PAGE,
    PG_USER_SET_STATUS,
    PG_USER_DELETE,
    PG_LOCK_FIND,
    PG_LOCK_DELETE,
    PG_IDEMPOTENCY_DELETE,
    PG_OUTBOX_SCRUB,
    PG_OUTBOX_TELL_KEY,
    PG_OUTBOX_LEAD,
    PG_OUTBOX_READ,
    PG_OUTBOX_MEASURE,
    PG_OUTBOX_DELETE,
    PG_OUTBOX_DROP,
    PG_SWEEP_BEGIN,
    PG_SWEEP_KEEP,
    PG_SWEEP_END,
    PG_SWEEP_SESSIONS,
    PG_SWEEP_THROTTLES,
    PG_SWEEP_KEYS,
    PG_STATEMENTS,
};

extern const char *const PG_SQL[PG_STATEMENTS];
/* Those that write events as well, for a store that was opened with some; else NULL. Their
 * parameters are those of the plain ones, then trace id and whether the kind is wanted (1 or 0). */
extern const char *const PG_SQL_TELLING[PG_STATEMENTS];

struct pg_conn {
    struct store_conn base;
    PGconn *pg;               /* NULL: not connected */
    uint64_t next_try_ns;     /* no new attempt before */
    unsigned failed_attempts; /* in a row */
    bool leads;               /* holds the advisory lock of the relay */
};

/* One prepared statement with its parameters, all in binary form. What is put must outlive the run.
 */
#define PG_PARAMS_MAX 16
struct pg_call {
    enum pg_statement statement;
    int count;
    const char *values[PG_PARAMS_MAX];
    int lengths[PG_PARAMS_MAX];
    uint64_t numbers[PG_PARAMS_MAX]; /* in network order; values point here */
};

void pg_call(struct pg_call *call, enum pg_statement statement);
void pg_put_id(struct pg_call *call, const struct uuid *id);
void pg_put_i64(struct pg_call *call, int64_t v);
void pg_put_str(struct pg_call *call, const char *s);                  /* NULL: null */
void pg_put_bytes(struct pg_call *call, const uint8_t *p, size_t len); /* NULL: null */

/* The parameters of a telling statement for one kind of event; nothing without events. True if they
 * were put. */
bool pg_put_telling(struct pg_call *call, const struct store_conn *conn, enum event_kind kind);
/* With another trace id than the connection's; it must outlive the run. */
bool pg_put_telling_of(struct pg_call *call, const struct store_conn *conn, const char *trace_id,
                       enum event_kind kind);

/* Runs the calls in one transaction and one round trip. On OK results[i] is the answer to calls[i];
 * the caller clears them. With ERR_UNAVAILABLE the connection is given up. */
MUST_USE enum err pg_run(struct pg_conn *conn, const struct pg_call *calls, unsigned n,
                         PGresult **results);

/* Binary columns of one row. */
bool pg_is_null(const PGresult *res, int row, int column);
int64_t pg_get_i64(const PGresult *res, int row, int column);
bool pg_get_bool(const PGresult *res, int row, int column);
struct uuid pg_get_id(const PGresult *res, int row, int column);
void pg_get_str(const PGresult *res, int row, int column, char *out, size_t cap);
/* Rows changed by an UPDATE. */
uint64_t pg_changes(PGresult *res);

static inline void cleanup_result(PGresult **res)
{
    PQclear(*res);
}

/* ---- postgres_wire.c ---- */
MUST_USE enum err pg_connect(struct pg_conn *conn, uint64_t deadline_ns);
void pg_disconnect(struct pg_conn *conn);
/* How long a statement may wait for a lock that somebody else holds. */
unsigned pg_lock_timeout_ms(const struct store *store);
/* The server's notices go to the log, at debug level. */
void pg_keep_quiet(PGconn *pg);

/* ---- postgres_migrate.c ---- */
enum err pg_migrate(struct store *store, store_migration_note *note, void *arg,
                    struct store_version *out);
enum err pg_read_version(struct store *store, struct store_version *out);

/* ---- postgres_sessions.c ---- */
enum err pg_rotate(struct store_conn *base, const struct store_rotation *rotation,
                   struct store_rotation_result *out);
void pg_rotate_many(struct store_conn *base, struct store_rotating *rotations, size_t n);
enum err pg_end_session(struct store_conn *base, const struct uuid *session_id,
                        const struct uuid *tenant_id, const struct uuid *user_id,
                        const char *reason);
enum err pg_end_sessions(struct store_conn *base, const struct uuid *tenant_id,
                         const struct uuid *user_id, const char *reason, uint64_t *ended);
enum err pg_list_sessions(struct store_conn *base, const struct uuid *tenant_id,
                          const struct uuid *user_id, struct store_session *out, size_t max,
                          size_t *count);

/* ---- postgres_operator.c ---- */
enum err pg_find_user(struct store_conn *base, const struct store_user_name *name,
                      struct store_user *out);
enum err pg_find_lock(struct store_conn *base, const struct uuid *tenant_id,
                      const uint8_t *identity_digest, struct store_lock *out);
enum err pg_unlock(struct store_conn *base, const struct uuid *tenant_id,
                   const struct uuid *user_id, const uint8_t *identity_digest, bool *locked);
enum err pg_set_active(struct store_conn *base, const struct uuid *tenant_id,
                       const struct uuid *user_id, bool active, struct store_ended *out);
enum err pg_delete_user(struct store_conn *base, const struct uuid *tenant_id,
                        const struct uuid *user_id, const uint8_t *identity_digest,
                        uint64_t *ended);
enum err pg_read_hashes(struct store_conn *base, struct store_hash_page *page);
enum err pg_fence_sessions(struct store_conn *base, int64_t *not_before);
enum err pg_revoke_session(struct store_conn *base, const struct uuid *session_id,
                           const char *reason, struct store_revoked *out);

/* ---- postgres_outbox.c ---- */
enum err pg_tell_key(struct store_conn *base, enum event_kind kind, const char *kid,
                     const char *state);
enum err pg_outbox_read(struct store_conn *base, struct store_event *out, size_t max, size_t *count,
                        struct store_backlog *backlog);
enum err pg_outbox_delete(struct store_conn *base, const int64_t *seqs, size_t n);
enum err pg_outbox_drop(struct store_conn *base, uint64_t n, uint64_t *dropped);

/* ---- postgres_sweep.c ---- */
enum err pg_sweep_begin(struct store_conn *base, int64_t lease_ms, struct store_sweep_turn *out);
enum err pg_sweep_keep(struct store_conn *base, int64_t lease_ms);
enum err pg_sweep_end(struct store_conn *base, int64_t pause_ms, uint64_t live_sessions);
enum err pg_sweep_step(struct store_conn *base, enum store_sweep what,
                       const struct store_sweep_rules *rules, struct store_sweep_place *place,
                       struct store_swept *out);

#endif
