/*
 * histogram.h: durations counted to three significant digits, in constant memory.
 *
 * Values are nanoseconds. Below 2048 each has a bucket of its own; above, every power of two is cut
 * into 1024 buckets, so that a value is known to better than 0.1 %. Not thread-safe: one histogram
 * a thread, merged at the end.
 */
#ifndef WW_BENCH_HISTOGRAM_H
#define WW_BENCH_HISTOGRAM_H

#include <stdint.h>

enum {
    HISTOGRAM_SUB_BITS = 10,
    HISTOGRAM_SUB = 1 << HISTOGRAM_SUB_BITS,
    HISTOGRAM_OCTAVES = 32, /* up to 2^42 ns, more than an hour; longer counts as that */
    HISTOGRAM_BUCKETS = (HISTOGRAM_OCTAVES + 1) * HISTOGRAM_SUB,
};

/* All zeroes is an empty histogram. */
struct histogram {
    uint64_t count;
    int64_t max;
    double sum;
    uint64_t bucket[HISTOGRAM_BUCKETS];
};

/* Counts one duration; a negative one counts as 0. */
void histogram_add(struct histogram *h, int64_t ns);

/* Adds everything that `from` has counted to `into`. */
void histogram_merge(struct histogram *into, const struct histogram *from);

/* The smallest duration that `fraction` (0 to 1) of all do not exceed; 0 if there are none. */
int64_t histogram_quantile(const struct histogram *h, double fraction);

#endif
