#include "unit.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>

#include "base/clock.h"
#include "net/metrics.h"

enum { PLAIN, LABELLED, TIMES, TIMES_OF, GAUGE, OUTSIDE, FAMILIES };

static double gauge_value = 1.5;

static const char *value_of(const void *arg, unsigned series, unsigned label)
{
    static const char *const values[][2] = {{"a", "x"}, {"b", "q\"uo\\te\nline"}};
    (void)arg;
    return values[series][label];
}

static double read_gauge(void *arg, unsigned series)
{
    assert_ptr_equal(arg, &gauge_value);
    (void)series;
    return gauge_value;
}

static void read_outside(void *arg, unsigned series, struct histogram *out)
{
    (void)arg;
    (void)series;
    histogram_add(out, 5 * NS_PER_MS);
    histogram_add(out, 5 * NS_PER_MS + 1);
    histogram_add(out, 11 * NS_PER_SECOND);
}

static const struct metric TABLE[FAMILIES] = {
    [PLAIN] = {.name = "plain_total", .help = "Plain.", .kind = METRIC_COUNTER, .series = 1},
    [LABELLED] = {.name = "labelled_total",
                  .help = "A \"help\" with \\ and\na line.",
                  .kind = METRIC_COUNTER,
                  .series = 2,
                  .labels = {"one", "two"},
                  .value_of = value_of},
    [TIMES] = {.name = "times_seconds", .help = "Times.", .kind = METRIC_HISTOGRAM, .series = 1},
    [TIMES_OF] = {.name = "times_of_seconds",
                  .help = "Times of each.",
                  .kind = METRIC_HISTOGRAM,
                  .series = 2,
                  .labels = {"one"},
                  .value_of = value_of},
    [GAUGE] = {.name = "gauge",
               .help = "A gauge.",
               .kind = METRIC_GAUGE,
               .series = 1,
               .read = read_gauge},
    [OUTSIDE] = {.name = "outside_seconds",
                 .help = "Kept elsewhere.",
                 .kind = METRIC_HISTOGRAM,
                 .series = 1,
                 .read_histogram = read_outside},
};

static char out[16 * 1024];

static struct metrics *opened(void)
{
    struct metrics *metrics = NULL;
    gauge_value = 1.5;
    assert_ok(metrics_open(TABLE, FAMILIES, &gauge_value, &metrics));
    return metrics;
}

static void scrape(const struct metrics *metrics)
{
    struct text t = text_on(out, sizeof out);
    metrics_put(metrics, &t);
    assert_true(text_ok(&t));
}

/* The line is in the text of the last scrape, once and whole. */
static void assert_line(const char *line)
{
    char wanted[256];
    snprintf(wanted, sizeof wanted, "\n%s\n", line);
    const char *at = strstr(out, wanted);
    if (at == NULL || strstr(at + 1, wanted) != NULL)
        fail_msg("not there once: %s\nin:\n%s", line, out);
}

TEST(every_series_is_there_at_zero)
{
    static const char expected[] =
        "# HELP plain_total Plain.\n# TYPE plain_total counter\nplain_total 0\n"
        "# HELP labelled_total A \"help\" with \\\\ and\\na line.\n"
        "# TYPE labelled_total counter\n"
        "labelled_total{one=\"a\",two=\"x\"} 0\n"
        "labelled_total{one=\"b\",two=\"q\\\"uo\\\\te\\nline\"} 0\n"
        "# HELP times_seconds Times.\n# TYPE times_seconds histogram\n"
        "times_seconds_bucket{le=\"0.005\"} 0\ntimes_seconds_bucket{le=\"0.01\"} 0\n"
        "times_seconds_bucket{le=\"0.025\"} 0\ntimes_seconds_bucket{le=\"0.05\"} 0\n"
        "times_seconds_bucket{le=\"0.1\"} 0\ntimes_seconds_bucket{le=\"0.25\"} 0\n"
        "times_seconds_bucket{le=\"0.5\"} 0\ntimes_seconds_bucket{le=\"1\"} 0\n"
        "times_seconds_bucket{le=\"2.5\"} 0\ntimes_seconds_bucket{le=\"5\"} 0\n"
        "times_seconds_bucket{le=\"10\"} 0\ntimes_seconds_bucket{le=\"+Inf\"} 0\n"
        "times_seconds_sum 0\ntimes_seconds_count 0\n";
    struct metrics *metrics = opened();
    scrape(metrics);
    assert_memory_equal(out, expected, sizeof expected - 1);
    assert_line("times_of_seconds_bucket{one=\"a\",le=\"0.005\"} 0");
    assert_line("times_of_seconds_bucket{one=\"b\",le=\"+Inf\"} 0");
    assert_line("times_of_seconds_count{one=\"b\"} 0");
    metrics_close(metrics);
}

