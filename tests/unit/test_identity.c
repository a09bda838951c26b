#include "unit.h"

#include "auth/identity.h"
#include "base/text.h"

static void canonical(const char *in, const char *expected)
{
    char out[IDENTITY_MAX + 1];
    if (identity_canonical(in, strlen(in), out) != OK)
        fail_msg("refused: %s", in);
    assert_string_equal(out, expected);
}

TEST(different_spellings_have_one_canonical_form)
{
    static const char *const pairs[][2] = {
        {"ada@example.org", "ada@example.org"},
        {"ADA@Example.ORG", "ada@example.org"},
        {"  \tada@example.org \t", "ada@example.org"},
        {"a.d+a_x-1!#$%&'*/=?^`{|}~@example.org", "a.d+a_x-1!#$%&'*/=?^`{|}~@example.org"},
        {"\xef\xbc\xa1\xef\xbd\x84\xef\xbd\x81@example.org", "ada@example.org"}, /* full width */
        {"ada@\xef\xbd\x85xample.org", "ada@example.org"},
        {"\xe2\x84\xaa@example.org", "k@example.org"}, /* Kelvin sign */
        {"k@\xe2\x84\xaa.example.org", "k@k.example.org"},
        {"\xe2\x84\xab@example.org", "\xc3\xa5@example.org"}, /* Angstrom sign */
        {"e\xcc\x81@example.org", "\xc3\xa9@example.org"},    /* NFD */
        {"\xc3\x89@example.org", "\xc3\xa9@example.org"},
        {"stra\xc3\x9f"
         "e@example.org",
         "strasse@example.org"},
        {"\xe1\xba\x9e@example.org", "ss@example.org"},
        {"\xef\xac\x81@example.org", "fi@example.org"},                   /* ligature */
        {"\xce\xa3\xcf\x82@example.org", "\xcf\x83\xcf\x83@example.org"}, /* final sigma */
        {"a@b\xc3\xbc"
         "cher.example",
         "a@xn--bcher-kva.example"},
        {"a@B\xc3\x9c"
         "CHER.example",
         "a@xn--bcher-kva.example"},
        {"a@bu\xcc\x88"
         "cher.example",
         "a@xn--bcher-kva.example"},
        {"a@XN--bcher-KVA.example", "a@xn--bcher-kva.example"},
        {"a@example\xe3\x80\x82org", "a@example.org"}, /* ideographic full stop */
        {"a@stra\xc3\x9f"
         "e.example",
         "a@xn--strae-oqa.example"},
    };
    for (size_t i = 0; i < ARRAY_LEN(pairs); i++)
        canonical(pairs[i][0], pairs[i][1]);
}

TEST(look_alikes_that_are_other_letters_stay_apart)
{
    char a[IDENTITY_MAX + 1], b[IDENTITY_MAX + 1];
    static const char *const pairs[][2] = {
        {"i@example.org", "\xc4\xb1@example.org"}, /* dotless i */
        {"a@example.org", "\xd0\xb0@example.org"}, /* Cyrillic a */
        {"e@example.org", "\xc3\xa9@example.org"}, {"ada@example.org", "a.da@example.org"},
        {"ada@example.org", "ada+x@example.org"},  {"ada@example.org", "ada@example.com"},
    };
    for (size_t i = 0; i < ARRAY_LEN(pairs); i++) {
        assert_ok(identity_canonical(pairs[i][0], strlen(pairs[i][0]), a));
        assert_ok(identity_canonical(pairs[i][1], strlen(pairs[i][1]), b));
        assert_string_not_equal(a, b);
    }
}

