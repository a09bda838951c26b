/*
 * sqlite.c: connection, transactions and migrations of the SQLite store. WAL with synchronous=FULL:
 * what was answered survives a power cut. secure_delete: what was deleted is overwritten, but for
 * copies that a page split may have left in unused space. The operations are in sqlite_login.c,
 * sqlite_sessions.c, sqlite_operator.c and sqlite_outbox.c.
 */
#include "store/sqlite.h"

#include <string.h>

#include "base/clock.h"
#include "base/text.h"

/* Between two looks at all of a damaged file. */
#define CHECK_PAUSE_NS (5 * NS_PER_SECOND)

#define SETUP_PAUSE_NS (2 * NS_PER_MS)

enum err sqlite_failure(sqlite3 *db, int rc, const char *what)
{
    const char *detail = db != NULL ? sqlite3_errmsg(db) : sqlite3_errstr(rc);
    switch (rc & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
    case SQLITE_FULL:
    case SQLITE_IOERR:
    case SQLITE_READONLY:
    case SQLITE_CANTOPEN:
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
    case SQLITE_PERM:
    case SQLITE_PROTOCOL:
    case SQLITE_NOMEM:
        return store_fail(ERR_UNAVAILABLE, what, detail);
    default:
        return store_fail(ERR_INTERNAL, what, detail);
    }
}

static bool is_damage(int rc)
{
    return (rc & 0xff) == SQLITE_CORRUPT || (rc & 0xff) == SQLITE_NOTADB;
}

/* When several make a new file into one with a WAL at the same moment, SQLite tells some of them
 * that it is busy without having waited: they would wait for each other. */
static int set_up(sqlite3 *db, unsigned timeout_ms)
{
    static const char setup[] = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;"
                                "PRAGMA secure_delete = ON;"
                                /* No files but the database's own: there may be no others. */
                                "PRAGMA temp_store = MEMORY;"
                                "PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON;";
    uint64_t end = clock_mono_ns() + timeout_ms * NS_PER_MS, now;
    int rc = SQLITE_BUSY;
    while (rc == SQLITE_BUSY && (now = clock_mono_ns()) < end) {
        sqlite3_busy_timeout(db, (int)((end - now) / NS_PER_MS));
        rc = sqlite3_exec(db, setup, NULL, NULL, NULL);
        if (rc == SQLITE_BUSY)
            clock_sleep_ns(SETUP_PAUSE_NS);
    }
    return rc == SQLITE_OK ? sqlite3_busy_timeout(db, (int)timeout_ms) : rc;
}

enum err sqlite_connect(struct store *store, bool create, sqlite3 **out)
{
    sqlite3 *db = NULL;
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | (create ? SQLITE_OPEN_CREATE : 0);
    int rc = sqlite3_open_v2(store->url, &db, flags, NULL);
    if (rc == SQLITE_OK)
        rc = set_up(db, store->timeout_ms);
    if (rc != SQLITE_OK) {
        enum err e = sqlite_failure(db, rc, "cannot open the database");
        if (is_damage(rc))
            atomic_store(&store->damaged, true);
        sqlite3_close(db);
        return e == ERR_INTERNAL ? ERR_UNAVAILABLE : e;
    }
    *out = db;
    return OK;
}

/* ":memory:" would be another database, and an empty one, for each connection. */
static enum err check_url(const char *path)
{
    return path[0] != '\0' && strcmp(path, ":memory:") != 0 ? OK : ERR_INVALID;
}

static enum err conn_open(struct store *store, struct store_conn **out)
{
    struct sqlite_conn *conn = calloc(1, sizeof *conn);
    if (conn == NULL)
        return ERR_INTERNAL;
    conn->base.store = store;
    *out = &conn->base;
    return OK;
}

void sqlite_disconnect(struct sqlite_conn *conn)
{
    for (unsigned i = 0; i < SQ_STATEMENTS; i++) {
        sqlite3_finalize(conn->statements[i]);
        conn->statements[i] = NULL;
    }
    sqlite3_close(conn->db);
    conn->db = NULL;
}

