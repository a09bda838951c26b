/*
 * signer_process.c: the process that holds the private key.
 *
 * It reads the keys, shows the keeper their public halves, gives up all it does not need, and then
 * does one thing: sign what sign_input_check lets through, a thread for each link. It ends when
 * nobody is left who could ask.
 */
#include <openssl/crypto.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "auth/sign_input.h"
#include "auth/signer.h"
#include "base/clock.h"
#include "keeper.h"
#include "net/sign_link.h"

_Static_assert(SIGNATURE_MAX == SIGN_LINK_SIGNATURE_MAX, "the largest signature fits a message");

/* OpenSSL keeps the numbers of private keys in here: locked, and left out of core dumps. */
#define SECURE_HEAP ((size_t)256 * 1024)
#define SECURE_BLOCK 32
#define STACK_SIZE ((size_t)256 * 1024)

struct worker {
    int link;
    struct signer *signer;
    struct sign_input_rules rules;
    pthread_barrier_t *meet;
    pthread_t thread;
    struct sign_request request;
    struct sign_reply reply;
};

static enum sign_verdict sign(struct worker *w, const char *input, size_t input_len, uint8_t *out,
                              size_t *len)
{
    *len = 0;
    if (sign_input_check(&w->rules, input, input_len, clock_unix_ms() / MS_PER_SECOND) != OK)
        return SIGN_REFUSED;
    return signer_sign(w->signer, input, input_len, out, len) == OK ? SIGN_DONE : SIGN_FAILED;
}

static void answer(struct worker *w)
{
    const char *input = w->request.inputs;
    uint8_t *signature = w->reply.signatures;
    w->reply.id = w->request.id;
    w->reply.count = w->request.count;
    for (unsigned i = 0; i < w->request.count; i++) {
        size_t len = 0;
        w->reply.each[i].verdict = sign(w, input, w->request.lengths[i], signature, &len);
        w->reply.each[i].len = (uint32_t)len;
        input += w->request.lengths[i];
        signature += len;
    }
    sign_link_answer(w->link, &w->reply);
}

static void *work(void *arg)
{
    struct worker *w = arg;
    pthread_barrier_wait(w->meet); /* the thread is there: it makes no call for itself any more */
    pthread_barrier_wait(w->meet); /* all are confined: nothing is signed before that */
    while (sign_link_take(w->link, &w->request) == OK)
        answer(w);
    return NULL;
}

/* ---- starting ---- */

/* With the call that answers go out with: the only one it may still make then. */
static void send_status(int status, void *m, size_t size)
{
    struct iovec piece = {m, size};
    const struct msghdr message = {.msg_iov = &piece, .msg_iovlen = 1};
    if (sendmsg(status, &message, MSG_NOSIGNAL) != (ssize_t)size)
        _exit(1);
}

static _Noreturn void refuse(int status, enum err e, const struct keys_flaw *flaw)
{
    struct keeper_message m;
    keeper_message_flaw(&m, e == ERR_NOT_FOUND ? KEEPER_NO_KEY : KEEPER_REFUSED, flaw);
    send_status(status, &m, KEEPER_MESSAGE_BARE);
    _exit(1);
}

static enum err load(const struct keeper_config *config, bool may_generate, struct key_set *set,
                     struct keys_flaw *flaw)
{
    enum err e = keys_source_load(&config->source, set, flaw);
    if (e != ERR_NOT_FOUND || !may_generate || config->production)
        return e;
    TRY(keys_dir_generate(config->source.dir, flaw));
    return keys_source_load(&config->source, set, flaw);
}

/* A stack of modest size: all memory of this process is to be locked. */
static enum err start_threads(struct worker *workers, unsigned count)
{
    pthread_attr_t attr;
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, STACK_SIZE);
    enum err e = OK;
    for (unsigned i = 0; i < count && e == OK; i++)
        e = pthread_create(&workers[i].thread, &attr, work, &workers[i]) == 0 ? OK : ERR_INTERNAL;
    pthread_attr_destroy(&attr);
    return e;
}

static enum err open_workers(const struct keeper_config *config, const struct key_entry *active,
                             const int *links, pthread_barrier_t *meet, struct worker **out)
{
    struct worker *workers = calloc(config->links, sizeof *workers);
    if (workers == NULL)
        return ERR_INTERNAL;
    for (unsigned i = 0; i < config->links; i++) {
        struct worker *w = &workers[i];
        w->link = links[i];
        w->meet = meet;
        TRY(signer_open(active, &w->signer));
        w->rules = (struct sign_input_rules){signer_kid(w->signer), &config->access};
    }
    *out = workers;
    return OK;
}

/* Everything but its own ends; standard error too, for it has nothing to say there. */
static void close_others(int status, const int *links, unsigned count)
{
    int highest = status;
    for (unsigned i = 0; i < count; i++)
        highest = links[i] > highest ? links[i] : highest;
    for (int fd = 0; fd <= highest; fd++) {
        bool own = fd == status;
        for (unsigned i = 0; i < count; i++)
            own = own || fd == links[i];
        if (!own)
            close(fd);
    }
    close_range((unsigned)highest + 1, ~0U, 0);
}

static enum err confine_all(const struct keeper_config *config, struct worker *workers,
                            pthread_barrier_t *meet)
{
    TRY(confine_signer_files(config->confine));
    TRY(start_threads(workers, config->links));
    pthread_barrier_wait(meet);
    /* Where the limit does not allow it, the keys themselves are locked all the same. */
    (void)mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT);
    return confine_signer_calls(config->confine);
}

_Noreturn void signer_run(const struct keeper_config *config, int status, const int *links,
                          bool may_generate)
{
    struct key_set set = {0};
    struct keys_flaw flaw = {"KEYS_DIR", "the keys cannot be used"};
    struct keeper_message m = {.event = KEEPER_UP};
    struct worker *workers = NULL;
    pthread_barrier_t meet;
    size_t size = 0;
    prctl(PR_SET_NAME, "ww-signer", 0, 0, 0);
    /* No file may change what this process computes. */
    (void)OPENSSL_init_crypto(OPENSSL_INIT_NO_LOAD_CONFIG, NULL);
    (void)CRYPTO_secure_malloc_init(SECURE_HEAP, SECURE_BLOCK);
    pthread_barrier_init(&meet, NULL, config->links + 1);
    enum err e = load(config, may_generate, &set, &flaw);
    if (e == OK)
        e = open_workers(config, key_set_active(&set), links, &meet, &workers);
    if (e == OK)
        e = key_wire_pack(&set, &m.keys, &size);
    key_set_close(&set);
    if (e != OK)
        refuse(status, e, &flaw);
    close_others(status, links, config->links);
    e = confine_all(config, workers, &meet);
    if (e != OK) {
        keys_flaw_set(&flaw, "SANDBOX", "is require, and this kernel cannot confine the signer");
        refuse(status, e, &flaw);
    }
    send_status(status, &m, KEEPER_MESSAGE_BARE + size);
    pthread_barrier_wait(&meet);
    for (unsigned i = 0; i < config->links; i++)
        pthread_join(workers[i].thread, NULL);
    _exit(0);
}
