#include "keys_change.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "auth/key_entry.h"
#include "auth/rsa_key.h"
#include "base/clock.h"
#include "base/failpoint.h"
#include "base/file.h"
#include "base/log.h"
#include "base/text.h"
#include "keys_index.h"

#define SETTING "KEYS_DIR"
#define LOCK_NAME "keyring.lock"
#define LOCK_WAIT_NS (15 * NS_PER_SECOND)
#define LOCK_TRY_NS (50 * NS_PER_MS)
/* Every key with its public half, escaped. */
#define INDEX_TEXT_MAX KEYS_INDEX_MAX

static enum err change_flaw(struct keys_flaw *flaw, const char *dir, const char *what, enum err e)
{
    char why[128];
    keys_flaw_set(flaw, SETTING, "%s cannot be changed: %s (%s)", dir, what,
                  errno != 0 ? strerror_r(errno, why, sizeof why) : err_name(e));
    return e;
}

/* ---- the lock ---- */

static enum err take_lock(const char *dir, int *out, struct keys_flaw *flaw)
{
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/" LOCK_NAME, dir);
    int fd = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return change_flaw(flaw, dir, LOCK_NAME, ERR_UNAVAILABLE);
    uint64_t end = clock_mono_ns() + LOCK_WAIT_NS;
    while (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        if ((errno != EWOULDBLOCK && errno != EINTR) || clock_mono_ns() > end) {
            enum err e = change_flaw(flaw, dir, "another process holds " LOCK_NAME, ERR_BUSY);
            close(fd);
            return e;
        }
        clock_sleep_ns(LOCK_TRY_NS);
    }
    *out = fd;
    return OK;
}

/* ---- leftovers ---- */

static bool ends_with(const char *name, const char *end)
{
    size_t len = strlen(name), n = strlen(end);
    return len > n && strcmp(name + len - n, end) == 0;
}

/* What nothing refers to any more. Nobody is served by an error here: a change is made or not
 * before it comes to this, and the next change tries again. */
static void destroy_former(const char *path)
{
    enum err e = file_destroy(path);
    if (e != OK && e != ERR_NOT_FOUND)
        log_note(LOG_ERROR, "auth.key_leftover",
                 "a file of a former key could not be overwritten or removed", path);
}

/* Whoever was killed left what nothing refers to: what was being written, what was being destroyed.
 * We hold the lock, so nobody is at it. */
static void clear_leftovers(const char *dir)
{
    char path[PATH_MAX];
    DIR *d = opendir(dir);
    if (d == NULL)
        return;
    /* NOLINTNEXTLINE(concurrency-mt-unsafe): the stream is this call's own */
    for (const struct dirent *entry = readdir(d); entry != NULL; entry = readdir(d)) {
        if (!ends_with(entry->d_name, FILE_PART_SUFFIX) &&
            !ends_with(entry->d_name, FILE_GONE_SUFFIX))
            continue;
        snprintf(path, sizeof path, "%s/%s", dir, entry->d_name);
        destroy_former(path);
    }
    closedir(d);
}

/* The private halves of keys that were published, and do not sign any more or never will. */
static void destroy_spent(const struct keys_change *change)
{
    char path[PATH_MAX];
    for (unsigned i = 0; i < change->before.file_count; i++) {
        const struct keys_file *file = &change->before.files[i];
        const struct key_entry *key = key_set_find((struct key_set *)&change->set, file->key.kid);
        bool signs = key != NULL && (key->state == KEY_ACTIVE || key->state == KEY_NEXT);
        if ((!file->listed && key == NULL) || signs)
            continue;
        snprintf(path, sizeof path, "%s/%s", change->dir, file->name);
        destroy_former(path);
    }
}

/* ---- a change ---- */

static enum err copy_set(const struct key_set *from, struct key_set *to)
{
    for (unsigned i = 0; i < from->count; i++) {
        struct key_entry *key = &to->keys[to->count++];
        *key = from->keys[i];
        key->private_pem = key->public_pem = (struct secret){0};
        const struct secret *private = &from->keys[i].private_pem;
        const struct secret *public = &from->keys[i].public_pem;
        if (private->len > 0)
            TRY(secret_copy(private->data, private->len, &key->private_pem));
        TRY(secret_copy(public->data, public->len, &key->public_pem));
    }
    return OK;
}

