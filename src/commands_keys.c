/* commands_keys.c: watchword keys list, generate, publish, activate, retire, revoke, drill. They
 * change KEYS_DIR; the instances that use it follow by themselves. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "commands.h"
#include "commands_keys.h"

#define OUTPUT_MAX ((size_t)32 * 1024)

bool keys_given(const struct keys_operation *k, unsigned option)
{
    return (k->op.options.given & option) != 0;
}

static void keys_operation_close(struct keys_operation *k)
{
    keys_change_end(&k->change);
    operator_close(&k->op);
}

/* ---- output ---- */

int keys_flawed(const struct keys_flaw *flaw)
{
    fprintf(stderr, "watchword: %s %s\n", flaw->setting, flaw->text);
    return 1;
}

static int refused(const struct keys_operation *k, const char *command,
                   const struct key_refusal *why)
{
    fprintf(stderr, "watchword: %s: %s: %s", command, k->op.options.kid, why->what);
    if (why->wait_s > 0)
        fprintf(stderr, ": wait %lld s (--emergency does not wait)", (long long)why->wait_s);
    fputc('\n', stderr);
    return 1;
}

void keys_audit(const struct keys_operation *k, const char *event, const char *message,
                const char *kid)
{
    struct log_line line;
    bool emergency =
        keys_given(k, OPTION_EMERGENCY | OPTION_COMPROMISE) || strcmp(k->command, "revoke") == 0;
    log_begin(&line, emergency ? LOG_WARN : LOG_INFO, event, message);
    log_str(&line, "trace_id", k->op.trace_id);
    log_str(&line, "kid", kid);
    if (emergency)
        log_str(&line, "emergency", "true");
    log_i64(&line, "operator_uid", (int64_t)getuid());
    log_end(&line);
}

/* The keys are not in the database, so their events cannot be in one transaction with them. A
 * change that has been made does not fail for want of its event. */
static void tell(struct keys_operation *k, enum event_kind kind, const char *kid, const char *state)
{
    if (k->op.config.events == 0)
        return;
    bool told = operator_open_database(&k->op);
    enum err e = told ? store_tell_key(k->op.conn, kind, kid, state) : OK;
    if (e != OK)
        told = operator_failed(&k->op, e) == 0;
    if (!told)
        fprintf(stderr, "watchword: keys %s: done, but its event could not be written\n",
                k->command);
}

/* The one answer of a change. state: what the key is now, or "gone", or "unpublished". */
static int answer(const struct keys_operation *k, const char *kid, const char *state, bool changed)
{
    char buf[1024];
    struct text t = text_on(buf, sizeof buf);
    if (!operator_json(&k->op)) {
        printf("%s %s %s\n", kid, changed ? "is now" : "was already", state);
        return 0;
    }
    json_open(&t);
    json_str(&t, "kid", kid);
    json_str(&t, "state", state);
    json_bool(&t, "changed", changed);
    json_close(&t);
    puts(buf);
    return 0;
}

/* ---- list ---- */

static void put_time(struct text *t, const char *name, int64_t unix_s)
{
    if (unix_s > 0)
        operator_put_time(t, name, unix_s * MS_PER_SECOND);
}

static void put_key(struct text *t, const struct keys_operation *k, const struct key_entry *key)
{
    int64_t wait = key_wait(key, k->now);
    json_open(t);
    json_str(t, "kid", key->kid);
    json_str(t, "state", key_state_name(key->state));
    put_time(t, "created_at", key->created_at);
    put_time(t, "published_at", key->published_at);
    put_time(t, "activated_at", key->activated_at);
    put_time(t, "retired_at", key->retired_at);
    put_time(t, "revoked_at", key->revoked_at);
    if (wait >= 0)
        json_i64(t, key->state == KEY_NEXT ? "may_sign_in" : "may_go_in", wait);
    json_close(t);
}

static int list_json(const struct keys_operation *k, const struct keys_listing *listing)
{
    char *buf CLEANUP(cleanup_free) = malloc(OUTPUT_MAX);
    if (buf == NULL) {
        fprintf(stderr, "watchword: out of memory\n");
        return 1;
    }
    struct text t = text_on(buf, OUTPUT_MAX);
    json_open(&t);
    json_str(&t, "keys_dir", k->op.config.keys_dir);
    json_i64(&t, "publish_wait", KEY_PUBLISH_WAIT_S);
    json_i64(&t, "retire_wait", KEY_RETIRE_WAIT_S);
    json_key(&t, "keys");
    text_put_char(&t, '[');
    for (unsigned i = 0; i < listing->set.count; i++)
        put_key(&t, k, &listing->set.keys[i]);
    for (unsigned i = 0; i < listing->file_count; i++) {
        if (listing->files[i].listed)
            continue;
        json_open(&t);
        json_str(&t, "kid", listing->files[i].key.kid);
        json_str(&t, "state", "unpublished");
        json_close(&t);
    }
    text_put(&t, "]");
    json_close(&t);
    puts(buf);
    return 0;
}

