#include "unit.h"

#include <openssl/hmac.h>
#include <pthread.h>
#include <stdio.h>

#include "auth/service_keys.h"

static const char CURRENT[] = "0123456789abcdef0123456789abcdef";
static const char PREVIOUS[] = "previous previous previous previous";

static struct service_keys *keys_of(const char *current, const char *previous)
{
    struct secret now = {0}, before = {0};
    struct service_keys *keys = NULL;
    assert_ok(secret_copy(current, strlen(current), &now));
    assert_ok(secret_copy(previous, strlen(previous), &before));
    assert_ok(service_keys_open(&now, &before, &keys));
    secret_close(&now);
    secret_close(&before);
    return keys;
}

static void mac_of(const struct service_keys *keys, uint8_t id, enum key_purpose purpose,
                   const char *data, uint8_t out[MAC_LEN])
{
    const struct mac_part part = {data, strlen(data)};
    assert_ok(service_keys_mac(keys, id, purpose, &part, 1, out));
}

TEST(a_short_secret_is_refused)
{
    struct service_keys *keys = NULL;
    struct secret good = {0}, shorter = {0}, none = {0};
    assert_ok(secret_copy(CURRENT, 32, &good));
    assert_ok(secret_copy(CURRENT, 31, &shorter));
    assert_err(service_keys_open(&shorter, &none, &keys), ERR_INVALID);
    assert_err(service_keys_open(&good, &shorter, &keys), ERR_INVALID);
    assert_err(service_keys_open(&none, &good, &keys), ERR_INVALID);
    assert_null(keys);
    assert_ok(service_keys_open(&good, &none, &keys));
    service_keys_close(keys);
    service_keys_close(NULL);
    secret_close(&good);
    secret_close(&shorter);
}

/* HKDF-SHA-256 without salt (RFC 5869), written out with nothing but HMAC. */
static void hkdf(const char *secret, const char *info, uint8_t out[MAC_LEN])
{
    uint8_t prk[32], zeros[32] = {0}, block[128];
    unsigned n = 0;
    size_t len = strlen(info);
    HMAC(EVP_sha256(), zeros, sizeof zeros, (const uint8_t *)secret, strlen(secret), prk, &n);
    memcpy(block, info, len);
    block[len] = 1;
    HMAC(EVP_sha256(), prk, sizeof prk, block, len + 1, out, &n);
}

TEST(keys_are_those_of_rfc5869)
{
    static const struct {
        enum key_purpose purpose;
        const char *info;
    } cases[] = {
        {KEY_TOKEN_MAC, "watchword/1 refresh token mac"},
        {KEY_TOKEN_SEAL, "watchword/1 refresh token seal"},
        {KEY_IDENTITY, "watchword/1 identity digest"},
        {KEY_IDEMPOTENCY, "watchword/1 idempotency key"},
        {KEY_BEARER, "watchword/1 bearer comparison"},
    };
    struct service_keys *keys = keys_of(CURRENT, "");
    uint8_t key[32], expected[MAC_LEN], got[MAC_LEN];
    unsigned n = 0;
    assert_int_equal(ARRAY_LEN(cases), KEY_PURPOSES);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        hkdf(CURRENT, cases[i].info, key);
        HMAC(EVP_sha256(), key, sizeof key, (const uint8_t *)"data", 4, expected, &n);
        mac_of(keys, service_keys_current_id(keys), cases[i].purpose, "data", got);
        assert_memory_equal(got, expected, MAC_LEN);
    }
    hkdf(CURRENT, "watchword/1 secret id", key);
    assert_int_equal(service_keys_current_id(keys), key[0]);
    service_keys_close(keys);
}

TEST(what_is_made_for_one_purpose_or_secret_means_nothing_under_another)
{
    struct service_keys *keys = keys_of(CURRENT, PREVIOUS);
    struct service_keys *only_previous = keys_of(PREVIOUS, "");
    uint8_t ids[2] = {service_keys_current_id(keys), service_keys_current_id(only_previous)};
    uint8_t macs[2 * KEY_PURPOSES][MAC_LEN];
    for (unsigned s = 0; s < 2; s++)
        for (unsigned p = 0; p < KEY_PURPOSES; p++)
            mac_of(keys, ids[s], (enum key_purpose)p, "x", macs[s * KEY_PURPOSES + p]);
    for (unsigned a = 0; a < 2 * KEY_PURPOSES; a++)
        for (unsigned b = 0; b < a; b++)
            assert_memory_not_equal(macs[a], macs[b], MAC_LEN);
    service_keys_close(only_previous);
    service_keys_close(keys);
}