enum err keys_change_begin(const char *dir, const char *lone_kid, struct keys_change *out,
                           struct keys_flaw *flaw)
{
    struct keys_change change CLEANUP(keys_change_end) = {.dir = dir, .lock = -1};
    /* The directory is judged before anything is written to it. */
    TRY(keys_listing_open(dir, lone_kid, &change.before, flaw));
    keys_listing_close(&change.before);
    TRY(take_lock(dir, &change.lock, flaw));
    clear_leftovers(dir);
    TRY(keys_listing_open(dir, lone_kid, &change.before, flaw));
    TRY(copy_set(&change.before.set, &change.set));
    destroy_spent(&change);
    *out = change;
    change = (struct keys_change){.lock = -1};
    return OK;
}

void keys_change_end(struct keys_change *change)
{
    keys_listing_close(&change->before);
    key_set_close(&change->set);
    if (change->lock >= 0)
        close(change->lock);
    change->lock = -1;
}

static enum err write_index(const char *dir, const struct key_set *set, struct keys_flaw *flaw)
{
    char path[PATH_MAX];
    char *buf CLEANUP(cleanup_free) = malloc(INDEX_TEXT_MAX);
    if (buf == NULL)
        return change_flaw(flaw, dir, KEYS_INDEX_NAME, ERR_INTERNAL);
    struct text t = text_on(buf, INDEX_TEXT_MAX);
    keys_index_format(set, &t);
    if (!text_ok(&t))
        return change_flaw(flaw, dir, KEYS_INDEX_NAME " is too long", ERR_TOO_LARGE);
    snprintf(path, sizeof path, "%s/" KEYS_INDEX_NAME, dir);
    errno = 0;
    enum err e = file_replace_private(path, t.p, t.len);
    return e == OK ? OK : change_flaw(flaw, dir, KEYS_INDEX_NAME, e);
}

enum err keys_change_commit(struct keys_change *change, struct keys_flaw *flaw)
{
    const char *why = key_set_flaw(&change->set);
    if (why != NULL) {
        keys_flaw_set(flaw, SETTING, "%s would not be sound: %s", change->dir, why);
        return ERR_INTERNAL;
    }
    FAILPOINT("keys.commit");
    TRY(write_index(change->dir, &change->set, flaw));
    FAILPOINT("keys.committed");
    destroy_spent(change);
    return OK;
}

/* Two keys without an index would be one too many, so the index comes before the second. */
static enum err ensure_index(struct keys_change *change, struct keys_flaw *flaw)
{
    if (change->before.indexed || change->before.set.count == 0)
        return OK;
    TRY(write_index(change->dir, &change->before.set, flaw));
    change->before.indexed = true;
    FAILPOINT("keys.adopted");
    return OK;
}

/* A kid that begins with a dash would look like an option. */
static enum err new_key(unsigned bits, struct key_entry *out)
{
    for (;;) {
        const char *why = NULL;
        struct secret pem CLEANUP(secret_close) = {0};
        struct key_entry key CLEANUP(key_entry_close) = {0};
        TRY(rsa_key_generate(bits, &pem));
        TRY(key_entry_private(&pem, "", KEY_NEXT, &key, &why));
        if (key.kid[0] == '-')
            continue;
        *out = key;
        key = (struct key_entry){0};
        return OK;
    }
}

enum err keys_change_generate(struct keys_change *change, unsigned bits, struct key_entry *out,
                              struct keys_flaw *flaw)
{
    char path[PATH_MAX];
    struct key_entry key CLEANUP(key_entry_close) = {0};
    errno = 0;
    if (new_key(bits, &key) != OK)
        return change_flaw(flaw, change->dir, "no key can be made", ERR_INTERNAL);
    TRY(ensure_index(change, flaw));
    snprintf(path, sizeof path, "%s/key-%s.pem", change->dir, key.kid);
    FAILPOINT("keys.generate");
    enum err e = file_create_private(path, key.private_pem.data, key.private_pem.len);
    if (e != OK)
        return change_flaw(flaw, change->dir, "a new key cannot be written", e);
    FAILPOINT("keys.generated");
    key.created_at = clock_unix_ms() / MS_PER_SECOND;
    *out = key;
    key = (struct key_entry){0};
    return OK;
}

static const struct keys_file *find_spare(const struct keys_change *change, const char *kid)
{
    for (unsigned i = 0; i < change->before.file_count; i++) {
        const struct keys_file *file = &change->before.files[i];
        if (!file->listed && strcmp(file->key.kid, kid) == 0)
            return file;
    }
    return NULL;
}

