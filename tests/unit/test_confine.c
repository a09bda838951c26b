/* Each process of a service tries what it must not be able to do. An attempt runs in a child that
 * has confined itself with the same functions as the real one; the control runs unconfined, and
 * shows that the attempt is one. */
#include "unit.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/process.h"
#include "base/seccomp.h"
#include "confine.h"

static char own_dir[64], other_dir[64]; /* below the first: what the process may change */
static unsigned allowed_port, other_port;
static int pair[2];

/* ---- attempts: 0 if it worked, else errno ---- */

static int failed(long result)
{
    return result < 0 ? errno : 0;
}

static int run_a_program(void)
{
    return failed(execl("/bin/true", "true", (char *)NULL));
}

static int run_a_program_by_the_other_call(void)
{
    char *arguments[] = {(char *)(uintptr_t) "true", NULL};
    return failed(syscall(SYS_execveat, AT_FDCWD, "/bin/true", arguments, NULL, 0));
}

static int trace_its_parent(void)
{
    long r = ptrace(PTRACE_SEIZE, getppid(), NULL, NULL);
    return failed(r);
}

static int read_its_parents_memory(void)
{
    static char here[8], there[8];
    struct iovec local = {here, sizeof here}, remote = {there, sizeof there};
    return failed(process_vm_readv(getppid(), &local, 1, &remote, 1, 0));
}

static int open_file(const char *path, int flags)
{
    int fd = open(path, flags | O_CLOEXEC, 0600);
    return failed(fd);
}

static int open_shadow(void)
{
    return open_file("/etc/shadow", O_RDONLY);
}

static int open_own_memory(void)
{
    return open_file("/proc/self/mem", O_RDWR);
}

static int open_other_file(void)
{
    char path[96];
    snprintf(path, sizeof path, "%s/key.pem", other_dir);
    return open_file(path, O_RDONLY);
}

static int write_elsewhere(void)
{
    char path[96];
    snprintf(path, sizeof path, "%s/made", other_dir);
    return open_file(path, O_WRONLY | O_CREAT);
}

static int use_own_file(void)
{
    char path[96];
    snprintf(path, sizeof path, "%s/made", own_dir);
    int e = open_file(path, O_RDWR | O_CREAT);
    return e != 0 ? e : failed(unlink(path));
}

static int connect_to(unsigned port)
{
    const struct sockaddr_in to = {.sin_family = AF_INET,
                                   .sin_port = htons((uint16_t)port),
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0)
        return errno;
    return failed(connect(fd, (const struct sockaddr *)&to, sizeof to));
}

static int connect_elsewhere(void)
{
    return connect_to(other_port);
}

/* MPTCP falls back to TCP where the other end does not speak it. */
static int connect_elsewhere_by_many_paths(void)
{
    const struct sockaddr_in to = {.sin_family = AF_INET,
                                   .sin_port = htons((uint16_t)other_port),
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, IPPROTO_MPTCP);
    if (fd < 0)
        return errno;
    return failed(connect(fd, (const struct sockaddr *)&to, sizeof to));
}

/* TCP Fast Open: the first piece of data connects. */
static int connect_elsewhere_by(const char *call)
{
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)other_port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    char byte = 'x';
    struct iovec piece = {&byte, 1};
    struct mmsghdr one = {
        .msg_hdr = {.msg_name = &to, .msg_namelen = sizeof to, .msg_iov = &piece, .msg_iovlen = 1}};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0)
        return errno;
    if (strcmp(call, "sendmsg") == 0)
        return failed(sendmsg(fd, &one.msg_hdr, MSG_FASTOPEN));
    if (strcmp(call, "sendmmsg") == 0)
        return failed(sendmmsg(fd, &one, 1, MSG_FASTOPEN));
    return failed(sendto(fd, &byte, 1, MSG_FASTOPEN, (const struct sockaddr *)&to, sizeof to));
}

static int connect_elsewhere_by_sendto(void)
{
    return connect_elsewhere_by("sendto");
}

static int connect_elsewhere_by_sendmsg(void)
{
    return connect_elsewhere_by("sendmsg");
}

static int connect_elsewhere_by_sendmmsg(void)
{
    return connect_elsewhere_by("sendmmsg");
}

static int look_up_a_name(void)
{
    return failed(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_IP));
}

static int open_a_socket_of_another_kind(void)
{
    return failed(socket(AF_INET, SOCK_SEQPACKET, 0));
}

static int connect_to_database(void)
{
    return connect_to(allowed_port);
}

static int listen_for_others(void)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    return fd < 0 ? errno : failed(listen(fd, 1));
}

