#include "unit.h"

#include <stdio.h>

#include "auth/key_lifecycle.h"

#define NOW INT64_C(1800000000)
#define DAY INT64_C(86400)

#define NEVER INT64_C(0)
#define MONTHLY (30 * DAY)

/* ---- sets by hand ---- */

static struct secret some_bytes(void)
{
    struct secret s = {0};
    assert_ok(secret_copy("key", 3, &s));
    return s;
}

static struct key_entry fresh(const char *kid)
{
    struct key_entry key = {.created_at = NOW};
    snprintf(key.kid, sizeof key.kid, "%s", kid);
    key.private_pem = some_bytes();
    key.public_pem = some_bytes();
    return key;
}

static struct key_entry *add(struct key_set *set, const char *kid, enum key_state state,
                             int64_t since)
{
    struct key_entry *key = &set->keys[set->count++];
    *key = fresh(kid);
    key->state = state;
    switch (state) {
    case KEY_NEXT:
        key->published_at = since;
        break;
    case KEY_ACTIVE:
        key->activated_at = since;
        break;
    case KEY_RETIRING:
        key->retired_at = since;
        break;
    default:
        key->revoked_at = since;
    }
    if (state == KEY_RETIRING || state == KEY_REVOKED)
        secret_close(&key->private_pem);
    return key;
}

static const struct key_entry *of(struct key_set *set, const char *kid)
{
    const struct key_entry *key = key_set_find(set, kid);
    assert_non_null(key);
    return key;
}

static void assert_state(struct key_set *set, const char *kid, enum key_state state)
{
    assert_string_equal(key_state_name(of(set, kid)->state), key_state_name(state));
}

/* ---- one rotation, to the second ---- */

TEST(a_rotation_waits_to_the_second)
{
    struct key_set set CLEANUP(key_set_close) = {0};
    struct key_refusal why = {0};
    add(&set, "a", KEY_ACTIVE, NOW - DAY);
    struct key_entry b = fresh("b");
    assert_ok(key_publish(&set, &b, NOW, &why));
    assert_int_equal(b.private_pem.len, 0);
    assert_int_equal(of(&set, "b")->published_at, NOW);
    assert_int_equal(key_wait(of(&set, "b"), NOW), 930);

    assert_err(key_activate(&set, "b", NOW + 929, false, &why), ERR_FORBIDDEN);
    assert_int_equal(why.wait_s, 1);
    assert_state(&set, "b", KEY_NEXT);
    assert_ok(key_activate(&set, "b", NOW + 930, false, &why));
    assert_state(&set, "b", KEY_ACTIVE);
    assert_state(&set, "a", KEY_RETIRING);
    assert_int_equal(of(&set, "a")->retired_at, NOW + 930);
    assert_int_equal(of(&set, "a")->private_pem.len, 0);
    assert_int_not_equal(of(&set, "a")->public_pem.len, 0);

    /* 30 until all sign with b, 3600 of lifetime, 30 of leeway, 300 and 600 of caches */
    assert_int_equal(KEY_RETIRE_WAIT_S, 4560);
    assert_err(key_retire(&set, "a", NOW + 930 + 4559, false, &why), ERR_FORBIDDEN);
    assert_int_equal(why.wait_s, 1);
    assert_ok(key_retire(&set, "a", NOW + 930 + 4560, false, &why));
    assert_null(key_set_find(&set, "a"));
    assert_int_equal(set.count, 1);
}

TEST(the_wait_covers_what_the_contract_names)
{
    assert_true(KEY_PUBLISH_WAIT_S >= KEY_JWKS_MAX_AGE_S + 600);
    assert_true(KEY_RETIRE_WAIT_S >= KEY_TOKEN_TTL_MAX_S + 30 + KEY_JWKS_MAX_AGE_S + 600);
}

TEST(an_emergency_waits_for_nothing)
{
    struct key_set set CLEANUP(key_set_close) = {0};
    struct key_refusal why = {0};
    add(&set, "a", KEY_ACTIVE, NOW - DAY);
    add(&set, "b", KEY_NEXT, NOW);
    assert_ok(key_activate(&set, "b", NOW, true, &why));
    assert_ok(key_retire(&set, "a", NOW, true, &why));
    assert_int_equal(set.count, 1);
}

/* ---- every state, every change ---- */

enum change { PUBLISH, ACTIVATE, ACTIVATE_NOW, RETIRE, RETIRE_NOW, REVOKE, CHANGES };

