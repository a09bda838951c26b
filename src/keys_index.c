#include "keys_index.h"

#include <string.h>

#include "auth/key_entry.h"
#include "base/json.h"

#define VERSION 1

/* ---- reading ---- */

static const struct {
    const char *name;
    size_t offset;
} TIMES[] = {
    {"created_at", offsetof(struct key_entry, created_at)},
    {"published_at", offsetof(struct key_entry, published_at)},
    {"activated_at", offsetof(struct key_entry, activated_at)},
    {"retired_at", offsetof(struct key_entry, retired_at)},
    {"revoked_at", offsetof(struct key_entry, revoked_at)},
};

static int64_t *time_of(const struct key_entry *key, size_t i)
{
    return (int64_t *)(void *)((char *)(uintptr_t)key + TIMES[i].offset);
}

/* NULL, or the text of a string member. */
static const char *string(const json_t *object, const char *name)
{
    return json_string_value(json_object_get(object, name));
}

/* How many of the members are times; false if one is no time. */
static bool read_times(const json_t *object, struct key_entry *key, size_t *count)
{
    for (size_t i = 0; i < ARRAY_LEN(TIMES); i++) {
        const json_t *value = json_object_get(object, TIMES[i].name);
        if (value == NULL)
            continue;
        if (!json_is_integer(value) || json_integer_value(value) < 0)
            return false;
        *time_of(key, i) = json_integer_value(value);
        (*count)++;
    }
    return true;
}

static enum err read_key(const json_t *object, struct key_entry *out, const char **why)
{
    const char *kid = string(object, "kid"), *state_name = string(object, "state");
    const char *pem = string(object, "public_key");
    enum key_state state = KEY_STATES;
    struct key_entry times = {0};
    size_t members = 3;
    *why = "a key lacks its kid, state or public_key";
    if (kid == NULL || kid[0] == '\0' || state_name == NULL || pem == NULL)
        return ERR_INVALID;
    *why = "a key is in an unknown state";
    if (key_state_from_name(state_name, &state) != OK)
        return ERR_INVALID;
    *why = "a time is not a whole number of seconds";
    if (!read_times(object, &times, &members))
        return ERR_INVALID;
    *why = "a key has an unknown member";
    if (json_object_size(object) != members)
        return ERR_INVALID;
    *why = "a public_key is too long";
    struct secret text CLEANUP(secret_close) = {0};
    if (secret_copy(pem, strlen(pem), &text) != OK)
        return ERR_INVALID;
    TRY(key_entry_public(&text, kid, state, out, why));
    for (size_t i = 0; i < ARRAY_LEN(TIMES); i++)
        *time_of(out, i) = *time_of(&times, i);
    return OK;
}

static enum err read_all(const json_t *root, struct key_set *set, const char **why)
{
    const json_t *keys = json_object_get(root, "keys");
    *why = "it is not of version 1";
    if (json_integer_value(json_object_get(root, "version")) != VERSION)
        return ERR_INVALID;
    *why = "it has other members than version and keys";
    if (!json_is_array(keys) || json_object_size(root) != 2)
        return ERR_INVALID;
    *why = "it holds too many keys";
    if (json_array_size(keys) > KEYS_MAX)
        return ERR_INVALID;
    for (size_t i = 0; i < json_array_size(keys); i++) {
        TRY(read_key(json_array_get(keys, i), &set->keys[set->count], why));
        set->count++;
    }
    return OK;
}

enum err keys_index_parse(const struct secret *text, struct key_set *out, const char **why)
{
    json_t *root CLEANUP(cleanup_json) = NULL;
    struct key_set set CLEANUP(key_set_close) = {0};
    if (json_read((const char *)text->data, text->len, &root, why) != OK)
        return ERR_INVALID;
    TRY(read_all(root, &set, why));
    *out = set;
    set.count = 0; /* the secrets in it are the caller's now */
    return OK;
}

/* ---- writing ---- */

static void put_key(struct text *t, const struct key_entry *key)
{
    json_open(t);
    json_str(t, "kid", key->kid);
    json_str(t, "state", key_state_name(key->state));
    for (size_t i = 0; i < ARRAY_LEN(TIMES); i++)
        if (*time_of(key, i) != 0)
            json_i64(t, TIMES[i].name, *time_of(key, i));
    json_str_n(t, "public_key", (const char *)key->public_pem.data, key->public_pem.len);
    json_close(t);
}

void keys_index_format(const struct key_set *set, struct text *out)
{
    json_open(out);
    json_i64(out, "version", VERSION);
    json_key(out, "keys");
    text_put_char(out, '[');
    for (unsigned i = 0; i < set->count; i++)
        put_key(out, &set->keys[i]);
    text_put(out, "]}\n");
}
