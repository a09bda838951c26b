/* http_read.c: what a request says: its header fields, its cookies and its query. */
#include <microhttpd.h>
#include <string.h>

#include "net/http.h"

const char *http_header(const struct http_request *request, const char *name)
{
    return MHD_lookup_connection_value(request->connection, MHD_HEADER_KIND, name);
}

struct wanted_cookie {
    const char *name, *value;
};

static enum MHD_Result match_cookie(void *arg, enum MHD_ValueKind kind, const char *name,
                                    const char *value)
{
    (void)kind;
    struct wanted_cookie *wanted = arg;
    if (strcmp(name, wanted->name) != 0)
        return MHD_YES;
    wanted->value = value;
    return MHD_NO; /* the first of that name */
}

/* Not libmicrohttpd's look-up: that one ignores case, and cookie names do not (RFC 6265). */
const char *http_cookie(const struct http_request *request, const char *name)
{
    struct wanted_cookie wanted = {name, NULL};
    MHD_get_connection_values(request->connection, MHD_COOKIE_KIND, match_cookie, &wanted);
    return wanted.value;
}

const char *http_query(const struct http_request *request, const char *name)
{
    return MHD_lookup_connection_value(request->connection, MHD_GET_ARGUMENT_KIND, name);
}