static enum err make(struct key_set *set, enum change change, const char *kid, int64_t now)
{
    struct key_refusal why = {0};
    struct key_entry key CLEANUP(key_entry_close) = {0};
    enum err e = ERR_INTERNAL;
    switch (change) {
    case PUBLISH:
        key = fresh(kid);
        e = key_publish(set, &key, now, &why);
        break;
    case ACTIVATE:
    case ACTIVATE_NOW:
        e = key_activate(set, kid, now, change == ACTIVATE_NOW, &why);
        break;
    case RETIRE:
    case RETIRE_NOW:
        e = key_retire(set, kid, now, change == RETIRE_NOW, &why);
        break;
    default:
        e = key_revoke(set, kid, now, &why);
    }
    assert_true((e == OK) == (why.what == NULL));
    return e;
}

struct situation {
    const char *name;
    enum key_state state; /* KEY_STATES: not in the set */
    int64_t age;
    enum err expected[CHANGES];
};

/* The key in question beside an active one ("a", unless it is that itself). */
static const struct situation SITUATIONS[] = {
    {"absent",
     KEY_STATES,
     0,
     {OK, ERR_NOT_FOUND, ERR_NOT_FOUND, ERR_NOT_FOUND, ERR_NOT_FOUND, ERR_NOT_FOUND}},
    {"just published", KEY_NEXT, 929, {ERR_CONFLICT, ERR_FORBIDDEN, OK, OK, OK, OK}},
    {"published", KEY_NEXT, 930, {ERR_CONFLICT, OK, OK, OK, OK, OK}},
    {"active",
     KEY_ACTIVE,
     DAY,
     {ERR_CONFLICT, ERR_CONFLICT, ERR_CONFLICT, ERR_FORBIDDEN, ERR_FORBIDDEN, ERR_FORBIDDEN}},
    {"just retiring",
     KEY_RETIRING,
     4559,
     {ERR_CONFLICT, ERR_FORBIDDEN, ERR_FORBIDDEN, ERR_FORBIDDEN, OK, OK}},
    {"retired", KEY_RETIRING, 4560, {ERR_CONFLICT, ERR_FORBIDDEN, ERR_FORBIDDEN, OK, OK, OK}},
    {"revoked",
     KEY_REVOKED,
     DAY,
     {ERR_CONFLICT, ERR_FORBIDDEN, ERR_FORBIDDEN, ERR_FORBIDDEN, ERR_FORBIDDEN, ERR_CONFLICT}},
    {"of the future", KEY_NEXT, -1, {ERR_CONFLICT, ERR_FORBIDDEN, OK, OK, OK, OK}},
    {"retiring from the future",
     KEY_RETIRING,
     -DAY,
     {ERR_CONFLICT, ERR_FORBIDDEN, ERR_FORBIDDEN, ERR_FORBIDDEN, OK, OK}},
};

TEST(every_change_in_every_state)
{
    for (size_t i = 0; i < ARRAY_LEN(SITUATIONS); i++) {
        const struct situation *s = &SITUATIONS[i];
        for (unsigned change = 0; change < CHANGES; change++) {
            struct key_set set CLEANUP(key_set_close) = {0};
            if (s->state != KEY_ACTIVE)
                add(&set, "a", KEY_ACTIVE, NOW - DAY);
            if (s->state != KEY_STATES)
                add(&set, "k", s->state, NOW - s->age);
            enum err e = make(&set, (enum change)change, "k", NOW);
            if (e != s->expected[change])
                fail_msg("%s, change %u: %s", s->name, change, err_name(e));
            assert_null(key_set_flaw(&set));
            if (e != OK && s->state != KEY_STATES)
                assert_state(&set, "k", s->state);
        }
    }
}

TEST(revoking_the_active_key_makes_the_longest_published_one_active_at_once)
{
    struct key_set set CLEANUP(key_set_close) = {0};
    struct key_refusal why = {0};
    add(&set, "young", KEY_NEXT, NOW - 1);
    add(&set, "a", KEY_ACTIVE, NOW - DAY);
    add(&set, "older", KEY_NEXT, NOW - 2);
    assert_string_equal(key_successor(&set)->kid, "older");
    assert_ok(key_revoke(&set, "a", NOW, &why));
    assert_state(&set, "a", KEY_REVOKED);
    assert_int_equal(of(&set, "a")->revoked_at, NOW);
    assert_int_equal(of(&set, "a")->private_pem.len, 0);
    assert_state(&set, "older", KEY_ACTIVE);
    assert_state(&set, "young", KEY_NEXT);
}

/* ---- a full set ---- */

