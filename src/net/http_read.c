/* http_read.c: what a request says: its header fields, its cookies and its query. */
#include <microhttpd.h>
#include <string.h>
#include <strings.h>

#include "net/http.h"

const char *http_header(const struct http_request *request, const char *name)
{
    return MHD_lookup_connection_value(request->connection, MHD_HEADER_KIND, name);
}

struct wanted_cookie {
    const char *name, *value;
    size_t len;
};

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static void trim(const char **s, size_t *len)
{
    while (*len > 0 && is_blank(**s)) {
        (*s)++;
        (*len)--;
    }
    while (*len > 0 && is_blank((*s)[*len - 1]))
        (*len)--;
}

/* The pairs as browsers write them (RFC 6265 section 4.2.1): a semicolon ends one whatever quotes
 * are about, and quotes around a whole value are not part of it. */
static bool find_pair(const char *line, struct wanted_cookie *wanted)
{
    const char *end;
    for (const char *p = line; *p != '\0'; p = end + (*end == ';')) {
        end = p + strcspn(p, ";");
        const char *equals = memchr(p, '=', (size_t)(end - p));
        if (equals == NULL)
            continue;
        size_t name_len = (size_t)(equals - p);
        trim(&p, &name_len);
        if (name_len != strlen(wanted->name) || memcmp(p, wanted->name, name_len) != 0)
            continue;
        const char *value = equals + 1;
        size_t len = (size_t)(end - value);
        trim(&value, &len);
        bool quoted = len >= 2 && value[0] == '"' && value[len - 1] == '"';
        wanted->value = quoted ? value + 1 : value;
        wanted->len = quoted ? len - 2 : len;
        return true;
    }
    return false;
}

static enum MHD_Result see_header(void *arg, enum MHD_ValueKind kind, const char *name,
                                  const char *value)
{
    (void)kind;
    bool found = strcasecmp(name, "Cookie") == 0 && value != NULL && find_pair(value, arg);
    return found ? MHD_NO : MHD_YES; /* the first of that name */
}

/* Not libmicrohttpd's look-up: that one ignores case, and cookie names do not (RFC 6265); takes a
 * stray quote in another site's cookie for the start of a text that may hold semicolons; and reads
 * one Cookie line, where gateways from HTTP/2 may leave several. */
const char *http_cookie(const struct http_request *request, const char *name, size_t *len)
{
    struct wanted_cookie wanted = {name, NULL, 0};
    MHD_get_connection_values(request->connection, MHD_HEADER_KIND, see_header, &wanted);
    *len = wanted.len;
    return wanted.value;
}

const char *http_query(const struct http_request *request, const char *name)
{
    return MHD_lookup_connection_value(request->connection, MHD_GET_ARGUMENT_KIND, name);
}
