/* load_worker.c: see load_worker.h. */
#include "load_worker.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

enum {
    READ_MAX = 16384, /* a header section must fit; a body need not unless it holds a token */
    EVENTS_MAX = 256,
    BOOT_LOGINS = 4, /* at once in each thread, so that starting does not look like a flood */
};

static const int64_t SECOND_NS = 1000000000;
static const int64_t DRAIN_NS = 10 * SECOND_NS;
static const int64_t RETRY_NS = 10000000; /* pause after a refused connection */

enum conn_state {
    CONN_CLOSED,     /* to be opened at retry_at */
    CONN_CONNECTING, /* waiting until it is writable */
    CONN_IDLE,       /* open, nothing in flight */
    CONN_WAITING,    /* request sent, answer not complete */
    CONN_RETIRED,    /* its chain is lost and nothing can start another */
};

struct conn {
    int fd;
    enum conn_state state;
    bool outstanding; /* a request was begun and its answer is not complete */
    bool logging_in;  /* that request is the login which starts a refresh chain: not measured */
    bool close_after; /* this answer says Connection: close */
    unsigned slot;    /* number over all threads */
    unsigned status;
    size_t next; /* request to send (LOAD_LOGIN) or login to start a chain with */
    int64_t begun, retry_at;
    size_t fill, total, head, need; /* bytes in the buffer, received, of the header, of all */
    size_t token_length;            /* 0: no chain */
    struct load_request refresh;
    char in[READ_MAX];
};

enum phase { PHASE_BOOT, PHASE_RUN, PHASE_DRAIN };

struct worker {
    struct load_plan *plan;
    struct load_result *result;
    struct conn *conns;
    struct conn **idle; /* ring of idle connections, oldest first; used in boot and open loop */
    unsigned n, idle_first, idle_count;
    unsigned n_closed, n_retired, n_logging_in;
    enum phase phase;
    int epoll;
    int64_t window_start, window_end, started;
    double due_every, due_offset; /* open loop, in ns */
    uint64_t due_count;           /* requests taken from the schedule */
};

static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * SECOND_NS + t.tv_nsec;
}

int load_build_post(const struct load_plan *plan, const char *path, const char *body,
                    struct load_request *out)
{
    int n = snprintf(out->bytes, sizeof(out->bytes),
                     "POST %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: watchword-load\r\n"
                     "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s",
                     path, plan->host, strlen(body), body);
    if (n < 0 || (size_t)n >= sizeof(out->bytes))
        return -1;
    out->length = (size_t)n;
    return 0;
}

/* ---- refresh chains ---- */

/* Makes `token` the next one to present. The request is built anew only if its length changes. */
static bool chain_set(struct worker *w, struct conn *c, const char *token, size_t length)
{
    static const char tail[] = "\"}";
    if (length == 0 || length >= LOAD_TOKEN_MAX)
        return false;
    if (length == c->token_length) {
        memcpy(c->refresh.bytes + c->refresh.length - strlen(tail) - length, token, length);
        return true;
    }
    char body[LOAD_TOKEN_MAX + 32];
    snprintf(body, sizeof(body), "{\"refresh_token\":\"%.*s%s", (int)length, token, tail);
    if (load_build_post(w->plan, "/api/auth/refresh", body, &c->refresh) != 0)
        return false;
    c->token_length = length;
    return true;
}

/* Finds the refresh token in the body of the answer in c->in. Any spacing, no escapes. */
static bool chain_from_answer(struct worker *w, struct conn *c)
{
    static const char name[] = "\"refresh_token\":";
    if (c->need > sizeof(c->in))
        return false;
    const char *end = c->in + c->need;
    const char *body = c->in + c->head;
    const char *at = memmem(body, (size_t)(end - body), name, strlen(name));
    if (at == NULL)
        return false;
    at += strlen(name);
    while (at < end && *at == ' ')
        at++;
    if (at == end || *at++ != '"')
        return false;
    const char *quote = memchr(at, '"', (size_t)(end - at));
    return quote != NULL && chain_set(w, c, at, (size_t)(quote - at));
}

