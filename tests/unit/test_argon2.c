/* Argon2id by its known answers, its bounds, and what it leaves in memory; random inputs are the
 * business of argon2_differential.c. */
#include "unit.h"

#include <pthread.h>
#include <sched.h>

#include <openssl/evp.h>

#include "auth/argon2.h"
#include "auth/argon2_core.h"
#include "auth/blake2b.h"
#include "base/clock.h"
#include "base/urgent.h"

#define ARENA_KIB 1024u
#define TAG 32u

static struct argon2_arena *arena;

static const enum argon2_backend EVERY[] = {ARGON2_PORTABLE, ARGON2_AVX2, ARGON2_AVX512,
                                            ARGON2_LIBARGON2};

/* Goes to the next back end from at that this machine has; how many tests skip the rest. */
static bool next_backend(size_t *at)
{
    for (; *at < ARRAY_LEN(EVERY); (*at)++) {
        enum err e = argon2_init(EVERY[*at]);
        if (e == OK) {
            assert_int_equal(argon2_backend_in_use(), EVERY[*at]);
            return true;
        }
        assert_err(e, ERR_INVALID); /* the CPU lacks it; anything else would be a wrong answer */
    }
    return false;
}

static struct argon2_job job(uint32_t memory_kib, uint32_t iterations, uint32_t parallelism,
                             const char *password, uint8_t *tag)
{
    return (struct argon2_job){
        .params = {memory_kib, iterations, parallelism},
        .password = (const uint8_t *)password,
        .password_len = strlen(password),
        .salt = (const uint8_t *)"somesalt",
        .salt_len = 8,
        .tag = tag,
        .tag_len = TAG,
    };
}

static void assert_hex(const uint8_t *bytes, size_t len, const char *hex)
{
    char text[2 * 64 + 1];

    assert_true(len <= 64);
    for (size_t i = 0; i < len; i++)
        snprintf(text + 2 * i, 3, "%02x", bytes[i]);
    assert_string_equal(text, hex);
}

/* First in the group: no other test leaves the state it needs. */
TEST(nothing_is_hashed_before_a_back_end_is_chosen)
{
    uint8_t tag[TAG] = {0}, untouched[TAG] = {0};
    struct argon2_job j = job(64, 1, 1, "password", tag);

    assert_int_equal(argon2_backend_in_use(), ARGON2_AUTO);
    assert_err(argon2id_hash(arena, &j), ERR_INTERNAL);
    assert_err(argon2id_hash_pair(arena, &j, &j), ERR_INTERNAL);
    assert_memory_equal(tag, untouched, TAG);
}

TEST(a_back_end_is_known_by_its_name)
{
    enum argon2_backend b = ARGON2_BACKENDS;

    for (unsigned i = 0; i < ARGON2_BACKENDS; i++) {
        assert_ok(argon2_backend_from_name(argon2_backend_name((enum argon2_backend)i), &b));
        assert_int_equal(b, i);
    }
    b = ARGON2_AVX2;
    assert_err(argon2_backend_from_name("", &b), ERR_INVALID);
    assert_err(argon2_backend_from_name("AVX2", &b), ERR_INVALID);
    assert_err(argon2_backend_from_name("avx", &b), ERR_INVALID);
    assert_int_equal(b, ARGON2_AVX2);
    assert_string_equal(argon2_backend_name(ARGON2_BACKENDS), "?");
}

TEST(auto_chooses_one_of_ours)
{
    assert_ok(argon2_init(ARGON2_AUTO));
    assert_int_not_equal(argon2_backend_in_use(), ARGON2_AUTO);
    assert_int_not_equal(argon2_backend_in_use(), ARGON2_LIBARGON2);
    assert_err(argon2_init(ARGON2_BACKENDS), ERR_INVALID);
}

