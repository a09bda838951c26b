#include "base/json.h"

#include <malloc.h>
#include <pthread.h>
#include <string.h>

#include "base/secret.h"

static void separate(struct text *t)
{
    char last = t->len > 0 ? t->p[t->len - 1] : '{';
    if (last != '{' && last != '[' && last != ':' && last != ',')
        text_put_char(t, ',');
}

void json_open(struct text *t)
{
    if (t->len > 0)
        separate(t);
    text_put_char(t, '{');
}

void json_close(struct text *t)
{
    text_put_char(t, '}');
}

/* A character that some reader of the text takes for the end of a line, a terminal for a command,
 * or an eye for something else: C1 controls, U+2028, U+2029, bidirectional controls. 0: none begins
 * here. p is in a well-formed string. */
static unsigned unruly(const char *p)
{
    const unsigned char *s = (const unsigned char *)p;
    if (s[0] == 0xc2 && s[1] < 0xa0)
        return s[1];
    bool separator_or_override = s[0] == 0xe2 && s[1] == 0x80 && s[2] >= 0xa8 && s[2] <= 0xae;
    bool isolate = s[0] == 0xe2 && s[1] == 0x81 && s[2] >= 0xa6 && s[2] <= 0xa9;
    if (separator_or_override || isolate)
        return 0x2000U | (s[1] & 0x3fU) << 6 | (s[2] & 0x3fU);
    return 0;
}

static void put_escaped(struct text *t, unsigned c)
{
    static const char hex[] = "0123456789abcdef";
    switch (c) {
    case '"':
        text_put(t, "\\\"");
        break;
    case '\\':
        text_put(t, "\\\\");
        break;
    case '\n':
        text_put(t, "\\n");
        break;
    case '\r':
        text_put(t, "\\r");
        break;
    case '\t':
        text_put(t, "\\t");
        break;
    default: {
        char u[6] = {'\\', 'u', hex[c >> 12 & 15], hex[c >> 8 & 15], hex[c >> 4 & 15], hex[c & 15]};
        text_put_n(t, u, sizeof u);
    }
    }
}

void json_quote(struct text *t, const char *value, size_t len)
{
    text_put_char(t, '"');
    size_t run = 0; /* start of the bytes that can go out as they are */
    bool valid = utf8_valid(value, len, NULL);
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)value[i];
        bool replace = c >= 0x80 && !valid;
        unsigned wide = c >= 0x80 && valid ? unruly(value + i) : 0;
        if (c >= 0x20 && c != '"' && c != '\\' && c != 0x7f && !replace && wide == 0)
            continue;
        text_put_n(t, value + run, i - run);
        if (replace)
            text_put(t, "\xef\xbf\xbd");
        else
            put_escaped(t, wide != 0 ? wide : c);
        if (wide != 0)
            i += c == 0xc2 ? 1 : 2;
        run = i + 1;
    }
    text_put_n(t, value + run, len - run);
    text_put_char(t, '"');
}

void json_key(struct text *t, const char *key)
{
    separate(t);
    json_quote(t, key, strlen(key));
    text_put_char(t, ':');
}

void json_str_n(struct text *t, const char *key, const char *value, size_t len)
{
    json_key(t, key);
    json_quote(t, value, len);
}

void json_str(struct text *t, const char *key, const char *value)
{
    json_str_n(t, key, value, strlen(value));
}

void json_i64(struct text *t, const char *key, int64_t value)
{
    json_key(t, key);
    text_put_i64(t, value);
}

void json_bool(struct text *t, const char *key, bool value)
{
    json_key(t, key);
    text_put(t, value ? "true" : "false");
}

/* jansson parses recursively up to 2048 levels; ours is checked before it starts. Strings are
 * skipped; a malformed string is jansson's to refuse. */
static bool too_deep(const char *in, size_t len)
{
    unsigned depth = 0;
    bool in_string = false;
    for (size_t i = 0; i < len; i++) {
        char c = in[i];
        if (in_string) {
            if (c == '\\')
                i++;
            else if (c == '"')
                in_string = false;
        } else if (c == '"') {
            in_string = true;
        } else if (c == '{' || c == '[') {
            if (++depth > JSON_MAX_DEPTH)
                return true;
        } else if ((c == '}' || c == ']') && depth > 0) {
            depth--;
        }
    }
    return false;
}

/* jansson leaves what it has read in memory that it gives back: passwords and tokens among it. */
static void wipe_and_free(void *p)
{
    if (p != NULL)
        secret_wipe(p, malloc_usable_size(p));
    free(p);
}

static void set_up(void)
{
    json_set_alloc_funcs(malloc, wipe_and_free);
}

/* By the code alone: jansson's text quotes what it has read. */
static const char *reason(const json_error_t *error)
{
    switch (json_error_code(error)) {
    case json_error_duplicate_key:
        return "body has a member twice";
    case json_error_numeric_overflow:
        return "body has a number out of range";
    case json_error_null_character:
        return "body has a NUL character";
    case json_error_invalid_utf8:
        return "body is not UTF-8";
    default:
        return "body is not valid JSON";
    }
}

enum err json_read(const char *in, size_t len, json_t **out, const char **why)
{
    if (too_deep(in, len)) {
        *why = "body is nested too deeply";
        return ERR_MALFORMED;
    }
    if (len > 0 && memchr(in, '\0', len) != NULL) { /* jansson skips one after a number or a word */
        *why = "body is not valid JSON";
        return ERR_MALFORMED;
    }
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    json_error_t error;
    pthread_once(&once, set_up);
    /* Without JSON_ALLOW_NUL, \u0000 is refused; without JSON_DECODE_ANY, so are bare scalars. */
    json_t *j = json_loadb(in, len, JSON_REJECT_DUPLICATES, &error);
    if (j == NULL) {
        *why = reason(&error);
        return ERR_MALFORMED;
    }
    if (!json_is_object(j)) {
        json_decref(j);
        *why = "body must be a JSON object";
        return ERR_MALFORMED;
    }
    *out = j;
    return OK;
}
