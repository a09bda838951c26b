/* The URL of NATS: what is taken, what is refused, and that refusing repeats nothing of it. */
#include "unit.h"

#include "net/nats.h"

TEST(well_formed_lists_are_taken)
{
    static const char *const good[] = {
        "nats://localhost",
        "nats://127.0.0.1:4222",
        "tls://user:password@nats.example:4222",
        "nats://token@host",
        "nats://user:p%40ss:word@host:1",
        "nats://user:p@ss@host:65535",
        "nats://[::1]:4222",
        "tls://[2001:db8::1]",
        "nats://a:1,tls://b:2,nats://u:p@c",
        "nats://1,nats://2,nats://3,nats://4,nats://5,nats://6,nats://7,nats://8",
    };
    for (size_t i = 0; i < ARRAY_LEN(good); i++)
        assert_null(nats_url_flaw(good[i]));
}

TEST(others_are_refused_without_repeating_them)
{
    static const char *const bad[] = {
        "",
        "canary",
        "http://canary",
        "NATS://canary",
        "nats:/canary",
        "nats://",
        "tls://",
        "nats://:4222",
        "nats://canary@",
        "nats://canary@:1",
        "nats://canary:",
        "nats://canary:0",
        "nats://canary:65536",
        "nats://canary:port",
        "nats://canary:4222/",
        "nats://canary/path",
        "nats://[::1",
        "nats://[]",
        "nats://[",
        "nats://[::1]canary",
        ",nats://canary",
        "nats://canary,",
        "nats://canary,,nats://b",
        "nats://canary,b",
        "nats://1,nats://2,nats://3,nats://4,nats://5,nats://6,nats://7,nats://8,nats://9",
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        const char *flaw = nats_url_flaw(bad[i]);
        if (flaw == NULL)
            fail_msg("%s is taken", bad[i]);
        assert_null(strstr(flaw, "canary"));
    }
}

TEST(what_is_too_long_is_refused)
{
    char url[2 * NATS_URL_MAX];
    memset(url, 'a', sizeof url);
    memcpy(url, "nats://", 7);
    url[sizeof url - 1] = '\0';
    assert_non_null(nats_url_flaw(url));
    url[7 + 255] = '\0';
    assert_null(nats_url_flaw(url));
    url[7 + 255] = 'a';
    url[7 + 256] = '\0'; /* a host is at most 255 characters */
    assert_non_null(nats_url_flaw(url));
}

TEST(nothing_listens_and_that_is_said)
{
    static const struct nats_stream stream = {.name = "S", .subjects = "s.>"};
    struct nats *nats = NULL;
    struct nats_message message = {.subject = "s.a", .id = "1", .data = "x", .len = 1};
    const char *why = NULL;
    assert_ok(nats_open("nats://user:canary@127.0.0.1:1", &stream, &nats, &why));
    assert_null(why);
    assert_false(nats_is_connected(nats));
    assert_err(nats_publish(nats, &message, 1), ERR_UNAVAILABLE);
    assert_false(message.stored);
    assert_err(nats_connect(nats), ERR_UNAVAILABLE);
    assert_true(nats_last_error(nats)[0] != '\0');
    assert_null(strstr(nats_last_error(nats), "canary"));
    nats_close(nats);
    nats_close(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(well_formed_lists_are_taken),
        cmocka_unit_test(others_are_refused_without_repeating_them),
        cmocka_unit_test(what_is_too_long_is_refused),
        cmocka_unit_test(nothing_listens_and_that_is_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
