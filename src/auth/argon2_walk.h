/*
 * argon2_walk.h: the order in which blocks are filled (RFC 9106 sections 3.2 to 3.4), for any
 * number of hashes side by side. Included once by each back end, after it has defined
 *
 *   unsigned place(unsigned n)         where word n of a block is kept
 *   void fill_begin(dst, prev, ref, keep, work)
 *   void fill_left(dst, work)          after it, word 0 of dst is final
 *   void fill_right(dst, work)         after it, all of dst is
 *
 * which together compute the compression function G: dst = G(prev, ref), or with keep (from the
 * second pass on) dst = dst xor G(prev, ref).
 *
 * Why three steps: the index of the next reference block is made from the first word of the block
 * before. The left half of the columns gives that word, so the next reference is being fetched
 * while the right half is still computed. With two hashes side by side the whole block of the
 * other hash is computed as well before the reference is needed; the latency of memory, which is
 * of the order of the time of one block, is then hidden.
 */
#ifndef WW_AUTH_ARGON2_WALK_H
#define WW_AUTH_ARGON2_WALK_H

#include "auth/argon2_core.h"
#include "base/thread.h"
#include "base/urgent.h"

#include <openssl/crypto.h>

#define INLINE static inline __attribute__((always_inline))

#define SIDE_BY_SIDE_MAX 2u

/* How many blocks ahead references are fetched where they are known beforehand. */
#define FETCH_AHEAD 2u

/* After so many blocks of each hash (10 to 50 microseconds) urgent work may pass. */
#define BLOCKS_IN_ONE_GO 64u

/* And after so many (0.1 to 0.4 milliseconds) all others of the machine. */
#define BLOCKS_IN_ONE_TURN 512u

/* One segment of one hash. */
struct segment {
    struct argon2_block *memory;
    struct argon2_block *lane;       /* the first block of this lane */
    struct argon2_block *work;       /* scratch, one block */
    const struct argon2_block *next; /* the reference of the block to be filled next */
    uint32_t lanes;
    uint32_t lane_len;
    uint32_t lane_number;
    uint32_t area;  /* how many blocks before this segment may be referred to */
    uint32_t start; /* where in a lane they begin */
    bool own_lane;  /* only blocks of this lane may be: the first slice of all */
};

/* Where in the passes we are; the same for all hashes side by side. */
struct position {
    uint32_t pass;
    uint32_t slice;
    uint32_t lane;
};

INLINE void fetch_block(const struct argon2_block *b)
{
    for (unsigned i = 0; i < ARGON2_BLOCK_WORDS; i += 8)
        __builtin_prefetch(&b->word[i]);
}

/* Section 3.4.2: which block the pseudo-random j = J2 || J1 selects for block index. */
INLINE const struct argon2_block *reference(const struct segment *s, uint32_t index, uint64_t j)
{
    uint32_t lane = s->lane_number;
    uint32_t area = s->area + index - 1;

    if (s->lanes > 1 && !s->own_lane) {
        lane = (uint32_t)(j >> 32) % s->lanes;
        if (lane != s->lane_number)
            area = s->area - (index == 0);
    }

    uint64_t j1 = (uint32_t)j;
    uint64_t x = j1 * j1 >> 32;
    uint32_t y = (uint32_t)(area * x >> 32);
    uint32_t at = s->start + area - 1 - y;
    if (at >= s->lane_len)
        at -= s->lane_len;
    return s->memory + (size_t)lane * s->lane_len + at;
}

INLINE void segment_begin(struct segment *s, const struct argon2_fill *f, struct position at,
                          struct argon2_block *work)
{
    bool first_pass = at.pass == 0;
    bool last_slice = at.slice == ARGON2_SLICES - 1;

    *s = (struct segment){
        .memory = f->memory,
        .lane = f->memory + (size_t)at.lane * f->lane_len,
        .work = work,
        .lanes = f->lanes,
        .lane_len = f->lane_len,
        .lane_number = at.lane,
        .area = first_pass ? at.slice * f->segment_len : f->lane_len - f->segment_len,
        .start = first_pass || last_slice ? 0 : (at.slice + 1) * f->segment_len,
        .own_lane = first_pass && at.slice == 0,
    };
}

/* Before that column is filled. */
INLINE void let_others_pass(uint32_t column)
{
    if (column % BLOCKS_IN_ONE_GO != 0)
        return;
    urgent_let_pass();
    if (column % BLOCKS_IN_ONE_TURN == 0)
        thread_give_way();
}

