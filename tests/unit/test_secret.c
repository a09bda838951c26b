#include "unit.h"

#include <stdio.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/secret.h"

TEST(a_secret_is_zeroed_whole_pages_with_a_nul_behind)
{
    const size_t sizes[] = {0, 1, 4095, 4096, 4097, SECRET_MAX};
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        struct secret s = {0};
        assert_ok(secret_open(sizes[i], &s));
        assert_int_equal(s.len, sizes[i]);
        assert_true(s.mapped > s.len);
        assert_int_equal(s.mapped % (size_t)sysconf(_SC_PAGESIZE), 0);
        for (size_t k = 0; k <= s.len; k++)
            assert_int_equal(s.data[k], 0);
        secret_close(&s);
    }
}

TEST(more_than_the_maximum_is_refused)
{
    struct secret s = {.len = 7};
    assert_err(secret_open(SECRET_MAX + 1, &s), ERR_TOO_LARGE);
    assert_int_equal(s.len, 7);
    assert_err(secret_open(SIZE_MAX, &s), ERR_TOO_LARGE);
}

TEST(a_copy_is_its_own)
{
    char from[] = "hunter2";
    struct secret s = {0};
    assert_ok(secret_copy(from, 7, &s));
    from[0] = 'X';
    assert_string_equal((const char *)s.data, "hunter2");
    secret_close(&s);
    assert_ok(secret_copy(NULL, 0, &s));
    assert_int_equal(s.len, 0);
    secret_close(&s);
}

TEST(closing_unmaps_and_zeroes_and_may_be_repeated)
{
    struct secret s = {0};
    assert_ok(secret_copy("x", 1, &s));
    void *was = s.data;
    size_t mapped = s.mapped;
    secret_close(&s);
    assert_null(s.data);
    assert_int_equal(s.len, 0);
    assert_int_equal(msync(was, mapped, MS_ASYNC), -1); /* ENOMEM: nothing is mapped there */
    secret_close(&s);
    secret_close(NULL);
}

/* The pages are marked as not to be dumped ("dd" in smaps). */
TEST(the_pages_stay_out_of_core_dumps)
{
    struct secret s = {0};
    assert_ok(secret_open(10, &s));
    FILE *f = fopen("/proc/self/smaps", "r");
    assert_non_null(f);
    char line[512];
    bool ours = false, marked = false;
    while (fgets(line, sizeof line, f) != NULL) {
        unsigned long from = 0, to = 0;
        if (sscanf(line, "%lx-%lx ", &from, &to) == 2 && strchr(line, '-') < strchr(line, ' '))
            ours = from <= (unsigned long)s.data && (unsigned long)s.data < to;
        else if (ours && strncmp(line, "VmFlags:", 8) == 0)
            marked = strstr(line, " dd") != NULL;
    }
    fclose(f);
    assert_true(marked);
    secret_close(&s);
}

TEST(without_room_to_lock_a_secret_still_opens)
{
    struct rlimit old;
    assert_int_equal(getrlimit(RLIMIT_MEMLOCK, &old), 0);
    struct rlimit none = {0, old.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_MEMLOCK, &none), 0);
    struct secret s = {0};
    enum err e = secret_open(10, &s);
    assert_int_equal(setrlimit(RLIMIT_MEMLOCK, &old), 0);
    assert_ok(e);
    secret_close(&s);
}

TEST(wiping_overwrites)
{
    char s[] = "secret";
    secret_wipe(s, 3);
    assert_memory_equal(s, "\0\0\0ret", 7);
    secret_wipe(NULL, 0);
    secret_wipe(s, 0);
    assert_memory_equal(s, "\0\0\0ret", 7);
}

TEST(equality_sees_every_single_bit)
{
    uint8_t a[64], b[64];
    uint64_t seed = 4;
    fill_random(&seed, a, sizeof a);
    memcpy(b, a, sizeof a);
    assert_true(ct_equal(a, b, sizeof a));
    for (size_t bit = 0; bit < 8 * sizeof a; bit++) {
        b[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_false(ct_equal(a, b, sizeof a));
        assert_true(ct_equal(a, b, bit / 8));
        b[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    assert_true(ct_equal(a, a + 1, 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_secret_is_zeroed_whole_pages_with_a_nul_behind),
        cmocka_unit_test(more_than_the_maximum_is_refused),
        cmocka_unit_test(a_copy_is_its_own),
        cmocka_unit_test(closing_unmaps_and_zeroes_and_may_be_repeated),
        cmocka_unit_test(the_pages_stay_out_of_core_dumps),
        cmocka_unit_test(without_room_to_lock_a_secret_still_opens),
        cmocka_unit_test(wiping_overwrites),
        cmocka_unit_test(equality_sees_every_single_bit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
