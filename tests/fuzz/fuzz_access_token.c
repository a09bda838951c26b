/* Access tokens under one key, made at the start: nothing but the one token that was issued is
 * accepted, and that one not with a byte changed. A header and claims that are truly signed meet
 * the rest of it. */
#include "fuzz.h"

#include "auth/access_token.h"
#include "auth/key_entry.h"
#include "auth/rsa_key.h"
#include "auth/signer.h"
#include "base/encode.h"

static const struct access_policy POLICY = {"https://id.example", "api", "", 600};
static struct keyring *ring;
static struct signer *signer;

static void open_ring(void)
{
    struct secret pem = {0};
    struct key_set set = {.count = 1};
    const char *why = NULL;
    REQUIRE(rsa_key_generate(2048, &pem) == OK);
    REQUIRE(key_entry_private(&pem, "fuzz", KEY_ACTIVE, &set.keys[0], &why) == OK);
    REQUIRE(keyring_open(&set, &ring) == OK && signer_open(&set.keys[0], &signer) == OK);
    key_set_close(&set);
    secret_close(&pem);
}

/* The input up to its first NUL becomes the header, the rest the claims. */
static size_t sign(const uint8_t *data, size_t size, char *out)
{
    const uint8_t *nul = memchr(data, 0, size);
    size_t header = nul != NULL ? (size_t)(nul - data) : 0, at = nul != NULL ? header + 1 : 0;
    uint8_t sig[SIGNATURE_MAX];
    size_t sig_len = 0, n = base64url_encode(data, header, out);
    out[n++] = '.';
    n += base64url_encode(data + at, size - at, out + n);
    REQUIRE(signer_sign(signer, out, n, sig, &sig_len) == OK);
    out[n++] = '.';
    return n + base64url_encode(sig, sig_len, out + n);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char text[ACCESS_TOKEN_MAX];
    struct access_claims claims;
    if (ring == NULL)
        open_ring();
    REQUIRE(access_token_verify(&POLICY, ring, (const char *)data, size, 1700000000, &claims) !=
            OK);
    if (size < 4096) {
        size_t n = sign(data, size, text);
        if (access_token_verify(&POLICY, ring, text, n, 1700000000, &claims) == OK) {
            REQUIRE(memmem(data, size, "RS256", 5) != NULL);
            text[n / 2] = text[n / 2] == 'A' ? 'B' : 'A';
            REQUIRE(access_token_verify(&POLICY, ring, text, n, 1700000000, &claims) != OK);
        }
    }
    (void)access_extra_claims((const char *)data, size, text);
    return 0;
}
