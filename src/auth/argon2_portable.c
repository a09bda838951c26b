/* argon2_portable.c: the compression function G of RFC 9106 section 3.5 in plain C. */
#include "auth/argon2_core.h"

static unsigned place(unsigned n)
{
    return n; /* the order of the RFC */
}

static inline uint64_t rotate_right(uint64_t x, unsigned bits)
{
    return x >> bits | x << (64 - bits);
}

/* a + b + 2 * lower half of a * lower half of b */
static inline uint64_t mul_add(uint64_t a, uint64_t b)
{
    return a + b + 2 * (uint64_t)(uint32_t)a * (uint32_t)b;
}

/* GB of section 3.6 */
static inline void mix(uint64_t *pa, uint64_t *pb, uint64_t *pc, uint64_t *pd)
{
    uint64_t a = *pa, b = *pb, c = *pc, d = *pd;

    a = mul_add(a, b);
    d = rotate_right(d ^ a, 32);
    c = mul_add(c, d);
    b = rotate_right(b ^ c, 24);
    a = mul_add(a, b);
    d = rotate_right(d ^ a, 16);
    c = mul_add(c, d);
    b = rotate_right(b ^ c, 63);

    *pa = a, *pb = b, *pc = c, *pd = d;
}

/* The permutation P of section 3.6 over eight pairs of words, the pairs stride words apart. */
static inline void permute(uint64_t *first, unsigned stride)
{
    uint64_t v[16];

    for (unsigned i = 0; i < 16; i++)
        v[i] = first[(size_t)(i / 2) * stride + i % 2];

    for (unsigned i = 0; i < 4; i++)
        mix(&v[i], &v[4 + i], &v[8 + i], &v[12 + i]);
    for (unsigned i = 0; i < 4; i++)
        mix(&v[i], &v[4 + (i + 1) % 4], &v[8 + (i + 2) % 4], &v[12 + (i + 3) % 4]);

    for (unsigned i = 0; i < 16; i++)
        first[(size_t)(i / 2) * stride + i % 2] = v[i];
}

/* dst keeps R (and what was there before), work becomes Q: R with its rows permuted. */
static void fill_begin(struct argon2_block *restrict dst, const struct argon2_block *restrict prev,
                       const struct argon2_block *restrict ref, bool keep,
                       struct argon2_block *restrict work)
{
    for (unsigned i = 0; i < ARGON2_BLOCK_WORDS; i++) {
        uint64_t r = prev->word[i] ^ ref->word[i];
        work->word[i] = r;
        dst->word[i] = keep ? dst->word[i] ^ r : r;
    }
    for (unsigned row = 0; row < 8; row++)
        permute(&work->word[row * 16], 2);
}

/* Permutes four of the eight columns, 16 bytes wide each, and adds them to dst. */
static inline void columns(struct argon2_block *restrict dst, struct argon2_block *restrict work,
                           unsigned first)
{
    for (unsigned column = first; column < first + 4; column++)
        permute(&work->word[column * 2], 16);
    for (unsigned row = 0; row < 8; row++)
        for (unsigned i = row * 16 + first * 2; i < row * 16 + first * 2 + 8; i++)
            dst->word[i] ^= work->word[i];
}

static void fill_left(struct argon2_block *dst, struct argon2_block *work)
{
    columns(dst, work, 0);
}

static void fill_right(struct argon2_block *dst, struct argon2_block *work)
{
    columns(dst, work, 4);
}

#include "auth/argon2_walk.h"

static bool supported(void)
{
    return true;
}

const struct argon2_ops argon2_portable_ops = {
    .supported = supported,
    .fill = walk_one,
    .fill_pair = walk_pair,
    .place = place,
};
