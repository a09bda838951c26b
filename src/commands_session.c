/* commands_session.c: watchword session list, revoke, revoke-all, revoke-everyone. */
#include <stdio.h>

#include "base/clock.h"
#include "commands.h"
#include "commands_operator.h"

#define LIST_MAX 1000 /* MAX_SESSIONS_PER_USER is at most that */
/* A session's JSON at its longest: every byte of the user agent escaped. */
#define ENTRY_MAX ((size_t)STORE_AGENT_MAX * 6 + 640)
#define OUTPUT_MAX 1024

/* ---- list ---- */

static void put_session(struct text *t, const struct store_session *s)
{
    json_open(t);
    operator_put_id(t, "session_id", &s->id);
    operator_put_time(t, "issued_at", s->opened_at);
    operator_put_time(t, "last_used_at", s->rotated_at);
    operator_put_time(t, "expires_at", s->idle_expires_at);
    operator_put_time(t, "absolute_expires_at", s->absolute_expires_at);
    json_str(t, "ip", s->client_ip);
    json_str(t, "user_agent", s->user_agent);
    json_close(t);
}

static int list_json(const struct operation *op, const struct store_session *list, size_t count)
{
    size_t cap = count * ENTRY_MAX + OUTPUT_MAX;
    char *buf CLEANUP(cleanup_free) = malloc(cap);
    if (buf == NULL) {
        fprintf(stderr, "watchword: out of memory\n");
        return 1;
    }
    struct text t = text_on(buf, cap);
    json_open(&t);
    operator_put_id(&t, "tenant_id", &op->user.tenant_id);
    operator_put_id(&t, "user_id", &op->user.user_id);
    json_key(&t, "sessions");
    text_put_char(&t, '[');
    for (size_t i = 0; i < count; i++)
        put_session(&t, &list[i]);
    text_put_char(&t, ']');
    json_close(&t);
    puts(buf);
    return 0;
}

static int list_text(const struct operation *op, const struct store_session *list, size_t count)
{
    char id[UUID_LEN + 1], opened[CLOCK_RFC3339_LEN + 1], used[CLOCK_RFC3339_LEN + 1];
    char agent[STORE_AGENT_MAX + 1];
    printf("%s: %zu live sessions\n", op->user.email, count);
    for (size_t i = 0; i < count; i++) {
        uuid_format(&list[i].id, id);
        clock_format_rfc3339(list[i].opened_at, opened);
        clock_format_rfc3339(list[i].rotated_at, used);
        operator_printable(list[i].user_agent, agent, sizeof agent);
        printf("%s  opened %s  used %s  %s  %s\n", id, opened, used, list[i].client_ip, agent);
    }
    return 0;
}

static int list_sessions(struct operation *op)
{
    struct store_session *list CLEANUP(cleanup_free) = calloc(LIST_MAX, sizeof *list);
    size_t count = 0;
    if (list == NULL) {
        fprintf(stderr, "watchword: out of memory\n");
        return 1;
    }
    enum err e = store_list_sessions(op->conn, &op->user.tenant_id, &op->user.user_id, list,
                                     LIST_MAX, &count);
    if (e != OK)
        return operator_failed(op, e);
    return (operator_json(op) ? list_json : list_text)(op, list, count);
}

/* ---- ending ---- */

static void audit_revoked(const struct operation *op, const struct store_revoked *revoked)
{
    struct log_line line;
    char id[UUID_LEN + 1];
    uuid_format(&op->options.session, id);
    operator_audit(op, &line, "operator.session_revoked", "an operator ended a session",
                   &revoked->tenant_id, &revoked->user_id);
    log_str(&line, "session_id", id);
    log_str(&line, "result", revoked->changed ? "changed" : "unchanged");
    log_end(&line);
}

static void answer_revoked(const struct operation *op, const struct store_revoked *revoked)
{
    char id[UUID_LEN + 1], buf[OUTPUT_MAX];
    struct text t = text_on(buf, sizeof buf);
    uuid_format(&op->options.session, id);
    if (!operator_json(op)) {
        printf("session %s %s\n", id, revoked->changed ? "is ended" : "had ended before");
        return;
    }
    json_open(&t);
    json_str(&t, "session_id", id);
    operator_put_id(&t, "tenant_id", &revoked->tenant_id);
    operator_put_id(&t, "user_id", &revoked->user_id);
    json_bool(&t, "changed", revoked->changed);
    json_close(&t);
    puts(buf);
}

static int revoke(struct operation *op)
{
    struct store_revoked revoked;
    enum err e = store_revoke_session(op->conn, &op->options.session, "operator", &revoked);
    if (e == ERR_NOT_FOUND) {
        fprintf(stderr, "watchword: --session: there is no such session\n");
        return 1;
    }
    if (e != OK)
        return operator_failed(op, e);
    audit_revoked(op, &revoked);
    answer_revoked(op, &revoked);
    return 0;
}

static int revoke_all(struct operation *op)
{
    struct log_line line;
    char buf[OUTPUT_MAX];
    struct text t = text_on(buf, sizeof buf);
    uint64_t ended = 0;
    enum err e =
        store_end_sessions(op->conn, &op->user.tenant_id, &op->user.user_id, "operator", &ended);
    if (e != OK)
        return operator_failed(op, e);
    operator_audit(op, &line, "operator.sessions_revoked",
                   "an operator ended all sessions of a user", &op->user.tenant_id,
                   &op->user.user_id);
    log_i64(&line, "sessions_ended", (int64_t)ended);
    log_end(&line);
    if (!operator_json(op)) {
        printf("%s; sessions ended: %llu\n", op->user.email, (unsigned long long)ended);
        return 0;
    }
    json_open(&t);
    operator_put_id(&t, "tenant_id", &op->user.tenant_id);
    operator_put_id(&t, "user_id", &op->user.user_id);
    json_i64(&t, "sessions_ended", (int64_t)ended);
    json_close(&t);
    puts(buf);
    return 0;
}

static int revoke_everyone(struct operation *op)
{
    char ended_before[CLOCK_RFC3339_LEN + 1], buf[OUTPUT_MAX];
    struct text t = text_on(buf, sizeof buf);
    if (!operator_end_all_sessions(op, ended_before))
        return 1;
    if (!operator_json(op)) {
        printf("every session opened until %s is ended\n", ended_before);
        return 0;
    }
    json_open(&t);
    json_str(&t, "ended_until", ended_before);
    json_close(&t);
    puts(buf);
    return 0;
}

static const struct operator_command COMMANDS[] = {
    {"session list", OPTIONS_USER | OPTION_JSON, NEEDS_NOTHING, NULL, list_sessions},
    {"session revoke", OPTION_SESSION | OPTION_YES | OPTION_JSON, NEEDS_NOTHING, NULL, revoke},
    {"session revoke-all", OPTIONS_USER | OPTION_YES | OPTION_JSON, NEEDS_NOTHING, "logs out",
     revoke_all},
    {"session revoke-everyone", OPTION_YES | OPTION_JSON, NEEDS_NOTHING, "logs everybody out",
     revoke_everyone},
};

int command_session(int argc, char **argv)
{
    return operator_main("session", COMMANDS, ARRAY_LEN(COMMANDS), argc, argv);
}
