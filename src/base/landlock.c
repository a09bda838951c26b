#include "base/landlock.h"

#include <fcntl.h>
#include <linux/landlock.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* What the headers of 2022 do not know yet. */
#define FS_TRUNCATE (1ULL << 14)  /* ABI 3 */
#define FS_IOCTL_DEV (1ULL << 15) /* ABI 5 */
#define NET_BIND_TCP (1ULL << 0)  /* ABI 4 */
#define NET_CONNECT_TCP (1ULL << 1)
#define SCOPE_ABSTRACT_UNIX (1ULL << 0) /* ABI 6 */
#define SCOPE_SIGNAL (1ULL << 1)
#define RULE_NET_PORT 2

struct attributes {
    uint64_t handled_fs, handled_net, scoped;
};

struct net_port {
    uint64_t allowed, port;
};

#define READ_ACCESS (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR)
#define WRITE_ACCESS (LANDLOCK_ACCESS_FS_WRITE_FILE | FS_TRUNCATE)
#define CHANGE_ACCESS                                                                              \
    (LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_MAKE_DIR)
#define FILE_ACCESS (LANDLOCK_ACCESS_FS_READ_FILE | WRITE_ACCESS)

static uint64_t all_fs(unsigned abi)
{
    uint64_t all = LANDLOCK_ACCESS_FS_MAKE_SYM * 2 - 1; /* ABI 1: everything up to this */
    if (abi >= 2)
        all |= LANDLOCK_ACCESS_FS_REFER;
    if (abi >= 3)
        all |= FS_TRUNCATE;
    if (abi >= 5)
        all |= FS_IOCTL_DEV;
    return all;
}

enum err landlock_open(bool signals, struct landlock *out)
{
    long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
    if (abi < 1)
        return ERR_UNAVAILABLE;
    struct attributes attributes = {.handled_fs = all_fs((unsigned)abi)};
    if (abi >= 4)
        attributes.handled_net = NET_BIND_TCP | NET_CONNECT_TCP;
    if (abi >= 6)
        attributes.scoped = SCOPE_ABSTRACT_UNIX | (signals ? SCOPE_SIGNAL : 0);
    /* Members that the kernel does not know may be there as long as they are zero. */
    long fd = syscall(SYS_landlock_create_ruleset, &attributes, sizeof attributes, 0);
    if (fd < 0)
        return ERR_UNAVAILABLE;
    *out = (struct landlock){(int)fd, (unsigned)abi};
    return OK;
}

void landlock_close(struct landlock *l)
{
    if (l->fd >= 0)
        close(l->fd);
    l->fd = -1;
}

void landlock_allow_fd(struct landlock *l, int fd, unsigned access)
{
    struct stat st;
    uint64_t allowed = (access & LANDLOCK_READ ? READ_ACCESS : 0) |
                       (access & LANDLOCK_WRITE ? WRITE_ACCESS : 0) |
                       (access & LANDLOCK_CHANGE ? CHANGE_ACCESS : 0);
    if (fstat(fd, &st) != 0)
        return;
    if (!S_ISDIR(st.st_mode))
        allowed &= FILE_ACCESS;
    struct landlock_path_beneath_attr rule = {.allowed_access = allowed & all_fs(l->abi),
                                              .parent_fd = fd};
    /* What cannot be allowed is refused: the safe side. */
    (void)syscall(SYS_landlock_add_rule, l->fd, LANDLOCK_RULE_PATH_BENEATH, &rule, 0);
}

void landlock_allow_path(struct landlock *l, const char *path, unsigned access)
{
    int fd = open(path, O_PATH | O_CLOEXEC);
    if (fd < 0)
        return;
    landlock_allow_fd(l, fd, access);
    close(fd);
}

void landlock_allow_connect(struct landlock *l, unsigned port)
{
    struct net_port rule = {NET_CONNECT_TCP, port};
    if (l->abi >= 4)
        (void)syscall(SYS_landlock_add_rule, l->fd, RULE_NET_PORT, &rule, 0);
}

enum err landlock_enforce(struct landlock *l)
{
    return syscall(SYS_landlock_restrict_self, l->fd, 0) == 0 ? OK : ERR_UNAVAILABLE;
}
