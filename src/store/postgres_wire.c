/*
 * postgres_wire.c: talking to PostgreSQL. Pipeline mode throughout: the statements of an operation
 * go out together, and without an explicit BEGIN everything up to the sync is one transaction.
 * Nothing here waits longer than the operation's deadline: a frozen server looks like a dead one.
 */
#include <endian.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/random.h"
#include "base/text.h"
#include "store/postgres.h"

/* The server cancels at the limit; we give up a little later, so that its reason can arrive. */
#define ANSWER_MARGIN_MS 100

/* Longer attempts are begun anew: a packet lost while a network was cut is sent again only after
 * ever longer pauses. */
#define CONNECT_MAX_MS 3000

#define BACKOFF_FIRST_MS 50
#define BACKOFF_MAX_MS 2000

/* ---- parameters and columns ---- */

void pg_call(struct pg_call *call, enum pg_statement statement)
{
    call->statement = statement;
    call->count = 0;
}

void pg_put_bytes(struct pg_call *call, const uint8_t *p, size_t len)
{
    call->values[call->count] = (const char *)p;
    call->lengths[call->count] = (int)len;
    call->count++;
}

void pg_put_id(struct pg_call *call, const struct uuid *id)
{
    pg_put_bytes(call, id->b, sizeof id->b);
}

void pg_put_i64(struct pg_call *call, int64_t v)
{
    uint64_t *slot = &call->numbers[call->count];
    *slot = htobe64((uint64_t)v);
    pg_put_bytes(call, (const uint8_t *)slot, sizeof *slot);
}

void pg_put_str(struct pg_call *call, const char *s)
{
    pg_put_bytes(call, (const uint8_t *)s, s != NULL ? strlen(s) : 0);
}

bool pg_put_telling_of(struct pg_call *call, const struct store_conn *conn, const char *trace_id,
                       enum event_kind kind)
{
    if (conn->store->events == 0)
        return false;
    pg_put_str(call, trace_id);
    pg_put_i64(call, store_tells(conn, kind));
    return true;
}

bool pg_put_telling(struct pg_call *call, const struct store_conn *conn, enum event_kind kind)
{
    return pg_put_telling_of(call, conn, conn->trace_id, kind);
}

bool pg_is_null(const PGresult *res, int row, int column)
{
    return PQgetisnull(res, row, column) != 0;
}

int64_t pg_get_i64(const PGresult *res, int row, int column)
{
    uint64_t raw = 0;
    if (PQgetlength(res, row, column) == (int)sizeof raw)
        memcpy(&raw, PQgetvalue(res, row, column), sizeof raw);
    return (int64_t)be64toh(raw);
}

bool pg_get_bool(const PGresult *res, int row, int column)
{
    return PQgetlength(res, row, column) == 1 && PQgetvalue(res, row, column)[0] != 0;
}

struct uuid pg_get_id(const PGresult *res, int row, int column)
{
    struct uuid id = {{0}};
    if (PQgetlength(res, row, column) == (int)sizeof id.b)
        memcpy(id.b, PQgetvalue(res, row, column), sizeof id.b);
    return id;
}

void pg_get_str(const PGresult *res, int row, int column, char *out, size_t cap)
{
    text_copy(out, cap, PQgetvalue(res, row, column), (size_t)PQgetlength(res, row, column));
}

uint64_t pg_changes(PGresult *res)
{
    uint64_t n = 0;
    const char *digits = PQcmdTuples(res);
    for (; *digits >= '0' && *digits <= '9'; digits++)
        n = n * 10 + (uint64_t)(*digits - '0');
    return n;
}

/* ---- waiting ---- */

/* Waits for the socket until the deadline. */
static bool wait_socket(PGconn *pg, short events, uint64_t deadline_ns)
{
    struct pollfd fd = {.fd = PQsocket(pg), .events = events};
    for (;;) {
        uint64_t now = clock_mono_ns();
        if (now >= deadline_ns)
            return false;
        int ms = (int)((deadline_ns - now) / NS_PER_MS) + 1;
        int n = poll(&fd, 1, ms);
        if (n > 0)
            return true;
        if (n < 0 && errno != EINTR)
            return false;
    }
}