static void chain_save(struct worker *w, const struct conn *c)
{
    char *slot = w->plan->tokens[c->slot];
    memcpy(slot, c->refresh.bytes + c->refresh.length - 2 - c->token_length, c->token_length);
    slot[c->token_length] = '\0';
}

/* ---- connections ---- */

static void idle_push(struct worker *w, struct conn *c)
{
    c->state = CONN_IDLE;
    w->idle[(w->idle_first + w->idle_count++) % w->n] = c;
}

/* The idle connection that has waited longest. There must be one. */
static struct conn *idle_pop(struct worker *w)
{
    struct conn *c = w->idle[w->idle_first];
    w->idle_first = (w->idle_first + 1) % w->n;
    w->idle_count--;
    return c;
}

/* Takes a connection out of the ring, so that it cannot be in it twice. Rare. */
static void idle_remove(struct worker *w, const struct conn *c)
{
    unsigned kept = 0;
    for (unsigned i = 0; i < w->idle_count; i++) {
        struct conn *other = w->idle[(w->idle_first + i) % w->n];
        if (other != c)
            w->idle[(w->idle_first + kept++) % w->n] = other;
    }
    w->idle_count = kept;
}

static void conn_close(struct worker *w, struct conn *c, int64_t retry_at)
{
    if (c->state == CONN_IDLE)
        idle_remove(w, c);
    close(c->fd);
    c->fd = -1;
    c->state = CONN_CLOSED;
    c->retry_at = retry_at;
    w->n_closed++;
}

/* Opens it again: at once, unless the peer closed it without a word. */
static void conn_lost(struct worker *w, struct conn *c)
{
    w->result->reconnects++;
    conn_close(w, c, now_ns() + (c->total > 0 ? 0 : RETRY_NS));
}

static void conn_open(struct worker *w, struct conn *c)
{
    const struct load_plan *p = w->plan;
    int one = 1;
    c->fd = socket(p->address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0) {
        w->result->connect_errors++;
        c->retry_at = now_ns() + RETRY_NS;
        return;
    }
    w->n_closed--;
    c->state = CONN_CONNECTING;
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    struct epoll_event ev = {.events = EPOLLIN | EPOLLOUT, .data.ptr = c};
    int rc = connect(c->fd, (const struct sockaddr *)&p->address, p->address_length);
    if ((rc != 0 && errno != EINPROGRESS) || epoll_ctl(w->epoll, EPOLL_CTL_ADD, c->fd, &ev) != 0) {
        w->result->connect_errors++;
        conn_close(w, c, now_ns() + RETRY_NS);
    }
}

static void conn_send(struct worker *w, struct conn *c)
{
    const struct load_request *r = &w->plan->requests[c->next];
    if (w->plan->kind == LOAD_REFRESH && !c->logging_in)
        r = &c->refresh;
    c->state = CONN_WAITING;
    c->fill = c->total = c->head = c->need = 0;
    /* A request is far smaller than a socket buffer: a short count means a broken connection. */
    ssize_t n = send(c->fd, r->bytes, r->length, MSG_NOSIGNAL);
    if (n != (ssize_t)r->length)
        conn_lost(w, c);
}

static void conn_begin(struct worker *w, struct conn *c, int64_t begun)
{
    c->outstanding = true;
    c->begun = begun;
    conn_send(w, c);
}

/* Decides what an open connection with nothing in flight does next. */
static void conn_next(struct worker *w, struct conn *c, int64_t now)
{
    bool needs_login = w->plan->kind == LOAD_REFRESH && c->token_length == 0;
    if (needs_login && w->plan->n_requests == 0) {
        close(c->fd);
        c->fd = -1;
        c->state = CONN_RETIRED;
        w->n_retired++;
    } else if (needs_login && w->phase != PHASE_DRAIN && w->n_logging_in < BOOT_LOGINS) {
        c->logging_in = true;
        w->n_logging_in++;
        conn_begin(w, c, now);
    } else if (!needs_login && w->phase == PHASE_RUN && w->plan->rate <= 0) {
        conn_begin(w, c, now);
    } else {
        idle_push(w, c);
    }
}

/* ---- answers ---- */

