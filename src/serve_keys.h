/*
 * serve_keys.h: serve's side of the keeper: starting it first, waiting for the keys, and passing on
 * what it says while the service runs. Part of main.
 */
#ifndef WW_SERVE_KEYS_H
#define WW_SERVE_KEYS_H

#include "config.h"
#include "keeper.h"
#include "service/signing.h"

struct serve_keys {
    struct keeper *keeper;
    unsigned links;
};

/* Before anything else: what is read or opened later is not in the processes that start here. */
MUST_USE enum err serve_keys_start(struct serve_keys *keys);
void serve_keys_stop(struct serve_keys *keys);

/* Waits for the first signer. NULL: flaws are among the configuration's problems. A missing key is
 * made if nothing else is wrong. */
struct signing *serve_keys_wait(struct serve_keys *keys, struct config *config);

/* One piece of news. ERR_UNAVAILABLE: the keeper has ended, and with it the signer. */
MUST_USE enum err serve_keys_news(struct serve_keys *keys, struct service *service);

/* The keys may have changed. */
void serve_keys_reload(struct serve_keys *keys);
/* For struct service_config: arg is the struct serve_keys. */
void serve_keys_stuck(void *arg, unsigned generation);

#endif
