/*
 * postgres_sql.c: every statement that is prepared on PostgreSQL.
 *
 * A change that has events exists twice: plain, and telling, which also writes the outbox from what
 * the change returned. Which one is prepared is decided when a connection is made, so that without
 * events nothing is paid for them.
 */
#include "store/postgres.h"

/* date_part is double precision, which holds milliseconds exactly; extract is numeric, and slow. */
#define NOW "floor(date_part('epoch', now()) * 1000)::bigint"
#define LIVE "revoked_at IS NULL AND idle_expires_at > " NOW " AND absolute_expires_at > " NOW
/* Opened since all sessions were last ended at once. */
#define CURRENT "opened_at > (SELECT value FROM settings WHERE name = 'sessions_not_before')"
/* $12, or behind a fence that lies ahead, where a clock that was wrong has put it: else no login
 * would be good until then. By the clock of this moment: a transaction that is older than a fence
 * does not get past it. */
#define OPENED                                                                                     \
    "(SELECT CASE WHEN value > floor(date_part('epoch', clock_timestamp()) * 1000)::bigint"        \
    " THEN greatest($12::bigint, value + 1) ELSE $12 END FROM settings WHERE name = "              \
    "'sessions_not_before')"
/* The session's account may still use it. */
#define ACTIVE                                                                                     \
    "EXISTS (SELECT FROM credentials c WHERE c.tenant_id = sessions.tenant_id"                     \
    " AND c.user_id = sessions.user_id AND c.status = 'active')"
#define END "revoked_at = " NOW ", sealed_successor = NULL, revoked_reason = "

/* A row left from a lock that has ended, or from a window that has: counting starts afresh. */
#define FRESH                                                                                      \
    "(l.locked_until IS NOT NULL OR l.window_started_at <= EXCLUDED.window_started_at - $5)"
#define COUNTED "CASE WHEN " FRESH " THEN 1 ELSE l.failures + 1 END"

#define SESSION_COLUMNS                                                                            \
    "sessions.tenant_id, sessions.user_id, generation, opened_at, rotated_at, idle_expires_at,"    \
    " absolute_expires_at, client_ip, user_agent"

/* Any number, as long as nobody else uses it: "wwrelay" in ASCII. Such locks are of the whole
 * database, and another service may have its outbox in another schema of it. */
#define RELAY_LOCK "33626855440146809 # 'outbox'::regclass::oid::bigint"

/* ---- telling ---- */

/* Writes a row of the outbox for each of from, a "table WHERE condition". */
#define TELL(name, subject, columns, values, from, trace, wanted)                                  \
    ", " name " AS (INSERT INTO outbox (subject, trace_id, " columns ") SELECT " subject           \
    ", " trace "::text, " values " FROM " from " AND " wanted "::bigint = 1)"

/* The change, which returns its rows as r, and what is told of them. */
#define TELLING(change, returning, told)                                                           \
    "WITH r AS (" change " RETURNING " returning ")" told " SELECT * FROM r"

#define OF_SESSION "tenant_id, user_id, session_id"
#define SESSION_ID "tenant_id, user_id, id"
#define TELL_REVOKED(reason, from, trace, wanted)                                                  \
    TELL("told", "'auth.session_revoked'", OF_SESSION ", label", SESSION_ID ", " reason, from,     \
         trace, wanted)
#define WAS_LIVE "idle_expires_at > " NOW " AND absolute_expires_at > " NOW " AS live"

/* ---- changes that have events ---- */

/* $1 tenant $2 user $3 email $4 hash $5 idempotency digest or null $6 how long a key holds
 * $7 status */
#define REGISTER(told)                                                                             \
    "WITH known AS (SELECT user_id FROM idempotency_keys"                                          \
    "   WHERE key_digest = $5::bytea AND created_at > " NOW " - $6::bigint),"                      \
    " added AS (INSERT INTO credentials"                                                           \
    "   (tenant_id, user_id, email, password_hash, created_at, updated_at, status)"                \
    "   SELECT $1::uuid, $2::uuid, $3::text, $4::text, " NOW ", " NOW ", $7::text"                 \
    "   WHERE NOT EXISTS (SELECT FROM known) ON CONFLICT DO NOTHING RETURNING user_id),"           \
    " keyed AS (INSERT INTO idempotency_keys (key_digest, tenant_id, user_id, created_at)"         \
    "   SELECT $5::bytea, $1, user_id, " NOW " FROM added WHERE $5::bytea IS NOT NULL"             \
    "   ON CONFLICT (key_digest) DO UPDATE SET tenant_id = EXCLUDED.tenant_id,"                    \
    "   user_id = EXCLUDED.user_id, created_at = EXCLUDED.created_at)" told                        \
    " SELECT user_id FROM known UNION ALL SELECT user_id FROM added"

