#include "base/random.h"

#include <stdint.h>
#include <sys/random.h>

/* What getrandom gives whole, uninterrupted: random(4). */
#define AT_ONCE ((size_t)256)

enum err random_bytes(void *out, size_t len)
{
    uint8_t *p = out;
    while (len > 0) {
        size_t n = len < AT_ONCE ? len : AT_ONCE;
        if (getrandom(p, n, 0) != (ssize_t)n)
            return ERR_UNAVAILABLE;
        p += n;
        len -= n;
    }
    return OK;
}