static void conn_close(struct store_conn *base)
{
    struct sqlite_conn *conn = (struct sqlite_conn *)base;
    sqlite_disconnect(conn);
    free(conn);
}

sqlite3_stmt *sqlite_use(struct sqlite_conn *conn, enum sqlite_statement which)
{
    sqlite3_stmt **st = &conn->statements[which];
    if (*st == NULL)
        (void)sqlite3_prepare_v3(conn->db, SQ_SQL[which], -1, SQLITE_PREPARE_PERSISTENT, st, NULL);
    return *st;
}

enum err sqlite_step(struct sqlite_conn *conn, sqlite3_stmt *st, bool *row)
{
    int rc = st != NULL ? sqlite3_step(st) : sqlite3_errcode(conn->db);
    if (is_damage(rc))
        atomic_store(&conn->base.store->damaged, true);
    if (st == NULL)
        return sqlite_failure(conn->db, rc, "sqlite");
    if (rc == SQLITE_ROW) {
        *row = true;
        return OK;
    }
    enum err e = rc == SQLITE_DONE ? OK : sqlite_failure(conn->db, rc, "sqlite");
    sqlite3_reset(st);
    sqlite3_clear_bindings(st);
    if (e == OK)
        *row = false;
    return e;
}

enum err sqlite_run(struct sqlite_conn *conn, sqlite3_stmt *st, int64_t *changes)
{
    bool row = false;
    TRY(sqlite_step(conn, st, &row));
    if (changes != NULL)
        *changes = sqlite3_changes64(conn->db);
    return OK;
}

/* How long to wait for whoever else holds the file. */
static void set_patience(const struct sqlite_conn *conn, uint64_t deadline_ns)
{
    uint64_t now = clock_mono_ns();
    uint64_t ms = deadline_ns > now ? (deadline_ns - now) / NS_PER_MS : 0;
    sqlite3_busy_timeout(conn->db, (int)ms);
}

enum err sqlite_ready(struct sqlite_conn *conn)
{
    if (conn->db != NULL)
        return OK;
    TRY(sqlite_connect(conn->base.store, false, &conn->db));
    if (!conn->base.background)
        return OK;
    int rc = sqlite3_exec(conn->db, "PRAGMA synchronous = NORMAL", NULL, NULL, NULL);
    return rc == SQLITE_OK ? OK : sqlite_failure(conn->db, rc, "cannot open the database");
}

static enum err start(struct sqlite_conn *conn)
{
    uint64_t deadline = store_deadline_ns(&conn->base);
    TRY(sqlite_ready(conn));
    set_patience(conn, deadline);
    conn->broken = false;
    enum err e = sqlite_run(conn, sqlite_use(conn, SQ_BEGIN), NULL);
    if (e != OK)
        sqlite_disconnect(
            conn); /* begin anew next time: the file may have been replaced or healed */
    return e;
}

static enum err finish(struct sqlite_conn *conn)
{
    enum err e = ERR_UNAVAILABLE;
    if (!conn->broken)
        e = sqlite_run(conn, sqlite_use(conn, SQ_COMMIT), NULL);
    if (e != OK) {
        /* Closing rolls back whatever is still open and forgets what a failed COMMIT left behind.
         */
        sqlite_disconnect(conn);
        return ERR_UNAVAILABLE;
    }
    return OK;
}

enum err sqlite_begin(struct sqlite_conn *conn)
{
    if (!conn->in_batch)
        return start(conn);
    return conn->broken ? ERR_UNAVAILABLE : OK;
}

enum err sqlite_end(struct sqlite_conn *conn, enum err e)
{
    /* A fault may have left half an operation behind, or have rolled all of it back. */
    if (e == ERR_UNAVAILABLE || e == ERR_INTERNAL)
        conn->broken = true;
    if (conn->in_batch)
        return e;
    enum err end = finish(conn);
    return e != OK ? e : end;
}

