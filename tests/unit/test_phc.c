#include "unit.h"

#include <stdio.h>

#include "auth/phc.h"

#define SALT "c2FsdHNhbHRzYWx0c2FsdA"
#define TAG "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"
#define GOOD "$argon2id$v=19$m=65536,t=3,p=1$" SALT "$" TAG

static struct phc parsed(const char *in)
{
    struct phc phc;
    assert_ok(phc_parse(in, strlen(in), &phc));
    return phc;
}

TEST(a_stored_hash_is_taken_apart)
{
    struct phc phc = parsed(GOOD);
    assert_int_equal(phc.params.memory_kib, 65536);
    assert_int_equal(phc.params.iterations, 3);
    assert_int_equal(phc.params.parallelism, 1);
    assert_string_equal(phc.keyid, "");
    assert_int_equal(phc.salt_len, 16);
    assert_memory_equal(phc.salt, "saltsaltsaltsalt", 16);
    assert_int_equal(phc.tag_len, 32);
    for (uint8_t i = 0; i < 32; i++)
        assert_int_equal(phc.tag[i], i);
    phc = parsed("$argon2id$v=19$m=65536,t=3,p=1,keyid=2025.a_b-C$" SALT "$" TAG);
    assert_string_equal(phc.keyid, "2025.a_b-C");
}

TEST(parse_and_format_are_inverse)
{
    uint64_t seed = 5;
    for (unsigned i = 0; i < 2000; i++) {
        struct phc phc = {.params = {.parallelism = 1 + (uint32_t)(next_random(&seed) % 255)}};
        struct phc back;
        char text[PHC_MAX + 1];
        uint32_t least = 8 * phc.params.parallelism;
        phc.params.memory_kib =
            least + (uint32_t)(next_random(&seed) % (UINT32_MAX - (uint64_t)least + 1));
        phc.params.iterations = 1 + (uint32_t)(next_random(&seed) % UINT32_MAX);
        phc.salt_len = 8 + next_random(&seed) % (PHC_SALT_MAX - 7);
        phc.tag_len = 16 + next_random(&seed) % (PHC_TAG_MAX - 15);
        fill_random(&seed, phc.salt, phc.salt_len);
        fill_random(&seed, phc.tag, phc.tag_len);
        memset(phc.keyid, 'k', next_random(&seed) % (PHC_KEYID_MAX + 1));
        assert_ok(phc_format(&phc, text));
        assert_ok(phc_parse(text, strlen(text), &back));
        assert_memory_equal(&phc, &back, sizeof phc);
    }
}

TEST(the_longest_hash_fits)
{
    struct phc phc = {
        .params = {UINT32_MAX, UINT32_MAX, 255}, .salt_len = PHC_SALT_MAX, .tag_len = PHC_TAG_MAX};
    char text[PHC_MAX + 1];
    memset(phc.keyid, 'k', PHC_KEYID_MAX);
    assert_ok(phc_format(&phc, text));
    struct phc back = parsed(text);
    assert_memory_equal(&phc, &back, sizeof phc);
}

TEST(parameters_end_exactly_at_their_bounds)
{
    static const struct {
        const char *params;
        bool good;
    } cases[] = {
        {"m=8,t=1,p=1", true},
        {"m=7,t=1,p=1", false},
        {"m=2040,t=1,p=255", true},
        {"m=2039,t=1,p=255", false},
        {"m=4294967295,t=4294967295,p=255", true},
        {"m=4294967296,t=1,p=1", false},
        {"m=65536,t=4294967296,p=1", false},
        {"m=65536,t=0,p=1", false},
        {"m=65536,t=1,p=0", false},
        {"m=65536,t=1,p=256", false},
        {"m=99999999999999999999999,t=1,p=1", false},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char in[128];
        struct phc phc;
        snprintf(in, sizeof in, "$argon2id$v=19$%s$" SALT "$" TAG, cases[i].params);
        assert_err(phc_parse(in, strlen(in), &phc), cases[i].good ? OK : ERR_MALFORMED);
    }
}

