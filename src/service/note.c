/* note.c: what goes to the log. One line a request; security events have a line of their own. */
#include <pthread.h>
#include <string.h>

#include "base/clock.h"
#include "service/call.h"

/* A flood of one kind shows as this many lines a second; the next line after it says how many were
 * left out. All kinds of refused requests together have a limit of their own: whatever is sent, the
 * log grows by some 100 kB a second at most. */
#define LINES_PER_SECOND 20
#define REFUSALS_PER_SECOND 200
#define EVENTS_MAX 16
#define ROUTES_MAX 32

struct sampled {
    uint64_t second;
    unsigned lines;
    uint64_t suppressed;
};

struct sampled_event {
    const char *name;
    struct sampled sampled;
};

static pthread_mutex_t sample_lock = PTHREAD_MUTEX_INITIALIZER;
static struct sampled_event events[EVENTS_MAX];
static struct sampled refusals[ROUTES_MAX + 1][OUTCOMES]; /* the last row: no route */
static struct sampled all_refusals;

/* Under the lock. */
static bool has_room(struct sampled *s, unsigned limit)
{
    uint64_t second = clock_mono_ns() / NS_PER_SECOND;
    if (s->second != second) {
        s->second = second;
        s->lines = 0;
    }
    return s->lines < limit;
}

static bool take(struct sampled *s, bool room, uint64_t *suppressed)
{
    if (!room) {
        s->suppressed++;
        return false;
    }
    s->lines++;
    *suppressed = s->suppressed;
    s->suppressed = 0;
    return true;
}

static struct sampled *find_event(const char *name)
{
    unsigned i = 0;
    while (i < EVENTS_MAX - 1 && events[i].name != NULL && strcmp(events[i].name, name) != 0)
        i++;
    events[i].name = name; /* a literal; should there ever be more, they share the last place */
    return &events[i].sampled;
}

/* True if the line may be written; *suppressed is then how many before it were not. */
static bool sample_event(const char *name, uint64_t *suppressed)
{
    pthread_mutex_lock(&sample_lock);
    struct sampled *s = find_event(name);
    bool write = take(s, has_room(s, LINES_PER_SECOND), suppressed);
    pthread_mutex_unlock(&sample_lock);
    return write;
}

/* The same for a request's line. What went well is always written. */
static bool sample_request(const struct call *call, uint64_t *suppressed)
{
    if (call->outcome == OUTCOME_OK || call->outcome == OUTCOME_RETRIED)
        return true;
    size_t route = call->route != NULL ? (size_t)(call->route - ROUTES) : ROUTES_MAX;
    struct sampled *s = &refusals[route < ROUTES_MAX ? route : ROUTES_MAX][call->outcome];
    pthread_mutex_lock(&sample_lock);
    bool room = has_room(s, LINES_PER_SECOND) && has_room(&all_refusals, REFUSALS_PER_SECOND);
    bool write = take(s, room, suppressed);
    all_refusals.lines += write;
    pthread_mutex_unlock(&sample_lock);
    return write;
}

static void put_id(struct log_line *line, const char *key, bool has, const struct uuid *id)
{
    char s[UUID_LEN + 1];
    if (!has)
        return;
    uuid_format(id, s);
    log_str(line, key, s);
}

static void put_context(const struct call *call, struct log_line *line)
{
    log_str(line, "trace_id", call->http->trace_id);
    put_id(line, "tenant_id", call->has_tenant, &call->tenant_id);
    put_id(line, "user_id", call->has_user, &call->user_id);
    put_id(line, "session_id", call->has_session, &call->session_id);
    log_str(line, "identity", call->identity_tag);
    log_str(line, "client_ip", call->http->client_ip);
    log_str(line, "user_agent", call->http->user_agent);
    log_str(line, "route", call->route != NULL ? call->route->path : "other");
}

bool note_begin(const struct call *call, struct log_line *line, enum log_level level,
                const char *event, const char *message)
{
    uint64_t suppressed = 0;
    if (!log_wants(level) || !sample_event(event, &suppressed))
        return false;
    log_begin(line, level, event, message);
    put_context(call, line);
    if (suppressed > 0)
        log_i64(line, "suppressed", (int64_t)suppressed);
    return true;
}

void note_event(const struct call *call, enum log_level level, const char *event,
                const char *message)
{
    struct log_line line;
    if (note_begin(call, &line, level, event, message))
        log_end(&line);
}

static enum log_level level_of(const struct call *call)
{
    if (call->fault != NULL)
        return LOG_ERROR;
    return call->route != NULL && call->route->quiet ? LOG_DEBUG : LOG_INFO;
}

void note_request(const struct call *call)
{
    static const char *const methods[] = {"GET", "HEAD", "POST", "OPTIONS", "other"};
    enum log_level level = level_of(call);
    uint64_t suppressed = 0;
    if (!log_wants(level) || !sample_request(call, &suppressed))
        return;
    struct log_line line;
    log_begin(&line, level, "http.request", call->route != NULL ? call->route->name : "other");
    put_context(call, &line);
    log_str(&line, "method", methods[call->http->method]);
    log_i64(&line, "status", call->http->answer.status);
    log_str(&line, "reason", outcome_name(call->outcome));
    log_str(&line, "error", call->error);
    log_str(&line, "fault", call->fault);
    log_ms(&line, "duration_ms", clock_mono_ns() - call->http->started_ns);
    if (suppressed > 0)
        log_i64(&line, "suppressed", (int64_t)suppressed);
    log_end(&line);
}
