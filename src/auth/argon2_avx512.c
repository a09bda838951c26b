/*
 * argon2_avx512.c: G of RFC 9106 section 3.5 with 512-bit vectors (AVX-512 F and BW).
 *
 * The order of pairs of words is that of argon2_avx2.c, where it is explained; a vector here holds
 * the vectors there of four rows: the even ones of the first two and of the other two rows, or the
 * odd ones. From rows to columns it then takes one shuffle of 128-bit lanes for each vector, which
 * also does the swap that the odd ones need. There are registers enough and a rotate instruction,
 * so that two vectors in step suffice and nothing has to be kept out of the compiler's hands.
 */
#include "auth/argon2_core.h"

#include <immintrin.h>

#define INLINE static inline __attribute__((always_inline))

/* The two vectors in step; i is which. Unrolled here, not only where the compiler thinks it pays.
 */
#define EACH _Pragma("GCC unroll 2") for (unsigned i = 0; i < 2; i++)

static inline unsigned place(unsigned n)
{
    unsigned row = n / 16, pair = n % 16 / 2;
    unsigned vector = (row / 4 * 4 + pair / 2) * 2 + ((row ^ pair) & 1);
    return vector * 8 + (row / 2 & 1) * 4 + (row & 1) * 2 + (n & 1);
}

/* Four consecutive words of P, four times: an even vector and an odd one. */
struct duo {
    __m512i v[2];
};

INLINE struct duo mul_add(struct duo x, struct duo y)
{
    struct duo m;

    EACH m.v[i] = _mm512_mul_epu32(x.v[i], y.v[i]);
    EACH x.v[i] = _mm512_add_epi64(x.v[i], y.v[i]);
    EACH m.v[i] = _mm512_add_epi64(m.v[i], m.v[i]);
    EACH x.v[i] = _mm512_add_epi64(x.v[i], m.v[i]);
    return x;
}

/* (x ^ y) >>> bits, one function for each: the bits are an immediate operand. */
INLINE struct duo xor_rotate32(struct duo x, struct duo y)
{
    EACH x.v[i] = _mm512_ror_epi64(_mm512_xor_si512(x.v[i], y.v[i]), 32);
    return x;
}

INLINE struct duo xor_rotate24(struct duo x, struct duo y)
{
    EACH x.v[i] = _mm512_ror_epi64(_mm512_xor_si512(x.v[i], y.v[i]), 24);
    return x;
}

INLINE struct duo xor_rotate16(struct duo x, struct duo y)
{
    EACH x.v[i] = _mm512_ror_epi64(_mm512_xor_si512(x.v[i], y.v[i]), 16);
    return x;
}

INLINE struct duo xor_rotate63(struct duo x, struct duo y)
{
    EACH x.v[i] = _mm512_ror_epi64(_mm512_xor_si512(x.v[i], y.v[i]), 63);
    return x;
}

/* GB of section 3.6 */
INLINE void mix(struct duo *a, struct duo *b, struct duo *c, struct duo *d)
{
    *a = mul_add(*a, *b);
    *d = xor_rotate32(*d, *a);
    *c = mul_add(*c, *d);
    *b = xor_rotate24(*b, *c);
    *a = mul_add(*a, *b);
    *d = xor_rotate16(*d, *a);
    *c = mul_add(*c, *d);
    *b = xor_rotate63(*b, *c);
}

/* Turns the words of each P by one place: (w0 w1)(w2 w3) becomes (w1 w2)(w3 w0). */
INLINE struct duo turn_up(struct duo x)
{
    return (struct duo){
        {_mm512_alignr_epi8(x.v[1], x.v[0], 8), _mm512_alignr_epi8(x.v[0], x.v[1], 8)}};
}

/* By two: the vectors change places, which is a matter of names. */
INLINE struct duo turn_half(struct duo x)
{
    return (struct duo){{x.v[1], x.v[0]}};
}

/* By three: (w0 w1)(w2 w3) becomes (w3 w0)(w1 w2). */
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

INLINE __m512i *vector_at(struct argon2_block *b, unsigned vector)
{
    void *at = &b->word[(size_t)vector * 8];
    return at;
}

INLINE __m512i load(const struct argon2_block *b, unsigned vector)
{
    return _mm512_load_si512(&b->word[(size_t)vector * 8]);
}

/* R = prev xor ref; dst takes it (adds it, with keep) for the end. */
INLINE struct duo load_rows(struct argon2_block *dst, const struct argon2_block *prev,
                            const struct argon2_block *ref, bool keep, unsigned vector)
{
    struct duo r;

    EACH
    {
        r.v[i] = _mm512_xor_si512(load(prev, vector + i), load(ref, vector + i));
        __m512i *d = vector_at(dst, vector + i);
        *d = keep ? _mm512_xor_si512(*d, r.v[i]) : r.v[i];
    }
    return r;
}

INLINE void store_rows(struct argon2_block *work, struct duo x, unsigned vector)
{
    *vector_at(work, vector) = x.v[0];
    *vector_at(work, vector + 1) = x.v[1];
}

/* Permutes the four rows from vector 0 or 8 on into work. */
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

static void fill_begin(struct argon2_block *restrict dst, const struct argon2_block *restrict prev,
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

/*
 * The lanes of a shuffle: 0x44 is the lower halves of both operands, 0xee the upper; 0x11 and 0xbb
 * are the same with the lanes of each half swapped. The same shuffles lead back.
 */
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
    *vector_at(dst, vector) = _mm512_xor_si512(*vector_at(dst, vector), x);
}

INLINE void add_columns(struct argon2_block *dst, unsigned vector, struct duo x, struct duo y)
{
    add(dst, vector, _mm512_shuffle_i64x2(x.v[0], y.v[0], 0x44));
    add(dst, vector + 1, _mm512_shuffle_i64x2(x.v[1], y.v[1], 0x11));
    add(dst, vector + 2, _mm512_shuffle_i64x2(x.v[0], y.v[0], 0xee));
    add(dst, vector + 3, _mm512_shuffle_i64x2(x.v[1], y.v[1], 0xbb));
}

/* Permutes the four columns from vector 0 or 4 on and adds them to dst. */
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

static void fill_left(struct argon2_block *dst, const struct argon2_block *work)
{
    columns(dst, work, 0);
}

static void fill_right(struct argon2_block *dst, const struct argon2_block *work)
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