/* $1 tenant $2 email $3 identity digest $4 threshold $5 lock time $6 attempt. The same rule as
 * login_begin() in sqlite_login.c. */
#define LOGIN_BEGIN(told)                                                                          \
    "WITH n AS (SELECT " NOW " AS now),"                                                           \
    " t AS (INSERT INTO login_throttle AS l"                                                       \
    "   (tenant_id, identity_digest, failures, window_started_at, locked_until, last_attempt)"     \
    "   SELECT $1::uuid, $3::bytea, 1, now,"                                                       \
    "          CASE WHEN 1 >= $4::bigint THEN now + $5::bigint END, $6::uuid FROM n"               \
    "   ON CONFLICT (tenant_id, identity_digest) DO UPDATE SET"                                    \
    "     failures = " COUNTED ","                                                                 \
    "     window_started_at = CASE WHEN " FRESH " THEN EXCLUDED.window_started_at"                 \
    "                              ELSE l.window_started_at END,"                                  \
    "     locked_until = CASE WHEN " COUNTED " >= $4"                                              \
    "                         THEN EXCLUDED.window_started_at + $5 END,"                           \
    "     last_attempt = EXCLUDED.last_attempt"                                                    \
    "   WHERE l.locked_until IS NULL OR l.locked_until <= EXCLUDED.window_started_at"              \
    "   RETURNING window_started_at, locked_until),"                                               \
    " c AS (SELECT user_id, status = 'active' AS active, left(password_hash, 512) AS hash"         \
    "   FROM credentials WHERE tenant_id = $1::uuid AND email = $2::text"                          \
    "   AND EXISTS (SELECT FROM t))" told                                                          \
    " SELECT n.now, c.user_id, c.active, c.hash, t.window_started_at, t.locked_until,"             \
    "   (SELECT locked_until FROM login_throttle"                                                  \
    "     WHERE tenant_id = $1 AND identity_digest = $3)"                                          \
    " FROM n LEFT JOIN c ON true LEFT JOIN t ON true"

/* $1 tenant $2 identity digest $3 window, or 0 if not known $4 threshold $5 attempt */
#define LOGIN_REFUND                                                                               \
    "UPDATE login_throttle SET failures = greatest(failures - 1, 0),"                              \
    " locked_until = CASE WHEN failures <= $4::bigint THEN NULL ELSE locked_until END,"            \
    " last_attempt = nullif(last_attempt, $5::uuid)"                                               \
    " WHERE tenant_id = $1::uuid AND identity_digest = $2::bytea"                                  \
    " AND (window_started_at = $3::bigint OR ($3 = 0 AND last_attempt = $5))"

/* Takes back the event of a lock that is none. */
#define TAKE_BACK(attempt)                                                                         \
    " AS (DELETE FROM outbox WHERE attempt_id = " attempt "::uuid AND held_until > 0)"

/* $1 tenant $2 identity digest $3 attempt */
#define LOCKED_BY                                                                                  \
    "SELECT FROM login_throttle WHERE tenant_id = $1::uuid AND identity_digest = $2::bytea"        \
    " AND last_attempt = $3::uuid AND locked_until IS NOT NULL"

/* $1 session $2 tenant $3 user $4 token digest $5 identity digest $6 ip $7 agent $8 idle
 * $9 absolute $10 old hash $11 new hash or null $12 opened */
