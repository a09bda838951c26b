#include "commands_operator.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/encode.h"
#include "base/random.h"
#include "commands.h"

/* An operator can wait where a request cannot. */
#define TIMEOUT_MS 10000

/* ---- output ---- */

bool operator_json(const struct operation *op)
{
    return (op->options.given & OPTION_JSON) != 0;
}

void operator_put_id(struct text *t, const char *key, const struct uuid *id)
{
    char s[UUID_LEN + 1];
    uuid_format(id, s);
    json_str(t, key, s);
}

void operator_put_time(struct text *t, const char *key, int64_t unix_ms)
{
    char s[CLOCK_RFC3339_LEN + 1];
    clock_format_rfc3339(unix_ms, s);
    json_str(t, key, s);
}

void operator_printable(const char *from, char *out, size_t cap)
{
    text_copy(out, cap, from, strlen(from));
    for (char *p = out; *p != '\0'; p++)
        if (*p < 0x20 || *p > 0x7e)
            *p = '?';
}

int operator_failed(const struct operation *op, enum err e)
{
    fprintf(stderr, "watchword: %s: %s (%s)\n", store_kind(op->store), store_last_error(),
            err_name(e));
    return 1;
}

void operator_sign(struct log_line *line)
{
    log_i64(line, "operator_uid", (int64_t)getuid());
}

void operator_audit(const struct operation *op, struct log_line *line, const char *event,
                    const char *message, const struct uuid *tenant_id, const struct uuid *user_id)
{
    char s[UUID_LEN + 1];
    log_begin(line, LOG_INFO, event, message);
    log_str(line, "trace_id", op->trace_id);
    uuid_format(tenant_id, s);
    log_str(line, "tenant_id", s);
    if (user_id != NULL) {
        uuid_format(user_id, s);
        log_str(line, "user_id", s);
    }
    operator_sign(line);
}

/* ---- opening ---- */

/* Only what concerns these commands has to be right. */
static bool concerns(const char *name, enum operator_needs needs)
{
    static const char *const always[] = {
        "ENV",      "DATA_DIR",      "DATABASE_URL",  "DATABASE_URL_FILE",
        "NATS_URL", "NATS_URL_FILE", "EVENTS_EXCLUDE"};
    for (size_t i = 0; i < ARRAY_LEN(always); i++)
        if (strcmp(name, always[i]) == 0)
            return true;
    if (needs == NEEDS_PASSWORDS)
        return strncmp(name, "PASSWORD_PEPPER", 15) == 0 || strncmp(name, "ARGON_", 6) == 0;
    return needs == NEEDS_KEYS && strncmp(name, "SERVICE_SECRET", 14) == 0;
}

static bool configuration_ok(struct operation *op, enum operator_needs needs)
{
    bool ok = true, needs_keys = needs == NEEDS_KEYS;
    if (needs_keys) {
        boot_open(&op->config, false, &op->boot);
        if (op->boot.keys == NULL && op->config.service_secret.len == 0 && !op->config.production)
            config_problem(&op->config, "SERVICE_SECRET", "is required: set it as for the service");
    }
    for (unsigned i = 0; i < op->config.problem_count; i++) {
        const struct config_problem *p = &op->config.problems[i];
        if (!concerns(p->name, needs))
            continue;
        fprintf(stderr, "watchword: %s %s\n", p->name, p->text);
        ok = false;
    }
    return ok && (!needs_keys || op->boot.keys != NULL);
}

static bool version_ok(const struct operation *op)
{
    struct store_version version;
    enum err e = store_read_version(op->store, &version);
    if (e != OK)
        return operator_failed(op, e) == 0;
    if (version.database == version.program)
        return true;
    fprintf(stderr, "watchword: DATABASE_URL is at version %u of %u%s\n", version.database,
            version.program,
            version.database < version.program ? ": run watchword migrate"
                                               : ": this program is too old for it");
    return false;
}

enum err operator_begin_trace(struct operation *op)
{
    uint8_t id[16];
    if (op->trace_id[0] != '\0')
        return OK;
    TRY(random_bytes(id, sizeof id));
    hex_encode(id, sizeof id, op->trace_id);
    return OK;
}

bool operator_open_database(struct operation *op)
{
    if (op->conn != NULL)
        return true;
    store_close(op->store); /* of a first try that failed */
    op->store = NULL;
    unsigned timeout =
        op->config.db_timeout_ms > TIMEOUT_MS ? op->config.db_timeout_ms : TIMEOUT_MS;
    const struct store_config config = {.url = (const char *)op->config.database_url.data,
                                        .timeout_ms = timeout,
                                        .events = op->config.events};
    if (store_open(&config, &op->store) != OK) {
        fprintf(stderr, "watchword: DATABASE_URL must begin with sqlite:, postgres:// or "
                        "postgresql://\n");
        return false;
    }
    if (!version_ok(op))
        return false;
    enum err e = store_conn_open(op->store, &op->conn);
    if (e == OK)
        e = operator_begin_trace(op);
    if (e != OK)
        return operator_failed(op, e) == 0;
    store_conn_trace(op->conn, op->trace_id);
    return true;
}