TEST(a_full_set_forgets_what_was_revoked_first_and_nothing_else)
{
    struct key_set set CLEANUP(key_set_close) = {0};
    struct key_refusal why = {0};
    char kid[8];
    add(&set, "a", KEY_ACTIVE, NOW);
    add(&set, "late", KEY_REVOKED, NOW - 1);
    add(&set, "early", KEY_REVOKED, NOW - 2);
    for (unsigned i = 0; set.count < KEYS_MAX; i++) {
        snprintf(kid, sizeof kid, "n%u", i);
        add(&set, kid, KEY_NEXT, NOW);
    }
    assert_ok(make(&set, PUBLISH, "x", NOW));
    assert_null(key_set_find(&set, "early"));
    assert_non_null(key_set_find(&set, "late"));
    assert_ok(make(&set, PUBLISH, "y", NOW));
    struct key_entry z CLEANUP(key_entry_close) = fresh("z");
    assert_err(key_publish(&set, &z, NOW, &why), ERR_TOO_LARGE);
    assert_int_equal(z.private_pem.len, 3); /* still the caller's */
    assert_int_equal(set.count, KEYS_MAX);
    assert_null(key_set_flaw(&set));
}

/* ---- flaws ---- */

TEST(a_set_has_one_active_key_and_distinct_kids)
{
    struct key_set set CLEANUP(key_set_close) = {0};
    assert_string_equal(key_set_flaw(&set), "no key is active");
    assert_null(key_set_active(&set));
    add(&set, "a", KEY_ACTIVE, NOW);
    assert_null(key_set_flaw(&set));
    struct key_entry *b = add(&set, "b", KEY_ACTIVE, NOW);
    assert_string_equal(key_set_flaw(&set), "more than one key is active");
    b->state = KEY_RETIRING;
    snprintf(b->kid, sizeof b->kid, "a");
    assert_string_equal(key_set_flaw(&set), "two keys have the same kid");
    snprintf(b->kid, sizeof b->kid, "b");
    secret_close(&b->private_pem);
    assert_null(key_set_flaw(&set));
    secret_close(&b->public_pem);
    assert_string_equal(key_set_flaw(&set), "a published key has no public half");
    b->state = KEY_REVOKED;
    assert_null(key_set_flaw(&set));
    b->state = KEY_NEXT;
    b->public_pem = some_bytes();
    assert_string_equal(key_set_flaw(&set), "a key that signs has no private half");
}

TEST(states_have_names)
{
    for (unsigned i = 0; i < KEY_STATES; i++) {
        enum key_state read = KEY_STATES;
        assert_ok(key_state_from_name(key_state_name((enum key_state)i), &read));
        assert_int_equal(read, i);
    }
    enum key_state untouched = KEY_STATES;
    assert_err(key_state_from_name("gone", &untouched), ERR_NOT_FOUND);
    assert_int_equal(untouched, KEY_STATES);
}

/* ---- the schedule ---- */

static void assert_due(const struct key_set *set, int64_t rotate_s, int64_t now,
                       enum key_due expected, const char *expected_kid)
{
    const char *kid = NULL;
    assert_int_equal(key_due(set, rotate_s, now, &kid), expected);
    if (expected_kid == NULL)
        assert_null(kid);
    else
        assert_string_equal(kid, expected_kid);
}

TEST(the_schedule_publishes_in_time_then_activates_then_retires)
{
    struct key_set set CLEANUP(key_set_close) = {0};
    struct key_refusal why = {0};
    int64_t end = NOW + 30 * DAY;
    add(&set, "a", KEY_ACTIVE, NOW);
    assert_due(&set, MONTHLY, end - 931, KEY_DUE_NOTHING, NULL);
    assert_due(&set, MONTHLY, end - 930, KEY_DUE_PUBLISH, NULL);
    assert_ok(make(&set, PUBLISH, "b", end - 930));
    assert_due(&set, MONTHLY, end - 1, KEY_DUE_NOTHING, NULL);
    assert_due(&set, MONTHLY, end, KEY_DUE_ACTIVATE, "b");
    assert_ok(key_activate(&set, "b", end, false, &why));
    assert_due(&set, MONTHLY, end + 4559, KEY_DUE_NOTHING, NULL);
    assert_due(&set, MONTHLY, end + 4560, KEY_DUE_RETIRE, "a");
    assert_ok(key_retire(&set, "a", end + 4560, false, &why));
    assert_due(&set, MONTHLY, end + 4560, KEY_DUE_NOTHING, NULL);
}

TEST(a_service_that_was_down_for_long_still_waits)
{
    struct key_set set CLEANUP(key_set_close) = {0};
    int64_t late = NOW + 300 * DAY;
    add(&set, "a", KEY_ACTIVE, NOW);
    assert_due(&set, MONTHLY, late, KEY_DUE_PUBLISH, NULL);
    assert_ok(make(&set, PUBLISH, "b", late));
    assert_due(&set, MONTHLY, late + 929, KEY_DUE_NOTHING, NULL);
    assert_due(&set, MONTHLY, late + 930, KEY_DUE_ACTIVATE, "b");
}

