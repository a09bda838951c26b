#include "unit.h"

#include <stdio.h>

#include "auth/password.h"

static struct argon2_arena *arena;
static struct password_policy policy;

static int set_up(void **state)
{
    (void)state;
    if (argon2_init(ARGON2_AUTO) != OK || argon2_arena_open(256, 1, &arena) != OK)
        return -1;
    policy = (struct password_policy){.min_length = 8, .max_length = 64, .params = {64, 1, 1}};
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    for (unsigned i = 0; i < PASSWORD_PEPPERS_MAX; i++)
        secret_close(&policy.peppers[i].key);
    argon2_arena_close(arena);
    arena = NULL;
    return 0;
}

static void add_pepper(unsigned at, const char *id)
{
    strcpy(policy.peppers[at].id, id);
    secret_close(&policy.peppers[at].key);
    assert_ok(secret_copy(id, strlen(id), &policy.peppers[at].key));
    if (policy.pepper_count <= at)
        policy.pepper_count = at + 1;
}

static struct password normalised(const char *in)
{
    struct password p;
    assert_ok(password_normalise(in, strlen(in), &p));
    return p;
}

static void hash(const char *in, char out[PHC_MAX + 1])
{
    struct password p = normalised(in);
    struct password_work work;
    assert_ok(password_hash_begin(&policy, &p, &work));
    assert_ok(argon2id_hash(arena, &work.job));
    assert_ok(password_hash_finish(&work, out));
}

static enum err verify_with(const char *in, const char *stored, struct password_work *work,
                            const char **unusable)
{
    struct password p = normalised(in);
    assert_ok(password_verify_begin(&policy, &p, stored, work, unusable));
    assert_ok(argon2id_hash(arena, &work->job));
    return password_verify_finish(work);
}

static enum err verify(const char *in, const char *stored)
{
    struct password_work work;
    const char *unusable = NULL;
    return verify_with(in, stored, &work, &unusable);
}

TEST(a_password_verifies_against_its_own_hash_only)
{
    char stored[PHC_MAX + 1], again[PHC_MAX + 1];
    hash("correct horse", stored);
    hash("correct horse", again);
    assert_string_not_equal(stored, again); /* a salt of its own */
    assert_memory_equal(stored, "$argon2id$v=19$m=64,t=1,p=1$", 28);
    assert_ok(verify("correct horse", stored));
    assert_ok(verify("correct horse", again));
    static const char *const wrong[] = {
        "correct hors", "correct horse ", " correct horse", "Correct horse", "", "correct  horse"};
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++)
        assert_err(verify(wrong[i], stored), ERR_DENIED);
}

