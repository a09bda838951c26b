#include "auth/keyring.h"

#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <string.h>

#include "base/encode.h"
#include "base/json.h"
#include "base/sha256.h"

#define KEYS_MAX 2
#define JWKS_MAX 8192

struct key {
    EVP_PKEY *pkey;
    char kid[KID_MAX + 1];
    /* the members n and e of the JWK, base64url */
    char n[BASE64_LEN(KEYRING_BITS_MAX / 8) + 1];
    char e[16];
};

struct keyring {
    struct key keys[KEYS_MAX]; /* the first is active and has its private half */
    unsigned count;
    char jwks[JWKS_MAX];
    size_t jwks_len;
};

struct signer {
    EVP_PKEY *pkey;
    EVP_PKEY_CTX *ctx;
    char kid[KID_MAX + 1];
};

static void cleanup_bio(BIO **bio)
{
    BIO_free(*bio);
}

static void cleanup_bn(BIGNUM **bn)
{
    BN_clear_free(*bn);
}

static void cleanup_pkey_ctx(EVP_PKEY_CTX **ctx)
{
    EVP_PKEY_CTX_free(*ctx);
}

static enum err read_pem(const struct secret *pem, bool private, EVP_PKEY **out)
{
    BIO *bio CLEANUP(cleanup_bio) = BIO_new_mem_buf(pem->data, (int)pem->len);
    if (bio == NULL)
        return ERR_INTERNAL;
    /* An empty passphrase: an encrypted key is refused instead of asking on the terminal. */
    EVP_PKEY *pkey = private ? PEM_read_bio_PrivateKey(bio, NULL, NULL, (void *)"")
                             : PEM_read_bio_PUBKEY(bio, NULL, NULL, (void *)"");
    if (pkey == NULL)
        return ERR_INVALID;
    *out = pkey;
    return OK;
}

static enum err export_bn(const EVP_PKEY *pkey, const char *name, char *out, size_t cap)
{
    BIGNUM *bn CLEANUP(cleanup_bn) = NULL;
    uint8_t bytes[KEYRING_BITS_MAX / 8];
    if (EVP_PKEY_get_bn_param(pkey, name, &bn) != 1 || BN_num_bytes(bn) > (int)sizeof bytes)
        return ERR_INVALID;
    int n = BN_bn2bin(bn, bytes);
    if (n <= 0 || BASE64_LEN((size_t)n) + 1 > cap)
        return ERR_INVALID;
    base64url_encode(bytes, (size_t)n, out);
    return OK;
}

/* RFC 7638: SHA-256 over the required members in lexicographic order. */
static enum err thumbprint(const struct key *key, char out[KID_MAX + 1])
{
    char json[sizeof key->n + sizeof key->e + 64];
    struct text t = text_on(json, sizeof json);
    text_put_f(&t, "{\"e\":\"%s\",\"kty\":\"RSA\",\"n\":\"%s\"}", key->e, key->n);
    uint8_t digest[SHA256_LEN];
    TRY(sha256(json, t.len, digest));
    base64url_encode(digest, sizeof digest, out);
    return OK;
}

/* An even or tiny public exponent makes a key that anyone can use. RFC 8017 wants it odd; 65537 is
 * what everyone has. */
static bool exponent_ok(const EVP_PKEY *pkey)
{
    BIGNUM *e CLEANUP(cleanup_bn) = NULL;
    return EVP_PKEY_get_bn_param(pkey, OSSL_PKEY_PARAM_RSA_E, &e) == 1 && BN_is_odd(e) &&
           BN_num_bits(e) >= 17 && BN_num_bits(e) <= 64;
}

static const char *key_flaw(const EVP_PKEY *pkey)
{
    if (!EVP_PKEY_is_a(pkey, "RSA"))
        return "the key is not an RSA key";
    if (EVP_PKEY_get_bits(pkey) < KEYRING_BITS_MIN)
        return "the RSA key has less than 2048 bits";
    if (EVP_PKEY_get_bits(pkey) > KEYRING_BITS_MAX)
        return "the RSA key has more than 8192 bits";
    if (!exponent_ok(pkey))
        return "the RSA key's public exponent is not an odd number of 17 to 64 bits";
    return NULL;
}