static void count_answer(struct worker *w, const struct conn *c, int64_t now)
{
    struct load_result *r = w->result;
    bool answered_inside = now >= w->window_start && now < w->window_end;
    bool begun_inside = c->begun >= w->window_start && c->begun < w->window_end;
    if (w->phase == PHASE_BOOT || c->logging_in)
        return;
    if (answered_inside) {
        r->answers++;
        r->bytes += c->total;
        r->status[c->status]++;
    }
    /* In the open loop the window chooses by due time: late answers are the ones that matter. */
    if (w->plan->rate > 0 ? begun_inside : answered_inside)
        histogram_add(c->status / 100 == 2 ? &r->ok : &r->other, now - c->begun);
}

static void advance_chain(struct worker *w, struct conn *c)
{
    if (c->status == 200) {
        if (!chain_from_answer(w, c)) {
            w->result->bad_answers++;
            c->token_length = 0;
        }
    } else if (c->status / 100 == 4 && c->status != 429) {
        if (c->logging_in)
            w->result->bad_answers++;
        else
            w->result->chains_lost++;
        c->token_length = 0;
    } /* otherwise the same token again: the service may be busy */
    if (c->logging_in) {
        c->logging_in = false;
        w->n_logging_in--;
    }
}

static void answer_complete(struct worker *w, struct conn *c)
{
    int64_t now = now_ns();
    c->outstanding = false;
    count_answer(w, c, now);
    if (w->plan->kind == LOAD_REFRESH)
        advance_chain(w, c);
    else if (w->plan->kind == LOAD_LOGIN)
        c->next = (c->next + w->plan->connections) % w->plan->n_requests;
    if (c->close_after)
        conn_lost(w, c);
    else
        conn_next(w, c, now);
}

static bool header_is(const char *line, const char *end, const char *name)
{
    size_t n = strlen(name);
    return (size_t)(end - line) > n && line[n] == ':' && strncasecmp(line, name, n) == 0;
}

/* Reads status line and header section, which end at c->in + c->head. False: not understood. */
static bool parse_head(struct conn *c)
{
    const char *p = c->in, *end = c->in + c->head - 2;
    if (c->head < 17 || memcmp(p, "HTTP/1.", 7) != 0)
        return false;
    c->status =
        (unsigned)(p[9] - '0') * 100 + (unsigned)(p[10] - '0') * 10 + (unsigned)(p[11] - '0');
    if (c->status < 200 || c->status >= LOAD_STATUS_MAX)
        return false;
    bool has_length = c->status == 204 || c->status == 304;
    size_t length = 0;
    c->close_after = p[7] == '0';
    while ((p = memchr(p, '\n', (size_t)(end - p))) != NULL && ++p < end) {
        if ((*p | 0x20) != 'c')
            continue;
        if (header_is(p, end, "content-length") && c->status != 304) {
            length = strtoull(p + strlen("content-length:"), NULL, 10);
            has_length = true;
        } else if (header_is(p, end, "connection")) {
            const char *value = p + strlen("connection:");
            c->close_after = strncasecmp(value + strspn(value, " "), "close", 5) == 0;
        }
    }
    c->need = c->head + length;
    return has_length;
}

static void conn_readable(struct worker *w, struct conn *c)
{
    ssize_t n = recv(c->fd, c->in + c->fill, sizeof(c->in) - c->fill, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0 || c->state != CONN_WAITING) {
        if (n > 0)
            w->result->bad_answers++;
        conn_lost(w, c);
        return;
    }
    c->fill += (size_t)n;
    c->total += (size_t)n;
    if (c->head == 0) {
        const char *end = memmem(c->in, c->fill, "\r\n\r\n", 4);
        if (end == NULL && c->fill < sizeof(c->in))
            return;
        c->head = end == NULL ? 0 : (size_t)(end - c->in) + 4;
        if (c->head == 0 || !parse_head(c) || c->total > c->need) {
            w->result->bad_answers++;
            conn_lost(w, c);
            return;
        }
    }
    if (c->total == c->need)
        answer_complete(w, c);
    else if (c->fill == sizeof(c->in))
        c->fill = c->head; /* the rest of a long body replaces its beginning */
}