#define LOGIN_FINISH(told)                                                                         \
    "WITH a AS (SELECT tenant_id, user_id FROM credentials"                                        \
    "   WHERE tenant_id = $2::uuid AND user_id = $3::uuid AND status = 'active'),"                 \
    " s AS (INSERT INTO sessions (id, tenant_id, user_id, generation, token_digest, opened_at,"    \
    "   rotated_at, idle_expires_at, absolute_expires_at, client_ip, user_agent)"                  \
    "   SELECT $1::uuid, tenant_id, user_id, 0, $4::bytea, " OPENED ", $12::bigint,"               \
    "     $12 + least($8::bigint, $9::bigint), $12 + $9, $6::text, $7::text"                       \
    "   FROM a RETURNING id, tenant_id, user_id),"                                                 \
    " cleared AS (DELETE FROM login_throttle USING a WHERE login_throttle.tenant_id = $2"          \
    "   AND identity_digest = $5::bytea),"                                                         \
    " rehashed AS (UPDATE credentials SET password_hash = $11::text, updated_at = " NOW            \
    "   FROM a WHERE credentials.tenant_id = $2 AND credentials.user_id = $3"                      \
    "   AND password_hash = $10::text AND $11::text IS NOT NULL)" told " SELECT id FROM s"

/* Whoever holds more than one session's lock takes them in this order, as rotations that share a
 * transaction do: else two might wait for each other. */
#define LOCK_IN_ORDER " ORDER BY id FOR UPDATE"

/* $1 tenant $2 user $3 how many may stay $4 the new one, which does: by a clock that has gone back
 * it may be the oldest, and its tokens are about to be given out */
#define LOGIN_EVICT                                                                                \
    "UPDATE sessions SET " END "'session_limit' WHERE revoked_at IS NULL"                          \
    " AND id IN (SELECT id FROM sessions"                                                          \
    " WHERE id IN (SELECT id FROM sessions"                                                        \
    "   WHERE tenant_id = $1::uuid AND user_id = $2::uuid AND " LIVE                               \
    "   ORDER BY id = $4::uuid DESC, opened_at DESC, id DESC OFFSET $3::bigint)" LOCK_IN_ORDER ")"

/* $1 session $2 generation $3 digest $4 next digest $5 sealed $6 ip $7 agent $8 idle */
#define ROTATE                                                                                     \
    "UPDATE sessions SET generation = generation + 1, token_digest = $4::bytea,"                   \
    " sealed_successor = $5::bytea, rotated_at = " NOW ","                                         \
    " idle_expires_at = least(" NOW " + $8::bigint, absolute_expires_at),"                         \
    " client_ip = $6::text, user_agent = $7::text FROM credentials c"                              \
    " WHERE id = $1::uuid AND generation = $2::bigint AND token_digest = $3::bytea AND " LIVE      \
    " AND " CURRENT " AND c.tenant_id = sessions.tenant_id AND c.user_id = sessions.user_id"       \
    " AND c.status = 'active'"

/* Its row learns late that it had ended. */
#define ROTATE_FENCED                                                                              \
    "UPDATE sessions SET " END "'operator' WHERE id = $1::uuid AND " LIVE " AND NOT " CURRENT

/* $1 session $2 generation $3 leeway, to both sides: a clock that went back makes it no longer */
#define ROTATE_REPLAY                                                                              \
    "UPDATE sessions SET " END "'replay_detected' WHERE id = $1::uuid AND " LIVE " AND " ACTIVE    \
    " AND generation > $2::bigint AND NOT (generation = $2 + 1"                                    \
    " AND sealed_successor IS NOT NULL AND abs(" NOW " - rotated_at) < $3::bigint)"

/* What ends sessions ends not only those that are live by its clock: a rotation on its way may have
 * looked at an earlier one, and would bring back what has just expired. Only the end of a live one
 * is told and counted. */
#define NOT_ENDED "revoked_at IS NULL"

/* $1 session $2 reason, and for one's own $3 tenant $4 user */
#define SESSION_END(own, told)                                                                     \
    "WITH r AS (UPDATE sessions SET " END "$2::text WHERE id = $1::uuid" own " AND " NOT_ENDED     \
    "   RETURNING " SESSION_ID ", " WAS_LIVE ")" told " SELECT FROM r WHERE live"
#define OWN " AND tenant_id = $3::uuid AND user_id = $4::uuid"

/* $1 tenant $2 user $3 reason */
#define SESSION_END_ALL(told)                                                                      \
    "WITH l AS MATERIALIZED (SELECT id FROM sessions WHERE tenant_id = $1::uuid"                   \
    "   AND user_id = $2::uuid AND " NOT_ENDED LOCK_IN_ORDER "),"                                  \
    " r AS (UPDATE sessions SET " END "$3::text FROM l WHERE sessions.id = l.id"                   \
    "   RETURNING tenant_id, user_id, sessions.id, " WAS_LIVE ")" told                             \
    " SELECT count(*) FILTER (WHERE live) FROM r"

