#include "unit.h"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/param_build.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <stdio.h>

#include "auth/key_entry.h"
#include "auth/keyring.h"
#include "auth/rsa_key.h"
#include "auth/signer.h"
#include "base/json.h"

/* ---- keys as PEM ---- */

static struct secret taken(BIO *bio)
{
    char *data = NULL;
    struct secret s = {0};
    long n = BIO_get_mem_data(bio, &data);
    assert_ok(secret_copy(data, (size_t)n, &s));
    BIO_free(bio);
    return s;
}

static struct secret private_pem(EVP_PKEY *pkey)
{
    BIO *bio = BIO_new(BIO_s_mem());
    assert_int_equal(PEM_write_bio_PKCS8PrivateKey(bio, pkey, NULL, NULL, 0, NULL, NULL), 1);
    return taken(bio);
}

static struct secret public_pem(EVP_PKEY *pkey)
{
    BIO *bio = BIO_new(BIO_s_mem());
    assert_int_equal(PEM_write_bio_PUBKEY(bio, pkey), 1);
    return taken(bio);
}

static EVP_PKEY *rsa(unsigned bits, unsigned long e)
{
    EVP_PKEY *pkey = NULL;
    BIGNUM *exponent = BN_new();
    BN_set_word(exponent, e);
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "RSA", NULL);
    assert_int_equal(EVP_PKEY_keygen_init(ctx), 1);
    EVP_PKEY_CTX_set_rsa_keygen_bits(ctx, (int)bits);
    EVP_PKEY_CTX_set1_rsa_keygen_pubexp(ctx, exponent);
    assert_int_equal(EVP_PKEY_keygen(ctx, &pkey), 1);
    EVP_PKEY_CTX_free(ctx);
    BN_free(exponent);
    return pkey;
}

static EVP_PKEY *good, *other;

static int make_keys(void **state)
{
    (void)state;
    good = rsa(2048, 65537);
    other = rsa(2048, 65537);
    return 0;
}

static int free_keys(void **state)
{
    (void)state;
    EVP_PKEY_free(good);
    EVP_PKEY_free(other);
    return 0;
}

static enum err read_private(const struct secret *pem, const char *kid, struct key_entry *out)
{
    const char *why = NULL;
    enum err e = key_entry_private(pem, kid, KEY_ACTIVE, out, &why);
    if (e != OK)
        assert_non_null(why);
    return e;
}

static enum err read_public(const struct secret *pem, const char *kid, struct key_entry *out)
{
    const char *why = NULL;
    enum err e = key_entry_public(pem, kid, KEY_RETIRING, out, &why);
    if (e != OK)
        assert_non_null(why);
    return e;
}

/* One key that signs, and one before it or NULL. */
static struct key_set set_of(EVP_PKEY *active, const char *kid, EVP_PKEY *previous,
                             const char *previous_kid)
{
    struct secret pem = private_pem(active), before = {0};
    struct key_set set = {.count = previous != NULL ? 2 : 1};
    assert_ok(read_private(&pem, kid, &set.keys[0]));
    if (previous != NULL) {
        before = public_pem(previous);
        assert_ok(read_public(&before, previous_kid, &set.keys[1]));
    }
    secret_close(&pem);
    secret_close(&before);
    return set;
}

static struct keyring *opened(EVP_PKEY *active, const char *kid, EVP_PKEY *previous,
                              const char *previous_kid)
{
    struct key_set set = set_of(active, kid, previous, previous_kid);
    struct keyring *ring = NULL;
    assert_ok(keyring_open(&set, &ring));
    key_set_close(&set);
    return ring;
}

static void refused_private(const struct secret *pem, const char *kid)
{
    struct key_entry entry = {.created_at = 77};
    assert_err(read_private(pem, kid, &entry), ERR_INVALID);
    assert_int_equal(entry.created_at, 77);
}

static void refused_public(const struct secret *pem, const char *kid)
{
    struct key_entry entry = {.created_at = 77};
    assert_err(read_public(pem, kid, &entry), ERR_INVALID);
    assert_int_equal(entry.created_at, 77);
}

static void refused_bytes(const void *data, size_t len)
{
    struct secret pem = {0};
    assert_ok(secret_copy(data, len, &pem));
    refused_private(&pem, "");
    secret_close(&pem);
}

static void refused_key(EVP_PKEY *pkey)
{
    struct secret priv = private_pem(pkey), pub = public_pem(pkey);
    refused_private(&priv, "");
    refused_public(&pub, "");
    secret_close(&priv);
    secret_close(&pub);
    EVP_PKEY_free(pkey);
}

/* ---- what is refused ---- */

TEST(weak_rsa_keys_are_refused)
{
    refused_key(rsa(1024, 65537));
    refused_key(rsa(2047, 65537));
    refused_key(rsa(2048, 3));
    refused_key(rsa(2048, 17));
    refused_key(rsa(2048, 257));
}

