#include "unit.h"

#include "auth/refresh_token.h"
#include "base/encode.h"

static const char CURRENT[] = "0123456789abcdef0123456789abcdef";
static const char PREVIOUS[] = "previous previous previous previous";
static const struct uuid SESSION = {{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}};

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

static struct service_keys *keys;

static int open_keys(void **state)
{
    (void)state;
    keys = keys_of(CURRENT, "");
    return 0;
}

static int close_keys(void **state)
{
    (void)state;
    service_keys_close(keys);
    return 0;
}

static struct refresh_token made(void)
{
    struct refresh_token token;
    assert_ok(refresh_token_make(keys, &SESSION, &token));
    return token;
}

static void same(const struct refresh_token *a, const struct refresh_token *b)
{
    assert_int_equal(a->key_id, b->key_id);
    assert_true(uuid_equal(&a->session_id, &b->session_id));
    assert_int_equal(a->generation, b->generation);
    assert_memory_equal(a->random, b->random, sizeof a->random);
}

TEST(format_and_parse_are_inverse_at_every_generation)
{
    static const uint32_t generations[] = {0, 1, 255, 256, 0x01020304, UINT32_MAX};
    for (size_t i = 0; i < ARRAY_LEN(generations); i++) {
        struct refresh_token token = made(), back;
        char text[REFRESH_TOKEN_LEN + 1];
        token.generation = generations[i];
        assert_ok(refresh_token_format(keys, &token, text));
        assert_int_equal(strlen(text), REFRESH_TOKEN_LEN);
        assert_memory_equal(text, "wwr_", 4);
        assert_ok(refresh_token_parse(keys, text, REFRESH_TOKEN_LEN, &back));
        same(&token, &back);
    }
}

TEST(no_two_tokens_are_alike)
{
    enum { COUNT = 2000 };
    static struct refresh_token tokens[COUNT];
    unsigned ones = 0;
    for (unsigned i = 0; i < COUNT; i++) {
        tokens[i] = made();
        for (unsigned b = 0; b < REFRESH_RANDOM_LEN; b++)
            ones += (unsigned)__builtin_popcount(tokens[i].random[b]);
        for (unsigned k = 0; k < i; k++)
            assert_memory_not_equal(tokens[i].random, tokens[k].random, REFRESH_RANDOM_LEN);
    }
    /* Half of the bits, within six standard deviations. */
    unsigned bits = COUNT * REFRESH_RANDOM_LEN * 8;
    assert_in_range(ones, bits / 2 - 6 * 358, bits / 2 + 6 * 358);
}

static bool has_bit(const uint8_t *row, unsigned bit)
{
    return (row[bit / 8] >> bit % 8 & 1) != 0;
}

/* How many of their bits are neither fixed nor a sum of others: the rank, by elimination, of what
 * the rows differ from the first in. */
static unsigned independent_bits(uint8_t (*rows)[REFRESH_RANDOM_LEN], unsigned count)
{
    unsigned rank = 1;
    for (unsigned i = 1; i < count; i++)
        for (unsigned b = 0; b < REFRESH_RANDOM_LEN; b++)
            rows[i][b] ^= rows[0][b];
    for (unsigned bit = 0; bit < 8 * REFRESH_RANDOM_LEN && rank < count; bit++) {
        unsigned at = rank;
        while (at < count && !has_bit(rows[at], bit))
            at++;
        if (at == count)
            continue;
        for (unsigned b = 0; b < REFRESH_RANDOM_LEN; b++) {
            uint8_t byte = rows[at][b];
            rows[at][b] = rows[rank][b];
            rows[rank][b] = byte;
        }
        for (unsigned i = rank + 1; i < count; i++) {
            bool has = has_bit(rows[i], bit);
            for (unsigned b = 0; has && b < REFRESH_RANDOM_LEN; b++)
                rows[i][b] ^= rows[rank][b];
        }
        rank++;
    }
    return rank - 1;
}

/* With 64 more than are needed, random rows fall short once in 2^64 times. */
TEST(no_random_bit_follows_from_the_others)
{
    enum { BITS = 8 * REFRESH_RANDOM_LEN, COUNT = BITS + 65 };
    static uint8_t first[COUNT][REFRESH_RANDOM_LEN], rotated[COUNT][REFRESH_RANDOM_LEN];
    struct refresh_token token = made();
    for (unsigned i = 0; i < COUNT; i++) {
        struct refresh_token fresh = made(), old = token;
        assert_ok(refresh_token_next(keys, &old, &token));
        memcpy(first[i], fresh.random, sizeof first[i]);
        memcpy(rotated[i], token.random, sizeof rotated[i]);
    }
    assert_int_equal(independent_bits(first, COUNT), BITS);
    assert_int_equal(independent_bits(rotated, COUNT), BITS);
}

