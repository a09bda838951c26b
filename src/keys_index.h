/*
 * keys_index.h: the file keyring.json in KEYS_DIR: which keys are published, in which state, since
 * when. It holds their public halves; the private ones are in the *.pem files beside it. Part of
 * main, like the commands.
 *
 *     {"version":1,"keys":[{"kid":"...","state":"active","created_at":1800000000,...,
 *       "public_key":"-----BEGIN PUBLIC KEY-----..."}]}
 *
 * Times are Unix seconds and left out while they are 0. What is not known here is refused: a newer
 * program may have meant something by it.
 */
#ifndef WW_KEYS_INDEX_H
#define WW_KEYS_INDEX_H

#include "auth/key_set.h"
#include "base/text.h"

#define KEYS_INDEX_NAME "keyring.json"
#define KEYS_INDEX_MAX ((size_t)60 * 1024)

/* Fills a set without private halves. ERR_INVALID: *why is what is wrong, a fixed text. */
MUST_USE enum err keys_index_parse(const struct secret *text, struct key_set *out,
                                   const char **why);

/* Writes the set, but for its private halves; the caller looks at text_ok. */
void keys_index_format(const struct key_set *set, struct text *out);

#endif
