#include "net/sign_link.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <unistd.h>

/* Answers to requests that were given up, at most: each cost a timeout. */
#define LATE_MAX 16

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

/* Without a peer there is no signer. Whatever else fails (time is up, memory is short), it may well
 * live. */
static enum err socket_error(void)
{
    bool gone = errno == EPIPE || errno == ECONNRESET || errno == ECONNREFUSED || errno == ENOTCONN;
    return gone ? ERR_UNAVAILABLE : ERR_BUSY;
}

static enum err send_pieces(int fd, struct iovec *pieces, size_t count)
{
    const struct msghdr message = {.msg_iov = pieces, .msg_iovlen = count};
    ssize_t n = 0;
    do
        n = sendmsg(fd, &message, MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    return n >= 0 ? OK : socket_error(); /* a message goes whole */
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

/* ---- the end that asks ---- */

static struct iovec piece_of(const void *p, size_t len)
{
    return (struct iovec){(void *)(uintptr_t)p, len};
}

static enum err send_asks(int fd, uint32_t id, const struct sign_ask *asks, unsigned n)
{
    struct sign_request head;
    struct iovec pieces[1 + SIGN_LINK_BATCH] = {
        piece_of(&head, offsetof(struct sign_request, inputs))};
    head.id = id;
    head.count = n;
    memset(head.lengths, 0, sizeof head.lengths);
    for (unsigned i = 0; i < n; i++) {
        if (asks[i].len == 0 || asks[i].len > SIGN_LINK_INPUT_MAX)
            return ERR_DENIED;
        head.lengths[i] = (uint32_t)asks[i].len;
        pieces[1 + i] = piece_of(asks[i].input, asks[i].len);
    }
    return send_pieces(fd, pieces, 1 + n);
}

static enum err judge(uint32_t verdict, size_t len)
{
    if (verdict == SIGN_REFUSED)
        return ERR_DENIED;
    return verdict == SIGN_DONE && len > 0 ? OK : ERR_INTERNAL;
}

static enum err read_reply(const struct sign_reply *reply, size_t size, struct sign_ask *asks,
                           unsigned n)
{
    const uint8_t *at = reply->signatures;
    size_t left = size - offsetof(struct sign_reply, signatures);
    if (reply->count != n)
        return ERR_INTERNAL;
    for (unsigned i = 0; i < n; i++) {
        size_t len = reply->each[i].len;
        if (len > left || len > sizeof asks[i].signature)
            return ERR_INTERNAL;
        asks[i].e = judge(reply->each[i].verdict, len);
        memcpy(asks[i].signature, at, len);
        asks[i].signature_len = len;
        at += len;
        left -= len;
    }
    return left == 0 ? OK : ERR_INTERNAL;
}

enum err sign_link_ask(struct sign_link *link, struct sign_ask *asks, unsigned n)
{
    struct sign_reply reply;
    size_t size = 0;
    uint32_t id = ++link->last_id;
    TRY(send_asks(link->fd, id, asks, n));
    for (unsigned late = 0; late <= LATE_MAX; late++) {
        TRY(receive(link->fd, &reply, sizeof reply, &size));
        if (size < offsetof(struct sign_reply, signatures))
            return ERR_INTERNAL;
        if (reply.id == id)
            return read_reply(&reply, size, asks, n);
    }
    return ERR_BUSY;
}

/* ---- the end that signs ---- */

bool sign_request_ok(const struct sign_request *request, size_t size)
{
    size_t sum = offsetof(struct sign_request, inputs);
    if (size < sum || request->count == 0 || request->count > SIGN_LINK_BATCH)
        return false;
    for (unsigned i = 0; i < request->count; i++) {
        if (request->lengths[i] == 0 || request->lengths[i] > SIGN_LINK_INPUT_MAX)
            return false;
        sum += request->lengths[i];
    }
    return sum == size;
}

enum err sign_link_take(int fd, struct sign_request *out)
{
    size_t size = 0;
    do
        TRY(receive(fd, out, sizeof *out, &size));
    while (!sign_request_ok(out, size));
    return OK;
}

void sign_link_answer(int fd, const struct sign_reply *reply)
{
    size_t size = offsetof(struct sign_reply, signatures);
    for (unsigned i = 0; i < reply->count; i++)
        size += reply->each[i].len;
    struct iovec piece = piece_of(reply, size);
    enum err e = send_pieces(fd, &piece, 1);
    (void)e; /* whoever asked has gone */
}
