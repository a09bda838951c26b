/* The two ends of the way to the signer, each in the hands of the test. */
#include "unit.h"

#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/sign_link.h"

struct ends {
    struct sign_link link;
    int far;
};

static void open_ends(struct ends *e)
{
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
    assert_ok(sign_link_open(pair[0], &e->link));
    e->far = pair[1];
}

static void close_ends(struct ends *e)
{
    sign_link_close(&e->link);
    close(e->far);
}

/* Signs by saying what it got; refuses what begins with an r, fails at an f. */
static void *sign_all(void *arg)
{
    static struct sign_request request;
    static struct sign_reply reply;
    const struct ends *e = arg;
    while (sign_link_take(e->far, &request) == OK) {
        const char *input = request.inputs;
        uint8_t *out = reply.signatures;
        reply.id = request.id;
        reply.count = request.count;
        for (unsigned i = 0; i < request.count; i++) {
            uint32_t len = request.lengths[i];
            bool done = input[0] != 'r' && input[0] != 'f';
            reply.each[i].verdict = done ? SIGN_DONE : input[0] == 'r' ? SIGN_REFUSED : SIGN_FAILED;
            reply.each[i].len = done ? len : 0;
            memcpy(out, input, done ? len : 0);
            out += done ? len : 0;
            input += len;
        }
        sign_link_answer(e->far, &reply);
    }
    return NULL;
}

TEST(each_of_a_batch_gets_its_own_answer)
{
    static const char *const inputs[] = {"one", "refused", "three, longer", "failed",
                                         "5",   "six",     "seven",         "eight"};
    struct ends e;
    pthread_t signer;
    open_ends(&e);
    assert_int_equal(pthread_create(&signer, NULL, sign_all, &e), 0);
    for (unsigned n = 1; n <= SIGN_LINK_BATCH; n++) {
        struct sign_ask asks[SIGN_LINK_BATCH];
        for (unsigned i = 0; i < n; i++)
            asks[i] = (struct sign_ask){.input = inputs[i], .len = strlen(inputs[i])};
        assert_ok(sign_link_ask(&e.link, asks, n));
        for (unsigned i = 0; i < n; i++) {
            enum err wanted = i == 1 ? ERR_DENIED : i == 3 ? ERR_INTERNAL : OK;
            assert_err(asks[i].e, wanted);
            if (wanted == OK) {
                assert_int_equal(asks[i].signature_len, strlen(inputs[i]));
                assert_memory_equal(asks[i].signature, inputs[i], asks[i].signature_len);
            }
        }
    }
    shutdown(e.link.fd, SHUT_RDWR);
    pthread_join(signer, NULL);
    close_ends(&e);
}

TEST(nothing_too_long_or_empty_is_sent)
{
    static const char input[SIGN_LINK_INPUT_MAX + 1];
    static const size_t bad[] = {0, SIGN_LINK_INPUT_MAX + 1};
    struct ends e;
    open_ends(&e);
    for (unsigned i = 0; i < ARRAY_LEN(bad); i++) {
        struct sign_ask asks[2] = {{.input = input, .len = 1}, {.input = input, .len = bad[i]}};
        assert_err(sign_link_ask(&e.link, asks, 2), ERR_DENIED);
    }
    char byte = 0;
    assert_int_equal(recv(e.far, &byte, 1, MSG_DONTWAIT), -1);
    close_ends(&e);
}

/* What the asker makes of an answer to one input. */
static enum err answered(const struct sign_reply *reply, size_t size)
{
    struct ends e;
    struct sign_ask ask = {.input = "x", .len = 1, .e = OK};
    open_ends(&e);
    assert_int_equal(send(e.far, reply, size, 0), size);
    enum err err = sign_link_ask(&e.link, &ask, 1);
    close_ends(&e);
    return err == OK ? ask.e : err;
}