static const char *const NO_ADDRESSES[] = {
    "",
    " ",
    "@",
    "a",
    "a@",
    "@b.org",
    "a@b",
    "a@@b.org",
    "a@b@c.org",
    "a b@c.org",
    "a@b c.org",
    "a@ b.org",
    "a @b.org",
    "\"a b\"@c.org",
    "\"a\"@c.org",
    "a(b)@c.org",
    "a,b@c.org",
    "a;b@c.org",
    "a:b@c.org",
    "<a@b.org>",
    "a\\b@c.org",
    "a[b@c.org",
    ".a@b.org",
    "a.@b.org",
    "a..b@c.org",
    "a@.b.org",
    "a@b..org",
    "a@b.org.",
    "a@-b.org",
    "a@b-.org",
    "a@b.org-",
    "a@b_c.org",
    "a@[192.0.2.1]",
    "a@192.0.2.1",
    "a@b.1",
    "a@b.org\n",
    "\na@b.org",
    "a\r@b.org",
    "a\x7f@b.org",
    "a\x01@b.org",
    "a@b\x01.org",
    "a\xe2\x80\x8b"
    "b@c.org", /* zero-width space */
    "a\xe2\x80\x8d"
    "b@c.org", /* zero-width joiner */
    "a\xef\xbb\xbf"
    "b@c.org", /* byte order mark */
    "a\xc2\xad"
    "b@c.org", /* soft hyphen */
    "a\xe2\x80\xae"
    "b@c.org", /* right-to-left override */
    "a\xc2\xa0"
    "b@c.org", /* no-break space */
    "a\xe3\x80\x80"
    "b@c.org", /* ideographic space */
    "a\xe2\x80\xa8"
    "b@c.org",                 /* line separator */
    "a\xf3\xa0\x81\x81@c.org", /* tag character */
    "a\xef\xb8\x8f@c.org",     /* variation selector */
    "a\xcd\x8f@c.org",         /* combining grapheme joiner */
    "a\xe3\x85\xa4@c.org",     /* Hangul filler */
    "a\xe1\x85\x9f@c.org",     /* Hangul choseong filler */
    "a\xee\x80\x80@c.org",     /* private use */
    "a\xef\xbc\xa0"
    "b@c.org", /* full-width at sign */
    "a@b\xef\xbc\xa0"
    "c.org",
    "\xff@b.org",
    "a@\xff.org",
    "\xc0\x80@b.org",
    "a@xn--a.org",
};

TEST(what_is_no_address_is_refused)
{
    for (size_t i = 0; i < ARRAY_LEN(NO_ADDRESSES); i++) {
        char out[IDENTITY_MAX + 1] = "untouched";
        if (identity_canonical(NO_ADDRESSES[i], strlen(NO_ADDRESSES[i]), out) != ERR_MALFORMED)
            fail_msg("case %zu accepted: %s -> %s", i, NO_ADDRESSES[i], out);
        assert_string_equal(out, "untouched");
    }
}

TEST(a_nul_anywhere_is_refused)
{
    static const char whole[] = "ada@example.org";
    for (size_t i = 0; i < sizeof whole; i++) {
        char in[sizeof whole], out[IDENTITY_MAX + 1];
        memcpy(in, whole, sizeof in);
        in[i] = '\0';
        assert_err(identity_canonical(in, sizeof in - (i + 1 < sizeof in), out), ERR_MALFORMED);
    }
}

TEST(lengths_end_exactly_at_their_bounds)
{
    char in[1024], out[IDENTITY_MAX + 1];
    for (size_t local = 60; local < 70; local++) {
        struct text t = text_on(in, sizeof in);
        for (size_t i = 0; i < local; i++)
            text_put_char(&t, 'a');
        text_put(&t, "@example.org");
        assert_err(identity_canonical(in, t.len, out),
                   local <= IDENTITY_LOCAL_MAX ? OK : ERR_MALFORMED);
    }
    for (size_t total = 240; total < 270; total++) {
        struct text t = text_on(in, sizeof in);
        text_put(&t, "a@");
        while (t.len < total)
            text_put_char(&t, (t.len - 2) % 50 == 49 && total - t.len > 5 ? '.' : 'b');
        enum err e = identity_canonical(in, t.len, out);
        /* A domain name has at most 253 characters, so an address with one letter before it 255. */
        assert_err(e, total <= IDENTITY_MAX ? OK : ERR_MALFORMED);
    }
}

