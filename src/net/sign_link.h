/*
 * sign_link.h: the two ends of the way to the process that signs.
 *
 * One pair of sockets (SOCK_SEQPACKET: a message arrives whole or not at all) for each thread that
 * has something signed, so nobody waits for anybody and no answer can reach the wrong asker.
 * Several inputs may share a message: each crossing costs two switches between processes, some
 * per cent of a signature. An end belongs to one thread at a time.
 */
#ifndef WW_NET_SIGN_LINK_H
#define WW_NET_SIGN_LINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define SIGN_LINK_BATCH 8 /* inputs in a message */
#define SIGN_LINK_INPUT_MAX 8192
#define SIGN_LINK_SIGNATURE_MAX 1024
#define SIGN_LINK_TIMEOUT_MS 2000 /* a signature takes a millisecond, of the largest key fifty */

/* ---- the end that asks ---- */

struct sign_link {
    int fd; /* -1: none */
    uint32_t last_id;
};

/* Takes the socket, also on failure. */
MUST_USE enum err sign_link_open(int fd, struct sign_link *out);
void sign_link_close(struct sign_link *link);

struct sign_ask {
    const void *input;
    size_t len;
    /* The answer. ERR_DENIED: the other end does not sign this. ERR_INTERNAL: it could not, or what
     * it made was no good. */
    enum err e;
    uint8_t signature[SIGN_LINK_SIGNATURE_MAX];
    size_t signature_len;
};

/* Has the inputs signed, 1 to SIGN_LINK_BATCH of them; what became of each is in asks[i].e.
 * ERR_UNAVAILABLE: nobody is at the other end. ERR_BUSY: no answer in time; one that comes late is
 * dropped. ERR_DENIED: one of them is empty or too long, none was sent. ERR_INTERNAL: the answer is
 * none. */
MUST_USE enum err sign_link_ask(struct sign_link *link, struct sign_ask *asks, unsigned n);

/* ---- the end that signs ---- */

struct sign_request {
    uint32_t id;
    uint32_t count;
    uint32_t lengths[SIGN_LINK_BATCH];
    char inputs[SIGN_LINK_BATCH * SIGN_LINK_INPUT_MAX]; /* one after the other */
};

enum sign_verdict { SIGN_DONE, SIGN_REFUSED, SIGN_FAILED, SIGN_VERDICTS };

struct sign_reply {
    uint32_t id;
    uint32_t count;
    struct {
        uint32_t verdict, len;
    } each[SIGN_LINK_BATCH];
    uint8_t signatures[SIGN_LINK_BATCH * SIGN_LINK_SIGNATURE_MAX]; /* one after the other */
};

/* Whether the first size bytes are 1 to SIGN_LINK_BATCH inputs and nothing else. */
MUST_USE bool sign_request_ok(const struct sign_request *request, size_t size);

/* Waits for the next request that is one. ERR_UNAVAILABLE: nobody will ask any more. */
MUST_USE enum err sign_link_take(int fd, struct sign_request *out);
/* A failure shows at the next take. */
void sign_link_answer(int fd, const struct sign_reply *reply);

#endif
