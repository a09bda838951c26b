/* argon2_avx512.c: G of RFC 9106 section 3.5 with 512-bit vectors (AVX-512 F and BW). */
#include "auth/argon2_core.h"

#include <immintrin.h>

#define INLINE static inline __attribute__((always_inline))

static inline unsigned place(unsigned n)
{
    unsigned row = n / 16, pair = n % 16 / 2;
    unsigned vector = (row / 4 * 4 + pair / 2) * 2 + ((row ^ pair) & 1);
    return vector * 8 + (row / 2 & 1) * 4 + (row & 1) * 2 + (n & 1);
}

/* Four times four of the words v0 to v15 of P: two vectors in step. */
struct duo {
    __m512i v[2];
};

INLINE struct duo mul_add(struct duo x, struct duo y)
{
    struct duo m;
    for (int i = 0; i < 2; i++)
        m.v[i] = _mm512_mul_epu32(x.v[i], y.v[i]);
    for (int i = 0; i < 2; i++)
        x.v[i] = _mm512_add_epi64(x.v[i], y.v[i]);
    for (int i = 0; i < 2; i++)
        m.v[i] = _mm512_add_epi64(m.v[i], m.v[i]);
    for (int i = 0; i < 2; i++)
        x.v[i] = _mm512_add_epi64(x.v[i], m.v[i]);
    return x;
}

#define XOR_ROTATE(x, y, bits)                                                                     \
    (struct duo)                                                                                   \
    {                                                                                              \
        {                                                                                          \
            _mm512_ror_epi64(_mm512_xor_si512((x).v[0], (y).v[0]), bits),                          \
                _mm512_ror_epi64(_mm512_xor_si512((x).v[1], (y).v[1]), bits)                       \
        }                                                                                          \
    }

/* GB of section 3.6 */
INLINE void mix(struct duo *a, struct duo *b, struct duo *c, struct duo *d)
{
    *a = mul_add(*a, *b);
    *d = XOR_ROTATE(*d, *a, 32);
    *c = mul_add(*c, *d);
    *b = XOR_ROTATE(*b, *c, 24);
    *a = mul_add(*a, *b);
    *d = XOR_ROTATE(*d, *a, 16);
    *c = mul_add(*c, *d);
    *b = XOR_ROTATE(*b, *c, 63);
}

INLINE struct duo turn_up(struct duo x)
{
    return (struct duo){
        {_mm512_alignr_epi8(x.v[1], x.v[0], 8), _mm512_alignr_epi8(x.v[0], x.v[1], 8)}};
}

INLINE struct duo turn_half(struct duo x)
{
    return (struct duo){{x.v[1], x.v[0]}};
}

INLINE struct duo turn_down(struct duo x)
{
    return (struct duo){
        {_mm512_alignr_epi8(x.v[0], x.v[1], 8), _mm512_alignr_epi8(x.v[1], x.v[0], 8)}};
}

/* P of section 3.6, four times at once */
INLINE void permute(struct duo *a, struct duo *b, struct duo *c, struct duo *d)
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

INLINE __m512i *at(struct argon2_block *b, unsigned vector)
{
    return (__m512i *)&b->word[(size_t)vector * 8];
}

INLINE __m512i load(const struct argon2_block *b, unsigned vector)
{
    return *(const __m512i *)&b->word[(size_t)vector * 8];
}

INLINE struct duo load_rows(struct argon2_block *dst, const struct argon2_block *prev,
                            const struct argon2_block *ref, bool keep, unsigned vector)
{
    struct duo r;
    for (unsigned i = 0; i < 2; i++) {
        r.v[i] = _mm512_xor_si512(load(prev, vector + i), load(ref, vector + i));
        __m512i *d = at(dst, vector + i);
        *d = keep ? _mm512_xor_si512(*d, r.v[i]) : r.v[i];
    }
    return r;
}

INLINE void store_rows(struct argon2_block *work, struct duo x, unsigned vector)
{
    *at(work, vector) = x.v[0];
    *at(work, vector + 1) = x.v[1];
}

INLINE void rows(struct argon2_block *restrict dst, const struct argon2_block *restrict prev,
                 const struct argon2_block *restrict ref, bool keep,
                 struct argon2_block *restrict work, unsigned vector)
{
    struct duo a = load_rows(dst, prev, ref, keep, vector);
    struct duo b = load_rows(dst, prev, ref, keep, vector + 2);
    struct duo c = load_rows(dst, prev, ref, keep, vector + 4);
    struct duo d = load_rows(dst, prev, ref, keep, vector + 6);
    permute(&a, &b, &c, &d);
    store_rows(work, a, vector);
    store_rows(work, b, vector + 2);
    store_rows(work, c, vector + 4);
    store_rows(work, d, vector + 6);
}

INLINE void fill_begin(struct argon2_block *restrict dst, const struct argon2_block *restrict prev,
                       const struct argon2_block *restrict ref, bool keep,
                       struct argon2_block *restrict work)
{
    if (keep) {
        rows(dst, prev, ref, true, work, 0);
        rows(dst, prev, ref, true, work, 8);
    } else {
        rows(dst, prev, ref, false, work, 0);
        rows(dst, prev, ref, false, work, 8);
    }
}

INLINE void load_columns(const struct argon2_block *work, unsigned vector, struct duo *x,
                         struct duo *y)
{
    __m512i left0 = load(work, vector), left1 = load(work, vector + 1);
    __m512i right0 = load(work, vector + 2), right1 = load(work, vector + 3);
    x->v[0] = _mm512_shuffle_i64x2(left0, right0, 0x44);
    x->v[1] = _mm512_shuffle_i64x2(left1, right1, 0x11);
    y->v[0] = _mm512_shuffle_i64x2(left0, right0, 0xee);
    y->v[1] = _mm512_shuffle_i64x2(left1, right1, 0xbb);
}

INLINE void add(struct argon2_block *dst, unsigned vector, __m512i x)
{
    *at(dst, vector) = _mm512_xor_si512(*at(dst, vector), x);
}

INLINE void add_columns(struct argon2_block *dst, unsigned vector, struct duo x, struct duo y)
{
    add(dst, vector, _mm512_shuffle_i64x2(x.v[0], y.v[0], 0x44));
    add(dst, vector + 1, _mm512_shuffle_i64x2(x.v[1], y.v[1], 0x11));
    add(dst, vector + 2, _mm512_shuffle_i64x2(x.v[0], y.v[0], 0xee));
    add(dst, vector + 3, _mm512_shuffle_i64x2(x.v[1], y.v[1], 0xbb));
}

INLINE void columns(struct argon2_block *restrict dst, const struct argon2_block *restrict work,
                    unsigned vector)
{
    struct duo a, b, c, d;

    load_columns(work, vector, &a, &b);
    load_columns(work, vector + 8, &c, &d);
    permute(&a, &b, &c, &d);
    add_columns(dst, vector, a, b);
    add_columns(dst, vector + 8, c, d);
}

INLINE void fill_left(struct argon2_block *dst, const struct argon2_block *work)
{
    columns(dst, work, 0);
}

INLINE void fill_right(struct argon2_block *dst, const struct argon2_block *work)
{
    columns(dst, work, 4);
}

#include "auth/argon2_walk.h"

static bool supported(void)
{
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw");
}

const struct argon2_ops argon2_avx512_ops = {
    .supported = supported,
    .fill = walk_one,
    .fill_pair = walk_pair,
    .place = place,
};
