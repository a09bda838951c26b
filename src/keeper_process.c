/*
 * keeper_process.c: the process that starts the signer, and starts it again.
 *
 * One thread, no key, no network. It looks at KEYS_DIR now and then: when something there has
 * changed, a new signer reads it, and only when that one works does it take the old one's place.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "keeper.h"
#include "keys_change.h"

#define LOOK_EVERY_NS (10 * NS_PER_SECOND)
/* A signer that has been loading for so long hangs: it takes milliseconds. */
#define LOAD_MAX_NS (15 * NS_PER_SECOND)
/* A signer that dies young is not started again at once: a while, and each time twice as long. */
#define YOUNG_NS (10 * NS_PER_SECOND)
#define WAIT_FIRST_NS (100 * NS_PER_MS)
#define WAIT_MAX_NS (5 * NS_PER_SECOND)
/* Signers that have been replaced, and still finish what they were asked for. */
#define LEAVING_MAX 8

struct child {
    pid_t pid; /* 0: none */
    unsigned generation;
    int status;
    int links[KEEPER_LINKS_MAX]; /* the network process's ends, until it has them */
    uint64_t started_ns;
};

struct state {
    const struct keeper_config *config;
    int control;
    struct child signer;        /* works */
    struct child coming;        /* loads */
    pid_t leaving[LEAVING_MAX]; /* the oldest first; 0: none */
    unsigned generations;
    bool again;    /* the keys have changed while one was loading */
    bool confined; /* this process */
    uint64_t seen; /* of the directory */
    uint64_t look_at_ns;
    uint64_t start_at_ns; /* 0: nothing to start */
    uint64_t wait_ns;
};

/* ---- the directory ---- */

/* FNV-1a, by bytes of a name and by whole numbers. */
static uint64_t mix(uint64_t hash, uint64_t next)
{
    return (hash ^ next) * UINT64_C(0x100000001b3);
}

static uint64_t mix_name(const char *name)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    while (*name != '\0')
        hash = mix(hash, (uint8_t)*name++);
    return hash;
}

static uint64_t mix_stat(uint64_t hash, const struct stat *st)
{
    hash = mix(hash, st->st_ino);
    hash = mix(hash, (uint64_t)st->st_size);
    hash = mix(hash, (uint64_t)st->st_mtim.tv_sec);
    hash = mix(hash, (uint64_t)st->st_mtim.tv_nsec);
    hash = mix(hash, (uint64_t)st->st_ctim.tv_sec);
    return mix(hash, (uint64_t)st->st_ctim.tv_nsec);
}

/* Something that is another whenever a file there was made, changed, renamed or removed. The order
 * of the names does not matter. */