TEST(other_kinds_of_key_are_refused)
{
    refused_key(EVP_EC_gen("P-256"));
    refused_key(EVP_PKEY_Q_keygen(NULL, NULL, "ED25519"));
    EVP_PKEY *pss = NULL;
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "RSA-PSS", NULL);
    assert_int_equal(EVP_PKEY_keygen_init(ctx), 1);
    EVP_PKEY_CTX_set_rsa_keygen_bits(ctx, 2048);
    assert_int_equal(EVP_PKEY_keygen(ctx, &pss), 1);
    EVP_PKEY_CTX_free(ctx);
    refused_key(pss);
}

TEST(an_encrypted_key_is_refused_without_asking)
{
    BIO *bio = BIO_new(BIO_s_mem());
    PEM_write_bio_PKCS8PrivateKey(bio, good, EVP_aes_256_cbc(), "secret", 6, NULL, NULL);
    struct secret pem = taken(bio);
    refused_bytes(pem.data, pem.len);
    secret_close(&pem);
    bio = BIO_new(BIO_s_mem());
    PEM_write_bio_PrivateKey_traditional(bio, good, EVP_aes_256_cbc(),
                                         (const unsigned char *)"secret", 6, NULL, NULL);
    pem = taken(bio);
    refused_bytes(pem.data, pem.len);
    secret_close(&pem);
}

TEST(every_truncation_of_a_key_is_refused)
{
    struct secret pem = private_pem(good);
    for (size_t len = 0; len + 2 < pem.len; len += 7)
        refused_bytes(pem.data, len);
    refused_bytes(pem.data, pem.len - 2);
    secret_close(&pem);
}

TEST(what_is_no_private_key_is_refused)
{
    struct secret pem = public_pem(good), priv = private_pem(good);
    refused_bytes(pem.data, pem.len);
    refused_bytes("", 0);
    refused_bytes("garbage", 7);
    static const char empty[] = "-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n";
    refused_bytes(empty, sizeof empty - 1);
    refused_public(&priv, "");
    secret_close(&pem);
    secret_close(&priv);
}

/* The modulus of one key with the private half of another. */
static EVP_PKEY *mismatched(void)
{
    static const char *const names[] = {
        OSSL_PKEY_PARAM_RSA_N,         OSSL_PKEY_PARAM_RSA_E,
        OSSL_PKEY_PARAM_RSA_D,         OSSL_PKEY_PARAM_RSA_FACTOR1,
        OSSL_PKEY_PARAM_RSA_FACTOR2,   OSSL_PKEY_PARAM_RSA_EXPONENT1,
        OSSL_PKEY_PARAM_RSA_EXPONENT2, OSSL_PKEY_PARAM_RSA_COEFFICIENT1};
    BIGNUM *numbers[ARRAY_LEN(names)] = {NULL};
    OSSL_PARAM_BLD *build = OSSL_PARAM_BLD_new();
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        assert_int_equal(EVP_PKEY_get_bn_param(i == 0 ? other : good, names[i], &numbers[i]), 1);
        OSSL_PARAM_BLD_push_BN(build, names[i], numbers[i]);
    }
    OSSL_PARAM *params = OSSL_PARAM_BLD_to_param(build);
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "RSA", NULL);
    EVP_PKEY *pkey = NULL;
    assert_int_equal(EVP_PKEY_fromdata_init(ctx), 1);
    assert_int_equal(EVP_PKEY_fromdata(ctx, &pkey, EVP_PKEY_KEYPAIR, params), 1);
    EVP_PKEY_CTX_free(ctx);
    OSSL_PARAM_free(params);
    OSSL_PARAM_BLD_free(build);
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        BN_clear_free(numbers[i]);
    return pkey;
}

TEST(halves_that_do_not_match_are_refused)
{
    EVP_PKEY *pkey = mismatched();
    struct secret pem = private_pem(pkey);
    refused_bytes(pem.data, pem.len);
    secret_close(&pem);
    EVP_PKEY_free(pkey);
}

TEST(kids_are_short_and_printable)
{
    struct secret pem = private_pem(good), pub = public_pem(other);
    char longest[KID_MAX + 2];
    memset(longest, 'k', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    const char *const bad[] = {"a b", "a\"b", "a\\b", "a\n", "\x7f", "\xc3\xa9", longest};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        refused_private(&pem, bad[i]);
        refused_public(&pub, bad[i]);
    }
    secret_close(&pem);
    secret_close(&pub);
    longest[KID_MAX] = '\0';
    keyring_close(opened(good, longest, NULL, ""));
}

static void refused_set(const struct key_set *set)
{
    struct keyring *ring = NULL;
    assert_non_null(key_set_flaw(set));
    assert_non_null(key_set_public_flaw(set));
    assert_err(keyring_open(set, &ring), ERR_INVALID);
    assert_null(ring);
}

