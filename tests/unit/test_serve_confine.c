/* What a configuration lets the network process reach: its database, and no key that lies beside
 * it. Each case runs in a child that has confined itself as the service does. */
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "serve_confine.h"

static char dir[64], data[80], elsewhere[80];

static const char *in(const char *parent, const char *name)
{
    static char path[128];
    snprintf(path, sizeof path, "%s/%s", parent, name);
    return path;
}

static int set_up(void **state)
{
    (void)state;
    strcpy(dir, "/tmp/test_serve_confine.XXXXXX");
    assert_non_null(mkdtemp(dir));
    snprintf(data, sizeof data, "%s/data", dir);
    snprintf(elsewhere, sizeof elsewhere, "%s/elsewhere", dir);
    assert_int_equal(mkdir(data, 0700), 0);
    assert_int_equal(mkdir(elsewhere, 0700), 0);
    assert_ok(file_create_private(in(data, "watchword.db"), "", 0));
    assert_ok(file_create_private(in(data, "key.pem"), "key", 3));
    assert_ok(file_create_private(in(elsewhere, "key.pem"), "key", 3));
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    (void)unlink(in(data, "watchword.db"));
    (void)unlink(in(data, "made"));
    (void)unlink(in(data, "key.pem"));
    (void)unlink(in(elsewhere, "key.pem"));
    (void)unlink(in(elsewhere, "link.pem"));
    (void)rmdir(data);
    (void)rmdir(elsewhere);
    return rmdir(dir);
}

static bool opens(const char *path, int flags)
{
    return open(path, flags | O_CLOEXEC, 0600) >= 0;
}

static int confined_with(const char *setting, const char *value, int (*attempt)(void))
{
    struct config config;
    struct confine_gaps gaps = {0};
    struct store *store = NULL;
    char url[128];
    snprintf(url, sizeof url, "sqlite:%s/watchword.db", data);
    setenv("DATABASE_URL", url, 1);
    setenv(setting, value, 1);
    setenv("SANDBOX", "require", 1);
    config_read(&config);
    const struct store_config of_store = {.url = url, .timeout_ms = 1000};
    if (store_open(&of_store, &store) != OK || serve_confine_files(&config, store, &gaps) != OK)
        return 99;
    return attempt();
}

static void assert_child(const char *setting, const char *value, int (*attempt)(void))
{
    int status = 0;
    pid_t pid = fork();
    if (pid == 0)
        _exit(confined_with(setting, value, attempt));
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

static int reach_the_database_but_not_what_lies_beside_it(void)
{
    if (!opens(in(data, "watchword.db"), O_RDWR))
        return 1;
    if (opens(in(data, "key.pem"), O_RDONLY))
        return 2;
    if (unlink(in(data, "key.pem")) == 0)
        return 3;
    return opens(in(data, "made"), O_WRONLY | O_CREAT) ? 4 : 0;
}

static int reach_its_whole_directory_and_no_other(void)
{
    if (!opens(in(data, "watchword.db"), O_RDWR))
        return 1;
    if (!opens(in(data, "made"), O_WRONLY | O_CREAT))
        return 2;
    return opens(in(elsewhere, "key.pem"), O_RDONLY) ? 3 : 0;
}

TEST(a_key_file_beside_the_database_cannot_be_reached)
{
    assert_child("JWT_PRIVATE_KEY_PEM_FILE", in(data, "key.pem"),
                 reach_the_database_but_not_what_lies_beside_it);
}

TEST(a_link_to_a_key_file_hides_nothing)
{
    assert_int_equal(symlink("../data/key.pem", in(elsewhere, "link.pem")), 0);
    assert_child("JWT_PRIVATE_KEY_PEM_FILE", in(elsewhere, "link.pem"),
                 reach_the_database_but_not_what_lies_beside_it);
}

TEST(keys_in_the_directory_of_the_database_cannot_be_reached)
{
    assert_child("KEYS_DIR", data, reach_the_database_but_not_what_lies_beside_it);
}

TEST(with_the_key_elsewhere_the_directory_is_the_databases)
{
    assert_child("JWT_PRIVATE_KEY_PEM_FILE", in(elsewhere, "key.pem"),
                 reach_its_whole_directory_and_no_other);
}

int main(void)
{
    if (confine_is_loose()) /* a sanitizer reads what it likes */
        return 77;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_key_file_beside_the_database_cannot_be_reached, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_link_to_a_key_file_hides_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(keys_in_the_directory_of_the_database_cannot_be_reached,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(with_the_key_elsewhere_the_directory_is_the_databases,
                                        set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
