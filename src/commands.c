#include "commands.h"

#include <stdio.h>
#include <string.h>

#include "auth/rsa_key.h"
#include "base/file.h"
#include "base/text.h"
#include "boot.h"
#include "config.h"
#include "service/census.h"
#include "store/store.h"

#define CHECK_TIMEOUT_MS 10000

_Bool print_problems(const struct config *config)
{
    for (unsigned i = 0; i < config->problem_count; i++)
        fprintf(stderr, "watchword: %s %s\n", config->problems[i].name, config->problems[i].text);
    return config->problem_count > 0;
}

/* ---- check ---- */

/* In this process, which ends with the command. */
static void check_keys(struct config *config, int taken, char kid[KID_MAX + 1])
{
    struct keys_source source;
    struct key_set set = {0};
    struct keys_flaw flaw;
    enum err e = boot_keys_source(config, taken, &source, &flaw);
    if (e == OK)
        e = keys_source_load(&source, &set, &flaw);
    const struct key_entry *active = key_set_active(&set);
    const char *why = "cannot be used";
    if (e == ERR_NOT_FOUND && !config->production)
        return;
    if (e != OK)
        config_problem(config, flaw.setting, "%s", flaw.text);
    for (unsigned i = 0; i < set.count; i++)
        if (set.keys[i].private_pem.len > 0 &&
            rsa_key_check_deep(&set.keys[i].private_pem, &why) != OK)
            config_problem(config, config->jwt_key_given ? source.private_setting : "KEYS_DIR",
                           "%s: %s", set.keys[i].kid, why);
    if (active != NULL)
        text_copy(kid, KID_MAX + 1, active->kid, strlen(active->kid));
    key_set_close(&set);
}

/* Whether there is a key for every stored password. */
static enum err check_passwords(struct config *config, struct store *store,
                                struct census_figures *out)
{
    struct store_conn *conn = NULL;
    TRY(store_conn_open(store, &conn));
    enum err e = census_count(conn, &config->password, 0, NULL, out);
    store_conn_close(conn);
    if (e == OK && out->count[PASSWORD_UNKNOWN_PEPPER] > 0)
        config_problem(config, "PASSWORD_PEPPER", "lacks a key that %llu stored passwords need",
                       (unsigned long long)out->count[PASSWORD_UNKNOWN_PEPPER]);
    return e;
}

static void check_database(struct config *config, struct census_figures *out)
{
    struct store *store = NULL;
    struct store_version version;
    const struct store_config store_config = {.url = (const char *)config->database_url.data,
                                              .timeout_ms = CHECK_TIMEOUT_MS};
    if (store_open(&store_config, &store) != OK)
        return; /* its URL has been found fault with */
    enum err e = store_read_version(store, &version);
    if (e == OK && version.database != version.program)
        config_problem(config, "DATABASE_URL", "is at version %u of %u", version.database,
                       version.program);
    else if (e == OK)
        e = check_passwords(config, store, out);
    if (e != OK)
        config_problem(config, "DATABASE_URL", "cannot be read: %s", store_last_error());
    store_close(store);
}

static void print_passwords(const struct census_figures *f)
{
    printf("passwords:     %llu current, %llu with old parameters, %llu with an old pepper, "
           "%llu unusable\n",
           (unsigned long long)f->count[PASSWORD_CURRENT],
           (unsigned long long)f->count[PASSWORD_PARAMETERS],
           (unsigned long long)f->count[PASSWORD_PEPPER],
           (unsigned long long)f->count[PASSWORD_UNUSABLE]);
}

int command_check(int argc, char **argv)
{
    bool database = argc == 1 && strcmp(argv[0], "--database") == 0;
    if (argc > 0 && !database) {
        fprintf(stderr, "watchword: check takes no arguments but --database\n");
        return 2;
    }
    struct config config CLEANUP(config_close);
    struct boot boot CLEANUP(boot_close);
    struct census_figures figures = {0};
    char kid[KID_MAX + 1] = "";
    int taken = keys_source_take();
    config_read(&config);
    boot_open(&config, false, &boot);
    check_keys(&config, taken, kid);
    if (database)
        check_database(&config, &figures);
    if (print_problems(&config))
        return 1;
    printf("configuration: ok\n");
    printf("signing key:   %s\n", kid[0] != '\0' ? kid : "will be generated");
    if (database)
        print_passwords(&figures);
    return 0;
}

/* ---- migrate ---- */

struct migration_report {
    bool json;
    unsigned applied;
};

static void print_step(void *arg, unsigned version, const char *name)
{
    struct migration_report *report = arg;
    report->applied++;
    if (!report->json)
        printf("applied %04u %s\n", version, name);
}

static int report_failure(const struct store *store, enum err e)
{
    fprintf(stderr, "watchword: DATABASE_URL (%s): %s (%s)\n", store_kind(store),
            store_last_error(), err_name(e));
    return 1;
}

static void print_json(const struct store *store, const struct store_version *version,
                       unsigned applied)
{
    printf("{\"store\":\"%s\",\"version\":%u,\"program_version\":%u,\"applied\":%u}\n",
           store_kind(store), version->database, version->program, applied);
}

static int migrate(struct store *store, bool json)
{
    struct store_version version;
    struct migration_report report = {.json = json};
    enum err e = store_migrate(store, print_step, &report, &version);
    if (e != OK)
        return report_failure(store, e);
    if (json)
        print_json(store, &version, report.applied);
    else
        printf("%s: at version %u\n", store_kind(store), version.database);
    return 0;
}

static int migrate_status(struct store *store, bool json)
{
    struct store_version version;
    enum err e = store_read_version(store, &version);
    if (e != OK)
        return report_failure(store, e);
    if (json)
        print_json(store, &version, 0);
    else
        printf("%s: at version %u of %u\n", store_kind(store), version.database, version.program);
    return version.database == version.program ? 0 : 1;
}

static bool has_problem(const struct config *config, const char *name)
{
    for (unsigned i = 0; i < config->problem_count; i++)
        if (strcmp(config->problems[i].name, name) == 0)
            return true;
    return false;
}

/* Only what concerns the database has to be right for these. */
static int with_store(int (*work)(struct store *store, bool json), bool json)
{
    struct config config CLEANUP(config_close);
    config_read(&config);
    struct store *store = NULL;
    const struct store_config store_config = {.url = (const char *)config.database_url.data,
                                              .timeout_ms = config.db_timeout_ms};
    if (has_problem(&config, "DATABASE_URL") || store_open(&store_config, &store) != OK) {
        print_problems(&config);
        return 1;
    }
    if (!config.production && file_make_dir(config.data_dir) != OK)
        fprintf(stderr, "watchword: DATA_DIR cannot be made: %s\n", config.data_dir);
    int code = work(store, json);
    store_close(store);
    return code;
}

int command_migrate(int argc, char **argv)
{
    bool json = false, status = false;
    for (int i = 0; i < argc; i++) {
        if (strcmp(argv[i], "--json") == 0) {
            json = true;
        } else if (strcmp(argv[i], "--status") == 0) {
            status = true;
        } else {
            fprintf(stderr, "watchword: %s is not an option of migrate [--status] [--json]\n",
                    argv[i]);
            return 2;
        }
    }
    return with_store(status ? migrate_status : migrate, json);
}
