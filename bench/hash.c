/*
 * hash.c: what one Argon2id hash costs here, and in other libraries, on one core.
 *
 *     bench_hash [--memory-kib N] [--iterations N] [--rounds N] [--backend NAME]
 *                [--node SCRIPT] [--json]
 *     bench_hash --bare [--alone] [--threads N] [--seconds N] ...
 *
 * The first form runs all contenders in turn, round after round, so that whatever else the machine
 * does falls on all of them alike; it prints medians, and the medians of the ratios within each
 * round. Pin it to one core (taskset -c 1). libargon2 and libsodium are called as a program would,
 * and allocate for each hash; ours uses an arena allocated before. --node adds @node-rs/argon2 by
 * way of hash_node.mjs, which has to be installed where the benchmark is started.
 *
 * The second form is the limit a service can be compared with: hashes a second of pairs on all
 * threads, with nothing around them; with --alone, of single hashes.
 */
#include <getopt.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <argon2.h>
#include <sodium.h>

#include "auth/argon2.h"

#define ROUNDS_MAX 1000u
#define THREADS_MAX 256u
#define TAG 32u

struct options {
    struct argon2_params params;
    enum argon2_backend backend;
    unsigned rounds;
    unsigned threads;
    double seconds;
    const char *node; /* the script, or NULL */
    bool bare;
    bool alone; /* with bare: single hashes instead of pairs */
    bool json;
};

static const char PASSWORD[] = "correct horse battery staple";
static const uint8_t SALT[16] = "saltsaltsaltsalt";

static void die(const char *what)
{
    fprintf(stderr, "bench_hash: %s\n", what);
    exit(1);
}

static double now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static struct argon2_job job(struct argon2_params params, uint8_t *tag)
{
    return (struct argon2_job){
        .params = params,
        .password = (const uint8_t *)PASSWORD,
        .password_len = sizeof(PASSWORD) - 1,
        .salt = SALT,
        .salt_len = sizeof(SALT),
        .tag = tag,
        .tag_len = TAG,
    };
}

/* ---- the contenders: each makes its hashes and returns milliseconds for one ---- */

struct bench {
    const struct options *options;
    struct argon2_arena *arena;
    FILE *to_node;
    FILE *from_node;
};

static double paired(struct bench *b)
{
    uint8_t tag[2][TAG];
    struct argon2_job first = job(b->options->params, tag[0]);
    struct argon2_job second = job(b->options->params, tag[1]);
    double before = now_ms();
    if (argon2id_hash_pair(b->arena, &first, &second) != OK)
        die("hashing a pair failed");
    return (now_ms() - before) / 2;
}

static double single(struct bench *b)
{
    uint8_t tag[TAG];
    struct argon2_job only = job(b->options->params, tag);
    double before = now_ms();
    if (argon2id_hash(b->arena, &only) != OK)
        die("hashing failed");
    return now_ms() - before;
}

static double by_libargon2(struct bench *b)
{
    uint8_t tag[TAG];
    const struct argon2_params *p = &b->options->params;
    double before = now_ms();
    if (argon2id_hash_raw(p->iterations, p->memory_kib, 1, PASSWORD, sizeof(PASSWORD) - 1, SALT,
                          sizeof(SALT), tag, TAG) != ARGON2_OK)
        die("libargon2 failed");
    return now_ms() - before;
}

static double by_libsodium(struct bench *b)
{
    uint8_t tag[TAG];
    const struct argon2_params *p = &b->options->params;
    double before = now_ms();
    if (crypto_pwhash(tag, TAG, PASSWORD, sizeof(PASSWORD) - 1, SALT, p->iterations,
                      (size_t)p->memory_kib * 1024, crypto_pwhash_ALG_ARGON2ID13) != 0)
        die("libsodium failed");
    return now_ms() - before;
}

static double by_node(struct bench *b)
{
    char line[64];
    if (fputs("\n", b->to_node) == EOF || fflush(b->to_node) == EOF ||
        fgets(line, sizeof(line), b->from_node) == NULL)
        die("node has gone");
    return strtod(line, NULL);
}

