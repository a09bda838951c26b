/* unit.h: what every unit test includes: cmocka, and how results are compared. */
#ifndef WW_TESTS_UNIT_H
#define WW_TESTS_UNIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/macros.h"

/* A test; its name says the property. */
#define TEST(name) static void name(void **state __attribute__((unused)))

/* By name, so that a failure reads "denied" != "ok". */
#define assert_err(expr, kind) assert_string_equal(err_name(expr), err_name(kind))
#define assert_ok(expr) assert_err(expr, OK)

/* Repeatable: the same numbers in every run. */
static inline uint64_t next_random(uint64_t *seed)
{
    uint64_t z = (*seed += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static inline void fill_random(uint64_t *seed, void *out, size_t len)
{
    for (size_t i = 0; i < len; i++)
        ((uint8_t *)out)[i] = (uint8_t)next_random(seed);
}

#endif
