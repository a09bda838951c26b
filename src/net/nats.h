/*
 * nats.h: publishing to a JetStream stream, and nothing else of NATS.
 *
 * One struct nats belongs to one thread, which may block here for as long as NATS_TIMEOUT_MS at a
 * time. There is no reconnecting behind the caller's back and nothing is kept for later: after a
 * failure the connection is gone, and every message that was not acknowledged is the caller's to
 * send again. Credentials travel in the URL; no message of this module repeats it.
 */
#ifndef WW_NET_NATS_H
#define WW_NET_NATS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define NATS_TIMEOUT_MS 2000
#define NATS_SERVERS_MAX 8
#define NATS_URL_MAX 512 /* of one server */

struct nats;

/* A stream as it must be. What else an existing one has (replicas, storage, limits) is left. */
struct nats_stream {
    const char *name;
    const char *subjects; /* one, with wildcards */
    int64_t max_age_ms;
    int64_t duplicates_ms; /* how long an id that comes again is recognised */
};

struct nats_message {
    const char *subject;
    const char *id; /* Nats-Msg-Id: the stream keeps the first with it */
    const char *data;
    size_t len;
    bool stored; /* set by nats_publish: the stream has it, now or since earlier */
};

/* NULL if url is a list, comma-separated, of nats://[USER[:PASSWORD]@]HOST[:PORT] or the same with
 * tls://; else what is wrong with it. */
const char *nats_url_flaw(const char *url);

/* Tells each port of a well-formed list, for whoever confines the process. True if one of its
 * servers is reached by TLS. */
MUST_USE bool nats_list_ports(const char *url, void (*note)(void *arg, unsigned port), void *arg);

/* Loads the client library, once for the process; any thread. ERR_UNAVAILABLE if it is not there;
 * *why is then a text that lasts. */
MUST_USE enum err nats_load(const char **why);

/* The library is loaded here. ERR_UNAVAILABLE without it, *why says why (NULL otherwise). The
 * strings of the stream outlive the object; the URL is copied. */
MUST_USE enum err nats_open(const char *url, const struct nats_stream *stream, struct nats **out,
                            const char **why);
void nats_close(struct nats *nats);

/* Tries one server of the list, the next one next time, and sees to the stream. tls: the
 * certificate must be for the URL's host, by the system's authorities (or SSL_CERT_FILE's).
 * ERR_UNAVAILABLE. */
MUST_USE enum err nats_connect(struct nats *nats);
MUST_USE bool nats_is_connected(const struct nats *nats);

/* Sends n messages in this order and waits for what becomes of each. None is stored before the one
 * before it: what follows a message that was lost is refused. ERR_UNAVAILABLE if some are not
 * stored; the connection is then gone unless some are.
 *
 * While there is doubt about what the stream has (after a connection, after a failure, see
 * nats_doubt) each message waits for the one before it: one that comes again is acknowledged
 * without a look at what it follows, so that a new one among them could be overtaken. So it is for
 * good on a stream with replicas, where a message that is refused for what it follows may keep its
 * id. */
MUST_USE enum err nats_publish(struct nats *nats, struct nats_message *messages, size_t n);

/* Messages that are published next may be in the stream already. */
void nats_doubt(struct nats *nats);

/* Why the last call failed, for the log; and the stream's own trouble, "" if it is as it must be.
 */
const char *nats_last_error(const struct nats *nats);
const char *nats_stream_trouble(const struct nats *nats);

#endif
