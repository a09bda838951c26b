/* The keeper, seen from a network process that has been taken over. */
#include "unit.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "keeper.h"
#include "keys_dir.h"

#define LINKS 2

static char keys_dir[64];
static struct keeper *keeper;
static pid_t keeper_pid;

static enum err configure(void *arg, struct keeper_config *out, struct keys_flaw *flaw)
{
    static const struct secret none;
    (void)arg;
    (void)flaw;
    out->source = (struct keys_source){.private_fd = -1,
                                       .private_setting = "KEYS_DIR",
                                       .kid = "",
                                       .previous_pem = &none,
                                       .previous_kid = "",
                                       .dir = keys_dir};
    out->access = (struct access_policy){
        .issuer = "issuer", .audience = "audience", .extra_claims = "", .ttl_seconds = 900};
    out->confine = CONFINE_AUTO;
    return OK;
}

static void next_signer(struct keeper_news *news)
{
    do
        assert_ok(keeper_read(keeper, news));
    while (news->event != KEEPER_UP);
    assert_int_equal(news->link_count, LINKS);
    key_set_close(&news->keys);
}

/* Living children; the last of them, if there is one. */
static unsigned count_children(pid_t of, pid_t *last)
{
    unsigned n = 0;
    DIR *d = opendir("/proc");
    assert_non_null(d);
    for (const struct dirent *e = readdir(d); e != NULL; e = readdir(d)) {
        char path[300], line[256] = "", state = 0;
        int parent = 0;
        snprintf(path, sizeof path, "/proc/%s/stat", e->d_name);
        FILE *f = fopen(path, "re");
        if (f == NULL)
            continue;
        const char *rest = fgets(line, sizeof line, f) != NULL ? strrchr(line, ')') : NULL;
        fclose(f);
        if (rest == NULL || sscanf(rest, ") %c %d", &state, &parent) != 2 || parent != of ||
            state == 'Z')
            continue;
        *last = (pid_t)strtol(e->d_name, NULL, 10);
        n++;
    }
    closedir(d);
    return n;
}

static unsigned count_signers(void)
{
    pid_t last;
    return count_children(keeper_pid, &last);
}

static unsigned count_descriptors(void)
{
    char path[64];
    unsigned n = 0;
    snprintf(path, sizeof path, "/proc/%d/fd", (int)keeper_pid);
    DIR *d = opendir(path);
    if (d == NULL)
        return 0; /* takes root */
    while (readdir(d) != NULL)
        n++;
    closedir(d);
    return n;
}

/* ---- what it tries ---- */

TEST(links_that_are_kept_keep_few_signers)
{
    struct keeper_news news;
    for (unsigned i = 0; i < 30; i++) {
        keeper_ask(keeper, KEEPER_RELOAD, 0);
        next_signer(&news); /* and its links stay open */
    }
    for (unsigned tries = 0; count_signers() > 9 && tries < 500; tries++)
        clock_sleep_ns(10 * NS_PER_MS);
    assert_in_range(count_signers(), 1, 9);
}

/* A signer that was replaced may finish: only the many before it may not. */
TEST(the_signer_before_goes_on)
{
    struct keeper_news before, news;
    char byte;
    keeper_ask(keeper, KEEPER_RELOAD, 0);
    next_signer(&before);
    keeper_ask(keeper, KEEPER_RELOAD, 0);
    next_signer(&news);
    clock_sleep_ns(100 * NS_PER_MS);
    assert_int_equal(recv(before.links[0], &byte, 1, MSG_DONTWAIT), -1); /* not 0: its end */
}

TEST(descriptors_and_orders_that_are_none_are_dropped)
{
    enum { EACH = 16 };
    struct keeper_news news;
    unsigned before = count_descriptors();
    struct keeper_order order = {KEEPER_REPLACE + 1, 0};
    int fds[EACH];
    for (unsigned i = 0; i < EACH; i++)
        fds[i] = STDIN_FILENO;
    for (unsigned i = 0; i < 100; i++) {
        union {
            char bytes[CMSG_SPACE(sizeof fds)];
            struct cmsghdr align;
        } control = {.bytes = {0}};
        struct iovec piece = {&order, sizeof order};
        struct msghdr message = {.msg_iov = &piece,
                                 .msg_iovlen = 1,
                                 .msg_control = control.bytes,
                                 .msg_controllen = sizeof control.bytes};
        struct cmsghdr *c = CMSG_FIRSTHDR(&message);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof fds);
        memcpy(CMSG_DATA(c), fds, sizeof fds);
        assert_int_equal(sendmsg(keeper_fd(keeper), &message, MSG_NOSIGNAL), sizeof order);
    }
    keeper_ask(keeper, KEEPER_RELOAD, 0);
    next_signer(&news);
    assert_in_range(count_descriptors(), 0, before + 2);
}

/* ---- set-up ---- */

static int prepare(void **state)
{
    struct keys_flaw flaw;
    (void)state;
    snprintf(keys_dir, sizeof keys_dir, "/tmp/keeper-XXXXXX");
    assert_non_null(mkdtemp(keys_dir));
    assert_ok(keys_dir_generate(keys_dir, &flaw));
    return 0;
}

static int begin(void **state)
{
    struct keeper_news news;
    (void)state;
    assert_ok(keeper_start(LINKS, configure, NULL, &keeper));
    next_signer(&news);
    assert_int_equal(count_children(getpid(), &keeper_pid), 1);
    return 0;
}

/* Keeper and signers end with the control socket; what is left open here are ends of theirs. */
static int end(void **state)
{
    (void)state;
    keeper_stop(keeper);
    close_range(STDERR_FILENO + 1, ~0U, 0);
    return 0;
}

static int tidy(void **state)
{
    char path[96];
    (void)state;
    snprintf(path, sizeof path, "%s/signing-key.pem", keys_dir);
    (void)unlink(path);
    (void)rmdir(keys_dir);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(links_that_are_kept_keep_few_signers, begin, end),
        cmocka_unit_test_setup_teardown(the_signer_before_goes_on, begin, end),
        cmocka_unit_test_setup_teardown(descriptors_and_orders_that_are_none_are_dropped, begin,
                                        end),
    };
    return cmocka_run_group_tests(tests, prepare, tidy);
}
