/*
 * metrics.h: counters that cost nothing to raise, and their text for Prometheus (exposition format
 * 0.0.4).
 *
 * What is measured is a table of families; each has a fixed number of series, so the text and the
 * memory have a maximum, and every series is there from the start at 0. A thread that counts gets a
 * block of its own, which only it writes: no locks, no shared cache lines. A scrape adds the blocks
 * up. A thread that ends leaves its block, with what it counted, to the next that comes.
 *
 * Every function may be called from any thread.
 */
#ifndef WW_NET_METRICS_H
#define WW_NET_METRICS_H

#include <stdint.h>

#include "base/text.h"

/* Durations: .005 .01 .025 .05 .1 .25 .5 1 2.5 5 10 seconds, and beyond. */
#define HISTOGRAM_BUCKETS 12

struct histogram {
    uint64_t counts[HISTOGRAM_BUCKETS]; /* each its own, not cumulative */
    uint64_t sum_ns;
};

/* For who has a lock of his own; not atomic. */
void histogram_add(struct histogram *h, uint64_t ns);

enum metric_kind { METRIC_COUNTER, METRIC_GAUGE, METRIC_HISTOGRAM };

#define METRIC_LABELS_MAX 3

struct metric {
    const char *name;
    const char *help;
    enum metric_kind kind;
    unsigned series;                       /* how many combinations of label values there are */
    const char *labels[METRIC_LABELS_MAX]; /* their names, up to the first NULL */
    /* The value of one label in one series; needed if there are labels. */
    const char *(*value_of)(const void *arg, unsigned series, unsigned label);
    /* Asked at each scrape. Without one, the family is counted in here, with the functions below.
     */
    double (*read)(void *arg, unsigned series);
    void (*read_histogram)(void *arg, unsigned series, struct histogram *out);
};

struct metrics;

/* The table is copied; the strings in it stay. arg is handed to the callbacks. */
MUST_USE enum err metrics_open(const struct metric *table, unsigned n, void *arg,
                               struct metrics **out);
/* No thread may be counting any more. */
void metrics_close(struct metrics *metrics);

/* metric: the position in the table. A counter goes up by one; a histogram gets one duration. */
void metrics_count(struct metrics *metrics, unsigned metric, unsigned series);
void metrics_observe(struct metrics *metrics, unsigned metric, unsigned series, uint64_t ns);

/* So far: a counter's value, or how many durations a histogram has. */
uint64_t metrics_total(const struct metrics *metrics, unsigned metric, unsigned series);

/* The whole text. */
void metrics_put(const struct metrics *metrics, struct text *t);

#endif