static void list_key(const struct keys_operation *k, const struct key_entry *key)
{
    char since[CLOCK_RFC3339_LEN + 1] = "unknown";
    int64_t at = key_state_since(key), wait = key_wait(key, k->now);
    if (at > 0)
        clock_format_rfc3339(at * MS_PER_SECOND, since);
    printf("%-8s  since %s  %s", key_state_name(key->state), since, key->kid);
    if (key->state == KEY_NEXT && wait > 0)
        printf("  may sign in %lld s", (long long)wait);
    if (key->state == KEY_RETIRING && wait > 0)
        printf("  goes in %lld s", (long long)wait);
    putchar('\n');
}

static int list(struct keys_operation *k)
{
    struct keys_listing listing CLEANUP(keys_listing_close) = {0};
    struct keys_flaw flaw;
    if (keys_listing_open(k->op.config.keys_dir, k->op.config.jwt_kid, &listing, &flaw) != OK)
        return keys_flawed(&flaw);
    if (operator_json(&k->op))
        return list_json(k, &listing);
    for (unsigned i = 0; i < listing.set.count; i++)
        list_key(k, &listing.set.keys[i]);
    for (unsigned i = 0; i < listing.file_count; i++)
        if (!listing.files[i].listed)
            printf("unpublished                                %s\n", listing.files[i].key.kid);
    return 0;
}

/* ---- changes ---- */

enum err keys_generate(struct keys_operation *k, struct key_entry *out, struct keys_flaw *flaw)
{
    TRY(keys_change_generate(&k->change, KEYS_GENERATED_BITS, out, flaw));
    keys_audit(k, "auth.key_generated", "a signing key was made; it is not published yet",
               out->kid);
    return OK;
}

/* The first key there is signs: there is nobody who could be surprised. */
static int generate(struct keys_operation *k)
{
    struct key_entry key CLEANUP(key_entry_close) = {0};
    struct keys_flaw flaw;
    if (keys_generate(k, &key, &flaw) != OK)
        return keys_flawed(&flaw);
    return answer(k, key.kid, k->change.set.count == 0 ? "active" : "unpublished", true);
}

/* Moves a key that waits in a file of its own into the set. ERR_NOT_FOUND if there is none. */
static enum err publish_spare(struct keys_operation *k, const char *kid, struct key_refusal *why)
{
    struct key_entry key CLEANUP(key_entry_close) = {0};
    TRY(keys_change_take(&k->change, kid, &key));
    return key_publish(&k->change.set, &key, k->now, why);
}

static bool is_in(struct keys_operation *k, const char *kid, enum key_state state)
{
    const struct key_entry *key = key_set_find(&k->change.set, kid);
    return key != NULL && key->state == state;
}

static int publish(struct keys_operation *k)
{
    struct key_refusal why = {"there is no such key", 0};
    struct keys_flaw flaw;
    const char *kid = k->op.options.kid;
    if (is_in(k, kid, KEY_NEXT))
        return answer(k, kid, "next", false);
    if (key_set_find(&k->change.set, kid) != NULL)
        why.what = "it is or was published already";
    if (publish_spare(k, kid, &why) != OK)
        return refused(k, "keys publish", &why);
    if (keys_change_commit(&k->change, &flaw) != OK)
        return keys_flawed(&flaw);
    keys_audit(k, "auth.key_published", "a signing key is published; it does not sign yet", kid);
    tell(k, EVENT_KEY_ROTATED, kid, "next");
    return answer(k, kid, "next", true);
}

