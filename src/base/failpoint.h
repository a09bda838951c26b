/*
 * failpoint.h: places where a test build can die, or stay for a moment.
 *
 * Built with -Dfailpoints=true, the process kills itself (SIGKILL, as a crash or a pulled plug
 * would) when it reaches the point named by WATCHWORD_FAIL_AT, stays half a second at the one named
 * by WATCHWORD_PAUSE_AT, does without a defence that WATCHWORD_WITHOUT names, and drills on a clock
 * that WATCHWORD_SPEED speeds up. In every other build all this is nothing.
 */
#ifndef WW_BASE_FAILPOINT_H
#define WW_BASE_FAILPOINT_H

#ifdef WW_FAILPOINTS
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#define FAILPOINT(name)                                                                            \
    do {                                                                                           \
        const char *ww_at = getenv("WATCHWORD_FAIL_AT");                                           \
        if (ww_at != NULL && strcmp(ww_at, (name)) == 0)                                           \
            raise(SIGKILL);                                                                        \
    } while (0)
#define PAUSE(name)                                                                                \
    do {                                                                                           \
        const char *ww_at = getenv("WATCHWORD_PAUSE_AT");                                          \
        if (ww_at != NULL && strcmp(ww_at, (name)) == 0)                                           \
            usleep(500000);                                                                        \
    } while (0)
#define WITHOUT(defence)                                                                           \
    (getenv("WATCHWORD_WITHOUT") != NULL && strcmp(getenv("WATCHWORD_WITHOUT"), (defence)) == 0)
/* How many times faster than the wall's the clock of a drill runs. */
#define SPEED() (getenv("WATCHWORD_SPEED") != NULL ? 300 : 1)
#else
#define FAILPOINT(name) ((void)0)
#define PAUSE(name) ((void)0)
#define WITHOUT(defence) 0
#define SPEED() 1
#endif

#endif