TEST(the_previous_secret_is_known_by_its_id_and_no_other_is)
{
    struct service_keys *keys = keys_of(CURRENT, PREVIOUS);
    struct service_keys *old = keys_of(PREVIOUS, "");
    uint8_t old_id = service_keys_current_id(old), a[MAC_LEN], b[MAC_LEN];
    unsigned known = 0;
    for (unsigned id = 0; id < 256; id++) {
        known += service_keys_knows(keys, (uint8_t)id);
        const struct mac_part part = {"x", 1};
        enum err e = service_keys_mac(keys, (uint8_t)id, KEY_TOKEN_MAC, &part, 1, a);
        assert_err(e, service_keys_knows(keys, (uint8_t)id) ? OK : ERR_DENIED);
    }
    assert_int_equal(known, 2);
    assert_true(service_keys_knows(keys, old_id));
    assert_false(service_keys_knows(old, service_keys_current_id(keys)));
    mac_of(keys, old_id, KEY_IDENTITY, "x", a);
    mac_of(old, old_id, KEY_IDENTITY, "x", b);
    assert_memory_equal(a, b, MAC_LEN);
    service_keys_close(old);
    service_keys_close(keys);
}

/* One secret in 256 has the id of another. */
TEST(a_previous_secret_with_the_same_id_is_refused)
{
    struct secret current = {0}, previous = {0};
    struct service_keys *keys = keys_of(CURRENT, ""), *out = NULL;
    uint8_t id = service_keys_current_id(keys);
    char text[SERVICE_SECRET_MIN + 1];
    assert_ok(secret_copy(CURRENT, strlen(CURRENT), &current));
    assert_err(service_keys_open(&current, &current, &out), ERR_CONFLICT);
    for (unsigned i = 0; previous.len == 0; i++) {
        snprintf(text, sizeof text, "%0*u", SERVICE_SECRET_MIN, i);
        struct service_keys *other = keys_of(text, "");
        if (service_keys_current_id(other) == id)
            assert_ok(secret_copy(text, strlen(text), &previous));
        service_keys_close(other);
    }
    assert_err(service_keys_open(&current, &previous, &out), ERR_CONFLICT);
    assert_null(out);
    service_keys_close(keys);
    secret_close(&current);
    secret_close(&previous);
}

TEST(parts_are_concatenated)
{
    struct service_keys *keys = keys_of(CURRENT, "");
    uint8_t id = service_keys_current_id(keys), whole[MAC_LEN], parts[MAC_LEN];
    const struct mac_part three[] = {{"ab", 2}, {"", 0}, {"cd", 2}};
    mac_of(keys, id, KEY_IDENTITY, "abcd", whole);
    assert_ok(service_keys_mac(keys, id, KEY_IDENTITY, three, 3, parts));
    assert_memory_equal(whole, parts, MAC_LEN);
    service_keys_close(keys);
}

struct mac_thread {
    const struct service_keys *keys;
    uint8_t expected[MAC_LEN];
    unsigned wrong;
};

static void *mac_often(void *arg)
{
    struct mac_thread *t = arg;
    const struct mac_part part = {"x", 1};
    for (unsigned i = 0; i < 2000; i++) {
        uint8_t mac[MAC_LEN];
        enum err e = service_keys_mac(t->keys, service_keys_current_id(t->keys), KEY_TOKEN_MAC,
                                      &part, 1, mac);
        t->wrong += e != OK || memcmp(mac, t->expected, MAC_LEN) != 0;
    }
    return NULL;
}

TEST(any_thread_may_use_the_keys)
{
    struct service_keys *keys = keys_of(CURRENT, "");
    struct mac_thread args[4];
    pthread_t threads[4];
    for (size_t i = 0; i < ARRAY_LEN(threads); i++) {
        args[i] = (struct mac_thread){.keys = keys};
        mac_of(keys, service_keys_current_id(keys), KEY_TOKEN_MAC, "x", args[i].expected);
        assert_int_equal(pthread_create(&threads[i], NULL, mac_often, &args[i]), 0);
    }
    for (size_t i = 0; i < ARRAY_LEN(threads); i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(args[i].wrong, 0);
    }
    service_keys_close(keys);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_short_secret_is_refused),
        cmocka_unit_test(keys_are_those_of_rfc5869),
        cmocka_unit_test(what_is_made_for_one_purpose_or_secret_means_nothing_under_another),
        cmocka_unit_test(the_previous_secret_is_known_by_its_id_and_no_other_is),
        cmocka_unit_test(a_previous_secret_with_the_same_id_is_refused),
        cmocka_unit_test(parts_are_concatenated),
        cmocka_unit_test(any_thread_may_use_the_keys),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
