/* argon2_avx2.c: G of RFC 9106 section 3.5 with 256-bit vectors. */
#include "auth/argon2_core.h"

#include <immintrin.h>

#define INLINE static inline __attribute__((always_inline))

static inline unsigned place(unsigned n)
{
    unsigned row = n / 16, pair = n % 16 / 2;
    unsigned vector = (row / 2 * 4 + pair / 2) * 2 + ((row ^ pair) & 1);
    return vector * 4 + (row & 1) * 2 + (n & 1);
}

struct quad {
    __m256i v[4];
};

INLINE struct quad mul_add(struct quad x, struct quad y)
{
    struct quad m;
    for (int i = 0; i < 4; i++)
        m.v[i] = _mm256_mul_epu32(x.v[i], y.v[i]);
    for (int i = 0; i < 4; i++)
        x.v[i] = _mm256_add_epi64(x.v[i], y.v[i]);
    for (int i = 0; i < 4; i++)
        m.v[i] = _mm256_add_epi64(m.v[i], m.v[i]);
    for (int i = 0; i < 4; i++)
        x.v[i] = _mm256_add_epi64(x.v[i], m.v[i]);
    return x;
}

INLINE struct quad xor
    (struct quad x, struct quad y) {
        for (int i = 0; i < 4; i++)
            x.v[i] = _mm256_xor_si256(x.v[i], y.v[i]);
        return x;
    }

    INLINE struct quad rotate32(struct quad x)
{
    for (int i = 0; i < 4; i++)
        x.v[i] = _mm256_shuffle_epi32(x.v[i], _MM_SHUFFLE(2, 3, 0, 1));
    return x;
}

INLINE struct quad rotate24(struct quad x)
{
    const __m256i by = _mm256_setr_epi8(3, 4, 5, 6, 7, 0, 1, 2, 11, 12, 13, 14, 15, 8, 9, 10, 3, 4,
                                        5, 6, 7, 0, 1, 2, 11, 12, 13, 14, 15, 8, 9, 10);
    for (int i = 0; i < 4; i++)
        x.v[i] = _mm256_shuffle_epi8(x.v[i], by);
    return x;
}

INLINE struct quad rotate16(struct quad x)
{
    const __m256i by = _mm256_setr_epi8(2, 3, 4, 5, 6, 7, 0, 1, 10, 11, 12, 13, 14, 15, 8, 9, 2, 3,
                                        4, 5, 6, 7, 0, 1, 10, 11, 12, 13, 14, 15, 8, 9);
    for (int i = 0; i < 4; i++)
        x.v[i] = _mm256_shuffle_epi8(x.v[i], by);
    return x;
}

INLINE struct quad rotate63(struct quad x)
{
    struct quad high;
    for (int i = 0; i < 4; i++)
        high.v[i] = _mm256_srli_epi64(x.v[i], 63);
    for (int i = 0; i < 4; i++)
        x.v[i] = _mm256_add_epi64(x.v[i], x.v[i]);
    return xor(x, high);
}

INLINE void mix(struct quad *a, struct quad *b, struct quad *c, struct quad *d)
{
    *a = mul_add(*a, *b);
    *d = rotate32(xor(*d, *a));
    *c = mul_add(*c, *d);
    *b = rotate24(xor(*b, *c));
    *a = mul_add(*a, *b);
    *d = rotate16(xor(*d, *a));
    *c = mul_add(*c, *d);
    *b = rotate63(xor(*b, *c));
}

/* (x1.hi, x0.lo) in slot 0, (x0.hi, x1.lo) in slot 1 */
INLINE struct quad turn_down(struct quad x)
{
    return (struct quad){{
        _mm256_alignr_epi8(x.v[0], x.v[1], 8),
        _mm256_alignr_epi8(x.v[1], x.v[0], 8),
        _mm256_alignr_epi8(x.v[2], x.v[3], 8),
        _mm256_alignr_epi8(x.v[3], x.v[2], 8),
    }};
}

INLINE struct quad turn_up(struct quad x)
{
    return (struct quad){{
        _mm256_alignr_epi8(x.v[1], x.v[0], 8),
        _mm256_alignr_epi8(x.v[0], x.v[1], 8),
        _mm256_alignr_epi8(x.v[3], x.v[2], 8),
        _mm256_alignr_epi8(x.v[2], x.v[3], 8),
    }};
}

INLINE struct quad turn_half(struct quad x)
{
    return (struct quad){{x.v[1], x.v[0], x.v[3], x.v[2]}};
}