static uint64_t look_at(const char *dir)
{
    DIR *d = opendir(dir);
    uint64_t all = 0;
    if (d == NULL)
        return 0;
    /* NOLINTNEXTLINE(concurrency-mt-unsafe): one thread */
    for (const struct dirent *entry = readdir(d); entry != NULL; entry = readdir(d)) {
        struct stat st = {0};
        if (strcmp(entry->d_name, "..") == 0 ||
            fstatat(dirfd(d), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0)
            continue;
        all += mix_stat(mix_name(entry->d_name), &st);
    }
    closedir(d);
    return all;
}

static bool has_dir(const struct state *s)
{
    return s->config->source.private_fd < 0;
}

/* ---- news for the network process ---- */

static void tell(const struct state *s, const struct keeper_message *m, size_t size, const int *fds,
                 unsigned count)
{
    union {
        char bytes[CMSG_SPACE(KEEPER_LINKS_MAX * sizeof(int))];
        struct cmsghdr align;
    } control = {.bytes = {0}};
    struct iovec piece = {(void *)(uintptr_t)m, size};
    struct msghdr message = {.msg_iov = &piece, .msg_iovlen = 1};
    if (count > 0) {
        message.msg_control = control.bytes;
        message.msg_controllen = CMSG_SPACE(count * sizeof(int));
        struct cmsghdr *c = CMSG_FIRSTHDR(&message);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(count * sizeof(int));
        memcpy(CMSG_DATA(c), fds, count * sizeof(int));
    }
    ssize_t n = 0;
    do
        n = sendmsg(s->control, &message, MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    if (n != (ssize_t)size)
        _exit(1); /* nobody is there any more */
}

/* Before the first signer that can come up: one that was there earlier would be out of reach of
 * this process's signals, also of the one that its end sends. Until there is a directory none can,
 * as it finds no key. */
static void confine(struct state *s)
{
    static const struct keys_flaw cannot = {
        "SANDBOX", "is require, and this kernel cannot confine the keeper"};
    struct keeper_message m;
    const char *dir = has_dir(s) ? s->config->source.dir : NULL;
    if (s->confined || (dir != NULL && access(dir, F_OK) != 0))
        return;
    s->confined = true;
    if (confine_keeper(s->config->confine, dir) == OK)
        return;
    keeper_message_flaw(&m, KEEPER_REFUSED, &cannot);
    tell(s, &m, KEEPER_MESSAGE_BARE, NULL, 0);
    _exit(1);
}

/* ---- children ---- */

static void close_links(int *links, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        if (links[i] >= 0)
            close(links[i]);
        links[i] = -1;
    }
}

static bool make_pairs(unsigned count, int *near, int *far)
{
    for (unsigned i = 0; i < count; i++) {
        int pair[2];
        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0) {
            close_links(near, i);
            close_links(far, i);
            return false;
        }
        near[i] = pair[0];
        far[i] = pair[1];
    }
    return true;
}

static _Noreturn void be_signer(const struct state *s, pid_t parent, int status, const int *far,
                                const int *near, bool may_generate)
{
    if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) != 0 || getppid() != parent)
        _exit(1);
    /* Whoever has an end of its own links would keep it alive. */
    for (unsigned i = 0; i < s->config->links; i++)
        close(near[i]);
    close(s->control);
    signer_run(s->config, status, far, may_generate);
}

static void start_later(struct state *s)
{
    s->wait_ns = s->wait_ns == 0 ? WAIT_FIRST_NS : s->wait_ns * 2;
    if (s->wait_ns > WAIT_MAX_NS)
        s->wait_ns = WAIT_MAX_NS;
    s->start_at_ns = clock_mono_ns() + s->wait_ns;
}

static void start(struct state *s, bool may_generate)
{
    struct child child = {.generation = ++s->generations, .started_ns = clock_mono_ns()};
    int far[KEEPER_LINKS_MAX], status[2];
    unsigned links = s->config->links;
    s->start_at_ns = 0;
    s->again = false;
    confine(s);
    if (has_dir(s))
        s->seen = look_at(s->config->source.dir);
    if (!make_pairs(1, &status[0], &status[1])) {
        start_later(s);
        return;
    }
    if (!make_pairs(links, child.links, far)) {
        close_links(status, 2);
        start_later(s);
        return;
    }
    pid_t parent = getpid();
    child.pid = fork();
    if (child.pid == 0)
        be_signer(s, parent, status[1], far, child.links, may_generate);
    close(status[1]);
    close_links(far, links);
    child.status = status[0];
    if (child.pid > 0) {
        s->coming = child;
        return;
    }
    close(child.status);
    close_links(child.links, links);
    start_later(s);
}

static void drop(struct state *s, struct child *child)
{
    if (child->pid > 0) {
        kill(child->pid, SIGKILL);
        close(child->status);
        close_links(child->links, s->config->links);
    }
    *child = (struct child){0};
}

/* It ends when the last of its links is closed. A network process that keeps them all, and has keys
 * read again and again, would fill the machine with signers: the oldest goes then. */
static void let_go(struct state *s, pid_t pid)
{
    if (s->leaving[0] > 0)
        kill(s->leaving[0], SIGKILL);
    memmove(s->leaving, s->leaving + 1, sizeof s->leaving - sizeof s->leaving[0]);
    s->leaving[LEAVING_MAX - 1] = pid;
}

