/*
 * boot.h: from a configuration to the secrets and keys that the service works with.
 *
 * In development what is missing is generated once, with mode 0600 below DATA_DIR. In production
 * nothing is: config_read has refused by then. Part of main, like the commands.
 */
#ifndef WW_BOOT_H
#define WW_BOOT_H

#include "auth/key_lifecycle.h"
#include "auth/service_keys.h"
#include "config.h"
#include "keys_source.h"

struct boot {
    struct service_keys *keys;
};

/* Opens them; problems go to the configuration's list. may_generate: make what is missing. */
void boot_open(struct config *config, bool may_generate, struct boot *out);
void boot_close(struct boot *boot);

/* Bytes of memory that this process may use: the machine's, or if that is less its
 * cgroup's, or that of one above. */
uint64_t boot_memory_limit(void);

/* Where the signing keys are; points into the configuration. taken is keys_source_take's. */
MUST_USE enum err boot_keys_source(const struct config *config, int taken, struct keys_source *out,
                                   struct keys_flaw *flaw);

/* What access tokens say of this service; points into the configuration. */
struct access_policy boot_access_policy(const struct config *config);

#endif
