#include "unit.h"

#include "auth/key_wire.h"

static struct key_set sample(unsigned count)
{
    struct key_set set = {.count = count};
    for (unsigned i = 0; i < count; i++) {
        struct key_entry *key = &set.keys[i];
        key->kid[0] = (char)('a' + i);
        key->state = (enum key_state)(i % KEY_STATES);
        key->created_at = 100 + i;
        key->published_at = 200 + i;
        key->activated_at = 300 + i;
        key->retired_at = 400 + i;
        key->revoked_at = 500 + i;
        assert_ok(secret_copy("PRIVATE", 7, &key->private_pem));
        assert_ok(secret_copy("PUBLIC", 6, &key->public_pem));
    }
    return set;
}

TEST(a_set_arrives_as_it_was_but_for_the_private_halves)
{
    static struct key_wire wire;
    for (unsigned count = 0; count <= KEYS_MAX; count++) {
        struct key_set set = sample(count), got = {0};
        size_t size = 0;
        assert_ok(key_wire_pack(&set, &wire, &size));
        assert_null(memmem(&wire, sizeof wire, "PRIVATE", 7));
        assert_ok(key_wire_unpack(&wire, size, &got));
        assert_int_equal(got.count, count);
        for (unsigned i = 0; i < count; i++) {
            assert_string_equal(got.keys[i].kid, set.keys[i].kid);
            assert_int_equal(got.keys[i].state, set.keys[i].state);
            assert_int_equal(got.keys[i].created_at, set.keys[i].created_at);
            assert_int_equal(got.keys[i].published_at, set.keys[i].published_at);
            assert_int_equal(got.keys[i].activated_at, set.keys[i].activated_at);
            assert_int_equal(got.keys[i].retired_at, set.keys[i].retired_at);
            assert_int_equal(got.keys[i].revoked_at, set.keys[i].revoked_at);
            assert_int_equal(got.keys[i].public_pem.len, 6);
            assert_memory_equal(got.keys[i].public_pem.data, "PUBLIC", 6);
            assert_int_equal(got.keys[i].private_pem.len, 0);
        }
        key_set_close(&set);
        key_set_close(&got);
    }
}

TEST(what_is_not_of_that_form_is_refused)
{
    static struct key_wire wire;
    struct key_set set = sample(3), got = {.count = 77};
    size_t size = 0;
    assert_ok(key_wire_pack(&set, &wire, &size));
    for (size_t wrong = 0; wrong < size; wrong += 97)
        assert_err(key_wire_unpack(&wire, wrong, &got), ERR_MALFORMED);
    assert_err(key_wire_unpack(&wire, size + 1, &got), ERR_MALFORMED);
    wire.count = KEYS_MAX + 1;
    assert_err(key_wire_unpack(&wire, sizeof wire, &got), ERR_MALFORMED);
    wire.count = 3;
    wire.keys[1].state = KEY_STATES;
    assert_err(key_wire_unpack(&wire, size, &got), ERR_MALFORMED);
    wire.keys[1].state = KEY_ACTIVE;
    wire.keys[2].pem_len = KEY_WIRE_PEM_MAX + 1;
    assert_err(key_wire_unpack(&wire, size, &got), ERR_MALFORMED);
    wire.keys[2].pem_len = 6;
    memset(wire.keys[0].kid, 'k', sizeof wire.keys[0].kid);
    assert_err(key_wire_unpack(&wire, size, &got), ERR_MALFORMED);
    wire.keys[0].kid[0] = '\0';
    assert_err(key_wire_unpack(&wire, size, &got), ERR_MALFORMED);
    assert_int_equal(got.count, 77);
    key_set_close(&set);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_set_arrives_as_it_was_but_for_the_private_halves),
        cmocka_unit_test(what_is_not_of_that_form_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