static int activate(struct keys_operation *k)
{
    struct key_refusal why = {0};
    struct keys_flaw flaw;
    const char *kid = k->op.options.kid;
    bool emergency = keys_given(k, OPTION_EMERGENCY);
    if (is_in(k, kid, KEY_ACTIVE))
        return answer(k, kid, "active", false);
    if (key_activate(&k->change.set, kid, k->now, emergency, &why) != OK)
        return refused(k, "keys activate", &why);
    if (keys_change_commit(&k->change, &flaw) != OK)
        return keys_flawed(&flaw);
    keys_audit(k, "auth.key_activated", "a signing key signs from now on", kid);
    tell(k, EVENT_KEY_ROTATED, kid, "active");
    return answer(k, kid, "active", true);
}

static int retire(struct keys_operation *k)
{
    struct key_refusal why = {0};
    struct keys_flaw flaw;
    const char *kid = k->op.options.kid;
    bool emergency = keys_given(k, OPTION_EMERGENCY);
    enum err e = keys_change_discard(&k->change, kid, &flaw);
    if (e != OK && e != ERR_NOT_FOUND)
        return keys_flawed(&flaw);
    if (e == ERR_NOT_FOUND) {
        if (key_retire(&k->change.set, kid, k->now, emergency, &why) != OK)
            return refused(k, "keys retire", &why);
        if (keys_change_commit(&k->change, &flaw) != OK)
            return keys_flawed(&flaw);
    }
    keys_audit(k, "auth.key_retired", "a signing key is gone", kid);
    tell(k, EVENT_KEY_ROTATED, kid, "gone");
    return answer(k, kid, "gone", true);
}

/* ---- revoke ---- */

enum err keys_revoke(struct keys_operation *k, const char *kid, struct key_refusal *why,
                     struct keys_flaw *flaw)
{
    enum err e =
        publish_spare(k, kid, why); /* also what nobody has seen yet is never to be published */
    if (e != OK && e != ERR_NOT_FOUND)
        return e;
    if (is_in(k, kid, KEY_ACTIVE) && key_successor(&k->change.set) == NULL) {
        struct key_entry key CLEANUP(key_entry_close) = {0};
        e = keys_generate(k, &key, flaw);
        if (e == OK)
            e = key_publish(&k->change.set, &key, k->now, why);
        if (e != OK)
            return e;
    }
    bool was_active = is_in(k, kid, KEY_ACTIVE);
    TRY(key_revoke(&k->change.set, kid, k->now, why));
    TRY(keys_change_commit(&k->change, flaw));
    keys_audit(k, "auth.key_revoked", "a signing key is revoked: what it signed is worth nothing",
               kid);
    tell(k, EVENT_KEY_REVOKED, kid, "revoked");
    if (was_active) {
        const char *successor = key_set_active(&k->change.set)->kid;
        keys_audit(k, "auth.key_activated", "a signing key signs from now on", successor);
        tell(k, EVENT_KEY_ROTATED, successor, "active");
    }
    return OK;
}

static int revoke_one(struct keys_operation *k)
{
    struct key_refusal why = {0};
    struct keys_flaw flaw = {0};
    const char *kid = k->op.options.kid;
    char ended_before[CLOCK_RFC3339_LEN + 1];
    bool before = is_in(k, kid, KEY_REVOKED);
    if (!before && keys_revoke(k, kid, &why, &flaw) != OK)
        return why.what != NULL ? refused(k, "keys revoke", &why) : keys_flawed(&flaw);
    if (keys_given(k, OPTION_SESSIONS) && !operator_end_all_sessions(&k->op, ended_before)) {
        fprintf(stderr,
                "watchword: keys revoke: %s is revoked, but the sessions are NOT ended: "
                "run this again when the database can be reached\n",
                kid);
        return 1;
    }
    return answer(k, kid, "revoked", !before);
}

/* ---- running ---- */

static const struct keys_command {
    const char *name;
    unsigned options;
    const char *destroys; /* what has to be confirmed, or NULL */
    unsigned asks_for;    /* and with which option; 0: always */
    bool changes;
    int (*run)(struct keys_operation *k);
} COMMANDS[] = {
    {"list", OPTION_JSON, NULL, 0, false, list},
    {"generate", OPTION_JSON | OPTION_YES, NULL, 0, true, generate},
    {"publish", OPTION_KID | OPTION_JSON | OPTION_YES, NULL, 0, true, publish},
    {"activate", OPTION_KID | OPTION_JSON | OPTION_YES | OPTION_EMERGENCY,
     "makes verifiers that do not know the key refuse its tokens", OPTION_EMERGENCY, true,
     activate},
    {"retire", OPTION_KID | OPTION_JSON | OPTION_YES | OPTION_EMERGENCY,
     "makes tokens that the key signed worthless", OPTION_EMERGENCY, true, retire},
    {"revoke", OPTION_KID | OPTION_JSON | OPTION_YES | OPTION_SESSIONS | OPTION_EMERGENCY,
     "makes tokens that the key signed worthless, at once", 0, true, revoke_one},
    {"drill", OPTION_URL | OPTION_JSON | OPTION_YES | OPTION_COMPROMISE,
     "revokes the active key and logs everybody out", OPTION_COMPROMISE, false, keys_drill},
};

