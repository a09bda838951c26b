#include "keys_dir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "auth/key_entry.h"
#include "auth/rsa_key.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/text.h"
#include "keys_change.h"
#include "keys_index.h"

#define GENERATED_KEY_NAME "signing-key.pem"
#define SETTING "KEYS_DIR"
/* A reader that finds something wrong may have met a change: it looks so often, so far apart. */
#define LOOKS 4
#define LOOK_AGAIN_NS (20 * NS_PER_MS)

void keys_flaw_set(struct keys_flaw *flaw, const char *setting, const char *fmt, ...)
{
    va_list args;
    flaw->setting = setting;
    va_start(args, fmt);
    vsnprintf(flaw->text, sizeof flaw->text, fmt, args);
    va_end(args);
}

static enum err file_flaw(struct keys_flaw *flaw, const char *path, enum err e)
{
    if (e == ERR_FORBIDDEN)
        keys_flaw_set(flaw, SETTING, "%s must be a file of this user's with mode 0600", path);
    else
        keys_flaw_set(flaw, SETTING, "%s cannot be used (%s)", path, err_name(e));
    return e == ERR_NOT_FOUND ? ERR_UNAVAILABLE : e;
}

/* ---- the directory itself ---- */

static void cleanup_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
}

/* Whoever may write to a directory may replace what is in it. A sticky bit keeps others from that
 * in the directory above. */
static enum err check_dir(const char *dir, struct keys_flaw *flaw)
{
    struct stat st, above;
    int fd CLEANUP(cleanup_fd) = open(dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT) {
        keys_flaw_set(flaw, SETTING, "%s holds no key (*.pem)", dir);
        return ERR_NOT_FOUND;
    }
    if (fd < 0 || fstat(fd, &st) != 0 || fstatat(fd, "..", &above, 0) != 0) {
        keys_flaw_set(flaw, SETTING, "%s must be a directory, and no link", dir);
        return errno == ENOTDIR || errno == ELOOP ? ERR_FORBIDDEN : ERR_UNAVAILABLE;
    }
    if ((st.st_uid != geteuid() && st.st_uid != 0) || (st.st_mode & 022) != 0) {
        keys_flaw_set(flaw, SETTING, "%s must be this user's, and nobody else may write to it",
                      dir);
        return ERR_FORBIDDEN;
    }
    if ((above.st_mode & 002) != 0 && (above.st_mode & S_ISVTX) == 0) {
        keys_flaw_set(flaw, SETTING, "%s lies in a directory that anybody may write to", dir);
        return ERR_FORBIDDEN;
    }
    return OK;
}

/* ---- its files ---- */

static enum err read_pem(const char *dir, struct keys_file *file, struct keys_flaw *flaw)
{
    char path[PATH_MAX];
    const char *why = NULL;
    struct secret pem CLEANUP(secret_close) = {0};
    snprintf(path, sizeof path, "%s/%s", dir, file->name);
    enum err e = file_read_private(path, RSA_KEY_PEM_MAX, &pem);
    if (e != OK)
        return file_flaw(flaw, path, e);
    e = key_entry_private(&pem, "", KEY_NEXT, &file->key, &why);
    if (e != OK)
        keys_flaw_set(flaw, SETTING, "%s: %s", path, why);
    struct stat st;
    if (e == OK && stat(path, &st) == 0)
        file->key.created_at = st.st_mtim.tv_sec;
    return e;
}

/* Neither a key of its own twice, nor more files than anyone needs. */
static enum err add_file(const char *dir, const char *name, struct keys_listing *listing,
                         struct keys_flaw *flaw)
{
    if (strlen(name) >= KEYS_DIR_NAME_MAX || listing->file_count == KEYS_DIR_FILES_MAX) {
        keys_flaw_set(flaw, SETTING, "%s holds more than %d keys, or one with too long a name", dir,
                      KEYS_DIR_FILES_MAX);
        return ERR_TOO_LARGE;
    }
    struct keys_file *file = &listing->files[listing->file_count];
    text_copy(file->name, sizeof file->name, name, strlen(name));
    TRY(read_pem(dir, file, flaw));
    listing->file_count++;
    for (unsigned i = 0; i + 1 < listing->file_count; i++) {
        if (strcmp(listing->files[i].key.kid, file->key.kid) == 0) {
            keys_flaw_set(flaw, SETTING, "%s/%s holds the same key as %s", dir, name,
                          listing->files[i].name);
            return ERR_CONFLICT;
        }
    }
    return OK;
}

static bool is_pem(const char *name)
{
    size_t len = strlen(name);
    return len > 4 && name[0] != '.' && strcmp(name + len - 4, ".pem") == 0;
}

static enum err read_files(const char *dir, struct keys_listing *listing, struct keys_flaw *flaw)
{
    enum err e = OK;
    DIR *d = opendir(dir);
    if (d == NULL)
        return file_flaw(flaw, dir, ERR_UNAVAILABLE);
    /* NOLINTNEXTLINE(concurrency-mt-unsafe): the stream is this call's own */
    for (struct dirent *entry = readdir(d); entry != NULL && e == OK; entry = readdir(d))
        if (is_pem(entry->d_name))
            e = add_file(dir, entry->d_name, listing, flaw);
    closedir(d);
    return e;
}

/* ---- keyring.json ---- */

static enum err index_flaw(struct keys_flaw *flaw, const char *dir, const char *what)
{
    keys_flaw_set(flaw, SETTING, "%s/" KEYS_INDEX_NAME ": %s", dir, what);
    return ERR_INVALID;
}