/* $1 tenant $2 user */
#define SESSION_DELETE_ALL(told)                                                                   \
    "WITH l AS MATERIALIZED (SELECT id FROM sessions WHERE tenant_id = $1::uuid"                   \
    "   AND user_id = $2::uuid" LOCK_IN_ORDER "),"                                                 \
    " r AS (DELETE FROM sessions USING l WHERE sessions.id = l.id"                                 \
    "   RETURNING tenant_id, user_id, sessions.id, " LIVE " AS live)" told                         \
    " SELECT count(*) FILTER (WHERE live) FROM r"

/* $1 session $2 reason */
#define SESSION_REVOKE(told)                                                                       \
    "WITH r AS (UPDATE sessions SET " END "$2::text WHERE id = $1::uuid AND " NOT_ENDED            \
    "   RETURNING " SESSION_ID ", " WAS_LIVE ")" told                                              \
    " SELECT tenant_id, user_id, EXISTS (SELECT FROM r WHERE live) FROM sessions"                  \
    " WHERE id = $1"

/* $1 tenant $2 user $3 status */
#define USER_SET_STATUS                                                                            \
    "UPDATE credentials SET status = $3::text, updated_at = " NOW                                  \
    " WHERE tenant_id = $1::uuid AND user_id = $2::uuid AND status <> $3"

#define USER_DELETE "DELETE FROM credentials WHERE tenant_id = $1::uuid AND user_id = $2::uuid"

/* $1 tenant $2 identity digest */
#define LOCK_DELETE                                                                                \
    "DELETE FROM login_throttle WHERE tenant_id = $1::uuid AND identity_digest = $2::bytea"
#define WAS_LOCKED "coalesce(locked_until > " NOW ", false)"

/* Of the sweep. */
#define PAGES "ctid >= $1::tid AND ctid < $2::tid"
#define PAGES_OF(table) "pg_relation_size('" table "') / current_setting('block_size')::bigint"
#define OVER "least(idle_expires_at, absolute_expires_at, revoked_at) <= $3::bigint"
/* Rows that somebody has locked are left for the next sweep: a statement that waits for nobody is
 * in no deadlock, in whatever order it meets its rows. */
#define AMONG "ctid = ANY (ARRAY(SELECT ctid FROM "
#define UNLOCKED " FOR UPDATE SKIP LOCKED))"