TEST(a_set_has_one_active_key_and_distinct_kids)
{
    struct key_set set = set_of(good, "k", other, "k");
    struct key_set empty = {0};
    refused_set(&set);
    set.keys[1].kid[0] = 'l';
    set.keys[1].state = KEY_ACTIVE;
    refused_set(&set);
    set.keys[0].state = set.keys[1].state = KEY_NEXT;
    refused_set(&set);
    refused_set(&empty);
    assert_null(key_set_active(&empty));
    key_set_close(&set);
    set = set_of(good, "", good, "");
    refused_set(&set);
    key_set_close(&set);
}

TEST(a_revoked_key_is_not_published)
{
    struct key_set set = set_of(good, "now", other, "before");
    struct keyring *ring = NULL;
    size_t len = 0;
    set.keys[1].state = KEY_REVOKED;
    assert_ok(keyring_open(&set, &ring));
    assert_null(keyring_find(ring, "before", 6));
    assert_null(strstr(keyring_jwks(ring, &len), "before"));
    assert_int_equal(keyring_count(ring), 1);
    assert_string_equal(keyring_key_at(ring, 0).kid, "now");
    keyring_close(ring);
    key_set_close(&set);
}

TEST(a_set_full_of_the_largest_keys_is_published_whole)
{
    struct key_set set = {.count = KEYS_MAX};
    struct secret pem = {0};
    struct keyring *ring = NULL;
    size_t len = 0;
    EVP_PKEY *large = rsa(8192, 65537);
    pem = public_pem(large);
    for (unsigned i = 0; i < KEYS_MAX; i++) {
        char kid[KID_MAX + 1];
        memset(kid, 'a' + (int)i, KID_MAX);
        kid[KID_MAX] = '\0';
        assert_ok(read_public(&pem, kid, &set.keys[i]));
    }
    set.keys[7].state = KEY_ACTIVE;
    assert_ok(keyring_open(&set, &ring));
    assert_int_equal(keyring_count(ring), KEYS_MAX);
    assert_string_equal(keyring_active_kid(ring), set.keys[7].kid);
    const char *jwks = keyring_jwks(ring, &len);
    assert_int_equal(strlen(jwks), len);
    assert_true(len > (size_t)KEYS_MAX * (8192 / 6 + KID_MAX));
    keyring_close(ring);
    key_set_close(&set);
    secret_close(&pem);
    EVP_PKEY_free(large);
}

/* ---- what is accepted ---- */

TEST(a_generated_key_opens_and_stands_the_slow_checks)
{
    struct secret pem = {0};
    struct key_entry entry = {0};
    const char *why = NULL;
    assert_ok(rsa_key_generate(2048, &pem));
    assert_ok(read_private(&pem, "", &entry));
    assert_ok(rsa_key_check_deep(&entry.private_pem, &why));
    key_entry_close(&entry);
    keyring_close(NULL);
    secret_close(&pem);
}

/* Section 3.1 of RFC 7638. */
TEST(the_default_kid_is_the_thumbprint_of_rfc7638)
{
    static const char n[] =
        "D2FC7B6A0A1E6C67104AEB8F88B257669B4DF679DDAD099B5C4A6CD9A88015B5A133BF0B856C7871B6DF000B"
        "554FCEB3C2ED512BB68F145C6E8434752FAB52A1CFC124408F79B58A4578C16428855789F7A249E384CB2D9F"
        "AE2D67FD96FB926C198E077399FDC815C0AF097DDE5AADEFF44DE70E827F4878432439BFEEB96068D0474FC5"
        "0D6D90BF3A98DFAF1040C89C02D692AB3B3C2896609D86FD73B774CE0740647CEEEAA310BD12F985A8EB9F59"
        "FDD426CEA5B2120F4F2A34BCAB764B7E6C54D6840238BCC40587A59E66ED1F33894577635C470AF75CF92C20"
        "D1DA43E1BFC419E222A6F0D0BB358C5E38F9CB050AEAFE904814F1AC1AA49CCA9EA0CA83";
    BIGNUM *modulus = NULL, *e = BN_new();
    assert_true(BN_hex2bn(&modulus, n) > 0);
    BN_set_word(e, 65537);
    OSSL_PARAM_BLD *build = OSSL_PARAM_BLD_new();
    OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_N, modulus);
    OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_E, e);
    OSSL_PARAM *params = OSSL_PARAM_BLD_to_param(build);
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "RSA", NULL);
    EVP_PKEY *pkey = NULL;
    assert_int_equal(EVP_PKEY_fromdata_init(ctx), 1);
    assert_int_equal(EVP_PKEY_fromdata(ctx, &pkey, EVP_PKEY_PUBLIC_KEY, params), 1);
    struct keyring *ring = opened(good, "", pkey, "");
    static const char thumbprint[] = "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs";
    assert_non_null(keyring_find(ring, thumbprint, strlen(thumbprint)));
    keyring_close(ring);
    EVP_PKEY_free(pkey);
    EVP_PKEY_CTX_free(ctx);
    OSSL_PARAM_free(params);
    OSSL_PARAM_BLD_free(build);
    BN_free(modulus);
    BN_free(e);
}

