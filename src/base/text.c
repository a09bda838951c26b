#include "base/text.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct text text_on(char *buf, size_t cap)
{
    buf[0] = '\0';
    return (struct text){.p = buf, .len = 0, .cap = cap, .full = false};
}

void text_put_n(struct text *t, const char *s, size_t len)
{
    size_t room = t->cap - 1 - t->len;
    if (len > room) {
        t->full = true;
        return;
    }
    memcpy(t->p + t->len, s, len);
    t->len += len;
    t->p[t->len] = '\0';
}

void text_put(struct text *t, const char *s)
{
    text_put_n(t, s, strlen(s));
}

void text_put_char(struct text *t, char c)
{
    text_put_n(t, &c, 1);
}

void text_put_u64(struct text *t, uint64_t v)
{
    char digits[20];
    size_t i = sizeof digits;
    do {
        digits[--i] = (char)('0' + v % 10);
        v /= 10;
    } while (v > 0);
    text_put_n(t, digits + i, sizeof digits - i);
}

void text_put_i64(struct text *t, int64_t v)
{
    if (v < 0)
        text_put_char(t, '-');
    text_put_u64(t, v < 0 ? 0 - (uint64_t)v : (uint64_t)v);
}

void text_put_f(struct text *t, const char *fmt, ...)
{
    size_t room = t->cap - t->len;
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(t->p + t->len, room, fmt, args);
    va_end(args);
    if (n < 0 || (size_t)n >= room) {
        t->p[t->len] = '\0';
        t->full = true;
        return;
    }
    t->len += (size_t)n;
}

bool text_ok(const struct text *t)
{
    return !t->full;
}

void text_copy(char *to, size_t cap, const char *from, size_t from_len)
{
    size_t n = from_len < cap ? from_len : cap - 1;
    memcpy(to, from, n);
    to[n] = '\0';
}

/* Length of the sequence that starts at s, 0 if it is not well-formed. */
static size_t utf8_sequence(const unsigned char *s, size_t left)
{
    unsigned char c = s[0];
    if (c < 0x80)
        return 1;
    size_t n = c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : 2;
    if (c < 0xc2 || c > 0xf4 || left < n)
        return 0;
    for (size_t i = 1; i < n; i++)
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    bool overlong = (c == 0xe0 && s[1] < 0xa0) || (c == 0xf0 && s[1] < 0x90);
    bool surrogate = c == 0xed && s[1] >= 0xa0;
    bool beyond = c == 0xf4 && s[1] >= 0x90;
    return overlong || surrogate || beyond ? 0 : n;
}

void text_copy_utf8(char *to, size_t cap, const char *from, size_t from_len)
{
    static const char ellipsis[] = "\xe2\x80\xa6";
    const size_t room = sizeof ellipsis - 1;
    size_t n = 0, short_of_full = 0; /* the longest that leaves room for the ellipsis */
    for (size_t i = 0; i < from_len;) {
        size_t sequence = utf8_sequence((const unsigned char *)from + i, from_len - i);
        size_t len = sequence > 0 ? sequence : 1;
        if (n + len > cap - 1) {
            if (cap > room) {
                memcpy(to + short_of_full, ellipsis, room);
                n = short_of_full + room;
            }
            break;
        }
        for (size_t k = 0; k < len; k++)
            to[n + k] = sequence > 0 ? from[i + k] : '?';
        n += len;
        i += len;
        if (n + room <= cap - 1)
            short_of_full = n;
    }
    to[n] = '\0';
}

bool utf8_valid(const char *s, size_t len, size_t *code_points)
{
    size_t count = 0;
    for (size_t i = 0; i < len; count++) {
        size_t n = utf8_sequence((const unsigned char *)s + i, len - i);
        if (n == 0)
            return false;
        i += n;
    }
    if (code_points != NULL)
        *code_points = count;
    return true;
}