INLINE void permute(struct quad *a, struct quad *b, struct quad *c, struct quad *d)
{
    mix(a, b, c, d);
    *b = turn_up(*b);
    *c = turn_half(*c);
    *d = turn_down(*d);
    mix(a, b, c, d);
    *b = turn_down(*b);
    *c = turn_half(*c);
    *d = turn_up(*d);
}

INLINE __m256i *vec(struct argon2_block *b, unsigned r, unsigned i, unsigned xy)
{
    return (__m256i *)&b->word[((r * 4 + i) * 2 + xy) * 4];
}

INLINE __m256i cvec(const struct argon2_block *b, unsigned r, unsigned i, unsigned xy)
{
    return *(const __m256i *)&b->word[((r * 4 + i) * 2 + xy) * 4];
}

INLINE __m256i swapped(__m256i x)
{
    return _mm256_permute2x128_si256(x, x, 1);
}

INLINE struct quad load_rows(const struct argon2_block *prev, const struct argon2_block *ref,
                             struct argon2_block *dst, bool keep, unsigned r, unsigned i)
{
    struct quad x;
    for (unsigned k = 0; k < 4; k++) {
        x.v[k] = cvec(prev, r + k / 2, i, k & 1) ^ cvec(ref, r + k / 2, i, k & 1);
        __m256i *d = vec(dst, r + k / 2, i, k & 1);
        *d = keep ? _mm256_xor_si256(*d, x.v[k]) : x.v[k];
    }
    return x;
}

INLINE void store_rows(struct argon2_block *work, struct quad x, unsigned r, unsigned i)
{
    for (unsigned k = 0; k < 4; k++)
        *vec(work, r + k / 2, i, k & 1) = x.v[k];
}

INLINE void rows(struct argon2_block *restrict dst, const struct argon2_block *restrict prev,
                 const struct argon2_block *restrict ref, bool keep,
                 struct argon2_block *restrict work, unsigned r)
{
    struct quad a = load_rows(prev, ref, dst, keep, r, 0);
    struct quad b = load_rows(prev, ref, dst, keep, r, 1);
    struct quad c = load_rows(prev, ref, dst, keep, r, 2);
    struct quad d = load_rows(prev, ref, dst, keep, r, 3);
    permute(&a, &b, &c, &d);
    store_rows(work, a, r, 0);
    store_rows(work, b, r, 1);
    store_rows(work, c, r, 2);
    store_rows(work, d, r, 3);
}

INLINE void fill_begin(struct argon2_block *restrict dst, const struct argon2_block *restrict prev,
                       const struct argon2_block *restrict ref, bool keep,
                       struct argon2_block *restrict work)
{
    if (keep) {
        rows(dst, prev, ref, true, work, 0);
        rows(dst, prev, ref, true, work, 2);
    } else {
        rows(dst, prev, ref, false, work, 0);
        rows(dst, prev, ref, false, work, 2);
    }
}

INLINE struct quad load_columns(const struct argon2_block *work, unsigned r, unsigned i)
{
    return (struct quad){{
        cvec(work, r, i, 0),
        swapped(cvec(work, r, i, 1)),
        cvec(work, r, i + 1, 0),
        swapped(cvec(work, r, i + 1, 1)),
    }};
}

INLINE void add_columns(struct argon2_block *dst, struct quad x, unsigned r, unsigned i)
{
    *vec(dst, r, i, 0) ^= x.v[0];
    *vec(dst, r, i, 1) ^= swapped(x.v[1]);
    *vec(dst, r, i + 1, 0) ^= x.v[2];
    *vec(dst, r, i + 1, 1) ^= swapped(x.v[3]);
}

INLINE void columns(struct argon2_block *restrict dst, const struct argon2_block *restrict work,
                    unsigned i)
{
    struct quad a = load_columns(work, 0, i);
    struct quad b = load_columns(work, 1, i);
    struct quad c = load_columns(work, 2, i);
    struct quad d = load_columns(work, 3, i);
    permute(&a, &b, &c, &d);
    add_columns(dst, a, 0, i);
    add_columns(dst, b, 1, i);
    add_columns(dst, c, 2, i);
    add_columns(dst, d, 3, i);
}

INLINE void fill_left(struct argon2_block *dst, const struct argon2_block *work)
{
    columns(dst, work, 0);
}

INLINE void fill_right(struct argon2_block *dst, const struct argon2_block *work)
{
    columns(dst, work, 2);
}

#include "auth/argon2_walk.h"

static bool supported(void)
{
    return __builtin_cpu_supports("avx2");
}

const struct argon2_ops argon2_avx2_ops = {
    .supported = supported,
    .fill = walk_one,
    .fill_pair = walk_pair,
    .place = place,
};
