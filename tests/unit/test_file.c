#include "unit.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"

#define NOBODY 65534

static char dir[64];

static const char *path_of(const char *name)
{
    static char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return path;
}

static void make(const char *name, const char *data, mode_t mode)
{
    int fd = open(path_of(name), O_WRONLY | O_CREAT | O_TRUNC, mode);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, data, strlen(data)), strlen(data));
    assert_int_equal(fchmod(fd, mode), 0);
    close(fd);
}

static int set_up(void **state)
{
    (void)state;
    strcpy(dir, "/tmp/test_file.XXXXXX");
    umask(0);
    return mkdtemp(dir) != NULL ? 0 : -1;
}

static void remove_tree(const char *path)
{
    DIR *d = opendir(path);
    if (d == NULL)
        return;
    for (struct dirent *e = readdir(d); e != NULL; e = readdir(d)) {
        char child[PATH_MAX];
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        int n = snprintf(child, sizeof child, "%s/%s", path, e->d_name);
        if (n > 0 && (size_t)n < sizeof child && unlink(child) != 0)
            remove_tree(child);
    }
    closedir(d);
    rmdir(path);
}

static int tear_down(void **state)
{
    (void)state;
    remove_tree(dir);
    return 0;
}

TEST(a_file_is_read_whole_up_to_the_maximum)
{
    struct secret s = {0};
    make("a", "0123456789", 0644);
    assert_ok(file_read(path_of("a"), 10, &s));
    assert_int_equal(s.len, 10);
    assert_string_equal((const char *)s.data, "0123456789");
    secret_close(&s);
    assert_err(file_read(path_of("a"), 9, &s), ERR_TOO_LARGE);
    assert_null(s.data);
    make("b", "", 0600);
    assert_ok(file_read_private(path_of("b"), 0, &s));
    assert_int_equal(s.len, 0);
    secret_close(&s);
}

TEST(what_is_not_there_or_no_regular_file_is_refused)
{
    struct secret s = {0};
    assert_err(file_read(path_of("none"), 10, &s), ERR_NOT_FOUND);
    assert_err(file_read_private(path_of("none"), 10, &s), ERR_NOT_FOUND);
    assert_err(file_read(dir, 10, &s), ERR_UNAVAILABLE);
    assert_err(file_read_private(dir, 10, &s), ERR_UNAVAILABLE);
    assert_err(file_read("/dev/zero", 10, &s), ERR_UNAVAILABLE);
    assert_err(file_read("", 10, &s), ERR_NOT_FOUND);
    assert_null(s.data);
}

TEST(a_pipe_is_refused_and_not_waited_for)
{
    struct secret s = {0};
    assert_int_equal(mkfifo(path_of("fifo"), 0600), 0);
    alarm(10); /* the end of this program, if opening waits for a writer */
    assert_err(file_read(path_of("fifo"), 10, &s), ERR_UNAVAILABLE);
    assert_err(file_read_private(path_of("fifo"), 10, &s), ERR_UNAVAILABLE);
    alarm(0);
}

TEST(a_private_file_is_nobody_elses_in_any_mode)
{
    make("key", "k", 0600);
    for (mode_t mode = 0; mode <= 0777; mode++) {
        struct secret s = {0};
        assert_int_equal(chmod(path_of("key"), mode), 0);
        if (geteuid() != 0 && (mode & 0400) == 0)
            continue;
        enum err e = file_read_private(path_of("key"), 10, &s);
        assert_err(e, (mode & 077) == 0 ? OK : ERR_FORBIDDEN);
        secret_close(&s);
    }
}

TEST(a_private_file_of_someone_else_is_refused)
{
    struct secret s = {0};
    make("key", "k", 0600);
    if (chown(path_of("key"), NOBODY, (gid_t)-1) != 0)
        skip();
    assert_err(file_read_private(path_of("key"), 10, &s), ERR_FORBIDDEN);
    assert_ok(file_read(path_of("key"), 10, &s));
    secret_close(&s);
}

TEST(a_link_is_no_private_file)
{
    struct secret s = {0};
    char target[PATH_MAX];
    make("key", "k", 0600);
    snprintf(target, sizeof target, "%s", path_of("key"));
    assert_int_equal(symlink(target, path_of("link")), 0);
    assert_err(file_read_private(path_of("link"), 10, &s), ERR_FORBIDDEN);
    assert_ok(file_read(path_of("link"), 10, &s));
    secret_close(&s);
}

