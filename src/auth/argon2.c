/* argon2.c: a job from its first hash, H0, to its tag (RFC 9106 section 3.2). */
#include "auth/argon2.h"

#include <string.h>

#include <openssl/crypto.h>

#include "auth/argon2_core.h"
#include "auth/blake2b.h"
#include "base/failpoint.h"
#include "base/urgent.h"

#define H0_BYTES 64u

static const char *const NAMES[ARGON2_BACKENDS] = {
    [ARGON2_AUTO] = "auto",     [ARGON2_PORTABLE] = "portable",   [ARGON2_AVX2] = "avx2",
    [ARGON2_AVX512] = "avx512", [ARGON2_LIBARGON2] = "libargon2",
};

/* Ours. Those that this build has not are NULL; libargon2 does not fill block by block. */
static const struct argon2_ops *const OPS[ARGON2_BACKENDS] = {
    [ARGON2_PORTABLE] = &argon2_portable_ops,
#if defined(__x86_64__)
    [ARGON2_AVX2] = &argon2_avx2_ops,
    [ARGON2_AVX512] = &argon2_avx512_ops,
#endif
};

/* Written by argon2_init, before there are threads; ARGON2_AUTO stands for none. */
static enum argon2_backend in_use = ARGON2_AUTO;

const char *argon2_backend_name(enum argon2_backend backend)
{
    return backend < ARGON2_BACKENDS ? NAMES[backend] : "?";
}

enum err argon2_backend_from_name(const char *name, enum argon2_backend *out)
{
    for (unsigned i = 0; i < ARGON2_BACKENDS; i++) {
        if (strcmp(name, NAMES[i]) == 0) { /* lint: public */
            *out = (enum argon2_backend)i;
            return OK;
        }
    }
    return ERR_INVALID;
}

enum argon2_backend argon2_backend_in_use(void)
{
    return in_use;
}

bool argon2_same_params(const struct argon2_params *a, const struct argon2_params *b)
{
    return a->memory_kib == b->memory_kib && a->iterations == b->iterations &&
           a->parallelism == b->parallelism;
}

uint64_t argon2_work(const struct argon2_params *params)
{
    return (uint64_t)params->memory_kib * params->iterations;
}

static uint32_t larger(uint32_t a, uint32_t b)
{
    return a > b ? a : b;
}

/* The most memory of the two, and as much work at least. Idempotent. */
void argon2_raise(struct argon2_params *params, const struct argon2_params *other)
{
    uint64_t ours = argon2_work(params), theirs = argon2_work(other);
    uint64_t work = ours > theirs ? ours : theirs;
    params->memory_kib = larger(params->memory_kib, other->memory_kib);
    params->iterations = (uint32_t)((work + params->memory_kib - 1) / params->memory_kib);
    params->parallelism = larger(params->parallelism, other->parallelism);
}

static bool available(enum argon2_backend backend)
{
    return backend == ARGON2_LIBARGON2 || (OPS[backend] != NULL && OPS[backend]->supported());
}

enum err argon2_choose(enum argon2_backend wanted)
{
    static const enum argon2_backend best_first[] = {ARGON2_AVX512, ARGON2_AVX2, ARGON2_PORTABLE};

    if (wanted >= ARGON2_BACKENDS)
        return ERR_INVALID;
    for (unsigned i = 0; wanted == ARGON2_AUTO && i < ARRAY_LEN(best_first); i++)
        if (available(best_first[i]))
            wanted = best_first[i];
    if (!available(wanted))
        return ERR_INVALID;
    in_use = wanted;
    return OK;
}

enum err argon2_init(enum argon2_backend wanted)
{
    in_use = ARGON2_AUTO;
    TRY(argon2_choose(wanted));
    enum err e = argon2_selftest();
    if (e != OK)
        in_use = ARGON2_AUTO;
    return e;
}

static bool input_ok(const uint8_t *p, size_t len, size_t min)
{
    return len >= min && len <= ARGON2_INPUT_MAX && (len == 0 || p != NULL);
}

static enum err check(const struct argon2_arena *arena, const struct argon2_job *job)
{
    const struct argon2_params *params = &job->params;

