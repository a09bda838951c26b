#include "store/libpq.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "store/ops.h"

struct libpq libpq;

static pthread_once_t once = PTHREAD_ONCE_INIT;
static char why_not[160]; /* empty: loaded */

static void keep_reason(void)
{
    const char *reason = dlerror(); /* NOLINT(concurrency-mt-unsafe): per thread in glibc */
    text_copy(why_not, sizeof why_not, reason, strlen(reason));
}

/* memcpy: ISO C knows no conversion from an object's address to a function's. */
#define LIBPQ_FIND(name)                                                                           \
    symbol = dlsym(library, "PQ" #name);                                                           \
    if (symbol == NULL) {                                                                          \
        keep_reason();                                                                             \
        return;                                                                                    \
    }                                                                                              \
    memcpy(&libpq.name, &symbol, sizeof symbol);

static void load(void)
{
    void *library = dlopen(LIBPQ_NAME, RTLD_NOW | RTLD_LOCAL); /* for the life of the process */
    void *symbol = NULL;
    if (library == NULL) {
        keep_reason();
        return;
    }
    LIBPQ_FUNCTIONS(LIBPQ_FIND)
}

enum err libpq_load(void)
{
    pthread_once(&once, load);
    return why_not[0] == '\0' ? OK : store_fail(ERR_UNAVAILABLE, "postgresql", why_not);
}

const char *libpq_option(const PQconninfoOption *options, const char *name, const char *variable)
{
    for (; options->keyword != NULL; options++)
        if (strcmp(options->keyword, name) == 0 && options->val != NULL && options->val[0] != '\0')
            return options->val;
    return getenv(variable); /* NOLINT(concurrency-mt-unsafe): read only, by then */
}