/* RFC 9106 section 5.3 */
TEST(the_vector_of_the_rfc)
{
    uint8_t password[32], salt[16], secret[8], ad[12], one[TAG], two[TAG];
    static const char *const hex =
        "0d640df58d78766c08c037a34a8b53c9d01ef0452d75b65eb52520e96b01e659";
    memset(password, 1, sizeof(password));
    memset(salt, 2, sizeof(salt));
    memset(secret, 3, sizeof(secret));
    memset(ad, 4, sizeof(ad));
    struct argon2_job a = {
        .params = {.memory_kib = 32, .iterations = 3, .parallelism = 4},
        .password = password,
        .password_len = sizeof(password),
        .salt = salt,
        .salt_len = sizeof(salt),
        .secret = secret,
        .secret_len = sizeof(secret),
        .ad = ad,
        .ad_len = sizeof(ad),
        .tag = one,
        .tag_len = TAG,
    };
    struct argon2_job b = a;
    b.tag = two;

    for (size_t at = 0; next_backend(&at); at++) {
        assert_ok(argon2id_hash(arena, &a));
        assert_hex(one, TAG, hex);
        memset(one, 0, TAG);
        assert_ok(argon2id_hash_pair(arena, &a, &b));
        assert_hex(one, TAG, hex);
        assert_hex(two, TAG, hex);
    }
}

/* Published with the reference implementation (its src/test.c). */
TEST(the_vectors_of_the_reference_implementation)
{
    uint8_t tag[TAG];
    struct argon2_job one_lane = job(256, 2, 1, "password", tag);
    struct argon2_job two_lanes = job(256, 2, 2, "password", tag);

    for (size_t at = 0; next_backend(&at); at++) {
        assert_ok(argon2id_hash(arena, &one_lane));
        assert_hex(tag, TAG, "9dfeb910e80bad0311fee20f9c0e2b12c17987b4cac90c2ef54d5b3021c68bfe");
        assert_ok(argon2id_hash(arena, &two_lanes));
        assert_hex(tag, TAG, "6d093c501fd5999645e0ea3bf620d7b8be7fd2db59c20d9fff9539da2bf57037");
    }
}

TEST(back_ends_agree_on_every_tag_length_that_matters)
{
    static const size_t lengths[] = {4, 5, 31, 32, 33, 63, 64, 65, 95, 96, 97, 128, 1000, 1024};
    static uint8_t want[ARRAY_LEN(lengths)][ARGON2_TAG_MAX];
    uint8_t tag[ARGON2_TAG_MAX];

    for (size_t at = 0; next_backend(&at); at++) {
        for (size_t i = 0; i < ARRAY_LEN(lengths); i++) {
            struct argon2_job j = job(64, 1, 1, "", tag);
            j.tag_len = lengths[i];
            assert_ok(argon2id_hash(arena, &j));
            if (at == 0)
                memcpy(want[i], tag, lengths[i]);
            assert_memory_equal(tag, want[i], lengths[i]);
        }
    }
}

TEST(a_pair_need_not_have_the_same_parameters)
{
    uint8_t a[TAG], b[TAG], want_a[TAG], want_b[TAG];

    for (size_t at = 0; next_backend(&at); at++) {
        struct argon2_job job_a = job(100, 1, 1, "first", want_a);
        struct argon2_job job_b = job(64, 2, 3, "second", want_b);
        assert_ok(argon2id_hash(arena, &job_a));
        assert_ok(argon2id_hash(arena, &job_b));
        job_a.tag = a;
        job_b.tag = b;
        assert_ok(argon2id_hash_pair(arena, &job_a, &job_b));
        assert_memory_equal(a, want_a, TAG);
        assert_memory_equal(b, want_b, TAG);
    }
}

static void assert_refused(struct argon2_job j, enum err kind)
{
    uint8_t fine_tag[TAG] = {0}, untouched[TAG] = {0};
    struct argon2_job fine = job(64, 1, 1, "password", fine_tag);
    uint8_t *tag = j.tag;

    assert_err(argon2id_hash(arena, &j), kind);
    assert_err(argon2id_hash_pair(arena, &j, &fine), kind);
    assert_err(argon2id_hash_pair(arena, &fine, &j), kind);
    if (tag != NULL)
        assert_memory_equal(tag, untouched, TAG);
    assert_memory_equal(fine_tag, untouched, TAG);
}

