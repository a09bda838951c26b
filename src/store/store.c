#include "store/ops.h"

#include <string.h>

#include "base/clock.h"
#include "base/text.h"

static _Thread_local char last_error[256];

enum err store_fail(enum err e, const char *what, const char *detail)
{
    struct text t = text_on(last_error, sizeof last_error);
    char cut[160];
    size_t len = strlen(detail);
    while (len > 0 && detail[len - 1] == '\n') /* libpq's texts are lines */
        len--;
    text_copy(cut, sizeof cut, detail, len);
    text_put_f(&t, "%s: %s", what, cut);
    return e;
}

const char *store_last_error(void)
{
    return last_error;
}

enum err store_open(const struct store_config *config, struct store **out)
{
    static const char sqlite_scheme[] = "sqlite:";
    const char *url = config->url;
    const struct store_ops *ops = NULL;
    if (strncmp(url, sqlite_scheme, sizeof sqlite_scheme - 1) == 0) {
        ops = &STORE_SQLITE;
        url += sizeof sqlite_scheme - 1;
    } else if (strncmp(url, "postgres://", 11) == 0 || strncmp(url, "postgresql://", 13) == 0) {
        ops = &STORE_POSTGRESQL;
    }
    if (ops == NULL)
        return ERR_INVALID;
    TRY(ops->check_url(url));
    struct store *store = calloc(1, sizeof *store);
    if (store == NULL)
        return ERR_INTERNAL;
    store->ops = ops;
    store->url = strdup(url);
    store->timeout_ms = config->timeout_ms;
    store->events = config->events;
    if (store->url == NULL) {
        store_close(store);
        return ERR_INTERNAL;
    }
    *out = store;
    return OK;
}

void store_close(struct store *store)
{
    if (store == NULL)
        return;
    free(store->url);
    free(store);
}

const char *store_kind(const struct store *store)
{
    return store->ops->kind;
}

bool store_is_single_writer(const struct store *store)
{
    return store->ops->single_writer;
}

bool store_is_up(const struct store *store)
{
    return atomic_load_explicit(&store->up, memory_order_relaxed);
}

enum err store_migrate(struct store *store, store_migration_note *note, void *arg,
                       struct store_version *out)
{
    return store->ops->migrate(store, note, arg, out);
}

enum err store_read_version(struct store *store, struct store_version *out)
{
    return store->ops->read_version(store, out);
}

enum err store_conn_open(struct store *store, struct store_conn **out)
{
    return store->ops->conn_open(store, out);
}

enum err store_conn_open_background(struct store *store, struct store_conn **out)
{
    TRY(store->ops->conn_open(store, out));
    (*out)->background = true;
    return OK;
}

void store_conn_close(struct store_conn *conn)
{
    if (conn != NULL)
        conn->store->ops->conn_close(conn);
}

void store_conn_deadline(struct store_conn *conn, uint64_t mono_ns)
{
    conn->deadline_ns = mono_ns;
}

uint64_t store_deadline_ns(const struct store_conn *conn)
{
    if (conn->deadline_ns != 0)
        return conn->deadline_ns;
    return clock_mono_ns() + conn->store->timeout_ms * NS_PER_MS;
}

/* What an operation found out about the database is everyone's business at once. */
static enum err told(struct store_conn *conn, enum err e)
{
    if (e == ERR_UNAVAILABLE && !conn->background)
        atomic_store_explicit(&conn->store->up, false, memory_order_relaxed);
    return e;
}

enum err store_batch_begin(struct store_conn *conn)
{
    return told(conn, conn->store->ops->batch_begin(conn));
}

enum err store_batch_end(struct store_conn *conn)
{
    return told(conn, conn->store->ops->batch_end(conn));
}

enum err store_probe(struct store_conn *conn)
{
    enum err e = conn->store->ops->probe(conn);
    atomic_store_explicit(&conn->store->up, e == OK, memory_order_relaxed);
    return e;
}

enum err store_register(struct store_conn *conn, const struct store_credential *credential,
                        const uint8_t *idempotency_digest, struct uuid *user_id)
{
    return told(
        conn, conn->store->ops->register_credential(conn, credential, idempotency_digest, user_id));
}

enum err store_read_hashes(struct store_conn *conn, struct store_hash_page *page)
{
    return conn->store->ops->read_hashes(conn, page); /* nobody's request: it tells nobody */
}

enum err store_login_begin(struct store_conn *conn, const struct store_login_request *request,
                           struct store_login *out)
{
    return told(conn, conn->store->ops->login_begin(conn, request, out));
}

enum err store_login_refund(struct store_conn *conn, const struct store_refund *refund)
{
    return told(conn, conn->store->ops->login_refund(conn, refund));
}

