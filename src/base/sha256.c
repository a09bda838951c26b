#include "base/sha256.h"

#include <openssl/evp.h>
#include <pthread.h>

static pthread_once_t once = PTHREAD_ONCE_INIT;
static EVP_MD *algorithm; /* for the life of the process */

static void fetch(void)
{
    algorithm = EVP_MD_fetch(NULL, "SHA256", NULL);
}

enum err sha256(const void *data, size_t len, uint8_t out[SHA256_LEN])
{
    pthread_once(&once, fetch);
    if (algorithm == NULL || EVP_Digest(data, len, out, NULL, algorithm, NULL) != 1)
        return ERR_INTERNAL;
    return OK;
}
