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

/* The state of P, four times: a is v0..v3, b v4..v7, c v8..v11, d v12..v15; even and odd. */
struct state {
    __m512i a[2];
    __m512i b[2];
    __m512i c[2];
    __m512i d[2];
};

/* For a step of GB: x += y + 2 * lower half of x * lower half of y, then z ^= x. */
INLINE void step(__m512i x[2], const __m512i y[2], __m512i z[2])
{
    __m512i product[2];

    EACH product[i] = _mm512_mul_epu32(x[i], y[i]);
    EACH x[i] = _mm512_add_epi64(x[i], y[i]);
    EACH product[i] = _mm512_add_epi64(product[i], product[i]);
    EACH x[i] = _mm512_add_epi64(x[i], product[i]);
    EACH z[i] = _mm512_xor_si512(z[i], x[i]);
}

/* GB of section 3.6 */
INLINE void mix(struct state *s)
{
    step(s->a, s->b, s->d);
    EACH s->d[i] = _mm512_ror_epi64(s->d[i], 32);
    step(s->c, s->d, s->b);
    EACH s->b[i] = _mm512_ror_epi64(s->b[i], 24);
    step(s->a, s->b, s->d);
    EACH s->d[i] = _mm512_ror_epi64(s->d[i], 16);
    step(s->c, s->d, s->b);
    EACH s->b[i] = _mm512_ror_epi64(s->b[i], 63);
}

/* Turns the words of each P by one place: (w0 w1)(w2 w3) becomes (w1 w2)(w3 w0). */
INLINE void turn_up(__m512i x[2])
{
    __m512i was = x[0];
    x[0] = _mm512_alignr_epi8(x[1], was, 8);
    x[1] = _mm512_alignr_epi8(was, x[1], 8);
}

/* And back, or by three: (w0 w1)(w2 w3) becomes (w3 w0)(w1 w2). */
INLINE void turn_down(__m512i x[2])
{
    __m512i was = x[0];
    x[0] = _mm512_alignr_epi8(was, x[1], 8);
    x[1] = _mm512_alignr_epi8(x[1], was, 8);
}

/* By two: the vectors change places. */
INLINE void turn_half(__m512i x[2])
{
    __m512i was = x[0];
    x[0] = x[1];
    x[1] = was;
}

/* P of section 3.6, four times at once */
INLINE void permute(struct state *s)
{
    mix(s);
    turn_up(s->b);
    turn_half(s->c);
    turn_down(s->d);
    mix(s);
    turn_down(s->b);
    turn_half(s->c);
    turn_up(s->d);
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

/* R = prev xor ref for one vector; dst takes it (adds it, with keep) for the end. */
INLINE __m512i add_input(struct argon2_block *dst, const struct argon2_block *prev,
                         const struct argon2_block *ref, bool keep, unsigned vector)
{
    __m512i r = _mm512_xor_si512(load(prev, vector), load(ref, vector));
    __m512i *d = vector_at(dst, vector);
    *d = keep ? _mm512_xor_si512(*d, r) : r;
    return r;
}

/* Permutes four rows of R into work; they begin at vector 0 or 8. */
INLINE void permute_rows(struct argon2_block *restrict dst,
                         const struct argon2_block *restrict prev,
                         const struct argon2_block *restrict ref, bool keep,
                         struct argon2_block *restrict work, unsigned vector)
{
    struct state s;

    EACH s.a[i] = add_input(dst, prev, ref, keep, vector + i);
    EACH s.b[i] = add_input(dst, prev, ref, keep, vector + 2 + i);
    EACH s.c[i] = add_input(dst, prev, ref, keep, vector + 4 + i);
    EACH s.d[i] = add_input(dst, prev, ref, keep, vector + 6 + i);
    permute(&s);
    EACH *vector_at(work, vector + i) = s.a[i];
    EACH *vector_at(work, vector + 2 + i) = s.b[i];
    EACH *vector_at(work, vector + 4 + i) = s.c[i];
    EACH *vector_at(work, vector + 6 + i) = s.d[i];
}

static void fill_begin(struct argon2_block *dst, const struct argon2_block *prev,
                       const struct argon2_block *ref, bool keep, struct argon2_block *work)
{
    for (unsigned vector = 0; vector < 16; vector += 8) {
        if (keep)
            permute_rows(dst, prev, ref, true, work, vector);
        else
            permute_rows(dst, prev, ref, false, work, vector);
    }
}

/*
 * From the order of rows to that of columns. The lanes of a shuffle: 0x44 is the lower halves of
 * both operands, 0xee the upper; 0x11 and 0xbb are the same with the lanes of each half swapped.
 */
INLINE void load_columns(const struct argon2_block *work, unsigned vector, __m512i upper[2],
                         __m512i lower[2])
{
    __m512i even = load(work, vector), next_even = load(work, vector + 2);
    __m512i odd = load(work, vector + 1), next_odd = load(work, vector + 3);

    upper[0] = _mm512_shuffle_i64x2(even, next_even, 0x44);
    upper[1] = _mm512_shuffle_i64x2(odd, next_odd, 0x11);
    lower[0] = _mm512_shuffle_i64x2(even, next_even, 0xee);
    lower[1] = _mm512_shuffle_i64x2(odd, next_odd, 0xbb);
}

INLINE void add_output(struct argon2_block *dst, unsigned vector, __m512i x)
{
    __m512i *d = vector_at(dst, vector);
    *d = _mm512_xor_si512(*d, x);
}

/* The same shuffles lead back. */
INLINE void add_columns(struct argon2_block *dst, unsigned vector, const __m512i upper[2],
                        const __m512i lower[2])
{
    add_output(dst, vector, _mm512_shuffle_i64x2(upper[0], lower[0], 0x44));
    add_output(dst, vector + 1, _mm512_shuffle_i64x2(upper[1], lower[1], 0x11));
    add_output(dst, vector + 2, _mm512_shuffle_i64x2(upper[0], lower[0], 0xee));
    add_output(dst, vector + 3, _mm512_shuffle_i64x2(upper[1], lower[1], 0xbb));
}

/* Permutes four columns of work and adds them to dst; they begin at vector 0 or 4. */
INLINE void permute_columns(struct argon2_block *restrict dst,
                            const struct argon2_block *restrict work, unsigned vector)
{
    struct state s;

    load_columns(work, vector, s.a, s.b);
    load_columns(work, vector + 8, s.c, s.d);
    permute(&s);
    add_columns(dst, vector, s.a, s.b);
    add_columns(dst, vector + 8, s.c, s.d);
}

static void fill_left(struct argon2_block *dst, const struct argon2_block *work)
{
    permute_columns(dst, work, 0);
}

static void fill_right(struct argon2_block *dst, const struct argon2_block *work)
{
    permute_columns(dst, work, 4);
}

#include "auth/argon2_walk.h"

static bool supported(void)
{
    /* VL is not used here, but a compiler that is allowed to may. */
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl");
}

const struct argon2_ops argon2_avx512_ops = {
    .supported = supported,
    .fill = walk_one,
    .fill_pair = walk_pair,
    .place = place,
};
