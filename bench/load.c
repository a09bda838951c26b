/*
 * load.c: an HTTP/1.1 load generator for the benchmark.
 *
 *     load [options] get PATH | login | refresh
 *
 * Reads the command line and the files it names, runs the workers (load_worker.h), prints one JSON
 * object. Exit codes: 0 done, 1 failed, 2 wrong usage.
 */
#include <errno.h>
#include <getopt.h>
#include <netdb.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include "load_worker.h"

enum { CONNECTIONS_MAX = 65536, THREADS_MAX = 256, USERS_MAX = 1000000 };

static const char usage_text[] =
    "usage: load [options] get PATH | login | refresh\n"
    "  --host H         address or name (127.0.0.1)\n"
    "  --port P         (8080)\n"
    "  --connections C  keep-alive connections, one request in flight on each (32)\n"
    "  --threads N      (1)\n"
    "  --seconds S      measured time (10)\n"
    "  --warmup S       time before it (1)\n"
    "  --rate R         requests a second, sent on schedule; without it: as fast as answered\n"
    "  --users-file F   lines of tenant, e-mail, password: for login, and to start refresh chains\n"
    "  --tokens-file F  refresh tokens, one a line: chains to continue\n"
    "  --tokens-out F   where to write the tokens at the end of the chains\n";

struct options {
    const char *host, *port, *users_file, *tokens_file, *tokens_out, *scenario, *path;
    double connections, threads, seconds, warmup, rate;
};

struct thread {
    pthread_t id;
    unsigned index;
    int rc;
    struct load_plan *plan;
    struct load_result result;
};

__attribute__((noreturn)) static void usage(void)
{
    fputs(usage_text, stderr);
    exit(2);
}

__attribute__((noreturn, format(printf, 1, 2))) static void fail(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fputs("load: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    exit(1);
}

static void *allocate(size_t count, size_t size)
{
    void *p = calloc(count, size);
    if (p == NULL)
        fail("out of memory");
    return p;
}

/* ---- command line ---- */

static double number(const char *name, const char *text, double least, double most)
{
    char *end;
    double value = strtod(text, &end);
    if (end == text || *end != '\0' || !(value >= least && value <= most)) {
        fprintf(stderr, "load: --%s: a number from %g to %g, not \"%s\"\n", name, least, most,
                text);
        exit(2);
    }
    return value;
}

static void set_option(struct options *o, const char *name, int key, const char *value)
{
    switch (key) {
    case 'h':
        o->host = value;
        break;
    case 'p':
        o->port = value;
        break;
    case 'c':
        o->connections = number(name, value, 1, CONNECTIONS_MAX);
        break;
    case 't':
        o->threads = number(name, value, 1, THREADS_MAX);
        break;
    case 's':
        o->seconds = number(name, value, 0.01, 86400);
        break;
    case 'w':
        o->warmup = number(name, value, 0, 86400);
        break;
    case 'r':
        o->rate = number(name, value, 0.001, 10e6);
        break;
    case 'u':
        o->users_file = value;
        break;
    case 'T':
        o->tokens_file = value;
        break;
    case 'O':
        o->tokens_out = value;
        break;
    default:
        usage();
    }
}

static struct options read_options(int argc, char **argv)
{
    static const struct option table[] = {
        {"host", required_argument, NULL, 'h'},
        {"port", required_argument, NULL, 'p'},
        {"connections", required_argument, NULL, 'c'},
        {"threads", required_argument, NULL, 't'},
        {"seconds", required_argument, NULL, 's'},
        {"warmup", required_argument, NULL, 'w'},
        {"rate", required_argument, NULL, 'r'},
        {"users-file", required_argument, NULL, 'u'},
        {"tokens-file", required_argument, NULL, 'T'},
        {"tokens-out", required_argument, NULL, 'O'},
        {NULL, 0, NULL, 0},
    };
    struct options o = {.host = "127.0.0.1",
                        .port = "8080",
                        .connections = 32,
                        .threads = 1,
                        .seconds = 10,
                        .warmup = 1};
    int key, which = 0;
    while ((key = getopt_long(argc, argv, "", table, &which)) != -1)
        set_option(&o, table[which].name, key, optarg);
    if (optind >= argc)
        usage();
    o.scenario = argv[optind++];
    if (strcmp(o.scenario, "get") == 0 && optind < argc)
        o.path = argv[optind++];
    if (optind != argc || o.threads > o.connections)
        usage();
    return o;
}

static enum load_kind scenario_kind(const struct options *o)
{
    if (strcmp(o->scenario, "get") == 0 && o->path != NULL && o->path[0] == '/')
        return LOAD_GET;
    if (strcmp(o->scenario, "login") == 0 && o->users_file != NULL)
        return LOAD_LOGIN;
    if (strcmp(o->scenario, "refresh") == 0 && (o->users_file != NULL || o->tokens_file != NULL))
        return LOAD_REFRESH;
    usage();
}

/* ---- what to send ---- */

static void resolve(struct load_plan *plan, const struct options *o)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found;
    int rc = getaddrinfo(o->host, o->port, &hints, &found);
    if (rc != 0)
        fail("%s:%s: %s", o->host, o->port, gai_strerror(rc));
    memcpy(&plan->address, found->ai_addr, found->ai_addrlen);
    plan->address_length = found->ai_addrlen;
    freeaddrinfo(found);
    int n = snprintf(plan->host, sizeof(plan->host), "%s:%s", o->host, o->port);
    if (n < 0 || (size_t)n >= sizeof(plan->host))
        fail("host name too long");
}