const char *const PG_SQL[PG_STATEMENTS] = {
    [PG_PROBE] = "SELECT coalesce(max(version), 0)::bigint,"
                 " current_setting('transaction_read_only')::boolean FROM migrations",
    [PG_IDEMPOTENCY_FIND] = "SELECT user_id FROM idempotency_keys"
                            " WHERE key_digest = $1::bytea AND created_at > " NOW " - $2::bigint",
    [PG_REGISTER] = REGISTER(""),
    [PG_LOGIN_BEGIN] = LOGIN_BEGIN(""),
    [PG_LOGIN_REFUND] = LOGIN_REFUND,
    [PG_LOCK_CONFIRM] = LOCKED_BY,
    /* Logins of one user, and whatever ends the user's sessions, come one after the other. The
     * statements that follow see what the one before left. */
    [PG_LOGIN_LOCK] = "SELECT FROM credentials WHERE tenant_id = $1::uuid AND user_id = $2::uuid"
                      " FOR UPDATE",
    [PG_LOGIN_FINISH] = LOGIN_FINISH(""),
    [PG_LOGIN_EVICT] = LOGIN_EVICT,
    [PG_ROTATE] = ROTATE " RETURNING " SESSION_COLUMNS ", " NOW,
    [PG_ROTATE_LOCK] = "SELECT FROM sessions WHERE id = $1::uuid FOR UPDATE",
    [PG_ROTATE_FENCED] = ROTATE_FENCED,
    [PG_ROTATE_REPLAY] = ROTATE_REPLAY,
    [PG_ROTATE_FIND] =
        "SELECT " SESSION_COLUMNS ", " NOW ", revoked_at IS NOT NULL OR NOT " ACTIVE ","
        " sealed_successor FROM sessions WHERE id = $1::uuid",
    [PG_SESSION_END] = SESSION_END("", ""),
    [PG_SESSION_END_OWN] = SESSION_END(OWN, ""),
    [PG_SESSION_END_ALL] = SESSION_END_ALL(""),
    [PG_SESSION_LIST] = "SELECT " SESSION_COLUMNS ", id FROM sessions WHERE tenant_id = $1::uuid"
                        " AND user_id = $2::uuid AND " LIVE " AND " CURRENT
                        " ORDER BY opened_at DESC, id DESC LIMIT $3::bigint",
    /* $1 not before this. Never back, should the database's clock go back. */
    [PG_SESSION_FENCE] = "UPDATE settings SET value = greatest(value, " NOW ", $1::bigint)"
                         " WHERE name = 'sessions_not_before' RETURNING value",
    [PG_SESSION_LATEST] = "SELECT coalesce(max(opened_at), 0) FROM sessions",
    [PG_SESSION_DELETE_ALL] = SESSION_DELETE_ALL(""),
    [PG_SESSION_REVOKE] = SESSION_REVOKE(""),
    /* $1 tenant $2 email or null $3 user or null */
    [PG_USER_FIND] =
        "SELECT user_id, email, left(password_hash, 512), status = 'active', created_at,"
        " updated_at, (SELECT count(*) FROM sessions s WHERE s.tenant_id = c.tenant_id"
        "   AND s.user_id = c.user_id AND " LIVE " AND " CURRENT ")"
        " FROM credentials c WHERE tenant_id = $1::uuid"
        " AND (email = $2::text OR user_id = $3::uuid)",
    /* $1 tenant $2 user, of the last of the page before $3 how many */
    [PG_CREDENTIAL_PAGE] = "SELECT tenant_id, user_id, left(password_hash, 512) FROM credentials"
                           " WHERE (tenant_id, user_id) > ($1::uuid, $2::uuid)"
                           " ORDER BY tenant_id, user_id LIMIT $3::bigint",
    [PG_USER_SET_STATUS] = USER_SET_STATUS,
    [PG_USER_DELETE] = USER_DELETE,
    /* $1 tenant $2 identity digest */
    [PG_LOCK_FIND] = "SELECT failures, window_started_at, coalesce(locked_until, 0), now"
                     " FROM (SELECT " NOW " AS now) n LEFT JOIN login_throttle"
                     " ON tenant_id = $1::uuid AND identity_digest = $2::bytea",
    [PG_LOCK_DELETE] = LOCK_DELETE " RETURNING " WAS_LOCKED,
    [PG_IDEMPOTENCY_DELETE] = "DELETE FROM idempotency_keys"
                              " WHERE tenant_id = $1::uuid AND user_id = $2::uuid",
    /* $1 tenant $2 user: what a deleted user leaves in events that wait */
    [PG_OUTBOX_SCRUB] =
        "UPDATE outbox SET client_ip = NULL, user_agent = NULL, previous_ip = NULL,"
        " previous_user_agent = NULL,"
        " label = CASE WHEN subject = 'auth.user_registered' THEN NULL ELSE label END"
        " WHERE tenant_id = $1::uuid AND user_id = $2::uuid"
        " AND subject IN ('auth.user_registered', 'auth.refresh_replay_detected')",
    /* Every instance sees the change; the first to say so is the one that tells. */
    [PG_OUTBOX_TELL_KEY] =
        "WITH first AS (INSERT INTO settings (name, value)"
        "   SELECT 'key ' || $3::text || ' ' || $4::text, " NOW " WHERE NOT EXISTS"
        "     (SELECT FROM settings WHERE name = 'key ' || $3 || ' revoked')"
        "   ON CONFLICT DO NOTHING RETURNING name)"
        " INSERT INTO outbox (subject, trace_id, label, detail)"
        " SELECT $1::text, $2::text, $3, $4 FROM first",
    [PG_OUTBOX_LEAD] = "SELECT pg_try_advisory_lock(" RELAY_LOCK ")",
    /* $1 how many $2 "{subject,subject}", those known */
    [PG_OUTBOX_READ] =
        "SELECT seq, event_id, subject, occurred_at, trace_id, tenant_id, user_id, session_id,"
        " identity, label, detail, number, age_ms, client_ip, user_agent, previous_ip,"
        " previous_user_agent FROM outbox WHERE held_until <= " NOW
        " AND subject = ANY ($2::text::text[]) ORDER BY seq LIMIT $1::bigint",
    /* $1 how many are counted one by one */
    [PG_OUTBOX_MEASURE] =
        "SELECT " NOW ", (SELECT count(*) FROM (SELECT FROM outbox LIMIT $1::bigint) few),"
        " (SELECT min(seq) FROM outbox), (SELECT max(seq) FROM outbox),"
        " (SELECT occurred_at FROM outbox ORDER BY seq LIMIT 1)",
    /* $1 "{1,2,3}" */
    [PG_OUTBOX_DELETE] = "DELETE FROM outbox WHERE seq = ANY ($1::text::bigint[])",
    /* $1 how many */
    [PG_OUTBOX_DROP] = "DELETE FROM outbox WHERE seq IN"
                       " (SELECT seq FROM outbox ORDER BY seq LIMIT $1::bigint)",
    /* $1 how long. A due time that lies more than a day ahead was set by a clock that was wrong. */
    [PG_SWEEP_BEGIN] = "WITH t AS (UPDATE settings SET value = " NOW " + $1::bigint"
                       "   WHERE name = 'sweep_due'"
                       "   AND (value <= " NOW " OR value > " NOW " + 86400000) RETURNING 1)"
                       " SELECT EXISTS (SELECT FROM t),"
                       " (SELECT value FROM settings WHERE name = 'live_sessions'), " NOW,
    [PG_SWEEP_KEEP] = "UPDATE settings SET value = " NOW " + $1::bigint WHERE name = 'sweep_due'",
    [PG_SWEEP_END] = "UPDATE settings SET value = CASE name WHEN 'sweep_due'"
                     " THEN " NOW " + $1::bigint ELSE $2::bigint END"
                     " WHERE name IN ('sweep_due', 'live_sessions')",
    /* $1 $2 pages $3 when what goes was over $4 when addresses were last used. least and greatest
     * skip nulls. */
    [PG_SWEEP_SESSIONS] =
        "WITH gone AS (DELETE FROM sessions"
        "   WHERE " AMONG "sessions WHERE " PAGES " AND " OVER UNLOCKED " RETURNING 1),"
        " erased AS (UPDATE sessions SET client_ip = '', user_agent = ''"
        "   WHERE " AMONG "sessions WHERE " PAGES
        "   AND rotated_at <= $4::bigint AND (client_ip <> '' OR user_agent <> '')"
        "   AND NOT " OVER UNLOCKED " RETURNING 1)"
        " SELECT (SELECT count(*) FROM gone), (SELECT count(*) FROM erased),"
        " (SELECT count(*) FROM sessions WHERE " PAGES " AND " LIVE " AND " CURRENT "),"
        " " PAGES_OF("sessions"),
    [PG_SWEEP_THROTTLES] =
        "WITH gone AS (DELETE FROM login_throttle WHERE " AMONG "login_throttle WHERE " PAGES
        "   AND greatest(window_started_at, locked_until) <= $3::bigint" UNLOCKED " RETURNING 1)"
        " SELECT count(*), 0::bigint, 0::bigint, " PAGES_OF("login_throttle") " FROM gone",
    [PG_SWEEP_KEYS] =
        "WITH gone AS (DELETE FROM idempotency_keys WHERE " AMONG "idempotency_keys WHERE " PAGES
        "   AND created_at <= $3::bigint" UNLOCKED " RETURNING 1)"
        " SELECT count(*), 0::bigint, 0::bigint, " PAGES_OF("idempotency_keys") " FROM gone",
};

