/*
 * argon2_avx2.c: G of RFC 9106 section 3.5 with 256-bit vectors.
 *
 * A block is eight by eight pairs of words, and a pair is half a vector. P runs over the rows,
 * then over the columns, so two P fit side by side in eight vectors, one in the lower halves and
 * one in the upper. What makes this cheap is the order in which pairs are kept: for each two rows
 * and two columns, the pairs on the diagonal share one vector, the other two another,
 *
 *        even | odd column            even vector: p00 | p11
 *   even  p00   p01                    odd vector: p01 | p10
 *   odd   p10   p11
 *
 * P does not change when v0..v3 turn by two places, v4..v7, v8..v11 and v12..v15 with them. By
 * that symmetry the even vectors serve as they are for rows and for columns, and the odd ones
 * need their halves swapped, nothing else. Within P, turning the diagonals into columns takes one
 * shuffle inside halves for each vector that holds v4..v7 or v12..v15, and none for the others.
 *
 * Four pairs of P are computed in step, because one alone is a chain of dependent instructions
 * that leaves the CPU idle. The state is then as large as the register file; v0..v3 and v8..v11
 * stay in memory and are loaded and stored as they are used. Compilers left to themselves spill
 * more, and in the middle of the chain; STAYS_IN_MEMORY takes the choice from them (a sixth of the
 * time of a block with GCC 12).
 */
#include "auth/argon2_core.h"

#include <immintrin.h>

#define INLINE static inline __attribute__((always_inline))

/* A call costs nothing beside these; copies of them cost the instruction cache, and minutes. */
#define ONCE static __attribute__((noinline))

/* The four chains in step; i is which. Unrolled here, not only where the compiler thinks it pays.
 */
#define EACH _Pragma("GCC unroll 4") for (unsigned i = 0; i < 4; i++)

#define STAYS_IN_MEMORY(vector) __asm__("" : "+m"(vector))

static inline unsigned place(unsigned n)
{
    unsigned row = n / 16, pair = n % 16 / 2;
    unsigned vector = (row / 2 * 4 + pair / 2) * 2 + ((row ^ pair) & 1);
    return vector * 4 + (row & 1) * 2 + (n & 1);
}

/* The vector of two rows (rows / 2), two columns (columns / 2), even or odd. */
INLINE __m256i *vector_at(struct argon2_block *b, unsigned rows, unsigned columns, unsigned odd)
{
    void *at = &b->word[((size_t)(rows * 4 + columns) * 2 + odd) * 4];
    return at;
}

INLINE __m256i load(const struct argon2_block *b, unsigned rows, unsigned columns, unsigned odd)
{
    const void *at = &b->word[((size_t)(rows * 4 + columns) * 2 + odd) * 4];
    return _mm256_load_si256(at);
}

/* The state of P: a is v0..v3, b v4..v7, c v8..v11, d v12..v15; an even and an odd vector each. */
struct state {
    __m256i *a[4];
    __m256i *c[4];
    __m256i b[4];
    __m256i d[4];
};

/* For a step of GB: x += y + 2 * lower half of x * lower half of y, then z ^= x. */
INLINE void step(__m256i *const x[4], const __m256i y[4], __m256i z[4])
{
    __m256i sum[4], product[4];

    EACH product[i] = _mm256_mul_epu32(*x[i], y[i]);
    EACH sum[i] = _mm256_add_epi64(*x[i], y[i]);
    EACH product[i] = _mm256_add_epi64(product[i], product[i]);
    EACH sum[i] = _mm256_add_epi64(sum[i], product[i]);
    EACH z[i] = _mm256_xor_si256(z[i], sum[i]);
    EACH
    {
        *x[i] = sum[i];
        STAYS_IN_MEMORY(*x[i]);
    }
}

INLINE void rotate32(__m256i z[4])
{
    EACH z[i] = _mm256_shuffle_epi32(z[i], _MM_SHUFFLE(2, 3, 0, 1));
}

INLINE void rotate24(__m256i z[4])
{
    __m256i order = _mm256_set_epi64x(0x0a09080f0e0d0c0b, 0x0201000706050403, 0x0a09080f0e0d0c0b,
                                      0x0201000706050403);
    EACH z[i] = _mm256_shuffle_epi8(z[i], order);
}

INLINE void rotate16(__m256i z[4])
{
    __m256i order = _mm256_set_epi64x(0x09080f0e0d0c0b0a, 0x0100070605040302, 0x09080f0e0d0c0b0a,
                                      0x0100070605040302);
    /* Seeing the constant, clang would make two shuffles of words of what is one of bytes. */
    STAYS_IN_MEMORY(order);
    EACH z[i] = _mm256_shuffle_epi8(z[i], order);
}

INLINE void rotate63(__m256i z[4])
{
    __m256i top[4];

    EACH top[i] = _mm256_srli_epi64(z[i], 63);
    EACH z[i] = _mm256_add_epi64(z[i], z[i]);
    EACH z[i] = _mm256_xor_si256(z[i], top[i]);
}

/* GB of section 3.6 */
INLINE void mix(struct state *s)
{
    step(s->a, s->b, s->d);
    rotate32(s->d);
    step(s->c, s->d, s->b);
    rotate24(s->b);
    step(s->a, s->b, s->d);
    rotate16(s->d);
    step(s->c, s->d, s->b);
    rotate63(s->b);
}

/* Turns the words of each P by one place: (w0 w1)(w2 w3) becomes (w1 w2)(w3 w0). */
INLINE void turn_up(__m256i x[4])
{
    for (unsigned even = 0; even < 4; even += 2) {
        __m256i was = x[even];
        x[even] = _mm256_alignr_epi8(x[even + 1], was, 8);
        x[even + 1] = _mm256_alignr_epi8(was, x[even + 1], 8);
    }
}