    if (in_use == ARGON2_AUTO)
        return ERR_INTERNAL;
    if (!input_ok(job->password, job->password_len, 0) ||
        !input_ok(job->salt, job->salt_len, ARGON2_SALT_MIN) ||
        !input_ok(job->secret, job->secret_len, 0) || !input_ok(job->ad, job->ad_len, 0) ||
        !input_ok(job->tag, job->tag_len, ARGON2_TAG_MIN) || job->tag_len > ARGON2_TAG_MAX)
        return ERR_INVALID;
    if (params->iterations < 1 || params->parallelism < 1 ||
        params->parallelism > ARGON2_PARALLELISM_MAX ||
        params->memory_kib / ARGON2_MEMORY_PER_LANE < params->parallelism)
        return ERR_INVALID;
    if (params->memory_kib > argon2_arena_blocks(arena))
        return ERR_TOO_LARGE;
    return OK;
}

static void add_input(struct blake2b *s, const uint8_t *p, size_t len)
{
    blake2b_add_le32(s, (uint32_t)len);
    blake2b_add(s, p, len);
}

static void first_hash(const struct argon2_job *job, uint8_t h0[H0_BYTES])
{
    struct blake2b s;

    blake2b_begin(&s, H0_BYTES);
    blake2b_add_le32(&s, job->params.parallelism);
    blake2b_add_le32(&s, (uint32_t)job->tag_len);
    blake2b_add_le32(&s, job->params.memory_kib);
    blake2b_add_le32(&s, job->params.iterations);
    blake2b_add_le32(&s, ARGON2_VERSION);
    blake2b_add_le32(&s, ARGON2_TYPE_ID);
    add_input(&s, job->password, job->password_len);
    add_input(&s, job->salt, job->salt_len);
    add_input(&s, job->secret, job->secret_len);
    add_input(&s, job->ad, job->ad_len);
    blake2b_end(&s, h0);
}

/* H' of section 3.3 */
static void long_hash(const void *in, size_t in_len, uint8_t *out, size_t out_len)
{
    struct blake2b s;
    uint8_t v[BLAKE2B_OUT_MAX];

    blake2b_begin(&s, out_len < BLAKE2B_OUT_MAX ? out_len : BLAKE2B_OUT_MAX);
    blake2b_add_le32(&s, (uint32_t)out_len);
    blake2b_add(&s, in, in_len);
    blake2b_end(&s, v);

    /* Half of each hash is output, the whole of the last, which is the only one to be shorter. */
    while (out_len > BLAKE2B_OUT_MAX) {
        memcpy(out, v, BLAKE2B_OUT_MAX / 2);
        out += BLAKE2B_OUT_MAX / 2;
        out_len -= BLAKE2B_OUT_MAX / 2;
        blake2b_begin(&s, out_len < BLAKE2B_OUT_MAX ? out_len : BLAKE2B_OUT_MAX);
        blake2b_add(&s, v, BLAKE2B_OUT_MAX);
        blake2b_end(&s, v);
    }
    memcpy(out, v, out_len);
    OPENSSL_cleanse(v, sizeof(v));
}

static void store_le32(uint8_t *p, uint32_t n)
{
    for (unsigned i = 0; i < 4; i++)
        p[i] = (uint8_t)(n >> (8 * i));
}

/* Makes the first two blocks of every lane. */
static void fill_first(const struct argon2_fill *f, const struct argon2_job *job)
{
    unsigned (*place)(unsigned) = OPS[in_use]->place;
    uint8_t seed[H0_BYTES + 8];
    uint8_t bytes[ARGON2_BLOCK_BYTES];

    first_hash(job, seed);
    for (uint32_t lane = 0; lane < f->lanes; lane++) {
        for (uint32_t column = 0; column < 2; column++) {
            struct argon2_block *b = &f->memory[(size_t)lane * f->lane_len + column];
            store_le32(seed + H0_BYTES, column);
            store_le32(seed + H0_BYTES + 4, lane);
            long_hash(seed, sizeof(seed), bytes, sizeof(bytes));
            for (unsigned n = 0; n < ARGON2_BLOCK_WORDS; n++) {
                uint64_t word = 0;
                for (unsigned i = 0; i < 8; i++)
                    word |= (uint64_t)bytes[n * 8 + i] << (8 * i);
                b->word[place(n)] = word;
            }
        }
    }
    OPENSSL_cleanse(seed, sizeof(seed));
    OPENSSL_cleanse(bytes, sizeof(bytes));
}

