#include "keys_dir.h"

#include <dirent.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "auth/key_entry.h"
#include "auth/rsa_key.h"
#include "base/file.h"
#include "base/text.h"

#define GENERATED_BITS 2048
#define GENERATED_KEY_NAME "signing-key.pem"
#define SETTING "KEYS_DIR"

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

/* How many *.pem there are, and the path of the last. */
static unsigned find_pem(const char *dir, char path[PATH_MAX])
{
    DIR *d = opendir(dir);
    unsigned count = 0;
    if (d == NULL)
        return 0;
    /* NOLINTNEXTLINE(concurrency-mt-unsafe): the stream is this call's own */
    for (const struct dirent *entry = readdir(d); entry != NULL; entry = readdir(d)) {
        size_t len = strlen(entry->d_name);
        if (len > 4 && strcmp(entry->d_name + len - 4, ".pem") == 0) {
            snprintf(path, PATH_MAX, "%s/%s", dir, entry->d_name);
            count++;
        }
    }
    closedir(d);
    return count;
}

enum err keys_dir_read(const char *dir, struct key_set *out, struct keys_flaw *flaw)
{
    char path[PATH_MAX];
    struct secret pem CLEANUP(secret_close) = {0};
    const char *why = NULL;
    unsigned count = find_pem(dir, path);
    if (count == 0) {
        keys_flaw_set(flaw, SETTING, "%s holds no key (*.pem)", dir);
        return ERR_NOT_FOUND;
    }
    if (count > 1) {
        keys_flaw_set(flaw, SETTING, "%s holds %u keys; one is expected", dir, count);
        return ERR_INVALID;
    }
    enum err e = file_read_private(path, RSA_KEY_PEM_MAX, &pem);
    if (e != OK)
        return file_flaw(flaw, path, e);
    struct key_set set = {.count = 1};
    e = key_entry_private(&pem, "", KEY_ACTIVE, &set.keys[0], &why);
    if (e != OK) {
        keys_flaw_set(flaw, SETTING, "%s: %s", path, why);
        return e;
    }
    *out = set;
    return OK;
}

static enum err generate(const char *dir, char path[PATH_MAX])
{
    struct secret pem CLEANUP(secret_close) = {0};
    snprintf(path, PATH_MAX, "%s/" GENERATED_KEY_NAME, dir);
    TRY(file_make_dir(dir));
    TRY(rsa_key_generate(GENERATED_BITS, &pem));
    enum err e = file_create_private(path, pem.data, pem.len);
    return e == ERR_CONFLICT ? OK : e;
}

enum err keys_dir_generate(const char *dir, struct keys_flaw *flaw)
{
    char path[PATH_MAX];
    enum err e = generate(dir, path);
    return e == OK ? OK : file_flaw(flaw, path, e);
}
