/*
 * text.h: building text in a buffer of fixed size.
 *
 * A struct text writes into memory of its caller and never past it. What does not fit is dropped
 * and remembered: check text_ok once at the end instead of after every step. The content is always
 * NUL-terminated.
 */
#ifndef WW_BASE_TEXT_H
#define WW_BASE_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct text {
    char *p;
    size_t len; /* without the NUL */
    size_t cap; /* with the NUL */
    bool full;  /* something did not fit */
};

/* buf has cap bytes, at least 1; it must outlive the text. */
struct text text_on(char *buf, size_t cap);

void text_put(struct text *t, const char *s);
void text_put_n(struct text *t, const char *s, size_t len);
void text_put_char(struct text *t, char c);
void text_put_u64(struct text *t, uint64_t v);
void text_put_i64(struct text *t, int64_t v);
void text_put_f(struct text *t, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* Everything fitted. */
MUST_USE bool text_ok(const struct text *t);

/* Copies at most cap - 1 bytes of from and terminates: for display values, where cutting is fine.
 */
void text_copy(char *to, size_t cap, const char *from, size_t from_len);

/* As text_copy, but what had to be cut ends in an ellipsis and never inside a character, and bytes
 * that are not UTF-8 become '?': fit for a database that insists. */
void text_copy_utf8(char *to, size_t cap, const char *from, size_t from_len);

/* Valid UTF-8 (RFC 3629: shortest form, no surrogates, at most U+10FFFF). Counts its code points;
 * code_points may be NULL. */
MUST_USE bool utf8_valid(const char *s, size_t len, size_t *code_points);

#endif