static bool kid_ok(const char *kid)
{
    size_t len = strlen(kid);
    if (len == 0 || len > KID_MAX)
        return false;
    for (size_t i = 0; i < len; i++)
        if (kid[i] < 0x21 || kid[i] > 0x7e || kid[i] == '"' || kid[i] == '\\')
            return false;
    return true;
}

static enum err add_key(struct keyring *ring, const struct secret *pem, bool private,
                        const char *kid, const char **why)
{
    struct key *key = &ring->keys[ring->count];
    if (read_pem(pem, private, &key->pkey) != OK) {
        *why = private ? "is not an unencrypted private key in PEM form"
                       : "is not a public key in PEM form";
        return ERR_INVALID;
    }
    ring->count++;
    *why = key_flaw(key->pkey);
    if (*why != NULL)
        return ERR_INVALID;
    TRY(export_bn(key->pkey, OSSL_PKEY_PARAM_RSA_N, key->n, sizeof key->n));
    TRY(export_bn(key->pkey, OSSL_PKEY_PARAM_RSA_E, key->e, sizeof key->e));
    if (kid[0] == '\0')
        return thumbprint(key, key->kid);
    if (!kid_ok(kid)) {
        *why = "the kid is not 1 to 128 printable ASCII characters";
        return ERR_INVALID;
    }
    text_copy(key->kid, sizeof key->kid, kid, strlen(kid));
    return OK;
}

static enum err build_jwks(struct keyring *ring)
{
    struct text t = text_on(ring->jwks, sizeof ring->jwks);
    text_put(&t, "{\"keys\":[");
    for (unsigned i = 0; i < ring->count; i++) {
        json_open(&t);
        json_str(&t, "kty", "RSA");
        json_str(&t, "use", "sig");
        json_str(&t, "kid", ring->keys[i].kid);
        json_str(&t, "alg", "RS256");
        json_str(&t, "n", ring->keys[i].n);
        json_str(&t, "e", ring->keys[i].e);
        json_close(&t);
    }
    text_put(&t, "]}");
    ring->jwks_len = t.len;
    return text_ok(&t) ? OK : ERR_TOO_LARGE;
}

/* Signs with the private half (through the CRT values) and verifies with the published n and e:
 * a key whose parts do not belong together fails here. */
static enum err self_test(const struct keyring *ring)
{
    static const char probe[] = "watchword signing self-test";
    struct signer *signer = NULL;
    uint8_t sig[SIGNATURE_MAX];
    size_t sig_len = 0;
    TRY(signer_open(ring, &signer));
    enum err e = signer_sign(signer, probe, sizeof probe, sig, &sig_len);
    signer_close(signer);
    TRY(e);
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    bool ok = md != NULL &&
              EVP_DigestVerifyInit(md, NULL, EVP_sha256(), NULL, ring->keys[0].pkey) == 1 &&
              EVP_DigestVerify(md, sig, sig_len, (const uint8_t *)probe, sizeof probe) == 1;
    EVP_MD_CTX_free(md);
    return ok ? OK : ERR_INVALID;
}

static void cleanup_ring(struct keyring **ring)
{
    keyring_close(*ring);
}

enum err keyring_open(const struct keyring_source *source, struct keyring **out,
                      struct keyring_flaw *flaw)
{
    *flaw = (struct keyring_flaw){.what = "out of memory"};
    struct keyring *ring CLEANUP(cleanup_ring) = calloc(1, sizeof *ring);
    if (ring == NULL)
        return ERR_INTERNAL;
    TRY(add_key(ring, source->private_pem, true, source->kid, &flaw->what));
    if (source->previous_public_pem->len > 0) {
        flaw->in_previous = true;
        TRY(add_key(ring, source->previous_public_pem, false, source->previous_kid, &flaw->what));
        flaw->what = "has the kid of the active key";
        if (strcmp(ring->keys[0].kid, ring->keys[1].kid) == 0) /* lint: public */
            return ERR_INVALID;
        flaw->in_previous = false;
    }
    flaw->what = "the RSA key's halves do not match";
    TRY(self_test(ring));
    flaw->what = "the key set is too large";
    TRY(build_jwks(ring));
    *flaw = (struct keyring_flaw){0};
    *out = TAKE(ring);
    return OK;
}

