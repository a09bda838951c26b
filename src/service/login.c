/*
 * login.c: a login, top to bottom.
 *
 *     start (network)  shape, limits, a place in the HASH lane, identity
 *     load (DB)        finds the credential, reserves one attempt
 *     verify (HASH)    the same work whether or not there is such an account
 *     rehash (HASH)    only if the stored hash is of yesterday's strength, and there is room
 *     sign (SIGN)      before the commit: what can fail comes first
 *     commit (DB)      opens the session, forgets the failures
 *
 * Unknown account, wrong password and wrong tenant, and a disabled account with a wrong password,
 * take the same steps and get the same answer.
 */
#include <string.h>

#include "base/clock.h"
#include "base/failpoint.h"
#include "service/call.h"

static unsigned seconds_until(int64_t then_ms, int64_t now_ms)
{
    int64_t left = then_ms > now_ms ? then_ms - now_ms : 1;
    return (unsigned)((left + MS_PER_SECOND - 1) / MS_PER_SECOND);
}

/* The outcome is for the operator alone: the answers are the same. */
static void answer_denied(struct call *call, enum outcome outcome)
{
    answer_problem(call, outcome, ERR_DENIED, "invalid_credentials", "invalid credentials");
    note_event(call, LOG_INFO, "auth.login_failed", outcome_name(outcome));
}

/* ---- start ---- */

static enum flow read_delivery(struct call *call, const struct member *member)
{
    static const char *const names[] = {"body", "cookie", "both"};
    call->login.delivery = call->service->config.settings.delivery;
    if (member->value == NULL)
        return FLOW_NEXT;
    for (unsigned i = 0; i < ARRAY_LEN(names); i++) {
        if (strcmp(member->value, names[i]) == 0) {
            call->login.delivery = (enum delivery)(i + 1);
            return FLOW_NEXT;
        }
    }
    answer_problem(call, OUTCOME_MALFORMED, ERR_INVALID, "invalid_member",
                   "must be body, cookie or both: delivery");
    return FLOW_DONE;
}

static enum flow read_identity(struct call *call, const struct member *email)
{
    struct login_call *login = &call->login;
    enum err e = identity_canonical(email->value, email->len, login->email);
    if (e == ERR_MALFORMED) {
        answer_problem(call, OUTCOME_INVALID_EMAIL, e, "invalid_email", "invalid email");
        return FLOW_DONE;
    }
    if (e == OK)
        e = identity_digest(call->service->config.keys, &call->tenant_id, login->email,
                            login->identity);
    if (e != OK) {
        answer_fault(call, e, "identity");
        return FLOW_DONE;
    }
    identity_tag(login->identity, call->identity_tag);
    return FLOW_NEXT;
}

static enum flow start(struct call *call, struct member members[4])
{
    if (body_uuid(call, &members[0], &call->tenant_id) == FLOW_DONE)
        return FLOW_DONE;
    call->has_tenant = true;
    if (read_delivery(call, &members[3]) == FLOW_DONE || limit_address(call) == FLOW_DONE ||
        flow_take_place(call) == FLOW_DONE || read_identity(call, &members[1]) == FLOW_DONE ||
        limit_login(call, call->login.identity) == FLOW_DONE)
        return FLOW_DONE;
    enum err e = password_normalise(members[2].value, members[2].len, &call->login.password);
    if (e == ERR_INTERNAL) {
        answer_fault(call, e, "out of memory");
        return FLOW_DONE;
    }
    if (e != OK) /* cannot be anyone's: hashed as the empty one, the same work, the same end */
        call->login.password.len = 0;
    call->gated = true;
    memcpy(&call->gate_key, call->login.identity, sizeof call->gate_key);
    FAILPOINT("login.begin");
    return FLOW_NEXT;
}

enum flow login_start(struct call *call)
{
    struct member members[] = {{.name = "tenant_id", .required = true},
                               {.name = "email", .required = true},
                               {.name = "password", .required = true},
                               {.name = "delivery"}};
    json_t *doc CLEANUP(cleanup_json) = NULL;
    if (body_read(call, members, ARRAY_LEN(members), &doc) == FLOW_DONE)
        return FLOW_DONE;
    enum flow flow = start(call, members);
    secret_wipe((char *)(uintptr_t)members[2].value, members[2].len);
    return flow;
}

/* ---- load ---- */

/* What is longer than all that a login waits for after its hash has begun. */
#define HOLD_MARGIN_MS 30000

