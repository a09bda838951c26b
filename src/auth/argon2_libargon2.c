/* argon2_libargon2.c: a hash by the reference library, in memory that we give it. */
#include "auth/argon2_core.h"

#include <argon2.h>

/* libargon2 hands its callback no context, hence one per thread. */
static _Thread_local struct {
    struct argon2_block *memory;
    size_t bytes;
} given;

static int give_memory(uint8_t **memory, size_t bytes)
{
    if (bytes > given.bytes)
        return ARGON2_MEMORY_ALLOCATION_ERROR;
    *memory = (uint8_t *)given.memory;
    return ARGON2_OK;
}

static void take_memory(uint8_t *memory, size_t bytes)
{
    (void)memory; /* it stays the arena's */
    (void)bytes;
}

/* The library declares its inputs without const; it writes to them only when asked to wipe. */
static uint8_t *input(const uint8_t *p)
{
    return (uint8_t *)(uintptr_t)p;
}

enum err argon2_libargon2_hash(struct argon2_block *memory, uint32_t blocks,
                               const struct argon2_job *job)
{
    argon2_context context = {
        .out = job->tag,
        .outlen = (uint32_t)job->tag_len,
        .pwd = input(job->password),
        .pwdlen = (uint32_t)job->password_len,
        .salt = input(job->salt),
        .saltlen = (uint32_t)job->salt_len,
        .secret = input(job->secret),
        .secretlen = (uint32_t)job->secret_len,
        .ad = input(job->ad),
        .adlen = (uint32_t)job->ad_len,
        .t_cost = job->params.iterations,
        .m_cost = job->params.memory_kib,
        .lanes = job->params.parallelism,
        .threads = 1, /* lanes one after the other: threads are the hashing lane's business */
        .version = ARGON2_VERSION_13,
        .allocate_cbk = give_memory,
        .free_cbk = take_memory,
        .flags = ARGON2_DEFAULT_FLAGS,
    };

    given.memory = memory;
    given.bytes = (size_t)blocks * ARGON2_BLOCK_BYTES;
    int status = argon2id_ctx(&context);
    given.memory = NULL;
    given.bytes = 0;
    return status == ARGON2_OK ? OK : ERR_INTERNAL;
}