void operator_close(struct operation *op)
{
    store_conn_close(op->conn);
    store_close(op->store);
    boot_close(&op->boot);
    config_close(&op->config);
}

/* ---- the user it is about ---- */

static bool find_user(struct operation *op)
{
    const struct options *o = &op->options;
    bool by_email = (o->given & OPTION_EMAIL) != 0;
    const struct store_user_name name = {.tenant_id = o->tenant,
                                         .user_id = by_email ? NULL : &o->user,
                                         .email = by_email ? o->email : NULL};
    enum err e = store_find_user(op->conn, &name, &op->user);
    if (e == ERR_NOT_FOUND) {
        fprintf(stderr, "watchword: %s: there is no such user in this tenant\n",
                by_email ? "--email" : "--user");
        return false;
    }
    if (e == OK && op->boot.keys != NULL)
        e = identity_digest(op->boot.keys, &op->user.tenant_id, op->user.email, op->identity);
    return e == OK || operator_failed(op, e) == 0;
}

/* ---- the question ---- */

static bool may_ask(const struct operator_command *command, const struct options *options)
{
    if (command->destroys == NULL || (options->given & OPTION_YES) != 0 || isatty(STDIN_FILENO))
        return true;
    fprintf(stderr, "watchword: %s: --yes is needed where there is no terminal to ask on\n",
            command->name);
    return false;
}

static bool confirmed(const struct operator_command *command, const struct operation *op)
{
    char answer[16] = "";
    if (command->destroys == NULL || (op->options.given & OPTION_YES) != 0)
        return true;
    if ((command->options & OPTIONS_USER) != 0)
        fprintf(stderr, "This %s %s, with %llu live sessions. Type yes: ", command->destroys,
                op->user.email, (unsigned long long)op->user.live_sessions);
    else
        fprintf(stderr, "This %s. Type yes: ", command->destroys);
    if (fgets(answer, sizeof answer, stdin) != NULL && strcmp(answer, "yes\n") == 0)
        return true;
    fprintf(stderr, "watchword: nothing was done\n");
    return false;
}

/* ---- everybody's sessions ---- */

bool operator_end_all_sessions(struct operation *op, char ended_before[CLOCK_RFC3339_LEN + 1])
{
    struct log_line line;
    int64_t not_before = 0;
    if (!operator_open_database(op))
        return false;
    enum err e = store_fence_sessions(op->conn, &not_before);
    if (e != OK)
        return operator_failed(op, e) == 0;
    clock_format_rfc3339(not_before, ended_before);
    log_begin(&line, LOG_WARN, "operator.sessions_fenced",
              "an operator ended every session of everybody");
    log_str(&line, "trace_id", op->trace_id);
    log_str(&line, "not_before", ended_before);
    operator_sign(&line);
    log_end(&line);
    return true;
}

/* ---- running ---- */

static int perform(const struct operator_command *command, struct operation *op)
{
    config_read(&op->config);
    if (!configuration_ok(op, command->needs) || !operator_open_database(op))
        return 1;
    if ((command->options & OPTIONS_USER) != 0 && !find_user(op))
        return 1;
    return confirmed(command, op) ? command->run(op) : 1;
}

static int run(const struct operator_command *command, int argc, char **argv)
{
    struct operation op CLEANUP(operator_close) = {0};
    if (!options_read(command->name, command->options, argc, argv, &op.options))
        return 2;
    return may_ask(command, &op.options) ? perform(command, &op) : 1;
}

int operator_main(const char *group, const struct operator_command *commands, size_t n, int argc,
                  char **argv)
{
    size_t skip = strlen(group) + 1;
    for (size_t i = 0; argc > 0 && i < n; i++)
        if (strcmp(argv[0], commands[i].name + skip) == 0)
            return run(&commands[i], argc - 1, argv + 1);
    if (argc > 0)
        fprintf(stderr, "watchword: unknown command: %s %s\n", group, argv[0]);
    fprintf(stderr, "watchword: usage: watchword %s ", group);
    for (size_t i = 0; i < n; i++)
        fprintf(stderr, "%s%s", i > 0 ? "|" : "", commands[i].name + skip);
    fprintf(stderr, " OPTIONS (watchword help lists them)\n");
    return 2;
}