TEST(hostile_rows_are_malformed_and_leave_the_output_alone)
{
    static const char *const bad[] = {
        "",
        "$",
        "secret",
        "$argon2i$v=19$m=65536,t=3,p=1$" SALT "$" TAG,
        "$argon2d$v=19$m=65536,t=3,p=1$" SALT "$" TAG,
        "$Argon2id$v=19$m=65536,t=3,p=1$" SALT "$" TAG,
        "$argon2id$v=16$m=65536,t=3,p=1$" SALT "$" TAG,
        "$argon2id$v=019$m=65536,t=3,p=1$" SALT "$" TAG,
        "$argon2id$m=65536,t=3,p=1$" SALT "$" TAG,
        "$argon2id$v=19$t=3,m=65536,p=1$" SALT "$" TAG,
        "$argon2id$v=19$m=65536,t=3$" SALT "$" TAG,
        "$argon2id$v=19$m=65536,t=3,p=1,p=1$" SALT "$" TAG,
        "$argon2id$v=19$m=065536,t=3,p=1$" SALT "$" TAG,
        "$argon2id$v=19$m=+65536,t=3,p=1$" SALT "$" TAG,
        "$argon2id$v=19$m=-1,t=3,p=1$" SALT "$" TAG,
        "$argon2id$v=19$m= 65536,t=3,p=1$" SALT "$" TAG,
        "$argon2id$v=19$m=65536,t=,p=1$" SALT "$" TAG,
        "$argon2id$v=19$m=65536,t=3,p=1,data=YQ$" SALT "$" TAG,
        "$argon2id$v=19$m=65536,t=3,p=1,keyid=$" SALT "$" TAG,
        "$argon2id$v=19$m=65536,t=3,p=1,keyid=a b$" SALT "$" TAG,
        "$argon2id$v=19$m=65536,t=3,p=1,keyid=a,keyid=b$" SALT "$" TAG,
        "$argon2id$v=19$m=65536,t=3,p=1,keyid=01234567890123456$" SALT "$" TAG,
        "$argon2id$v=19$m=65536,t=3,p=1$$" TAG,
        "$argon2id$v=19$m=65536,t=3,p=1$" SALT "$",
        "$argon2id$v=19$m=65536,t=3,p=1$" SALT,
        "$argon2id$v=19$m=65536,t=3,p=1$c2FsdA$" TAG,
        "$argon2id$v=19$m=65536,t=3,p=1$" SALT "$AAECAwQFBgcICQoLDA0O",
        "$argon2id$v=19$m=65536,t=3,p=1$" SALT "==$" TAG,
        "$argon2id$v=19$m=65536,t=3,p=1$" SALT "$" TAG "=",
        "$argon2id$v=19$m=65536,t=3,p=1$" SALT "$" TAG "$",
        "$argon2id$v=19$m=65536,t=3,p=1$" SALT "$" TAG " ",
        "$argon2id$v=19$m=65536,t=3,p=1$" SALT "$" TAG "\n",
        " " GOOD,
        "$argon2id$v=19$m=65536,t=3,p=1$c2Fs dHNhbHRzYWx0c2FsdA$" TAG,
        "$argon2id$v=19$m=65536,t=3,p=1$c2FsdHNhbHRzYWx0c2FsdB$" TAG,
        "$argon2id$v=19$m=65536,t=3,p=1$" SALT "$AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh-",
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct phc phc = {.salt_len = 77};
        if (phc_parse(bad[i], strlen(bad[i]), &phc) != ERR_MALFORMED)
            fail_msg("accepted: %s", bad[i]);
        assert_int_equal(phc.salt_len, 77);
    }
}

TEST(every_truncation_and_every_nul_is_malformed)
{
    struct phc phc;
    char in[] = GOOD;
    /* A tag that is cut to 16 bytes or more in the right places is another, shorter tag. */
    for (size_t len = 0; len < sizeof GOOD - sizeof TAG + 22; len++)
        assert_err(phc_parse(in, len, &phc), ERR_MALFORMED);
    for (size_t i = 0; i + 1 < sizeof in; i++) {
        char was = in[i];
        in[i] = '\0';
        assert_err(phc_parse(in, sizeof in - 1, &phc), ERR_MALFORMED);
        in[i] = was;
    }
}

TEST(a_huge_string_is_refused_by_its_length)
{
    size_t len = (size_t)1 << 20;
    char *in = malloc(len);
    struct phc phc;
    assert_non_null(in);
    memset(in, 'A', len);
    memcpy(in, GOOD, sizeof GOOD - 1);
    assert_err(phc_parse(in, len, &phc), ERR_MALFORMED);
    free(in);
}

TEST(salt_and_tag_end_exactly_at_their_bounds)
{
    for (size_t salt_len = 0; salt_len <= PHC_SALT_MAX; salt_len++)
        for (size_t tag_len = 0; tag_len <= PHC_TAG_MAX; tag_len++) {
            struct phc phc = {.params = {8, 1, 1}, .salt_len = salt_len, .tag_len = tag_len};
            struct phc back;
            char text[PHC_MAX + 1];
            assert_ok(phc_format(&phc, text));
            assert_err(phc_parse(text, strlen(text), &back),
                       salt_len >= 8 && tag_len >= 16 ? OK : ERR_MALFORMED);
        }
}

TEST(pepper_ids_are_short_plain_names)
{
    assert_true(phc_keyid_ok("a", 1));
    assert_true(phc_keyid_ok("AZaz09._-", 9));
    assert_true(phc_keyid_ok("0123456789abcdef", 16));
    assert_false(phc_keyid_ok("", 0));
    assert_false(phc_keyid_ok("0123456789abcdefg", 17));
    static const char bad[] = " ,$=/+\"\\\n\x7f\x80";
    for (size_t i = 0; i < sizeof bad; i++) /* with its NUL */
        assert_false(phc_keyid_ok(&bad[i], 1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_stored_hash_is_taken_apart),
        cmocka_unit_test(parse_and_format_are_inverse),
        cmocka_unit_test(the_longest_hash_fits),
        cmocka_unit_test(parameters_end_exactly_at_their_bounds),
        cmocka_unit_test(hostile_rows_are_malformed_and_leave_the_output_alone),
        cmocka_unit_test(every_truncation_and_every_nul_is_malformed),
        cmocka_unit_test(a_huge_string_is_refused_by_its_length),
        cmocka_unit_test(salt_and_tag_end_exactly_at_their_bounds),
        cmocka_unit_test(pepper_ids_are_short_plain_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
