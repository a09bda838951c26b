/*
 * Ours against libargon2 on random parameters and inputs, every back end that this machine has,
 * single and paired.
 *
 *     argon2_differential [CASES [SEED]]
 *
 * CASES is for each back end (2000 unless given); every case is a pair, and one single hash. The
 * seed is printed, and repeats a run.
 */
#include "unit.h"

#include <stdio.h>
#include <time.h>

#include <argon2.h>

#include "auth/argon2.h"

#define LANES_MAX 8u
#define INPUT_MAX 300u
#define TAG_MAX 200u

/* More than 128 blocks to a segment, so that a second block of addresses is needed. */
#define MEMORY_MAX 1400u

static unsigned long cases = 2000;
static uint64_t first_seed;

struct inputs {
    uint8_t password[INPUT_MAX], salt[INPUT_MAX], secret[INPUT_MAX], ad[INPUT_MAX];
    uint8_t tag[TAG_MAX], want[TAG_MAX];
    struct argon2_job job;
};

static size_t between(uint64_t *seed, size_t least, size_t most)
{
    return least + next_random(seed) % (most - least + 1);
}

/* Small memories mostly: there the edges of segments are close together, and it is fast. */
static struct argon2_params random_params(uint64_t *seed)
{
    uint32_t lanes = (uint32_t)between(seed, 1, LANES_MAX);
    uint32_t least = 8 * lanes;
    uint32_t most = next_random(seed) % 16 == 0 ? MEMORY_MAX : least + 60;

    return (struct argon2_params){
        .memory_kib = (uint32_t)between(seed, least, most),
        .iterations = (uint32_t)between(seed, 1, 4),
        .parallelism = lanes,
    };
}

static void random_inputs(uint64_t *seed, struct argon2_params params, struct inputs *in)
{
    fill_random(seed, in, offsetof(struct inputs, tag));
    in->job = (struct argon2_job){
        .params = params,
        .password = in->password,
        .password_len = between(seed, 0, INPUT_MAX),
        .salt = in->salt,
        .salt_len = between(seed, ARGON2_SALT_MIN, 64),
        .secret = in->secret,
        .secret_len = next_random(seed) % 2 ? between(seed, 0, INPUT_MAX) : 0,
        .ad = in->ad,
        .ad_len = next_random(seed) % 2 ? between(seed, 0, INPUT_MAX) : 0,
        .tag = in->tag,
        .tag_len = between(seed, ARGON2_TAG_MIN, TAG_MAX),
    };
}

static void ask_reference(struct inputs *in)
{
    argon2_context context = {
        .out = in->want,
        .outlen = (uint32_t)in->job.tag_len,
        .pwd = in->password,
        .pwdlen = (uint32_t)in->job.password_len,
        .salt = in->salt,
        .saltlen = (uint32_t)in->job.salt_len,
        .secret = in->secret,
        .secretlen = (uint32_t)in->job.secret_len,
        .ad = in->ad,
        .adlen = (uint32_t)in->job.ad_len,
        .t_cost = in->job.params.iterations,
        .m_cost = in->job.params.memory_kib,
        .lanes = in->job.params.parallelism,
        .threads = 1,
        .version = ARGON2_VERSION_13,
    };
    assert_int_equal(argon2id_ctx(&context), ARGON2_OK);
}

static void assert_same(const struct inputs *in, uint64_t seed)
{
    if (memcmp(in->tag, in->want, in->job.tag_len) == 0)
        return;
    fail_msg("case %llu: m=%u t=%u p=%u, lengths %zu %zu %zu %zu %zu", (unsigned long long)seed,
             in->job.params.memory_kib, in->job.params.iterations, in->job.params.parallelism,
             in->job.password_len, in->job.salt_len, in->job.secret_len, in->job.ad_len,
             in->job.tag_len);
}

static void one_case(struct argon2_arena *arena, uint64_t seed)
{
    static struct inputs a, b;
    uint64_t at = seed;
    struct argon2_params params = random_params(&at);

    random_inputs(&at, params, &a);
    random_inputs(&at, next_random(&at) % 16 == 0 ? random_params(&at) : params, &b);
    ask_reference(&a);
    ask_reference(&b);

    assert_ok(argon2id_hash(arena, &a.job));
    assert_same(&a, seed);
    memset(a.tag, 0, sizeof(a.tag));
    assert_ok(argon2id_hash_pair(arena, &a.job, &b.job));
    assert_same(&a, seed);
    assert_same(&b, seed);
}

static void agrees(enum argon2_backend backend)
{
    struct argon2_arena *arena = NULL;

    if (argon2_init(backend) == ERR_INVALID) {
        print_message("this machine has no %s\n", argon2_backend_name(backend));
        skip();
    }
    assert_int_equal(argon2_backend_in_use(), backend);
    assert_ok(argon2_arena_open(MEMORY_MAX, 2, &arena));
    print_message("%s: %lu cases, seed %llu\n", argon2_backend_name(backend), cases,
                  (unsigned long long)first_seed);
    for (unsigned long i = 0; i < cases; i++)
        one_case(arena, first_seed + i);
    argon2_arena_close(arena);
}

TEST(portable_agrees_with_libargon2)
{
    agrees(ARGON2_PORTABLE);
}

TEST(avx2_agrees_with_libargon2)
{
    agrees(ARGON2_AVX2);
}

TEST(avx512_agrees_with_libargon2)
{
    agrees(ARGON2_AVX512);
}

TEST(libargon2_in_our_memory_agrees_with_itself)
{
    agrees(ARGON2_LIBARGON2);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(portable_agrees_with_libargon2),
        cmocka_unit_test(avx2_agrees_with_libargon2),
        cmocka_unit_test(avx512_agrees_with_libargon2),
        cmocka_unit_test(libargon2_in_our_memory_agrees_with_itself),
    };

    if (argc > 1)
        cases = strtoul(argv[1], NULL, 10);
    first_seed = argc > 2 ? strtoull(argv[2], NULL, 10) : (uint64_t)time(NULL) << 20;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