static bool flush(PGconn *pg, uint64_t deadline_ns)
{
    for (;;) {
        int left = PQflush(pg);
        if (left == 0)
            return true;
        if (left < 0 || !wait_socket(pg, POLLIN | POLLOUT, deadline_ns))
            return false;
        if (PQconsumeInput(pg) != 1)
            return false;
    }
}

static bool next_result(PGconn *pg, uint64_t deadline_ns, PGresult **out)
{
    while (PQisBusy(pg))
        if (!wait_socket(pg, POLLIN, deadline_ns) || PQconsumeInput(pg) != 1)
            return false;
    *out = PQgetResult(pg);
    return true;
}

/* ---- failures ---- */

static bool is_one_of(const char *sqlstate, const char *const *list, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (strncmp(sqlstate, list[i], strlen(list[i])) == 0)
            return true;
    return false;
}

/* SQLSTATE to kind: what a restart, a repair or a little patience cures is unavailability; what one
 * operation met with alone (deadlock, lock or statement timeout) says nothing of the others. */
static enum err kind_of(const char *sqlstate)
{
    static const char *const alone[] = {"40", "55P03", "57014"};
    static const char *const down[] = {"08", "25006", "42P01", "53",    "57",
                                       "58", "XX",    "26000", "0A000", "42501"};
    if (sqlstate == NULL)
        return ERR_UNAVAILABLE;
    if (is_one_of(sqlstate, alone, ARRAY_LEN(alone)))
        return ERR_BUSY;
    return is_one_of(sqlstate, down, ARRAY_LEN(down)) ? ERR_UNAVAILABLE : ERR_INTERNAL;
}

static enum err result_failure(const PGresult *res)
{
    const char *text = PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY);
    enum err e = kind_of(PQresultErrorField(res, PG_DIAG_SQLSTATE));
    return store_fail(e, "postgresql", text != NULL ? text : "no message");
}

static enum err link_failure(struct pg_conn *conn, const char *what)
{
    /* Before it is open, and once it was, libpq has nothing to say of a wait that we have ended. */
    ConnStatusType status = PQstatus(conn->pg);
    const char *text = PQerrorMessage(conn->pg);
    bool told = status == CONNECTION_BAD || (status == CONNECTION_OK && text[0] != '\0');
    enum err e = store_fail(ERR_UNAVAILABLE, what, told ? text : "timed out");
    pg_disconnect(conn);
    return e;
}

/* ---- connecting ---- */

void pg_disconnect(struct pg_conn *conn)
{
    PQfinish(conn->pg);
    conn->pg = NULL;
    conn->leads = false; /* the server lets go of the lock with the connection */
}

/* What the server has to say beside its answers. libpq would print it on stderr, in the midst of
 * the log, and wait if nobody reads that. */
static void take_notice(void *arg, const char *text)
{
    (void)arg;
    log_note(LOG_DEBUG, "database.notice", "postgresql says", text);
}

void pg_keep_quiet(PGconn *pg)
{
    PQsetNoticeProcessor(pg, take_notice, NULL);
}

static bool finish_connecting(PGconn *pg, uint64_t deadline_ns)
{
    PostgresPollingStatusType status = PGRES_POLLING_WRITING;
    while (status != PGRES_POLLING_OK) {
        short events = status == PGRES_POLLING_READING ? POLLIN : POLLOUT;
        if (status == PGRES_POLLING_FAILED || !wait_socket(pg, events, deadline_ns))
            return false;
        status = PQconnectPoll(pg);
    }
    return true;
}

/* So that a batch which met with somebody's lock can still be tried one by one. At least 1: 0 is
 * for ever. */
unsigned pg_lock_timeout_ms(const struct store *store)
{
    return store->timeout_ms < 4 ? 1 : store->timeout_ms / 4;
}

/* What the operator asks of the server's sessions (search_path, for example), and then what we ask:
 * of a setting that is there twice, the last one holds. The caller frees it; NULL without memory.
 */
