/*
 * log.h: one JSON object a line on stderr.
 *
 * A line is built by its caller in a struct log_line and written whole or, when stderr cannot take
 * it at once, dropped and counted: logging never holds up the service. Values are cut at 256 bytes,
 * the last three of them an ellipsis. Any thread may call; a line belongs to one thread.
 */
#ifndef WW_BASE_LOG_H
#define WW_BASE_LOG_H

#include <stdint.h>

#include "base/text.h"

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };

/* Longest line with its newline. Up to this size (PIPE_BUF) a pipe takes it in one piece. */
#define LOG_LINE_MAX 4096
#define LOG_VALUE_MAX 256

struct log_line {
    struct text text;
    char buf[LOG_LINE_MAX];
};

/* Set once at the start, before other threads run. */
void log_set_level(enum log_level lowest);
MUST_USE bool log_wants(enum log_level level);

/* Starts a line with ts, level, event and message; event is a stable name such as "auth.lockout".
 */
void log_begin(struct log_line *line, enum log_level level, const char *event, const char *message);
/* A member; NULL and "" are left out. */
void log_str(struct log_line *line, const char *key, const char *value);
void log_i64(struct log_line *line, const char *key, int64_t value);
/* Milliseconds with three decimals, from nanoseconds. */
void log_ms(struct log_line *line, const char *key, uint64_t ns);
void log_end(struct log_line *line);

/* A line with at most one further member (detail may be NULL), if the level is wanted. */
void log_note(enum log_level level, const char *event, const char *message, const char *detail);

/* Lines that could not be written since the start. */
uint64_t log_dropped(void);

#endif