TEST(what_is_out_of_range_is_refused_and_writes_nothing)
{
    uint8_t tag[TAG] = {0};
    const struct argon2_job fine = job(64, 1, 1, "password", tag);
    struct argon2_job j;
    size_t over = (size_t)ARGON2_INPUT_MAX + 1;

    for (size_t at = 0; next_backend(&at); at++) {
        j = fine, j.params.iterations = 0, assert_refused(j, ERR_INVALID);
        j = fine, j.params.parallelism = 0, assert_refused(j, ERR_INVALID);
        j = fine, j.params.parallelism = 1u << 24, assert_refused(j, ERR_INVALID);
        j = fine, j.params.parallelism = UINT32_MAX, assert_refused(j, ERR_INVALID);
        j = fine, j.params.memory_kib = 0, assert_refused(j, ERR_INVALID);
        j = fine, j.params.memory_kib = 7, assert_refused(j, ERR_INVALID);
        j = fine, j.params.parallelism = 9, assert_refused(j, ERR_INVALID);
        j = fine, j.params.memory_kib = ARENA_KIB + 1, assert_refused(j, ERR_TOO_LARGE);
        j = fine, j.params.memory_kib = UINT32_MAX, assert_refused(j, ERR_TOO_LARGE);
        j = fine, j.password_len = over, assert_refused(j, ERR_INVALID);
        j = fine, j.password = NULL, assert_refused(j, ERR_INVALID);
        j = fine, j.salt_len = 7, assert_refused(j, ERR_INVALID);
        j = fine, j.salt_len = over, assert_refused(j, ERR_INVALID);
        j = fine, j.salt = NULL, assert_refused(j, ERR_INVALID);
        j = fine, j.secret_len = 1, assert_refused(j, ERR_INVALID);
        j = fine, j.secret_len = over, assert_refused(j, ERR_INVALID);
        j = fine, j.ad_len = 1, assert_refused(j, ERR_INVALID);
        j = fine, j.ad_len = over, assert_refused(j, ERR_INVALID);
        j = fine, j.tag = NULL, assert_refused(j, ERR_INVALID);
        j = fine, j.tag_len = 3, assert_refused(j, ERR_INVALID);
        j = fine, j.tag_len = ARGON2_TAG_MAX + 1, assert_refused(j, ERR_INVALID);
    }
}

TEST(the_bounds_themselves_are_allowed)
{
    uint8_t tag[TAG];
    struct argon2_job least = job(8, 1, 1, "", tag), most = job(ARENA_KIB, 1, 128, "x", tag);

    least.password = NULL;
    for (size_t at = 0; next_backend(&at); at++) {
        assert_ok(argon2id_hash(arena, &least));
        assert_ok(argon2id_hash(arena, &most));
    }
}

TEST(an_arena_of_one_slot_makes_no_pairs)
{
    struct argon2_arena *small = NULL;
    uint8_t tag[TAG];
    struct argon2_job j = job(64, 1, 1, "password", tag);

    assert_ok(argon2_init(ARGON2_AUTO));
    assert_ok(argon2_arena_open(64, 1, &small));
    assert_true(argon2_arena_bytes(small) >= 64 * ARGON2_BLOCK_BYTES);
    assert_ok(argon2id_hash(small, &j));
    assert_err(argon2id_hash_pair(small, &j, &j), ERR_INVALID);
    argon2_arena_close(small);
}

TEST(arenas_have_bounds)
{
    struct argon2_arena *none = NULL;

    assert_err(argon2_arena_open(7, 1, &none), ERR_INVALID);
    assert_err(argon2_arena_open(ARGON2_MEMORY_MAX + 1, 1, &none), ERR_INVALID);
    assert_err(argon2_arena_open(64, 0, &none), ERR_INVALID);
    assert_err(argon2_arena_open(64, 3, &none), ERR_INVALID);
    assert_null(none);
    argon2_arena_close(NULL);
}

static bool all_zero(const struct argon2_block *b, size_t blocks)
{
    uint64_t any = 0;
    for (size_t i = 0; i < blocks; i++)
        for (unsigned n = 0; n < ARGON2_BLOCK_WORDS; n++)
            any |= b[i].word[n];
    return any == 0;
}