TEST(the_key_set_publishes_both_keys_and_public_members_alone)
{
    struct keyring *ring = opened(good, "now", other, "before");
    static const char *const members[] = {"kty", "use", "kid", "alg", "n", "e"};
    size_t len = 0;
    const char *jwks = keyring_jwks(ring, &len), *why = NULL;
    json_t *set = NULL;
    assert_int_equal(strlen(jwks), len);
    assert_int_equal(strlen(keyring_jwks_etag(ring)), 34);
    assert_ok(json_read(jwks, len, &set, &why));
    json_t *keys = json_object_get(set, "keys");
    assert_int_equal(json_array_size(keys), 2);
    for (size_t i = 0; i < 2; i++) {
        json_t *key = json_array_get(keys, i);
        assert_int_equal(json_object_size(key), ARRAY_LEN(members));
        for (size_t m = 0; m < ARRAY_LEN(members); m++)
            assert_true(json_is_string(json_object_get(key, members[m])));
        assert_string_equal(json_string_value(json_object_get(key, "kid")),
                            i == 0 ? "now" : "before");
        assert_string_equal(json_string_value(json_object_get(key, "e")), "AQAB");
        assert_int_equal(json_string_length(json_object_get(key, "n")), 342);
    }
    json_decref(set);
    keyring_close(ring);
}

TEST(a_key_is_found_by_its_exact_kid)
{
    struct keyring *ring = opened(good, "now", other, "before");
    assert_string_equal(keyring_active_kid(ring), "now");
    assert_int_equal(EVP_PKEY_eq(keyring_find(ring, "now", 3), good), 1);
    assert_int_equal(EVP_PKEY_eq(keyring_find(ring, "before", 6), other), 1);
    assert_null(keyring_find(ring, "no", 2));
    assert_null(keyring_find(ring, "", 0));
    assert_null(keyring_find(ring, "now\0x", 5));
    assert_null(keyring_find(ring, "NOW", 3));
    assert_null(keyring_find(ring, "../../dev/null", 14));
    keyring_close(ring);
}

TEST(a_signature_is_rs256_of_the_active_key)
{
    struct key_set set = set_of(good, "", other, "");
    struct signer *signer = NULL;
    uint8_t sig[SIGNATURE_MAX];
    size_t len = 0;
    assert_ok(signer_open(&set.keys[0], &signer));
    assert_string_equal(signer_kid(signer), set.keys[0].kid);
    assert_ok(signer_sign(signer, "data", 4, sig, &len));
    assert_int_equal(len, 256);
    for (unsigned flip = 0; flip < 3; flip++) {
        EVP_MD_CTX *md = EVP_MD_CTX_new();
        sig[100] ^= flip == 1;
        EVP_DigestVerifyInit(md, NULL, EVP_sha256(), NULL, flip == 2 ? other : good);
        int ok = EVP_DigestVerify(md, sig, len, (const uint8_t *)"data", 4);
        assert_int_equal(ok == 1, flip == 0);
        sig[100] ^= flip == 1;
        EVP_MD_CTX_free(md);
    }
    signer_close(signer);
    signer_close(NULL);
    key_set_close(&set);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(weak_rsa_keys_are_refused),
        cmocka_unit_test(other_kinds_of_key_are_refused),
        cmocka_unit_test(an_encrypted_key_is_refused_without_asking),
        cmocka_unit_test(every_truncation_of_a_key_is_refused),
        cmocka_unit_test(what_is_no_private_key_is_refused),
        cmocka_unit_test(halves_that_do_not_match_are_refused),
        cmocka_unit_test(kids_are_short_and_printable),
        cmocka_unit_test(a_set_has_one_active_key_and_distinct_kids),
        cmocka_unit_test(a_revoked_key_is_not_published),
        cmocka_unit_test(a_set_full_of_the_largest_keys_is_published_whole),
        cmocka_unit_test(a_generated_key_opens_and_stands_the_slow_checks),
        cmocka_unit_test(the_default_kid_is_the_thumbprint_of_rfc7638),
        cmocka_unit_test(the_key_set_publishes_both_keys_and_public_members_alone),
        cmocka_unit_test(a_key_is_found_by_its_exact_kid),
        cmocka_unit_test(a_signature_is_rs256_of_the_active_key),
    };
    return cmocka_run_group_tests(tests, make_keys, free_keys);
}