static char *session_options(const struct store *store)
{
    char *all = NULL;
    PQconninfoOption *options = PQconninfoParse(store->url, NULL);
    if (options == NULL)
        return NULL;
    const char *own = libpq_option(options, "options", "PGOPTIONS");
    int n = asprintf(&all,
                     "%s -c statement_timeout=%u -c idle_in_transaction_session_timeout=%u"
                     " -c lock_timeout=%u -c default_transaction_isolation=read\\ committed"
                     " -c tcp_keepalives_idle=10 -c tcp_keepalives_interval=5"
                     " -c tcp_keepalives_count=3 -c tcp_user_timeout=25000",
                     own != NULL ? own : "", store->timeout_ms, store->timeout_ms,
                     pg_lock_timeout_ms(store));
    PQconninfoFree(options);
    return n >= 0 ? all : NULL;
}

/* The server is told to look after its end too: where the network was cut it never learns that we
 * have given a connection up, and would keep the backend for hours. One that takes no writes (a
 * standby, or default_transaction_read_only) is not ours; of several hosts the next is tried. */
static PGconn *begin_connecting(const struct store *store)
{
    char user_timeout[16];
    char *options = session_options(store);
    if (options == NULL)
        return NULL;
    struct text t = text_on(user_timeout, sizeof user_timeout);
    text_put_u64(&t, store->timeout_ms);
    const char *const keys[] = {"dbname",
                                "options",
                                "application_name",
                                "client_encoding",
                                "target_session_attrs",
                                "tcp_user_timeout",
                                "keepalives_idle",
                                "keepalives_interval",
                                "keepalives_count",
                                NULL};
    const char *const values[] = {store->url,   options, "watchword", "UTF8", "read-write",
                                  user_timeout, "10",    "5",         "3",    NULL};
    PGconn *pg = PQconnectStartParams(keys, values, 1);
    free(options);
    return pg;
}

static bool prepare_all(PGconn *pg, bool telling, uint64_t deadline_ns)
{
    char name[8];
    for (unsigned i = 0; i < PG_STATEMENTS; i++) {
        snprintf(name, sizeof name, "w%u", i);
        const char *sql = telling && PG_SQL_TELLING[i] != NULL ? PG_SQL_TELLING[i] : PG_SQL[i];
        if (PQsendPrepare(pg, name, sql, 0, NULL) != 1)
            return false;
    }
    if (PQpipelineSync(pg) != 1 || !flush(pg, deadline_ns))
        return false;
    bool ok = true;
    for (unsigned i = 0; i < PG_STATEMENTS; i++) {
        PGresult *res = NULL, *end = NULL;
        if (!next_result(pg, deadline_ns, &res) || !next_result(pg, deadline_ns, &end))
            return false;
        if (ok && PQresultStatus(res) != PGRES_COMMAND_OK) {
            ok = false;
            (void)result_failure(res);
        }
        PQclear(res);
        PQclear(end);
    }
    PGresult *sync = NULL;
    if (!next_result(pg, deadline_ns, &sync))
        return false;
    PQclear(sync);
    return ok;
}

/* Doubles up to the maximum, with half of it random so that instances do not come back in step. */
static void back_off(struct pg_conn *conn)
{
    unsigned shift = conn->failed_attempts < 6 ? conn->failed_attempts : 6;
    uint64_t ms = (uint64_t)BACKOFF_FIRST_MS << shift;
    if (ms > BACKOFF_MAX_MS)
        ms = BACKOFF_MAX_MS;
    uint16_t r = 0;
    if (random_bytes(&r, sizeof r) != OK)
        r = UINT16_MAX;
    ms = ms / 2 + ms / 2 * r / UINT16_MAX;
    conn->failed_attempts++;
    conn->next_try_ns = clock_mono_ns() + ms * NS_PER_MS;
}

