/* blake2b.c: BLAKE2b as in RFC 7693 section 3, written for clarity: it is no hot path here. */
#include "auth/blake2b.h"

#include <string.h>

#include <openssl/crypto.h>

static const uint64_t IV[8] = {
    0x6a09e667f3bcc908, 0xbb67ae8584caa73b, 0x3c6ef372fe94f82b, 0xa54ff53a5f1d36f1,
    0x510e527fade682d1, 0x9b05688c2b3e6c1f, 0x1f83d9abfb41bd6b, 0x5be0cd19137e2179,
};

/* Section 2.7; rounds 10 and 11 use rows 0 and 1 again. */
static const uint8_t SIGMA[10][16] = {
    {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15},
    {14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3},
    {11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4},
    {7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8},
    {9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13},
    {2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9},
    {12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11},
    {13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10},
    {6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5},
    {10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0},
};

static uint64_t load_le64(const uint8_t *p)
{
    uint64_t n = 0;
    for (unsigned i = 0; i < 8; i++)
        n |= (uint64_t)p[i] << (8 * i);
    return n;
}

static uint64_t rotate_right(uint64_t x, unsigned bits)
{
    return x >> bits | x << (64 - bits);
}

static void mix(uint64_t v[16], const unsigned at[4], uint64_t x, uint64_t y)
{
    uint64_t a = v[at[0]], b = v[at[1]], c = v[at[2]], d = v[at[3]];

    a += b + x;
    d = rotate_right(d ^ a, 32);
    c += d;
    b = rotate_right(b ^ c, 24);
    a += b + y;
    d = rotate_right(d ^ a, 16);
    c += d;
    b = rotate_right(b ^ c, 63);

    v[at[0]] = a, v[at[1]] = b, v[at[2]] = c, v[at[3]] = d;
}

static void compress(struct blake2b *s, const uint8_t block[BLAKE2B_BLOCK], uint64_t last)
{
    static const unsigned lines[8][4] = {
        {0, 4, 8, 12},  {1, 5, 9, 13},  {2, 6, 10, 14}, {3, 7, 11, 15},
        {0, 5, 10, 15}, {1, 6, 11, 12}, {2, 7, 8, 13},  {3, 4, 9, 14},
    };
    uint64_t m[16], v[16];

    for (unsigned i = 0; i < 16; i++)
        m[i] = load_le64(block + 8 * i);
    for (unsigned i = 0; i < 8; i++) {
        v[i] = s->h[i];
        v[i + 8] = IV[i];
    }
    v[12] ^= s->counted; /* the high half of the counter stays 0: no input here reaches 2^64 */
    v[14] ^= last;

    for (unsigned round = 0; round < 12; round++) {
        const uint8_t *sigma = SIGMA[round % 10];
        for (unsigned i = 0; i < 8; i++)
            mix(v, lines[i], m[sigma[2 * i]], m[sigma[2 * i + 1]]);
    }

    for (unsigned i = 0; i < 8; i++)
        s->h[i] ^= v[i] ^ v[i + 8];
    OPENSSL_cleanse(m, sizeof(m));
    OPENSSL_cleanse(v, sizeof(v));
}

void blake2b_begin(struct blake2b *s, size_t out_len)
{
    *s = (struct blake2b){.out_len = out_len};
    memcpy(s->h, IV, sizeof(IV));
    s->h[0] ^= 0x01010000 ^ (uint64_t)out_len; /* the parameter block: fanout 1, depth 1, no key */
}

void blake2b_add(struct blake2b *s, const void *data, size_t len)
{
    const uint8_t *from = data;

    while (len > 0) {
        /* A full buffer waits: the last block, full or not, is compressed with the last flag. */
        if (s->buffered == BLAKE2B_BLOCK) {
            s->counted += BLAKE2B_BLOCK;
            compress(s, s->buffer, 0);
            s->buffered = 0;
        }
        size_t room = BLAKE2B_BLOCK - s->buffered;
        size_t take = len < room ? len : room;
        memcpy(s->buffer + s->buffered, from, take);
        s->buffered += take;
        from += take;
        len -= take;
    }
}

void blake2b_add_le32(struct blake2b *s, uint32_t n)
{
    const uint8_t le[4] = {(uint8_t)n, (uint8_t)(n >> 8), (uint8_t)(n >> 16), (uint8_t)(n >> 24)};
    blake2b_add(s, le, sizeof(le));
}

void blake2b_end(struct blake2b *s, uint8_t *out)
{
    memset(s->buffer + s->buffered, 0, BLAKE2B_BLOCK - s->buffered);
    s->counted += s->buffered;
    compress(s, s->buffer, UINT64_MAX);
    for (size_t i = 0; i < s->out_len; i++)
        out[i] = (uint8_t)(s->h[i / 8] >> (8 * (i % 8)));
    OPENSSL_cleanse(s, sizeof(*s));
}