INLINE void fill_at(struct segment *s, uint32_t column, const struct argon2_block *ref, bool keep)
{
    uint32_t before = column == 0 ? s->lane_len - 1 : column - 1;
    fill_begin(&s->lane[column], &s->lane[before], ref, keep, s->work);
}

/* Section 3.4.1.2: the next 128 numbers of a data-independent segment, G(0, G(0, input)). */
INLINE void next_addresses(struct argon2_block *input, struct argon2_block *addresses,
                           struct argon2_block *work)
{
    static const struct argon2_block zero;

    input->word[place(6)]++;
    fill_begin(addresses, &zero, input, false, work);
    fill_left(addresses, work);
    fill_right(addresses, work);

    struct argon2_block once = *addresses;
    fill_begin(addresses, &zero, &once, false, work);
    fill_left(addresses, work);
    fill_right(addresses, work);
}

/* The first half of the first pass: references do not depend on the password (Argon2i). */
INLINE void walk_independent(struct segment *s, unsigned n, const struct argon2_fill *f,
                             struct position at)
{
    struct argon2_block input = {0}, addresses;
    uint32_t first = at.slice == 0 ? 2 : 0;

    input.word[place(0)] = at.pass;
    input.word[place(1)] = at.lane;
    input.word[place(2)] = at.slice;
    input.word[place(3)] = f->blocks;
    input.word[place(4)] = f->passes;
    input.word[place(5)] = ARGON2_TYPE_ID;

    for (uint32_t index = first; index < f->segment_len; index++) {
        uint32_t within = index % ARGON2_BLOCK_WORDS;
        uint32_t column = at.slice * f->segment_len + index;
        uint32_t ahead = within + FETCH_AHEAD;

        if (within == 0 || index == first)
            next_addresses(&input, &addresses, s[0].work);
        let_others_pass(column);
        for (unsigned k = 0; k < n; k++) {
            const struct argon2_block *ref = reference(&s[k], index, addresses.word[place(within)]);
            if (ahead < ARGON2_BLOCK_WORDS)
                fetch_block(reference(&s[k], index + FETCH_AHEAD, addresses.word[place(ahead)]));
            fill_at(&s[k], column, ref, false);
            fill_left(&s[k].lane[column], s[k].work);
            fill_right(&s[k].lane[column], s[k].work);
        }
    }
}

/* Everywhere else the reference comes from the block before (Argon2d). */
INLINE void walk_dependent(struct segment *s, unsigned n, const struct argon2_fill *f,
                           struct position at)
{
    uint32_t first = at.slice * f->segment_len;
    uint32_t before = first == 0 ? f->lane_len - 1 : first - 1;
    bool keep = at.pass > 0;

    for (unsigned k = 0; k < n; k++)
        s[k].next = reference(&s[k], 0, s[k].lane[before].word[0]);

    for (uint32_t index = 0; index < f->segment_len; index++) {
        let_others_pass(first + index);
        for (unsigned k = 0; k < n; k++) {
            struct argon2_block *dst = &s[k].lane[first + index];
            fill_at(&s[k], first + index, s[k].next, keep);
            fill_left(dst, s[k].work);
            /* After the last block of a segment this is a block of the arena that is not used. */
            s[k].next = reference(&s[k], index + 1, dst->word[0]);
            fetch_block(s[k].next);
            fill_right(dst, s[k].work);
        }
    }
}

/* All passes of n hashes of the same shape; n is a literal, so that each n has its own code. */
INLINE void walk(const struct argon2_fill *const fills[], unsigned n)
{
    struct argon2_block work[SIDE_BY_SIDE_MAX];
    struct segment s[SIDE_BY_SIDE_MAX];
    const struct argon2_fill *f = fills[0];
    struct position at;

    for (at.pass = 0; at.pass < f->passes; at.pass++) {
        for (at.slice = 0; at.slice < ARGON2_SLICES; at.slice++) {
            for (at.lane = 0; at.lane < f->lanes; at.lane++) {
                for (unsigned k = 0; k < n; k++)
                    segment_begin(&s[k], fills[k], at, &work[k]);
                if (at.pass == 0 && at.slice < ARGON2_SLICES / 2)
                    walk_independent(s, n, f, at);
                else
                    walk_dependent(s, n, f, at);
            }
        }
    }
    OPENSSL_cleanse(work, n * sizeof(work[0]));
}

static void walk_one(const struct argon2_fill *only)
{
    const struct argon2_fill *const fills[] = {only};
    walk(fills, 1);
}

static void walk_pair(const struct argon2_fill *a, const struct argon2_fill *b)
{
    const struct argon2_fill *const fills[] = {a, b};
    walk(fills, 2);
}

#endif
