/* postgres_sql.c: every statement that is prepared on PostgreSQL. */
#include "store/postgres.h"

/* date_part is double precision, which holds milliseconds exactly; extract is numeric, and slow. */
#define NOW "floor(date_part('epoch', now()) * 1000)::bigint"
#define LIVE "revoked_at IS NULL AND idle_expires_at > " NOW " AND absolute_expires_at > " NOW
/* Opened since all sessions were last ended at once. */
#define CURRENT "opened_at > (SELECT value FROM settings WHERE name = 'sessions_not_before')"
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

const char *const PG_SQL[PG_STATEMENTS] = {
    [PG_PROBE] = "SELECT coalesce(max(version), 0)::bigint FROM migrations",
    [PG_IDEMPOTENCY_FIND] = "SELECT user_id FROM idempotency_keys"
                            " WHERE key_digest = $1::bytea AND created_at > " NOW " - $2::bigint",
    /* $1 tenant $2 user $3 email $4 hash $5 idempotency digest or null $6 how long a key holds
     * $7 status */
    [PG_REGISTER] =
        "WITH known AS (SELECT user_id FROM idempotency_keys"
        "   WHERE key_digest = $5::bytea AND created_at > " NOW " - $6::bigint),"
        " added AS (INSERT INTO credentials"
        "   (tenant_id, user_id, email, password_hash, created_at, updated_at, status)"
        "   SELECT $1::uuid, $2::uuid, $3::text, $4::text, " NOW ", " NOW ", $7::text"
        "   WHERE NOT EXISTS (SELECT FROM known) ON CONFLICT DO NOTHING RETURNING user_id),"
        " keyed AS (INSERT INTO idempotency_keys (key_digest, user_id, created_at)"
        "   SELECT $5::bytea, user_id, " NOW " FROM added WHERE $5::bytea IS NOT NULL"
        "   ON CONFLICT (key_digest) DO UPDATE"
        "   SET user_id = EXCLUDED.user_id, created_at = EXCLUDED.created_at)"
        " SELECT user_id FROM known UNION ALL SELECT user_id FROM added",
    /* $1 tenant $2 email $3 identity digest $4 threshold $5 lock time $6 attempt. The same rule as
     * reserve() in sqlite_login.c. */
    [PG_LOGIN_BEGIN] =
        "WITH n AS (SELECT " NOW " AS now),"
        " c AS (SELECT user_id, status = 'active' AS active, left(password_hash, 512) AS hash"
        "   FROM credentials WHERE tenant_id = $1::uuid AND email = $2::text),"
        " t AS (INSERT INTO login_throttle AS l"
        "   (tenant_id, identity_digest, failures, window_started_at, locked_until, last_attempt)"
        "   SELECT $1::uuid, $3::bytea, 1, now,"
        "          CASE WHEN 1 >= $4::bigint THEN now + $5::bigint END, $6::uuid FROM n"
        "   ON CONFLICT (tenant_id, identity_digest) DO UPDATE SET"
        "     failures = " COUNTED ","
        "     window_started_at = CASE WHEN " FRESH " THEN EXCLUDED.window_started_at"
        "                              ELSE l.window_started_at END,"
        "     locked_until = CASE WHEN " COUNTED " >= $4"
        "                         THEN EXCLUDED.window_started_at + $5 END,"
        "     last_attempt = EXCLUDED.last_attempt"
        "   WHERE l.locked_until IS NULL OR l.locked_until <= EXCLUDED.window_started_at"
        "   RETURNING window_started_at, locked_until)"
        " SELECT n.now, c.user_id, c.active, c.hash, t.window_started_at, t.locked_until,"
        "   (SELECT locked_until FROM login_throttle"
        "     WHERE tenant_id = $1 AND identity_digest = $3)"
        " FROM n LEFT JOIN c ON true LEFT JOIN t ON true",
    /* $1 tenant $2 identity digest $3 window, or 0 if not known $4 threshold $5 attempt */
    [PG_LOGIN_REFUND] =
        "UPDATE login_throttle SET failures = greatest(failures - 1, 0),"
        " locked_until = CASE WHEN failures <= $4::bigint THEN NULL ELSE locked_until END,"
        " last_attempt = nullif(last_attempt, $5::uuid)"
        " WHERE tenant_id = $1::uuid AND identity_digest = $2::bytea"
        " AND (window_started_at = $3::bigint OR ($3 = 0 AND last_attempt = $5))",
    /* Logins of one user, and whatever ends the user's sessions, come one after the other. The
     * statements that follow see what the one before left. */
    [PG_LOGIN_LOCK] = "SELECT FROM credentials WHERE tenant_id = $1::uuid AND user_id = $2::uuid"
                      " FOR UPDATE",
    /* $1 session $2 tenant $3 user $4 token digest $5 identity digest $6 ip $7 agent $8 idle
     * $9 absolute $10 old hash $11 new hash or null */
    [PG_LOGIN_FINISH] =
        "WITH a AS (SELECT tenant_id, user_id FROM credentials"
        "   WHERE tenant_id = $2::uuid AND user_id = $3::uuid AND status = 'active'),"
        " s AS (INSERT INTO sessions (id, tenant_id, user_id, generation, token_digest, opened_at,"
        "   rotated_at, idle_expires_at, absolute_expires_at, client_ip, user_agent)"
        "   SELECT $1::uuid, tenant_id, user_id, 0, $4::bytea, " NOW ", " NOW ","
        "     least(" NOW " + $8::bigint, " NOW " + $9::bigint), " NOW " + $9, $6::text, $7::text"
        "   FROM a RETURNING id),"
        " cleared AS (DELETE FROM login_throttle USING a WHERE login_throttle.tenant_id = $2"
        "   AND identity_digest = $5::bytea),"
        " rehashed AS (UPDATE credentials SET password_hash = $11::text, updated_at = " NOW
        "   FROM a WHERE credentials.tenant_id = $2 AND credentials.user_id = $3"
        "   AND password_hash = $10::text AND $11::text IS NOT NULL)"
        " SELECT id FROM s",
    /* $1 tenant $2 user $3 how many may stay */
    [PG_LOGIN_EVICT] = "UPDATE sessions SET " END "'session_limit' WHERE id IN (SELECT id"
                       " FROM sessions WHERE tenant_id = $1::uuid AND user_id = $2::uuid AND " LIVE
                       " ORDER BY opened_at DESC, id DESC OFFSET $3::bigint)",
    /* $1 session $2 generation $3 digest $4 next digest $5 sealed $6 ip $7 agent $8 idle */
    [PG_ROTATE] =
        "UPDATE sessions SET generation = generation + 1, token_digest = $4::bytea,"
        " sealed_successor = $5::bytea, rotated_at = " NOW ","
        " idle_expires_at = least(" NOW " + $8::bigint, absolute_expires_at),"
        " client_ip = $6::text, user_agent = $7::text FROM credentials c"
        " WHERE id = $1::uuid AND generation = $2::bigint AND token_digest = $3::bytea AND " LIVE
        " AND " CURRENT " AND c.tenant_id = sessions.tenant_id AND c.user_id = sessions.user_id"
        " AND c.status = 'active' RETURNING " SESSION_COLUMNS ", " NOW,
    [PG_ROTATE_LOCK] = "SELECT FROM sessions WHERE id = $1::uuid FOR UPDATE",
    /* Its row learns late that it had ended. */
    [PG_ROTATE_FENCED] =
        "UPDATE sessions SET " END "'operator' WHERE id = $1::uuid AND " LIVE " AND NOT " CURRENT,
    /* $1 session $2 generation $3 leeway */
    [PG_ROTATE_REPLAY] =
        "UPDATE sessions SET " END "'replay_detected' WHERE id = $1::uuid AND " LIVE " AND " ACTIVE
        " AND generation > $2::bigint AND NOT (generation = $2 + 1"
        " AND sealed_successor IS NOT NULL AND rotated_at + $3::bigint > " NOW ")",
    [PG_ROTATE_FIND] =
        "SELECT " SESSION_COLUMNS ", " NOW ", revoked_at IS NOT NULL OR NOT " ACTIVE ","
        " sealed_successor FROM sessions WHERE id = $1::uuid",
    [PG_SESSION_END] = "UPDATE sessions SET " END "$2::text WHERE id = $1::uuid AND " LIVE,
    [PG_SESSION_END_OWN] = "UPDATE sessions SET " END "$2::text WHERE id = $1::uuid"
                           " AND tenant_id = $3::uuid AND user_id = $4::uuid AND " LIVE,
    /* Not only what is live by this clock: a rotation on its way may have looked at an earlier one,
     * and would bring back what has just expired. */
    [PG_SESSION_END_ALL] =
        "WITH e AS (UPDATE sessions SET " END "$3::text WHERE tenant_id = $1::uuid"
        "   AND user_id = $2::uuid AND revoked_at IS NULL"
        "   RETURNING idle_expires_at > " NOW " AND absolute_expires_at > " NOW " AS live)"
        " SELECT count(*) FILTER (WHERE live) FROM e",
    [PG_SESSION_LIST] = "SELECT " SESSION_COLUMNS ", id FROM sessions WHERE tenant_id = $1::uuid"
                        " AND user_id = $2::uuid AND " LIVE " AND " CURRENT
                        " ORDER BY opened_at DESC, id DESC LIMIT $3::bigint",
    /* Never back, should the database's clock go back. */
    [PG_SESSION_FENCE] = "UPDATE settings SET value = greatest(value, " NOW ")"
                         " WHERE name = 'sessions_not_before' RETURNING value",
    [PG_SESSION_DELETE_ALL] =
        "WITH e AS (DELETE FROM sessions WHERE tenant_id = $1::uuid AND user_id = $2::uuid"
        "   RETURNING " LIVE " AS live) SELECT count(*) FILTER (WHERE live) FROM e",
    [PG_SESSION_REVOKE] =
        "WITH e AS (UPDATE sessions SET " END "$2::text WHERE id = $1::uuid AND revoked_at IS NULL"
        "   RETURNING idle_expires_at > " NOW " AND absolute_expires_at > " NOW " AS live)"
        " SELECT tenant_id, user_id, EXISTS (SELECT FROM e WHERE live) FROM sessions"
        " WHERE id = $1",
    /* $1 tenant $2 email or null $3 user or null */
    [PG_USER_FIND] =
        "SELECT user_id, email, left(password_hash, 512), status = 'active', created_at,"
        " updated_at, (SELECT count(*) FROM sessions s WHERE s.tenant_id = c.tenant_id"
        "   AND s.user_id = c.user_id AND " LIVE " AND " CURRENT ")"
        " FROM credentials c WHERE tenant_id = $1::uuid"
        " AND (email = $2::text OR user_id = $3::uuid)",
    /* $1 tenant $2 user $3 status */
    [PG_USER_SET_STATUS] = "UPDATE credentials SET status = $3::text, updated_at = " NOW
                           " WHERE tenant_id = $1::uuid AND user_id = $2::uuid AND status <> $3",
    [PG_USER_DELETE] = "DELETE FROM credentials WHERE tenant_id = $1::uuid AND user_id = $2::uuid",
    /* $1 tenant $2 identity digest */
    [PG_LOCK_FIND] = "SELECT failures, window_started_at, coalesce(locked_until, 0), now"
                     " FROM (SELECT " NOW " AS now) n LEFT JOIN login_throttle"
                     " ON tenant_id = $1::uuid AND identity_digest = $2::bytea",
    [PG_LOCK_DELETE] = "DELETE FROM login_throttle WHERE tenant_id = $1::uuid"
                       " AND identity_digest = $2::bytea"
                       " RETURNING coalesce(locked_until > " NOW ", false)",
    [PG_IDEMPOTENCY_DELETE] = "DELETE FROM idempotency_keys WHERE user_id = $1::uuid",
};
