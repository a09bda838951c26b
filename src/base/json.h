/*
 * json.h: JSON in and out (RFC 8259).
 *
 * Out: a writer over struct text that escapes everything it must. In: jansson, held to one meaning:
 * an object of bounded depth, no duplicate member, no trailing bytes, no NUL, no lone surrogate.
 */
#ifndef WW_BASE_JSON_H
#define WW_BASE_JSON_H

#include <jansson.h>

#include "base/text.h"

/* ---- writing: each call puts a comma before itself where one is needed ---- */
void json_open(struct text *t);  /* {  */
void json_close(struct text *t); /* }  */
void json_key(struct text *t, const char *key);
void json_str(struct text *t, const char *key, const char *value);
void json_str_n(struct text *t, const char *key, const char *value, size_t len);
void json_i64(struct text *t, const char *key, int64_t value);
void json_bool(struct text *t, const char *key, bool value);

/* The quoted, escaped string alone. Bytes that are not UTF-8 become U+FFFD. */
void json_quote(struct text *t, const char *value, size_t len);

/* ---- reading ---- */
#define JSON_MAX_DEPTH 8

/* Parses one object. ERR_MALFORMED for anything else; *why is then a fixed text. The caller frees
 * *out with json_decref. */
MUST_USE enum err json_read(const char *in, size_t len, json_t **out, const char **why);

static inline void cleanup_json(json_t **j)
{
    json_decref(*j);
}

#endif