static void build_get(struct load_plan *plan, const char *path)
{
    plan->requests = allocate(1, sizeof(*plan->requests));
    plan->n_requests = 1;
    int n = snprintf(plan->requests->bytes, LOAD_REQUEST_MAX,
                     "GET %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: watchword-load\r\n\r\n", path,
                     plan->host);
    if (n < 0 || n >= LOAD_REQUEST_MAX)
        fail("path too long");
    plan->requests->length = (size_t)n;
}

static FILE *open_file(const char *path, const char *mode)
{
    FILE *f = fopen(path, mode);
    if (f == NULL)
        fail("%s: %s", path, strerror(errno));
    return f;
}

/* One login request for each line of the users file. */
static void build_logins(struct load_plan *plan, const char *path)
{
    char line[1024], tenant[64], email[256], password[512], body[1024];
    FILE *f = open_file(path, "r");
    while (plan->n_requests < USERS_MAX && fgets(line, sizeof(line), f) != NULL) {
        size_t n = plan->n_requests;
        if (sscanf(line, "%63s %255s %511s", tenant, email, password) != 3 ||
            strpbrk(line, "\"\\") != NULL)
            fail("%s: line %zu: tenant, e-mail, password; no quotes or backslashes", path, n + 1);
        if ((n & (n - 1)) == 0) { /* double at powers of two */
            size_t room = (n == 0 ? 1 : 2 * n) * sizeof(*plan->requests);
            struct load_request *grown = realloc(plan->requests, room);
            if (grown == NULL)
                fail("out of memory");
            plan->requests = grown;
        }
        int length = snprintf(body, sizeof(body),
                              "{\"tenant_id\":\"%s\",\"email\":\"%s\",\"password\":\"%s\"}", tenant,
                              email, password);
        if (length < 0 || (size_t)length >= sizeof(body) ||
            load_build_post(plan, "/api/auth/login", body, &plan->requests[n]) != 0)
            fail("%s: line %zu is too long", path, n + 1);
        plan->n_requests++;
    }
    fclose(f);
    if (plan->n_requests == 0)
        fail("%s: no users", path);
}

/* Fills the slots from the file; without a users file there must be a token for each. */
static void read_tokens(struct load_plan *plan, const char *path)
{
    FILE *f = open_file(path, "r");
    char line[LOAD_TOKEN_MAX + 1];
    unsigned n = 0;
    while (n < plan->connections && fgets(line, sizeof(line), f) != NULL) {
        size_t length = strcspn(line, "\r\n");
        if (line[length] == '\0' && !feof(f))
            fail("%s: line %u is too long", path, n + 1);
        if (length == 0)
            continue;
        memcpy(plan->tokens[n], line, length);
        plan->tokens[n++][length] = '\0';
    }
    fclose(f);
    if (n < plan->connections && plan->n_requests == 0)
        fail("%s: %u tokens for %u connections and no users file", path, n, plan->connections);
}

static void write_tokens(const struct load_plan *plan, const char *path)
{
    FILE *f = open_file(path, "w");
    for (unsigned i = 0; i < plan->connections; i++)
        if (plan->tokens[i][0] != '\0')
            fprintf(f, "%s\n", plan->tokens[i]);
    if (fclose(f) != 0)
        fail("%s: %s", path, strerror(errno));
}

static void make_plan(struct load_plan *plan, const struct options *o)
{
    plan->kind = scenario_kind(o);
    plan->connections = (unsigned)o->connections;
    plan->threads = (unsigned)o->threads;
    plan->rate = o->rate;
    plan->warmup_ns = (int64_t)(o->warmup * 1e9);
    plan->window_ns = (int64_t)(o->seconds * 1e9);
    resolve(plan, o);
    if (plan->kind == LOAD_GET)
        build_get(plan, o->path);
    else if (o->users_file != NULL)
        build_logins(plan, o->users_file);
    if (plan->kind == LOAD_REFRESH) {
        plan->tokens = allocate(plan->connections, sizeof(*plan->tokens));
        if (o->tokens_file != NULL)
            read_tokens(plan, o->tokens_file);
    }
    if (pthread_barrier_init(&plan->start, NULL, plan->threads) != 0)
        fail("pthread_barrier_init");
}

/* ---- running and reporting ---- */

/* Who keeps a schedule measures how long answers take: its own waits for a core are not to be
 * counted as the service's. Whether that is allowed here. */
