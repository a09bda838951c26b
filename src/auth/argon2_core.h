/*
 * argon2_core.h: what the parts of our Argon2id share. Nothing outside argon2*.c includes it.
 *
 * argon2.c checks a job, makes the first blocks of each lane, has a back end fill the memory, and
 * makes the tag of the last blocks. A back end is one struct argon2_ops; argon2_walk.h holds the
 * order in which blocks are filled, the same for all of them.
 */
#ifndef WW_AUTH_ARGON2_CORE_H
#define WW_AUTH_ARGON2_CORE_H

#include <stdalign.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "auth/argon2.h"

#define ARGON2_BLOCK_BYTES 1024u
#define ARGON2_BLOCK_WORDS 128u
#define ARGON2_SLICES 4u
#define ARGON2_VERSION 0x13u
#define ARGON2_TYPE_ID 2u

struct argon2_block {
    alignas(64) uint64_t word[ARGON2_BLOCK_WORDS];
};

/* The memory of one hash, seen as lanes (the matrix B[p][q] of RFC 9106 section 3.2). */
struct argon2_fill {
    struct argon2_block *memory;
    uint32_t blocks; /* m' = lanes * lane_len */
    uint32_t lanes;
    uint32_t lane_len;    /* q, a multiple of ARGON2_SLICES */
    uint32_t segment_len; /* lane_len / ARGON2_SLICES */
    uint32_t passes;
};

struct argon2_ops {
    bool (*supported)(void);
    /* Fills all passes. The first two blocks of every lane are there already. */
    void (*fill)(const struct argon2_fill *only);
    /* The same for two of equal shape. */
    void (*fill_pair)(const struct argon2_fill *a, const struct argon2_fill *b);
    /* Where word n of a block (0 to 127) is kept: each back end has the order that suits it. */
    unsigned (*place)(unsigned n);
};

extern const struct argon2_ops argon2_portable_ops;
#if defined(__x86_64__)
extern const struct argon2_ops argon2_avx2_ops;
extern const struct argon2_ops argon2_avx512_ops;
#endif

/* The first block of a slot (0 or 1) and how many blocks it has; NULL when there is no such slot.
 */
struct argon2_block *argon2_arena_slot(const struct argon2_arena *arena, unsigned slot);
uint32_t argon2_arena_blocks(const struct argon2_arena *arena);

/* Notes that the first blocks of a slot now hold something to be wiped. */
void argon2_arena_dirty(struct argon2_arena *arena, unsigned slot, uint32_t blocks);

/* The whole of one hash by libargon2, in the given memory. The job has been checked. */
MUST_USE enum err argon2_libargon2_hash(struct argon2_block *memory, uint32_t blocks,
                                        const struct argon2_job *job);

/*
 * argon2_init without the self-test, for fuzzing, which goes from one back end to the next with
 * every input. On failure the back end in use stays.
 */
MUST_USE enum err argon2_choose(enum argon2_backend wanted);

/* Known answers, with the back end now in use. */
MUST_USE enum err argon2_selftest(void);

#endif
