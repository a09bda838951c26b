/* Argon2id: whatever the input, each back end answers as libargon2 does, single and paired. */
#include "fuzz.h"

#include <stdbool.h>

#include <argon2.h>

#include "auth/argon2_core.h"

#define MEMORY_MAX 200u
#define TAG_MAX 128u
#define HEAD 9u

/* The head of the input: a back end, three parameters, five lengths; the rest is the bytes. */
struct input {
    struct argon2_job job;
    enum argon2_backend backend;
};

/* The next len bytes of the input, or as many as there are. */
static const uint8_t *take(const uint8_t **data, size_t *size, size_t *len)
{
    const uint8_t *from = *data;
    *len = *len < *size ? *len : *size;
    *data += *len;
    *size -= *len;
    return from;
}

static bool read_input(const uint8_t *data, size_t size, struct input *in)
{
    static const uint8_t salt[ARGON2_SALT_MIN] = "saltsalt";
    const uint8_t *head = data;

    if (size < HEAD)
        return false;
    data += HEAD;
    size -= HEAD;
    *in = (struct input){
        .backend = (enum argon2_backend)(ARGON2_PORTABLE + head[0] % (ARGON2_BACKENDS - 1)),
        .job.params.parallelism = 1 + head[1] % 8u,
        .job.params.iterations = 1 + head[2] % 3u,
        .job.params.memory_kib = head[1] % 8u * 8u + head[3] / 2u, /* at times too little */
        .job.password_len = head[4],
        .job.salt_len = head[5],
        .job.secret_len = head[6],
        .job.ad_len = head[7],
        .job.tag_len = head[8] % (TAG_MAX + 1),
    };
    in->job.secret = take(&data, &size, &in->job.secret_len);
    in->job.ad = take(&data, &size, &in->job.ad_len);
    in->job.password = take(&data, &size, &in->job.password_len);
    in->job.salt = take(&data, &size, &in->job.salt_len);
    if (in->job.salt_len == 0) {
        in->job.salt = salt;
        in->job.salt_len = sizeof(salt);
    }
    return true;
}

static int ask_reference(const struct argon2_job *job, uint8_t tag[TAG_MAX])
{
    argon2_context context = {
        .out = tag,
        .outlen = (uint32_t)job->tag_len,
        .pwd = (uint8_t *)(uintptr_t)job->password,
        .pwdlen = (uint32_t)job->password_len,
        .salt = (uint8_t *)(uintptr_t)job->salt,
        .saltlen = (uint32_t)job->salt_len,
        .secret = (uint8_t *)(uintptr_t)job->secret,
        .secretlen = (uint32_t)job->secret_len,
        .ad = (uint8_t *)(uintptr_t)job->ad,
        .adlen = (uint32_t)job->ad_len,
        .t_cost = job->params.iterations,
        .m_cost = job->params.memory_kib,
        .lanes = job->params.parallelism,
        .threads = 1,
        .version = ARGON2_VERSION_13,
    };
    return argon2id_ctx(&context);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct argon2_arena *arena;
    struct input in;
    uint8_t single[TAG_MAX] = {0}, first[TAG_MAX] = {0}, second[TAG_MAX] = {0}, want[TAG_MAX] = {0};

    if (arena == NULL)
        REQUIRE(argon2_arena_open(MEMORY_MAX, 2, &arena) == OK);
    if (!read_input(data, size, &in))
        return 0;
    if (argon2_choose(in.backend) != OK)
        REQUIRE(argon2_choose(ARGON2_AUTO) == OK); /* this machine lacks that one */

    struct argon2_job other = in.job;
    in.job.tag = single;
    enum err e = argon2id_hash(arena, &in.job);
    REQUIRE((e == OK) == (ask_reference(&in.job, want) == ARGON2_OK));
    in.job.tag = first;
    other.tag = second;
    REQUIRE(argon2id_hash_pair(arena, &in.job, &other) == e);
    REQUIRE(memcmp(single, want, TAG_MAX) == 0);
    REQUIRE(memcmp(first, want, TAG_MAX) == 0);
    REQUIRE(memcmp(second, want, TAG_MAX) == 0);
    return 0;
}