/* Makes the tag of the last blocks of all lanes, and wipes those: it is all that the tag needs. */
static void finish(const struct argon2_fill *f, const struct argon2_job *job)
{
    unsigned (*place)(unsigned) = OPS[in_use]->place;
    uint8_t bytes[ARGON2_BLOCK_BYTES];

    for (unsigned n = 0; n < ARGON2_BLOCK_WORDS; n++) {
        uint64_t word = 0;
        for (uint32_t lane = 1; lane <= f->lanes; lane++)
            word ^= f->memory[(size_t)lane * f->lane_len - 1].word[place(n)];
        for (unsigned i = 0; i < 8; i++)
            bytes[n * 8 + i] = (uint8_t)(word >> (8 * i));
    }
    for (uint32_t lane = 1; lane <= f->lanes; lane++)
        OPENSSL_cleanse(&f->memory[(size_t)lane * f->lane_len - 1], ARGON2_BLOCK_BYTES);
    long_hash(bytes, sizeof(bytes), job->tag, job->tag_len);
    OPENSSL_cleanse(bytes, sizeof(bytes));
}

/* The shape of a job, in the memory of a slot. */
static struct argon2_fill shape(struct argon2_arena *arena, unsigned slot,
                                const struct argon2_job *job)
{
    uint32_t lanes = job->params.parallelism;
    uint32_t segment_len = job->params.memory_kib / (ARGON2_SLICES * lanes);
    uint32_t lane_len = segment_len * ARGON2_SLICES;

    argon2_arena_dirty(arena, slot, lane_len * lanes);
    return (struct argon2_fill){
        .memory = argon2_arena_slot(arena, slot),
        .blocks = lane_len * lanes,
        .lanes = lanes,
        .lane_len = lane_len,
        .segment_len = segment_len,
        .passes = job->params.iterations,
    };
}

/* A hash by libargon2 into tag; the job has been checked. */
static enum err reference_hash(struct argon2_arena *arena, const struct argon2_job *job,
                               uint8_t tag[ARGON2_TAG_MAX])
{
    struct argon2_job own = *job;

    own.tag = tag;
    argon2_arena_dirty(arena, 0, job->params.memory_kib);
    return argon2_libargon2_hash(argon2_arena_slot(arena, 0), argon2_arena_blocks(arena), &own);
}

enum err argon2id_hash(struct argon2_arena *arena, const struct argon2_job *job)
{
    TRY(check(arena, job));
    if (in_use == ARGON2_LIBARGON2) {
        uint8_t tag[ARGON2_TAG_MAX];
        TRY(reference_hash(arena, job, tag));
        memcpy(job->tag, tag, job->tag_len);
        OPENSSL_cleanse(tag, sizeof(tag));
        return OK;
    }

    struct argon2_fill f = shape(arena, 0, job);
    fill_first(&f, job);
    urgent_long_begin();
    OPS[in_use]->fill(&f);
    urgent_long_end();
    if (WITHOUT("right single hash"))
        f.memory[f.blocks - 1].word[0] ^= 1;
    finish(&f, job);
    return OK;
}

static enum err reference_pair(struct argon2_arena *arena, const struct argon2_job *a,
                               const struct argon2_job *b)
{
    uint8_t tag_a[ARGON2_TAG_MAX], tag_b[ARGON2_TAG_MAX];

    enum err e = reference_hash(arena, a, tag_a);
    if (e == OK)
        e = reference_hash(arena, b, tag_b);
    if (e == OK) {
        memcpy(a->tag, tag_a, a->tag_len);
        memcpy(b->tag, tag_b, b->tag_len);
    }
    OPENSSL_cleanse(tag_a, sizeof(tag_a));
    OPENSSL_cleanse(tag_b, sizeof(tag_b));
    return e;
}

enum err argon2id_hash_pair(struct argon2_arena *arena, const struct argon2_job *a,
                            const struct argon2_job *b)
{
    if (argon2_arena_slot(arena, 1) == NULL)
        return ERR_INVALID;
    TRY(check(arena, a));
    TRY(check(arena, b));
    if (in_use == ARGON2_LIBARGON2)
        return reference_pair(arena, a, b);
    if (!argon2_same_params(&a->params, &b->params)) {
        TRY(argon2id_hash(arena, a));
        return argon2id_hash(arena, b);
    }

    struct argon2_fill fill_a = shape(arena, 0, a);
    struct argon2_fill fill_b = shape(arena, 1, b);
    fill_first(&fill_a, a);
    fill_first(&fill_b, b);
    urgent_long_begin();
    OPS[in_use]->fill_pair(&fill_a, &fill_b);
    urgent_long_end();
    if (WITHOUT("right paired hash"))
        fill_b.memory[fill_b.blocks - 1].word[0] ^= 1;
    finish(&fill_a, a);
    finish(&fill_b, b);
    return OK;
}
