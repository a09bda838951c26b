/*
 * keeper.h: the processes beside the one that faces the network, seen from it.
 *
 *     serve (network) <--- control: news, requests ---> keeper --- starts, watches ---> signer
 *            \_______________ links: sign this _________________________________________/
 *
 * The keeper is forked before anything is read or opened. It holds no key: it starts a signer,
 * again whenever the keys have changed or the signer has died, hands the network process the
 * published keys and the links to it, and says what goes wrong. It ends with the control socket.
 * Part of main; for one thread, but keeper_ask, which any may call.
 */
#ifndef WW_KEEPER_H
#define WW_KEEPER_H

#include "auth/access_token.h"
#include "auth/key_lifecycle.h"
#include "confine.h"
#include "keys_source.h"

#define KEEPER_LINKS_MAX 64

/* What the keeper has to know; read by itself, in its own process. */
struct keeper_config {
    struct keys_source source;
    struct access_policy access;
    int64_t rotate_s; /* the directory's active key is replaced when it is so old; 0: never */
    enum confine_mode confine;
    bool production; /* keys are never generated */
    unsigned links;  /* 1 to KEEPER_LINKS_MAX: a pair of sockets and a signing thread each */
};

struct keeper;

/* Runs in the new process and fills the rest of the configuration; what it points to lives as long
 * as that. A flaw that it finds is the first news. */
typedef enum err keeper_configure(void *arg, struct keeper_config *out, struct keys_flaw *flaw);

/* Forks. ERR_INTERNAL: no process to be had. */
MUST_USE enum err keeper_start(unsigned links, keeper_configure *configure, void *arg,
                               struct keeper **out);
/* Ends keeper and signer and waits for them. NULL is fine. */
void keeper_stop(struct keeper *keeper);

enum keeper_event {
    KEEPER_UP,      /* a signer works: keys, links, generation */
    KEEPER_DOWN,    /* the signer of that generation died; another is on its way */
    KEEPER_REFUSED, /* the keys are flawed: setting and text; what works goes on working */
    KEEPER_NO_KEY,  /* the same, because there is none */
    KEEPER_EVENTS,
};

struct keeper_news {
    enum keeper_event event;
    unsigned generation;
    struct keys_flaw flaw;
    struct key_set keys; /* public halves; the receiver's, as are the sockets */
    int links[KEEPER_LINKS_MAX];
    unsigned link_count;
};

/* Readable when there is news. */
int keeper_fd(const struct keeper *keeper);
/* Waits for the next. ERR_UNAVAILABLE: the keeper has ended. */
MUST_USE enum err keeper_read(struct keeper *keeper, struct keeper_news *out);

enum keeper_request {
    KEEPER_RELOAD,   /* look at the keys now */
    KEEPER_GENERATE, /* make a first key; development only */
    KEEPER_REPLACE,  /* the signer of that generation does not answer */
};
void keeper_ask(struct keeper *keeper, enum keeper_request request, unsigned generation);

/* ---- between keeper.c, keeper_process.c and signer_process.c ---- */

#include "auth/key_wire.h"

/* From the signer to the keeper, and passed on with the links to the network process. */
struct keeper_message {
    uint32_t event;
    uint32_t generation;
    struct {
        char setting[32];
        char text[256];
    } flaw;
    struct key_wire keys; /* up to what is used */
};

struct keeper_order {
    uint32_t request;
    uint32_t generation;
};

_Noreturn void keeper_run(int control, const struct keeper_config *config);

/* status: where it says how it goes; links: its ends. */
_Noreturn void signer_run(const struct keeper_config *config, int status, const int *links,
                          bool may_generate);

/* A message without keys, ready to be sent. */
void keeper_message_flaw(struct keeper_message *m, enum keeper_event event,
                         const struct keys_flaw *flaw);
#define KEEPER_MESSAGE_BARE offsetof(struct keeper_message, keys)

#endif