TEST(what_is_counted_shows_in_its_series_only)
{
    struct metrics *metrics = opened();
    metrics_count(metrics, PLAIN, 0);
    metrics_count(metrics, LABELLED, 1);
    metrics_count(metrics, LABELLED, 1);
    scrape(metrics);
    assert_line("plain_total 1");
    assert_line("labelled_total{one=\"a\",two=\"x\"} 0");
    assert_line("labelled_total{one=\"b\",two=\"q\\\"uo\\\\te\\nline\"} 2");
    assert_int_equal(metrics_total(metrics, LABELLED, 0), 0);
    assert_int_equal(metrics_total(metrics, LABELLED, 1), 2);
    metrics_close(metrics);
}

TEST(buckets_are_cumulative_and_a_bound_belongs_to_its_bucket)
{
    struct metrics *metrics = opened();
    static const uint64_t times[] = {0,
                                     5 * NS_PER_MS,
                                     5 * NS_PER_MS + 1,
                                     2500 * NS_PER_MS,
                                     10 * NS_PER_SECOND,
                                     10 * NS_PER_SECOND + 1};
    for (size_t i = 0; i < ARRAY_LEN(times); i++)
        metrics_observe(metrics, TIMES_OF, 1, times[i]);
    scrape(metrics);
    assert_line("times_of_seconds_bucket{one=\"b\",le=\"0.005\"} 2");
    assert_line("times_of_seconds_bucket{one=\"b\",le=\"0.01\"} 3");
    assert_line("times_of_seconds_bucket{one=\"b\",le=\"1\"} 3");
    assert_line("times_of_seconds_bucket{one=\"b\",le=\"2.5\"} 4");
    assert_line("times_of_seconds_bucket{one=\"b\",le=\"10\"} 5");
    assert_line("times_of_seconds_bucket{one=\"b\",le=\"+Inf\"} 6");
    assert_line("times_of_seconds_count{one=\"b\"} 6");
    assert_line("times_of_seconds_sum{one=\"b\"} 22.510000002");
    assert_line("times_of_seconds_count{one=\"a\"} 0");
    assert_int_equal(metrics_total(metrics, TIMES_OF, 1), 6);
    metrics_close(metrics);
}

TEST(what_is_kept_elsewhere_is_asked_at_the_scrape)
{
    struct metrics *metrics = opened();
    scrape(metrics);
    assert_line("gauge 1.5");
    assert_line("outside_seconds_bucket{le=\"0.005\"} 1");
    assert_line("outside_seconds_bucket{le=\"0.01\"} 2");
    assert_line("outside_seconds_bucket{le=\"10\"} 2");
    assert_line("outside_seconds_bucket{le=\"+Inf\"} 3");
    assert_line("outside_seconds_sum 11.010000001");
    gauge_value = 12345678901234.0;
    scrape(metrics);
    assert_line("gauge 12345678901234");
    gauge_value = -3;
    scrape(metrics);
    assert_line("gauge -3");
    gauge_value = (double)NAN;
    scrape(metrics);
    assert_line("gauge NaN");
    metrics_close(metrics);
}

