#include "net/http_origin.h"

#include <microhttpd.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/encode.h"
#include "base/random.h"
#include "base/text.h"

#define FORWARDED_MAX ((size_t)36 * 1024) /* the connection's whole memory */

/* ---- the client's address ---- */

/* All lines of one field, joined by commas. */
struct joined {
    const char *name;
    struct text text;
};

static enum MHD_Result join_line(void *arg, enum MHD_ValueKind kind, const char *name,
                                 const char *value)
{
    (void)kind;
    struct joined *joined = arg;
    if (strcasecmp(name, joined->name) == 0 && value != NULL) {
        if (joined->text.len > 0)
            text_put_char(&joined->text, ',');
        text_put(&joined->text, value);
    }
    return MHD_YES;
}

/* NULL if the field is absent. The header section's own limit is what bounds the length. */
static char *join_field(const struct http_request *request, const char *name)
{
    char *buf = malloc(FORWARDED_MAX);
    if (buf == NULL)
        return NULL;
    struct joined joined = {name, text_on(buf, FORWARDED_MAX)};
    MHD_get_connection_values(request->connection, MHD_HEADER_KIND, join_line, &joined);
    return buf;
}

static struct ip_address forwarded_client(const struct http_request *request,
                                          const struct ip_networks *trusted,
                                          const struct ip_address *peer)
{
    bool has_xff = http_header(request, "X-Forwarded-For") != NULL;
    if (!has_xff && http_header(request, "Forwarded") == NULL)
        return *peer;
    char *list CLEANUP(cleanup_free) =
        join_field(request, has_xff ? "X-Forwarded-For" : "Forwarded");
    return client_ip(trusted, peer, has_xff ? list : NULL, has_xff ? NULL : list);
}

void http_find_client(struct http_request *request, const struct ip_networks *trusted)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(request->connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    struct ip_address peer = {{0}};
    if (info != NULL)
        ip_from_sockaddr(info->client_addr, &peer);
    request->client =
        ip_networks_contain(trusted, &peer) ? forwarded_client(request, trusted, &peer) : peer;
    ip_format(&request->client, request->client_ip);
}

/* ---- the trace id ---- */

static bool trace_id_ok(const char *s, size_t len)
{
    if (len == 0 || len > HTTP_TRACE_ID_MAX)
        return false;
    for (size_t i = 0; i < len; i++) {
        char c = s[i];
        bool alnum = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (!alnum && c != '.' && c != '_' && c != '-')
            return false;
    }
    return true;
}

/* The trace-id of a W3C traceparent: 00-<32 hex digits>-..., not all zero. Version ff is invalid.
 */
static bool trace_id_of_parent(const char *s, char out[HTTP_TRACE_ID_MAX + 1])
{
    if (strlen(s) < 55 || s[2] != '-' || s[35] != '-' || strncmp(s, "ff", 2) == 0)
        return false;
    bool zero = true;
    for (size_t i = 3; i < 35; i++) {
        if (!((s[i] >= '0' && s[i] <= '9') || (s[i] >= 'a' && s[i] <= 'f')))
            return false;
        zero = zero && s[i] == '0';
    }
    if (zero)
        return false;
    text_copy(out, HTTP_TRACE_ID_MAX + 1, s + 3, 32);
    return true;
}

void http_find_trace_id(struct http_request *request)
{
    const char *given = http_header(request, "x-trace-id");
    if (given != NULL && trace_id_ok(given, strlen(given))) {
        text_copy(request->trace_id, sizeof request->trace_id, given, strlen(given));
        return;
    }
    const char *parent = http_header(request, "traceparent");
    if (parent != NULL && trace_id_of_parent(parent, request->trace_id))
        return;
    uint8_t id[16];
    if (random_bytes(id, sizeof id) == OK)
        hex_encode(id, sizeof id, request->trace_id);
}
