#include "auth/rsa_check.h"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <stdbool.h>

#include "base/macros.h"

enum value { N, E, D, P, Q, DP, DQ, QI, VALUES };

static const char *const VALUE_NAMES[VALUES] = {
    OSSL_PKEY_PARAM_RSA_N,         OSSL_PKEY_PARAM_RSA_E,
    OSSL_PKEY_PARAM_RSA_D,         OSSL_PKEY_PARAM_RSA_FACTOR1,
    OSSL_PKEY_PARAM_RSA_FACTOR2,   OSSL_PKEY_PARAM_RSA_EXPONENT1,
    OSSL_PKEY_PARAM_RSA_EXPONENT2, OSSL_PKEY_PARAM_RSA_COEFFICIENT1,
};

/* Scratch numbers, cleared in the end. */
struct sums {
    BN_CTX *ctx;
    BIGNUM *v[VALUES];
    BIGNUM *a, *b;
};

static void sums_close(struct sums *s)
{
    for (unsigned i = 0; i < VALUES; i++)
        BN_clear_free(s->v[i]);
    BN_clear_free(s->a);
    BN_clear_free(s->b);
    BN_CTX_free(s->ctx);
}

static bool sums_open(const EVP_PKEY *key, struct sums *s)
{
    s->ctx = BN_CTX_secure_new();
    s->a = BN_new();
    s->b = BN_new();
    bool ok = s->ctx != NULL && s->a != NULL && s->b != NULL;
    for (unsigned i = 0; ok && i < VALUES; i++)
        ok = EVP_PKEY_get_bn_param(key, VALUE_NAMES[i], &s->v[i]) == 1;
    return ok;
}

/* e * d = 1 and d = the CRT exponent, both mod (factor - 1). */
static bool exponents_fit(struct sums *s, const BIGNUM *factor, const BIGNUM *crt)
{
    BIGNUM *order = s->a, *r = s->b;
    return BN_sub(order, factor, BN_value_one()) == 1 &&
           BN_mod_mul(r, s->v[E], s->v[D], order, s->ctx) == 1 && BN_is_one(r) &&
           BN_nnmod(r, s->v[D], order, s->ctx) == 1 && BN_cmp(r, crt) == 0;
}

/* Factors that lie close together are found at once (Fermat): FIPS 186-4, B.3.3. */
static bool factors_apart(struct sums *s)
{
    return BN_sub(s->a, s->v[P], s->v[Q]) == 1 &&
           BN_num_bits(s->a) > BN_num_bits(s->v[N]) / 2 - 100;
}

const char *rsa_check_private(const EVP_PKEY *key)
{
    struct sums s CLEANUP(sums_close) = {0};
    if (!sums_open(key, &s))
        return "the RSA key lacks some of its values";
    if (BN_is_one(s.v[P]) || BN_is_one(s.v[Q]) || BN_mul(s.a, s.v[P], s.v[Q], s.ctx) != 1 ||
        BN_cmp(s.a, s.v[N]) != 0)
        return "the RSA key is broken: its modulus is not the product of its two factors";
    if (!exponents_fit(&s, s.v[P], s.v[DP]) || !exponents_fit(&s, s.v[Q], s.v[DQ]))
        return "the RSA key is broken: its exponents do not fit";
    if (BN_mod_mul(s.a, s.v[QI], s.v[Q], s.v[P], s.ctx) != 1 || !BN_is_one(s.a))
        return "the RSA key is broken: its coefficient does not fit";
    if (!factors_apart(&s))
        return "the RSA key is weak: its factors lie too close together";
    return NULL;
}