static void conn_connected(struct worker *w, struct conn *c)
{
    int error = 0;
    socklen_t size = sizeof(error);
    struct epoll_event ev = {.events = EPOLLIN, .data.ptr = c};
    if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0 || error != 0 ||
        epoll_ctl(w->epoll, EPOLL_CTL_MOD, c->fd, &ev) != 0) {
        w->result->connect_errors++;
        conn_close(w, c, now_ns() + RETRY_NS);
    } else if (c->outstanding) {
        conn_send(w, c);
    } else {
        conn_next(w, c, now_ns());
    }
}

/* ---- the loop ---- */

static int64_t due_at(const struct worker *w)
{
    return w->started + (int64_t)(w->due_offset + w->due_every * (double)w->due_count);
}

/* Begins the requests that are due, as far as there are idle connections for them. */
static void begin_due(struct worker *w)
{
    while (w->idle_count > 0 && due_at(w) <= now_ns() && due_at(w) < w->window_end) {
        struct conn *c = idle_pop(w);
        if (w->plan->kind == LOAD_REFRESH && c->token_length == 0) {
            conn_next(w, c, now_ns());
            if (c->state == CONN_IDLE) /* logins are at their limit; the others come first */
                return;
            continue;
        }
        int64_t due = due_at(w);
        w->due_count++;
        conn_begin(w, c, due);
    }
}

/* Opens what is closed and due; gives the logins that had to wait their turn. */
static void tend(struct worker *w)
{
    int64_t now = now_ns();
    for (unsigned i = 0; i < w->n && w->n_closed > 0; i++) {
        struct conn *c = &w->conns[i];
        if (c->state == CONN_CLOSED && c->retry_at <= now)
            conn_open(w, c);
    }
    if (w->plan->kind != LOAD_REFRESH || (w->phase != PHASE_BOOT && w->plan->rate > 0))
        return;
    for (unsigned i = w->idle_count; i > 0 && w->n_logging_in < BOOT_LOGINS; i--)
        conn_next(w, idle_pop(w), now);
}

/* Waits for events until `until` at the latest and handles them. */
static void turn(struct worker *w, int64_t until)
{
    struct epoll_event events[EVENTS_MAX];
    int64_t now = now_ns();
    if (w->n_closed > 0 && until > now + RETRY_NS)
        until = now + RETRY_NS;
    int64_t wait = until > now ? until - now : 0;
    struct timespec t = {.tv_sec = wait / SECOND_NS, .tv_nsec = wait % SECOND_NS};
    int n = epoll_pwait2(w->epoll, events, EVENTS_MAX, &t, NULL);
    for (int i = 0; i < n; i++) {
        struct conn *c = events[i].data.ptr;
        if (c->state == CONN_CONNECTING)
            conn_connected(w, c);
        else if (c->fd >= 0)
            conn_readable(w, c);
    }
}

/* How many connections are ready to send what is to be measured. */
static unsigned count_ready(const struct worker *w)
{
    unsigned ready = 0;
    for (unsigned i = 0; i < w->n; i++) {
        const struct conn *c = &w->conns[i];
        ready += c->state == CONN_IDLE && (w->plan->kind != LOAD_REFRESH || c->token_length > 0);
    }
    return ready;
}

/* Opens all connections and starts all chains. False if that fails or takes too long. */
static bool boot(struct worker *w)
{
    const struct load_result *r = w->result;
    int64_t limit = now_ns() + (10 + 2 * (int64_t)w->n) * SECOND_NS;
    unsigned ready = 0;
    while (ready < w->n) {
        bool hopeless = w->n_closed == w->n && r->connect_errors > 100 * (uint64_t)w->n;
        if (now_ns() > limit || hopeless || r->bad_answers > 0 || w->n_retired > 0) {
            fprintf(stderr, "load: only %u of %u connections became ready\n", ready, w->n);
            return false;
        }
        tend(w);
        turn(w, now_ns() + RETRY_NS);
        ready = count_ready(w);
    }
    return true;
}

