/*
 * confine.h: what each process of a service may still do once it has started.
 *
 * serve is three processes (docs/key-custody.md). Each takes from itself what it does not need:
 * files and TCP ports by Landlock, system calls by seccomp, core dumps and being traced at once.
 * The lists are here and nowhere else. Part of main.
 */
#ifndef WW_CONFINE_H
#define WW_CONFINE_H

#include <stdbool.h>

#include "base/landlock.h"

enum confine_mode {
    CONFINE_AUTO,    /* as far as this kernel goes */
    CONFINE_REQUIRE, /* or not at all */
    CONFINE_OFF,
};

/* What is missing on this kernel; all false: nothing. */
struct confine_gaps {
    bool files, ports, calls;
};

/* No core dumps, no tracing, no new privileges: for every process, first thing, whatever the mode.
 */
void confine_basics(void);

/* A build with sanitizers: these read /proc and the program, and trace their own process at the
 * end. All files can be read then, and of the calls only those are refused that kill. */
MUST_USE bool confine_is_loose(void);

/* ---- the process that faces the network ---- */

/* Begins its ruleset: what the C library needs to resolve names. The caller adds the rest (files of
 * the store and so on) and ends with confine_network_files, before there are threads. */
void confine_network_begin(struct landlock *out);
/* ERR_UNAVAILABLE: not possible, and required. */
MUST_USE enum err confine_network_files(enum confine_mode mode, struct landlock *l,
                                        struct confine_gaps *gaps);
/* Once all listeners listen; holds for all threads. */
MUST_USE enum err confine_network_calls(enum confine_mode mode, struct confine_gaps *gaps);

/* ---- the process that starts the signer: files below keys_dir (may be NULL) ---- */
MUST_USE enum err confine_keeper(enum confine_mode mode, const char *keys_dir);

/* ---- the process that signs: no file, no port, and a handful of calls ---- */

/* Before its threads. */
MUST_USE enum err confine_signer_files(enum confine_mode mode);
/* After them; what it does not allow kills the process. */
MUST_USE enum err confine_signer_calls(enum confine_mode mode);

#endif
