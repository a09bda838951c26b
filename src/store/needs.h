/*
 * needs.h: what a store takes from the system while it works, for whoever confines the process.
 */
#ifndef WW_STORE_NEEDS_H
#define WW_STORE_NEEDS_H

#include "store/store.h"

struct store_needs {
    void *arg;
    /* A file or directory that is read; with write: written as well. It need not exist. */
    void (*path)(void *arg, const char *path, bool write);
    /* A directory in which files of the store come and go. Those that are there when the store is
     * open have been told to path already: they will do while it stays open. */
    void (*directory)(void *arg, const char *path);
    /* A TCP port that is connected to. */
    void (*port)(void *arg, unsigned port);
};

/* Calls back for each. ERR_UNAVAILABLE: libpq cannot be asked. */
MUST_USE enum err store_list_needs(const struct store *store, const struct store_needs *needs);

#endif