const char *const PG_SQL_TELLING[PG_STATEMENTS] = {
    [PG_REGISTER] = REGISTER(TELL("told", "'auth.user_registered'", "tenant_id, user_id, label",
                                  "$1::uuid, user_id, $3::text", "added WHERE true", "$8", "$9")),
    /* $9 how long it is held */
    [PG_LOGIN_BEGIN] = LOGIN_BEGIN(
        ", told AS (INSERT INTO outbox (subject, trace_id, tenant_id, user_id, identity, number,"
        "   attempt_id, held_until) SELECT 'auth.account_locked', $7::text, $1, c.user_id, $3,"
        "   t.locked_until, $6, n.now + $9::bigint FROM n CROSS JOIN t LEFT JOIN c ON true"
        "   WHERE t.locked_until IS NOT NULL AND $8::bigint = 1)"),
    [PG_LOGIN_REFUND] = "WITH taken" TAKE_BACK("$5") " " LOGIN_REFUND,
    [PG_LOCK_CONFIRM] = "WITH l AS (" LOCKED_BY "), released AS (UPDATE outbox SET held_until = 0"
                        "   WHERE attempt_id = $3 AND EXISTS (SELECT FROM l)),"
                        " taken AS (DELETE FROM outbox WHERE attempt_id = $3 AND held_until > 0"
                        "   AND NOT EXISTS (SELECT FROM l)) SELECT FROM l",
    /* $14 attempt whose event may be held, or null */
    [PG_LOGIN_FINISH] = LOGIN_FINISH(TELL("told", "'auth.user_logged_in'", OF_SESSION, SESSION_ID,
                                          "s WHERE true", "$13", "$14") ", taken" TAKE_BACK("$15")),
    [PG_LOGIN_EVICT] = TELLING(LOGIN_EVICT, SESSION_ID,
                               TELL_REVOKED("'session_limit'", "r WHERE true", "$5", "$6")),
    [PG_ROTATE] = TELLING(ROTATE, SESSION_COLUMNS ", " NOW ", id",
                          TELL("told", "'auth.token_refreshed'", OF_SESSION ", number",
                               SESSION_ID ", generation", "r WHERE true", "$9", "$10")),
    [PG_ROTATE_FENCED] =
        TELLING(ROTATE_FENCED, SESSION_ID, TELL_REVOKED("'operator'", "r WHERE true", "$2", "$3")),
    /* $4 ip $5 agent of who presents it; $6 $7 for the replay, $8 $9 for the session */
    [PG_ROTATE_REPLAY] = TELLING(
        ROTATE_REPLAY, SESSION_ID ", generation, rotated_at, client_ip, user_agent",
        TELL("seen", "'auth.refresh_replay_detected'",
             OF_SESSION ", number, age_ms, client_ip, user_agent, previous_ip, previous_user_agent",
             SESSION_ID ", generation - $2, " NOW " - rotated_at, $4::text, $5::text, client_ip,"
                        " user_agent",
             "r WHERE true", "$6", "$7")
            TELL_REVOKED("'replay_detected'", "r WHERE true", "$8", "$9")),
    [PG_SESSION_END] = SESSION_END("", TELL("told", "'auth.user_logged_out'", OF_SESSION,
                                            SESSION_ID, "r WHERE live", "$3", "$4")),
    [PG_SESSION_END_OWN] = SESSION_END(OWN, TELL_REVOKED("$2::text", "r WHERE live", "$5", "$6")),
    [PG_SESSION_END_ALL] = SESSION_END_ALL(TELL_REVOKED("$3::text", "r WHERE live", "$4", "$5")),
    [PG_SESSION_DELETE_ALL] =
        SESSION_DELETE_ALL(TELL_REVOKED("'account_deleted'", "r WHERE live", "$3", "$4")),
    [PG_SESSION_REVOKE] = SESSION_REVOKE(TELL_REVOKED("$2::text", "r WHERE live", "$3", "$4")),
    [PG_USER_SET_STATUS] = TELLING(
        USER_SET_STATUS, "tenant_id, user_id, status",
        TELL("told",
             "CASE status WHEN 'active' THEN 'auth.user_enabled' ELSE 'auth.user_disabled' END",
             "tenant_id, user_id", "tenant_id, user_id", "r WHERE true", "$4", "$5")),
    [PG_USER_DELETE] = TELLING(USER_DELETE, "tenant_id, user_id",
                               TELL("told", "'auth.user_deleted'", "tenant_id, user_id",
                                    "tenant_id, user_id", "r WHERE true", "$3", "$4")),
    /* $5 user. If whoever reserved the attempt that locked has died, its event is held still. */
    [PG_LOCK_DELETE] =
        TELLING(LOCK_DELETE, WAS_LOCKED " AS locked, last_attempt",
                TELL("told", "'auth.account_unlocked'", "tenant_id, identity, user_id",
                     "$1::uuid, $2::bytea, $5::uuid", "r WHERE locked", "$3",
                     "$4") ", taken" TAKE_BACK("(SELECT last_attempt FROM r)")),
};
