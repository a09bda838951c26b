/* postgres_migrate.c: bringing a PostgreSQL database to this version, one process at a time. */
#include <string.h>

#include "base/text.h"
#include "store/postgres.h"

/* Any number, as long as nobody else uses it: "wwmigrat" in ASCII. */
#define MIGRATION_LOCK "8608481567731540340"

static void cleanup_pg(PGconn **pg)
{
    PQfinish(*pg);
}

/* To a server that takes writes, as whatever serves: of several hosts a standby is passed over. */
static enum err connect_once(const struct store *store, PGconn **out)
{
    char seconds[16];
    struct text t = text_on(seconds, sizeof seconds);
    text_put_u64(&t, store->timeout_ms / 1000 < 5 ? 5 : store->timeout_ms / 1000);
    const char *const keys[] = {"dbname", "connect_timeout", "application_name",
                                "target_session_attrs", NULL};
    const char *const values[] = {store->url, seconds, "watchword migrate", "read-write", NULL};
    PGconn *pg = PQconnectdbParams(keys, values, 1);
    if (PQstatus(pg) != CONNECTION_OK) {
        enum err e =
            store_fail(ERR_UNAVAILABLE, "cannot connect to postgresql", PQerrorMessage(pg));
        PQfinish(pg);
        return e;
    }
    pg_keep_quiet(pg);
    *out = pg;
    return OK;
}

static enum err exec(PGconn *pg, const char *sql)
{
    PGresult *res CLEANUP(cleanup_result) = PQexec(pg, sql);
    ExecStatusType status = PQresultStatus(res);
    if (status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK)
        return OK;
    return store_fail(ERR_UNAVAILABLE, "migration", PQerrorMessage(pg));
}

static enum err query_version(PGconn *pg, unsigned *out)
{
    static const char sql[] = "SELECT to_regclass('migrations') IS NOT NULL";
    PGresult *exists CLEANUP(cleanup_result) = PQexec(pg, sql);
    if (PQresultStatus(exists) != PGRES_TUPLES_OK)
        return store_fail(ERR_UNAVAILABLE, "cannot read the version", PQerrorMessage(pg));
    if (PQgetvalue(exists, 0, 0)[0] != 't') {
        *out = 0;
        return OK;
    }
    PGresult *res CLEANUP(cleanup_result) =
        PQexecParams(pg, PG_SQL[PG_PROBE], 0, NULL, NULL, NULL, NULL, 1);
    if (PQresultStatus(res) != PGRES_TUPLES_OK)
        return store_fail(ERR_UNAVAILABLE, "cannot read the version", PQerrorMessage(pg));
    *out = (unsigned)pg_get_i64(res, 0, 0);
    return OK;
}

/* Addresses and user agents come in every script, and what the database cannot hold would be a
 * fault at each request. SQL_ASCII keeps bytes as they are. */
static enum err check_encoding(const PGconn *pg)
{
    const char *encoding = PQparameterStatus(pg, "server_encoding");
    if (encoding == NULL || strcmp(encoding, "UTF8") == 0 || strcmp(encoding, "SQL_ASCII") == 0)
        return OK;
    return store_fail(ERR_INVALID, "migration", "the encoding of the database must be UTF8");
}

/* Each migration is one transaction with its own line in the table. */
static enum err apply(PGconn *pg, const struct store_migration *m)
{
    char version[16];
    struct text t = text_on(version, sizeof version);
    text_put_u64(&t, m->version);
    const char *const params[] = {version, m->name};
    TRY(exec(pg, "BEGIN"));
    TRY(exec(pg, m->sql));
    PGresult *res CLEANUP(cleanup_result) =
        PQexecParams(pg,
                     "INSERT INTO migrations VALUES ($1::bigint, $2::text,"
                     " floor(extract(epoch FROM now()) * 1000)::bigint)",
                     2, NULL, params, NULL, NULL, 0);
    if (PQresultStatus(res) != PGRES_COMMAND_OK)
        return store_fail(ERR_UNAVAILABLE, "migration", PQerrorMessage(pg));
    return exec(pg, "COMMIT");
}

/* The session lock goes with the connection. A table lock is never waited for longer than this, so
 * that a migration cannot stop the service by queueing in front of everyone. */
enum err pg_migrate(struct store *store, store_migration_note *note, void *arg,
                    struct store_version *out)
{
    PGconn *pg CLEANUP(cleanup_pg) = NULL;
    unsigned version = 0;
    TRY(connect_once(store, &pg));
    TRY(check_encoding(pg));
    TRY(exec(pg, "SET client_min_messages = warning"));
    TRY(exec(pg, "SELECT pg_advisory_lock(" MIGRATION_LOCK ")"));
    TRY(exec(pg, "SET lock_timeout = '5s'"));
    TRY(exec(pg, "CREATE TABLE IF NOT EXISTS migrations (version bigint PRIMARY KEY,"
                 " name text NOT NULL, applied_at bigint NOT NULL)"));
    TRY(query_version(pg, &version));
    if (version > STORE_MIGRATION_COUNT)
        return store_fail(ERR_CONFLICT, "migration", "the database is newer than this program");
    for (unsigned v = version; v < STORE_MIGRATION_COUNT; v++) {
        const struct store_migration *m = &STORE_MIGRATIONS_POSTGRESQL[v];
        TRY(apply(pg, m));
        note(arg, m->version, m->name);
    }
    *out = (struct store_version){STORE_MIGRATION_COUNT, STORE_MIGRATION_COUNT};
    return OK;
}

enum err pg_read_version(struct store *store, struct store_version *out)
{
    PGconn *pg CLEANUP(cleanup_pg) = NULL;
    struct store_version v = {0, STORE_MIGRATION_COUNT};
    TRY(connect_once(store, &pg));
    TRY(query_version(pg, &v.database));
    *out = v;
    return OK;
}