TEST(the_last_blocks_are_gone_at_once_and_the_rest_when_wiped)
{
    uint8_t a[TAG], b[TAG];
    struct argon2_job large = job(ARENA_KIB, 1, 1, "password", a);
    struct argon2_job job_a = job(256, 1, 2, "password", a), job_b = job(256, 1, 2, "other", b);
    const struct argon2_block *slot[] = {argon2_arena_slot(arena, 0), argon2_arena_slot(arena, 1)};

    for (size_t at = 0; next_backend(&at); at++) {
        assert_ok(argon2id_hash(arena, &large));
        assert_ok(argon2id_hash_pair(arena, &job_a, &job_b));
        for (unsigned k = 0; k < 2 && EVERY[at] != ARGON2_LIBARGON2; k++) {
            assert_true(all_zero(slot[k] + 127, 1));
            assert_true(all_zero(slot[k] + 255, 1));
            assert_false(all_zero(slot[k] + 126, 1));
        }
        argon2_arena_wipe(arena);
        assert_true(all_zero(slot[0], ARENA_KIB));
        assert_true(all_zero(slot[1], ARENA_KIB));
    }
}

static void *hash_in_a_thread(void *tag)
{
    struct argon2_arena *own = NULL;
    struct argon2_job a = job(256, 2, 2, "password", tag);
    uint8_t other[TAG];
    struct argon2_job b = job(256, 2, 2, "password", other);

    enum err e = argon2_arena_open(256, 2, &own);
    for (unsigned i = 0; i < 8 && e == OK; i++)
        e = i % 2 == 0 ? argon2id_hash(own, &a) : argon2id_hash_pair(own, &a, &b);
    argon2_arena_close(own);
    return e == OK ? tag : NULL;
}

TEST(threads_hash_side_by_side)
{
    pthread_t thread[4];
    uint8_t tag[ARRAY_LEN(thread)][TAG];

    for (size_t at = 0; next_backend(&at); at++) {
        memset(tag, 0, sizeof(tag));
        for (size_t i = 0; i < ARRAY_LEN(thread); i++)
            assert_int_equal(pthread_create(&thread[i], NULL, hash_in_a_thread, tag[i]), 0);
        for (size_t i = 0; i < ARRAY_LEN(thread); i++) {
            void *result = NULL;
            assert_int_equal(pthread_join(thread[i], &result), 0);
            assert_non_null(result);
            assert_hex(tag[i], TAG,
                       "6d093c501fd5999645e0ea3bf620d7b8be7fd2db59c20d9fff9539da2bf57037");
        }
    }
}

/* Each in a thread of its own, which has not let anything pass yet. */
static void *hash_beside_urgent_work(void *in_pairs)
{
    const bool *pair = in_pairs;
    uint8_t plain[TAG], tag[2][TAG];
    struct argon2_arena *own = NULL;
    struct argon2_job j = job(ARENA_KIB, 1, 1, "password", plain);
    assert_ok(argon2_arena_open(ARENA_KIB, 2, &own));
    assert_ok(argon2id_hash(own, &j));
    struct argon2_job a = job(ARENA_KIB, 1, 1, "password", tag[0]);
    struct argon2_job b = job(ARENA_KIB, 1, 1, "password", tag[1]);
    urgent_begin();
    uint64_t begin = clock_mono_ns();
    assert_ok(*pair ? argon2id_hash_pair(own, &a, &b) : argon2id_hash(own, &a));
    uint64_t ns = clock_mono_ns() - begin;
    urgent_end();
    assert_true(ns >= 10 * NS_PER_MS); /* it takes one otherwise */
    assert_memory_equal(tag[0], plain, TAG);
    if (*pair)
        assert_memory_equal(tag[1], plain, TAG);
    argon2_arena_close(own);
    return NULL;
}

TEST(urgent_work_passes_in_the_midst_of_a_hash)
{
    for (size_t at = 0; next_backend(&at); at++) {
        for (unsigned i = 0; i < 2 && EVERY[at] != ARGON2_LIBARGON2; i++) {
            pthread_t thread;
            bool in_pairs = i == 1;
            assert_int_equal(pthread_create(&thread, NULL, hash_beside_urgent_work, &in_pairs), 0);
            pthread_join(thread, NULL);
        }
    }
}

/* In place of the library's: what hashes give way by. */
static _Thread_local unsigned yields;

int sched_yield(void)
{
    yields++;
    return 0;
}

