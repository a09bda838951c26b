#include "keys_source.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include "auth/key_entry.h"
#include "auth/rsa_key.h"
#include "base/file.h"

#define OWN "JWT_PRIVATE_KEY_PEM"
#define OWN_FILE "JWT_PRIVATE_KEY_PEM_FILE"
#define PREVIOUS "JWT_PREV_PUBLIC_KEY_PEM"
#define SEALS (F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)

/* ---- out of the environment ---- */

static bool write_all(int fd, const char *data, size_t len)
{
    while (len > 0) {
        ssize_t n = write(fd, data, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        data += n;
        len -= (size_t)n;
    }
    return true;
}

int keys_source_take(void)
{
    char *value = getenv(OWN); /* NOLINT(concurrency-mt-unsafe): no threads yet */
    if (value == NULL || value[0] == '\0')
        return -1;
    size_t len = strlen(value);
    int fd = memfd_create("signing-key", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0 || !write_all(fd, value, len) || fcntl(fd, F_ADD_SEALS, SEALS) != 0) {
        secret_wipe(value, len);
        fputs("watchword: " OWN " cannot be kept: no sealed memory\n", stderr);
        _exit(1);
    }
    /* What is left is neither the key nor nothing: whether one was given can still be asked. */
    secret_wipe(value, len);
    value[0] = '-';
    return fd;
}

/* ---- out of a file ---- */

/* By the kernel: the bytes do not pass through this process. */
static enum err copy_file(int from, int to)
{
    struct stat st;
    if (fstat(from, &st) != 0 || !S_ISREG(st.st_mode))
        return ERR_UNAVAILABLE;
    if ((size_t)st.st_size > RSA_KEY_PEM_MAX)
        return ERR_TOO_LARGE;
    for (off_t left = st.st_size; left > 0;) {
        ssize_t n = sendfile(to, from, NULL, (size_t)left);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return ERR_UNAVAILABLE;
        left -= n;
    }
    return OK;
}

/* A copy, sealed: every signer of this service gets the same key, whatever is written to the file
 * meanwhile. */
static enum err take_file(const char *path, int *out)
{
    /* Without O_NONBLOCK a pipe in the file's place would be waited for before it is refused. */
    int from = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (from < 0)
        return errno == ENOENT ? ERR_NOT_FOUND : ERR_UNAVAILABLE;
    int to = memfd_create("signing-key", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    enum err e = to >= 0 ? copy_file(from, to) : ERR_UNAVAILABLE;
    if (e == OK && fcntl(to, F_ADD_SEALS, SEALS) != 0)
        e = ERR_UNAVAILABLE;
    close(from);
    if (e == OK)
        *out = to;
    else if (to >= 0)
        close(to);
    return e;
}

enum err keys_source_open(struct keys_source *source, int taken, const char *file,
                          struct keys_flaw *flaw)
{
    source->private_fd = taken;
    source->private_setting = OWN;
    if (taken >= 0 || file == NULL)
        return OK;
    source->private_setting = OWN_FILE;
    enum err e = take_file(file, &source->private_fd);
    if (e == OK)
        return OK;
    keys_flaw_set(flaw, OWN_FILE, "cannot be read (%s)", err_name(e));
    return ERR_INVALID;
}

/* ---- the key that signs ---- */

static enum err read_own(const struct keys_source *source, struct key_set *set,
                         struct keys_flaw *flaw)
{
    struct secret pem CLEANUP(secret_close) = {0};
    const char *why = "the file is empty";
    enum err e = file_read_descriptor(source->private_fd, RSA_KEY_PEM_MAX, &pem);
    if (e != OK) {
        keys_flaw_set(flaw, source->private_setting, "cannot be read (%s)", err_name(e));
        return e == ERR_NOT_FOUND ? ERR_UNAVAILABLE : e;
    }
    secret_unescape_lines(&pem);
    e = pem.len == 0 ? ERR_INVALID
                     : key_entry_private(&pem, source->kid, KEY_ACTIVE, &set->keys[0], &why);
    if (e == OK)
        set->count = 1;
    else
        keys_flaw_set(flaw, source->private_setting, "%s", why);
    return e;
}

/* ---- the key before it ---- */

static enum err read_previous(const struct keys_source *source, struct key_set *set,
                              struct keys_flaw *flaw)
{
    const char *why = "KEYS_DIR is full";
    if (source->previous_pem->len == 0)
        return OK;
    enum err e = set->count < KEYS_MAX ? OK : ERR_INVALID;
    if (e == OK)
        e = key_entry_public(source->previous_pem, source->previous_kid, KEY_RETIRING,
                             &set->keys[set->count], &why);
    if (e == OK) {
        set->count++;
        why = key_set_flaw(set);
        e = why == NULL ? OK : ERR_INVALID;
    }
    if (e != OK)
        keys_flaw_set(flaw, PREVIOUS, "%s", why);
    return e;
}

enum err keys_source_load(const struct keys_source *source, struct key_set *out,
                          struct keys_flaw *flaw)
{
    struct key_set set = {0};
    enum err e = source->private_fd >= 0 ? read_own(source, &set, flaw)
                                         : keys_dir_read(source->dir, source->kid, &set, flaw);
    if (e == OK)
        e = read_previous(source, &set, flaw);
    if (e == OK)
        *out = set;
    else
        key_set_close(&set);
    return e;
}