enum err pg_connect(struct pg_conn *conn, uint64_t deadline_ns)
{
    /* While the database is up for others the pause is over for this one too. */
    if (clock_mono_ns() < conn->next_try_ns && !store_is_up(conn->base.store))
        return store_fail(ERR_UNAVAILABLE, "postgresql", "not connected");
    uint64_t longest = clock_mono_ns() + CONNECT_MAX_MS * NS_PER_MS;
    uint64_t deadline = deadline_ns < longest ? deadline_ns : longest;
    conn->pg = begin_connecting(conn->base.store);
    if (conn->pg != NULL)
        pg_keep_quiet(conn->pg);
    bool ok = conn->pg != NULL && PQstatus(conn->pg) != CONNECTION_BAD &&
              finish_connecting(conn->pg, deadline) && PQsetnonblocking(conn->pg, 1) == 0 &&
              PQenterPipelineMode(conn->pg) == 1;
    if (!ok) {
        back_off(conn);
        return link_failure(conn, "cannot connect to postgresql");
    }
    if (!prepare_all(conn->pg, conn->base.store->events != 0, deadline)) {
        back_off(conn);
        if (PQstatus(conn->pg) != CONNECTION_OK)
            return link_failure(conn, "cannot prepare statements");
        pg_disconnect(conn); /* the message is that of the statement that failed */
        return ERR_UNAVAILABLE;
    }
    conn->failed_attempts = 0;
    return OK;
}

/* A server that went away while this connection was idle has left its farewell and an end-of-file
 * to be read: better found before an operation is sent than after. */
static bool still_there(PGconn *pg)
{
    struct pollfd fd = {.fd = PQsocket(pg), .events = POLLIN};
    for (unsigned reads = 0; reads < 8; reads++) {
        if (poll(&fd, 1, 0) == 0)
            return true;
        if (PQconsumeInput(pg) != 1 || PQstatus(pg) != CONNECTION_OK)
            return false;
    }
    return false; /* an idle connection has no such talk */
}

/* ---- running ---- */

static bool send_calls(PGconn *pg, const struct pg_call *calls, unsigned n, uint64_t deadline_ns)
{
    static const int binary[PG_PARAMS_MAX] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
    char name[8];
    for (unsigned i = 0; i < n; i++) {
        snprintf(name, sizeof name, "w%u", (unsigned)calls[i].statement);
        if (PQsendQueryPrepared(pg, name, calls[i].count, calls[i].values, calls[i].lengths, binary,
                                1) != 1)
            return false;
    }
    return PQpipelineSync(pg) == 1 && flush(pg, deadline_ns);
}

static void clear_all(PGresult **results, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        PQclear(results[i]);
        results[i] = NULL;
    }
}

/* The answers, then the sync: the transaction is over, one way or the other. */
static enum err receive(struct pg_conn *conn, unsigned n, uint64_t deadline_ns, PGresult **results)
{
    enum err e = OK;
    for (unsigned i = 0; i < n; i++) {
        PGresult *end = NULL;
        if (!next_result(conn->pg, deadline_ns, &results[i]) ||
            !next_result(conn->pg, deadline_ns, &end))
            return link_failure(conn, "postgresql did not answer");
        PQclear(end);
        ExecStatusType status = PQresultStatus(results[i]);
        if (e == OK && status != PGRES_TUPLES_OK && status != PGRES_COMMAND_OK)
            e = result_failure(results[i]);
    }
    PGresult *sync CLEANUP(cleanup_result) = NULL;
    if (!next_result(conn->pg, deadline_ns, &sync))
        return link_failure(conn, "postgresql did not answer");
    if (PQresultStatus(sync) == PGRES_PIPELINE_SYNC)
        return e;
    /* The implicit COMMIT itself failed, or the connection did. */
    if (e == OK)
        e = result_failure(sync);
    pg_disconnect(conn);
    return e;
}

enum err pg_run(struct pg_conn *conn, const struct pg_call *calls, unsigned n, PGresult **results)
{
    uint64_t deadline = store_deadline_ns(&conn->base);
    if (conn->pg != NULL && !still_there(conn->pg))
        pg_disconnect(conn);
    if (conn->pg == NULL)
        TRY(pg_connect(conn, deadline));
    deadline += ANSWER_MARGIN_MS * NS_PER_MS;
    for (unsigned i = 0; i < n; i++)
        results[i] = NULL;
    if (!send_calls(conn->pg, calls, n, deadline))
        return link_failure(conn, "cannot send to postgresql");
    enum err e = receive(conn, n, deadline, results);
    if (e != OK)
        clear_all(results, n);
    /* It may be this connection's settings or its statements that have gone bad; it would keep them
     * for life. */
    if (e == ERR_UNAVAILABLE)
        pg_disconnect(conn);
    return e;
}
