#include "base/random.h"

#include <limits.h>
#include <openssl/rand.h>

enum err random_bytes(void *out, size_t len)
{
    if (len > INT_MAX || RAND_bytes(out, (int)len) != 1)
        return ERR_INTERNAL;
    return OK;
}