static int take_an_address(void)
{
    const struct sockaddr_in any = {.sin_family = AF_INET,
                                    .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    return fd < 0 ? errno : failed(bind(fd, (const struct sockaddr *)&any, sizeof any));
}

static int open_packet_socket(void)
{
    return failed(socket(AF_PACKET, SOCK_RAW, 0));
}

static int open_raw_socket(void)
{
    return failed(socket(AF_INET, SOCK_RAW, IPPROTO_TCP));
}

static int start_a_process(void)
{
    pid_t pid = fork();
    if (pid == 0)
        _exit(0);
    return failed(pid);
}

static int signal_its_parent(void)
{
    return failed(kill(getppid(), 0));
}

/* With no signal, as kill(2) above: only whether it may. */
static int signal_a_thread_of_its_parent(void)
{
    return failed(syscall(SYS_tgkill, getppid(), getppid(), 0));
}

static int signal_itself(void)
{
    return failed(syscall(SYS_tgkill, getpid(), gettid(), 0));
}

static int limit_its_parent(void)
{
    struct rlimit old;
    return failed(prlimit(getppid(), RLIMIT_CPU, NULL, &old));
}

static int see_its_own_limit(void)
{
    struct rlimit old;
    return failed(getrlimit(RLIMIT_NOFILE, &old));
}

static int slow_its_parent_down(void)
{
    return failed(setpriority(PRIO_PROCESS, (id_t)getppid(), 0));
}

/* 0 is the caller's own group and user: its parent is of both. */
static int slow_its_group_down(void)
{
    return failed(setpriority(PRIO_PGRP, 0, getpriority(PRIO_PROCESS, 0)));
}

static int slow_its_user_down(void)
{
    return failed(setpriority(PRIO_USER, 0, getpriority(PRIO_PROCESS, 0)));
}

static int slow_itself_down(void)
{
    return failed(setpriority(PRIO_PROCESS, 0, getpriority(PRIO_PROCESS, 0) + 1));
}

static int look_at_itself(void)
{
    struct process_usage usage;
    return process_read(&usage) == OK && usage.open_fds > 0 ? 0 : EACCES;
}

static int have_a_signal_sent_to_its_parent(void)
{
    return failed(fcntl(pair[0], F_SETOWN, getppid()));
}

static int make_code(void)
{
    void *p =
        mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return p == MAP_FAILED ? errno : 0;
}

static int mount_something(void)
{
    return failed(mount("none", other_dir, "tmpfs", 0, NULL));
}

static int leave_its_namespaces(void)
{
    return failed(unshare(CLONE_NEWNS));
}

static int use_the_keyring(void)
{
    return failed(syscall(SYS_keyctl, 0, -3, 0));
}

static int load_a_bpf_program(void)
{
    return failed(syscall(SYS_bpf, 0, NULL, 0));
}

static int open_a_ring(void)
{
    char params[256] = {0};
    return failed(syscall(SYS_io_uring_setup, 1, params));
}

static int be_dumpable(void)
{
    return failed(prctl(PR_SET_DUMPABLE, 1, 0, 0, 0));
}

static int speak_over_its_pair(void)
{
    char byte = 'x';
    struct iovec piece = {&byte, 1};
    const struct msghdr message = {.msg_iov = &piece, .msg_iovlen = 1};
    return failed(sendmsg(pair[0], &message, MSG_NOSIGNAL));
}

static int take_memory(void)
{
    void *p = malloc((size_t)1 << 20);
    if (p == NULL)
        return ENOMEM;
    memset(p, 1, (size_t)1 << 20);
    free(p);
    return 0;
}

/* ---- who tries, and what must come of it ---- */

enum outcome { WORKS, REFUSED, KILLED };
enum who { NOBODY, NETWORK, KEEPER, SIGNER };

struct attempt {
    const char *name;
    int (*run)(void);
    bool control; /* works for root on an ordinary kernel without any of this */
    enum outcome network, keeper, signer;
};

static const struct attempt ATTEMPTS[] = {
    {"run a program", run_a_program, true, KILLED, KILLED, KILLED},
    {"run a program by execveat", run_a_program_by_the_other_call, true, KILLED, KILLED, KILLED},
    {"trace its parent", trace_its_parent, false, KILLED, KILLED, KILLED},
    {"read its parent's memory", read_its_parents_memory, true, KILLED, KILLED, KILLED},
    {"open /etc/shadow", open_shadow, true, REFUSED, REFUSED, KILLED},
    {"open /proc/self/mem", open_own_memory, true, REFUSED, REFUSED, KILLED},
    {"open a key", open_other_file, true, REFUSED, REFUSED, KILLED},
    {"write elsewhere", write_elsewhere, true, REFUSED, REFUSED, KILLED},
    {"use its own directory", use_own_file, true, WORKS, WORKS, KILLED},
    {"connect to its database", connect_to_database, true, WORKS, REFUSED, KILLED},
    {"connect elsewhere", connect_elsewhere, true, REFUSED, REFUSED, KILLED},
    {"connect by many paths", connect_elsewhere_by_many_paths, false, REFUSED, REFUSED, KILLED},
    {"connect by sendto", connect_elsewhere_by_sendto, true, REFUSED, REFUSED, KILLED},
    {"connect by sendmsg", connect_elsewhere_by_sendmsg, true, REFUSED, REFUSED, KILLED},
    {"connect by sendmmsg", connect_elsewhere_by_sendmmsg, true, REFUSED, REFUSED, KILLED},
    {"look up a name", look_up_a_name, true, WORKS, REFUSED, KILLED},
    {"open another kind of socket", open_a_socket_of_another_kind, false, REFUSED, REFUSED, KILLED},
    {"listen", listen_for_others, true, REFUSED, REFUSED, KILLED},
    {"take an address", take_an_address, true, REFUSED, REFUSED, KILLED},
    {"open a packet socket", open_packet_socket, false, REFUSED, REFUSED, KILLED},
    {"open a raw socket", open_raw_socket, false, REFUSED, REFUSED, KILLED},
    {"start a process", start_a_process, true, REFUSED, WORKS, KILLED},
    {"signal its parent", signal_its_parent, true, REFUSED, REFUSED, KILLED},
    {"signal a thread of its parent", signal_a_thread_of_its_parent, true, REFUSED, REFUSED,
     KILLED},
    {"have a signal sent", have_a_signal_sent_to_its_parent, true, REFUSED, REFUSED, KILLED},
    {"signal itself", signal_itself, true, WORKS, REFUSED, KILLED},
    {"limit its parent", limit_its_parent, true, REFUSED, REFUSED, KILLED},
    {"see its own limit", see_its_own_limit, true, WORKS, WORKS, KILLED},
    {"slow its parent down", slow_its_parent_down, true, REFUSED, REFUSED, KILLED},
    {"slow its group down", slow_its_group_down, true, REFUSED, REFUSED, KILLED},
    {"slow its user down", slow_its_user_down, false, REFUSED, REFUSED, KILLED},
    {"slow itself down", slow_itself_down, true, WORKS, REFUSED, KILLED},
    {"look at itself", look_at_itself, true, WORKS, REFUSED, KILLED},
    {"make code", make_code, true, REFUSED, REFUSED, REFUSED},
    {"mount something", mount_something, false, KILLED, KILLED, KILLED},
    {"leave its namespaces", leave_its_namespaces, false, KILLED, KILLED, KILLED},
    {"use the kernel's keyring", use_the_keyring, false, KILLED, KILLED, KILLED},
    {"load a BPF program", load_a_bpf_program, false, KILLED, KILLED, KILLED},
    {"open an io_uring", open_a_ring, false, KILLED, KILLED, KILLED},
    {"be dumpable again", be_dumpable, true, REFUSED, WORKS, KILLED},
    {"speak over its pair", speak_over_its_pair, true, WORKS, WORKS, WORKS},
    {"take memory", take_memory, true, WORKS, WORKS, WORKS},
};

static void become(enum who who)
{
    struct landlock l;
    struct confine_gaps gaps = {0};
    enum err e = OK;
    if (who == NOBODY)
        return;
    confine_basics();
    if (who == NETWORK) {
        struct process_usage usage;
        (void)!process_read(&usage); /* opens what it will go on reading */
        confine_network_begin(&l);
        landlock_allow_path(&l, own_dir, LANDLOCK_READ | LANDLOCK_WRITE | LANDLOCK_CHANGE);
        landlock_allow_connect(&l, allowed_port);
        e = confine_network_files(CONFINE_REQUIRE, &l, &gaps);
        if (e == OK)
            e = confine_network_calls(CONFINE_REQUIRE, &gaps);
    } else if (who == KEEPER) {
        e = confine_keeper(CONFINE_REQUIRE, own_dir);
    } else {
        e = confine_signer_files(CONFINE_REQUIRE);
        if (e == OK)
            e = confine_signer_calls(CONFINE_REQUIRE);
    }
    if (e != OK || gaps.files || gaps.ports || gaps.calls)
        _exit(99);
}

static enum outcome outcome_of(enum who who, const struct attempt *attempt)
{
    int status = 0;
    pid_t pid = fork();
    if (pid == 0) {
        become(who);
        _exit(attempt->run() == 0 ? 0 : 1);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (WIFSIGNALED(status)) {
        assert_int_equal(WTERMSIG(status), SIGSYS);
        return KILLED;
    }
    assert_true(WEXITSTATUS(status) < 2); /* 99: this kernel cannot, and then nothing is shown */
    return WEXITSTATUS(status) == 0 ? WORKS : REFUSED;
}

static void all_as(enum who who, const char *name)
{
    static const char *const words[] = {"works", "is refused", "kills it"};
    unsigned wrong = 0;
    for (size_t i = 0; i < ARRAY_LEN(ATTEMPTS); i++) {
        const struct attempt *a = &ATTEMPTS[i];
        enum outcome wanted = who == NETWORK ? a->network : who == KEEPER ? a->keeper : a->signer;
        if (who == NOBODY && !a->control)
            continue;
        if (who != NOBODY && confine_is_loose() &&
            (a->network != KILLED || a->run == trace_its_parent))
            continue;
        if (who == NOBODY)
            wanted = WORKS;
        enum outcome got = outcome_of(who, a);
        if (got != wanted)
            print_error("%s: %s: %s, but %s\n", name, a->name, words[wanted], words[got]);
        wrong += got != wanted;
    }
    assert_int_equal(wrong, 0);
}

TEST(without_limits_the_attempts_work)
{
    all_as(NOBODY, "control");
}

TEST(the_network_process_is_held)
{
    all_as(NETWORK, "network process");
}

TEST(the_keeper_is_held)
{
    all_as(KEEPER, "keeper");
}

TEST(the_signer_is_held)
{
    all_as(SIGNER, "signer");
}

/* ---- threads ---- */

static void *try_exec(void *arg)
{
    const int *go = arg;
    char byte;
    while (read(*go, &byte, 1) != 1)
        continue;
    (void)run_a_program();
    return NULL;
}

TEST(a_thread_that_was_there_before_is_killed_with_its_process)
{
    int status = 0;
    pid_t pid = fork();
    if (pid == 0) {
        struct confine_gaps gaps;
        pthread_t thread;
        int go[2];
        confine_basics();
        if (pipe(go) != 0 || pthread_create(&thread, NULL, try_exec, &go[0]) != 0 ||
            confine_network_calls(CONFINE_REQUIRE, &gaps) != OK || write(go[1], "x", 1) != 1)
            _exit(2);
        pthread_join(thread, NULL);
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS);
}

TEST(off_means_off)
{
    int status = 0;
    pid_t pid = fork();
    if (pid == 0) {
        struct landlock l;
        struct confine_gaps gaps;
        confine_network_begin(&l);
        bool ok = confine_network_files(CONFINE_OFF, &l, &gaps) == OK &&
                  confine_network_calls(CONFINE_OFF, &gaps) == OK &&
                  confine_signer_files(CONFINE_OFF) == OK &&
                  confine_signer_calls(CONFINE_OFF) == OK &&
                  confine_keeper(CONFINE_OFF, NULL) == OK && open_shadow() == 0;
        _exit(ok ? 0 : 1);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

/* ---- set-up ---- */

static unsigned listener(void)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof at;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(listen(fd, 16), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &len), 0);
    return ntohs(at.sin_port);
}

static int prepare(void **state)
{
    (void)state;
    char path[96];
    snprintf(own_dir, sizeof own_dir, "/tmp/confine-own-XXXXXX");
    snprintf(other_dir, sizeof other_dir, "/tmp/confine-other-XXXXXX");
    assert_non_null(mkdtemp(own_dir));
    assert_non_null(mkdtemp(other_dir));
    snprintf(path, sizeof path, "%s/key.pem", other_dir);
    assert_int_equal(open_file(path, O_WRONLY | O_CREAT), 0);
    allowed_port = listener();
    other_port = listener();
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
    return 0;
}

static int tidy(void **state)
{
    (void)state;
    char path[96];
    snprintf(path, sizeof path, "%s/key.pem", other_dir);
    (void)unlink(path);
    snprintf(path, sizeof path, "%s/made", other_dir);
    (void)unlink(path);
    (void)rmdir(other_dir);
    (void)rmdir(own_dir);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_limits_the_attempts_work),
        cmocka_unit_test(the_network_process_is_held),
        cmocka_unit_test(the_keeper_is_held),
        cmocka_unit_test(the_signer_is_held),
        cmocka_unit_test(a_thread_that_was_there_before_is_killed_with_its_process),
        cmocka_unit_test(off_means_off),
    };
    return cmocka_run_group_tests(tests, prepare, tidy);
}
