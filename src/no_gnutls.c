/*
 * no_gnutls.c: GnuTLS is in this process and stays asleep.
 *
 * libmicrohttpd brings it along and has it set up before main, for the TLS that is the proxy's job
 * here: 0.9 MiB of memory, and a millisecond of the start. Both ways to that set-up can be answered
 * by the program instead: the hook that GnuTLS has for it (GNUTLS_SKIP_GLOBAL_INIT), and the
 * function that libmicrohttpd calls. Whoever calls that one later, like libldap inside libpq before
 * it talks TLS, gets the real one. The linker has to export both (meson.build).
 */
#include <dlfcn.h>
#include <stdbool.h>
#include <string.h>

/* As GnuTLS declares them. */
int _gnutls_global_init_skip(void);
int gnutls_global_init(void);

static bool libraries_are_set_up;

/* The program's constructors run after those of all libraries that it is linked with. */
__attribute__((constructor)) static void set_up(void)
{
    libraries_are_set_up = true;
}

int _gnutls_global_init_skip(void)
{
    return 1;
}

int gnutls_global_init(void)
{
    static const int cannot = -59; /* GNUTLS_E_INTERNAL_ERROR */
    int (*real)(void) = NULL;
    if (!libraries_are_set_up)
        return 0;
    void *symbol = dlsym(RTLD_NEXT, "gnutls_global_init");
    memcpy(&real, &symbol, sizeof real); /* ISO C knows no conversion to a function's address */
    return real != NULL ? real() : cannot;
}
