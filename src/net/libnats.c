#include "net/libnats.h"

#include <dlfcn.h>
#include <pthread.h>
#include <string.h>

#include "base/text.h"

struct libnats libnats;

static pthread_once_t once = PTHREAD_ONCE_INIT;
static char why_not[160]; /* empty: loaded */

static void keep_reason(void)
{
    const char *reason = dlerror(); /* NOLINT(concurrency-mt-unsafe): per thread in glibc */
    text_copy(why_not, sizeof why_not, reason, strlen(reason));
}

/* The name as it is in the library: # keeps the macros of the header from replacing it. memcpy: ISO
 * C knows no conversion from an object's address to a function's. */
#define LIBNATS_FIND(name)                                                                         \
    symbol = dlsym(library, #name);                                                                \
    if (symbol == NULL) {                                                                          \
        keep_reason();                                                                             \
        return;                                                                                    \
    }                                                                                              \
    memcpy(&libnats.name##_, &symbol, sizeof symbol);

static void load(void)
{
    void *library = dlopen(LIBNATS_NAME, RTLD_NOW | RTLD_LOCAL); /* for the life of the process */
    void *symbol = NULL;
    if (library == NULL) {
        keep_reason();
        return;
    }
    LIBNATS_FUNCTIONS(LIBNATS_FIND)
}

enum err libnats_load(const char **why)
{
    pthread_once(&once, load);
    *why = why_not;
    return why_not[0] == '\0' ? OK : ERR_UNAVAILABLE;
}
