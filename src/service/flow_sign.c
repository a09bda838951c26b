/*
 * flow_sign.c: the SIGN lane. A thread has what waits signed in batches: one crossing to the signer
 * and back for all of them. A batch is no more than the thread's share, so that while there is no
 * queue nobody waits for another's signature.
 */
#include "base/clock.h"
#include "service/call.h"

/* One RSA signature, until one has been seen. */
#define SIGN_GUESS_NS NS_PER_MS

/* A thread of the lane: its number is that of its link in each struct signing. */
struct sign_thread {
    struct service *service;
    unsigned number;
};

/* One access token on its way. */
struct issue {
    struct call *call;
    struct access_claims claims;
};

static enum err sign_open(void *arg, unsigned index, void **context)
{
    struct sign_thread *thread = malloc(sizeof *thread);
    if (thread == NULL)
        return ERR_INTERNAL;
    *thread = (struct sign_thread){arg, index};
    *context = thread;
    return OK;
}

static void sign_close(void *context)
{
    free(context);
}

static void refuse(struct call *call)
{
    answer_unsigned(call, "signing failed");
    flow_end(call);
}

/* ---- one batch ---- */

static enum err prepare(const struct issue *issue, const char *kid, struct sign_ask *ask)
{
    struct call *call = issue->call;
    TRY(access_token_prepare(&call->service->config.access, kid, &issue->claims,
                             clock_unix_ms() / MS_PER_SECOND, call->access_token,
                             &call->access_token_len));
    ask->input = call->access_token;
    ask->len = call->access_token_len;
    return OK;
}

static enum err ask(const struct sign_thread *thread, struct signing *signing,
                    const struct issue *issues, struct sign_ask *asks, unsigned n)
{
    const char *kid = keyring_active_kid(signing_ring(signing));
    for (unsigned i = 0; i < n; i++)
        TRY(prepare(&issues[i], kid, &asks[i]));
    return signing_sign(signing, thread->number, asks, n);
}

/* With the present keys; if their signer turns out to be gone, perhaps the next has come up. */
static enum err ask_present(const struct sign_thread *thread, const struct issue *issues,
                            struct sign_ask *asks, unsigned n)
{
    struct service *service = thread->service;
    struct signing *signing = service_hold_signing(service);
    enum err e = ask(thread, signing, issues, asks, n);
    if (e == ERR_UNAVAILABLE) {
        signing_release(signing);
        signing = service_hold_signing(service);
        if (signing_usable(signing))
            e = ask(thread, signing, issues, asks, n);
    }
    if (e == ERR_BUSY) /* it lives, so that nobody but us can know */
        service->config.signer_stuck(service->config.signer_arg, signing_generation(signing));
    signing_release(signing);
    return e;
}

static void end(struct call *call, const struct sign_ask *answer, enum err e)
{
    if (e == OK && answer->e == ERR_INTERNAL)
        atomic_fetch_add(&call->service->faulty_signatures, 1);
    if (e == OK)
        e = answer->e;
    if (e == OK)
        e = access_token_finish(call->access_token, &call->access_token_len, answer->signature,
                                answer->signature_len);
    if (e != OK)
        refuse(call);
    else
        flow_go_on(call, flow_step(call)->sign_end(call));
}

static enum err begin(struct call *call, struct access_claims *claims)
{
    call->access_token = malloc(ACCESS_TOKEN_MAX);
    if (call->access_token == NULL)
        return ERR_INTERNAL;
    return flow_step(call)->sign_begin(call, claims);
}

static void sign_run(void *arg, void *context, struct lane_job **jobs, unsigned n)
{
    (void)arg;
    struct issue issues[SIGN_LINK_BATCH];
    struct sign_ask asks[SIGN_LINK_BATCH];
    unsigned begun = 0;
    for (unsigned i = 0; i < n; i++) {
        struct issue *issue = &issues[begun];
        issue->call = flow_call(jobs[i]);
        if (begin(issue->call, &issue->claims) == OK)
            begun++;
        else
            refuse(issue->call);
    }
    enum err e = begun > 0 ? ask_present(context, issues, asks, begun) : OK;
    for (unsigned i = 0; i < begun; i++)
        end(issues[i].call, &asks[i], e);
}

enum err flow_sign_open(struct service *service)
{
    struct lane_config config = {
        .name = "sign",
        .first_guess_ns = SIGN_GUESS_NS,
        .threads = service->config.sign_threads,
        .batch = SIGN_LINK_BATCH,
        .capacity = LANE_CAPACITY,
        .flows = 1,
        .arg = service,
        .thread_open = sign_open,
        .thread_close = sign_close,
        .run = sign_run,
        .drop = flow_drop,
        .gone = flow_gone,
    };
    return lane_open(&config, &service->lanes[LANE_SIGN]);
}
