#include "auth/signer.h"

#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <string.h>

#include "auth/rsa_key.h"
#include "base/failpoint.h"
#include "base/sha256.h"

/* A planted fault spares the self-test, without which nothing would start. */
#define FAULTY_FROM 64

struct signer {
    EVP_PKEY *pkey;
    EVP_PKEY *public;
    EVP_PKEY_CTX *sign, *verify;
    char kid[KID_MAX + 1];
};

static void cleanup_signer(struct signer **signer)
{
    signer_close(*signer);
}

static bool set_scheme(EVP_PKEY_CTX *ctx)
{
    return EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_PADDING) == 1 &&
           EVP_PKEY_CTX_set_signature_md(ctx, EVP_sha256()) == 1;
}

enum err signer_open(const struct key_entry *entry, struct signer **out)
{
    struct signer *signer CLEANUP(cleanup_signer) = calloc(1, sizeof *signer);
    const char *why = NULL;
    if (signer == NULL)
        return ERR_INTERNAL;
    memcpy(signer->kid, entry->kid, sizeof signer->kid);
    TRY(rsa_key_read(&entry->private_pem, true, &signer->pkey, &why));
    TRY(rsa_key_read(&entry->public_pem, false, &signer->public, &why));
    signer->sign = EVP_PKEY_CTX_new(signer->pkey, NULL);
    signer->verify = EVP_PKEY_CTX_new(signer->public, NULL);
    if (signer->sign == NULL || signer->verify == NULL || EVP_PKEY_sign_init(signer->sign) != 1 ||
        EVP_PKEY_verify_init(signer->verify) != 1 || !set_scheme(signer->sign) ||
        !set_scheme(signer->verify))
        return ERR_INTERNAL;
    *out = TAKE(signer);
    return OK;
}

void signer_close(struct signer *signer)
{
    if (signer == NULL)
        return;
    EVP_PKEY_CTX_free(signer->sign);
    EVP_PKEY_CTX_free(signer->verify);
    EVP_PKEY_free(signer->pkey);
    EVP_PKEY_free(signer->public);
    free(signer);
}

const char *signer_kid(const struct signer *signer)
{
    return signer->kid;
}

enum err signer_sign(struct signer *signer, const void *data, size_t len,
                     uint8_t out[SIGNATURE_MAX], size_t *out_len)
{
    uint8_t digest[SHA256_LEN], sig[SIGNATURE_MAX];
    size_t n = sizeof sig;
    TRY(sha256(data, len, digest));
    if (EVP_PKEY_sign(signer->sign, sig, &n, digest, sizeof digest) != 1)
        return ERR_INTERNAL;
    if (WITHOUT("sound arithmetic") && len > FAULTY_FROM)
        sig[n / 2] ^= 1;
    if (EVP_PKEY_verify(signer->verify, sig, n, digest, sizeof digest) != 1) {
        secret_wipe(sig, sizeof sig);
        return ERR_INTERNAL;
    }
    memcpy(out, sig, n);
    *out_len = n;
    return OK;
}