static void run(struct worker *w)
{
    w->phase = PHASE_RUN;
    w->started = now_ns();
    w->window_start = w->started + w->plan->warmup_ns;
    w->window_end = w->window_start + w->plan->window_ns;
    if (w->plan->rate <= 0)
        for (unsigned i = w->idle_count; i > 0; i--)
            conn_next(w, idle_pop(w), now_ns());
    while (now_ns() < w->window_end) {
        int64_t until = w->window_end;
        if (w->n_closed > 0 || w->idle_count > 0)
            tend(w);
        if (w->plan->rate > 0) {
            begin_due(w);
            if (w->idle_count > 0 && due_at(w) < until)
                until = due_at(w);
        }
        turn(w, until);
    }
}

/* Waits for the answers still under way, then settles what never got one. */
static void drain(struct worker *w)
{
    w->phase = PHASE_DRAIN;
    int64_t limit = now_ns() + DRAIN_NS;
    unsigned waiting = 1;
    while (waiting > 0 && now_ns() < limit) {
        waiting = 0;
        for (unsigned i = 0; i < w->n; i++)
            waiting += w->conns[i].outstanding;
        if (waiting > 0) {
            tend(w);
            turn(w, limit);
        }
    }
    struct load_result *r = w->result;
    for (unsigned i = 0; i < w->n; i++) {
        const struct conn *c = &w->conns[i];
        if (!c->outstanding || c->logging_in)
            continue;
        r->unanswered++;
        if (w->plan->rate > 0 && c->begun >= w->window_start && c->begun < w->window_end)
            histogram_add(&r->ok, now_ns() - c->begun);
    }
    /* What could not even be sent has waited at least until the end of the window. */
    for (; w->plan->rate > 0 && due_at(w) < w->window_end; w->due_count++) {
        if (due_at(w) < w->window_start)
            continue;
        r->unsent++;
        histogram_add(&r->ok, w->window_end - due_at(w));
    }
}

static void worker_close(struct worker *w)
{
    for (unsigned i = 0; w->conns != NULL && i < w->n; i++) {
        if (w->conns[i].fd >= 0)
            close(w->conns[i].fd);
        if (w->conns[i].token_length > 0)
            chain_save(w, &w->conns[i]);
        else if (w->plan->tokens != NULL)
            w->plan->tokens[w->conns[i].slot][0] = '\0';
    }
    if (w->epoll >= 0)
        close(w->epoll);
    free(w->conns);
    free(w->idle);
}

static bool worker_open(struct worker *w, unsigned index)
{
    const struct load_plan *p = w->plan;
    w->n = p->connections / p->threads + (index < p->connections % p->threads);
    w->epoll = epoll_create1(EPOLL_CLOEXEC);
    w->conns = calloc(w->n, sizeof(*w->conns));
    w->idle = calloc(w->n, sizeof(struct conn *));
    if (w->epoll < 0 || w->conns == NULL || w->idle == NULL)
        return false;
    if (p->rate > 0) {
        w->due_every = (double)SECOND_NS * p->threads / p->rate;
        w->due_offset = w->due_every * index / p->threads;
    }
    for (unsigned i = 0; i < w->n; i++) {
        struct conn *c = &w->conns[i];
        c->fd = -1;
        c->slot = i * p->threads + index;
        c->next = p->kind == LOAD_GET || p->n_requests == 0 ? 0 : c->slot % p->n_requests;
        if (p->kind == LOAD_REFRESH && p->tokens[c->slot][0] != '\0')
            chain_set(w, c, p->tokens[c->slot], strlen(p->tokens[c->slot]));
    }
    w->n_closed = w->n;
    return true;
}

int load_worker_run(struct load_plan *plan, unsigned index, struct load_result *result)
{
    struct worker w = {.plan = plan, .result = result, .epoll = -1};
    if (!worker_open(&w, index) || !boot(&w))
        atomic_store(&plan->failed, true);
    pthread_barrier_wait(&plan->start);
    if (atomic_load(&plan->failed)) {
        worker_close(&w);
        return -1;
    }
    run(&w);
    drain(&w);
    worker_close(&w);
    return 0;
}
