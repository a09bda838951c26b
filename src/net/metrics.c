#include "net/metrics.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>

#include "base/clock.h"

static const struct {
    uint64_t ns;
    const char *seconds;
} BOUNDS[HISTOGRAM_BUCKETS] = {
    {5 * NS_PER_MS, "0.005"}, {10 * NS_PER_MS, "0.01"},   {25 * NS_PER_MS, "0.025"},
    {50 * NS_PER_MS, "0.05"}, {100 * NS_PER_MS, "0.1"},   {250 * NS_PER_MS, "0.25"},
    {500 * NS_PER_MS, "0.5"}, {NS_PER_SECOND, "1"},       {2500 * NS_PER_MS, "2.5"},
    {5 * NS_PER_SECOND, "5"}, {10 * NS_PER_SECOND, "10"}, {UINT64_MAX, "+Inf"},
};

#define LABELS_TEXT_MAX 512 /* of one series */

/* Cells of one series: a counter has one; a histogram its buckets and the sum. */
#define HISTOGRAM_CELLS (HISTOGRAM_BUCKETS + 1)

/* One thread's cells. Mapped, so that only pages that are counted in cost memory, and no other
 * data is on their cache lines. */
struct block {
    struct block *next; /* set before the block is in the list, then constant */
    atomic_bool taken;  /* by a living thread */
    atomic_uint_fast64_t cells[];
};

struct family {
    struct metric metric;
    unsigned first_cell;
};

struct metrics {
    void *arg;
    pthread_key_t key; /* each thread's block */
    bool has_key;
    size_t block_size;
    struct block *shared;           /* for a thread that cannot have one of its own */
    _Atomic(struct block *) blocks; /* only ever grows, at the head */
    unsigned count;
    struct family families[];
};

/* ---- histograms ---- */

static unsigned bucket_of(uint64_t ns)
{
    unsigned i = 0;
    while (ns > BOUNDS[i].ns)
        i++;
    return i;
}

void histogram_add(struct histogram *h, uint64_t ns)
{
    h->counts[bucket_of(ns)]++;
    h->sum_ns += ns;
}

/* ---- blocks ---- */

static struct block *new_block(struct metrics *metrics)
{
    void *p =
        mmap(NULL, metrics->block_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        return NULL;
    struct block *block = p;
    block->next = atomic_load(&metrics->blocks);
    atomic_store(&block->taken, true);
    while (!atomic_compare_exchange_weak(&metrics->blocks, &block->next, block))
        ;
    return block;
}

/* Runs when its thread ends. */
static void leave_block(void *block)
{
    atomic_store(&((struct block *)block)->taken, false);
}

static struct block *find_block(struct metrics *metrics)
{
    for (struct block *b = atomic_load(&metrics->blocks); b != NULL; b = b->next) {
        bool taken = false;
        if (atomic_compare_exchange_strong(&b->taken, &taken, true))
            return b;
    }
    return new_block(metrics);
}

static struct block *own_block(struct metrics *metrics)
{
    struct block *block = pthread_getspecific(metrics->key);
    if (block != NULL)
        return block;
    block = find_block(metrics);
    if (block == NULL)
        return metrics->shared;
    if (pthread_setspecific(metrics->key, block) == 0)
        return block;
    leave_block(block);
    return metrics->shared;
}

/* ---- counting ---- */

static unsigned cells_of(const struct metric *metric)
{
    if (metric->read != NULL || metric->read_histogram != NULL)
        return 0;
    return metric->series * (metric->kind == METRIC_HISTOGRAM ? HISTOGRAM_CELLS : 1);
}

/* Not a plain store: the shared block has several writers. Nobody contends for the others. */
static void add(struct block *block, unsigned cell, uint64_t n)
{
    atomic_fetch_add_explicit(&block->cells[cell], n, memory_order_relaxed);
}

void metrics_count(struct metrics *metrics, unsigned metric, unsigned series)
{
    add(own_block(metrics), metrics->families[metric].first_cell + series, 1);
}

void metrics_observe(struct metrics *metrics, unsigned metric, unsigned series, uint64_t ns)
{
    unsigned first = metrics->families[metric].first_cell + series * HISTOGRAM_CELLS;
    struct block *block = own_block(metrics);
    add(block, first + HISTOGRAM_BUCKETS, ns);
    add(block, first + bucket_of(ns), 1);
}

static uint64_t sum_cell(const struct metrics *metrics, unsigned cell)
{
    uint64_t sum = 0;
    for (const struct block *b = atomic_load(&metrics->blocks); b != NULL; b = b->next)
        sum += atomic_load_explicit(&b->cells[cell], memory_order_relaxed);
    return sum;
}

static void sum_histogram(const struct metrics *metrics, const struct family *family,
                          unsigned series, struct histogram *out)
{
    unsigned first = family->first_cell + series * HISTOGRAM_CELLS;
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++)
        out->counts[i] = sum_cell(metrics, first + i);
    out->sum_ns = sum_cell(metrics, first + HISTOGRAM_BUCKETS);
}

