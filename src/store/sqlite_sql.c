/* sqlite_sql.c: every statement that is prepared on SQLite. */
#include "store/sqlite.h"

#define LIVE "revoked_at IS NULL AND idle_expires_at > ?1 AND absolute_expires_at > ?1"

/* What ends sessions ends not only those that are live by its clock: a rotation that waits may have
 * looked at an earlier one, and would bring back what has just expired. Only the end of a live one
 * is told and counted. */
#define NOT_ENDED "revoked_at IS NULL"
#define WAS_LIVE "idle_expires_at > ?1 AND absolute_expires_at > ?1"

/* Opened since all sessions were last ended at once. */
#define CURRENT "opened_at > (SELECT value FROM settings WHERE name = 'sessions_not_before')"

/* ?5, or behind a fence that lies ahead, where a clock that was wrong has put it: else no login
 * would be good until then. */
#define OPENED                                                                                     \
    "(SELECT CASE WHEN value > ?10 THEN max(?5, value + 1) ELSE ?5 END FROM settings"              \
    " WHERE name = 'sessions_not_before')"

const char *const SQ_SQL[SQ_STATEMENTS] = {
    [SQ_BEGIN] = "BEGIN IMMEDIATE",
    [SQ_COMMIT] = "COMMIT",
    [SQ_ROLLBACK] = "ROLLBACK",
    [SQ_IDEMPOTENCY_FIND] =
        "SELECT user_id FROM idempotency_keys WHERE key_digest = ?1 AND created_at > ?2",
    [SQ_IDEMPOTENCY_PUT] = "INSERT OR REPLACE INTO idempotency_keys"
                           " (key_digest, tenant_id, user_id, created_at) VALUES (?1, ?2, ?3, ?4)",
    [SQ_CREDENTIAL_PUT] =
        "INSERT INTO credentials (tenant_id, user_id, email, password_hash, created_at, updated_at,"
        " status) VALUES (?1, ?2, ?3, ?4, ?5, ?5, ?6) ON CONFLICT DO NOTHING",
    [SQ_CREDENTIAL_BY_EMAIL] = "SELECT user_id, status = 'active', password_hash FROM credentials"
                               " WHERE tenant_id = ?1 AND email = ?2",
    [SQ_CREDENTIAL_IS_ACTIVE] = "SELECT 1 FROM credentials"
                                " WHERE tenant_id = ?1 AND user_id = ?2 AND status = 'active'",
    [SQ_CREDENTIAL_PAGE] = "SELECT tenant_id, user_id, password_hash FROM credentials"
                           " WHERE (tenant_id, user_id) > (?1, ?2)"
                           " ORDER BY tenant_id, user_id LIMIT ?3",
    [SQ_CREDENTIAL_REHASH] = "UPDATE credentials SET password_hash = ?4, updated_at = ?5"
                             " WHERE tenant_id = ?1 AND user_id = ?2 AND password_hash = ?3",
    [SQ_THROTTLE_FIND] = "SELECT failures, window_started_at, locked_until FROM login_throttle"
                         " WHERE tenant_id = ?1 AND identity_digest = ?2",
    [SQ_THROTTLE_RESERVE] =
        "INSERT OR REPLACE INTO login_throttle"
        " (tenant_id, identity_digest, failures, window_started_at, locked_until, last_attempt)"
        " VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    [SQ_THROTTLE_REFUND] = "UPDATE login_throttle SET failures = max(failures - 1, 0),"
                           " locked_until = CASE WHEN failures <= ?4 THEN NULL"
                           " ELSE locked_until END, last_attempt = nullif(last_attempt, ?5)"
                           " WHERE tenant_id = ?1 AND identity_digest = ?2"
                           " AND (window_started_at = ?3 OR (?3 = 0 AND last_attempt = ?5))",
    [SQ_THROTTLE_LOCKED_BY] = "SELECT 1 FROM login_throttle WHERE tenant_id = ?1"
                              " AND identity_digest = ?2 AND last_attempt = ?3"
                              " AND locked_until IS NOT NULL",
    [SQ_THROTTLE_CLEAR] =
        "DELETE FROM login_throttle WHERE tenant_id = ?1 AND identity_digest = ?2",
    [SQ_SESSION_PUT] = "INSERT INTO sessions (id, tenant_id, user_id, generation, token_digest,"
                       " opened_at, rotated_at, idle_expires_at, absolute_expires_at, client_ip,"
                       " user_agent) VALUES (?1, ?2, ?3, 0, ?4, " OPENED ", ?5, ?6, ?7, ?8, ?9)",
    [SQ_SESSION_EVICT] = "UPDATE sessions SET revoked_at = ?1, revoked_reason = 'session_limit',"
                         " sealed_successor = NULL WHERE id IN (SELECT id FROM sessions"
                         " WHERE tenant_id = ?2 AND user_id = ?3 AND " LIVE
                         /* The new one stays: by a clock that has gone back it may be the oldest,
                          * and its tokens are about to be given out. */
                         " ORDER BY id = ?5 DESC, opened_at DESC, id DESC LIMIT -1 OFFSET ?4)"
                         " RETURNING id",
    [SQ_SESSION_FIND] = "SELECT tenant_id, user_id, generation, opened_at, rotated_at,"
                        " idle_expires_at, absolute_expires_at, client_ip, user_agent,"
                        " token_digest, sealed_successor, revoked_at IS NOT NULL OR NOT EXISTS"
                        " (SELECT 1 FROM credentials c WHERE c.tenant_id = s.tenant_id"
                        " AND c.user_id = s.user_id AND c.status = 'active'),"
                        " " CURRENT " FROM sessions s WHERE id = ?1",
    [SQ_SESSION_ROTATE] = "UPDATE sessions SET generation = generation + 1, token_digest = ?2,"
                          " sealed_successor = ?3, rotated_at = ?4, idle_expires_at = ?5,"
                          " client_ip = ?6, user_agent = ?7 WHERE id = ?1",
    [SQ_SESSION_END] = "UPDATE sessions SET revoked_at = ?1, revoked_reason = ?3,"
                       " sealed_successor = NULL WHERE id = ?2 AND " NOT_ENDED
                       " RETURNING " WAS_LIVE ", tenant_id, user_id",
    [SQ_SESSION_END_OWN] =
        "UPDATE sessions SET revoked_at = ?1, revoked_reason = ?3,"
        " sealed_successor = NULL WHERE id = ?2 AND tenant_id = ?4"
        " AND user_id = ?5 AND " NOT_ENDED " RETURNING " WAS_LIVE ", tenant_id, user_id",
    [SQ_SESSION_END_ALL] = "UPDATE sessions SET revoked_at = ?1, revoked_reason = ?4,"
                           " sealed_successor = NULL WHERE tenant_id = ?2 AND user_id = ?3"
                           " AND " NOT_ENDED " RETURNING " WAS_LIVE ", id",
    [SQ_SESSION_LIST] = "SELECT tenant_id, user_id, generation, opened_at, rotated_at,"
                        " idle_expires_at, absolute_expires_at, client_ip, user_agent, id"
                        " FROM sessions WHERE tenant_id = ?2 AND user_id = ?3 AND " LIVE
                        " AND " CURRENT " ORDER BY opened_at DESC, id DESC LIMIT ?4",
    /* Never back, should the clock go back. */
    [SQ_SESSION_FENCE] = "UPDATE settings SET value = max(value, ?1)"
                         " WHERE name = 'sessions_not_before' RETURNING value",
    [SQ_SESSION_LATEST] = "SELECT coalesce(max(opened_at), 0) FROM sessions",
    [SQ_SESSION_DELETE_ALL] = "DELETE FROM sessions WHERE tenant_id = ?1 AND user_id = ?2",
    [SQ_SESSION_OWNER] = "SELECT tenant_id, user_id FROM sessions WHERE id = ?1",
    [SQ_USER_FIND] = "SELECT user_id, email, password_hash, status = 'active', created_at,"
                     " updated_at, (SELECT count(*) FROM sessions s WHERE s.tenant_id = ?2"
                     " AND s.user_id = c.user_id AND " LIVE " AND " CURRENT ") FROM credentials c"
                     " WHERE tenant_id = ?2 AND (email = ?3 OR user_id = ?4)",
    [SQ_USER_SET_STATUS] = "UPDATE credentials SET status = ?3, updated_at = ?4"
                           " WHERE tenant_id = ?1 AND user_id = ?2 AND status <> ?3",
    [SQ_USER_EXISTS] = "SELECT 1 FROM credentials WHERE tenant_id = ?1 AND user_id = ?2",
    [SQ_USER_DELETE] = "DELETE FROM credentials WHERE tenant_id = ?1 AND user_id = ?2",
    [SQ_IDEMPOTENCY_DELETE] = "DELETE FROM idempotency_keys WHERE tenant_id = ?1 AND user_id = ?2",
    [SQ_OUTBOX_PUT] =
        "INSERT INTO outbox (event_id, subject, occurred_at, held_until, trace_id, tenant_id,"
        " user_id, session_id, identity, label, detail, number, age_ms, client_ip, user_agent,"
        " previous_ip, previous_user_agent, attempt_id) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, "
        "?9, ?10, ?11,"
        " ?12, ?13, ?14, ?15, ?16, ?17, ?18)",
    [SQ_OUTBOX_TAKE_BACK] = "DELETE FROM outbox WHERE attempt_id = ?1 AND held_until > 0",
    [SQ_OUTBOX_TAKE_BACK_LOCK] =
        "DELETE FROM outbox WHERE held_until > 0 AND attempt_id = (SELECT last_attempt"
        " FROM login_throttle WHERE tenant_id = ?1 AND identity_digest = ?2)",
    [SQ_OUTBOX_CLAIM_KEY] =
        "INSERT INTO settings (name, value) SELECT 'key ' || ?1 || ' ' || ?2, ?3"
        " WHERE NOT EXISTS (SELECT 1 FROM settings WHERE name = 'key ' || ?1 || ' revoked')"
        " ON CONFLICT DO NOTHING",
    [SQ_OUTBOX_RELEASE] = "UPDATE outbox SET held_until = 0 WHERE attempt_id = ?1",
    [SQ_OUTBOX_SCRUB] =
        "UPDATE outbox SET client_ip = NULL, user_agent = NULL, previous_ip = NULL,"
        " previous_user_agent = NULL,"
        " label = CASE WHEN subject = 'auth.user_registered' THEN NULL ELSE label END"
        " WHERE tenant_id = ?1 AND user_id = ?2"
        " AND subject IN ('auth.user_registered', 'auth.refresh_replay_detected')",
    [SQ_OUTBOX_READ] =
        "SELECT seq, event_id, subject, occurred_at, trace_id, tenant_id, user_id, session_id,"
        " identity, label, detail, number, age_ms, client_ip, user_agent, previous_ip,"
        " previous_user_agent FROM outbox WHERE held_until <= ?1 ORDER BY seq",
    [SQ_OUTBOX_MEASURE] = "SELECT (SELECT count(*) FROM (SELECT 1 FROM outbox LIMIT ?1)),"
                          " (SELECT min(seq) FROM outbox), (SELECT max(seq) FROM outbox),"
                          " (SELECT occurred_at FROM outbox ORDER BY seq LIMIT 1)",
    [SQ_OUTBOX_DELETE] = "DELETE FROM outbox WHERE seq = ?1",
    [SQ_OUTBOX_DROP] =
        "DELETE FROM outbox WHERE seq IN (SELECT seq FROM outbox ORDER BY seq LIMIT ?1)",
    [SQ_SWEEP_CLAIM] = "UPDATE settings SET value = ?2 WHERE name = 'sweep_due'"
                       " AND (value <= ?1 OR value > ?3)",
    [SQ_SWEEP_LIVE] = "SELECT value FROM settings WHERE name = 'live_sessions'",
    [SQ_SETTING_SET] = "UPDATE settings SET value = ?2 WHERE name = ?1",
};