/* Before the first step has passed nobody knows whether an attempt was reserved: its transaction
 * may have failed, or only the answer to it. */
static void refund(struct call *call, struct store_conn *conn)
{
    const struct login_call *login = &call->login;
    struct store_refund refund = {
        .tenant_id = call->tenant_id,
        .attempt_id = login->attempt_id,
        .window_started_at = call->step > 0 ? login->found.window_started_at : 0,
        .threshold = call->service->config.settings.lockout_threshold,
    };
    memcpy(refund.identity_digest, login->identity, sizeof refund.identity_digest);
    enum err e = conn != NULL ? refunds_try(conn, &refund) : ERR_UNAVAILABLE;
    if (e == OK || e == ERR_NOT_FOUND)
        return;
    refunds_keep(call->service->refunds, &refund);
    call->undo = NULL;
}

enum flow login_load(struct call *call, struct store_conn *conn)
{
    struct login_call *login = &call->login;
    const struct service_settings *s = &call->service->config.settings;
    struct store_login_request request = {.tenant_id = call->tenant_id,
                                          .email = login->email,
                                          .threshold = s->lockout_threshold,
                                          .lock_ms = s->lockout_ms,
                                          .hold_ms = s->hash_acquire_timeout_ms + HOLD_MARGIN_MS};
    memcpy(request.identity_digest, login->identity, sizeof request.identity_digest);
    enum err e = uuid_make_v4(&login->attempt_id);
    if (e != OK) {
        answer_fault(call, e, "random numbers");
        return FLOW_DONE;
    }
    request.attempt_id = login->attempt_id;
    call->undo = refund; /* until the password has been judged */
    e = store_login_begin(conn, &request, &login->found);
    if (e != OK) {
        answer_fault(call, e, store_last_error());
        return FLOW_DONE;
    }
    login->found_mono_ns = clock_mono_ns();
    if (login->found.locked) {
        call->undo = NULL; /* nothing was reserved */
        answer_retry(call, OUTCOME_LOCKED, ERR_LOCKED, "account_locked",
                     "account temporarily locked",
                     seconds_until(login->found.locked_until, login->found.now));
        return FLOW_DONE;
    }
    return FLOW_NEXT;
}

/* ---- verify ---- */

enum flow login_verify_begin(struct call *call, struct argon2_job **job)
{
    struct login_call *login = &call->login;
    const char *unusable = NULL;
    const char *stored = login->found.found ? login->found.password_hash : NULL;
    if (WITHOUT("dummy hash") && stored == NULL) {
        call->undo = NULL;
        answer_denied(call, OUTCOME_NOT_FOUND);
        return FLOW_DONE;
    }
    enum err e = password_verify_begin(call->service->config.password, &login->password, stored,
                                       &login->work, &unusable);
    if (e != OK) {
        answer_fault(call, e, "random numbers");
        return FLOW_DONE;
    }
    if (unusable != NULL)
        note_event(call, LOG_ERROR, "auth.hash_unusable", unusable);
    call->verify = VERIFY_ERROR; /* until it has been judged */
    *job = &login->work.job;
    return FLOW_NEXT;
}

static void note_lock(struct call *call)
{
    struct log_line line;
    call->locked_now = true;
    char until[CLOCK_RFC3339_LEN + 1];
    if (!note_begin(call, &line, LOG_WARN, "auth.lockout", "too many failed logins"))
        return;
    clock_format_rfc3339(call->login.found.locked_until, until);
    log_str(&line, "locked_until", until);
    log_end(&line);
}

/* While the password was hashed the lock may have been lifted. If nobody can be asked it is told,
 * and its event goes out later by itself. */
static void tell_lock(struct call *call, struct store_conn *conn)
{
    const struct login_call *login = &call->login;
    enum err e = conn != NULL ? store_confirm_lock(conn, &call->tenant_id, login->identity,
                                                   &login->attempt_id)
                              : ERR_UNAVAILABLE;
    call->undo = NULL; /* once, whatever becomes of the transaction */
    if (e != ERR_NOT_FOUND)
        note_lock(call);
}

