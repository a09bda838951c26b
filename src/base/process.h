/*
 * process.h: what the kernel says of this process. Read afresh with each call; any thread may call,
 * but not two at once. The files are opened by the first call and stay so: later ones need no
 * access to /proc.
 */
#ifndef WW_BASE_PROCESS_H
#define WW_BASE_PROCESS_H

#include <stdint.h>

#include "base/err.h"

struct process_usage {
    uint64_t cpu_ns;
    uint64_t resident_bytes;
    uint64_t threads;
    uint64_t open_fds;
    uint64_t max_fds;
    int64_t started_unix_ms;
};

/* ERR_UNAVAILABLE without /proc. */
MUST_USE enum err process_read(struct process_usage *out);

#endif
