/*
 * ops.h: what a kind of database implements. Private to store/.
 *
 * store.c forwards each operation of store.h to the table of its kind; the contracts are there.
 */
#ifndef WW_STORE_OPS_H
#define WW_STORE_OPS_H

#include <stdatomic.h>

#include "store/store.h"

struct store_ops {
    const char *kind;
    bool single_writer;
    enum err (*check_url)(const char *url);
    enum err (*migrate)(struct store *store, store_migration_note *note, void *arg,
                        struct store_version *out);
    enum err (*read_version)(struct store *store, struct store_version *out);
    enum err (*conn_open)(struct store *store, struct store_conn **out);
    void (*conn_close)(struct store_conn *conn);
    enum err (*batch_begin)(struct store_conn *conn);
    enum err (*batch_end)(struct store_conn *conn);
    enum err (*probe)(struct store_conn *conn);
    enum err (*register_credential)(struct store_conn *conn, const struct store_credential *c,
                                    const uint8_t *idempotency_digest, struct uuid *user_id);
    enum err (*login_begin)(struct store_conn *conn, const struct store_login_request *request,
                            struct store_login *out);
    enum err (*login_refund)(struct store_conn *conn, const struct store_refund *refund);
    enum err (*confirm_lock)(struct store_conn *conn, const struct uuid *tenant_id,
                             const uint8_t *identity_digest, const struct uuid *attempt_id);
    enum err (*login_finish)(struct store_conn *conn, const struct store_new_session *session);
    enum err (*rotate)(struct store_conn *conn, const struct store_rotation *rotation,
                       struct store_rotation_result *out);
    /* NULL: one after the other. */
    void (*rotate_many)(struct store_conn *conn, struct store_rotating *rotations, size_t n);
    enum err (*end_session)(struct store_conn *conn, const struct uuid *session_id,
                            const struct uuid *tenant_id, const struct uuid *user_id,
                            const char *reason);
    enum err (*end_sessions)(struct store_conn *conn, const struct uuid *tenant_id,
                             const struct uuid *user_id, const char *reason, uint64_t *ended);
    enum err (*list_sessions)(struct store_conn *conn, const struct uuid *tenant_id,
                              const struct uuid *user_id, struct store_session *out, size_t max,
                              size_t *count);
    enum err (*find_user)(struct store_conn *conn, const struct store_user_name *name,
                          struct store_user *out);
    enum err (*find_lock)(struct store_conn *conn, const struct uuid *tenant_id,
                          const uint8_t *identity_digest, struct store_lock *out);
    enum err (*unlock)(struct store_conn *conn, const struct uuid *tenant_id,
                       const struct uuid *user_id, const uint8_t *identity_digest, bool *locked);
    enum err (*set_active)(struct store_conn *conn, const struct uuid *tenant_id,
                           const struct uuid *user_id, bool active, struct store_ended *out);
    enum err (*delete_user)(struct store_conn *conn, const struct uuid *tenant_id,
                            const struct uuid *user_id, const uint8_t *identity_digest,
                            uint64_t *ended);
    enum err (*revoke_session)(struct store_conn *conn, const struct uuid *session_id,
                               const char *reason, struct store_revoked *out);
    enum err (*read_hashes)(struct store_conn *conn, struct store_hash_page *page);
    enum err (*fence_sessions)(struct store_conn *conn, int64_t *not_before);
    enum err (*tell_key)(struct store_conn *conn, enum event_kind kind, const char *kid,
                         const char *state);
    enum err (*outbox_read)(struct store_conn *conn, struct store_event *out, size_t max,
                            size_t *count, struct store_backlog *backlog);
    enum err (*outbox_delete)(struct store_conn *conn, const int64_t *seqs, size_t n);
    enum err (*outbox_drop)(struct store_conn *conn, uint64_t n, uint64_t *dropped);
    enum err (*sweep_begin)(struct store_conn *conn, int64_t lease_ms,
                            struct store_sweep_turn *out);
    enum err (*sweep_keep)(struct store_conn *conn, int64_t lease_ms);
    enum err (*sweep_end)(struct store_conn *conn, int64_t pause_ms, uint64_t live_sessions);
    enum err (*sweep_step)(struct store_conn *conn, enum store_sweep what,
                           const struct store_sweep_rules *rules, struct store_sweep_place *place,
                           struct store_swept *out);
};

extern const struct store_ops STORE_SQLITE;
extern const struct store_ops STORE_POSTGRESQL;

struct store {
    const struct store_ops *ops;
    char *url; /* for SQLite the path alone */
    unsigned timeout_ms;
    unsigned events;
    atomic_bool up;
    atomic_bool damaged; /* SQLite: found corrupt; up again only after a look at all of it */
};

/* Each kind's connection starts with this. */
struct store_conn {
    struct store *store;
    uint64_t deadline_ns; /* of what comes next; 0: the store's limit from now */
    bool background;
    char trace_id[STORE_TRACE_MAX + 1];
};

/* When the operation that begins now gives up. */
uint64_t store_deadline_ns(const struct store_conn *conn);

/* A reused key within this time answers as the first did. */
#define STORE_IDEMPOTENCY_MS INT64_C(86400000)

/* Whether events of this kind are written. */
MUST_USE bool store_tells(const struct store_conn *conn, enum event_kind kind);

/* No window of failed logins and no lock is longer: the largest LOCKOUT_MINUTES. */
#define STORE_THROTTLE_MS INT64_C(86400000)

/* Keeps a message for store_last_error and returns e. */
MUST_USE enum err store_fail(enum err e, const char *what, const char *detail);

/* ---- migrations, compiled in from sql/ ---- */
struct store_migration {
    unsigned version;
    const char *name;
    const char *sql;
};
extern const struct store_migration STORE_MIGRATIONS_SQLITE[];
extern const struct store_migration STORE_MIGRATIONS_POSTGRESQL[];
extern const unsigned STORE_MIGRATION_COUNT; /* the same for both; versions are 1 to count */

#endif
