#include "unit.h"

#include <dirent.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "keys_change.h"

#define DAY INT64_C(86400)
#define THREADS 4

#define WEEKLY (7 * DAY)
#define NEVER INT64_C(0)

static char dir[64];

static int set_up(void **state)
{
    struct keys_flaw flaw;
    (void)state;
    snprintf(dir, sizeof dir, "/tmp/test_keys_tend.XXXXXX");
    return mkdtemp(dir) != NULL && keys_dir_generate(dir, &flaw) == OK ? 0 : -1;
}

static int tear_down(void **state)
{
    char path[512];
    (void)state;
    DIR *d = opendir(dir);
    for (struct dirent *e = readdir(d); e != NULL; e = readdir(d)) {
        snprintf(path, sizeof path, "%s/%s", dir, e->d_name);
        (void)unlink(path);
    }
    closedir(d);
    return rmdir(dir);
}

static struct keys_tended tended(int64_t rotate_s, int64_t now)
{
    struct keys_tended done;
    struct keys_flaw flaw = {0};
    enum err e = keys_dir_tend(dir, "", rotate_s, now, &done, &flaw);
    if (e != OK)
        fail_msg("%s: %s", err_name(e), flaw.text);
    return done;
}

static void assert_did(struct keys_tended done, enum key_due what)
{
    assert_int_equal(done.count, what == KEY_DUE_NOTHING ? 0 : 1);
    if (done.count > 0)
        assert_int_equal(done.steps[0].what, what);
}

static struct key_set current(void)
{
    struct key_set set = {0};
    struct keys_flaw flaw;
    assert_ok(keys_dir_read(dir, "", &set, &flaw));
    assert_null(key_set_flaw(&set));
    return set;
}

static void assert_count(unsigned expected)
{
    struct key_set set CLEANUP(key_set_close) = current();
    assert_int_equal(set.count, expected);
}

/* When the one key there is became active: when its file was written. */
static int64_t start(void)
{
    struct key_set set CLEANUP(key_set_close) = current();
    return key_set_active(&set)->activated_at;
}

TEST(a_schedule_turns_keys_over_by_itself)
{
    int64_t at = start();
    for (unsigned round = 0; round < 3; round++) {
        int64_t end = at + 7 * DAY;
        assert_did(tended(WEEKLY, end - KEY_PUBLISH_WAIT_S - 1), KEY_DUE_NOTHING);
        assert_count(1);
        assert_did(tended(WEEKLY, end - KEY_PUBLISH_WAIT_S), KEY_DUE_PUBLISH);
        assert_count(2);
        assert_did(tended(WEEKLY, end - 1), KEY_DUE_NOTHING);
        struct keys_tended done = tended(WEEKLY, end);
        assert_did(done, KEY_DUE_ACTIVATE);
        struct key_set set CLEANUP(key_set_close) = current();
        assert_string_equal(key_set_active(&set)->kid, done.steps[0].kid);
        int64_t gone = end + KEY_RETIRE_WAIT_S;
        assert_did(tended(WEEKLY, gone - 1), KEY_DUE_NOTHING);
        assert_did(tended(WEEKLY, gone), KEY_DUE_RETIRE);
        assert_count(1);
        at = end;
    }
}

TEST(a_look_that_finds_nothing_due_writes_nothing)
{
    char path[128];
    assert_did(tended(NEVER, start() + 1000 * DAY), KEY_DUE_NOTHING);
    assert_did(tended(WEEKLY, start() - 1000 * DAY), KEY_DUE_NOTHING);
    snprintf(path, sizeof path, "%s/keyring.json", dir);
    assert_int_not_equal(access(path, F_OK), 0);
    snprintf(path, sizeof path, "%s/keyring.lock", dir);
    assert_int_not_equal(access(path, F_OK), 0);
}

TEST(several_retire_in_one_look)
{
    int64_t at = start();
    struct key_refusal why;
    struct keys_flaw flaw;
    for (unsigned i = 0; i < 3; i++) {
        struct keys_change change;
        struct key_entry key = {0};
        char kid[KID_MAX + 1];
        assert_ok(keys_change_begin(dir, "", &change, &flaw));
        assert_ok(keys_change_generate(&change, 2048, &key, &flaw));
        snprintf(kid, sizeof kid, "%s", key.kid);
        assert_ok(key_publish(&change.set, &key, at, &why));
        assert_ok(key_activate(&change.set, kid, at, true, &why));
        assert_ok(keys_change_commit(&change, &flaw));
        keys_change_end(&change);
    }
    assert_count(4);
    struct keys_tended done = tended(NEVER, at + KEY_RETIRE_WAIT_S);
    assert_int_equal(done.count, 3);
    assert_count(1);
}

TEST(a_change_that_is_not_committed_has_not_happened)
{
    struct keys_change change;
    struct keys_flaw flaw;
    struct key_refusal why;
    char active[KID_MAX + 1];
    struct key_entry key = {0};
    assert_ok(keys_change_begin(dir, "", &change, &flaw));
    snprintf(active, sizeof active, "%s", key_set_active(&change.set)->kid);
    assert_ok(keys_change_generate(&change, 2048, &key, &flaw));
    assert_ok(key_publish(&change.set, &key, 1, &why));
    assert_ok(key_revoke(&change.set, active, 2, &why));
    keys_change_end(&change);
    struct key_set set CLEANUP(key_set_close) = current(); /* beside a key that waits */
    assert_int_equal(set.count, 1);
    assert_string_equal(key_set_active(&set)->kid, active);
}

/* ---- several instances, one directory ---- */

struct instance {
    pthread_barrier_t *start;
    int64_t now;
    struct keys_tended done;
};

static void *tend(void *arg)
{
    struct instance *i = arg;
    struct keys_flaw flaw = {0};
    pthread_barrier_wait(i->start);
    enum err e = keys_dir_tend(dir, "", WEEKLY, i->now, &i->done, &flaw);
    return e == OK ? NULL : i;
}

TEST(of_instances_that_look_at_once_one_acts)
{
    int64_t at = start();
    const int64_t times[] = {at + 7 * DAY - KEY_PUBLISH_WAIT_S, at + 7 * DAY,
                             at + 7 * DAY + KEY_RETIRE_WAIT_S};
    for (unsigned round = 0; round < ARRAY_LEN(times); round++) {
        struct instance instances[THREADS];
        pthread_t threads[THREADS];
        pthread_barrier_t barrier;
        unsigned acted = 0;
        pthread_barrier_init(&barrier, NULL, THREADS);
        for (unsigned i = 0; i < THREADS; i++) {
            instances[i] = (struct instance){.start = &barrier, .now = times[round]};
            assert_int_equal(pthread_create(&threads[i], NULL, tend, &instances[i]), 0);
        }
        for (unsigned i = 0; i < THREADS; i++) {
            void *failed = NULL;
            pthread_join(threads[i], &failed);
            assert_null(failed);
            acted += instances[i].done.count;
        }
        pthread_barrier_destroy(&barrier);
        assert_int_equal(acted, 1);
    }
    assert_count(1);
}

#define IN_DIR(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_DIR(a_schedule_turns_keys_over_by_itself),
        IN_DIR(a_look_that_finds_nothing_due_writes_nothing),
        IN_DIR(several_retire_in_one_look),
        IN_DIR(a_change_that_is_not_committed_has_not_happened),
        IN_DIR(of_instances_that_look_at_once_one_acts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