enum flow login_verify_end(struct call *call)
{
    struct login_call *login = &call->login;
    FAILPOINT("login.hashed");
    if (login->found.found) {
        call->user_id = login->found.user_id;
        call->has_user = true;
    }
    bool right = password_verify_finish(&login->work) == OK;
    call->verify = right ? VERIFY_OK : VERIFY_FAIL;
    if (!right) {
        /* This attempt counts; if it locks, that may be told now. */
        call->undo = login->found.last_attempt ? tell_lock : NULL;
        answer_denied(call, login->found.found ? OUTCOME_INVALID_PASSWORD : OUTCOME_NOT_FOUND);
        return FLOW_DONE;
    }
    if (!login->found.active) {
        answer_problem(call, OUTCOME_INACTIVE, ERR_FORBIDDEN, "account_inactive",
                       "account inactive");
        return FLOW_DONE;
    }
    return FLOW_NEXT;
}

/* ---- rehash ---- */

enum flow login_rehash_begin(struct call *call, struct argon2_job **job)
{
    struct login_call *login = &call->login;
    const struct password_policy *policy = call->service->config.password;
    if (!password_outdated(policy, &login->work))
        return FLOW_NEXT;
    if (password_hash_begin(policy, &login->password, &login->work) == OK)
        *job = &login->work.job;
    return FLOW_NEXT; /* a login does not fail for want of a better hash */
}

enum flow login_rehash_end(struct call *call)
{
    struct login_call *login = &call->login;
    if (password_hash_finish(&login->work, login->new_hash) != OK)
        login->new_hash[0] = '\0';
    return FLOW_NEXT;
}

/* ---- sign ---- */

enum err login_sign_begin(struct call *call, struct access_claims *out)
{
    struct login_call *login = &call->login;
    password_wipe(&login->password);
    /* The database's clock, which the next token of this session will go by. */
    login->opened_at =
        login->found.now + (int64_t)((clock_mono_ns() - login->found_mono_ns) / NS_PER_MS);
    TRY(uuid_make_v4(&login->session_id));
    TRY(refresh_token_make(call->service->config.keys, &login->session_id, &login->token));
    *out = (struct access_claims){.tenant_id = call->tenant_id,
                                  .user_id = login->found.user_id,
                                  .session_id = login->session_id,
                                  .auth_time = login->opened_at / MS_PER_SECOND};
    return OK;
}

enum flow login_sign_end(struct call *call)
{
    (void)call; /* nobody gets the tokens before the session is there */
    FAILPOINT("login.signed");
    return FLOW_NEXT;
}

/* ---- commit ---- */

static enum err open_session(struct call *call, struct store_conn *conn)
{
    struct login_call *login = &call->login;
    const struct service_settings *s = &call->service->config.settings;
    struct store_new_session session = {
        .session_id = login->session_id,
        .tenant_id = call->tenant_id,
        .user_id = login->found.user_id,
        .client_ip = call->http->client_ip,
        .user_agent = call->http->user_agent,
        .opened_at = login->opened_at,
        .idle_ms = s->refresh_idle_ms,
        .absolute_ms = s->refresh_absolute_ms,
        .max_sessions = s->max_sessions_per_user,
        .old_hash = login->found.password_hash,
        .new_hash = login->new_hash[0] != '\0' ? login->new_hash : NULL,
        .attempt_id = login->found.last_attempt ? &login->attempt_id : NULL,
    };
    memcpy(session.identity_digest, login->identity, sizeof session.identity_digest);
    TRY(refresh_token_digest(&login->token, session.token_digest));
    return store_login_finish(conn, &session);
}

static void answer_session(struct call *call)
{
    struct login_call *login = &call->login;
    char token[REFRESH_TOKEN_LEN + 1];
    enum err e = refresh_token_format(call->service->config.keys, &login->token, token);
    if (e != OK) {
        answer_fault(call, e, "refresh token");
        return;
    }
    call->session_id = login->session_id;
    call->has_session = true;
    call->outcome = OUTCOME_OK;
    answer_tokens(call, token, (login->delivery & DELIVER_COOKIE) != 0,
                  (login->delivery & DELIVER_BODY) != 0,
                  call->service->config.settings.refresh_idle_ms / MS_PER_SECOND);
    secret_wipe(token, sizeof token);
}

enum flow login_commit(struct call *call, struct store_conn *conn)
{
    enum err e = open_session(call, conn);
    if (e == OK) {
        call->settled = true;
        answer_session(call);
    } else if (e == ERR_FORBIDDEN) { /* disabled while we hashed */
        answer_problem(call, OUTCOME_INACTIVE, e, "account_inactive", "account inactive");
    } else {
        answer_fault(call, e, store_last_error());
    }
    return FLOW_DONE;
}
