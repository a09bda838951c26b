/*
 * argon2.h: Argon2id version 1.3 (RFC 9106), one hash at a time or two at once.
 *
 * Two hashes on one core finish sooner together than one after the other: while the block of one
 * is computed, the memory the other needs next is already on its way (docs/performance.md).
 *
 * Who owns what: an arena belongs to the thread that opened it, which is also the only one to
 * hash in it, wipe it and close it. A job borrows everything it points to. argon2_init is called
 * once, before there are threads; after it everything here may run in any number of threads, each
 * with its own arena.
 *
 * What stays in memory: the password and what is derived from it in small buffers (H0, the bytes of
 * the first blocks and of the last, the last blocks themselves) are overwritten before a hash
 * returns. The arena keeps the other blocks until the next hash overwrites them or
 * argon2_arena_wipe does; wiping costs a good part of a hash, so it is left to a moment when the
 * thread has nothing else to do. Those blocks do not yield the password or the tag. Who can read
 * this process's memory could use them to test guesses at the price of a few blocks instead of a
 * whole hash; that is why they are wiped at all, and why the arena is kept from swap (mlock, where
 * allowed) and core dumps, where they would outlive the process.
 */
#ifndef WW_AUTH_ARGON2_H
#define WW_AUTH_ARGON2_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/macros.h"

/* Bounds of RFC 9106 section 3.1. Lengths are in bytes. */
#define ARGON2_INPUT_MAX UINT32_MAX /* password, salt, secret, associated data, each */
#define ARGON2_SALT_MIN 8u
#define ARGON2_TAG_MIN 4u
#define ARGON2_TAG_MAX 1024u /* ours: the RFC allows more than anyone has a use for */
#define ARGON2_PARALLELISM_MAX 0xffffffu
#define ARGON2_MEMORY_PER_LANE 8u /* KiB, the least */

/* The largest arena slot: 4 GiB less one KiB is more than any sensible configuration. */
#define ARGON2_MEMORY_MAX (4u * 1024u * 1024u - 1u) /* KiB */

struct argon2_params {
    uint32_t memory_kib;  /* m: 8 * parallelism to the arena's size */
    uint32_t iterations;  /* t: 1 or more passes over the memory */
    uint32_t parallelism; /* p: lanes, 1 to ARGON2_PARALLELISM_MAX, computed one after the other */
};

bool argon2_same_params(const struct argon2_params *a, const struct argon2_params *b);

/* KiB filled: what the time of a hash is about proportional to. */
uint64_t argon2_work(const struct argon2_params *params);

/* Raises *params until a hash of it takes no less time than one of other: a KiB of a large memory
 * takes longer than one of a small memory, several times longer where that fits in a cache, so the
 * greater work alone does not tell which is the dearer. */
void argon2_raise(struct argon2_params *params, const struct argon2_params *other);

struct argon2_job {
    struct argon2_params params;
    const uint8_t *password; /* may be NULL when password_len is 0, and so for the others */
    size_t password_len;
    const uint8_t *salt;
    size_t salt_len;       /* ARGON2_SALT_MIN or more */
    const uint8_t *secret; /* the pepper */
    size_t secret_len;
    const uint8_t *ad; /* associated data */
    size_t ad_len;
    uint8_t *tag;   /* the result; untouched on failure */
    size_t tag_len; /* ARGON2_TAG_MIN to ARGON2_TAG_MAX */
};

enum argon2_backend {
    ARGON2_AUTO,      /* the fastest of ours that this CPU can run */
    ARGON2_PORTABLE,  /* plain C */
    ARGON2_AVX2,      /* x86-64 */
    ARGON2_AVX512,    /* x86-64 with AVX-512 F */
    ARGON2_LIBARGON2, /* the reference library, in the arena's memory; no pairing */
    ARGON2_BACKENDS,  /* how many there are; not a back end */
};

/* "auto", "portable", "avx2", "avx512", "libargon2"; "?" for anything else. */
const char *argon2_backend_name(enum argon2_backend backend);

/* The back end of that name; ERR_INVALID when there is none. */
MUST_USE enum err argon2_backend_from_name(const char *name, enum argon2_backend *out);

/*
 * Chooses the back end and computes the known answers of RFC 9106 with it, single and paired.
 * Called once, before there are threads (a test may call it again). ERR_INVALID when this CPU or
 * this build lacks it, ERR_INTERNAL when its answers are wrong or there is no memory for the
 * test: nothing is chosen then, and hashing answers ERR_INTERNAL.
 */
MUST_USE enum err argon2_init(enum argon2_backend wanted);

/* The back end that argon2_init chose, never ARGON2_AUTO once it has succeeded. */
enum argon2_backend argon2_backend_in_use(void);

struct argon2_arena;

/*
 * Reserves memory for slots (1 or 2) hashes of up to memory_kib KiB each, and touches all of it,
 * so that no hash pays for page faults: call it in the thread that is going to hash. ERR_INVALID
 * for sizes out of range, ERR_INTERNAL when the system has no memory.
 */
MUST_USE enum err argon2_arena_open(uint32_t memory_kib, unsigned slots, struct argon2_arena **out);

/* Wipes and gives back the memory; NULL is fine. */
void argon2_arena_close(struct argon2_arena *arena);

/* How many bytes the arena holds mapped. */
size_t argon2_arena_bytes(const struct argon2_arena *arena);

/* Overwrites what the last hashes left behind; costs nothing when it has been done already. */
void argon2_arena_wipe(struct argon2_arena *arena);

/*
 * One hash, in the first slot. ERR_INVALID when a parameter or a length is out of range,
 * ERR_TOO_LARGE when memory_kib exceeds the arena's, ERR_INTERNAL before argon2_init or when
 * memory runs out (only the libargon2 back end allocates any).
 */
MUST_USE enum err argon2id_hash(struct argon2_arena *arena, const struct argon2_job *job);

/*
 * Two hashes, interleaved when they have the same three parameters, else one after the other. The
 * arena must have two slots (ERR_INVALID otherwise). Errors as above, and then neither tag has
 * been written.
 */
MUST_USE enum err argon2id_hash_pair(struct argon2_arena *arena, const struct argon2_job *a,
                                     const struct argon2_job *b);

#endif