TEST(a_huge_input_is_refused)
{
    size_t len = (size_t)1 << 20;
    char *in = malloc(len), out[IDENTITY_MAX + 1];
    assert_non_null(in);
    memset(in, 'a', len);
    memcpy(in + len - 12, "@example.org", 12);
    assert_err(identity_canonical(in, len, out), ERR_MALFORMED);
    free(in);
}

/* ---- properties ---- */

static size_t put_code_point(char *out, uint32_t c)
{
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    static const uint8_t lead[] = {0, 0, 0xc0, 0xe0, 0xf0};
    size_t n = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    for (size_t i = n - 1; i > 0; i--, c >>= 6)
        out[i] = (char)(0x80 | (c & 0x3f));
    out[0] = (char)(lead[n] | c);
    return n;
}

/* The canonical form of a canonical form is itself: else one account would have two names. */
static bool settled(const char *in, size_t len)
{
    char once[IDENTITY_MAX + 1], twice[IDENTITY_MAX + 1];
    if (identity_canonical(in, len, once) != OK)
        return true;
    return identity_canonical(once, strlen(once), twice) == OK && strcmp(once, twice) == 0;
}

TEST(every_code_point_is_refused_or_settled)
{
    for (uint32_t c = 1; c <= 0x10ffff; c++) {
        char in[64] = "x";
        if (c >= 0xd800 && c <= 0xdfff)
            continue;
        size_t n = 1 + put_code_point(in + 1, c);
        memcpy(in + n, "y@a.org", 7);
        if (!settled(in, n + 7))
            fail_msg("U+%04X in the local part", c);
        memcpy(in, "x@y", 3);
        n = 3 + put_code_point(in + 3, c);
        memcpy(in + n, "z.org", 5);
        if (!settled(in, n + 5))
            fail_msg("U+%04X in the domain", c);
    }
}

/* Letters whose case, width, composition or compatibility forms are known to be difficult. */
static const uint32_t DIFFICULT[] = {
    'a',    'K',    'i',    'I',    's',    'S',    '.',     '-',     0x130,   0x131,  0x149,
    0x17f,  0x1c4,  0x1f0,  0x2b0,  0x300,  0x301,  0x307,   0x308,   0x327,   0x345,  0x37a,
    0x390,  0x3a3,  0x3c2,  0x3c3,  0x3d4,  0x587,  0x1d2c,  0x1d2d,  0x1e9b,  0x1e9e, 0x1f80,
    0x1fb3, 0x2126, 0x212a, 0x212b, 0x2160, 0x24b6, 0xa64a,  0xab70,  0xac00,  0x1100, 0x1161,
    0xfb00, 0xfb05, 0xff21, 0xff41, 0xdf,   0xe9,   0x1d400, 0x1d6a8, 0x1f130, 0x10400};

static size_t random_address(uint64_t *seed, char *out)
{
    size_t n = 0, letters = 1 + next_random(seed) % 6;
    for (size_t i = 0; i < letters; i++)
        n += put_code_point(out + n, DIFFICULT[next_random(seed) % ARRAY_LEN(DIFFICULT)]);
    out[n++] = '@';
    letters = 1 + next_random(seed) % 4;
    for (size_t i = 0; i < letters; i++)
        n += put_code_point(out + n, DIFFICULT[next_random(seed) % ARRAY_LEN(DIFFICULT)]);
    memcpy(out + n, ".org", 5);
    return n + 4;
}

TEST(random_addresses_of_difficult_letters_are_refused_or_settled)
{
    uint64_t seed = 6;
    for (unsigned i = 0; i < 200000; i++) {
        char in[128];
        size_t len = random_address(&seed, in);
        if (!settled(in, len))
            fail_msg("not settled: %s", in);
    }
}

static char random_case(uint64_t *seed, char c)
{
    return next_random(seed) % 2 && c >= 'a' && c <= 'z' ? (char)(c - 'a' + 'A') : c;
}

