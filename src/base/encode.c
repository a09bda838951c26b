#include "base/encode.h"

#include <string.h>

static const char URL_ALPHABET[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
static const char STD_ALPHABET[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static size_t encode64(const char *alphabet, const uint8_t *in, size_t len, char *out)
{
    size_t n = 0;
    uint32_t bits = 0;
    unsigned held = 0;
    for (size_t i = 0; i < len; i++) {
        bits = bits << 8 | in[i];
        held += 8;
        while (held >= 6) {
            held -= 6;
            out[n++] = alphabet[bits >> held & 63];
        }
    }
    if (held > 0)
        out[n++] = alphabet[bits << (6 - held) & 63];
    out[n] = '\0';
    return n;
}

/* Arithmetic instead of a table: what is decoded may be a secret, and a table leaves cache traces.
 * Each term is a mask of all ones where c is in the range. */
static int value64(char ch, char c62, char c63)
{
    int c = (unsigned char)ch;
    int v = -1;
    v += (((('A' - 1) - c) & (c - ('Z' + 1))) >> 8) & (c - 'A' + 1);
    v += (((('a' - 1) - c) & (c - ('z' + 1))) >> 8) & (c - 'a' + 27);
    v += (((('0' - 1) - c) & (c - ('9' + 1))) >> 8) & (c - '0' + 53);
    v += ((((c62 - 1) - c) & (c - (c62 + 1))) >> 8) & 63;
    v += ((((c63 - 1) - c) & (c - (c63 + 1))) >> 8) & 64;
    return v;
}

static enum err decode64(const char *in, size_t in_len, char c62, char c63, uint8_t *out,
                         size_t cap, size_t *out_len)
{
    if (in_len % 4 == 1)
        return ERR_MALFORMED;
    if (in_len / 4 * 3 + (in_len % 4 ? in_len % 4 - 1 : 0) > cap)
        return ERR_TOO_LARGE;
    size_t n = 0;
    uint32_t bits = 0;
    unsigned held = 0;
    for (size_t i = 0; i < in_len; i++) {
        int v = value64(in[i], c62, c63);
        if (v < 0)
            return ERR_MALFORMED;
        bits = bits << 6 | (uint32_t)v;
        held += 6;
        if (held >= 8) {
            held -= 8;
            out[n++] = (uint8_t)(bits >> held);
        }
    }
    if ((bits & ((1u << held) - 1)) != 0)
        return ERR_MALFORMED;
    *out_len = n;
    return OK;
}

size_t base64url_encode(const uint8_t *in, size_t len, char *out)
{
    return encode64(URL_ALPHABET, in, len, out);
}

enum err base64url_decode(const char *in, size_t in_len, uint8_t *out, size_t cap, size_t *out_len)
{
    return decode64(in, in_len, '-', '_', out, cap, out_len);
}

size_t base64_encode(const uint8_t *in, size_t len, char *out)
{
    return encode64(STD_ALPHABET, in, len, out);
}

enum err base64_decode(const char *in, size_t in_len, uint8_t *out, size_t cap, size_t *out_len)
{
    return decode64(in, in_len, '+', '/', out, cap, out_len);
}

void hex_encode(const uint8_t *in, size_t len, char *out)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < len; i++) {
        out[2 * i] = digits[in[i] >> 4];
        out[2 * i + 1] = digits[in[i] & 15];
    }
    out[2 * len] = '\0';
}

enum err decimal_parse(const char *in, size_t len, uint64_t min, uint64_t max, uint64_t *out)
{
    if (len == 0 || len > 20 || (len > 1 && in[0] == '0'))
        return ERR_MALFORMED;
    uint64_t v = 0;
    for (size_t i = 0; i < len; i++) {
        if (in[i] < '0' || in[i] > '9')
            return ERR_MALFORMED;
        if (__builtin_mul_overflow(v, UINT64_C(10), &v) ||
            __builtin_add_overflow(v, (uint64_t)(in[i] - '0'), &v))
            return ERR_TOO_LARGE;
    }
    if (v < min || v > max)
        return ERR_TOO_LARGE;
    *out = v;
    return OK;
}
