/* macros.h: the few language extensions that the whole program uses. */
#ifndef WW_BASE_MACROS_H
#define WW_BASE_MACROS_H

#include <stddef.h>
#include <stdlib.h>

/* The compiler refuses a caller that drops the result. */
#define MUST_USE __attribute__((warn_unused_result))
#define PRINTF_LIKE(fmt, args) __attribute__((format(printf, fmt, args)))

/* Runs fn(&variable) when the variable leaves its scope; fn accepts NULL and half-built objects. */
#define CLEANUP(fn) __attribute__((cleanup(fn)))

/* Moves a pointer out of an owned variable: the value, and the variable is NULL afterwards. */
#define TAKE(p)                                                                                    \
    __extension__({                                                                                \
        __typeof__(p) *ww_from = &(p);                                                             \
        __typeof__(p) ww_taken = *ww_from;                                                         \
        *ww_from = NULL;                                                                           \
        ww_taken;                                                                                  \
    })

/* Number of elements; a pointer in place of an array is a compile error (-Wsizeof-pointer-div). */
#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

/* Returns from the calling function at the first failure. For functions that return enum err. */
#define TRY(expr)                                                                                  \
    do {                                                                                           \
        enum err ww_err = (expr);                                                                  \
        if (ww_err != OK)                                                                          \
            return ww_err;                                                                         \
    } while (0)

static inline void cleanup_free(void *p)
{
    free(*(void **)p);
}

#endif
