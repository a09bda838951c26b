/* argon2_selftest.c: known answers, computed at start with the back end that was chosen. */
#include "auth/argon2_core.h"

#include <string.h>

#include "base/secret.h"

#define TAG_BYTES 32u
#define ANSWERS 4u

/*
 * The first is the vector of RFC 9106 section 5.3. Its segments are of two blocks; to exercise all
 * of the walk over memory (a second block of addresses, long stretches of both kinds) there are
 * two larger ones, made with the reference implementation. The second and fourth have the shape of
 * the one before, which makes the pairs.
 */
struct answer {
    struct argon2_params params;
    uint8_t password; /* this byte, 32 times */
    uint8_t tag[TAG_BYTES];
};

static const struct answer ANSWER[ANSWERS] = {
    {{32, 3, 4}, 1, {0x0d, 0x64, 0x0d, 0xf5, 0x8d, 0x78, 0x76, 0x6c, 0x08, 0xc0, 0x37,
                     0xa3, 0x4a, 0x8b, 0x53, 0xc9, 0xd0, 0x1e, 0xf0, 0x45, 0x2d, 0x75,
                     0xb6, 0x5e, 0xb5, 0x25, 0x20, 0xe9, 0x6b, 0x01, 0xe6, 0x59}},
    {{32, 3, 4}, 5, {0x45, 0xfc, 0x1c, 0x29, 0x66, 0x75, 0x76, 0xbe, 0x6d, 0xa6, 0x15,
                     0x26, 0x7b, 0x3e, 0x90, 0xa1, 0x6d, 0x8d, 0x2b, 0xb5, 0xbb, 0xb2,
                     0x00, 0x9d, 0x3e, 0x2e, 0xd3, 0xd0, 0x58, 0x96, 0x20, 0xb2}},
    {{520, 2, 1}, 1, {0xa0, 0x43, 0xd1, 0x96, 0x19, 0x57, 0x45, 0xdb, 0xb0, 0x31, 0xeb,
                      0xcf, 0x5e, 0xbd, 0x3c, 0x8e, 0xd0, 0x7f, 0x2a, 0x81, 0x3e, 0x55,
                      0xee, 0x4a, 0x72, 0x16, 0x98, 0xc2, 0x73, 0x3c, 0xc3, 0x45}},
    {{520, 2, 1}, 5, {0xf1, 0xe7, 0xdb, 0x74, 0x66, 0x1b, 0xa1, 0xa2, 0x74, 0xab, 0xc2,
                      0xfe, 0x8e, 0x52, 0xa0, 0xe2, 0x40, 0x4c, 0xa5, 0x16, 0xaf, 0xe0,
                      0xf4, 0xfa, 0x07, 0xd6, 0xd4, 0x6c, 0xa1, 0xce, 0x71, 0x19}},
};

/* The inputs of the RFC's vector but for the password. */
static struct argon2_job question(const struct answer *answer, uint8_t password[32], uint8_t *tag)
{
    static const uint8_t salt[16] = {2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2};
    static const uint8_t secret[8] = {3, 3, 3, 3, 3, 3, 3, 3};
    static const uint8_t ad[12] = {4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4};

    memset(password, answer->password, 32);
    return (struct argon2_job){
        .params = answer->params,
        .password = password,
        .password_len = 32,
        .salt = salt,
        .salt_len = sizeof(salt),
        .secret = secret,
        .secret_len = sizeof(secret),
        .ad = ad,
        .ad_len = sizeof(ad),
        .tag = tag,
        .tag_len = TAG_BYTES,
    };
}

static enum err ask(struct argon2_arena *arena, const struct answer *a, const struct answer *b)
{
    uint8_t passwords[2][32], tags[2][TAG_BYTES];
    struct argon2_job job_a = question(a, passwords[0], tags[0]);
    struct argon2_job job_b = question(b, passwords[1], tags[1]);

    TRY(argon2id_hash(arena, &job_a));
    if (!ct_equal(tags[0], a->tag, TAG_BYTES))
        return ERR_INTERNAL;

    memset(tags, 0, sizeof(tags));
    TRY(argon2id_hash_pair(arena, &job_a, &job_b));
    if (!ct_equal(tags[0], a->tag, TAG_BYTES) || !ct_equal(tags[1], b->tag, TAG_BYTES))
        return ERR_INTERNAL;
    return OK;
}

enum err argon2_selftest(void)
{
    struct argon2_arena *arena = NULL;

    TRY(argon2_arena_open(ANSWER[ANSWERS - 1].params.memory_kib, 2, &arena));
    enum err e = OK;
    for (unsigned i = 0; i < ANSWERS && e == OK; i += 2)
        e = ask(arena, &ANSWER[i], &ANSWER[i + 1]);
    argon2_arena_close(arena);
    return e;
}
