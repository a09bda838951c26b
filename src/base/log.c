#include "base/log.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/json.h"

static enum log_level lowest_level = LOG_INFO;
static atomic_uint_fast64_t dropped;
static pthread_mutex_t write_lock = PTHREAD_MUTEX_INITIALIZER;

void log_set_level(enum log_level lowest)
{
    lowest_level = lowest;
}

bool log_wants(enum log_level level)
{
    return level >= lowest_level;
}

void log_begin(struct log_line *line, enum log_level level, const char *event, const char *message)
{
    static const char *const names[] = {"debug", "info", "warn", "error"};
    char now[CLOCK_RFC3339_LEN + 1];
    clock_format_rfc3339(clock_unix_ms(), now);
    /* Room for the closing brace and the newline is kept back. */
    line->text = text_on(line->buf, sizeof line->buf - 2);
    json_open(&line->text);
    json_str(&line->text, "ts", now);
    json_str(&line->text, "level", names[level]);
    json_str(&line->text, "event", event);
    json_str(&line->text, "message", message);
}

/* A member that does not fit is dropped whole; those after it may still fit. */
static void keep_whole(struct log_line *line, const struct text *before)
{
    if (!text_ok(&line->text))
        line->text = *before;
}

void log_str(struct log_line *line, const char *key, const char *value)
{
    if (value == NULL || value[0] == '\0')
        return;
    struct text before = line->text;
    size_t len = strlen(value);
    if (len > LOG_VALUE_MAX) {
        char cut[LOG_VALUE_MAX + 1];
        text_copy_utf8(cut, sizeof cut, value, len);
        json_str(&line->text, key, cut);
    } else {
        json_str_n(&line->text, key, value, len);
    }
    keep_whole(line, &before);
}

void log_i64(struct log_line *line, const char *key, int64_t value)
{
    struct text before = line->text;
    json_i64(&line->text, key, value);
    keep_whole(line, &before);
}

void log_ms(struct log_line *line, const char *key, uint64_t ns)
{
    struct text before = line->text;
    unsigned micros = (unsigned)(ns / 1000 % 1000);
    char frac[4] = {'.', (char)('0' + micros / 100), (char)('0' + micros / 10 % 10),
                    (char)('0' + micros % 10)};
    json_key(&line->text, key);
    text_put_u64(&line->text, ns / NS_PER_MS);
    text_put_n(&line->text, frac, sizeof frac);
    keep_whole(line, &before);
}

/* A pipe that polls writable takes PIPE_BUF bytes without blocking; the lock keeps that true until
 * our write. A file on a full disk may take a part: the next line then begins on a new one. */
static bool write_line(const char *p, size_t len)
{
    static bool torn;
    struct pollfd fd = {.fd = STDERR_FILENO, .events = POLLOUT};
    pthread_mutex_lock(&write_lock);
    bool ok = poll(&fd, 1, 0) == 1 && (fd.revents & POLLOUT) != 0;
    if (ok && torn)
        ok = write(STDERR_FILENO, "\n", 1) == 1;
    if (ok) {
        ssize_t n = write(STDERR_FILENO, p, len);
        ok = n == (ssize_t)len;
        torn = n > 0 && !ok;
    }
    pthread_mutex_unlock(&write_lock);
    return ok;
}

void log_end(struct log_line *line)
{
    size_t len = line->text.len;
    line->buf[len++] = '}';
    line->buf[len++] = '\n';
    if (!write_line(line->buf, len))
        atomic_fetch_add_explicit(&dropped, 1, memory_order_relaxed);
}

void log_note(enum log_level level, const char *event, const char *message, const char *detail)
{
    if (!log_wants(level))
        return;
    struct log_line line;
    log_begin(&line, level, event, message);
    log_str(&line, "detail", detail);
    log_end(&line);
}

uint64_t log_dropped(void)
{
    return atomic_load_explicit(&dropped, memory_order_relaxed);
}
