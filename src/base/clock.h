/*
 * clock.h: the two clocks. Wall time (Unix milliseconds) is for what is stored or shown, monotonic
 * time (nanoseconds) for deadlines and durations: it never jumps. Any thread may call.
 */
#ifndef WW_BASE_CLOCK_H
#define WW_BASE_CLOCK_H

#include <pthread.h>
#include <stdint.h>

#define NS_PER_MS UINT64_C(1000000)
#define NS_PER_SECOND UINT64_C(1000000000)
#define MS_PER_SECOND INT64_C(1000)
#define MS_PER_MINUTE INT64_C(60000)
#define MS_PER_DAY INT64_C(86400000)

/* Milliseconds since 1970-01-01T00:00:00Z. */
int64_t clock_unix_ms(void);

/* Nanoseconds since an arbitrary point; only differences mean something. */
uint64_t clock_mono_ns(void);

/* The same, with the time that the machine was suspended. */
uint64_t clock_boot_ns(void);

/* At least so long, unless a signal comes. */
void clock_sleep_ns(uint64_t ns);

/* A condition whose timed waits go by the monotonic clock. */
void clock_cond_init(pthread_cond_t *cond);

/* 2026-01-31T12:34:56.789Z (RFC 3339, always UTC, always milliseconds). */
#define CLOCK_RFC3339_LEN 24
void clock_format_rfc3339(int64_t unix_ms, char out[CLOCK_RFC3339_LEN + 1]);

#endif