TEST(an_answer_that_does_not_fit_is_none)
{
    enum { HEAD = offsetof(struct sign_reply, signatures) };
    const struct sign_reply good = {.id = 1, .count = 1, .each = {{SIGN_DONE, 4}}};
    assert_err(answered(&good, HEAD + 4), OK);
    assert_err(answered(&good, HEAD + 3), ERR_INTERNAL);
    assert_err(answered(&good, HEAD + 5), ERR_INTERNAL);
    assert_err(answered(&good, HEAD - 1), ERR_INTERNAL);
    struct sign_reply bad = good;
    bad.count = 2;
    assert_err(answered(&bad, HEAD + 4), ERR_INTERNAL);
    bad = good;
    bad.each[0].verdict = SIGN_VERDICTS;
    assert_err(answered(&bad, HEAD + 4), ERR_INTERNAL);
    bad = good;
    bad.each[0].len = 0; /* done, but nothing there */
    assert_err(answered(&bad, HEAD), ERR_INTERNAL);
    bad.each[0].len = SIGN_LINK_SIGNATURE_MAX + 1;
    assert_err(answered(&bad, HEAD + SIGN_LINK_SIGNATURE_MAX + 1), ERR_INTERNAL);
    bad.each[0].len = UINT32_MAX;
    assert_err(answered(&bad, HEAD + 4), ERR_INTERNAL);
}

TEST(a_late_answer_goes_to_nobody)
{
    enum { SIZE = offsetof(struct sign_reply, signatures) + 4 };
    struct ends e;
    struct sign_ask ask = {.input = "x", .len = 1};
    open_ends(&e);
    e.link.last_id = 7; /* 8 is asked next; 6 and 7 were given up */
    for (uint32_t id = 6; id <= 8; id++) {
        struct sign_reply reply = {.id = id, .count = 1, .each = {{SIGN_DONE, 4}}};
        memcpy(reply.signatures, id == 8 ? "mine" : "past", 4);
        assert_int_equal(send(e.far, &reply, SIZE, 0), SIZE);
    }
    assert_ok(sign_link_ask(&e.link, &ask, 1));
    assert_memory_equal(ask.signature, "mine", 4);
    close_ends(&e);
}

TEST(nobody_at_the_other_end_is_not_waited_for)
{
    struct ends e;
    struct sign_ask ask = {.input = "x", .len = 1};
    open_ends(&e);
    close(e.far);
    assert_err(sign_link_ask(&e.link, &ask, 1), ERR_UNAVAILABLE);
    sign_link_close(&e.link);
}

/* Any failure but the end of the peer: the signer may well live, and has to be replaced. */
TEST(a_failure_on_this_side_does_not_say_that_the_other_is_gone)
{
    struct ends e;
    struct sign_ask ask = {.input = "x", .len = 1};
    open_ends(&e);
    int file = open("/dev/null", O_RDWR | O_CLOEXEC); /* no socket: sendmsg fails */
    assert_true(file >= 0 && dup2(file, e.link.fd) == e.link.fd);
    assert_err(sign_link_ask(&e.link, &ask, 1), ERR_BUSY);
    close(file);
    close_ends(&e);
}

TEST(a_request_must_be_its_inputs_and_nothing_else)
{
    enum { HEAD = offsetof(struct sign_request, inputs) };
    static struct sign_request r = {.count = 2, .lengths = {3, 5}};
    assert_true(sign_request_ok(&r, HEAD + 8));
    assert_false(sign_request_ok(&r, HEAD + 7));
    assert_false(sign_request_ok(&r, HEAD + 9));
    assert_false(sign_request_ok(&r, HEAD - 1));
    assert_false(sign_request_ok(&r, 0));
    r.lengths[1] = 0;
    assert_false(sign_request_ok(&r, HEAD + 3));
    r.lengths[1] = SIGN_LINK_INPUT_MAX + 1;
    assert_false(sign_request_ok(&r, HEAD + 3 + SIGN_LINK_INPUT_MAX + 1));
    r.lengths[1] = UINT32_MAX - 2; /* the sum of both is 0 in 32 bits */
    assert_false(sign_request_ok(&r, HEAD));
    r.count = 0;
    assert_false(sign_request_ok(&r, HEAD));
    r.count = SIGN_LINK_BATCH + 1;
    assert_false(sign_request_ok(&r, HEAD + 8));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_of_a_batch_gets_its_own_answer),
        cmocka_unit_test(nothing_too_long_or_empty_is_sent),
        cmocka_unit_test(an_answer_that_does_not_fit_is_none),
        cmocka_unit_test(a_late_answer_goes_to_nobody),
        cmocka_unit_test(nobody_at_the_other_end_is_not_waited_for),
        cmocka_unit_test(a_failure_on_this_side_does_not_say_that_the_other_is_gone),
        cmocka_unit_test(a_request_must_be_its_inputs_and_nothing_else),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
