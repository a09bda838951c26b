#include "store_fixture.h"

#include <libpq-fe.h>
#include <sqlite3.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/text.h"

struct store *store;
struct store_conn *conn;

static char directory[64], path[96], url[1024], admin_url[1024], database[64];

void sleep_ms(unsigned ms)
{
    nanosleep(&(struct timespec){.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000},
              NULL);
}

/* ---- the database ---- */

static void ignore_migration(void *arg, unsigned version, const char *name)
{
    (void)arg;
    (void)version;
    (void)name;
}

static int open_store(void)
{
    const struct store_config config = {.url = url, .timeout_ms = STORE_FIXTURE_TIMEOUT_MS};
    struct store_version version;
    if (store_open(&config, &store) != OK ||
        store_migrate(store, ignore_migration, NULL, &version) != OK ||
        store_conn_open(store, &conn) != OK) {
        fprintf(stderr, "%s\n", store_last_error());
        return -1;
    }
    return 0;
}

static bool pg_exec(const char *server, const char *sql)
{
    PGconn *pg = PQconnectdb(server);
    PGresult *res = PQexec(pg, sql);
    ExecStatusType status = PQresultStatus(res);
    bool ok = status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK;
    if (!ok)
        fprintf(stderr, "%s: %s", sql, PQerrorMessage(pg));
    PQclear(res);
    PQfinish(pg);
    return ok;
}

static void put_encoded(struct text *t, const char *s)
{
    for (; *s != '\0'; s++)
        text_put_f(t, "%%%02X", (unsigned char)*s);
}

/* The server of that URL, with another database. */
static bool name_database(const char *pg_url)
{
    char *error = NULL;
    PQconninfoOption *options = PQconninfoParse(pg_url, &error);
    PQfreemem(error);
    if (options == NULL)
        return false;
    struct text t = text_on(url, sizeof url);
    text_put_f(&t, "postgresql:///%s?application_name=unit", database);
    for (const PQconninfoOption *o = options; o->keyword != NULL; o++) {
        if (o->val == NULL || strcmp(o->keyword, "dbname") == 0)
            continue;
        text_put_f(&t, "&%s=", o->keyword);
        put_encoded(&t, o->val);
    }
    PQconninfoFree(options);
    return text_ok(&t);
}

int store_fixture_open(const char *pg_url)
{
    if (pg_url == NULL) {
        strcpy(directory, "/tmp/test_store.XXXXXX");
        if (mkdtemp(directory) == NULL)
            return -1;
        snprintf(path, sizeof path, "%s/db", directory);
        snprintf(url, sizeof url, "sqlite:%s", path);
        return open_store();
    }
    char sql[128];
    snprintf(database, sizeof database, "watchword_unit_%ld", (long)getpid());
    snprintf(admin_url, sizeof admin_url, "%s", pg_url);
    snprintf(sql, sizeof sql, "CREATE DATABASE %s", database);
    if (!name_database(pg_url) || !pg_exec(admin_url, sql))
        return -1;
    return open_store();
}

enum err store_fixture_open_another(unsigned kinds, unsigned timeout_ms, struct store **out)
{
    const struct store_config config = {.url = url, .timeout_ms = timeout_ms, .events = kinds};
    return store_open(&config, out);
}

void store_fixture_open_schema(const char *schema, unsigned kinds, struct store **out)
{
    char sql[128], their_url[1200];
    struct store_version version;
    const struct store_config config = {
        .url = their_url, .timeout_ms = STORE_FIXTURE_TIMEOUT_MS, .events = kinds};
    snprintf(sql, sizeof sql, "CREATE SCHEMA %s", schema);
    assert_true(pg_exec(url, sql));
    snprintf(their_url, sizeof their_url, "%s&options=-c%%20search_path%%3D%s", url, schema);
    assert_ok(store_open(&config, out));
    assert_ok(store_migrate(*out, ignore_migration, NULL, &version));
}

void store_fixture_close(void)
{
    bool sqlite = strcmp(store_kind(store), "sqlite") == 0;
    store_conn_close(conn);
    store_close(store);
    conn = NULL;
    store = NULL;
    if (sqlite) {
        static const char *const ends[] = {"", "-wal", "-shm"};
        for (size_t i = 0; i < ARRAY_LEN(ends); i++) {
            char name[128];
            snprintf(name, sizeof name, "%s%s", path, ends[i]);
            (void)unlink(name);
        }
        (void)rmdir(directory);
        return;
    }
    char sql[128];
    snprintf(sql, sizeof sql, "DROP DATABASE %s WITH (FORCE)", database);
    (void)pg_exec(admin_url, sql);
}

static void put_statement(struct text *t, const char *sql, const struct uuid *id)
{
    char literal[64] = "", text[UUID_LEN + 1];
    if (id != NULL) {
        struct text l = text_on(literal, sizeof literal);
        uuid_format(id, text);
        text_put(&l, store_is_single_writer(store) ? "X'" : "'");
        for (const char *c = text; *c != '\0'; c++)
            if (*c != '-')
                text_put_char(&l, *c);
        text_put_char(&l, '\'');
    }
    const char *mark = strstr(sql, "%s");
    text_put_n(t, sql, mark != NULL ? (size_t)(mark - sql) : strlen(sql));
    if (mark != NULL) {
        text_put(t, literal);
        text_put(t, mark + 2);
    }
}