TEST(every_flipped_bit_of_the_tag_is_denied)
{
    char stored[PHC_MAX + 1], text[PHC_MAX + 1];
    struct phc phc;
    hash("correct horse", stored);
    assert_ok(phc_parse(stored, strlen(stored), &phc));
    for (size_t bit = 0; bit < 8 * phc.tag_len; bit++) {
        phc.tag[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_ok(phc_format(&phc, text));
        assert_err(verify("correct horse", text), ERR_DENIED);
        phc.tag[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
}

TEST(the_whole_password_counts)
{
    char stored[PHC_MAX + 1], in[PASSWORD_BYTES_MAX + 1];
    memset(in, 'x', sizeof in - 1);
    in[sizeof in - 1] = '\0';
    hash(in, stored);
    assert_ok(verify(in, stored));
    static const size_t places[] = {0, 71, 72, 255, 256, PASSWORD_BYTES_MAX - 1};
    for (size_t i = 0; i < ARRAY_LEN(places); i++) {
        in[places[i]] = 'y';
        assert_err(verify(in, stored), ERR_DENIED);
        in[places[i]] = 'x';
    }
    in[sizeof in - 2] = '\0';
    assert_err(verify(in, stored), ERR_DENIED);
}

TEST(composed_and_decomposed_spellings_are_one_password_and_nothing_else_is_folded)
{
    char stored[PHC_MAX + 1];
    hash("caf\xc3\xa9 caf\xc3\xa9", stored);
    assert_ok(verify("cafe\xcc\x81 cafe\xcc\x81", stored));
    assert_err(verify("CAF\xc3\x89 caf\xc3\xa9", stored), ERR_DENIED);
    assert_err(verify("cafe cafe", stored), ERR_DENIED);
    struct password wide = normalised("\xef\xbd\x81"); /* compatibility forms stay */
    assert_int_equal(wide.len, 3);
}

TEST(lengths_are_code_points_of_the_nfc_form)
{
    struct password p = normalised("e\xcc\x81\xf0\x9f\x98\x80x");
    assert_int_equal(p.code_points, 3);
    assert_int_equal(p.len, 7);
    p = normalised("");
    assert_int_equal(p.len, 0);
    assert_int_equal(p.code_points, 0);
    struct password nul;
    assert_ok(password_normalise("a\0b", 3, &nul));
    assert_int_equal(nul.len, 3);
}

TEST(what_cannot_be_a_password_is_refused_before_any_work)
{
    struct password p = {.len = 77};
    static const char *const bad[] = {"\xff", "a\xc3", "\xed\xa0\x80", "\xc0\x80"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_err(password_normalise(bad[i], strlen(bad[i]), &p), ERR_MALFORMED);
    static char huge[1 << 20];
    memset(huge, 'x', sizeof huge);
    assert_err(password_normalise(huge, sizeof huge, &p), ERR_TOO_LARGE);
    assert_err(password_normalise(huge, PASSWORD_BYTES_MAX + 1, &p), ERR_TOO_LARGE);
    assert_int_equal(p.len, 77);
    assert_ok(password_normalise(huge, PASSWORD_BYTES_MAX, &p));
    assert_int_equal(p.len, PASSWORD_BYTES_MAX);
}

/* U+1D160 is the worst: NFC makes twelve bytes of its four. */
TEST(what_grows_most_is_taken_up_to_the_limit)
{
    struct password p;
    char in[3 * PASSWORD_BYTES_MAX + 1];
    for (size_t i = 0; i + 4 < sizeof in; i += 4)
        memcpy(in + i, "\xf0\x9d\x85\xa0", 4);
    assert_ok(password_normalise(in, (size_t)4 * 85, &p));
    assert_int_equal(p.len, 12 * 85);
    assert_err(password_normalise(in, (size_t)4 * 86, &p), ERR_TOO_LARGE);
    assert_err(password_normalise(in, sizeof in - 1, &p), ERR_TOO_LARGE);
}

TEST(rules_are_told_in_words)
{
    struct password p = normalised("1234567");
    assert_string_equal(password_refusal(&policy, &p, "a@b.org"), "password is too short");
    p = normalised("12345678");
    assert_null(password_refusal(&policy, &p, "a@b.org"));
    p = normalised("\xf0\x9f\x98\x80\xf0\x9f\x98\x81\xf0\x9f\x98\x82\xf0\x9f\x98\x83"
                   "\xf0\x9f\x98\x84\xf0\x9f\x98\x85\xf0\x9f\x98\x86\xf0\x9f\x98\x87");
    assert_null(password_refusal(&policy, &p, "a@b.org"));
    char in[70];
    memset(in, 'x', sizeof in);
    assert_ok(password_normalise(in, 64, &p));
    assert_null(password_refusal(&policy, &p, "a@b.org"));
    assert_ok(password_normalise(in, 65, &p));
    assert_string_equal(password_refusal(&policy, &p, "a@b.org"), "password is too long");
}

TEST(what_is_easy_to_guess_is_refused_when_asked_for)
{
    static const char *const easy[] = {"password",  "12345678",     "qwertyuiop",   "aaaaaaaaaaaa",
                                       "watchword", "ada.lovelace", "ada.lovelace1"};
    policy.min_score = 3;
    for (size_t i = 0; i < ARRAY_LEN(easy); i++) {
        struct password p = normalised(easy[i]);
        assert_string_equal(password_refusal(&policy, &p, "ada.lovelace@example.org"),
                            "password is too easy to guess");
    }
    struct password good = normalised("vexed-plover-anvil-41-mundane");
    assert_null(password_refusal(&policy, &good, "ada.lovelace@example.org"));
    assert_null(password_refusal(&policy, &good, "no at sign"));
    policy.min_score = 0;
    struct password p = normalised("password");
    assert_null(password_refusal(&policy, &p, "ada@example.org"));
}

TEST(a_dummy_costs_the_same_and_is_never_ok)
{
    struct password_work work;
    const char *unusable = "";
    assert_err(verify_with("x", NULL, &work, &unusable), ERR_DENIED);
    assert_null(unusable);
    assert_memory_equal(&work.job.params, &policy.params, sizeof policy.params);
    assert_int_equal(work.job.tag_len, PASSWORD_TAG_LEN);
    assert_int_equal(work.job.salt_len, PASSWORD_SALT_LEN);
    /* Not even if the tag were found. */
    memcpy(work.tag, work.phc.tag, work.phc.tag_len);
    assert_err(password_verify_finish(&work), ERR_DENIED);
}

TEST(hostile_rows_cost_no_more_than_a_dummy_and_are_denied)
{
    static const char *const rows[] = {
        "",
        "plain",
        "$argon2id$v=19$m=4194304,t=1,p=1$c2FsdHNhbHRzYWx0c2FsdA$AAECAwQFBgcICQoLDA0ODw",
        "$argon2id$v=19$m=262145,t=1,p=1$c2FsdHNhbHRzYWx0c2FsdA$AAECAwQFBgcICQoLDA0ODw",
        "$argon2id$v=19$m=262144,t=9,p=1$c2FsdHNhbHRzYWx0c2FsdA$AAECAwQFBgcICQoLDA0ODw",
        "$argon2id$v=19$m=64,t=2147483647,p=1$c2FsdHNhbHRzYWx0c2FsdA$AAECAwQFBgcICQoLDA0ODw",
        "$argon2id$v=19$m=64,t=32769,p=1$c2FsdHNhbHRzYWx0c2FsdA$AAECAwQFBgcICQoLDA0ODw",
        "$argon2id$v=19$m=8,t=1,p=255$c2FsdHNhbHRzYWx0c2FsdA$AAECAwQFBgcICQoLDA0ODw",
        "$argon2id$v=19$m=64,t=1,p=1$$AAECAwQFBgcICQoLDA0ODw",
        "$argon2id$v=19$m=64,t=1,p=1,keyid=nobody$c2FsdHNhbHRzYWx0c2FsdA$AAECAwQFBgcICQoLDA0ODw",
        "$2b$12$abcdefghijklmnopqrstuuVZr4Jp7wq7Qq3d1Jw3b3w9b2aW5yZQi",
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct password_work work;
        const char *unusable = NULL;
        assert_err(verify_with("x", rows[i], &work, &unusable), ERR_DENIED);
        assert_non_null(unusable);
        assert_memory_equal(&work.job.params, &policy.params, sizeof policy.params);
        memcpy(work.tag, work.phc.tag, work.phc.tag_len);
        assert_err(password_verify_finish(&work), ERR_DENIED);
    }
}

TEST(a_row_of_dearer_times_still_verifies)
{
    char stored[PHC_MAX + 1];
    struct argon2_params was = policy.params;
    policy.params = (struct argon2_params){256, 2, 1};
    hash("correct horse", stored);
    policy.params = was;
    assert_ok(verify("correct horse", stored));
    policy.params = (struct argon2_params){64, 8, 1};
    hash("correct horse", stored);
    policy.params = was;
    assert_ok(verify("correct horse", stored));
}

TEST(a_row_is_outdated_when_anything_that_makes_it_differs)
{
    char stored[PHC_MAX + 1];
    struct password_work work;
    const char *unusable = NULL;
    hash("correct horse", stored);
    assert_ok(verify_with("correct horse", stored, &work, &unusable));
    assert_false(password_outdated(&policy, &work));
    const struct argon2_params others[] = {{65, 1, 1}, {64, 2, 1}, {64, 1, 2}};
    struct argon2_params was = policy.params;
    for (size_t i = 0; i < ARRAY_LEN(others); i++) {
        policy.params = others[i];
        assert_true(password_outdated(&policy, &work));
    }
    policy.params = was;
    work.phc.tag_len = 16;
    assert_true(password_outdated(&policy, &work));
    work.phc.tag_len = PASSWORD_TAG_LEN;
    add_pepper(0, "new");
    assert_true(password_outdated(&policy, &work));
}

TEST(a_stored_hash_has_a_standing)
{
    char bare[PHC_MAX + 1], with_a[PHC_MAX + 1];
    struct argon2_params was = policy.params, params = {0};
    hash("correct horse", bare);
    assert_int_equal(password_standing(&policy, bare, &params), PASSWORD_CURRENT);
    policy.params.iterations++;
    assert_int_equal(password_standing(&policy, bare, &params), PASSWORD_PARAMETERS);
    assert_true(argon2_same_params(&params, &was));
    add_pepper(0, "a");
    assert_int_equal(password_standing(&policy, bare, &params),
                     PASSWORD_PEPPER); /* counts before those */
    policy.params = was;
    hash("correct horse", with_a);
    assert_int_equal(password_standing(&policy, with_a, &params), PASSWORD_CURRENT);
    add_pepper(0, "b");
    add_pepper(1, "a");
    assert_int_equal(password_standing(&policy, with_a, &params), PASSWORD_PEPPER);
    add_pepper(1, "c");
    assert_int_equal(password_standing(&policy, with_a, &params), PASSWORD_UNKNOWN_PEPPER);
    static const char dear[] = "$argon2id$v=19$m=4194304,t=100,p=1$c29tZXNhbHRzb21lc2FsdA$"
                               "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    assert_int_equal(password_standing(&policy, dear, &params), PASSWORD_UNUSABLE);
    assert_int_equal(password_standing(&policy, "", &params), PASSWORD_UNUSABLE);
    assert_int_equal(password_standing(&policy, "$2b$12$x", &params), PASSWORD_UNUSABLE);
}

TEST(a_pepper_goes_into_the_hash_and_old_ones_still_verify)
{
    char without[PHC_MAX + 1], with_a[PHC_MAX + 1], with_b[PHC_MAX + 1];
    struct password_work work;
    const char *unusable = NULL;
    hash("correct horse", without);
    add_pepper(0, "a");
    hash("correct horse", with_a);
    assert_non_null(strstr(with_a, ",keyid=a$"));
    assert_ok(verify("correct horse", with_a));
    assert_ok(verify("correct horse", without));
    add_pepper(0, "b"); /* b is current, a is still known */
    add_pepper(1, "a");
    hash("correct horse", with_b);
    assert_non_null(strstr(with_b, ",keyid=b$"));
    assert_ok(verify("correct horse", with_a));
    assert_ok(verify("correct horse", with_b));
    assert_ok(verify_with("correct horse", with_a, &work, &unusable));
    assert_true(password_outdated(&policy, &work));
    /* A row that names another pepper than it was made with. */
    *strstr(with_a, "=a$") = ' ';
    assert_err(verify("correct horse", with_a), ERR_DENIED);
    strcpy(strstr(with_b, "keyid=b") + 6, "a");
    assert_err(verify("correct horse", with_b), ERR_DENIED);
}

TEST(a_pepper_of_another_value_is_denied)
{
    char stored[PHC_MAX + 1];
    add_pepper(0, "a");
    hash("correct horse", stored);
    policy.peppers[0].key.data[0] ^= 1;
    assert_err(verify("correct horse", stored), ERR_DENIED);
    policy.peppers[0].key.data[0] ^= 1;
    assert_ok(verify("correct horse", stored));
}

TEST(wiping_leaves_nothing)
{
    struct password p = normalised("correct horse"), zero;
    memset(&zero, 0, sizeof zero);
    password_wipe(&p);
    assert_memory_equal(&p, &zero, sizeof p);
}

#define WITH_POLICY(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_POLICY(a_password_verifies_against_its_own_hash_only),
        WITH_POLICY(every_flipped_bit_of_the_tag_is_denied),
        WITH_POLICY(the_whole_password_counts),
        WITH_POLICY(composed_and_decomposed_spellings_are_one_password_and_nothing_else_is_folded),
        WITH_POLICY(lengths_are_code_points_of_the_nfc_form),
        WITH_POLICY(what_cannot_be_a_password_is_refused_before_any_work),
        WITH_POLICY(what_grows_most_is_taken_up_to_the_limit),
        WITH_POLICY(rules_are_told_in_words),
        WITH_POLICY(what_is_easy_to_guess_is_refused_when_asked_for),
        WITH_POLICY(a_dummy_costs_the_same_and_is_never_ok),
        WITH_POLICY(hostile_rows_cost_no_more_than_a_dummy_and_are_denied),
        WITH_POLICY(a_row_of_dearer_times_still_verifies),
        WITH_POLICY(a_row_is_outdated_when_anything_that_makes_it_differs),
        WITH_POLICY(a_stored_hash_has_a_standing),
        WITH_POLICY(a_pepper_goes_into_the_hash_and_old_ones_still_verify),
        WITH_POLICY(a_pepper_of_another_value_is_denied),
        WITH_POLICY(wiping_leaves_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
