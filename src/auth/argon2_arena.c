/* argon2_arena.c: the memory that hashes are computed in, allocated once per hashing thread. */
#include "auth/argon2_core.h"

#include <sys/mman.h>

#include <openssl/crypto.h>

#define HUGE_PAGE ((size_t)2 * 1024 * 1024)
#define SLOTS_MAX 2u

/*
 * Between the slots of a pair: the blocks of two hashes in step would otherwise lie a whole
 * number of huge pages apart and compete for the same cache sets.
 */
#define SLOT_GAP ((size_t)2 * ARGON2_BLOCK_BYTES)

struct argon2_arena {
    uint8_t *memory;
    size_t bytes;
    size_t slot_bytes;
    unsigned slots;
    uint32_t dirty[SLOTS_MAX]; /* blocks to be wiped, from the first of the slot */
};

static size_t round_up(size_t n, size_t to)
{
    return (n + to - 1) / to * to;
}

/*
 * Maps bytes (a multiple of HUGE_PAGE) at a multiple of HUGE_PAGE: the random reads of Argon2
 * would miss the TLB on every block with small pages.
 */
static uint8_t *map_aligned(size_t bytes)
{
    size_t reserved = bytes + HUGE_PAGE;
    uint8_t *p = mmap(NULL, reserved, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        return NULL;

    size_t before = round_up((uintptr_t)p, HUGE_PAGE) - (uintptr_t)p;
    size_t after = HUGE_PAGE - before;
    if (before > 0)
        (void)munmap(p, before);
    if (after > 0)
        (void)munmap(p + before + bytes, after);
    return p + before;
}

enum err argon2_arena_open(uint32_t memory_kib, unsigned slots, struct argon2_arena **out)
{
    if (memory_kib < ARGON2_MEMORY_PER_LANE || memory_kib > ARGON2_MEMORY_MAX)
        return ERR_INVALID;
    if (slots < 1 || slots > SLOTS_MAX)
        return ERR_INVALID;

    struct argon2_arena *arena = calloc(1, sizeof(*arena));
    if (arena == NULL)
        return ERR_INTERNAL;
    arena->slots = slots;
    arena->slot_bytes = (size_t)memory_kib * ARGON2_BLOCK_BYTES;
    arena->bytes = round_up(slots * arena->slot_bytes + (slots - 1) * SLOT_GAP, HUGE_PAGE);
    arena->memory = map_aligned(arena->bytes);
    if (arena->memory == NULL) {
        free(arena);
        return ERR_INTERNAL;
    }

    /* All three are improvements that a system may refuse: the arena is as usable without. */
    (void)madvise(arena->memory, arena->bytes, MADV_HUGEPAGE);
    (void)madvise(arena->memory, arena->bytes, MADV_DONTDUMP);
    (void)mlock(arena->memory, arena->bytes);

    for (size_t at = 0; at < arena->bytes; at += 4096)
        *(volatile uint8_t *)(arena->memory + at) = 0;
    *out = arena;
    return OK;
}

void argon2_arena_close(struct argon2_arena *arena)
{
    if (arena == NULL)
        return;
    argon2_arena_wipe(arena);
    (void)munmap(arena->memory, arena->bytes);
    free(arena);
}

size_t argon2_arena_bytes(const struct argon2_arena *arena)
{
    return arena->bytes;
}

void argon2_arena_wipe(struct argon2_arena *arena)
{
    for (unsigned slot = 0; slot < arena->slots; slot++) {
        OPENSSL_cleanse(argon2_arena_slot(arena, slot),
                        (size_t)arena->dirty[slot] * ARGON2_BLOCK_BYTES);
        arena->dirty[slot] = 0;
    }
}

struct argon2_block *argon2_arena_slot(const struct argon2_arena *arena, unsigned slot)
{
    if (slot >= arena->slots)
        return NULL;
    void *at = arena->memory + slot * (arena->slot_bytes + SLOT_GAP);
    return at;
}

uint32_t argon2_arena_blocks(const struct argon2_arena *arena)
{
    return (uint32_t)(arena->slot_bytes / ARGON2_BLOCK_BYTES);
}

void argon2_arena_dirty(struct argon2_arena *arena, unsigned slot, uint32_t blocks)
{
    if (arena->dirty[slot] < blocks)
        arena->dirty[slot] = blocks;
}