static unsigned count_entries(void)
{
    unsigned n = 0;
    DIR *d = opendir(dir);
    assert_non_null(d);
    while (readdir(d) != NULL)
        n++;
    closedir(d);
    return n - 2;
}

TEST(a_created_file_is_private_whatever_the_umask_and_leaves_nothing_else)
{
    struct secret s = {0};
    struct stat st;
    assert_ok(file_create_private(path_of("new"), "data\0x", 6));
    assert_int_equal(stat(path_of("new"), &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_ok(file_read_private(path_of("new"), 10, &s));
    assert_int_equal(s.len, 6);
    assert_memory_equal(s.data, "data\0x", 6);
    secret_close(&s);
    assert_int_equal(count_entries(), 1);
}

TEST(an_existing_file_is_never_replaced_nor_a_link_followed)
{
    struct secret s = {0};
    make("old", "old", 0600);
    assert_err(file_create_private(path_of("old"), "new", 3), ERR_CONFLICT);
    assert_int_equal(symlink("/nowhere", path_of("dangling")), 0);
    assert_err(file_create_private(path_of("dangling"), "new", 3), ERR_CONFLICT);
    assert_ok(file_read(path_of("old"), 10, &s));
    assert_string_equal((const char *)s.data, "old");
    secret_close(&s);
    assert_int_equal(count_entries(), 2);
}

TEST(a_file_cannot_be_created_where_there_is_no_directory)
{
    char longest[PATH_MAX + 16];
    memset(longest, 'x', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    assert_err(file_create_private(path_of("no/such"), "x", 1), ERR_UNAVAILABLE);
    assert_err(file_create_private(longest, "x", 1), ERR_TOO_LARGE);
    assert_int_equal(count_entries(), 0);
}

TEST(of_processes_that_create_the_same_file_one_succeeds)
{
    pid_t children[8];
    unsigned created = 0;
    for (size_t i = 0; i < ARRAY_LEN(children); i++) {
        children[i] = fork();
        assert_true(children[i] >= 0);
        if (children[i] == 0) {
            char data[4096];
            memset(data, (int)('a' + i), sizeof data);
            _exit(file_create_private(path_of("one"), data, sizeof data) == OK ? 0 : 1);
        }
    }
    for (size_t i = 0; i < ARRAY_LEN(children); i++) {
        int status = 0;
        assert_int_equal(waitpid(children[i], &status, 0), children[i]);
        created += status == 0;
    }
    assert_int_equal(created, 1);
    assert_int_equal(count_entries(), 1);
    struct secret s = {0};
    assert_ok(file_read_private(path_of("one"), 4096, &s));
    assert_int_equal(s.len, 4096);
    for (size_t i = 0; i < s.len; i++)
        assert_int_equal(s.data[i], s.data[0]);
    secret_close(&s);
}

static void assert_content(const char *name, const char *expected)
{
    struct secret s = {0};
    assert_ok(file_read_private(path_of(name), 100, &s));
    assert_string_equal((const char *)s.data, expected);
    secret_close(&s);
}

TEST(a_replaced_file_is_new_private_and_alone)
{
    struct stat st;
    assert_ok(file_replace_private(path_of("f"), "one", 3));
    make("f", "old", 0644);
    assert_ok(file_replace_private(path_of("f"), "two", 3));
    assert_content("f", "two");
    assert_int_equal(stat(path_of("f"), &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(symlink("f", path_of("link")), 0);
    assert_ok(file_replace_private(path_of("link"), "new", 3)); /* the link, not what it names */
    assert_content("f", "two");
    assert_content("link", "new");
    assert_int_equal(count_entries(), 2);
    assert_err(file_replace_private(path_of("no/such"), "x", 1), ERR_UNAVAILABLE);
}

TEST(a_destroyed_file_is_overwritten_and_gone)
{
    char data[5000];
    memset(data, 'k', sizeof data);
    assert_ok(file_create_private(path_of("f"), data, sizeof data));
    int fd = open(path_of("f"), O_RDONLY);
    assert_ok(file_destroy(path_of("f")));
    assert_int_equal(count_entries(), 0);
    assert_int_equal(pread(fd, data, sizeof data, 0), sizeof data);
    for (size_t i = 0; i < sizeof data; i++)
        assert_int_equal(data[i], 0);
    close(fd);
    assert_err(file_destroy(path_of("f")), ERR_NOT_FOUND);
    make("left" FILE_GONE_SUFFIX, "x", 0600);
    assert_ok(file_destroy(path_of("left" FILE_GONE_SUFFIX)));
    assert_int_equal(count_entries(), 0);
}

static int destroy_as_its_owner(void)
{
    return geteuid() == 0 && setresuid(NOBODY, NOBODY, NOBODY) != 0 ? 2
           : file_destroy(path_of("f")) == OK                       ? 0
                                                                    : 1;
}

/* As a key that was brought from elsewhere may be. Root may write it anyway, so not as root. */
TEST(a_file_that_may_only_be_read_is_overwritten_all_the_same)
{
    char data[64] = "";
    int status = 0;
    make("f", "secret", 0400);
    int fd = open(path_of("f"), O_RDONLY);
    if (geteuid() == 0) {
        assert_int_equal(chown(dir, NOBODY, NOBODY), 0);
        assert_int_equal(chown(path_of("f"), NOBODY, NOBODY), 0);
    }
    pid_t pid = fork();
    if (pid == 0)
        _exit(destroy_as_its_owner());
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    assert_int_equal(count_entries(), 0);
    assert_int_equal(pread(fd, data, sizeof data, 0), 6);
    assert_memory_equal(data, "\0\0\0\0\0\0", 6);
    close(fd);
}

/* A crash between its link and its unlink leaves a new file with two names. */
TEST(a_file_with_another_name_keeps_its_bytes)
{
    char other[PATH_MAX];
    make("f", "data", 0600);
    snprintf(other, sizeof other, "%s", path_of("f" FILE_PART_SUFFIX));
    assert_int_equal(link(path_of("f"), other), 0);
    assert_ok(file_destroy(other));
    assert_content("f", "data");
    assert_int_equal(symlink("f", path_of("link")), 0);
    assert_int_not_equal(file_destroy(path_of("link")), OK);
    assert_content("f", "data");
    assert_int_equal(count_entries(), 1);
}

TEST(directories_are_made_with_their_parents_and_private)
{
    struct stat st;
    assert_ok(file_make_dir(path_of("a/b/c")));
    assert_ok(file_make_dir(path_of("a/b/c")));
    assert_ok(file_make_dir(path_of("a/b/d/")));
    assert_int_equal(stat(path_of("a/b/c"), &st), 0);
    assert_int_equal(st.st_mode & 07777, 0700);
    assert_int_equal(stat(path_of("a"), &st), 0);
    assert_int_equal(st.st_mode & 07777, 0700);
    make("file", "x", 0600);
    assert_int_not_equal(file_make_dir(path_of("file/x")), OK);
    assert_int_not_equal(file_make_dir(""), OK);
}

#define IN_DIR(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_DIR(a_file_is_read_whole_up_to_the_maximum),
        IN_DIR(what_is_not_there_or_no_regular_file_is_refused),
        IN_DIR(a_pipe_is_refused_and_not_waited_for),
        IN_DIR(a_private_file_is_nobody_elses_in_any_mode),
        IN_DIR(a_private_file_of_someone_else_is_refused),
        IN_DIR(a_link_is_no_private_file),
        IN_DIR(a_created_file_is_private_whatever_the_umask_and_leaves_nothing_else),
        IN_DIR(an_existing_file_is_never_replaced_nor_a_link_followed),
        IN_DIR(a_file_cannot_be_created_where_there_is_no_directory),
        IN_DIR(of_processes_that_create_the_same_file_one_succeeds),
        IN_DIR(a_replaced_file_is_new_private_and_alone),
        IN_DIR(a_destroyed_file_is_overwritten_and_gone),
        IN_DIR(a_file_that_may_only_be_read_is_overwritten_all_the_same),
        IN_DIR(a_file_with_another_name_keeps_its_bytes),
        IN_DIR(directories_are_made_with_their_parents_and_private),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
