#include "unit.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/json.h"
#include "base/log.h"

/* stderr is a pipe while a test runs. */
static int reading_end = -1, real_stderr = -1;

static int capture(void **state)
{
    (void)state;
    int fds[2];
    if (pipe2(fds, O_CLOEXEC) != 0)
        return -1;
    real_stderr = dup(STDERR_FILENO);
    dup2(fds[1], STDERR_FILENO);
    close(fds[1]);
    reading_end = fds[0];
    fcntl(reading_end, F_SETFL, O_NONBLOCK);
    log_set_level(LOG_INFO);
    return 0;
}

static int release(void **state)
{
    (void)state;
    dup2(real_stderr, STDERR_FILENO);
    close(real_stderr);
    close(reading_end);
    return 0;
}

static size_t captured(char *out, size_t cap)
{
    ssize_t n = read(reading_end, out, cap - 1);
    out[n > 0 ? n : 0] = '\0';
    return n > 0 ? (size_t)n : 0;
}

/* The one line that has been logged. */
static json_t *captured_line(void)
{
    static char out[LOG_LINE_MAX + 2];
    size_t n = captured(out, sizeof out);
    assert_in_range(n, 2, LOG_LINE_MAX);
    assert_int_equal(out[n - 1], '\n');
    json_t *j = NULL;
    const char *why = NULL;
    if (memchr(out, '\n', n - 1) != NULL || json_read(out, n - 1, &j, &why) != OK)
        fail_msg("not one JSON object: %s", out);
    return j;
}

static const char *member(const json_t *line, const char *key)
{
    return json_string_value(json_object_get(line, key));
}

TEST(a_line_is_one_json_object_with_the_fixed_members_first)
{
    struct log_line line;
    log_begin(&line, LOG_WARN, "auth.lockout", "account locked");
    log_str(&line, "ip", "192.0.2.1");
    log_str(&line, "none", NULL);
    log_str(&line, "empty", "");
    log_i64(&line, "n", -3);
    log_ms(&line, "ms", UINT64_C(1234567890));
    log_end(&line);
    json_t *j = captured_line();
    assert_string_equal(member(j, "level"), "warn");
    assert_string_equal(member(j, "event"), "auth.lockout");
    assert_string_equal(member(j, "message"), "account locked");
    assert_int_equal(strlen(member(j, "ts")), 24);
    assert_string_equal(member(j, "ip"), "192.0.2.1");
    assert_int_equal(json_integer_value(json_object_get(j, "n")), -3);
    assert_true(json_real_value(json_object_get(j, "ms")) > 1234.566);
    assert_int_equal(json_object_size(j), 7);
    json_decref(j);
}

TEST(a_value_cannot_begin_a_line_of_its_own)
{
    log_note(LOG_INFO, "e", "m",
             "x\"}\n{\"level\":\"error\",\"event\":\"forged\"}\r\n\x1b[31m\x7f");
    json_t *j = captured_line();
    assert_string_equal(member(j, "level"), "info");
    assert_non_null(strstr(member(j, "detail"), "forged"));
    json_decref(j);
}

TEST(a_long_value_ends_in_an_ellipsis_and_never_inside_a_character)
{
    static const char *const characters[] = {"a", "\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x98\x80"};
    for (size_t c = 0; c < ARRAY_LEN(characters); c++)
        for (size_t shift = 0; shift < 4; shift++) {
            char value[2048] = "xxx";
            size_t n = strlen(characters[c]), len = shift;
            for (; len < 600; len += n)
                memcpy(value + len, characters[c], n);
            value[len] = '\0';
            log_note(LOG_INFO, "e", "m", value);
            json_t *j = captured_line();
            const char *detail = member(j, "detail");
            size_t kept = strlen(detail) - 3;
            assert_in_range(kept, LOG_VALUE_MAX - 6, LOG_VALUE_MAX - 3);
            assert_int_equal((kept - shift) % n, 0);
            assert_memory_equal(detail, value, kept);
            assert_string_equal(detail + kept, "\xe2\x80\xa6");
            json_decref(j);
        }
}

TEST(a_value_of_continuation_bytes_alone_is_still_cut)
{
    char value[600];
    memset(value, 0x80, sizeof value - 1);
    value[sizeof value - 1] = '\0';
    log_note(LOG_INFO, "e", "m", value);
    json_decref(captured_line());
}

/* Escapes make a value six times as long: a few of them fill the line. */
TEST(a_full_line_drops_members_whole_and_stays_json)
{
    char value[LOG_VALUE_MAX + 1];
    memset(value, 0x01, LOG_VALUE_MAX);
    value[LOG_VALUE_MAX] = '\0';
    for (size_t first = 1; first <= LOG_VALUE_MAX; first++) {
        struct log_line line;
        log_begin(&line, LOG_INFO, "e", "m");
        log_str(&line, "a", value);
        log_str(&line, "b", value);
        log_str(&line, "c", value + LOG_VALUE_MAX - first);
        log_i64(&line, "i", INT64_MIN);
        log_ms(&line, "ms", UINT64_MAX);
        log_end(&line);
        json_decref(captured_line());
    }
}