static enum err batch_begin(struct store_conn *base)
{
    struct sqlite_conn *conn = (struct sqlite_conn *)base;
    TRY(start(conn));
    conn->in_batch = true;
    return OK;
}

static enum err batch_end(struct store_conn *base)
{
    struct sqlite_conn *conn = (struct sqlite_conn *)base;
    conn->in_batch = false;
    return finish(conn);
}

struct uuid sqlite_column_id(sqlite3_stmt *st, int at)
{
    struct uuid id = {{0}};
    if (sqlite3_column_bytes(st, at) == (int)sizeof id.b)
        memcpy(id.b, sqlite3_column_blob(st, at), sizeof id.b);
    return id;
}

void sqlite_column_str(sqlite3_stmt *st, int at, char *out, size_t cap)
{
    const unsigned char *s = sqlite3_column_text(st, at);
    text_copy(out, cap, s != NULL ? (const char *)s : "", (size_t)sqlite3_column_bytes(st, at));
}

/* ---- migrations ---- */

static enum err exec(sqlite3 *db, const char *sql)
{
    int rc = sqlite3_exec(db, sql, NULL, NULL, NULL);
    return rc == SQLITE_OK ? OK : sqlite_failure(db, rc, "sqlite");
}

static enum err query_version(sqlite3 *db, unsigned *out)
{
    static const char sql[] = "SELECT coalesce(max(version), 0) FROM migrations";
    sqlite3_stmt *st = NULL;
    int rc = sqlite3_prepare_v2(db, sql, -1, &st, NULL);
    if (rc == SQLITE_ERROR && strstr(sqlite3_errmsg(db), "no such table") != NULL) {
        *out = 0;
        return OK;
    }
    if (rc == SQLITE_OK)
        rc = sqlite3_step(st);
    enum err e = rc == SQLITE_ROW ? OK : sqlite_failure(db, rc, "cannot read the version");
    if (e == OK)
        *out = (unsigned)sqlite3_column_int(st, 0);
    sqlite3_finalize(st);
    return e;
}

static enum err record(sqlite3 *db, const struct store_migration *m)
{
    sqlite3_stmt *st = NULL;
    int rc = sqlite3_prepare_v2(db, "INSERT INTO migrations VALUES (?1, ?2, ?3)", -1, &st, NULL);
    if (rc == SQLITE_OK) {
        sqlite3_bind_int64(st, 1, m->version);
        sqlite_bind_str(st, 2, m->name);
        sqlite3_bind_int64(st, 3, clock_unix_ms());
        rc = sqlite3_step(st);
    }
    sqlite3_finalize(st);
    return rc == SQLITE_DONE ? OK : sqlite_failure(db, rc, "migration");
}

static enum err apply_all(sqlite3 *db, store_migration_note *note, void *arg,
                          struct store_version *out)
{
    static const char table[] =
        "CREATE TABLE IF NOT EXISTS migrations (version INTEGER PRIMARY KEY,"
        " name TEXT NOT NULL, applied_at INTEGER NOT NULL) STRICT";
    unsigned version = 0;
    TRY(exec(db, table));
    TRY(query_version(db, &version));
    if (version > STORE_MIGRATION_COUNT)
        return ERR_CONFLICT;
    for (unsigned v = version; v < STORE_MIGRATION_COUNT; v++) {
        const struct store_migration *m = &STORE_MIGRATIONS_SQLITE[v];
        TRY(exec(db, m->sql));
        TRY(record(db, m));
        note(arg, m->version, m->name);
    }
    *out = (struct store_version){STORE_MIGRATION_COUNT, STORE_MIGRATION_COUNT};
    return OK;
}

static enum err migrate(struct store *store, store_migration_note *note, void *arg,
                        struct store_version *out)
{
    sqlite3 *db = NULL;
    TRY(sqlite_connect(store, true, &db));
    enum err e = exec(db, "BEGIN EXCLUSIVE");
    if (e == OK)
        e = apply_all(db, note, arg, out);
    if (e == OK)
        e = exec(db, "COMMIT");
    sqlite3_close(db); /* rolls back what is not committed */
    return e;
}