/* Every 512 blocks of each hash, for as many hashes as are side by side. */
TEST(a_hash_gives_way_in_its_midst)
{
    uint8_t one[TAG], two[TAG];
    struct argon2_job a = job(ARENA_KIB, 3, 1, "password", one);
    struct argon2_job b = job(ARENA_KIB, 3, 1, "password", two);

    for (size_t at = 0; next_backend(&at); at++) {
        unsigned expected = EVERY[at] == ARGON2_LIBARGON2 ? 0 : 3 * ARENA_KIB / 512 - 1;
        yields = 0;
        assert_ok(argon2id_hash(arena, &a));
        assert_int_equal(yields, expected); /* the first block of all is not filled here */
        yields = 0;
        assert_ok(argon2id_hash_pair(arena, &a, &b));
        assert_int_equal(yields, expected);
    }
}

static void blake2b(const void *in, size_t len, uint8_t *out, size_t out_len)
{
    struct blake2b s;

    blake2b_begin(&s, out_len);
    blake2b_add(&s, in, len);
    blake2b_end(&s, out);
}

/* RFC 7693 appendix A, and two of the shorter lengths that only our own can do. */
TEST(blake2b_known_answers)
{
    uint8_t out[BLAKE2B_OUT_MAX];

    blake2b("abc", 3, out, 64);
    assert_hex(out, 64,
               "ba80a53f981c4d0d6a2797b69f12f6e94c212f14685ac4b74b12bb6fdbffa2d1"
               "7d87c5392aab792dc252d5de4533cc9518d38aa8dbf1925ab92386edd4009923");
    blake2b("abc", 3, out, 32);
    assert_hex(out, 32, "bddd813c634239723171ef3fee98579b94964e3bb1cb3e427262c8c068d52319");
    blake2b(NULL, 0, out, 32);
    assert_hex(out, 32, "0e5751c026e543b2e8ab2eb06099daa1d1e5df47778f7787faab45cdf12fe3a8");
}

TEST(blake2b_agrees_with_openssl_however_the_input_comes)
{
    uint64_t seed = 7693;
    uint8_t in[700], want[64], got[64];

    for (size_t len = 0; len <= sizeof(in); len++) {
        fill_random(&seed, in, len);
        unsigned want_len = 0;
        assert_int_equal(EVP_Digest(in, len, want, &want_len, EVP_blake2b512(), NULL), 1);
        assert_int_equal(want_len, 64);

        struct blake2b s;
        blake2b_begin(&s, 64);
        for (size_t at = 0; at < len;) {
            size_t take = next_random(&seed) % 300;
            take = take < len - at ? take : len - at;
            blake2b_add(&s, in + at, take);
            at += take;
        }
        blake2b_end(&s, got);
        assert_memory_equal(got, want, 64);
    }
}

static int open_arena(void **state)
{
    (void)state;
    return argon2_arena_open(ARENA_KIB, 2, &arena) == OK ? 0 : -1;
}

static int close_arena(void **state)
{
    (void)state;
    argon2_arena_close(arena);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_hashed_before_a_back_end_is_chosen),
        cmocka_unit_test(a_back_end_is_known_by_its_name),
        cmocka_unit_test(auto_chooses_one_of_ours),
        cmocka_unit_test(the_vector_of_the_rfc),
        cmocka_unit_test(the_vectors_of_the_reference_implementation),
        cmocka_unit_test(back_ends_agree_on_every_tag_length_that_matters),
        cmocka_unit_test(a_pair_need_not_have_the_same_parameters),
        cmocka_unit_test(what_is_out_of_range_is_refused_and_writes_nothing),
        cmocka_unit_test(the_bounds_themselves_are_allowed),
        cmocka_unit_test(an_arena_of_one_slot_makes_no_pairs),
        cmocka_unit_test(arenas_have_bounds),
        cmocka_unit_test(the_last_blocks_are_gone_at_once_and_the_rest_when_wiped),
        cmocka_unit_test(threads_hash_side_by_side),
        cmocka_unit_test(urgent_work_passes_in_the_midst_of_a_hash),
        cmocka_unit_test(a_hash_gives_way_in_its_midst),
        cmocka_unit_test(blake2b_known_answers),
        cmocka_unit_test(blake2b_agrees_with_openssl_however_the_input_comes),
    };
    return cmocka_run_group_tests(tests, open_arena, close_arena);
}