static void start_node(struct bench *b)
{
    int in[2], out[2];
    char memory[16], iterations[16], line[64];

    snprintf(memory, sizeof(memory), "%u", b->options->params.memory_kib);
    snprintf(iterations, sizeof(iterations), "%u", b->options->params.iterations);
    if (pipe(in) != 0 || pipe(out) != 0)
        die("no pipe");
    pid_t pid = fork();
    if (pid < 0)
        die("no process");
    if (pid == 0) {
        (void)dup2(in[0], STDIN_FILENO);
        (void)dup2(out[1], STDOUT_FILENO);
        (void)close(in[1]);
        (void)close(out[0]);
        execlp("node", "node", b->options->node, memory, iterations, (char *)NULL);
        _exit(127);
    }
    (void)close(in[0]);
    (void)close(out[1]);
    b->to_node = fdopen(in[1], "w");
    b->from_node = fdopen(out[0], "r");
    if (b->to_node == NULL || b->from_node == NULL ||
        fgets(line, sizeof(line), b->from_node) == NULL || strcmp(line, "ready\n") != 0)
        die("node does not run the script: is @node-rs/argon2 installed here?");
}

static const struct contender {
    const char *name;
    double (*run)(struct bench *);
} CONTENDERS[] = {
    {"paired", paired},          {"single", single},           {"libargon2", by_libargon2},
    {"libsodium", by_libsodium}, {"@node-rs/argon2", by_node}, /* the last: left out without --node
                                                                */
};

#define PAIRED 0
#define SINGLE 1

/* ---- figures ---- */

struct figures {
    double median;
    double min;
    double max;
};

