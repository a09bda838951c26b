/* note.c: what goes to the log. One line a request; security events have a line of their own. */
#include <pthread.h>
#include <string.h>

#include "base/clock.h"
#include "service/call.h"

/* A flood of one event shows as this many lines a second, the last with how many were left out. */
#define EVENT_LINES_PER_SECOND 20
#define EVENTS_MAX 16

struct sampled {
    const char *event; /* compared by address: literals */
    uint64_t second;
    unsigned lines;
    uint64_t suppressed;
};

static pthread_mutex_t sample_lock = PTHREAD_MUTEX_INITIALIZER;
static struct sampled samples[EVENTS_MAX];

/* True if the line may be written; *suppressed is then how many before it were not. */
static bool sample(const char *event, uint64_t *suppressed)
{
    uint64_t second = clock_mono_ns() / NS_PER_SECOND;
    bool write = true;
    *suppressed = 0;
    pthread_mutex_lock(&sample_lock);
    for (unsigned i = 0; i < EVENTS_MAX; i++) {
        struct sampled *s = &samples[i];
        if (s->event != NULL && strcmp(s->event, event) != 0)
            continue;
        s->event = event;
        if (s->second != second) {
            s->second = second;
            s->lines = 0;
        }
        write = s->lines < EVENT_LINES_PER_SECOND;
        if (write) {
            s->lines++;
            *suppressed = s->suppressed;
            s->suppressed = 0;
        } else {
            s->suppressed++;
        }
        break;
    }
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
    if (!log_wants(level) || !sample(event, &suppressed))
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
    if (!log_wants(level))
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
    log_end(&line);
}
