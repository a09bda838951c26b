#include "auth/key_lifecycle.h"

static enum err refuse(struct key_refusal *why, enum err e, const char *what, int64_t wait_s)
{
    *why = (struct key_refusal){what, wait_s};
    return e;
}

/* What of the wait that began at since is left. Nothing has passed if since lies in the future. */
static int64_t left(int64_t since, int64_t wait, int64_t now)
{
    int64_t passed = now > since ? now - since : 0;
    return passed < wait ? wait - passed : 0;
}

int64_t key_wait(const struct key_entry *entry, int64_t now)
{
    switch (entry->state) {
    case KEY_NEXT:
        return left(entry->published_at, KEY_PUBLISH_WAIT_S, now);
    case KEY_RETIRING:
        return left(entry->retired_at, KEY_RETIRE_WAIT_S, now);
    default:
        return -1;
    }
}

int64_t key_state_since(const struct key_entry *entry)
{
    switch (entry->state) {
    case KEY_NEXT:
        return entry->published_at;
    case KEY_ACTIVE:
        return entry->activated_at;
    case KEY_RETIRING:
        return entry->retired_at;
    default:
        return entry->revoked_at;
    }
}

static struct key_entry *earliest(struct key_set *set, enum key_state state)
{
    struct key_entry *first = NULL;
    for (unsigned i = 0; i < set->count; i++) {
        struct key_entry *key = &set->keys[i];
        if (key->state == state && (first == NULL || key_state_since(key) < key_state_since(first)))
            first = key;
    }
    return first;
}

const struct key_entry *key_successor(const struct key_set *set)
{
    return earliest((struct key_set *)set, KEY_NEXT);
}

/* ---- changes ---- */

enum err key_publish(struct key_set *set, struct key_entry *entry, int64_t now,
                     struct key_refusal *why)
{
    const struct key_entry *known = key_set_find(set, entry->kid);
    if (known != NULL && known->state == KEY_REVOKED)
        return refuse(why, ERR_CONFLICT, "it has been revoked", 0);
    if (known != NULL)
        return refuse(why, ERR_CONFLICT, "it is published already", 0);
    if (set->count == KEYS_MAX) {
        struct key_entry *forgotten = earliest(set, KEY_REVOKED);
        if (forgotten == NULL)
            return refuse(why, ERR_TOO_LARGE, "there are as many keys as there may be", 0);
        key_set_remove(set, forgotten);
    }
    struct key_entry *key = &set->keys[set->count++];
    *key = *entry;
    *entry = (struct key_entry){0};
    key->state = KEY_NEXT;
    key->published_at = now;
    key->activated_at = key->retired_at = key->revoked_at = 0;
    return OK;
}

/* What was active only verifies from now on. */
static void make_active(struct key_set *set, struct key_entry *key, int64_t now)
{
    for (unsigned i = 0; i < set->count; i++) {
        struct key_entry *before = &set->keys[i];
        if (before->state != KEY_ACTIVE)
            continue;
        before->state = KEY_RETIRING;
        before->retired_at = now;
        secret_close(&before->private_pem);
    }
    key->state = KEY_ACTIVE;
    key->activated_at = now;
}

enum err key_activate(struct key_set *set, const char *kid, int64_t now, bool emergency,
                      struct key_refusal *why)
{
    struct key_entry *key = key_set_find(set, kid);
    if (key == NULL)
        return refuse(why, ERR_NOT_FOUND, "it is not published", 0);
    if (key->state == KEY_ACTIVE)
        return refuse(why, ERR_CONFLICT, "it is active already", 0);
    if (key->state != KEY_NEXT)
        return refuse(why, ERR_FORBIDDEN,
                      key->state == KEY_REVOKED ? "it has been revoked"
                                                : "it retires, and has no private half any more",
                      0);
    int64_t wait = left(key->published_at, KEY_PUBLISH_WAIT_S, now);
    if (wait > 0 && !emergency)
        return refuse(why, ERR_FORBIDDEN, "verifiers may not know it yet", wait);
    make_active(set, key, now);
    return OK;
}

enum err key_retire(struct key_set *set, const char *kid, int64_t now, bool emergency,
                    struct key_refusal *why)
{
    struct key_entry *key = key_set_find(set, kid);
    if (key == NULL)
        return refuse(why, ERR_NOT_FOUND, "it is not published", 0);
    if (key->state == KEY_ACTIVE)
        return refuse(why, ERR_FORBIDDEN, "it is active: activate another first", 0);
    if (key->state == KEY_REVOKED)
        return refuse(why, ERR_FORBIDDEN, "it has been revoked, and stays known as that", 0);
    int64_t wait = key_wait(key, now);
    if (key->state == KEY_RETIRING && wait > 0 && !emergency)
        return refuse(why, ERR_FORBIDDEN, "tokens that it signed may still be about", wait);
    key_set_remove(set, key);
    return OK;
}

enum err key_revoke(struct key_set *set, const char *kid, int64_t now, struct key_refusal *why)
{
    struct key_entry *key = key_set_find(set, kid);
    if (key == NULL)
        return refuse(why, ERR_NOT_FOUND, "it is not published", 0);
    if (key->state == KEY_REVOKED)
        return refuse(why, ERR_CONFLICT, "it has been revoked already", 0);
    if (key->state == KEY_ACTIVE) {
        struct key_entry *successor = earliest(set, KEY_NEXT);
        if (successor == NULL)
            return refuse(why, ERR_FORBIDDEN, "it is active, and there is no successor", 0);
        make_active(set, successor, now);
    }
    key->state = KEY_REVOKED;
    key->revoked_at = now;
    secret_close(&key->private_pem);
    return OK;
}

/* ---- the schedule ---- */

enum key_due key_due(const struct key_set *set, int64_t rotate_s, int64_t now, const char **kid)
{
    for (unsigned i = 0; i < set->count; i++) {
        if (set->keys[i].state == KEY_RETIRING && key_wait(&set->keys[i], now) == 0) {
            *kid = set->keys[i].kid;
            return KEY_DUE_RETIRE;
        }
    }
    const struct key_entry *active = key_set_active(set), *next = key_successor(set);
    if (rotate_s == 0 || active == NULL)
        return KEY_DUE_NOTHING;
    int64_t until = left(active->activated_at, rotate_s, now);
    if (next == NULL)
        return until <= KEY_PUBLISH_WAIT_S ? KEY_DUE_PUBLISH : KEY_DUE_NOTHING;
    if (until > 0 || key_wait(next, now) > 0)
        return KEY_DUE_NOTHING;
    *kid = next->kid;
    return KEY_DUE_ACTIVATE;
}