TEST(levels_below_the_lowest_are_silent)
{
    char out[16];
    log_set_level(LOG_ERROR);
    assert_false(log_wants(LOG_WARN));
    assert_true(log_wants(LOG_ERROR));
    log_note(LOG_WARN, "e", "m", NULL);
    assert_int_equal(captured(out, sizeof out), 0);
    log_note(LOG_ERROR, "e", "m", NULL);
    json_decref(captured_line());
}

TEST(a_full_pipe_drops_lines_counts_them_and_holds_up_nobody)
{
    uint64_t before = log_dropped();
    uint64_t written = 0;
    alarm(60); /* a line that blocks ends the program */
    for (unsigned i = 0; i < 10000; i++)
        log_note(LOG_INFO, "e", "m", "0123456789012345678901234567890123456789");
    alarm(0);
    uint64_t dropped = log_dropped() - before;
    assert_in_range(dropped, 1, 9999);
    char out[4096];
    for (size_t n = captured(out, sizeof out); n > 0; n = captured(out, sizeof out))
        for (size_t i = 0; i < n; i++)
            written += out[i] == '\n';
    assert_int_equal(written + dropped, 10000);
    log_note(LOG_INFO, "e", "room again", NULL);
    assert_int_equal(log_dropped() - before, dropped);
    json_decref(captured_line());
}

static void *log_many(void *arg)
{
    for (unsigned i = 0; i < 100; i++)
        log_note(LOG_INFO, "e", (const char *)arg, "0123456789012345678901234567890123456789");
    return NULL;
}

TEST(lines_of_several_threads_do_not_mix)
{
    pthread_t threads[4];
    fcntl(reading_end, F_SETPIPE_SZ, 1 << 20);
    uint64_t before = log_dropped();
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, log_many, (void *)"m"), 0);
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(log_dropped(), before);
    static char all[1 << 20];
    size_t n = captured(all, sizeof all);
    unsigned lines = 0;
    for (char *p = all; p < all + n; lines++) {
        char *end = memchr(p, '\n', (size_t)(all + n - p));
        assert_non_null(end);
        json_t *j = NULL;
        const char *why = NULL;
        assert_ok(json_read(p, (size_t)(end - p), &j, &why));
        json_decref(j);
        p = end + 1;
    }
    assert_int_equal(lines, 400);
}

/* Stderr is a file that cannot grow beyond so many bytes. */
static void limit_files(rlim_t bytes)
{
    struct rlimit limit;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    limit.rlim_cur = bytes < limit.rlim_max ? bytes : limit.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

TEST(after_half_a_line_on_a_full_disk_the_next_begins_on_its_own)
{
    static char all[4096];
    FILE *file = tmpfile();
    assert_non_null(file);
    dup2(fileno(file), STDERR_FILENO);
    signal(SIGXFSZ, SIG_IGN);
    uint64_t before = log_dropped();
    limit_files(150);
    for (unsigned i = 0; i < 5; i++)
        log_note(LOG_INFO, "e", "while the disk is full", NULL);
    limit_files(RLIM_INFINITY);
    assert_int_equal(log_dropped() - before, 4);
    log_note(LOG_INFO, "e", "room again", NULL);
    log_note(LOG_INFO, "e", "and again", NULL);
    ssize_t n = pread(fileno(file), all, sizeof all - 1, 0);
    fclose(file);
    assert_in_range(n, 1, sizeof all - 1);
    const char *starts[5], *p = all;
    size_t lines = 0;
    for (; *p != '\0' && lines < ARRAY_LEN(starts); lines++) {
        starts[lines] = p;
        p = strchr(p, '\n') + 1;
    }
    assert_int_equal(lines, 4); /* one, half a one, two */
    for (size_t i = 0; i < lines; i++) {
        json_t *j = NULL;
        const char *why = NULL, *end = i + 1 < lines ? starts[i + 1] : p;
        enum err e = json_read(starts[i], (size_t)(end - starts[i]) - 1, &j, &why);
        assert_int_equal(e == OK, i != 1);
        json_decref(j);
    }
}

#define CAPTURED(name) cmocka_unit_test_setup_teardown(name, capture, release)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CAPTURED(a_line_is_one_json_object_with_the_fixed_members_first),
        CAPTURED(a_value_cannot_begin_a_line_of_its_own),
        CAPTURED(a_long_value_ends_in_an_ellipsis_and_never_inside_a_character),
        CAPTURED(a_value_of_continuation_bytes_alone_is_still_cut),
        CAPTURED(a_full_line_drops_members_whole_and_stays_json),
        CAPTURED(levels_below_the_lowest_are_silent),
        CAPTURED(a_full_pipe_drops_lines_counts_them_and_holds_up_nobody),
        CAPTURED(lines_of_several_threads_do_not_mix),
        CAPTURED(after_half_a_line_on_a_full_disk_the_next_begins_on_its_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
