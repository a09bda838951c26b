#include "base/secret.h"

#include <openssl/crypto.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static size_t mapped_size(size_t len)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    return (len + 1 + page - 1) / page * page;
}

enum err secret_open(size_t len, struct secret *out)
{
    if (len > SECRET_MAX)
        return ERR_TOO_LARGE;
    size_t size = mapped_size(len);
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        return ERR_INTERNAL;
    /* Locking may be over RLIMIT_MEMLOCK; the service still works, swap is then the risk. */
    (void)mlock(p, size);
    (void)madvise(p, size, MADV_DONTDUMP);
    *out = (struct secret){.data = p, .len = len, .mapped = size};
    return OK;
}

enum err secret_copy(const void *from, size_t len, struct secret *out)
{
    struct secret s = {0};
    TRY(secret_open(len, &s));
    if (len > 0) /* memcpy(3) wants a pointer even then */
        memcpy(s.data, from, len);
    *out = s;
    return OK;
}

void secret_close(struct secret *s)
{
    if (s == NULL || s->data == NULL)
        return;
    OPENSSL_cleanse(s->data, s->mapped);
    munmap(s->data, s->mapped);
    *s = (struct secret){0};
}

void secret_wipe(void *p, size_t len)
{
    if (p != NULL && len > 0)
        OPENSSL_cleanse(p, len);
}

void secret_unescape_lines(struct secret *text)
{
    size_t to = 0;
    for (size_t i = 0; i < text->len; i++) {
        bool pair = text->data[i] == '\\' && i + 1 < text->len && text->data[i + 1] == 'n';
        text->data[to++] = pair ? '\n' : text->data[i];
        i += pair;
    }
    secret_wipe(text->data + to, text->len - to);
    text->len = to;
}

bool ct_equal(const void *a, const void *b, size_t len)
{
    return CRYPTO_memcmp(a, b, len) == 0;
}