TEST(without_a_schedule_keys_only_retire)
{
    struct key_set set CLEANUP(key_set_close) = {0};
    add(&set, "a", KEY_ACTIVE, NOW);
    add(&set, "b", KEY_NEXT, NOW);
    add(&set, "old", KEY_RETIRING, NOW);
    assert_due(&set, NEVER, NOW + 4559, KEY_DUE_NOTHING, NULL);
    assert_due(&set, NEVER, NOW + 4560, KEY_DUE_RETIRE, "old");
    key_set_remove(&set, key_set_find(&set, "old"));
    assert_due(&set, NEVER, NOW + 9999 * DAY, KEY_DUE_NOTHING, NULL);
}

TEST(a_clock_that_goes_back_makes_nothing_due)
{
    struct key_set set CLEANUP(key_set_close) = {0};
    add(&set, "a", KEY_ACTIVE, NOW);
    add(&set, "old", KEY_RETIRING, NOW);
    assert_due(&set, MONTHLY, NOW - 400 * DAY, KEY_DUE_NOTHING, NULL);
    assert_due(&set, MONTHLY, 0, KEY_DUE_NOTHING, NULL);
    add(&set, "b", KEY_NEXT, NOW + DAY);
    key_set_remove(&set, key_set_find(&set, "old"));
    assert_due(&set, MONTHLY, NOW + 30 * DAY, KEY_DUE_ACTIVATE, "b");
    assert_due(&set, MONTHLY, NOW + DAY, KEY_DUE_NOTHING, NULL);
}

/* ---- any sequence of changes, on a clock that jumps both ways ---- */

static void assert_waited(struct key_set *set, enum change change, const struct key_set *before,
                          const char *kid, int64_t now)
{
    const struct key_entry *old = key_set_find((struct key_set *)before, kid);
    if (change == ACTIVATE)
        assert_true(now - old->published_at >= KEY_PUBLISH_WAIT_S);
    if (change == RETIRE && old->state == KEY_RETIRING)
        assert_true(now - old->retired_at >= KEY_RETIRE_WAIT_S);
    assert_null(key_set_flaw(set));
}

TEST(random_walks_keep_the_rules)
{
    uint64_t seed = 42;
    unsigned done[CHANGES] = {0};
    for (unsigned walk = 0; walk < 300; walk++) {
        struct key_set set CLEANUP(key_set_close) = {0};
        int64_t now = NOW;
        add(&set, "k0", KEY_ACTIVE, now);
        for (unsigned step = 0; step < 200; step++) {
            now += (int64_t)(next_random(&seed) % 3000) - 600;
            enum change change = (enum change)(next_random(&seed) % CHANGES);
            char kid[8];
            snprintf(kid, sizeof kid, "k%u", (unsigned)(next_random(&seed) % 24));
            const struct key_set before = set; /* its secrets are not looked at */
            enum err e = make(&set, change, kid, now);
            done[change] += e == OK;
            if (e == OK)
                assert_waited(&set, change, &before, kid, now);
            else
                assert_memory_equal(&before, &set, sizeof set);
            assert_non_null(key_set_active(&set));
            for (unsigned i = 0; i < set.count; i++)
                if (set.keys[i].state == KEY_RETIRING || set.keys[i].state == KEY_REVOKED)
                    assert_int_equal(set.keys[i].private_pem.len, 0);
        }
    }
    for (unsigned i = 0; i < CHANGES; i++)
        assert_true(done[i] > 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_rotation_waits_to_the_second),
        cmocka_unit_test(the_wait_covers_what_the_contract_names),
        cmocka_unit_test(an_emergency_waits_for_nothing),
        cmocka_unit_test(every_change_in_every_state),
        cmocka_unit_test(revoking_the_active_key_makes_the_longest_published_one_active_at_once),
        cmocka_unit_test(a_full_set_forgets_what_was_revoked_first_and_nothing_else),
        cmocka_unit_test(a_set_has_one_active_key_and_distinct_kids),
        cmocka_unit_test(states_have_names),
        cmocka_unit_test(the_schedule_publishes_in_time_then_activates_then_retires),
        cmocka_unit_test(a_service_that_was_down_for_long_still_waits),
        cmocka_unit_test(without_a_schedule_keys_only_retire),
        cmocka_unit_test(a_clock_that_goes_back_makes_nothing_due),
        cmocka_unit_test(random_walks_keep_the_rules),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
