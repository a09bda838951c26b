#include "keeper.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/text.h"

struct keeper {
    int control;
    pid_t pid;
};

/* ---- starting and stopping ---- */

static _Noreturn void be_keeper(int control, pid_t parent, unsigned links,
                                keeper_configure *configure, void *arg)
{
    /* Not one second longer than the process it serves, however that ends. */
    if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) != 0 || getppid() != parent)
        _exit(1);
    struct keeper_config config = {.links = links};
    struct keys_flaw flaw;
    if (configure(arg, &config, &flaw) == OK)
        keeper_run(control, &config);
    struct keeper_message m;
    keeper_message_flaw(&m, KEEPER_REFUSED, &flaw);
    (void)send(control, &m, KEEPER_MESSAGE_BARE, MSG_NOSIGNAL);
    _exit(1);
}

enum err keeper_start(unsigned links, keeper_configure *configure, void *arg, struct keeper **out)
{
    int pair[2];
    pid_t parent = getpid();
    struct keeper *keeper = calloc(1, sizeof *keeper);
    if (keeper == NULL || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0) {
        free(keeper);
        return ERR_INTERNAL;
    }
    pid_t pid = fork();
    if (pid == 0) {
        close(pair[0]);
        be_keeper(pair[1], parent, links, configure, arg);
    }
    close(pair[1]);
    *keeper = (struct keeper){pair[0], pid};
    if (pid < 0) {
        keeper_stop(keeper);
        return ERR_INTERNAL;
    }
    *out = keeper;
    return OK;
}

void keeper_stop(struct keeper *keeper)
{
    if (keeper == NULL)
        return;
    close(keeper->control);
    while (keeper->pid > 0 && waitpid(keeper->pid, NULL, 0) < 0 && errno == EINTR)
        continue;
    free(keeper);
}

/* ---- news ---- */

int keeper_fd(const struct keeper *keeper)
{
    return keeper->control;
}

union fds_buffer {
    char bytes[CMSG_SPACE(KEEPER_LINKS_MAX * sizeof(int))];
    struct cmsghdr align;
};

static unsigned take_fds(struct msghdr *message, int fds[KEEPER_LINKS_MAX])
{
    struct cmsghdr *c = CMSG_FIRSTHDR(message);
    if (c == NULL || c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
        return 0;
    size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    memcpy(fds, CMSG_DATA(c), count * sizeof(int));
    return (unsigned)count;
}

static enum err receive(int fd, struct keeper_message *m, size_t *len, struct keeper_news *news)
{
    union fds_buffer fds;
    struct iovec piece = {m, sizeof *m};
    struct msghdr message = {.msg_iov = &piece,
                             .msg_iovlen = 1,
                             .msg_control = fds.bytes,
                             .msg_controllen = sizeof fds.bytes};
    ssize_t n = 0;
    do
        n = recvmsg(fd, &message, MSG_CMSG_CLOEXEC);
    while (n < 0 && errno == EINTR);
    if (n <= 0)
        return ERR_UNAVAILABLE;
    news->link_count = take_fds(&message, news->links);
    *len = (size_t)n;
    return OK;
}

/* Settings are told apart by address: literals. */
static const char *setting_named(const char *name, size_t cap)
{
    static const char *const settings[] = {"KEYS_DIR",
                                           "JWT_PRIVATE_KEY_PEM",
                                           "JWT_PRIVATE_KEY_PEM_FILE",
                                           "JWT_PREV_PUBLIC_KEY_PEM",
                                           "JWT_KID",
                                           "SANDBOX"};
    for (size_t i = 0; i < ARRAY_LEN(settings); i++)
        if (strncmp(settings[i], name, cap) == 0)
            return settings[i];
    return settings[0];
}

static enum err unpack(const struct keeper_message *m, size_t len, struct keeper_news *news)
{
    if (len < KEEPER_MESSAGE_BARE || m->event >= KEEPER_EVENTS)
        return ERR_MALFORMED;
    news->event = (enum keeper_event)m->event;
    news->generation = m->generation;
    news->flaw.setting = setting_named(m->flaw.setting, sizeof m->flaw.setting);
    text_copy(news->flaw.text, sizeof news->flaw.text, m->flaw.text,
              strnlen(m->flaw.text, sizeof m->flaw.text - 1));
    if (news->event != KEEPER_UP)
        return OK;
    return key_wire_unpack(&m->keys, len - KEEPER_MESSAGE_BARE, &news->keys);
}

enum err keeper_read(struct keeper *keeper, struct keeper_news *out)
{
    struct keeper_message m = {0};
    struct keeper_news news = {0};
    size_t len = 0;
    TRY(receive(keeper->control, &m, &len, &news));
    enum err e = unpack(&m, len, &news);
    if (e != OK) {
        for (unsigned i = 0; i < news.link_count; i++)
            close(news.links[i]);
        return ERR_UNAVAILABLE; /* whatever that was, it was no keeper of ours */
    }
    *out = news;
    return OK;
}

void keeper_ask(struct keeper *keeper, enum keeper_request request, unsigned generation)
{
    const struct keeper_order order = {request, generation};
    /* Full: it has been asked often enough. Gone: that shows where news is read. */
    (void)send(keeper->control, &order, sizeof order, MSG_NOSIGNAL | MSG_DONTWAIT);
}

void keeper_message_flaw(struct keeper_message *m, enum keeper_event event,
                         const struct keys_flaw *flaw)
{
    memset(m, 0, KEEPER_MESSAGE_BARE);
    m->event = event;
    if (flaw == NULL)
        return;
    text_copy(m->flaw.setting, sizeof m->flaw.setting, flaw->setting, strlen(flaw->setting));
    text_copy(m->flaw.text, sizeof m->flaw.text, flaw->text, strlen(flaw->text));
}
