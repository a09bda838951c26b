#include "net/http_client.h"

#include <netdb.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/encode.h"
#include "base/text.h"

#define HEAD_MAX ((size_t)8 * 1024)
#define REQUEST_MAX ((size_t)16 * 1024)

/* ---- the address ---- */

static bool copy(const char *from, size_t len, char *to, size_t cap)
{
    if (len == 0 || len >= cap)
        return false;
    memcpy(to, from, len);
    to[len] = '\0';
    return true;
}

enum err http_client_parse(const char *url, struct http_client_target *out)
{
    static const char scheme[] = "http://";
    struct http_client_target target = {.port = "80"};
    uint64_t number = 0;
    if (strncmp(url, scheme, sizeof scheme - 1) != 0)
        return ERR_INVALID;
    const char *host = url + sizeof scheme - 1;
    bool bracketed = host[0] == '[';
    size_t len = bracketed ? strcspn(++host, "]") : strcspn(host, ":/");
    if (!copy(host, len, target.host, sizeof target.host))
        return ERR_INVALID;
    const char *rest = host + len;
    if (bracketed && *rest++ != ']')
        return ERR_INVALID;
    if (*rest == ':') {
        size_t digits = strcspn(++rest, "/");
        if (!copy(rest, digits, target.port, sizeof target.port) ||
            decimal_parse(rest, digits, 1, 65535, &number) != OK)
            return ERR_INVALID;
        rest += digits;
    }
    if (rest[0] != '\0' && strcmp(rest, "/") != 0)
        return ERR_INVALID;
    *out = target;
    return OK;
}

/* ---- the connection ---- */

static void cleanup_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
}

static int try_address(const struct addrinfo *address, unsigned timeout_ms)
{
    const struct timeval limit = {timeout_ms / 1000, (suseconds_t)(timeout_ms % 1000) * 1000};
    int fd = socket(address->ai_family, address->ai_socktype | SOCK_CLOEXEC, address->ai_protocol);
    if (fd < 0)
        return -1;
    if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) == 0 &&
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit) == 0 &&
        connect(fd, address->ai_addr, address->ai_addrlen) == 0)
        return fd;
    close(fd);
    return -1;
}

static int dial(const struct http_client_target *target, unsigned timeout_ms)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct addrinfo *list = NULL;
    int fd = -1;
    if (getaddrinfo(target->host, target->port, &hints, &list) != 0)
        return -1;
    for (const struct addrinfo *a = list; a != NULL && fd < 0; a = a->ai_next)
        fd = try_address(a, timeout_ms);
    freeaddrinfo(list);
    return fd;
}

static enum err send_all(int fd, const char *data, size_t len)
{
    while (len > 0) {
        ssize_t n = send(fd, data, len, MSG_NOSIGNAL);
        if (n <= 0)
            return ERR_UNAVAILABLE;
        data += n;
        len -= (size_t)n;
    }
    return OK;
}

static enum err send_request(int fd, const struct http_client_target *target,
                             const struct http_client_request *request)
{
    char *buf CLEANUP(cleanup_free) = malloc(REQUEST_MAX);
    if (buf == NULL)
        return ERR_INTERNAL;
    struct text t = text_on(buf, REQUEST_MAX);
    text_put_f(&t, "%s %s HTTP/1.1\r\nHost: %s:%s\r\nConnection: close\r\n", request->method,
               request->path, target->host, target->port);
    if (request->bearer != NULL)
        text_put_f(&t, "Authorization: Bearer %s\r\n", request->bearer);
    if (request->json != NULL)
        text_put_f(&t, "Content-Type: application/json\r\nContent-Length: %zu\r\n",
                   strlen(request->json));
    text_put(&t, "\r\n");
    text_put(&t, request->json != NULL ? request->json : "");
    return text_ok(&t) ? send_all(fd, t.p, t.len) : ERR_TOO_LARGE;
}

/* ---- the answer ---- */

/* Until the other side closes, as it was asked to. */
static enum err receive_all(int fd, char *buf, size_t cap, size_t *len)
{
    for (*len = 0; *len < cap;) {
        ssize_t n = recv(fd, buf + *len, cap - *len, 0);
        if (n < 0)
            return ERR_UNAVAILABLE;
        if (n == 0)
            return OK;
        *len += (size_t)n;
    }
    return ERR_TOO_LARGE;
}

/* The value of Content-Length in the header section that ends at end. */
static enum err read_length(const char *head, const char *end, uint64_t *out)
{
    static const char name[] = "\r\nContent-Length: ";
    for (const char *line = strstr(head, "\r\n"); line != NULL && line < end;
         line = strstr(line + 2, "\r\n")) {
        if (strncasecmp(line, name, sizeof name - 1) != 0)
            continue;
        const char *value = line + sizeof name - 1;
        return decimal_parse(value, strcspn(value, "\r"), 0, HTTP_CLIENT_REPLY_MAX, out);
    }
    return ERR_UNAVAILABLE;
}

static enum err read_reply(const char *buf, size_t len, struct http_client_reply *out)
{
    static const char version[] = "HTTP/1.1 ";
    uint64_t status = 0, length = 0;
    const char *end = strstr(buf, "\r\n\r\n");
    if (end == NULL || strncmp(buf, version, sizeof version - 1) != 0 ||
        decimal_parse(buf + sizeof version - 1, 3, 100, 599, &status) != OK ||
        read_length(buf, end, &length) != OK || (size_t)(end + 4 - buf) + length != len)
        return ERR_UNAVAILABLE;
    char *body = malloc(length + 1);
    if (body == NULL)
        return ERR_INTERNAL;
    memcpy(body, end + 4, length);
    body[length] = '\0';
    *out = (struct http_client_reply){(unsigned)status, body, length};
    return OK;
}

enum err http_client_fetch(const struct http_client_target *target,
                           const struct http_client_request *request, struct http_client_reply *out)
{
    size_t cap = HEAD_MAX + HTTP_CLIENT_REPLY_MAX, len = 0;
    char *buf CLEANUP(cleanup_free) = calloc(1, cap + 1);
    int fd CLEANUP(cleanup_fd) = dial(target, request->timeout_ms);
    if (buf == NULL)
        return ERR_INTERNAL;
    if (fd < 0)
        return ERR_UNAVAILABLE;
    TRY(send_request(fd, target, request));
    TRY(receive_all(fd, buf, cap, &len));
    return read_reply(buf, len, out);
}
