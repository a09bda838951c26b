/* histogram.c: see histogram.h. */
#include "histogram.h"

#include <math.h>
#include <stddef.h>

/* The bucket of a value: linear up to two octaves' worth, then octave and offset within it. */
static size_t bucket_of(uint64_t value)
{
    if (value < 2 * HISTOGRAM_SUB)
        return (size_t)value;
    unsigned shift = (unsigned)(63 - __builtin_clzll(value)) - HISTOGRAM_SUB_BITS;
    size_t bucket = (size_t)shift * HISTOGRAM_SUB + (size_t)(value >> shift);
    return bucket < HISTOGRAM_BUCKETS ? bucket : HISTOGRAM_BUCKETS - 1;
}

/* The largest value that falls into a bucket. */
static int64_t bucket_top(size_t bucket)
{
    if (bucket < 2 * HISTOGRAM_SUB)
        return (int64_t)bucket;
    unsigned shift = (unsigned)(bucket / HISTOGRAM_SUB) - 1;
    uint64_t lead = bucket % HISTOGRAM_SUB + HISTOGRAM_SUB;
    return (int64_t)(((lead + 1) << shift) - 1);
}

void histogram_add(struct histogram *h, int64_t ns)
{
    if (ns < 0)
        ns = 0;
    if (ns > h->max)
        h->max = ns;
    h->count++;
    h->sum += (double)ns;
    h->bucket[bucket_of((uint64_t)ns)]++;
}

void histogram_merge(struct histogram *into, const struct histogram *from)
{
    into->count += from->count;
    into->sum += from->sum;
    if (from->max > into->max)
        into->max = from->max;
    for (size_t i = 0; i < HISTOGRAM_BUCKETS; i++)
        into->bucket[i] += from->bucket[i];
}

int64_t histogram_quantile(const struct histogram *h, double fraction)
{
    uint64_t rank = (uint64_t)ceil(fraction * (double)h->count);
    uint64_t seen = 0;
    for (size_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
        seen += h->bucket[i];
        if (seen >= rank && seen > 0)
            return bucket_top(i) < h->max ? bucket_top(i) : h->max;
    }
    return h->max;
}
