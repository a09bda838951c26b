#include "unit.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/process.h"

static struct process_usage usage(void)
{
    struct process_usage u;
    assert_ok(process_read(&u));
    return u;
}

TEST(the_figures_are_plausible)
{
    struct process_usage u = usage();
    assert_in_range(u.threads, 1, 64); /* sanitizers have some of their own */
    assert_in_range(u.open_fds, 3, 1024);
    assert_true(u.max_fds >= u.open_fds);
    assert_true(u.cpu_ns > 0);
    assert_in_range(u.resident_bytes, 512 * 1024, UINT64_C(1) << 36);
    int64_t age = clock_unix_ms() - u.started_unix_ms;
    assert_true(age >= -50 && age < 10 * MS_PER_MINUTE);
}

TEST(descriptors_are_counted_one_by_one)
{
    uint64_t before = usage().open_fds;
    int fds[20];
    for (unsigned i = 0; i < ARRAY_LEN(fds); i++) {
        fds[i] = open("/dev/null", O_RDONLY | O_CLOEXEC);
        assert_int_equal(usage().open_fds, before + i + 1);
    }
    for (unsigned i = 0; i < ARRAY_LEN(fds); i++)
        close(fds[i]);
    assert_int_equal(usage().open_fds, before);
}

static void *wait_for_end(void *lock)
{
    pthread_mutex_lock(lock);
    pthread_mutex_unlock(lock);
    return NULL;
}

TEST(threads_are_counted)
{
    pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    pthread_t threads[5];
    /* The first thread brings a sanitizer's own along. */
    assert_int_equal(pthread_create(&threads[0], NULL, wait_for_end, &lock), 0);
    pthread_join(threads[0], NULL);
    uint64_t before = usage().threads;
    pthread_mutex_lock(&lock);
    for (unsigned i = 0; i < ARRAY_LEN(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, wait_for_end, &lock), 0);
    assert_int_equal(usage().threads, before + ARRAY_LEN(threads));
    pthread_mutex_unlock(&lock);
    for (unsigned i = 0; i < ARRAY_LEN(threads); i++)
        pthread_join(threads[i], NULL);
}

TEST(memory_that_is_touched_is_resident)
{
    size_t size = (size_t)32 << 20;
    uint64_t before = usage().resident_bytes;
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(p != MAP_FAILED);
    memset(p, 1, size);
    assert_true(usage().resident_bytes >= before + size - ((size_t)1 << 20));
    munmap(p, size);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_figures_are_plausible),
        cmocka_unit_test(descriptors_are_counted_one_by_one),
        cmocka_unit_test(threads_are_counted),
        cmocka_unit_test(memory_that_is_touched_is_resident),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