/* And back, or by three: (w0 w1)(w2 w3) becomes (w3 w0)(w1 w2). */
INLINE void turn_down(__m256i x[4])
{
    for (unsigned even = 0; even < 4; even += 2) {
        __m256i was = x[even];
        x[even] = _mm256_alignr_epi8(was, x[even + 1], 8);
        x[even + 1] = _mm256_alignr_epi8(x[even + 1], was, 8);
    }
}

/* By two: the vectors change places, which is a matter of names. */
INLINE void turn_half(__m256i *x[4])
{
    for (unsigned even = 0; even < 4; even += 2) {
        __m256i *was = x[even];
        x[even] = x[even + 1];
        x[even + 1] = was;
    }
}

/* P of section 3.6, eight times */
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

/* R = prev xor ref for one vector; dst takes it (adds it, with keep) for the end. */
INLINE __m256i add_input(struct argon2_block *dst, const struct argon2_block *prev,
                         const struct argon2_block *ref, bool keep, unsigned rows, unsigned columns,
                         unsigned odd)
{
    __m256i r = _mm256_xor_si256(load(prev, rows, columns, odd), load(ref, rows, columns, odd));
    __m256i *d = vector_at(dst, rows, columns, odd);
    *d = keep ? _mm256_xor_si256(*d, r) : r;
    return r;
}

/* Permutes four rows of R into work; rows is 0 or 2. */
INLINE void permute_rows(struct argon2_block *restrict dst,
                         const struct argon2_block *restrict prev,
                         const struct argon2_block *restrict ref, bool keep,
                         struct argon2_block *restrict work, unsigned rows)
{
    struct state s;

    EACH
    {
        s.a[i] = vector_at(work, rows + i / 2, 0, i % 2);
        *s.a[i] = add_input(dst, prev, ref, keep, rows + i / 2, 0, i % 2);
        STAYS_IN_MEMORY(*s.a[i]);
    }
    EACH
    {
        s.c[i] = vector_at(work, rows + i / 2, 2, i % 2);
        *s.c[i] = add_input(dst, prev, ref, keep, rows + i / 2, 2, i % 2);
        STAYS_IN_MEMORY(*s.c[i]);
    }
    EACH s.b[i] = add_input(dst, prev, ref, keep, rows + i / 2, 1, i % 2);
    EACH s.d[i] = add_input(dst, prev, ref, keep, rows + i / 2, 3, i % 2);
    permute(&s);
    EACH *vector_at(work, rows + i / 2, 1, i % 2) = s.b[i];
    EACH *vector_at(work, rows + i / 2, 3, i % 2) = s.d[i];
}

ONCE void permute_rows_new(struct argon2_block *dst, const struct argon2_block *prev,
                           const struct argon2_block *ref, struct argon2_block *work, unsigned rows)
{
    permute_rows(dst, prev, ref, false, work, rows);
}

ONCE void permute_rows_keep(struct argon2_block *dst, const struct argon2_block *prev,
                            const struct argon2_block *ref, struct argon2_block *work,
                            unsigned rows)
{
    permute_rows(dst, prev, ref, true, work, rows);
}

INLINE void fill_begin(struct argon2_block *dst, const struct argon2_block *prev,
                       const struct argon2_block *ref, bool keep, struct argon2_block *work)
{
    for (unsigned rows = 0; rows < 4; rows += 2) {
        if (keep)
            permute_rows_keep(dst, prev, ref, work, rows);
        else
            permute_rows_new(dst, prev, ref, work, rows);
    }
}

/* From the order of rows to that of columns, and back. */
INLINE __m256i across(__m256i x, unsigned odd)
{
    return odd ? _mm256_permute2x128_si256(x, x, 1) : x;
}

INLINE void add_output(struct argon2_block *dst, __m256i x, unsigned rows, unsigned columns,
                       unsigned odd)
{
    __m256i *d = vector_at(dst, rows, columns, odd);
    *d = _mm256_xor_si256(*d, across(x, odd));
}

/* Permutes four columns of work and adds them to dst; columns is 0 or 2. */
ONCE void permute_columns(struct argon2_block *restrict dst, struct argon2_block *restrict work,
                          unsigned columns)
{
    struct state s;

    EACH
    {
        s.a[i] = vector_at(work, 0, columns + i / 2, i % 2);
        *s.a[i] = across(*s.a[i], i % 2);
        STAYS_IN_MEMORY(*s.a[i]);
    }
    EACH
    {
        s.c[i] = vector_at(work, 2, columns + i / 2, i % 2);
        *s.c[i] = across(*s.c[i], i % 2);
        STAYS_IN_MEMORY(*s.c[i]);
    }
    EACH s.b[i] = across(load(work, 1, columns + i / 2, i % 2), i % 2);
    EACH s.d[i] = across(load(work, 3, columns + i / 2, i % 2), i % 2);
    permute(&s);
    EACH add_output(dst, *s.a[i], 0, columns + i / 2, i % 2);
    EACH add_output(dst, s.b[i], 1, columns + i / 2, i % 2);
    EACH add_output(dst, *s.c[i], 2, columns + i / 2, i % 2);
    EACH add_output(dst, s.d[i], 3, columns + i / 2, i % 2);
}

INLINE void fill_left(struct argon2_block *dst, struct argon2_block *work)
{
    permute_columns(dst, work, 0);
}

INLINE void fill_right(struct argon2_block *dst, struct argon2_block *work)
{
    permute_columns(dst, work, 2);
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
