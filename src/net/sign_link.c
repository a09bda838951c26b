#include "net/sign_link.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

/* Answers to requests that were given up, at most: each cost a timeout. */
#define LATE_MAX 16

struct reply {
    uint32_t id;
    uint32_t verdict;
    uint8_t signature[SIGN_LINK_SIGNATURE_MAX];
};

enum err sign_link_open(int fd, struct sign_link *out)
{
    const struct timeval limit = {.tv_sec = SIGN_LINK_TIMEOUT_MS / 1000,
                                  .tv_usec = SIGN_LINK_TIMEOUT_MS % 1000 * 1000};
    if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) != 0 ||
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit) != 0) {
        close(fd);
        return ERR_INTERNAL;
    }
    *out = (struct sign_link){.fd = fd};
    return OK;
}

void sign_link_close(struct sign_link *link)
{
    if (link->fd >= 0)
        close(link->fd);
    link->fd = -1;
}

static enum err socket_error(void)
{
    return errno == EAGAIN || errno == EWOULDBLOCK ? ERR_BUSY : ERR_UNAVAILABLE;
}

/* Two pieces, one message. */
static enum err send_pieces(int fd, const void *head, size_t head_len, const void *rest,
                            size_t rest_len)
{
    struct iovec pieces[] = {{(void *)(uintptr_t)head, head_len},
                             {(void *)(uintptr_t)rest, rest_len}};
    const struct msghdr message = {.msg_iov = pieces, .msg_iovlen = 2};
    ssize_t n = 0;
    do
        n = sendmsg(fd, &message, MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    return n == (ssize_t)(head_len + rest_len) ? OK : socket_error();
}

static enum err receive(int fd, void *buf, size_t cap, size_t *len)
{
    ssize_t n = 0;
    do
        n = recv(fd, buf, cap, 0);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return socket_error();
    *len = (size_t)n;
    return n > 0 ? OK : ERR_UNAVAILABLE;
}

static enum err judge(const struct reply *reply, size_t len, uint8_t *signature,
                      size_t *signature_len)
{
    size_t n = len - offsetof(struct reply, signature);
    if (reply->verdict == SIGN_REFUSED)
        return ERR_DENIED;
    if (reply->verdict != SIGN_DONE || n == 0)
        return ERR_INTERNAL;
    memcpy(signature, reply->signature, n);
    *signature_len = n;
    return OK;
}

enum err sign_link_ask(struct sign_link *link, const void *input, size_t len,
                       uint8_t signature[SIGN_LINK_SIGNATURE_MAX], size_t *signature_len)
{
    struct reply reply;
    size_t n = 0;
    uint32_t id = ++link->last_id;
    if (len == 0 || len > SIGN_LINK_INPUT_MAX)
        return ERR_DENIED;
    TRY(send_pieces(link->fd, &id, sizeof id, input, len));
    for (unsigned late = 0; late <= LATE_MAX; late++) {
        TRY(receive(link->fd, &reply, sizeof reply, &n));
        if (n < offsetof(struct reply, signature))
            return ERR_INTERNAL;
        if (reply.id == id)
            return judge(&reply, n, signature, signature_len);
    }
    return ERR_BUSY;
}

enum err sign_link_take(int fd, struct sign_request *out, size_t *input_len)
{
    size_t n = 0;
    do
        TRY(receive(fd, out, sizeof *out, &n));
    while (n <= offsetof(struct sign_request, input));
    *input_len = n - offsetof(struct sign_request, input);
    return OK;
}

void sign_link_answer(int fd, uint32_t id, enum sign_verdict verdict, const uint8_t *signature,
                      size_t signature_len)
{
    const uint32_t head[] = {id, verdict};
    enum err e = send_pieces(fd, head, sizeof head, signature, signature_len);
    (void)e; /* whoever asked has gone */
}