/* Only what concerns these commands has to be right. */
static bool configuration_ok(struct keys_operation *k)
{
    static const char *const names[] = {"ENV", "DATA_DIR", "KEYS_DIR", "KEYS_ROTATE_DAYS",
                                        "JWT_KID"};
    const struct config *c = &k->op.config;
    bool ok = true;
    for (unsigned i = 0; i < c->problem_count; i++) {
        const struct config_problem *p = &c->problems[i];
        bool concerns = strncmp(p->name, "DATABASE_URL", 12) == 0 &&
                        keys_given(k, OPTION_SESSIONS | OPTION_URL);
        for (size_t n = 0; n < ARRAY_LEN(names); n++)
            concerns = concerns || strcmp(p->name, names[n]) == 0;
        if (concerns)
            fprintf(stderr, "watchword: %s %s\n", p->name, p->text);
        ok = ok && !concerns;
    }
    if (c->jwt_key_given) {
        fprintf(stderr,
                "watchword: JWT_PRIVATE_KEY_PEM is set: the key comes from the environment, "
                "and is changed there; these commands work on KEYS_DIR\n");
        return false;
    }
    return ok;
}

static bool confirmed(const struct keys_command *command, const struct keys_operation *k)
{
    char reply[16] = "";
    if (command->destroys == NULL || keys_given(k, OPTION_YES) ||
        (command->asks_for != 0 && !keys_given(k, command->asks_for)))
        return true;
    if (!isatty(STDIN_FILENO)) {
        fprintf(stderr,
                "watchword: keys %s: --yes is needed where there is no terminal to ask on\n",
                command->name);
        return false;
    }
    fprintf(stderr, "This %s%s. Type yes: ", command->destroys,
            keys_given(k, OPTION_SESSIONS) ? ", and logs everybody out" : "");
    if (fgets(reply, sizeof reply, stdin) != NULL && strcmp(reply, "yes\n") == 0)
        return true;
    fprintf(stderr, "watchword: nothing was done\n");
    return false;
}

static int run(const struct keys_command *command, int argc, char **argv)
{
    struct keys_operation k CLEANUP(keys_operation_close) = {.command = command->name,
                                                             .change = {.lock = -1}};
    struct keys_flaw flaw;
    char name[32];
    snprintf(name, sizeof name, "keys %s", command->name);
    if (!options_read(name, command->options, argc, argv, &k.op.options))
        return 2;
    config_read(&k.op.config);
    if (!configuration_ok(&k) || !confirmed(command, &k))
        return 1;
    if (operator_begin_trace(&k.op) != OK) {
        fprintf(stderr, "watchword: no random numbers\n");
        return 1;
    }
    k.now = clock_unix_ms() / MS_PER_SECOND;
    if (command->run == generate && file_make_dir(k.op.config.keys_dir) != OK) {
        fprintf(stderr, "watchword: KEYS_DIR cannot be made: %s\n", k.op.config.keys_dir);
        return 1;
    }
    if (command->changes &&
        keys_change_begin(k.op.config.keys_dir, k.op.config.jwt_kid, &k.change, &flaw) != OK)
        return keys_flawed(&flaw);
    return command->run(&k);
}

int command_keys(int argc, char **argv)
{
    for (size_t i = 0; argc > 0 && i < ARRAY_LEN(COMMANDS); i++)
        if (strcmp(argv[0], COMMANDS[i].name) == 0)
            return run(&COMMANDS[i], argc - 1, argv + 1);
    if (argc > 0)
        fprintf(stderr, "watchword: unknown command: keys %s\n", argv[0]);
    fprintf(stderr, "watchword: usage: watchword keys ");
    for (size_t i = 0; i < ARRAY_LEN(COMMANDS); i++)
        fprintf(stderr, "%s%s", i > 0 ? "|" : "", COMMANDS[i].name);
    fprintf(stderr, " OPTIONS (watchword help lists them)\n");
    return 2;
}
