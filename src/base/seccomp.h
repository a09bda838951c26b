/*
 * seccomp.h: which system calls a process may make (seccomp(2)), as a table.
 *
 * The filter is written out here in the kernel's own language instead of by libseccomp: it is a
 * list that is walked once, and the process that faces the network is not to carry a compiler.
 */
#ifndef WW_BASE_SECCOMP_H
#define WW_BASE_SECCOMP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum seccomp_verdict {
    SECCOMP_ALLOW,
    SECCOMP_REFUSE, /* EPERM */
    SECCOMP_ABSENT, /* ENOSYS: as on an older kernel, so that libc takes another way */
    SECCOMP_KILL,   /* the process, by SIGSYS */
};

/* Rules are tried in order; the first whose call and condition fit decides. */
struct seccomp_rule {
    uint32_t call; /* SYS_... */
    enum seccomp_verdict verdict;
    /* mask 0: always. Otherwise: the low half of that argument, masked, equals value, or with
     * differs: does not. */
    uint32_t argument, mask, value;
    bool differs;
};

#define SECCOMP_RULES_MAX 256

/* Calls that no rule fits get the verdict otherwise. Of all threads, if asked, else of this one and
 * those it will start. no_new_privs must be set. ERR_UNAVAILABLE: this kernel has none of it. */
MUST_USE enum err seccomp_install(const struct seccomp_rule *rules, size_t count,
                                  enum seccomp_verdict otherwise, bool all_threads);

#endif
