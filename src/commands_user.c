/* commands_user.c: watchword user show, disable, enable, unlock, delete; and import. */
#include <stdio.h>
#include <string.h>

#include "auth/phc.h"
#include "base/clock.h"
#include "commands.h"
#include "commands_import.h"
#include "commands_operator.h"

#define OUTPUT_MAX 4096

/* ---- show ---- */

static void put_hash(struct text *t, const char *stored)
{
    struct phc phc;
    json_key(t, "password");
    json_open(t);
    if (phc_parse(stored, strlen(stored), &phc) == OK) {
        json_str(t, "algorithm", "argon2id");
        json_i64(t, "memory_kib", phc.params.memory_kib);
        json_i64(t, "iterations", phc.params.iterations);
        json_i64(t, "parallelism", phc.params.parallelism);
        if (phc.keyid[0] != '\0')
            json_str(t, "pepper", phc.keyid);
    } else {
        json_str(t, "algorithm", "unusable");
    }
    json_close(t);
}

static void show_json(const struct store_user *user, const struct store_lock *lock, bool locked)
{
    char buf[OUTPUT_MAX];
    struct text t = text_on(buf, sizeof buf);
    json_open(&t);
    operator_put_id(&t, "tenant_id", &user->tenant_id);
    operator_put_id(&t, "user_id", &user->user_id);
    json_str(&t, "email", user->email);
    json_str(&t, "status", user->active ? "active" : "disabled");
    operator_put_time(&t, "created_at", user->created_at);
    operator_put_time(&t, "updated_at", user->updated_at);
    json_i64(&t, "live_sessions", (int64_t)user->live_sessions);
    json_i64(&t, "failures", lock->failures);
    if (lock->failures > 0)
        operator_put_time(&t, "failures_since", lock->window_started_at);
    json_bool(&t, "locked", locked);
    if (locked)
        operator_put_time(&t, "locked_until", lock->locked_until);
    put_hash(&t, user->password_hash);
    json_close(&t);
    puts(buf);
}

static void print_hash(const char *stored)
{
    struct phc phc;
    if (phc_parse(stored, strlen(stored), &phc) != OK) {
        puts("password:  unusable");
        return;
    }
    printf("password:  argon2id m=%u t=%u p=%u, %s%s\n", phc.params.memory_kib,
           phc.params.iterations, phc.params.parallelism,
           phc.keyid[0] != '\0' ? "pepper " : "no pepper", phc.keyid);
}

static void print_time(const char *name, int64_t unix_ms)
{
    char s[CLOCK_RFC3339_LEN + 1];
    clock_format_rfc3339(unix_ms, s);
    printf("%s%s\n", name, s);
}

static void show_text(const struct store_user *user, const struct store_lock *lock, bool locked)
{
    char s[UUID_LEN + 1];
    uuid_format(&user->tenant_id, s);
    printf("tenant:    %s\n", s);
    uuid_format(&user->user_id, s);
    printf("user:      %s\n", s);
    printf("e-mail:    %s\n", user->email);
    printf("status:    %s\n", user->active ? "active" : "disabled");
    print_time("created:   ", user->created_at);
    print_time("updated:   ", user->updated_at);
    printf("sessions:  %llu live\n", (unsigned long long)user->live_sessions);
    if (lock->failures == 0)
        puts("failures:  none");
    else {
        printf("failures:  %lld since ", (long long)lock->failures);
        print_time("", lock->window_started_at);
    }
    if (locked)
        print_time("locked:    until ", lock->locked_until);
    else
        puts("locked:    no");
    print_hash(user->password_hash);
}

static int show(struct operation *op)
{
    struct store_lock lock;
    enum err e = store_find_lock(op->conn, &op->user.tenant_id, op->identity, &lock);
    if (e != OK)
        return operator_failed(op, e);
    bool locked = lock.locked_until > lock.now;
    if (!locked && lock.locked_until > 0)
        lock.failures = 0; /* the next one counts afresh */
    (operator_json(op) ? show_json : show_text)(&op->user, &lock, locked);
    return 0;
}

/* ---- what changes something ---- */

struct done {
    const char *member; /* of the JSON object, true */
    bool changed;
    int64_t ended; /* -1: sessions are not touched */
};

static void answer_json(const struct operation *op, const struct done *done)
{
    char buf[OUTPUT_MAX];
    struct text t = text_on(buf, sizeof buf);
    json_open(&t);
    operator_put_id(&t, "tenant_id", &op->user.tenant_id);
    operator_put_id(&t, "user_id", &op->user.user_id);
    json_bool(&t, done->member, true);
    json_bool(&t, "changed", done->changed);
    if (done->ended >= 0)
        json_i64(&t, "sessions_ended", done->ended);
    json_close(&t);
    puts(buf);
}

