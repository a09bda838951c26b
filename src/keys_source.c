#include "keys_source.h"

#include "auth/key_entry.h"

#define OWN "JWT_PRIVATE_KEY_PEM"
#define PREVIOUS "JWT_PREV_PUBLIC_KEY_PEM"

static enum err read_own(const struct keys_source *source, struct key_set *set,
                         struct keys_flaw *flaw)
{
    const char *why = NULL;
    if (source->private_pem->len == 0)
        return keys_dir_read(source->dir, source->kid, set, flaw);
    enum err e =
        key_entry_private(source->private_pem, source->kid, KEY_ACTIVE, &set->keys[0], &why);
    if (e == OK)
        set->count = 1;
    else
        keys_flaw_set(flaw, OWN, "%s", why);
    return e;
}

static enum err read_previous(const struct keys_source *source, struct key_set *set,
                              struct keys_flaw *flaw)
{
    const char *why = "KEYS_DIR is full";
    if (source->previous_pem->len == 0)
        return OK;
    enum err e = set->count < KEYS_MAX ? OK : ERR_INVALID;
    if (e == OK)
        e = key_entry_public(source->previous_pem, source->previous_kid, KEY_RETIRING,
                             &set->keys[set->count], &why);
    if (e == OK) {
        set->count++;
        why = key_set_flaw(set);
        e = why == NULL ? OK : ERR_INVALID;
    }
    if (e != OK)
        keys_flaw_set(flaw, PREVIOUS, "%s", why);
    return e;
}

enum err keys_source_load(const struct keys_source *source, struct key_set *out,
                          struct keys_flaw *flaw)
{
    struct key_set set = {0};
    enum err e = read_own(source, &set, flaw);
    if (e == OK)
        e = read_previous(source, &set, flaw);
    if (e == OK)
        *out = set;
    else
        key_set_close(&set);
    return e;
}