uint64_t metrics_total(const struct metrics *metrics, unsigned metric, unsigned series)
{
    const struct family *family = &metrics->families[metric];
    if (family->metric.kind != METRIC_HISTOGRAM)
        return sum_cell(metrics, family->first_cell + series);
    struct histogram h;
    sum_histogram(metrics, family, series, &h);
    uint64_t total = 0;
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++)
        total += h.counts[i];
    return total;
}

/* ---- the text ---- */

/* In a help text a quotation mark stands for itself. */
static void put_escaped(struct text *t, const char *s, bool quoted)
{
    for (;;) {
        size_t plain = strcspn(s, quoted ? "\\\n\"" : "\\\n");
        text_put_n(t, s, plain);
        s += plain;
        if (*s == '\0')
            return;
        text_put_char(t, '\\');
        text_put_char(t, *s == '\n' ? 'n' : *s);
        s++;
    }
}

/* name="value",name="value": the labels of one series, empty without any. */
static void put_labels(const struct metrics *metrics, const struct metric *metric, unsigned series,
                       struct text *t)
{
    for (unsigned i = 0; i < METRIC_LABELS_MAX && metric->labels[i] != NULL; i++) {
        if (i > 0)
            text_put_char(t, ',');
        text_put(t, metric->labels[i]);
        text_put(t, "=\"");
        put_escaped(t, metric->value_of(metrics->arg, series, i), true);
        text_put_char(t, '"');
    }
}

/* A line up to its value. */
static void put_name(const struct metric *metric, const char *suffix, const struct text *labels,
                     struct text *t)
{
    text_put(t, metric->name);
    text_put(t, suffix);
    if (labels->len > 0) {
        text_put_char(t, '{');
        text_put_n(t, labels->p, labels->len);
        text_put_char(t, '}');
    }
    text_put_char(t, ' ');
}

static void put_bucket_name(const struct metric *metric, const char *le, const struct text *labels,
                            struct text *t)
{
    text_put(t, metric->name);
    text_put(t, "_bucket{");
    text_put_n(t, labels->p, labels->len);
    text_put(t, labels->len > 0 ? ",le=\"" : "le=\"");
    text_put(t, le);
    text_put(t, "\"} ");
}

/* Nanoseconds as seconds, exactly. */
static void put_seconds(struct text *t, uint64_t ns)
{
    char frac[10] = ".";
    uint64_t rest = ns % NS_PER_SECOND;
    for (unsigned i = 9; i > 0; i--, rest /= 10)
        frac[i] = (char)('0' + rest % 10);
    text_put_u64(t, ns / NS_PER_SECOND);
    if (ns % NS_PER_SECOND != 0)
        text_put_n(t, frac, sizeof frac);
}

static void put_double(struct text *t, double v)
{
    if (isnan(v))
        text_put(t, "NaN"); /* printf may give it a sign */
    else if (v >= 0 && v < 1e15 && v == floor(v))
        text_put_u64(t, (uint64_t)v);
    else
        text_put_f(t, "%.15g", v);
}