static int ascending(const void *a, const void *b)
{
    const double *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

static struct figures figures(const double *values, unsigned n)
{
    double sorted[ROUNDS_MAX];

    memcpy(sorted, values, n * sizeof(sorted[0]));
    qsort(sorted, n, sizeof(sorted[0]), ascending);
    return (struct figures){(sorted[(n - 1) / 2] + sorted[n / 2]) / 2, sorted[0], sorted[n - 1]};
}

/* The median of a[i] / b[i]: contenders of the same round are compared, not medians. */
static double ratio(const double *a, const double *b, unsigned n)
{
    double r[ROUNDS_MAX];

    for (unsigned i = 0; i < n; i++)
        r[i] = a[i] / b[i];
    return figures(r, n).median;
}

static void print_figures(const struct options *o, double ms[][ROUNDS_MAX], size_t contenders)
{
    const char *backend = argon2_backend_name(argon2_backend_in_use());

    if (o->json)
        printf("{\"backend\": \"%s\", \"memory_kib\": %u, \"iterations\": %u, \"rounds\": %u, "
               "\"contenders\": [",
               backend, o->params.memory_kib, o->params.iterations, o->rounds);
    else
        printf("%u KiB, t=%u, p=1; ours: %s; %u rounds\n\n"
               "ms per hash          median      min      max   hashes/s  paired/it  single/it\n",
               o->params.memory_kib, o->params.iterations, backend, o->rounds);
    for (size_t c = 0; c < contenders; c++) {
        struct figures f = figures(ms[c], o->rounds);
        printf(o->json ? "%s{\"name\": \"%s\", \"ms_median\": %.3f, \"ms_min\": %.3f, "
                         "\"ms_max\": %.3f, \"hashes_per_second\": %.2f, "
                         "\"paired_ratio\": %.4f, \"single_ratio\": %.4f}"
                       : "%s%-16s %10.1f %8.1f %8.1f %10.1f %10.3f %10.3f\n",
               o->json && c > 0 ? ", " : "", CONTENDERS[c].name, f.median, f.min, f.max,
               1000 / f.median, ratio(ms[PAIRED], ms[c], o->rounds),
               ratio(ms[SINGLE], ms[c], o->rounds));
    }
    if (o->json)
        printf("]}\n");
}

static void compare(const struct options *o)
{
    static double ms[ARRAY_LEN(CONTENDERS)][ROUNDS_MAX];
    struct bench b = {.options = o};
    size_t contenders = ARRAY_LEN(CONTENDERS) - (o->node == NULL);

    if (argon2_arena_open(o->params.memory_kib, 2, &b.arena) != OK)
        die("no memory");
    if (o->node != NULL)
        start_node(&b);
    for (size_t c = 0; c < contenders; c++)
        (void)CONTENDERS[c].run(&b); /* not counted: caches and clock frequencies settle */
    for (unsigned round = 0; round < o->rounds; round++)
        for (size_t c = 0; c < contenders; c++)
            ms[c][round] = CONTENDERS[c].run(&b);
    print_figures(o, ms, contenders);
    argon2_arena_close(b.arena);
    if (o->node != NULL) {
        (void)fclose(b.to_node); /* which ends it */
        (void)fclose(b.from_node);
        (void)wait(NULL);
    }
}

/* ---- the limit of the whole machine ---- */

struct worker {
    const struct options *options;
    pthread_barrier_t *start;
    pthread_t thread;
    unsigned hashes;
    double ms;
};

static void *work(void *p)
{
    struct worker *w = p;
    struct bench b = {.options = w->options};

    if (argon2_arena_open(w->options->params.memory_kib, 2, &b.arena) != OK)
        die("no memory");
    (void)pthread_barrier_wait(w->start);
    double begun = now_ms();
    do {
        (void)(w->options->alone ? single(&b) : paired(&b));
        w->hashes += w->options->alone ? 1 : 2;
        w->ms = now_ms() - begun;
    } while (w->ms < w->options->seconds * 1000);
    argon2_arena_close(b.arena);
    return NULL;
}

static void bare(const struct options *o)
{
    static struct worker workers[THREADS_MAX];
    pthread_barrier_t start;
    double rate = 0;

    if (pthread_barrier_init(&start, NULL, o->threads) != 0)
        die("no barrier");
    for (unsigned i = 0; i < o->threads; i++) {
        workers[i] = (struct worker){.options = o, .start = &start};
        if (pthread_create(&workers[i].thread, NULL, work, &workers[i]) != 0)
            die("no thread");
    }
    for (unsigned i = 0; i < o->threads; i++) {
        (void)pthread_join(workers[i].thread, NULL);
        rate += workers[i].hashes * 1000 / workers[i].ms;
    }
    printf(o->json ? "{\"hashes_per_second\": %.2f, \"threads\": %u, \"backend\": \"%s\"}\n"
                   : "%.1f hashes/s on %u threads, %s\n",
           rate, o->threads, argon2_backend_name(argon2_backend_in_use()));
}

static unsigned number(const char *text, unsigned max)
{
    char *end = NULL;
    unsigned long n = strtoul(text, &end, 10);
    if (end == text || *end != '\0' || n < 1 || n > max)
        die("a number is out of range");
    return (unsigned)n;
}

static struct options parse(int argc, char **argv)
{
    static const struct option known[] = {
        {"memory-kib", required_argument, NULL, 'm'},
        {"iterations", required_argument, NULL, 't'},
        {"rounds", required_argument, NULL, 'r'},
        {"backend", required_argument, NULL, 'b'},
        {"node", required_argument, NULL, 'n'},
        {"json", no_argument, NULL, 'j'},
        {"bare", no_argument, NULL, 'B'},
        {"alone", no_argument, NULL, 'A'},
        {"threads", required_argument, NULL, 'T'},
        {"seconds", required_argument, NULL, 's'},
        {NULL, 0, NULL, 0},
    };
    struct options o = {
        .params = {65536, 3, 1}, .backend = ARGON2_AUTO, .rounds = 21, .threads = 1, .seconds = 5};

    for (int c; (c = getopt_long(argc, argv, "", known, NULL)) != -1;) {
        switch (c) {
        case 'm':
            o.params.memory_kib = number(optarg, ARGON2_MEMORY_MAX);
            break;
        case 't':
            o.params.iterations = number(optarg, 1000);
            break;
        case 'r':
            o.rounds = number(optarg, ROUNDS_MAX);
            break;
        case 'b':
            if (argon2_backend_from_name(optarg, &o.backend) != OK)
                die("no such back end");
            break;
        case 'n':
            o.node = optarg;
            break;
        case 'j':
            o.json = true;
            break;
        case 'B':
            o.bare = true;
            break;
        case 'A':
            o.alone = true;
            break;
        case 'T':
            o.threads = number(optarg, THREADS_MAX);
            break;
        case 's':
            o.seconds = strtod(optarg, NULL);
            break;
        default:
            exit(2);
        }
    }
    return o;
}

int main(int argc, char **argv)
{
    struct options options = parse(argc, argv);

    if (argon2_init(options.backend) != OK)
        die("this machine lacks the back end, or it computes wrongly");
    if (sodium_init() < 0)
        die("libsodium does not start");
    if (options.bare)
        bare(&options);
    else
        compare(&options);
    return 0;
}