static enum err read_version(struct store *store, struct store_version *out)
{
    sqlite3 *db = NULL;
    struct store_version v = {0, STORE_MIGRATION_COUNT};
    TRY(sqlite_connect(store, false, &db));
    enum err e = query_version(db, &v.database);
    sqlite3_close(db);
    if (e == OK)
        *out = v;
    return e;
}

/* After damage has been met, all of the file is looked at before it counts as sound again. By path:
 * it may have been replaced. */
static enum err check_damage(struct sqlite_conn *conn)
{
    static const char advice[] = "the database file is damaged: stop the service, restore a backup";
    sqlite3_stmt *st = NULL;
    char verdict[8] = "";
    if (clock_mono_ns() < conn->next_check_ns)
        return store_fail(ERR_UNAVAILABLE, "sqlite", advice);
    conn->next_check_ns = clock_mono_ns() + CHECK_PAUSE_NS;
    sqlite_disconnect(conn);
    TRY(sqlite_ready(conn));
    int rc = sqlite3_prepare_v2(conn->db, "PRAGMA quick_check(1)", -1, &st, NULL);
    if (rc == SQLITE_OK && sqlite3_step(st) == SQLITE_ROW)
        sqlite_column_str(st, 0, verdict, sizeof verdict);
    sqlite3_finalize(st);
    if (strcmp(verdict, "ok") != 0)
        return store_fail(ERR_UNAVAILABLE, "sqlite", advice);
    atomic_store(&conn->base.store->damaged, false);
    return OK;
}

/* A transaction as the operations use one, so that a lock or a read-only file shows. After a
 * failure it also writes (its first page, unchanged), so that a disk that is still full shows too.
 */
static enum err look(struct sqlite_conn *conn, unsigned *version)
{
    if (!store_is_up(conn->base.store))
        TRY(exec(conn->db, "PRAGMA user_version = 0"));
    return query_version(conn->db, version);
}

static enum err probe(struct store_conn *base)
{
    struct sqlite_conn *conn = (struct sqlite_conn *)base;
    unsigned version = 0;
    if (atomic_load(&conn->base.store->damaged))
        TRY(check_damage(conn));
    TRY(start(conn));
    enum err e = look(conn, &version);
    if (e != OK)
        conn->broken = true;
    enum err end = finish(conn);
    if (e != OK || end != OK)
        return e != OK ? e : end;
    return version == STORE_MIGRATION_COUNT ? OK : ERR_CONFLICT;
}

const struct store_ops STORE_SQLITE = {
    .kind = "sqlite",
    .single_writer = true,
    .check_url = check_url,
    .migrate = migrate,
    .read_version = read_version,
    .conn_open = conn_open,
    .conn_close = conn_close,
    .batch_begin = batch_begin,
    .batch_end = batch_end,
    .probe = probe,
    .register_credential = sqlite_register,
    .login_begin = sqlite_login_begin,
    .login_refund = sqlite_login_refund,
    .confirm_lock = sqlite_confirm_lock,
    .login_finish = sqlite_login_finish,
    .rotate = sqlite_rotate,
    .end_session = sqlite_end_session,
    .end_sessions = sqlite_end_sessions,
    .list_sessions = sqlite_list_sessions,
    .find_user = sqlite_find_user,
    .find_lock = sqlite_find_lock,
    .unlock = sqlite_unlock,
    .set_active = sqlite_set_active,
    .delete_user = sqlite_delete_user,
    .revoke_session = sqlite_revoke_session,
    .read_hashes = sqlite_read_hashes,
    .fence_sessions = sqlite_fence_sessions,
    .tell_key = sqlite_tell_key,
    .outbox_read = sqlite_outbox_read,
    .outbox_delete = sqlite_outbox_delete,
    .outbox_drop = sqlite_outbox_drop,
    .sweep_begin = sqlite_sweep_begin,
    .sweep_keep = sqlite_sweep_keep,
    .sweep_end = sqlite_sweep_end,
    .sweep_step = sqlite_sweep_step,
};