static enum err read_index(const char *dir, struct keys_listing *listing, struct keys_flaw *flaw)
{
    char path[PATH_MAX];
    const char *why = NULL;
    struct secret text CLEANUP(secret_close) = {0};
    snprintf(path, sizeof path, "%s/" KEYS_INDEX_NAME, dir);
    enum err e = file_read_private(path, KEYS_INDEX_MAX, &text);
    if (e == ERR_NOT_FOUND)
        return OK;
    if (e != OK)
        return file_flaw(flaw, path, e);
    listing->indexed = true;
    return keys_index_parse(&text, &listing->set, &why) == OK ? OK : index_flaw(flaw, dir, why);
}

static bool same_key(const struct key_entry *a, const struct key_entry *b)
{
    return a->public_pem.len == b->public_pem.len &&
           memcmp(a->public_pem.data, b->public_pem.data, a->public_pem.len) == 0;
}

/* Gives each key that signs, or will, its private half. What only verifies gets none, though its
 * file may still be there: who changed the directory last did not get to destroying it. */
static enum err join(struct keys_listing *listing)
{
    for (unsigned i = 0; i < listing->set.count; i++) {
        struct key_entry *key = &listing->set.keys[i];
        for (unsigned f = 0; f < listing->file_count; f++) {
            struct keys_file *file = &listing->files[f];
            if (!same_key(key, &file->key))
                continue;
            file->listed = true;
            text_copy(file->key.kid, sizeof file->key.kid, key->kid, strlen(key->kid));
            file->key.state = key->state;
            if (key->state == KEY_ACTIVE || key->state == KEY_NEXT)
                TRY(secret_copy(file->key.private_pem.data, file->key.private_pem.len,
                                &key->private_pem));
        }
    }
    return OK;
}

/* No index: the one key has been active since its file was written, as far as anyone can tell. */
static enum err adopt(const char *dir, const char *lone_kid, struct keys_listing *listing,
                      struct keys_flaw *flaw)
{
    const char *why = NULL;
    struct keys_file *file = &listing->files[0];
    struct key_entry *key = &listing->set.keys[0];
    if (listing->file_count > 1) {
        keys_flaw_set(flaw, SETTING,
                      "%s holds %u keys; without " KEYS_INDEX_NAME " one is expected", dir,
                      listing->file_count);
        return ERR_INVALID;
    }
    if (key_entry_private(&file->key.private_pem, lone_kid, KEY_ACTIVE, key, &why) != OK) {
        keys_flaw_set(flaw, "JWT_KID", "%s", why);
        return ERR_INVALID;
    }
    key->created_at = key->published_at = key->activated_at = file->key.created_at;
    text_copy(file->key.kid, sizeof file->key.kid, key->kid, strlen(key->kid));
    file->listed = true;
    listing->set.count = 1;
    return OK;
}

static enum err look(const char *dir, const char *lone_kid, struct keys_listing *listing,
                     struct keys_flaw *flaw)
{
    TRY(check_dir(dir, flaw));
    TRY(read_index(dir, listing, flaw));
    TRY(read_files(dir, listing, flaw));
    if (!listing->indexed)
        return listing->file_count > 0 ? adopt(dir, lone_kid, listing, flaw) : OK;
    TRY(join(listing));
    const char *why = key_set_flaw(&listing->set);
    return why == NULL ? OK : index_flaw(flaw, dir, why);
}

void keys_listing_close(struct keys_listing *listing)
{
    key_set_close(&listing->set);
    for (unsigned i = 0; listing->files != NULL && i < KEYS_DIR_FILES_MAX; i++)
        key_entry_close(&listing->files[i].key);
    free(listing->files);
    *listing = (struct keys_listing){0};
}

enum err keys_listing_open(const char *dir, const char *lone_kid, struct keys_listing *out,
                           struct keys_flaw *flaw)
{
    enum err e = OK;
    for (unsigned i = 0; i < LOOKS; i++) {
        struct keys_listing listing = {.files = calloc(KEYS_DIR_FILES_MAX, sizeof *listing.files)};
        if (listing.files == NULL)
            return file_flaw(flaw, dir, ERR_INTERNAL);
        e = look(dir, lone_kid, &listing, flaw);
        if (e == OK) {
            *out = listing;
            return OK;
        }
        keys_listing_close(&listing);
        if (e == ERR_NOT_FOUND)
            break;
        clock_sleep_ns(LOOK_AGAIN_NS);
    }
    return e;
}

enum err keys_dir_read(const char *dir, const char *lone_kid, struct key_set *out,
                       struct keys_flaw *flaw)
{
    struct keys_listing listing CLEANUP(keys_listing_close) = {0};
    TRY(keys_listing_open(dir, lone_kid, &listing, flaw));
    if (listing.set.count == 0) {
        keys_flaw_set(flaw, SETTING, "%s holds no key (*.pem)", dir);
        return ERR_NOT_FOUND;
    }
    *out = listing.set;
    listing.set.count = 0; /* the secrets in it are the caller's now */
    return OK;
}

static enum err generate(const char *dir, char path[PATH_MAX])
{
    struct secret pem CLEANUP(secret_close) = {0};
    snprintf(path, PATH_MAX, "%s/" GENERATED_KEY_NAME, dir);
    TRY(file_make_dir(dir));
    TRY(rsa_key_generate(KEYS_GENERATED_BITS, &pem));
    enum err e = file_create_private(path, pem.data, pem.len);
    return e == ERR_CONFLICT ? OK : e;
}

enum err keys_dir_generate(const char *dir, struct keys_flaw *flaw)
{
    char path[PATH_MAX];
    enum err e = generate(dir, path);
    return e == OK ? OK : file_flaw(flaw, path, e);
}
