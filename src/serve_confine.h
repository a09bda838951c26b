/*
 * serve_confine.h: what the process that faces the network keeps for itself, from its
 * configuration. Part of main.
 */
#ifndef WW_SERVE_CONFINE_H
#define WW_SERVE_CONFINE_H

#include "config.h"
#include "confine.h"
#include "store/store.h"

/* After the listeners are bound and the database has been opened once, before there are threads.
 * ERR_UNAVAILABLE: not possible on this kernel, and required; said on standard error. */
MUST_USE enum err serve_confine_files(const struct config *config, const struct store *store,
                                      struct confine_gaps *gaps);

/* When everything runs. Logs what this kernel could not do. */
MUST_USE enum err serve_confine_calls(const struct config *config, struct confine_gaps *gaps);

#endif