TEST(a_text_that_is_too_long_is_told)
{
    struct metrics *metrics = opened();
    scrape(metrics);
    size_t len = strlen(out);
    struct text t = text_on(out, len + 1);
    metrics_put(metrics, &t);
    assert_true(text_ok(&t));
    t = text_on(out, len);
    metrics_put(metrics, &t);
    assert_false(text_ok(&t));
    metrics_close(metrics);
}

#define THREADS 16
#define ROUNDS 50000

static void *count_much(void *arg)
{
    struct metrics *metrics = arg;
    for (unsigned i = 0; i < ROUNDS; i++) {
        metrics_count(metrics, PLAIN, 0);
        metrics_count(metrics, LABELLED, i % 2);
        metrics_observe(metrics, TIMES, 0, NS_PER_MS);
    }
    return NULL;
}

static void run_threads(struct metrics *metrics, bool scraping)
{
    pthread_t threads[THREADS];
    for (unsigned i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, count_much, metrics), 0);
    uint64_t before = 0;
    for (unsigned i = 0; scraping && i < 200; i++) {
        uint64_t now = metrics_total(metrics, PLAIN, 0);
        assert_true(now >= before);
        before = now;
        scrape(metrics);
    }
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
}

TEST(threads_count_exactly_and_what_ended_ones_counted_stays)
{
    struct metrics *metrics = opened();
    for (unsigned round = 1; round <= 3; round++) {
        uint64_t all = (uint64_t)round * THREADS * ROUNDS;
        run_threads(metrics, round == 2);
        assert_int_equal(metrics_total(metrics, PLAIN, 0), all);
        assert_int_equal(metrics_total(metrics, LABELLED, 0), all / 2);
        assert_int_equal(metrics_total(metrics, LABELLED, 1), all / 2);
        assert_int_equal(metrics_total(metrics, TIMES, 0), all);
    }
    scrape(metrics);
    assert_line("times_seconds_sum 2400"); /* 3 rounds of 800,000 milliseconds */
    metrics_close(metrics);
}

static unsigned mappings(void)
{
    unsigned n = 0;
    char line[512];
    FILE *f = fopen("/proc/self/maps", "re");
    assert_non_null(f);
    while (fgets(line, sizeof line, f) != NULL)
        n++;
    fclose(f);
    return n;
}

static void *count_once(void *metrics)
{
    metrics_count(metrics, PLAIN, 0);
    return NULL;
}

TEST(a_thousand_threads_one_after_the_other_share_one_block)
{
    struct metrics *metrics = opened();
    pthread_t thread;
    unsigned before = 0;
    for (unsigned i = 0; i < 1000; i++) {
        assert_int_equal(pthread_create(&thread, NULL, count_once, metrics), 0);
        pthread_join(thread, NULL);
        if (i == 10)
            before = mappings();
    }
    assert_in_range(mappings(), 0, before + 4);
    assert_int_equal(metrics_total(metrics, PLAIN, 0), 1000);
    metrics_close(metrics);
}

TEST(two_registries_are_apart)
{
    struct metrics *one = opened(), *two = opened();
    metrics_count(one, PLAIN, 0);
    assert_int_equal(metrics_total(two, PLAIN, 0), 0);
    metrics_count(two, PLAIN, 0);
    metrics_close(one);
    one = opened();
    assert_int_equal(metrics_total(one, PLAIN, 0), 0);
    assert_int_equal(metrics_total(two, PLAIN, 0), 1);
    metrics_close(one);
    metrics_close(two);
    metrics_close(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_series_is_there_at_zero),
        cmocka_unit_test(what_is_counted_shows_in_its_series_only),
        cmocka_unit_test(buckets_are_cumulative_and_a_bound_belongs_to_its_bucket),
        cmocka_unit_test(what_is_kept_elsewhere_is_asked_at_the_scrape),
        cmocka_unit_test(a_text_that_is_too_long_is_told),
        cmocka_unit_test(threads_count_exactly_and_what_ended_ones_counted_stays),
        cmocka_unit_test(a_thousand_threads_one_after_the_other_share_one_block),
        cmocka_unit_test(two_registries_are_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