/* What has been waited for may be anybody's number. */
static void reap(struct state *s)
{
    for (pid_t gone = waitpid(-1, NULL, WNOHANG); gone > 0; gone = waitpid(-1, NULL, WNOHANG))
        for (unsigned i = 0; i < LEAVING_MAX; i++)
            if (s->leaving[i] == gone)
                s->leaving[i] = 0;
}

/* ---- how it went ---- */

static void came_up(struct state *s, struct keeper_message *m, size_t size)
{
    struct child before = s->signer;
    s->signer = s->coming;
    s->coming = (struct child){0};
    m->generation = s->signer.generation;
    tell(s, m, size, s->signer.links, s->config->links);
    close_links(s->signer.links, s->config->links);
    if (before.pid > 0) {
        close(before.status);
        let_go(s, before.pid);
    }
}

static void fail(struct state *s, const struct keeper_message *m)
{
    tell(s, m, KEEPER_MESSAGE_BARE, NULL, 0);
    drop(s, &s->coming);
    if (s->signer.pid == 0)
        start_later(s);
}

/* What is loading has said how it went, or is gone without a word. */
static void hear(struct state *s)
{
    struct keeper_message m;
    ssize_t n = recv(s->coming.status, &m, sizeof m, 0);
    if (n > (ssize_t)KEEPER_MESSAGE_BARE && m.event == KEEPER_UP) {
        came_up(s, &m, (size_t)n);
    } else {
        static const struct keys_flaw silent = {"KEYS_DIR",
                                                "the process that signs ended before it was ready"};
        if (n != (ssize_t)KEEPER_MESSAGE_BARE)
            keeper_message_flaw(&m, KEEPER_REFUSED, &silent);
        fail(s, &m);
    }
    if (s->again)
        start(s, false);
}

/* The next look at the directory finds it changed, and has another read it. */
static void give_up(struct state *s)
{
    static const struct keys_flaw late = {"KEYS_DIR",
                                          "the process that signs did not become ready"};
    struct keeper_message m;
    keeper_message_flaw(&m, KEEPER_REFUSED, &late);
    fail(s, &m);
    s->seen = 0;
    s->again = false;
}

static void lost(struct state *s)
{
    struct keeper_message m;
    bool young = clock_mono_ns() - s->signer.started_ns < YOUNG_NS;
    keeper_message_flaw(&m, KEEPER_DOWN, NULL);
    m.generation = s->signer.generation;
    drop(s, &s->signer);
    tell(s, &m, KEEPER_MESSAGE_BARE, NULL, 0);
    if (!young)
        s->wait_ns = 0;
    if (s->coming.pid > 0)
        return;
    if (young && s->generations > 1)
        start_later(s);
    else
        start(s, false);
}

/* ---- the keys' ages ---- */

static void note_tended(const struct keys_tended *done)
{
    static const char *const events[][2] = {
        [KEY_DUE_NOTHING] = {"auth.key_unchanged", "nothing was due"},
        [KEY_DUE_PUBLISH] = {"auth.key_published",
                             "a signing key is published; it does not sign yet"},
        [KEY_DUE_ACTIVATE] = {"auth.key_activated", "a signing key signs from now on"},
        [KEY_DUE_RETIRE] = {"auth.key_retired", "a signing key is gone"},
    };
    for (unsigned i = 0; i < done->count; i++) {
        struct log_line line;
        log_begin(&line, LOG_INFO, events[done->steps[i].what][0], events[done->steps[i].what][1]);
        log_str(&line, "kid", done->steps[i].kid);
        log_str(&line, "scheduled", "true");
        log_end(&line);
    }
}

