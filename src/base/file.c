#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/failpoint.h"
#include "base/text.h"

static void cleanup_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
}

static enum err read_all(int fd, size_t len, struct secret *out)
{
    struct secret s CLEANUP(secret_close) = {0};
    TRY(secret_open(len, &s));
    size_t got = 0;
    while (got < len) {
        ssize_t n = pread(fd, s.data + got, len - got, (off_t)got);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return ERR_UNAVAILABLE;
        got += (size_t)n;
    }
    *out = s;
    s = (struct secret){0};
    return OK;
}

static bool is_private(const struct stat *st)
{
    return (st->st_mode & 077) == 0 && (st->st_uid == geteuid() || st->st_uid == 0);
}

enum err file_read_descriptor(int fd, size_t max, struct secret *out)
{
    struct stat st;
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))
        return ERR_UNAVAILABLE;
    if ((size_t)st.st_size > max)
        return ERR_TOO_LARGE;
    return read_all(fd, (size_t)st.st_size, out);
}

static enum err open_and_read(const char *path, size_t max, bool private, struct secret *out)
{
    /* Without O_NONBLOCK a pipe in the file's place would be waited for before it is refused. */
    int flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK | (private ? O_NOFOLLOW : 0);
    int fd CLEANUP(cleanup_fd) = open(path, flags);
    if (fd < 0 && errno == ENOENT)
        return ERR_NOT_FOUND;
    if (fd < 0)
        return errno == ELOOP ? ERR_FORBIDDEN : ERR_UNAVAILABLE;
    struct stat st;
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))
        return ERR_UNAVAILABLE;
    if (private && !is_private(&st))
        return ERR_FORBIDDEN;
    return file_read_descriptor(fd, max, out);
}

enum err file_read(const char *path, size_t max, struct secret *out)
{
    return open_and_read(path, max, false, out);
}

enum err file_read_private(const char *path, size_t max, struct secret *out)
{
    return open_and_read(path, max, true, out);
}

static enum err write_synced(const char *path, const char *data, size_t len)
{
    int fd CLEANUP(cleanup_fd) = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return ERR_UNAVAILABLE;
    while (len > 0) {
        ssize_t n = write(fd, data, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return ERR_UNAVAILABLE;
        data += n;
        len -= (size_t)n;
    }
    return fsync(fd) == 0 ? OK : ERR_UNAVAILABLE;
}

static void sync_parent(const char *path)
{
    char dir[PATH_MAX];
    text_copy(dir, sizeof dir, path, strlen(path));
    char *slash = strrchr(dir, '/');
    if (slash != NULL)
        *slash = '\0';
    int fd CLEANUP(cleanup_fd) =
        open(slash != NULL ? dir : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0)
        (void)fsync(fd);
}

/* A name beside path that nobody else uses. */
static enum err beside(const char *path, const char *suffix, char out[PATH_MAX])
{
    struct text t = text_on(out, PATH_MAX);
    text_put_f(&t, "%s.%ld%s", path, (long)getpid(), suffix);
    return text_ok(&t) ? OK : ERR_TOO_LARGE;
}

enum err file_create_private(const char *path, const void *data, size_t len)
{
    char part[PATH_MAX];
    TRY(beside(path, FILE_PART_SUFFIX, part));
    (void)unlink(part);
    enum err e = write_synced(part, data, len);
    FAILPOINT("file.part");
    /* link() instead of rename(): it refuses to replace what another process made meanwhile. */
    if (e == OK && link(part, path) != 0)
        e = errno == EEXIST ? ERR_CONFLICT : ERR_UNAVAILABLE;
    FAILPOINT("file.linked");
    (void)unlink(part);
    if (e == OK)
        sync_parent(path);
    return e;
}

enum err file_replace_private(const char *path, const void *data, size_t len)
{
    char part[PATH_MAX];
    TRY(beside(path, FILE_PART_SUFFIX, part));
    (void)unlink(part);
    enum err e = write_synced(part, data, len);
    FAILPOINT("file.part");
    if (e == OK && rename(part, path) != 0)
        e = ERR_UNAVAILABLE;
    if (e == OK)
        sync_parent(path);
    else
        (void)unlink(part);
    return e;
}

/* What has a second name is somebody's: a file that is being created has two for a moment. */
static enum err overwrite(int fd)
{
    static const uint8_t zeros[4096];
    struct stat st;
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))
        return ERR_UNAVAILABLE;
    if (st.st_nlink > 1)
        return OK;
    for (off_t left = st.st_size; left > 0;) {
        ssize_t n = write(fd, zeros, left < (off_t)sizeof zeros ? (size_t)left : sizeof zeros);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return ERR_UNAVAILABLE;
        left -= n;
    }
    return fsync(fd) == 0 ? OK : ERR_UNAVAILABLE;
}

/* One with the suffix has lost its name already. */
static enum err take_name(const char *path, char gone[PATH_MAX])
{
    size_t len = strlen(path), n = strlen(FILE_GONE_SUFFIX);
    if (len >= PATH_MAX)
        return ERR_TOO_LARGE;
    if (len > n && strcmp(path + len - n, FILE_GONE_SUFFIX) == 0) {
        memcpy(gone, path, len + 1);
        return OK;
    }
    TRY(beside(path, FILE_GONE_SUFFIX, gone));
    if (rename(path, gone) != 0)
        return errno == ENOENT ? ERR_NOT_FOUND : ERR_UNAVAILABLE;
    sync_parent(path);
    FAILPOINT("file.renamed");
    return OK;
}

static int open_unfollowed(const char *path, int flags)
{
    return open(path, flags | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
}

/* A key that was brought here may be readable only (mode 0400); its owner can change that. */
static int open_to_overwrite(const char *path)
{
    int fd = open_unfollowed(path, O_WRONLY);
    if (fd >= 0 || errno != EACCES)
        return fd;
    int readable CLEANUP(cleanup_fd) = open_unfollowed(path, O_RDONLY);
    if (readable < 0 || fchmod(readable, 0600) != 0)
        return -1;
    return open_unfollowed(path, O_WRONLY);
}

enum err file_destroy(const char *path)
{
    char gone[PATH_MAX];
    TRY(take_name(path, gone));
    int fd CLEANUP(cleanup_fd) = open_to_overwrite(gone);
    enum err e = fd >= 0 ? overwrite(fd) : ERR_UNAVAILABLE;
    FAILPOINT("file.overwritten");
    if (unlink(gone) != 0)
        return errno == ENOENT ? ERR_NOT_FOUND : ERR_UNAVAILABLE;
    sync_parent(path);
    return e;
}

enum err file_make_dir(const char *path)
{
    char part[PATH_MAX];
    size_t len = strlen(path);
    if (len == 0 || len >= sizeof part)
        return ERR_TOO_LARGE;
    memcpy(part, path, len + 1);
    for (size_t i = 1; i <= len; i++) {
        if (part[i] != '/' && part[i] != '\0')
            continue;
        char keep = part[i];
        part[i] = '\0';
        if (mkdir(part, 0700) != 0 && errno != EEXIST)
            return ERR_UNAVAILABLE;
        part[i] = keep;
    }
    return OK;
}