TEST(every_flipped_bit_is_refused_and_leaves_the_output_alone)
{
    struct refresh_token token = made(), out = {.generation = 77};
    char text[REFRESH_TOKEN_LEN + 1];
    uint8_t raw[70];
    size_t n = 0;
    assert_ok(refresh_token_format(keys, &token, text));
    assert_ok(base64url_decode(text + 4, REFRESH_TOKEN_LEN - 4, raw, sizeof raw, &n));
    assert_int_equal(n, sizeof raw);
    for (size_t bit = 0; bit < 8 * sizeof raw; bit++) {
        raw[bit / 8] ^= (uint8_t)(1u << bit % 8);
        base64url_encode(raw, sizeof raw, text + 4);
        raw[bit / 8] ^= (uint8_t)(1u << bit % 8);
        /* A version of its own is of another form. */
        assert_err(refresh_token_parse(keys, text, REFRESH_TOKEN_LEN, &out),
                   bit < 8 ? ERR_MALFORMED : ERR_DENIED);
        assert_int_equal(out.generation, 77);
    }
    base64url_encode(raw, sizeof raw, text + 4);
    assert_ok(refresh_token_parse(keys, text, REFRESH_TOKEN_LEN, &out));
}

TEST(every_replaced_character_is_refused)
{
    struct refresh_token token = made(), out;
    char text[REFRESH_TOKEN_LEN + 1];
    assert_ok(refresh_token_format(keys, &token, text));
    for (size_t at = 0; at < REFRESH_TOKEN_LEN; at++)
        for (unsigned c = 0; c < 256; c++) {
            char was = text[at];
            if (c == (unsigned char)was)
                continue;
            text[at] = (char)c;
            assert_int_not_equal(refresh_token_parse(keys, text, REFRESH_TOKEN_LEN, &out), OK);
            text[at] = was;
        }
}

TEST(every_other_length_is_malformed)
{
    struct refresh_token token = made(), out;
    char text[2 * REFRESH_TOKEN_LEN + 1];
    assert_ok(refresh_token_format(keys, &token, text));
    memset(text + REFRESH_TOKEN_LEN, 'A', REFRESH_TOKEN_LEN);
    for (size_t len = 0; len <= 2 * REFRESH_TOKEN_LEN; len++)
        if (len != REFRESH_TOKEN_LEN)
            assert_err(refresh_token_parse(keys, text, len, &out), ERR_MALFORMED);
}

TEST(a_token_of_another_service_is_denied)
{
    struct service_keys *other = keys_of(PREVIOUS, "");
    struct refresh_token token, out;
    char text[REFRESH_TOKEN_LEN + 1];
    assert_ok(refresh_token_make(other, &SESSION, &token));
    assert_ok(refresh_token_format(other, &token, text));
    assert_err(refresh_token_parse(keys, text, REFRESH_TOKEN_LEN, &out), ERR_DENIED);
    /* Nor does it help to claim our key id. */
    token.key_id = service_keys_current_id(keys);
    assert_err(refresh_token_format(other, &token, text), ERR_DENIED);
    service_keys_close(other);
}

TEST(a_change_of_the_secret_keeps_old_tokens_and_makes_new_ones)
{
    struct service_keys *before = keys_of(PREVIOUS, ""), *after = keys_of(CURRENT, PREVIOUS);
    struct refresh_token old, read, next, opened;
    char text[REFRESH_TOKEN_LEN + 1];
    uint8_t sealed[REFRESH_SEALED_LEN];
    assert_ok(refresh_token_make(before, &SESSION, &old));
    assert_ok(refresh_token_format(before, &old, text));
    assert_ok(refresh_token_parse(after, text, REFRESH_TOKEN_LEN, &read));
    same(&old, &read);
    assert_ok(refresh_token_next(after, &read, &next));
    assert_int_equal(next.key_id, service_keys_current_id(after));
    assert_int_not_equal(next.key_id, old.key_id);
    assert_ok(refresh_token_seal(after, &read, &next, sealed));
    assert_ok(refresh_token_unseal(after, &read, sealed, sizeof sealed, &opened));
    same(&next, &opened);
    /* Once the old secret is gone, so are its tokens; the new one's stay. */
    assert_err(refresh_token_parse(keys, text, REFRESH_TOKEN_LEN, &read), ERR_DENIED);
    assert_ok(refresh_token_format(after, &next, text));
    assert_ok(refresh_token_parse(keys, text, REFRESH_TOKEN_LEN, &read));
    assert_err(refresh_token_parse(before, text, REFRESH_TOKEN_LEN, &read), ERR_DENIED);
    service_keys_close(before);
    service_keys_close(after);
}

TEST(the_next_token_is_of_the_same_session_and_one_generation_on)
{
    struct refresh_token old = made(), next;
    old.generation = 41;
    assert_ok(refresh_token_next(keys, &old, &next));
    assert_int_equal(next.generation, 42);
    assert_true(uuid_equal(&next.session_id, &SESSION));
    assert_memory_not_equal(next.random, old.random, REFRESH_RANDOM_LEN);
    old.generation = UINT32_MAX;
    next.generation = 77;
    assert_err(refresh_token_next(keys, &old, &next), ERR_TOO_LARGE);
    assert_int_equal(next.generation, 77);
}

