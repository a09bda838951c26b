#include "auth/key_wire.h"

#include <string.h>

static size_t size_of(uint32_t count)
{
    return offsetof(struct key_wire, keys) + count * sizeof(struct key_wire_key);
}

enum err key_wire_pack(const struct key_set *set, struct key_wire *out, size_t *size)
{
    memset(out, 0, sizeof *out);
    for (unsigned i = 0; i < set->count; i++) {
        const struct key_entry *entry = &set->keys[i];
        struct key_wire_key *key = &out->keys[i];
        if (entry->public_pem.len > sizeof key->public_pem)
            return ERR_TOO_LARGE;
        memcpy(key->kid, entry->kid, sizeof key->kid);
        key->state = (uint8_t)entry->state;
        key->created_at = entry->created_at;
        key->published_at = entry->published_at;
        key->activated_at = entry->activated_at;
        key->retired_at = entry->retired_at;
        key->revoked_at = entry->revoked_at;
        key->pem_len = (uint16_t)entry->public_pem.len;
        if (key->pem_len > 0)
            memcpy(key->public_pem, entry->public_pem.data, key->pem_len);
    }
    out->count = set->count;
    *size = size_of(set->count);
    return OK;
}

static enum err unpack(const struct key_wire_key *key, struct key_entry *entry)
{
    if (memchr(key->kid, '\0', sizeof key->kid) == NULL || key->kid[0] == '\0' ||
        key->state >= KEY_STATES || key->pem_len > sizeof key->public_pem)
        return ERR_MALFORMED;
    memcpy(entry->kid, key->kid, sizeof entry->kid);
    entry->state = (enum key_state)key->state;
    entry->created_at = key->created_at;
    entry->published_at = key->published_at;
    entry->activated_at = key->activated_at;
    entry->retired_at = key->retired_at;
    entry->revoked_at = key->revoked_at;
    return secret_copy(key->public_pem, key->pem_len, &entry->public_pem);
}

enum err key_wire_unpack(const struct key_wire *in, size_t size, struct key_set *out)
{
    struct key_set set = {0};
    if (size < size_of(0) || in->count > KEYS_MAX || size != size_of(in->count))
        return ERR_MALFORMED;
    for (; set.count < in->count; set.count++) {
        enum err e = unpack(&in->keys[set.count], &set.keys[set.count]);
        if (e != OK) {
            key_set_close(&set);
            return e;
        }
    }
    *out = set;
    return OK;
}
