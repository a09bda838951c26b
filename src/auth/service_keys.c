#include "auth/service_keys.h"

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <string.h>

static const char *const PURPOSE_INFO[KEY_PURPOSES] = {
    [KEY_TOKEN_MAC] = "watchword/1 refresh token mac",
    [KEY_TOKEN_SEAL] = "watchword/1 refresh token seal",
    [KEY_IDENTITY] = "watchword/1 identity digest",
    [KEY_IDEMPOTENCY] = "watchword/1 idempotency key",
    [KEY_BEARER] = "watchword/1 bearer comparison",
};
static const char ID_INFO[] = "watchword/1 secret id";

struct derived {
    uint8_t id;
    EVP_MAC_CTX *mac[KEY_PURPOSES]; /* keyed templates, duplicated for each use */
};

struct service_keys {
    EVP_MAC *hmac;
    EVP_CIPHER *cipher;
    struct derived set[2]; /* current, previous */
    unsigned sets;
};

static enum err derive(const struct secret *secret, const char *info, uint8_t *out, size_t len)
{
    EVP_KDF *kdf = EVP_KDF_fetch(NULL, "HKDF", NULL);
    EVP_KDF_CTX *ctx = EVP_KDF_CTX_new(kdf);
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, (char *)"SHA256", 0),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, secret->data, secret->len),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, (char *)info, strlen(info)),
        OSSL_PARAM_construct_end(),
    };
    bool ok = ctx != NULL && EVP_KDF_derive(ctx, out, len, params) == 1;
    EVP_KDF_CTX_free(ctx);
    EVP_KDF_free(kdf);
    return ok ? OK : ERR_INTERNAL;
}

static enum err open_mac(EVP_MAC *hmac, const uint8_t key[MAC_LEN], EVP_MAC_CTX **out)
{
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, (char *)"SHA256", 0),
        OSSL_PARAM_construct_end(),
    };
    EVP_MAC_CTX *ctx = EVP_MAC_CTX_new(hmac);
    if (ctx == NULL || EVP_MAC_init(ctx, key, MAC_LEN, params) != 1) {
        EVP_MAC_CTX_free(ctx);
        return ERR_INTERNAL;
    }
    *out = ctx;
    return OK;
}

static enum err open_set(EVP_MAC *hmac, const struct secret *secret, struct derived *set)
{
    TRY(derive(secret, ID_INFO, &set->id, sizeof set->id));
    for (unsigned i = 0; i < KEY_PURPOSES; i++) {
        uint8_t key[MAC_LEN];
        TRY(derive(secret, PURPOSE_INFO[i], key, sizeof key));
        enum err e = open_mac(hmac, key, &set->mac[i]);
        secret_wipe(key, sizeof key);
        TRY(e);
    }
    return OK;
}

static void cleanup_keys(struct service_keys **keys)
{
    service_keys_close(*keys);
}

enum err service_keys_open(const struct secret *current, const struct secret *previous,
                           struct service_keys **out)
{
    if (current->len < SERVICE_SECRET_MIN ||
        (previous->len > 0 && previous->len < SERVICE_SECRET_MIN))
        return ERR_INVALID;
    struct service_keys *keys CLEANUP(cleanup_keys) = calloc(1, sizeof *keys);
    if (keys == NULL)
        return ERR_INTERNAL;
    keys->hmac = EVP_MAC_fetch(NULL, "HMAC", NULL);
    keys->cipher = EVP_CIPHER_fetch(NULL, "AES-256-GCM", NULL);
    if (keys->hmac == NULL || keys->cipher == NULL)
        return ERR_INTERNAL;
    TRY(open_set(keys->hmac, current, &keys->set[keys->sets++]));
    if (previous->len > 0)
        TRY(open_set(keys->hmac, previous, &keys->set[keys->sets++]));
    if (keys->sets == 2 && keys->set[0].id == keys->set[1].id)
        return ERR_CONFLICT;
    *out = TAKE(keys);
    return OK;
}

void service_keys_close(struct service_keys *keys)
{
    if (keys == NULL)
        return;
    for (unsigned s = 0; s < keys->sets; s++)
        for (unsigned i = 0; i < KEY_PURPOSES; i++)
            EVP_MAC_CTX_free(keys->set[s].mac[i]);
    EVP_CIPHER_free(keys->cipher);
    EVP_MAC_free(keys->hmac);
    free(keys);
}

uint8_t service_keys_current_id(const struct service_keys *keys)
{
    return keys->set[0].id;
}

const EVP_CIPHER *service_keys_cipher(const struct service_keys *keys)
{
    return keys->cipher;
}

static const struct derived *find_set(const struct service_keys *keys, uint8_t id)
{
    for (unsigned s = 0; s < keys->sets; s++)
        if (keys->set[s].id == id)
            return &keys->set[s];
    return NULL;
}

bool service_keys_knows(const struct service_keys *keys, uint8_t id)
{
    return find_set(keys, id) != NULL;
}

enum err service_keys_mac(const struct service_keys *keys, uint8_t id, enum key_purpose purpose,
                          const struct mac_part *parts, size_t n, uint8_t out[MAC_LEN])
{
    const struct derived *set = find_set(keys, id);
    if (set == NULL)
        return ERR_DENIED;
    EVP_MAC_CTX *ctx = EVP_MAC_CTX_dup(set->mac[purpose]);
    bool ok = ctx != NULL;
    for (size_t i = 0; ok && i < n; i++)
        ok = EVP_MAC_update(ctx, parts[i].data, parts[i].len) == 1;
    uint8_t mac[MAC_LEN];
    size_t len = 0;
    ok = ok && EVP_MAC_final(ctx, mac, &len, sizeof mac) == 1 && len == MAC_LEN;
    EVP_MAC_CTX_free(ctx);
    if (ok)
        memcpy(out, mac, MAC_LEN);
    secret_wipe(mac, sizeof mac);
    return ok ? OK : ERR_INTERNAL;
}
