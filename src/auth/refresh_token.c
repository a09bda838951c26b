#include "auth/refresh_token.h"

#include <openssl/evp.h>
#include <string.h>

#include "base/encode.h"
#include "base/random.h"
#include "base/sha256.h"

static const char PREFIX[] = "wwr_";
#define PREFIX_LEN 4
#define VERSION 1

/* Offsets inside the decoded token. */
enum {
    AT_VERSION = 0,
    AT_KEY_ID = 1,
    AT_SESSION = 2,
    AT_GENERATION = 18,
    AT_RANDOM = 22,
    AT_MAC = 54,
    RAW_LEN = 70,
};
#define TRUNCATED_MAC_LEN (RAW_LEN - AT_MAC)

#define NONCE_LEN 12
#define SEALED_PLAIN_LEN (1 + REFRESH_RANDOM_LEN)
#define GCM_TAG_LEN 16

_Static_assert(PREFIX_LEN + BASE64_LEN(RAW_LEN) == REFRESH_TOKEN_LEN, "token length");
_Static_assert(NONCE_LEN + SEALED_PLAIN_LEN + GCM_TAG_LEN == REFRESH_SEALED_LEN, "sealed length");

static void put_body(const struct refresh_token *token, uint8_t raw[RAW_LEN])
{
    raw[AT_VERSION] = VERSION;
    raw[AT_KEY_ID] = token->key_id;
    memcpy(raw + AT_SESSION, token->session_id.b, sizeof token->session_id.b);
    for (unsigned i = 0; i < 4; i++)
        raw[AT_GENERATION + i] = (uint8_t)(token->generation >> (24 - 8 * i));
    memcpy(raw + AT_RANDOM, token->random, REFRESH_RANDOM_LEN);
}

static enum err body_mac(const struct service_keys *keys, enum key_purpose purpose, uint8_t key_id,
                         const uint8_t raw[RAW_LEN], uint8_t mac[MAC_LEN])
{
    const struct mac_part body = {raw, AT_MAC};
    return service_keys_mac(keys, key_id, purpose, &body, 1, mac);
}

enum err refresh_token_make(const struct service_keys *keys, const struct uuid *session_id,
                            struct refresh_token *out)
{
    struct refresh_token token = {.key_id = service_keys_current_id(keys),
                                  .session_id = *session_id};
    TRY(random_bytes(token.random, sizeof token.random));
    *out = token;
    return OK;
}

enum err refresh_token_next(const struct service_keys *keys, const struct refresh_token *old,
                            struct refresh_token *out)
{
    if (old->generation == UINT32_MAX)
        return ERR_TOO_LARGE;
    struct refresh_token token;
    TRY(refresh_token_make(keys, &old->session_id, &token));
    token.generation = old->generation + 1;
    *out = token;
    return OK;
}

enum err refresh_token_format(const struct service_keys *keys, const struct refresh_token *token,
                              char out[REFRESH_TOKEN_LEN + 1])
{
    uint8_t raw[RAW_LEN];
    uint8_t mac[MAC_LEN];
    put_body(token, raw);
    TRY(body_mac(keys, KEY_TOKEN_MAC, token->key_id, raw, mac));
    memcpy(raw + AT_MAC, mac, TRUNCATED_MAC_LEN);
    memcpy(out, PREFIX, PREFIX_LEN);
    base64url_encode(raw, sizeof raw, out + PREFIX_LEN);
    secret_wipe(raw, sizeof raw);
    return OK;
}

static void get_body(const uint8_t raw[RAW_LEN], struct refresh_token *out)
{
    out->key_id = raw[AT_KEY_ID];
    memcpy(out->session_id.b, raw + AT_SESSION, sizeof out->session_id.b);
    out->generation = 0;
    for (unsigned i = 0; i < 4; i++)
        out->generation = out->generation << 8 | raw[AT_GENERATION + i];
    memcpy(out->random, raw + AT_RANDOM, REFRESH_RANDOM_LEN);
}

