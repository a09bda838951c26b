/*
 * boot.h: from a configuration to the secrets and keys that the service works with.
 *
 * In development what is missing is generated once, with mode 0600 below DATA_DIR. In production
 * nothing is: config_read has refused by then. Part of main, like the commands.
 */
#ifndef WW_BOOT_H
#define WW_BOOT_H

#include "auth/keyring.h"
#include "auth/service_keys.h"
#include "config.h"

struct boot {
    struct service_keys *keys;
    struct key_set key_set; /* count 0: none, and none may be generated */
    struct keyring *ring;
};

/* Opens both; problems go to the configuration's list. may_generate: make what is missing. */
void boot_open(struct config *config, bool may_generate, struct boot *out);
void boot_close(struct boot *boot);

/* Bytes of memory that this process may use: the machine's, or the cgroup's if that is less. */
uint64_t boot_memory_limit(void);

#endif
