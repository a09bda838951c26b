/*
 * landlock.h: which files a process may open and which TCP ports it may use (landlock(7)).
 *
 * What is not allowed by a rule is refused. A ruleset binds the thread that enforces it and what it
 * starts from then on, so it comes before the threads. It says nothing about descriptors that are
 * open already. Kernels know more or less of it; landlock_open says how much.
 */
#ifndef WW_BASE_LANDLOCK_H
#define WW_BASE_LANDLOCK_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

enum landlock_access {
    LANDLOCK_READ = 1,   /* read files, list directories */
    LANDLOCK_WRITE = 2,  /* write and truncate files that are there */
    LANDLOCK_CHANGE = 4, /* make, rename and remove files in directories */
};

struct landlock {
    int fd;
    unsigned abi; /* 4 and later: TCP as well; 6 and later: signals and abstract sockets */
};

/* A ruleset that allows nothing. signals: those to processes outside of it are refused as well,
 * also the one that the end of a parent sends (PR_SET_PDEATHSIG) to a child that was there before.
 * ERR_UNAVAILABLE: this kernel has none of it. */
MUST_USE enum err landlock_open(bool signals, struct landlock *out);
/* Fine with -1 in it. */
void landlock_close(struct landlock *l);

/* Allows it for the file, or for all below the directory. What is not there is left out. */
void landlock_allow_path(struct landlock *l, const char *path, unsigned access);
/* The same for an open file or directory. */
void landlock_allow_fd(struct landlock *l, int fd, unsigned access);
/* Allows connections to the port, at any address. */
void landlock_allow_connect(struct landlock *l, unsigned port);

/* no_new_privs must be set. ERR_UNAVAILABLE if the kernel refuses, or refused a rule. */
MUST_USE enum err landlock_enforce(struct landlock *l);

#endif