void store_raw(const char *sql, const struct uuid *id)
{
    char statement[512];
    struct text t = text_on(statement, sizeof statement);
    put_statement(&t, sql, id);
    if (!store_is_single_writer(store)) {
        assert_true(pg_exec(url, statement));
        return;
    }
    sqlite3 *db = NULL;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    sqlite3_busy_timeout(db, 10000);
    assert_int_equal(sqlite3_exec(db, statement, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
}

static PGconn *holder;

void store_hold(const char *sql, const struct uuid *id)
{
    char statement[512];
    struct text t = text_on(statement, sizeof statement);
    text_put(&t, "BEGIN; ");
    put_statement(&t, sql, id);
    holder = PQconnectdb(url);
    PGresult *res = PQexec(holder, statement);
    assert_string_equal(PQcmdTuples(res), "1");
    PQclear(res);
}

void store_commit(void)
{
    PGresult *res = PQexec(holder, "COMMIT");
    assert_int_equal(PQresultStatus(res), PGRES_COMMAND_OK);
    PQclear(res);
    store_let_go();
}

void store_let_go(void)
{
    PQfinish(holder);
    holder = NULL;
}

/* ---- people ---- */

struct someone someone_new(void)
{
    struct someone who = {.email = "ada@example.org"};
    assert_ok(uuid_make_v4(&who.tenant_id));
    assert_ok(uuid_make_v4(&who.user_id));
    assert_ok(random_bytes(who.digest, sizeof who.digest));
    return who;
}

enum err someone_register(struct store_conn *c, const struct someone *who,
                          const uint8_t *idempotency_digest, struct uuid *user_id)
{
    const struct store_credential credential = {who->tenant_id, who->user_id, who->email, "hash",
                                                false};
    return store_register(c, &credential, idempotency_digest, user_id);
}

struct someone someone_registered(void)
{
    struct someone who = someone_new();
    struct uuid id;
    assert_ok(someone_register(conn, &who, NULL, &id));
    assert_true(uuid_equal(&id, &who.user_id));
    return who;
}

struct store_login_request login_of(const struct someone *who)
{
    struct store_login_request r = {
        .tenant_id = who->tenant_id, .email = who->email, .threshold = 3, .lock_ms = 60000};
    memcpy(r.identity_digest, who->digest, sizeof r.identity_digest);
    return r;
}

enum err begin_login(const struct someone *who, struct store_login *out)
{
    struct store_login_request request = login_of(who);
    return store_login_begin(conn, &request, out);
}

/* ---- sessions ---- */

struct store_new_session session_of(const struct someone *who)
{
    struct store_new_session s = {.tenant_id = who->tenant_id,
                                  .user_id = who->user_id,
                                  .client_ip = "192.0.2.1",
                                  .user_agent = "first",
                                  .opened_at = clock_unix_ms(),
                                  .idle_ms = 60000,
                                  .absolute_ms = 600000,
                                  .max_sessions = 10};
    assert_ok(uuid_make_v4(&s.session_id));
    assert_ok(random_bytes(s.token_digest, sizeof s.token_digest));
    memcpy(s.identity_digest, who->digest, sizeof s.identity_digest);
    return s;
}

struct store_new_session opened_session(const struct someone *who)
{
    struct store_new_session s = session_of(who);
    assert_ok(store_login_finish(conn, &s));
    return s;
}

static void fresh_successor(struct store_rotation *r)
{
    r->sealed_len = STORE_SEALED_MAX;
    assert_ok(random_bytes(r->next_digest, sizeof r->next_digest));
    assert_ok(random_bytes(r->sealed, sizeof r->sealed));
}

struct store_rotation rotation_of(const struct store_new_session *session)
{
    struct store_rotation r = {.session_id = session->session_id,
                               .client_ip = "192.0.2.2",
                               .user_agent = "second",
                               .idle_ms = session->idle_ms,
                               .leeway_ms = 30000};
    memcpy(r.token_digest, session->token_digest, sizeof r.token_digest);
    fresh_successor(&r);
    return r;
}

struct store_rotation rotation_after(const struct store_rotation *rotation)
{
    struct store_rotation r = *rotation;
    r.generation++;
    memcpy(r.token_digest, rotation->next_digest, sizeof r.token_digest);
    fresh_successor(&r);
    return r;
}

enum store_rotated rotated(const struct store_rotation *rotation)
{
    struct store_rotation_result result;
    assert_ok(store_rotate(conn, rotation, &result));
    return result.outcome;
}

size_t live_sessions(const struct someone *who)
{
    struct store_session sessions[32];
    size_t count = 0;
    assert_ok(store_list_sessions(conn, &who->tenant_id, &who->user_id, sessions,
                                  ARRAY_LEN(sessions), &count));
    return count;
}
