/*
 * config_values.h: one value of the environment at a time, checked as its kind of value is.
 *
 * An empty value counts as unset, as compose files write it. What is wrong goes to the list of
 * problems, and the fallback is taken. For config.c alone, before there are threads.
 */
#ifndef WW_CONFIG_VALUES_H
#define WW_CONFIG_VALUES_H

#include "config.h"

/* NULL if unset. */
const char *config_value(const char *name);
const char *config_string(const char *name, const char *fallback);

/* A whole number from min to max. */
uint64_t config_number(struct config *c, const char *name, uint64_t fallback, uint64_t min,
                       uint64_t max);
unsigned config_small(struct config *c, const char *name, unsigned fallback, unsigned min,
                      unsigned max);
/* "true" or "false". */
bool config_boolean(struct config *c, const char *name, bool fallback);
/* The position of the value in a NULL-terminated list. */
unsigned config_choice(struct config *c, const char *name, const char *const *list,
                       unsigned fallback);
/* Writes up to CONFIG_PATH_MAX bytes. */
void config_path(struct config *c, const char *name, const char *fallback, char *out);

/* From NAME, which is wiped in the environment, or the file that NAME_FILE names; out stays empty
 * if neither is set. */
void config_secret(struct config *c, const char *name, const char *file_name, struct secret *out);

#endif