/* In a process of its own: private keys are read and made there. */
static _Noreturn void be_tender(const struct state *s, pid_t parent)
{
    struct keys_tended done;
    struct keys_flaw flaw;
    const struct keys_source *source = &s->config->source;
    if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) != 0 || getppid() != parent)
        _exit(1);
    prctl(PR_SET_NAME, "ww-tender", 0, 0, 0);
    close(s->control);
    enum err e = keys_dir_tend(source->dir, source->kid, s->config->rotate_s,
                               clock_unix_ms() / MS_PER_SECOND, &done, &flaw);
    if (e == OK)
        note_tended(&done);
    else
        log_note(LOG_ERROR, "auth.key_overdue", "a change of the signing keys is due and fails",
                 flaw.text);
    _exit(e == OK ? 0 : 1);
}

static void tend(const struct state *s)
{
    if (!keys_dir_may_be_due(s->config->source.dir, s->config->rotate_s,
                             clock_unix_ms() / MS_PER_SECOND))
        return;
    pid_t parent = getpid();
    if (fork() == 0)
        be_tender(s, parent);
}

/* ---- the loop ---- */

static void reload(struct state *s)
{
    if (s->coming.pid > 0)
        s->again = true;
    else
        start(s, false);
}

static void replace(struct state *s, struct child *child, bool may_generate)
{
    drop(s, child);
    if (s->coming.pid == 0)
        start(s, may_generate);
}

/* The directory first, so that this process is confined to it before there is a signer. */
static void generate(struct state *s)
{
    if (!s->config->production)
        (void)!file_make_dir(s->config->source.dir); /* the signer finds out, and says so */
    replace(s, &s->coming, true);
}

static void obey(struct state *s)
{
    struct keeper_order order;
    ssize_t n = recv(s->control, &order, sizeof order, 0);
    if (n != sizeof order) { /* the network process has ended: so does all of this */
        drop(s, &s->coming);
        drop(s, &s->signer);
        _exit(0);
    }
    if (order.request == KEEPER_RELOAD && has_dir(s))
        reload(s);
    else if (order.request == KEEPER_GENERATE && s->signer.pid == 0)
        generate(s);
    else if (order.request == KEEPER_REPLACE && s->signer.generation == order.generation)
        replace(s, &s->signer, false);
}

static void on_time(struct state *s)
{
    uint64_t now = clock_mono_ns();
    if (s->coming.pid > 0 && now >= s->coming.started_ns + LOAD_MAX_NS)
        give_up(s);
    if (s->start_at_ns != 0 && now >= s->start_at_ns && s->coming.pid == 0)
        start(s, false);
    if (now < s->look_at_ns)
        return;
    s->look_at_ns = now + LOOK_EVERY_NS;
    if (has_dir(s) && s->signer.pid > 0)
        tend(s);
    if (has_dir(s) && look_at(s->config->source.dir) != s->seen)
        reload(s);
}

static int until_next(const struct state *s)
{
    uint64_t now = clock_mono_ns();
    uint64_t next = s->look_at_ns;
    if (s->start_at_ns != 0 && s->start_at_ns < next)
        next = s->start_at_ns;
    if (s->coming.pid > 0 && s->coming.started_ns + LOAD_MAX_NS < next)
        next = s->coming.started_ns + LOAD_MAX_NS;
    return next <= now ? 0 : (int)((next - now) / NS_PER_MS + 1);
}

_Noreturn void keeper_run(int control, const struct keeper_config *config)
{
    struct state s = {.config = config, .control = control};
    prctl(PR_SET_NAME, "ww-keeper", 0, 0, 0);
    s.look_at_ns = clock_mono_ns() + LOOK_EVERY_NS;
    start(&s, false);
    for (;;) {
        struct pollfd on[] = {{control, POLLIN, 0},
                              {s.coming.pid > 0 ? s.coming.status : -1, POLLIN, 0},
                              {s.signer.pid > 0 ? s.signer.status : -1, POLLIN, 0}};
        (void)poll(on, 3, until_next(&s));
        if (on[0].revents != 0)
            obey(&s);
        else if (on[1].revents != 0)
            hear(&s);
        else if (on[2].revents != 0)
            lost(&s);
        on_time(&s);
        reap(&s);
    }
}