void keyring_close(struct keyring *ring)
{
    if (ring == NULL)
        return;
    for (unsigned i = 0; i < ring->count; i++)
        EVP_PKEY_free(ring->keys[i].pkey);
    free(ring);
}

enum err keyring_check_deep(const struct keyring *ring, const char **why)
{
    EVP_PKEY_CTX *ctx CLEANUP(cleanup_pkey_ctx) = EVP_PKEY_CTX_new(ring->keys[0].pkey, NULL);
    if (ctx == NULL)
        return ERR_INTERNAL;
    if (EVP_PKEY_check(ctx) != 1) {
        *why = "the RSA key is broken (its factors are not prime or do not fit)";
        return ERR_INVALID;
    }
    return OK;
}

enum err keyring_generate(unsigned bits, struct secret *pem)
{
    EVP_PKEY *pkey = EVP_RSA_gen(bits);
    BIO *bio CLEANUP(cleanup_bio) = BIO_new(BIO_s_secmem());
    char *data = NULL;
    bool ok = pkey != NULL && bio != NULL &&
              PEM_write_bio_PKCS8PrivateKey(bio, pkey, NULL, NULL, 0, NULL, NULL) == 1;
    EVP_PKEY_free(pkey);
    if (!ok)
        return ERR_INTERNAL;
    long len = BIO_get_mem_data(bio, &data);
    return secret_copy(data, (size_t)len, pem);
}

const char *keyring_active_kid(const struct keyring *ring)
{
    return ring->keys[0].kid;
}

const char *keyring_jwks(const struct keyring *ring, size_t *len)
{
    *len = ring->jwks_len;
    return ring->jwks;
}

EVP_PKEY *keyring_find(const struct keyring *ring, const char *kid, size_t len)
{
    for (unsigned i = 0; i < ring->count; i++) {
        const char *have = ring->keys[i].kid;
        if (strlen(have) == len && strncmp(have, kid, len) == 0) /* lint: public */
            return ring->keys[i].pkey;
    }
    return NULL;
}

static void cleanup_signer(struct signer **signer)
{
    signer_close(*signer);
}

enum err signer_open(const struct keyring *ring, struct signer **out)
{
    struct signer *signer CLEANUP(cleanup_signer) = calloc(1, sizeof *signer);
    if (signer == NULL)
        return ERR_INTERNAL;
    memcpy(signer->kid, ring->keys[0].kid, sizeof signer->kid);
    signer->pkey = EVP_PKEY_dup(ring->keys[0].pkey);
    signer->ctx = signer->pkey != NULL ? EVP_PKEY_CTX_new(signer->pkey, NULL) : NULL;
    if (signer->ctx == NULL || EVP_PKEY_sign_init(signer->ctx) != 1 ||
        EVP_PKEY_CTX_set_rsa_padding(signer->ctx, RSA_PKCS1_PADDING) != 1 ||
        EVP_PKEY_CTX_set_signature_md(signer->ctx, EVP_sha256()) != 1)
        return ERR_INTERNAL;
    *out = TAKE(signer);
    return OK;
}

void signer_close(struct signer *signer)
{
    if (signer == NULL)
        return;
    EVP_PKEY_CTX_free(signer->ctx);
    EVP_PKEY_free(signer->pkey);
    free(signer);
}

const char *signer_kid(const struct signer *signer)
{
    return signer->kid;
}

enum err signer_sign(struct signer *signer, const void *data, size_t len,
                     uint8_t out[SIGNATURE_MAX], size_t *out_len)
{
    uint8_t digest[SHA256_LEN];
    size_t n = SIGNATURE_MAX;
    TRY(sha256(data, len, digest));
    if (EVP_PKEY_sign(signer->ctx, out, &n, digest, sizeof digest) != 1)
        return ERR_INTERNAL;
    *out_len = n;
    return OK;
}