/* The same address in another spelling: case, width, spaces around. */
static size_t respell(uint64_t *seed, const char *in, char *out)
{
    size_t n = 0;
    if (next_random(seed) % 2)
        out[n++] = ' ';
    for (; *in != '\0'; in++) {
        bool wide = *in >= 'a' && *in <= 'z' && next_random(seed) % 4 == 0;
        if (wide)
            n += put_code_point(out + n, 0xff41 + (uint32_t)(*in - 'a'));
        else
            out[n++] = random_case(seed, *in);
    }
    if (next_random(seed) % 2)
        out[n++] = '\t';
    return n;
}

TEST(ten_thousand_pairs_meet_exactly_if_they_are_the_same_address)
{
    uint64_t seed = 7;
    for (unsigned i = 0; i < 10000; i++) {
        char plain[2][32], spelt[256], a[IDENTITY_MAX + 1], b[IDENTITY_MAX + 1];
        for (unsigned k = 0; k < 2; k++) {
            size_t n = 1 + next_random(&seed) % 8;
            for (size_t c = 0; c < n; c++)
                plain[k][c] = (char)('a' + next_random(&seed) % 26);
            memcpy(plain[k] + n, "@example.org", 13);
        }
        assert_ok(identity_canonical(plain[0], strlen(plain[0]), a));
        assert_ok(identity_canonical(spelt, respell(&seed, plain[0], spelt), b));
        assert_string_equal(a, b);
        assert_ok(identity_canonical(spelt, respell(&seed, plain[1], spelt), b));
        assert_int_equal(strcmp(a, b) == 0, strcmp(plain[0], plain[1]) == 0);
    }
}

TEST(digests_depend_on_tenant_address_and_secret)
{
    static const struct uuid t1 = {{1}}, t2 = {{2}};
    struct secret secret = {0}, other = {0}, none = {0};
    struct service_keys *keys = NULL, *keys2 = NULL;
    uint8_t d[5][IDENTITY_DIGEST_LEN];
    char tag[IDENTITY_TAG_LEN + 1];
    assert_ok(secret_copy("0123456789abcdef0123456789abcdef", 32, &secret));
    assert_ok(secret_copy("0123456789abcdef0123456789abcdeg", 32, &other));
    assert_ok(service_keys_open(&secret, &none, &keys));
    assert_ok(service_keys_open(&other, &none, &keys2));
    assert_ok(identity_digest(keys, &t1, "a@b.org", d[0]));
    assert_ok(identity_digest(keys, &t1, "a@b.org", d[1]));
    assert_ok(identity_digest(keys, &t2, "a@b.org", d[2]));
    assert_ok(identity_digest(keys, &t1, "a@b.orh", d[3]));
    assert_ok(identity_digest(keys2, &t1, "a@b.org", d[4]));
    assert_memory_equal(d[0], d[1], sizeof d[0]);
    for (unsigned i = 2; i < 5; i++)
        assert_memory_not_equal(d[0], d[i], sizeof d[0]);
    identity_tag(
        (const uint8_t[IDENTITY_DIGEST_LEN]){0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef}, tag);
    assert_string_equal(tag, "0123456789abcdef");
    service_keys_close(keys);
    service_keys_close(keys2);
    secret_close(&secret);
    secret_close(&other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(different_spellings_have_one_canonical_form),
        cmocka_unit_test(look_alikes_that_are_other_letters_stay_apart),
        cmocka_unit_test(what_is_no_address_is_refused),
        cmocka_unit_test(a_nul_anywhere_is_refused),
        cmocka_unit_test(lengths_end_exactly_at_their_bounds),
        cmocka_unit_test(a_huge_input_is_refused),
        cmocka_unit_test(every_code_point_is_refused_or_settled),
        cmocka_unit_test(random_addresses_of_difficult_letters_are_refused_or_settled),
        cmocka_unit_test(ten_thousand_pairs_meet_exactly_if_they_are_the_same_address),
        cmocka_unit_test(digests_depend_on_tenant_address_and_secret),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