enum err refresh_token_parse(const struct service_keys *keys, const char *in, size_t len,
                             struct refresh_token *out)
{
    if (len != REFRESH_TOKEN_LEN)
        return ERR_MALFORMED;
    for (size_t i = 0; i < PREFIX_LEN; i++)
        if (in[i] != PREFIX[i])
            return ERR_MALFORMED;
    uint8_t raw[RAW_LEN];
    size_t raw_len = 0;
    TRY(base64url_decode(in + PREFIX_LEN, len - PREFIX_LEN, raw, sizeof raw, &raw_len));
    if (raw_len != RAW_LEN || raw[AT_VERSION] != VERSION)
        return ERR_MALFORMED;
    uint8_t mac[MAC_LEN];
    enum err e = body_mac(keys, KEY_TOKEN_MAC, raw[AT_KEY_ID], raw, mac);
    if (e == OK && !ct_equal(mac, raw + AT_MAC, TRUNCATED_MAC_LEN))
        e = ERR_DENIED;
    if (e == OK)
        get_body(raw, out);
    secret_wipe(raw, sizeof raw);
    return e;
}

enum err refresh_token_digest(const struct refresh_token *token, uint8_t out[REFRESH_DIGEST_LEN])
{
    return sha256(token->random, REFRESH_RANDOM_LEN, out);
}

/* HMAC over the whole old token: its 32 random bytes are known to nobody but its holder. */
static enum err seal_key(const struct service_keys *keys, const struct refresh_token *old,
                         uint8_t key[MAC_LEN])
{
    uint8_t raw[RAW_LEN];
    put_body(old, raw);
    enum err e = body_mac(keys, KEY_TOKEN_SEAL, old->key_id, raw, key);
    secret_wipe(raw, sizeof raw);
    return e;
}

static void cleanup_cipher(EVP_CIPHER_CTX **ctx)
{
    EVP_CIPHER_CTX_free(*ctx);
}

enum err refresh_token_seal(const struct service_keys *keys, const struct refresh_token *old,
                            const struct refresh_token *next, uint8_t out[REFRESH_SEALED_LEN])
{
    uint8_t sealed[REFRESH_SEALED_LEN];
    uint8_t *body = sealed + NONCE_LEN;
    uint8_t key[MAC_LEN];
    TRY(random_bytes(sealed, NONCE_LEN));
    TRY(seal_key(keys, old, key));
    EVP_CIPHER_CTX *ctx CLEANUP(cleanup_cipher) = EVP_CIPHER_CTX_new();
    int n = 0;
    bool ok =
        ctx != NULL &&
        EVP_EncryptInit_ex2(ctx, service_keys_cipher(keys), key, sealed, NULL) == 1 &&
        EVP_EncryptUpdate(ctx, body, &n, &next->key_id, 1) == 1 &&
        EVP_EncryptUpdate(ctx, body + 1, &n, next->random, REFRESH_RANDOM_LEN) == 1 &&
        EVP_EncryptFinal_ex(ctx, body + SEALED_PLAIN_LEN, &n) == 1 &&
        EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, GCM_TAG_LEN, body + SEALED_PLAIN_LEN) == 1;
    secret_wipe(key, sizeof key);
    if (!ok)
        return ERR_INTERNAL;
    memcpy(out, sealed, sizeof sealed);
    return OK;
}

enum err refresh_token_unseal(const struct service_keys *keys, const struct refresh_token *old,
                              const uint8_t *sealed, size_t sealed_len, struct refresh_token *out)
{
    if (sealed_len != REFRESH_SEALED_LEN || old->generation == UINT32_MAX)
        return ERR_DENIED;
    uint8_t key[MAC_LEN];
    TRY(seal_key(keys, old, key));
    uint8_t tag[GCM_TAG_LEN];
    uint8_t plain[SEALED_PLAIN_LEN];
    memcpy(tag, sealed + NONCE_LEN + SEALED_PLAIN_LEN, sizeof tag);
    EVP_CIPHER_CTX *ctx CLEANUP(cleanup_cipher) = EVP_CIPHER_CTX_new();
    int n = 0;
    bool ready = ctx != NULL &&
                 EVP_DecryptInit_ex2(ctx, service_keys_cipher(keys), key, sealed, NULL) == 1 &&
                 EVP_DecryptUpdate(ctx, plain, &n, sealed + NONCE_LEN, sizeof plain) == 1 &&
                 EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, sizeof tag, tag) == 1;
    secret_wipe(key, sizeof key);
    if (!ready)
        return ERR_INTERNAL;
    enum err e = EVP_DecryptFinal_ex(ctx, plain + sizeof plain, &n) == 1 ? OK : ERR_DENIED;
    if (e == OK) {
        *out = (struct refresh_token){
            .key_id = plain[0], .session_id = old->session_id, .generation = old->generation + 1};
        memcpy(out->random, plain + 1, REFRESH_RANDOM_LEN);
    }
    secret_wipe(plain, sizeof plain);
    return e;
}