enum err store_confirm_lock(struct store_conn *conn, const struct uuid *tenant_id,
                            const uint8_t identity_digest[STORE_DIGEST_LEN],
                            const struct uuid *attempt_id)
{
    return told(conn, conn->store->ops->confirm_lock(conn, tenant_id, identity_digest, attempt_id));
}

enum err store_login_finish(struct store_conn *conn, const struct store_new_session *session)
{
    return told(conn, conn->store->ops->login_finish(conn, session));
}

enum err store_rotate(struct store_conn *conn, const struct store_rotation *rotation,
                      struct store_rotation_result *out)
{
    return told(conn, conn->store->ops->rotate(conn, rotation, out));
}

static void rotate_each(struct store_conn *conn, struct store_rotating *rotations, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct store_rotating *r = &rotations[i];
        store_conn_trace(conn, r->trace_id);
        r->e = conn->store->ops->rotate(conn, r->rotation, r->result);
    }
}

void store_rotate_many(struct store_conn *conn, struct store_rotating *rotations, size_t n)
{
    if (n > 1 && conn->store->ops->rotate_many != NULL)
        conn->store->ops->rotate_many(conn, rotations, n);
    else
        rotate_each(conn, rotations, n);
    for (size_t i = 0; i < n; i++)
        rotations[i].e = told(conn, rotations[i].e);
}

enum err store_end_session(struct store_conn *conn, const struct uuid *session_id,
                           const struct uuid *tenant_id, const struct uuid *user_id,
                           const char *reason)
{
    return told(conn, conn->store->ops->end_session(conn, session_id, tenant_id, user_id, reason));
}

enum err store_end_sessions(struct store_conn *conn, const struct uuid *tenant_id,
                            const struct uuid *user_id, const char *reason, uint64_t *ended)
{
    return told(conn, conn->store->ops->end_sessions(conn, tenant_id, user_id, reason, ended));
}

enum err store_list_sessions(struct store_conn *conn, const struct uuid *tenant_id,
                             const struct uuid *user_id, struct store_session *out, size_t max,
                             size_t *count)
{
    return told(conn, conn->store->ops->list_sessions(conn, tenant_id, user_id, out, max, count));
}

enum err store_find_user(struct store_conn *conn, const struct store_user_name *name,
                         struct store_user *out)
{
    return told(conn, conn->store->ops->find_user(conn, name, out));
}

enum err store_find_lock(struct store_conn *conn, const struct uuid *tenant_id,
                         const uint8_t identity_digest[STORE_DIGEST_LEN], struct store_lock *out)
{
    return told(conn, conn->store->ops->find_lock(conn, tenant_id, identity_digest, out));
}

enum err store_unlock(struct store_conn *conn, const struct uuid *tenant_id,
                      const struct uuid *user_id, const uint8_t identity_digest[STORE_DIGEST_LEN],
                      bool *locked)
{
    return told(conn, conn->store->ops->unlock(conn, tenant_id, user_id, identity_digest, locked));
}

enum err store_set_active(struct store_conn *conn, const struct uuid *tenant_id,
                          const struct uuid *user_id, bool active, struct store_ended *out)
{
    return told(conn, conn->store->ops->set_active(conn, tenant_id, user_id, active, out));
}

enum err store_delete_user(struct store_conn *conn, const struct uuid *tenant_id,
                           const struct uuid *user_id,
                           const uint8_t identity_digest[STORE_DIGEST_LEN], uint64_t *ended)
{
    return told(conn,
                conn->store->ops->delete_user(conn, tenant_id, user_id, identity_digest, ended));
}

enum err store_revoke_session(struct store_conn *conn, const struct uuid *session_id,
                              const char *reason, struct store_revoked *out)
{
    return told(conn, conn->store->ops->revoke_session(conn, session_id, reason, out));
}

enum err store_fence_sessions(struct store_conn *conn, int64_t *not_before)
{
    return told(conn, conn->store->ops->fence_sessions(conn, not_before));
}

/* Nobody waits for a sweep, and nobody is refused because it could not begin. */
enum err store_sweep_begin(struct store_conn *conn, int64_t lease_ms, struct store_sweep_turn *out)
{
    return conn->store->ops->sweep_begin(conn, lease_ms, out);
}

enum err store_sweep_keep(struct store_conn *conn, int64_t lease_ms)
{
    return conn->store->ops->sweep_keep(conn, lease_ms);
}

enum err store_sweep_end(struct store_conn *conn, int64_t pause_ms, uint64_t live_sessions)
{
    return conn->store->ops->sweep_end(conn, pause_ms, live_sessions);
}

enum err store_sweep_step(struct store_conn *conn, enum store_sweep what,
                          const struct store_sweep_rules *rules, struct store_sweep_place *place,
                          struct store_swept *out)
{
    return conn->store->ops->sweep_step(conn, what, rules, place, out);
}