/* "was disabled before" or "is disabled", and what became of the sessions. */
static int answer(const struct operation *op, const char *text, const struct done *done)
{
    if (operator_json(op)) {
        answer_json(op, done);
        return 0;
    }
    printf("%s %s", op->user.email, text);
    if (done->ended >= 0)
        printf("; sessions ended: %lld", (long long)done->ended);
    puts("");
    return 0;
}

static void audit(const struct operation *op, const char *event, const char *message,
                  const struct done *done)
{
    struct log_line line;
    operator_audit(op, &line, event, message, &op->user.tenant_id, &op->user.user_id);
    log_str(&line, "result", done->changed ? "changed" : "unchanged");
    if (done->ended >= 0)
        log_i64(&line, "sessions_ended", done->ended);
    log_end(&line);
}

static int not_there(const struct operation *op, enum err e)
{
    if (e != ERR_NOT_FOUND)
        return operator_failed(op, e);
    fprintf(stderr, "watchword: %s: this user has just been deleted\n",
            (op->options.given & OPTION_EMAIL) != 0 ? "--email" : "--user");
    return 1;
}

static int disable(struct operation *op)
{
    struct store_ended ended;
    enum err e = store_set_active(op->conn, &op->user.tenant_id, &op->user.user_id, false, &ended);
    if (e != OK)
        return not_there(op, e);
    struct done done = {"disabled", ended.changed, (int64_t)ended.ended};
    audit(op, "operator.user_disabled", "an operator disabled an account", &done);
    return answer(op, ended.changed ? "is disabled" : "was disabled before", &done);
}

static int enable(struct operation *op)
{
    struct store_ended ended;
    enum err e = store_set_active(op->conn, &op->user.tenant_id, &op->user.user_id, true, &ended);
    if (e != OK)
        return not_there(op, e);
    struct done done = {"enabled", ended.changed, -1};
    audit(op, "operator.user_enabled", "an operator enabled an account", &done);
    return answer(op, ended.changed ? "may log in again" : "was not disabled", &done);
}

static int unlock(struct operation *op)
{
    bool locked = false;
    enum err e =
        store_unlock(op->conn, &op->user.tenant_id, &op->user.user_id, op->identity, &locked);
    if (e != OK)
        return operator_failed(op, e);
    struct done done = {"unlocked", locked, -1};
    audit(op, "operator.user_unlocked", "an operator unlocked an account", &done);
    return answer(op, locked ? "is unlocked" : "was not locked; failed logins are forgotten",
                  &done);
}

/* What stays is that it was done, and to whom in a form that only this service's secret tells. */
static void audit_deletion(const struct operation *op, uint64_t ended)
{
    struct log_line line;
    char tag[IDENTITY_TAG_LEN + 1];
    identity_tag(op->identity, tag);
    operator_audit(op, &line, "operator.user_deleted", "an operator deleted an account",
                   &op->user.tenant_id, NULL);
    log_str(&line, "identity", tag);
    log_i64(&line, "sessions_ended", (int64_t)ended);
    log_end(&line);
}

static int delete (struct operation *op)
{
    uint64_t ended = 0;
    enum err e =
        store_delete_user(op->conn, &op->user.tenant_id, &op->user.user_id, op->identity, &ended);
    if (e != OK)
        return not_there(op, e);
    audit_deletion(op, ended);
    return answer(op, "is deleted", &(struct done){"deleted", true, (int64_t)ended});
}

static const struct operator_command COMMANDS[] = {
    {"user show", OPTIONS_USER | OPTION_JSON, NEEDS_KEYS, NULL, show},
    {"user disable", OPTIONS_USER | OPTION_YES | OPTION_JSON, NEEDS_NOTHING, "disables", disable},
    {"user enable", OPTIONS_USER | OPTION_JSON, NEEDS_NOTHING, NULL, enable},
    {"user unlock", OPTIONS_USER | OPTION_JSON, NEEDS_KEYS, NULL, unlock},
    {"user delete", OPTIONS_USER | OPTION_YES | OPTION_JSON, NEEDS_KEYS, "deletes", delete},
    {"user import", OPTION_JSON, NEEDS_PASSWORDS, NULL, import_users},
};

int command_user(int argc, char **argv)
{
    return operator_main("user", COMMANDS, ARRAY_LEN(COMMANDS), argc, argv);
}
