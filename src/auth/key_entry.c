#include "auth/key_entry.h"

#include <openssl/evp.h>
#include <string.h>

#include "auth/rsa_check.h"
#include "auth/rsa_key.h"
#include "auth/signer.h"
#include "base/text.h"

static void cleanup_pkey(EVP_PKEY **pkey)
{
    EVP_PKEY_free(*pkey);
}

static enum err set_kid(struct key_entry *entry, const EVP_PKEY *pkey, const char *kid,
                        const char **why)
{
    if (kid[0] == '\0')
        return rsa_key_thumbprint(pkey, entry->kid);
    if (!rsa_key_kid_ok(kid)) {
        *why = "the kid is not 1 to 128 printable ASCII characters";
        return ERR_INVALID;
    }
    text_copy(entry->kid, sizeof entry->kid, kid, strlen(kid));
    return OK;
}

/* Through the CRT values, and verified with the n and e that will be published: a key whose parts
 * do not belong together fails here. */
static enum err self_test(const struct key_entry *entry)
{
    static const char probe[] = "watchword signing self-test";
    struct signer *signer = NULL;
    uint8_t sig[SIGNATURE_MAX];
    size_t sig_len = 0;
    TRY(signer_open(entry, &signer));
    enum err e = signer_sign(signer, probe, sizeof probe, sig, &sig_len);
    signer_close(signer);
    return e;
}

static enum err fill(struct key_entry *entry, const struct secret *pem, bool private,
                     const char *kid, const char **why)
{
    EVP_PKEY *pkey CLEANUP(cleanup_pkey) = NULL;
    TRY(rsa_key_read(pem, private, &pkey, why));
    TRY(set_kid(entry, pkey, kid, why));
    TRY(rsa_key_public_pem(pkey, &entry->public_pem));
    if (!private)
        return OK;
    const char *broken = rsa_check_private(pkey);
    if (broken != NULL) {
        *why = broken;
        return ERR_INVALID;
    }
    TRY(secret_copy(pem->data, pem->len, &entry->private_pem));
    *why = "the RSA key's halves do not match";
    return self_test(entry);
}

static enum err read_entry(const struct secret *pem, bool private, const char *kid,
                           enum key_state state, struct key_entry *out, const char **why)
{
    struct key_entry entry = {.state = state};
    *why = "out of memory";
    enum err e = fill(&entry, pem, private, kid, why);
    if (e == OK)
        *out = entry;
    else
        key_entry_close(&entry);
    return e == OK ? OK : ERR_INVALID;
}

enum err key_entry_private(const struct secret *pem, const char *kid, enum key_state state,
                           struct key_entry *out, const char **why)
{
    return read_entry(pem, true, kid, state, out, why);
}

enum err key_entry_public(const struct secret *pem, const char *kid, enum key_state state,
                          struct key_entry *out, const char **why)
{
    return read_entry(pem, false, kid, state, out, why);
}
