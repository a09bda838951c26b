#include "auth/rsa_key.h"

#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/param_build.h>
#include <openssl/pem.h>
#include <string.h>

#include "base/sha256.h"
#include "base/text.h"

static void cleanup_bio(BIO **bio)
{
    BIO_free(*bio);
}

static void cleanup_bn(BIGNUM **bn)
{
    BN_clear_free(*bn);
}

static void cleanup_pkey(EVP_PKEY **pkey)
{
    EVP_PKEY_free(*pkey);
}

static void cleanup_pkey_ctx(EVP_PKEY_CTX **ctx)
{
    EVP_PKEY_CTX_free(*ctx);
}

static EVP_PKEY *read_pem(const struct secret *pem, bool private)
{
    BIO *bio CLEANUP(cleanup_bio) = BIO_new_mem_buf(pem->data, (int)pem->len);
    if (bio == NULL)
        return NULL;
    /* An empty passphrase: an encrypted key is refused instead of asking on the terminal. */
    return private ? PEM_read_bio_PrivateKey(bio, NULL, NULL, (void *)"")
                   : PEM_read_bio_PUBKEY(bio, NULL, NULL, (void *)"");
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
    if (EVP_PKEY_get_bits(pkey) < RSA_KEY_BITS_MIN)
        return "the RSA key has less than 2048 bits";
    if (EVP_PKEY_get_bits(pkey) > RSA_KEY_BITS_MAX)
        return "the RSA key has more than 8192 bits";
    if (!exponent_ok(pkey))
        return "the RSA key's public exponent is not an odd number of 17 to 64 bits";
    return NULL;
}

enum err rsa_key_read(const struct secret *pem, bool private, EVP_PKEY **out, const char **why)
{
    EVP_PKEY *pkey CLEANUP(cleanup_pkey) = read_pem(pem, private);
    if (pkey == NULL) {
        *why = private ? "is not an unencrypted private key in PEM form"
                       : "is not a public key in PEM form";
        return ERR_INVALID;
    }
    const char *flaw = key_flaw(pkey);
    if (flaw != NULL) {
        *why = flaw;
        return ERR_INVALID;
    }
    *out = TAKE(pkey);
    return OK;
}

static enum err export_bn(const EVP_PKEY *pkey, const char *name, char *out, size_t cap)
{
    BIGNUM *bn CLEANUP(cleanup_bn) = NULL;
    uint8_t bytes[RSA_KEY_BITS_MAX / 8];
    if (EVP_PKEY_get_bn_param(pkey, name, &bn) != 1 || BN_num_bytes(bn) > (int)sizeof bytes)
        return ERR_INVALID;
    int n = BN_bn2bin(bn, bytes);
    if (n <= 0 || BASE64_LEN((size_t)n) + 1 > cap)
        return ERR_INVALID;
    base64url_encode(bytes, (size_t)n, out);
    return OK;
}

enum err rsa_key_members(const EVP_PKEY *pkey, char n[RSA_KEY_N_MAX], char e[RSA_KEY_E_MAX])
{
    TRY(export_bn(pkey, OSSL_PKEY_PARAM_RSA_N, n, RSA_KEY_N_MAX));
    return export_bn(pkey, OSSL_PKEY_PARAM_RSA_E, e, RSA_KEY_E_MAX);
}

static enum err import_bn(OSSL_PARAM_BLD *build, const char *name, const char *text, BIGNUM **out)
{
    uint8_t bytes[RSA_KEY_BITS_MAX / 8];
    size_t len = 0;
    if (base64url_decode(text, strlen(text), bytes, sizeof bytes, &len) != OK || len == 0)
        return ERR_INVALID;
    *out = BN_bin2bn(bytes, (int)len, NULL);
    return *out != NULL && OSSL_PARAM_BLD_push_BN(build, name, *out) == 1 ? OK : ERR_INTERNAL;
}

