#include "net/http_framing.h"

#include <string.h>
#include <strings.h>

#include "base/encode.h"

static bool is_token(const char *s, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)s[i];
        bool alnum = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (!alnum && (c == '\0' || strchr("!#$%&'*+-.^_`|~", c) == NULL))
            return false;
    }
    return len > 0;
}

static bool is_field_value(const char *s, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)s[i];
        if ((c < 0x20 && c != '\t') || c == 0x7f)
            return false;
    }
    return true;
}

/* The characters of RFC 3986's authority without user information. */
static bool is_host(const char *s, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)s[i];
        bool alnum = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (!alnum && (c == '\0' || strchr("-._~%!$&'()*+;=:[]", c) == NULL))
            return false;
    }
    return len > 0;
}

static bool is_name(const char *name, size_t len, const char *wanted)
{
    return strlen(wanted) == len && strncasecmp(name, wanted, len) == 0;
}

void http_framing_line(struct http_framing *framing, const char *name, size_t name_len,
                       const char *value, size_t value_len)
{
    if (!is_token(name, name_len) || !is_field_value(value, value_len))
        framing->broken = true;
    while (value_len > 0 && (value[value_len - 1] == ' ' || value[value_len - 1] == '\t'))
        value_len--; /* optional white space is not part of the value */
    if (is_name(name, name_len, "Host")) {
        framing->hosts++;
        if (!is_host(value, value_len))
            framing->broken = true;
    } else if (is_name(name, name_len, "Content-Length")) {
        framing->lengths++;
        if (decimal_parse(value, value_len, 0, UINT64_MAX / 2, &framing->length) != OK)
            framing->broken = true;
    } else if (is_name(name, name_len, "Transfer-Encoding")) {
        framing->codings++;
        if (!is_name(value, value_len, "chunked"))
            framing->broken = true;
    } else if (is_name(name, name_len, "Content-Type")) {
        framing->types++;
    } else if (is_name(name, name_len, "Authorization")) {
        framing->authorizations++;
    }
}

bool http_framing_ok(const struct http_framing *framing, bool http_1_1)
{
    if (framing->broken || framing->hosts > 1 || framing->lengths + framing->codings > 1 ||
        framing->types > 1 || framing->authorizations > 1)
        return false;
    /* Before 1.1 there are no transfer codings and Host is optional. */
    return http_1_1 ? framing->hosts == 1 : framing->codings == 0;
}
