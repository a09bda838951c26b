#include "base/uuid.h"

#include <string.h>

#include "base/random.h"

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

static bool is_hyphen_place(size_t i)
{
    return i == 8 || i == 13 || i == 18 || i == 23;
}

enum err uuid_parse(const char *in, size_t len, struct uuid *out)
{
    if (len != UUID_LEN && len != 32)
        return ERR_MALFORMED;
    struct uuid u = {{0}};
    size_t digits = 0;
    for (size_t i = 0; i < len; i++) {
        if (len == UUID_LEN && is_hyphen_place(i)) {
            if (in[i] != '-')
                return ERR_MALFORMED;
            continue;
        }
        int v = hex_value(in[i]);
        if (v < 0)
            return ERR_MALFORMED;
        u.b[digits / 2] = (uint8_t)(u.b[digits / 2] << 4 | v);
        digits++;
    }
    *out = u;
    return OK;
}

void uuid_format(const struct uuid *u, char out[UUID_LEN + 1])
{
    static const char hex[] = "0123456789abcdef";
    size_t n = 0;
    for (size_t i = 0; i < sizeof u->b; i++) {
        if (is_hyphen_place(n))
            out[n++] = '-';
        out[n++] = hex[u->b[i] >> 4];
        out[n++] = hex[u->b[i] & 15];
    }
    out[n] = '\0';
}

static void stamp_version(struct uuid *u, uint8_t version)
{
    u->b[6] = (uint8_t)((u->b[6] & 0x0f) | version << 4);
    u->b[8] = (uint8_t)((u->b[8] & 0x3f) | 0x80);
}

enum err uuid_make_v7(int64_t unix_ms, struct uuid *out)
{
    struct uuid u;
    TRY(random_bytes(u.b, sizeof u.b));
    for (unsigned i = 0; i < 6; i++)
        u.b[i] = (uint8_t)((uint64_t)unix_ms >> (40 - 8 * i));
    stamp_version(&u, 7);
    *out = u;
    return OK;
}

enum err uuid_make_v4(struct uuid *out)
{
    struct uuid u;
    TRY(random_bytes(u.b, sizeof u.b));
    stamp_version(&u, 4);
    *out = u;
    return OK;
}

bool uuid_equal(const struct uuid *a, const struct uuid *b)
{
    return memcmp(a->b, b->b, sizeof a->b) == 0;
}