TEST(the_digest_names_the_random_part_alone)
{
    struct refresh_token a = made(), b = a;
    uint8_t da[REFRESH_DIGEST_LEN], db[REFRESH_DIGEST_LEN];
    b.generation++;
    assert_ok(refresh_token_digest(&a, da));
    assert_ok(refresh_token_digest(&b, db));
    assert_memory_equal(da, db, sizeof da);
    b.random[31] ^= 1;
    assert_ok(refresh_token_digest(&b, db));
    assert_memory_not_equal(da, db, sizeof da);
    assert_memory_not_equal(da, a.random, sizeof da);
}

TEST(a_successor_opens_with_the_right_old_token_only)
{
    struct refresh_token old = made(), next, out;
    uint8_t sealed[REFRESH_SEALED_LEN];
    assert_ok(refresh_token_next(keys, &old, &next));
    assert_ok(refresh_token_seal(keys, &old, &next, sealed));
    assert_ok(refresh_token_unseal(keys, &old, sealed, sizeof sealed, &out));
    same(&next, &out);
    out.generation = 77;
    for (size_t bit = 0; bit < 8 * REFRESH_RANDOM_LEN; bit++) {
        struct refresh_token wrong = old;
        wrong.random[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_err(refresh_token_unseal(keys, &wrong, sealed, sizeof sealed, &out), ERR_DENIED);
    }
    struct refresh_token wrong = old;
    wrong.generation++;
    assert_err(refresh_token_unseal(keys, &wrong, sealed, sizeof sealed, &out), ERR_DENIED);
    wrong = old;
    wrong.session_id.b[0] ^= 1;
    assert_err(refresh_token_unseal(keys, &wrong, sealed, sizeof sealed, &out), ERR_DENIED);
    assert_err(refresh_token_unseal(keys, &next, sealed, sizeof sealed, &out), ERR_DENIED);
    assert_int_equal(out.generation, 77);
}

TEST(a_successor_does_not_open_without_the_services_secret)
{
    struct service_keys *other = keys_of(PREVIOUS, "");
    struct refresh_token old = made(), next, out;
    uint8_t sealed[REFRESH_SEALED_LEN];
    assert_ok(refresh_token_next(keys, &old, &next));
    assert_ok(refresh_token_seal(keys, &old, &next, sealed));
    assert_err(refresh_token_unseal(other, &old, sealed, sizeof sealed, &out), ERR_DENIED);
    old.key_id = service_keys_current_id(other);
    assert_err(refresh_token_unseal(other, &old, sealed, sizeof sealed, &out), ERR_DENIED);
    service_keys_close(other);
}

TEST(every_flipped_bit_of_a_sealed_successor_is_denied)
{
    struct refresh_token old = made(), next, out;
    uint8_t sealed[REFRESH_SEALED_LEN + 1] = {0};
    assert_ok(refresh_token_next(keys, &old, &next));
    assert_ok(refresh_token_seal(keys, &old, &next, sealed));
    for (size_t bit = 0; bit < 8 * REFRESH_SEALED_LEN; bit++) {
        sealed[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_err(refresh_token_unseal(keys, &old, sealed, REFRESH_SEALED_LEN, &out), ERR_DENIED);
        sealed[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    for (size_t len = 0; len <= sizeof sealed; len++)
        assert_err(refresh_token_unseal(keys, &old, sealed, len, &out),
                   len == REFRESH_SEALED_LEN ? OK : ERR_DENIED);
    old.generation = UINT32_MAX;
    assert_err(refresh_token_unseal(keys, &old, sealed, REFRESH_SEALED_LEN, &out), ERR_DENIED);
}

TEST(the_same_successor_is_never_sealed_the_same_way_twice)
{
    struct refresh_token old = made(), next;
    uint8_t a[REFRESH_SEALED_LEN], b[REFRESH_SEALED_LEN];
    assert_ok(refresh_token_next(keys, &old, &next));
    assert_ok(refresh_token_seal(keys, &old, &next, a));
    assert_ok(refresh_token_seal(keys, &old, &next, b));
    assert_memory_not_equal(a, b, 12);
    assert_memory_not_equal(a + 12, b + 12, sizeof a - 12);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(format_and_parse_are_inverse_at_every_generation),
        cmocka_unit_test(no_two_tokens_are_alike),
        cmocka_unit_test(no_random_bit_follows_from_the_others),
        cmocka_unit_test(every_flipped_bit_is_refused_and_leaves_the_output_alone),
        cmocka_unit_test(every_replaced_character_is_refused),
        cmocka_unit_test(every_other_length_is_malformed),
        cmocka_unit_test(a_token_of_another_service_is_denied),
        cmocka_unit_test(a_change_of_the_secret_keeps_old_tokens_and_makes_new_ones),
        cmocka_unit_test(the_next_token_is_of_the_same_session_and_one_generation_on),
        cmocka_unit_test(the_digest_names_the_random_part_alone),
        cmocka_unit_test(a_successor_opens_with_the_right_old_token_only),
        cmocka_unit_test(a_successor_does_not_open_without_the_services_secret),
        cmocka_unit_test(every_flipped_bit_of_a_sealed_successor_is_denied),
        cmocka_unit_test(the_same_successor_is_never_sealed_the_same_way_twice),
    };
    return cmocka_run_group_tests(tests, open_keys, close_keys);
}