static enum err import_members(OSSL_PARAM_BLD *build, EVP_PKEY **out)
{
    EVP_PKEY_CTX *ctx CLEANUP(cleanup_pkey_ctx) = EVP_PKEY_CTX_new_from_name(NULL, "RSA", NULL);
    OSSL_PARAM *params = OSSL_PARAM_BLD_to_param(build);
    bool ok = ctx != NULL && params != NULL && EVP_PKEY_fromdata_init(ctx) == 1 &&
              EVP_PKEY_fromdata(ctx, out, EVP_PKEY_PUBLIC_KEY, params) == 1;
    OSSL_PARAM_free(params);
    return ok ? OK : ERR_INVALID;
}

enum err rsa_key_from_members(const char *n, const char *e, EVP_PKEY **out)
{
    BIGNUM *modulus CLEANUP(cleanup_bn) = NULL;
    BIGNUM *exponent CLEANUP(cleanup_bn) = NULL;
    OSSL_PARAM_BLD *build = OSSL_PARAM_BLD_new();
    if (build == NULL)
        return ERR_INTERNAL;
    enum err err = import_bn(build, OSSL_PKEY_PARAM_RSA_N, n, &modulus);
    if (err == OK)
        err = import_bn(build, OSSL_PKEY_PARAM_RSA_E, e, &exponent);
    if (err == OK)
        err = import_members(build, out);
    OSSL_PARAM_BLD_free(build);
    return err;
}

/* SHA-256 over the required members in lexicographic order. */
enum err rsa_key_thumbprint(const EVP_PKEY *pkey, char out[KID_MAX + 1])
{
    char n[RSA_KEY_N_MAX], e[RSA_KEY_E_MAX];
    TRY(rsa_key_members(pkey, n, e));
    char json[sizeof n + sizeof e + 64];
    struct text t = text_on(json, sizeof json);
    text_put_f(&t, "{\"e\":\"%s\",\"kty\":\"RSA\",\"n\":\"%s\"}", e, n);
    uint8_t digest[SHA256_LEN];
    TRY(sha256(json, t.len, digest));
    base64url_encode(digest, sizeof digest, out);
    return OK;
}

bool rsa_key_kid_ok(const char *kid)
{
    size_t len = strlen(kid);
    if (len == 0 || len > KID_MAX)
        return false;
    for (size_t i = 0; i < len; i++)
        if (kid[i] < 0x21 || kid[i] > 0x7e || kid[i] == '"' || kid[i] == '\\')
            return false;
    return true;
}

enum err rsa_key_public_pem(const EVP_PKEY *pkey, struct secret *out)
{
    BIO *bio CLEANUP(cleanup_bio) = BIO_new(BIO_s_mem());
    char *data = NULL;
    if (bio == NULL || PEM_write_bio_PUBKEY(bio, pkey) != 1)
        return ERR_INTERNAL;
    long len = BIO_get_mem_data(bio, &data);
    return secret_copy(data, (size_t)len, out);
}

enum err rsa_key_generate(unsigned bits, struct secret *pem)
{
    EVP_PKEY *pkey CLEANUP(cleanup_pkey) = EVP_RSA_gen(bits);
    BIO *bio CLEANUP(cleanup_bio) = BIO_new(BIO_s_secmem());
    char *data = NULL;
    if (pkey == NULL || bio == NULL ||
        PEM_write_bio_PKCS8PrivateKey(bio, pkey, NULL, NULL, 0, NULL, NULL) != 1)
        return ERR_INTERNAL;
    long len = BIO_get_mem_data(bio, &data);
    return secret_copy(data, (size_t)len, pem);
}

enum err rsa_key_check_deep(const struct secret *private_pem, const char **why)
{
    EVP_PKEY *pkey CLEANUP(cleanup_pkey) = NULL;
    TRY(rsa_key_read(private_pem, true, &pkey, why));
    EVP_PKEY_CTX *ctx CLEANUP(cleanup_pkey_ctx) = EVP_PKEY_CTX_new(pkey, NULL);
    if (ctx == NULL)
        return ERR_INTERNAL;
    if (EVP_PKEY_check(ctx) != 1) {
        *why = "the RSA key is broken (its factors are not prime or do not fit)";
        return ERR_INVALID;
    }
    return OK;
}