enum err keys_change_take(const struct keys_change *change, const char *kid, struct key_entry *out)
{
    const char *why = NULL;
    const struct keys_file *file = find_spare(change, kid);
    if (file == NULL)
        return ERR_NOT_FOUND;
    TRY(key_entry_private(&file->key.private_pem, "", KEY_NEXT, out, &why));
    out->created_at = file->key.created_at;
    return OK;
}

enum err keys_change_discard(struct keys_change *change, const char *kid, struct keys_flaw *flaw)
{
    char path[PATH_MAX];
    const struct keys_file *file = find_spare(change, kid);
    if (file == NULL)
        return ERR_NOT_FOUND;
    snprintf(path, sizeof path, "%s/%s", change->dir, file->name);
    enum err e = file_destroy(path);
    return e == OK || e == ERR_NOT_FOUND ? OK : change_flaw(flaw, change->dir, file->name, e);
}

/* ---- the regular look ---- */

static enum err publish_new(struct keys_change *change, int64_t now, char *kid,
                            struct keys_flaw *flaw)
{
    struct key_refusal why = {0};
    struct key_entry key CLEANUP(key_entry_close) = {0};
    TRY(keys_change_generate(change, KEYS_GENERATED_BITS, &key, flaw));
    memcpy(kid, key.kid, sizeof key.kid);
    key.created_at = now;
    enum err e = key_publish(&change->set, &key, now, &why);
    if (e != OK)
        keys_flaw_set(flaw, SETTING, "%s: no key can be added: %s", change->dir, why.what);
    return e;
}

static enum err do_due(struct keys_change *change, int64_t now, enum key_due what, char *kid,
                       struct keys_flaw *flaw)
{
    struct key_refusal why = {0};
    switch (what) {
    case KEY_DUE_RETIRE:
        return key_retire(&change->set, kid, now, false, &why);
    case KEY_DUE_ACTIVATE:
        return key_activate(&change->set, kid, now, false, &why);
    default:
        return publish_new(change, now, kid, flaw);
    }
}

static enum err do_all(struct keys_change *change, int64_t rotate_s, int64_t now,
                       struct keys_tended *done, struct keys_flaw *flaw)
{
    while (done->count < ARRAY_LEN(done->steps)) {
        const char *kid = NULL;
        enum key_due what = key_due(&change->set, rotate_s, now, &kid);
        if (what == KEY_DUE_NOTHING)
            break;
        char *of = done->steps[done->count].kid;
        if (kid != NULL)
            text_copy(of, KID_MAX + 1, kid, strlen(kid));
        done->steps[done->count++].what = what;
        TRY(do_due(change, now, what, of, flaw));
    }
    return done->count > 0 ? keys_change_commit(change, flaw) : OK;
}

bool keys_dir_may_be_due(const char *dir, int64_t rotate_s, int64_t now)
{
    char path[PATH_MAX];
    const char *kid = NULL, *why = NULL;
    struct secret text CLEANUP(secret_close) = {0};
    struct key_set set CLEANUP(key_set_close) = {0};
    snprintf(path, sizeof path, "%s/" KEYS_INDEX_NAME, dir);
    enum err e = file_read_private(path, KEYS_INDEX_MAX, &text);
    if (e == ERR_NOT_FOUND)
        return rotate_s > 0;
    return e == OK && keys_index_parse(&text, &set, &why) == OK &&
           key_due(&set, rotate_s, now, &kid) != KEY_DUE_NOTHING;
}

static enum err is_due(const char *dir, const char *lone_kid, int64_t rotate_s, int64_t now,
                       bool *out, struct keys_flaw *flaw)
{
    struct key_set set CLEANUP(key_set_close) = {0};
    const char *kid = NULL;
    TRY(keys_dir_read(dir, lone_kid, &set, flaw));
    *out = key_due(&set, rotate_s, now, &kid) != KEY_DUE_NOTHING;
    return OK;
}

enum err keys_dir_tend(const char *dir, const char *lone_kid, int64_t rotate_s, int64_t now,
                       struct keys_tended *out, struct keys_flaw *flaw)
{
    struct keys_change change CLEANUP(keys_change_end) = {.lock = -1};
    struct keys_tended done = {0};
    bool due = false;
    TRY(is_due(dir, lone_kid, rotate_s, now, &due, flaw));
    if (due) {
        TRY(keys_change_begin(dir, lone_kid, &change, flaw));
        TRY(do_all(&change, rotate_s, now, &done, flaw));
    }
    *out = done;
    return OK;
}
