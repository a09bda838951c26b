/*
 * sign_link.h: the two ends of the way to the process that signs.
 *
 * One pair of sockets (SOCK_SEQPACKET: a message arrives whole or not at all) for each thread that
 * has something signed, so nobody waits for anybody and no answer can reach the wrong asker. An end
 * belongs to one thread at a time.
 */
#ifndef WW_NET_SIGN_LINK_H
#define WW_NET_SIGN_LINK_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

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

/* Has the bytes signed. ERR_UNAVAILABLE: nobody is at the other end. ERR_BUSY: no answer in time;
 * one that comes late is dropped. ERR_DENIED: it does not sign this. ERR_INTERNAL: it could not, or
 * what it made was no good. */
MUST_USE enum err sign_link_ask(struct sign_link *link, const void *input, size_t len,
                                uint8_t signature[SIGN_LINK_SIGNATURE_MAX], size_t *signature_len);

/* ---- the end that signs ---- */

enum sign_verdict { SIGN_DONE, SIGN_REFUSED, SIGN_FAILED };

struct sign_request {
    uint32_t id;
    char input[SIGN_LINK_INPUT_MAX];
};

/* Waits for the next request. ERR_UNAVAILABLE: nobody will ask any more. */
MUST_USE enum err sign_link_take(int fd, struct sign_request *out, size_t *input_len);
/* A failure shows at the next take. */
void sign_link_answer(int fd, uint32_t id, enum sign_verdict verdict, const uint8_t *signature,
                      size_t signature_len);

#endif
