#include "serve_keys.h"

#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "boot.h"

/* ---- in the keeper's process ---- */

struct known {
    int taken;
    struct config *config;
};

/* Other settings that are wrong are found by the other process as well. */
static enum err configure(void *arg, struct keeper_config *out, struct keys_flaw *flaw)
{
    const struct known *known = arg;
    struct config *config = known->config;
    config_read_signing(config);
    config_wipe_secrets();
    TRY(boot_keys_source(config, known->taken, &out->source, flaw));
    out->access = boot_access_policy(config);
    out->rotate_s = (int64_t)config->keys_rotate_days * 86400;
    out->confine = config->confine;
    out->production = config->production;
    return OK;
}

/* ---- in this process ---- */

enum err serve_keys_start(struct serve_keys *keys)
{
    static struct config config; /* the keeper's, for its life; never used here */
    struct known known = {keys_source_take(), &config};
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    keys->links = cores < 1 ? 1 : cores > KEEPER_LINKS_MAX ? KEEPER_LINKS_MAX : (unsigned)cores;
    enum err e = keeper_start(keys->links, configure, &known, &keys->keeper);
    if (known.taken >= 0)
        close(known.taken);
    if (e != OK)
        fputs("watchword: cannot start the process that keeps the keys\n", stderr);
    return e;
}

void serve_keys_stop(struct serve_keys *keys)
{
    keeper_stop(keys->keeper);
    keys->keeper = NULL;
}

static enum err take_signing(struct keeper_news *news, struct signing **out)
{
    struct keyring *ring = NULL;
    enum err e = keyring_open(&news->keys, &ring);
    key_set_close(&news->keys);
    if (e == OK)
        return signing_open(ring, news->links, news->link_count, news->generation, out);
    for (unsigned i = 0; i < news->link_count; i++)
        close(news->links[i]);
    return e;
}

struct signing *serve_keys_wait(struct serve_keys *keys, struct config *config)
{
    struct keeper_news news;
    struct signing *signing = NULL;
    for (;;) {
        if (keeper_read(keys->keeper, &news) != OK) {
            config_problem(config, "KEYS_DIR", "the process that keeps the keys has ended");
            return NULL;
        }
        if (news.event == KEEPER_UP)
            break;
        if (news.event == KEEPER_NO_KEY && !config->production) {
            if (config->problem_count > 0) /* it would be made */
                return NULL;
            keeper_ask(keys->keeper, KEEPER_GENERATE, 0);
        } else if (news.event != KEEPER_DOWN) {
            config_problem(config, news.flaw.setting, "%s", news.flaw.text);
            return NULL;
        }
    }
    if (take_signing(&news, &signing) != OK)
        config_problem(config, "KEYS_DIR", "the published keys cannot be used");
    return signing;
}

static void came_up(struct keeper_news *news, struct service *service)
{
    struct signing *signing = NULL;
    if (take_signing(news, &signing) != OK) {
        log_note(LOG_ERROR, "signer.unusable", "the published keys cannot be used", NULL);
        return;
    }
    struct log_line line;
    log_begin(&line, LOG_INFO, "signer.started", "a signer has taken over");
    log_str(&line, "kid", keyring_active_kid(signing_ring(signing)));
    log_i64(&line, "published", keyring_count(signing_ring(signing)));
    log_end(&line);
    service_set_signing(service, signing);
}

enum err serve_keys_news(struct serve_keys *keys, struct service *service)
{
    struct keeper_news news;
    enum err e = keeper_read(keys->keeper, &news);
    if (e != OK) {
        log_note(LOG_ERROR, "signer.lost", "the process that keeps the keys has ended", NULL);
        return e;
    }
    if (news.event == KEEPER_UP) {
        came_up(&news, service);
    } else if (news.event == KEEPER_DOWN) {
        service_signer_lost(service, news.generation);
        log_note(LOG_ERROR, "signer.died", "the signer died; another is being started", NULL);
    } else {
        char detail[sizeof news.flaw.text + 32];
        snprintf(detail, sizeof detail, "%s %s", news.flaw.setting, news.flaw.text);
        log_note(LOG_ERROR, "signer.keys_refused", "changed keys are flawed; the old ones stay",
                 detail);
    }
    return OK;
}

void serve_keys_reload(struct serve_keys *keys)
{
    keeper_ask(keys->keeper, KEEPER_RELOAD, 0);
}

void serve_keys_stuck(void *arg, unsigned generation)
{
    struct serve_keys *keys = arg;
    log_note(LOG_ERROR, "signer.stuck", "the signer does not answer; it is being replaced", NULL);
    keeper_ask(keys->keeper, KEEPER_REPLACE, generation);
}