static void put_histogram(const struct metrics *metrics, const struct family *family,
                          unsigned series, const struct text *labels, struct text *t)
{
    const struct metric *metric = &family->metric;
    struct histogram h = {0};
    if (metric->read_histogram != NULL)
        metric->read_histogram(metrics->arg, series, &h);
    else
        sum_histogram(metrics, family, series, &h);
    uint64_t total = 0;
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
        total += h.counts[i];
        put_bucket_name(metric, BOUNDS[i].seconds, labels, t);
        text_put_u64(t, total);
        text_put_char(t, '\n');
    }
    put_name(metric, "_sum", labels, t);
    put_seconds(t, h.sum_ns);
    text_put_char(t, '\n');
    put_name(metric, "_count", labels, t);
    text_put_u64(t, total);
    text_put_char(t, '\n');
}

static void put_value(const struct metrics *metrics, const struct family *family, unsigned series,
                      const struct text *labels, struct text *t)
{
    const struct metric *metric = &family->metric;
    put_name(metric, "", labels, t);
    if (metric->read != NULL)
        put_double(t, metric->read(metrics->arg, series));
    else
        text_put_u64(t, sum_cell(metrics, family->first_cell + series));
    text_put_char(t, '\n');
}

static void put_series(const struct metrics *metrics, const struct family *family, unsigned series,
                       struct text *t)
{
    char buf[LABELS_TEXT_MAX];
    struct text labels = text_on(buf, sizeof buf);
    put_labels(metrics, &family->metric, series, &labels);
    if (family->metric.kind == METRIC_HISTOGRAM)
        put_histogram(metrics, family, series, &labels, t);
    else
        put_value(metrics, family, series, &labels, t);
    if (!text_ok(&labels))
        t->full = true;
}

static void put_family(const struct metrics *metrics, const struct family *family, struct text *t)
{
    static const char *const kinds[] = {"counter", "gauge", "histogram"};
    const struct metric *metric = &family->metric;
    text_put(t, "# HELP ");
    text_put(t, metric->name);
    text_put_char(t, ' ');
    put_escaped(t, metric->help, false);
    text_put(t, "\n# TYPE ");
    text_put(t, metric->name);
    text_put_char(t, ' ');
    text_put(t, kinds[metric->kind]);
    text_put_char(t, '\n');
    for (unsigned i = 0; i < metric->series; i++)
        put_series(metrics, family, i, t);
}

void metrics_put(const struct metrics *metrics, struct text *t)
{
    for (unsigned i = 0; i < metrics->count; i++)
        put_family(metrics, &metrics->families[i], t);
}

/* ---- opening ---- */

static void cleanup_metrics(struct metrics **metrics)
{
    metrics_close(*metrics);
}

enum err metrics_open(const struct metric *table, unsigned n, void *arg, struct metrics **out)
{
    struct metrics *metrics CLEANUP(cleanup_metrics) =
        calloc(1, sizeof *metrics + n * sizeof metrics->families[0]);
    if (metrics == NULL)
        return ERR_INTERNAL;
    metrics->arg = arg;
    metrics->count = n;
    unsigned cells = 0;
    for (unsigned i = 0; i < n; i++) {
        metrics->families[i] = (struct family){table[i], cells};
        cells += cells_of(&table[i]);
    }
    metrics->block_size = sizeof(struct block) + cells * sizeof(atomic_uint_fast64_t);
    metrics->shared = new_block(metrics);
    metrics->has_key = pthread_key_create(&metrics->key, leave_block) == 0;
    if (metrics->shared == NULL || !metrics->has_key)
        return ERR_INTERNAL;
    *out = TAKE(metrics);
    return OK;
}

void metrics_close(struct metrics *metrics)
{
    if (metrics == NULL)
        return;
    if (metrics->has_key)
        pthread_key_delete(metrics->key);
    struct block *block = atomic_load(&metrics->blocks);
    while (block != NULL) {
        struct block *next = block->next;
        munmap(block, metrics->block_size);
        block = next;
    }
    free(metrics);
}
