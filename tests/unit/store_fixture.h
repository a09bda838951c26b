/*
 * store_fixture.h: the database that the tests of store/ run against: SQLite in a temporary file,
 * and PostgreSQL in a database of its own when WATCHWORD_TEST_PG_URL names a server. Each test
 * works for users of its own, so they share the database.
 */
#ifndef WW_TESTS_STORE_FIXTURE_H
#define WW_TESTS_STORE_FIXTURE_H

#include "unit.h"

#include <stdio.h>

#include "base/random.h"
#include "store/store.h"

/* The database under test, and one connection to it. */
extern struct store *store;
extern struct store_conn *conn;

/* Makes the database; NULL for SQLite. 0 on success. */
int store_fixture_open(const char *pg_url);
void store_fixture_close(void);
/* The same database, opened once more, with these kinds of events and this time for an operation.
 */
#define STORE_FIXTURE_TIMEOUT_MS 10000
enum err store_fixture_open_another(unsigned kinds, unsigned timeout_ms, struct store **out);
/* On PostgreSQL: another such database, in a schema of that name beside the first. */
void store_fixture_open_schema(const char *schema, unsigned kinds, struct store **out);

/* Changes rows behind the service's back; %s in sql becomes the id. */
void store_raw(const char *sql, const struct uuid *id);

/* On PostgreSQL: the same in somebody's transaction, which meets one row and holds it until it is
 * committed or let go. */
void store_hold(const char *sql, const struct uuid *id);
void store_commit(void);
void store_let_go(void);

void sleep_ms(unsigned ms);

/* Somebody who exists in this test alone. */
struct someone {
    struct uuid tenant_id, user_id;
    const char *email;
    uint8_t digest[STORE_DIGEST_LEN]; /* of the identity */
};
struct someone someone_new(void);
struct someone someone_registered(void);
enum err someone_register(struct store_conn *c, const struct someone *who,
                          const uint8_t *idempotency_digest, struct uuid *user_id);
struct store_login_request login_of(const struct someone *who);
enum err begin_login(const struct someone *who, struct store_login *out);

/* A session as a login opens it; the caller may change it before store_login_finish. */
struct store_new_session session_of(const struct someone *who);
/* Opens it and gives what rotates its first token. */
struct store_rotation rotation_of(const struct store_new_session *session);
struct store_new_session opened_session(const struct someone *who);
/* The rotation after one that was made. */
struct store_rotation rotation_after(const struct store_rotation *rotation);
enum store_rotated rotated(const struct store_rotation *rotation);

/* How many sessions are live. */
size_t live_sessions(const struct someone *who);

/* The groups of tests. */
int run_login_tests(void);
int run_session_tests(void);
int run_operator_tests(void);
int run_race_tests(void);
int run_outbox_tests(void);
int run_sweep_tests(void);

#endif
