#include "auth/key_set.h"

#include <string.h>

static const char *const STATE_NAMES[KEY_STATES] = {
    [KEY_NEXT] = "next",
    [KEY_ACTIVE] = "active",
    [KEY_RETIRING] = "retiring",
    [KEY_REVOKED] = "revoked",
};

const char *key_state_name(enum key_state state)
{
    return STATE_NAMES[state];
}

enum err key_state_from_name(const char *name, enum key_state *out)
{
    for (unsigned i = 0; i < KEY_STATES; i++) {
        if (strcmp(STATE_NAMES[i], name) == 0) { /* lint: public */
            *out = (enum key_state)i;
            return OK;
        }
    }
    return ERR_NOT_FOUND;
}

struct key_entry *key_set_find(struct key_set *set, const char *kid)
{
    for (unsigned i = 0; i < set->count; i++)
        if (strcmp(set->keys[i].kid, kid) == 0) /* lint: public */
            return &set->keys[i];
    return NULL;
}

const struct key_entry *key_set_active(const struct key_set *set)
{
    for (unsigned i = 0; i < set->count; i++)
        if (set->keys[i].state == KEY_ACTIVE)
            return &set->keys[i];
    return NULL;
}

void key_set_remove(struct key_set *set, struct key_entry *entry)
{
    unsigned at = (unsigned)(entry - set->keys);
    key_entry_close(entry);
    set->count--;
    memmove(entry, entry + 1, (set->count - at) * sizeof *entry);
    set->keys[set->count] = (struct key_entry){0};
}

static bool known_before(const struct key_set *set, unsigned at)
{
    for (unsigned i = 0; i < at; i++)
        if (strcmp(set->keys[i].kid, set->keys[at].kid) == 0) /* lint: public */
            return true;
    return false;
}

static const char *flaw_of(const struct key_set *set, bool with_private)
{
    unsigned active = 0;
    for (unsigned i = 0; i < set->count; i++) {
        const struct key_entry *key = &set->keys[i];
        bool signs = key->state == KEY_ACTIVE || key->state == KEY_NEXT;
        active += key->state == KEY_ACTIVE;
        if (known_before(set, i))
            return "two keys have the same kid";
        if (key->state != KEY_REVOKED && key->public_pem.len == 0)
            return "a published key has no public half";
        if (with_private && signs && key->private_pem.len == 0)
            return "a key that signs has no private half";
    }
    if (active != 1)
        return active == 0 ? "no key is active" : "more than one key is active";
    return NULL;
}

const char *key_set_flaw(const struct key_set *set)
{
    return flaw_of(set, true);
}

const char *key_set_public_flaw(const struct key_set *set)
{
    return flaw_of(set, false);
}

void key_entry_close(struct key_entry *entry)
{
    secret_close(&entry->private_pem);
    secret_close(&entry->public_pem);
    *entry = (struct key_entry){0};
}

void key_set_close(struct key_set *set)
{
    for (unsigned i = 0; i < set->count; i++)
        key_entry_close(&set->keys[i]);
    set->count = 0;
}
