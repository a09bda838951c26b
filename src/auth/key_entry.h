/*
 * key_entry.h: one key of a set, made from its PEM text.
 */
#ifndef WW_AUTH_KEY_ENTRY_H
#define WW_AUTH_KEY_ENTRY_H

#include "auth/key_set.h"

/* Reads a private key into a zeroed entry: kid (its RFC 7638 thumbprint if kid is ""), state, both
 * PEM texts. ERR_INVALID for what is not a sound RSA key of 2048 to 8192 bits whose halves match:
 * *why then says what is wrong, as a fixed text. Includes a signature that is verified. */
MUST_USE enum err key_entry_private(const struct secret *pem, const char *kid, enum key_state state,
                                    struct key_entry *out, const char **why);

/* The same for a public key. */
MUST_USE enum err key_entry_public(const struct secret *pem, const char *kid, enum key_state state,
                                   struct key_entry *out, const char **why);

#endif