static bool go_before_all(void)
{
    return pthread_setschedparam(pthread_self(), SCHED_FIFO,
                                 &(struct sched_param){.sched_priority = 1}) == 0;
}

static void *thread_main(void *arg)
{
    struct thread *t = arg;
    prctl(PR_SET_TIMERSLACK, 1); /* a schedule is kept to the microsecond, not to 50 of them */
    if (t->plan->rate > 0)
        t->result.realtime = go_before_all();
    t->rc = load_worker_run(t->plan, t->index, &t->result);
    return NULL;
}

static void add_result(struct load_result *sum, const struct load_result *one)
{
    sum->answers += one->answers;
    sum->bytes += one->bytes;
    for (size_t i = 0; i < LOAD_STATUS_MAX; i++)
        sum->status[i] += one->status[i];
    histogram_merge(&sum->ok, &one->ok);
    histogram_merge(&sum->other, &one->other);
    sum->realtime = sum->realtime || one->realtime;
    sum->unsent += one->unsent;
    sum->unanswered += one->unanswered;
    sum->reconnects += one->reconnects;
    sum->connect_errors += one->connect_errors;
    sum->bad_answers += one->bad_answers;
    sum->chains_lost += one->chains_lost;
}

static void print_latency(const char *name, const struct histogram *h)
{
    static const struct {
        const char *name;
        double fraction;
    } points[] = {{"p50", 0.5}, {"p90", 0.9}, {"p95", 0.95}, {"p99", 0.99}, {"p999", 0.999}};
    printf("  \"%s\": {\"count\": %llu", name, (unsigned long long)h->count);
    for (size_t i = 0; i < sizeof(points) / sizeof(points[0]); i++)
        printf(", \"%s\": %.4g", points[i].name,
               (double)histogram_quantile(h, points[i].fraction) / 1e6);
    printf(", \"max\": %.4g, \"mean\": %.4g},\n", (double)h->max / 1e6,
           h->count == 0 ? 0 : h->sum / (double)h->count / 1e6);
}

static void print_count(const char *name, uint64_t value)
{
    printf("  \"%s\": %llu,\n", name, (unsigned long long)value);
}

static double cpu_seconds(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static void report(const struct options *o, const struct load_result *r)
{
    uint64_t ok = 0;
    const char *comma = "";
    printf("{\n  \"scenario\": \"%s\",\n  \"connections\": %.0f,\n  \"threads\": %.0f,\n",
           o->scenario, o->connections, o->threads);
    printf("  \"seconds\": %g,\n  \"rate\": %g,\n  \"status\": {", o->seconds, o->rate);
    for (unsigned i = 0; i < LOAD_STATUS_MAX; i++) {
        if (r->status[i] == 0)
            continue;
        printf("%s\"%u\": %llu", comma, i, (unsigned long long)r->status[i]);
        comma = ", ";
        ok += i / 100 == 2 ? r->status[i] : 0;
    }
    printf("},\n");
    print_count("requests", r->answers);
    print_count("bytes", r->bytes);
    printf("  \"requests_per_second\": %.2f,\n", (double)r->answers / o->seconds);
    printf("  \"ok_per_second\": %.2f,\n", (double)ok / o->seconds);
    print_latency("latency_ms", &r->ok);
    print_latency("latency_not_ok_ms", &r->other);
    printf("  \"realtime\": %s,\n", r->realtime ? "true" : "false");
    print_count("unsent", r->unsent);
    print_count("unanswered", r->unanswered);
    print_count("reconnects", r->reconnects);
    print_count("connect_errors", r->connect_errors);
    print_count("bad_answers", r->bad_answers);
    print_count("chains_lost", r->chains_lost);
    printf("  \"generator_cpu_seconds\": %.3f\n}\n", cpu_seconds());
}

int main(int argc, char **argv)
{
    struct options o = read_options(argc, argv);
    struct load_plan *plan = allocate(1, sizeof(*plan));
    make_plan(plan, &o);
    struct thread *threads = allocate(plan->threads, sizeof(*threads));
    for (unsigned i = 0; i < plan->threads; i++) {
        threads[i].plan = plan;
        threads[i].index = i;
        if (i > 0 && pthread_create(&threads[i].id, NULL, thread_main, &threads[i]) != 0)
            fail("cannot start thread %u", i);
    }
    thread_main(&threads[0]);
    struct load_result *sum = allocate(1, sizeof(*sum));
    int rc = threads[0].rc;
    for (unsigned i = 0; i < plan->threads; i++) {
        if (i > 0)
            pthread_join(threads[i].id, NULL);
        add_result(sum, &threads[i].result);
    }
    if (rc == 0) {
        report(&o, sum);
        if (o.tokens_out != NULL && plan->tokens != NULL)
            write_tokens(plan, o.tokens_out);
    }
    pthread_barrier_destroy(&plan->start);
    free(plan->tokens);
    free(plan->requests);
    free(plan);
    free(threads);
    free(sum);
    return rc == 0 ? 0 : 1;
}
