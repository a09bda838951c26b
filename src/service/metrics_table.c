/* metrics_table.c: every family of metrics, with its labels and their values: closed sets, all. */
#include <math.h>

#include "base/clock.h"
#include "service/metrics.h"

/* ---- results of the use cases ---- */

const struct use_case USE_CASES[USE_CASE_COUNT] = {
    {login_start,
     M_LOGIN,
     1,
     {OUTCOME_OK, OUTCOME_MALFORMED, OUTCOME_INVALID_EMAIL, OUTCOME_RATE_LIMITED, OUTCOME_NOT_FOUND,
      OUTCOME_INVALID_PASSWORD, OUTCOME_INACTIVE, OUTCOME_LOCKED, OUTCOME_HASH_BUSY,
      OUTCOME_CLIENT_GONE, OUTCOME_DB_UNAVAILABLE, OUTCOME_INTERNAL}},
    {register_start,
     M_REGISTER,
     1,
     {OUTCOME_OK, OUTCOME_MALFORMED, OUTCOME_INVALID, OUTCOME_INVALID_EMAIL, OUTCOME_WEAK_PASSWORD,
      OUTCOME_RATE_LIMITED, OUTCOME_EXISTS, OUTCOME_HASH_BUSY, OUTCOME_CLIENT_GONE,
      OUTCOME_DB_UNAVAILABLE, OUTCOME_INTERNAL}},
    {refresh_start,
     M_REFRESH,
     2,
     {OUTCOME_OK, OUTCOME_RETRIED, OUTCOME_MALFORMED, OUTCOME_RATE_LIMITED, OUTCOME_INVALID,
      OUTCOME_EXPIRED, OUTCOME_REVOKED, OUTCOME_REPLAYED, OUTCOME_CLIENT_GONE,
      OUTCOME_DB_UNAVAILABLE, OUTCOME_INTERNAL}},
    /* Ending what has ended, or never was, is a success. */
    {logout_start,
     M_LOGOUT,
     2,
     {OUTCOME_OK, OUTCOME_NOT_FOUND, OUTCOME_MALFORMED, OUTCOME_RATE_LIMITED, OUTCOME_INVALID,
      OUTCOME_CLIENT_GONE, OUTCOME_DB_UNAVAILABLE, OUTCOME_INTERNAL}},
};

static const char *use_case_label(unsigned use_case, unsigned series, unsigned label)
{
    const struct use_case *use = &USE_CASES[use_case];
    if (label == 0)
        return series < use->good ? "success" : "failure";
    return outcome_name(use->outcomes[series]);
}

#define USE_CASE_LABEL(fn, n)                                                                      \
    static const char *fn(const void *arg, unsigned series, unsigned label)                        \
    {                                                                                              \
        (void)arg;                                                                                 \
        return use_case_label(n, series, label);                                                   \
    }
USE_CASE_LABEL(login_label, 0)
USE_CASE_LABEL(register_label, 1)
USE_CASE_LABEL(refresh_label, 2)
USE_CASE_LABEL(logout_label, 3)

/* ---- other labels ---- */

static const char *const SCOPE_NAMES[] = {"ip", "email", "refresh", "register"};
static const char *const DISTANCES[] = {"1", "2_5", "more"};
static const char *const DEPENDENCIES[] = {"db", "nats", "ready"};
static const char *const KEY_STATE_NAMES[] = {
    [KEY_NEXT] = "next", [KEY_ACTIVE] = "active", [KEY_RETIRING] = "retiring"};
static const char *const KEY_CHANGE_NAMES[KEY_CHANGES] = {
    [KEY_CHANGE_ROTATED] = "rotated", [KEY_CHANGE_REVOKED] = "revoked"};
static const char *const STANDINGS[PASSWORD_STANDINGS] = {[PASSWORD_CURRENT] = "current",
                                                          [PASSWORD_PARAMETERS] = "parameters",
                                                          [PASSWORD_PEPPER] = "pepper",
                                                          [PASSWORD_UNKNOWN_PEPPER] =
                                                              "unknown_pepper",
                                                          [PASSWORD_UNUSABLE] = "unusable"};
static const char *const VERIFY_NAMES[] = {"ok", "fail", "error"};
static const char *const LANE_NAMES[LANES] = {
    [LANE_DB] = "db", [LANE_HASH] = "hash", [LANE_SIGN] = "sign"};
static const char *const DROP_NAMES[LANE_DROPS] = {
    [LANE_DROP_FULL] = "full", [LANE_DROP_DEADLINE] = "deadline", [LANE_DROP_GONE] = "gone"};
static const char *const SWEPT_NAMES[SWEPT_KINDS] = {[SWEPT_SESSIONS] = "sessions",
                                                     [SWEPT_THROTTLES] = "failed_logins",
                                                     [SWEPT_KEYS] = "idempotency_keys",
                                                     [SWEPT_CLIENT_DATA] = "client_data"};
static const char *const METHOD_NAMES[HTTP_METHODS] = {"GET", "HEAD", "POST", "OPTIONS", "other"};

#define PLAIN_LABEL(fn, table)                                                                     \
    static const char *fn(const void *arg, unsigned series, unsigned label)                        \
    {                                                                                              \
        (void)arg;                                                                                 \
        (void)label;                                                                               \
        return (table)[series];                                                                    \
    }
PLAIN_LABEL(scope_label, SCOPE_NAMES)
PLAIN_LABEL(distance_label, DISTANCES)
PLAIN_LABEL(dependency_label, DEPENDENCIES)
PLAIN_LABEL(standing_label, STANDINGS)
PLAIN_LABEL(key_change_label, KEY_CHANGE_NAMES)
PLAIN_LABEL(key_state_label, KEY_STATE_NAMES)
PLAIN_LABEL(verify_label, VERIFY_NAMES)
PLAIN_LABEL(lane_label, LANE_NAMES)
PLAIN_LABEL(swept_label, SWEPT_NAMES)

static const char *shed_label(const void *arg, unsigned series, unsigned label)
{
    (void)arg;
    return label == 0 ? LANE_NAMES[series / LANE_DROPS] : DROP_NAMES[series % LANE_DROPS];
}

static const char *event_label(const void *arg, unsigned series, unsigned label)
{
    (void)arg;
    (void)label;
    return store_event_subject((enum event_kind)series);
}

static const char *build_label(const void *arg, unsigned series, unsigned label)
{
    (void)arg;
    (void)series;
    (void)label;
    return WATCHWORD_VERSION;
}

static const char *http_label(const void *arg, unsigned series, unsigned label)
{
    const struct http_series *s = &((const struct service_metrics *)arg)->http[series];
    switch (label) {
    case 0:
        return s->path < ROUTE_COUNT ? ROUTES[s->path].path : "other";
    case 1:
        return METHOD_NAMES[s->method];
    default:
        return s->status_text;
    }
}

/* ---- what is asked at the scrape ---- */

static double read_up(void *arg, unsigned series)
{
    const struct service_metrics *m = arg;
    const struct service *service = m->service;
    if (series == 0)
        return store_is_up(service->config.store);
    if (series == 1)
        return relay_is_connected(service->relay);
    return probe_ready(service->probe) && service_can_sign(m->service) &&
           !atomic_load(&service->draining);
}

#define READ_RELAY(fn, expr)                                                                       \
    static double fn(void *arg, unsigned series)                                                   \
    {                                                                                              \
        const struct relay *relay = ((struct service_metrics *)arg)->service->relay;               \
        (void)series;                                                                              \
        return (double)(expr);                                                                     \
    }
READ_RELAY(read_published, relay_published(relay, (enum event_kind)series))
READ_RELAY(read_publish_failed, relay_failed(relay, (enum event_kind)series))
READ_RELAY(read_backlog, relay_backlog(relay))
READ_RELAY(read_oldest, relay_oldest_seconds(relay))
READ_RELAY(read_dropped, relay_dropped(relay))

static double read_credentials(void *arg, unsigned series)
{
    const struct service_metrics *m = arg;
    return m->census_known ? (double)m->census.count[series] : (double)NAN;
}

/* Since when the ring's key of that state has it: the longest, if there are several. NaN if there
 * is none, or nobody knows. */
static double read_key_age(void *arg, unsigned series)
{
    const struct keyring *ring = signing_ring(((struct service_metrics *)arg)->signing);
    int64_t since = 0, now = clock_unix_ms() / MS_PER_SECOND;
    for (unsigned i = 0; i < keyring_count(ring); i++) {
        const struct keyring_key key = keyring_key_at(ring, i);
        int64_t at = key.state == KEY_NEXT     ? key.published_at
                     : key.state == KEY_ACTIVE ? key.activated_at
                                               : key.retired_at;
        if (key.state == (enum key_state)series && at > 0 && (since == 0 || at < since))
            since = at;
    }
    if (since == 0)
        return (double)NAN;
    return now > since ? (double)(now - since) : 0;
}

static struct lane_stats lane_of(void *arg, unsigned lane)
{
    struct lane_stats stats;
    lane_read_stats(((struct service_metrics *)arg)->service->lanes[lane], &stats);
    return stats;
}

static double read_depth(void *arg, unsigned series)
{
    return lane_of(arg, series).depth;
}

static double read_busy(void *arg, unsigned series)
{
    return lane_of(arg, series).busy;
}

static double read_shed(void *arg, unsigned series)
{
    unsigned lane = series / LANE_DROPS;
    return (double)lane_of(arg, lane).shed[series % LANE_DROPS];
}

static void read_wait(void *arg, unsigned series, struct histogram *out)
{
    *out = lane_of(arg, series).wait;
}

#define READ_USAGE(fn, expr)                                                                       \
    static double fn(void *arg, unsigned series)                                                   \
    {                                                                                              \
        const struct process_usage *usage = &((struct service_metrics *)arg)->usage;               \
        (void)series;                                                                              \
        return usage->started_unix_ms != 0 ? (double)(expr) : (double)NAN;                         \
    }
READ_USAGE(read_cpu, (double)usage->cpu_ns / (double)NS_PER_SECOND)
READ_USAGE(read_resident, usage->resident_bytes)
READ_USAGE(read_threads, usage->threads)
READ_USAGE(read_open_fds, usage->open_fds)
READ_USAGE(read_max_fds, usage->max_fds)

static double read_started(void *arg, unsigned series)
{
    (void)series;
    return ((struct service_metrics *)arg)->started_s;
}

static double read_restarts(void *arg, unsigned series)
{
    (void)series;
    return (double)atomic_load(&((struct service_metrics *)arg)->service->signer_restarts);
}

static double read_faulty(void *arg, unsigned series)
{
    (void)series;
    return (double)atomic_load(&((struct service_metrics *)arg)->service->faulty_signatures);
}

static double read_one(void *arg, unsigned series)
{
    (void)arg;
    (void)series;
    return 1;
}

static double read_swept(void *arg, unsigned series)
{
    return (double)sweep_total(((struct service_metrics *)arg)->service->sweep,
                               (enum swept_kind)series);
}

static double read_live_sessions(void *arg, unsigned series)
{
    (void)series;
    return (double)sweep_live_sessions(((struct service_metrics *)arg)->service->sweep);
}

static double read_log_dropped(void *arg, unsigned series)
{
    (void)arg;
    (void)series;
    return (double)log_dropped();
}

/* Every request has had its duration taken. */
static double read_http_requests(void *arg, unsigned series)
{
    const struct service_metrics *m = arg;
    return (double)metrics_total(m->counted, M_HTTP_DURATION, series);
}

/* ---- the table ---- */

const struct metric METRIC_TABLE[METRICS] = {
    [M_LOGIN] = {.name = "auth_login_total",
                 .help = "Logins that have been answered.",
                 .kind = METRIC_COUNTER,
                 .labels = {"result", "reason"},
                 .value_of = login_label},
    [M_REGISTER] = {.name = "auth_register_total",
                    .help = "Registrations that have been answered.",
                    .kind = METRIC_COUNTER,
                    .labels = {"result", "reason"},
                    .value_of = register_label},
    [M_REFRESH] = {.name = "auth_refresh_total",
                   .help = "Refreshes that have been answered.",
                   .kind = METRIC_COUNTER,
                   .labels = {"result", "reason"},
                   .value_of = refresh_label},
    [M_LOGOUT] = {.name = "auth_logout_total",
                  .help = "Logouts that have been answered.",
                  .kind = METRIC_COUNTER,
                  .labels = {"result", "reason"},
                  .value_of = logout_label},
    [M_LOCKOUTS] = {.name = "auth_lockouts_total",
                    .help = "Accounts that became locked, existing or not.",
                    .kind = METRIC_COUNTER,
                    .series = 1},
    [M_LIMITED] = {.name = "auth_rate_limited_total",
                   .help = "Requests refused by a rate limit.",
                   .kind = METRIC_COUNTER,
                   .series = ARRAY_LEN(SCOPE_NAMES),
                   .labels = {"scope"},
                   .value_of = scope_label},
    [M_REFUSED] = {.name = "auth_connections_refused_total",
                   .help = "Connections refused: their address had its share already.",
                   .kind = METRIC_COUNTER,
                   .series = 1},
    [M_REPLAY] = {.name = "auth_refresh_replay_total",
                  .help =
                      "Spent refresh tokens presented, by how many generations they were behind.",
                  .kind = METRIC_COUNTER,
                  .series = ARRAY_LEN(DISTANCES),
                  .labels = {"distance"},
                  .value_of = distance_label},
    [M_PUBLISHED] = {.name = "auth_nats_publish_total",
                     .help = "Events that the stream has acknowledged.",
                     .kind = METRIC_COUNTER,
                     .series = EVENT_KINDS,
                     .labels = {"event_type"},
                     .value_of = event_label,
                     .read = read_published},
    [M_PUBLISH_FAILED] = {.name = "auth_nats_publish_fail_total",
                          .help = "Attempts to publish an event that failed; it is tried again.",
                          .kind = METRIC_COUNTER,
                          .series = EVENT_KINDS,
                          .labels = {"event_type"},
                          .value_of = event_label,
                          .read = read_publish_failed},
    [M_OUTBOX_BACKLOG] = {.name = "auth_outbox_backlog",
                          .help = "Events that wait to be published, of all instances.",
                          .kind = METRIC_GAUGE,
                          .series = 1,
                          .read = read_backlog},
    [M_OUTBOX_OLDEST] = {.name = "auth_outbox_oldest_seconds",
                         .help = "Age of the oldest event that waits; 0 if there is none.",
                         .kind = METRIC_GAUGE,
                         .series = 1,
                         .read = read_oldest},
    [M_OUTBOX_DROPPED] = {.name = "auth_outbox_dropped_total",
                          .help = "Events dropped unsent because too many were waiting.",
                          .kind = METRIC_COUNTER,
                          .series = 1,
                          .read = read_dropped},
    [M_UP] = {.name = "auth_dependency_up",
              .help =
                  "1 if the database answers; if NATS is connected (0 also without NATS_URL); if "
                  "the service is ready.",
              .kind = METRIC_GAUGE,
              .series = ARRAY_LEN(DEPENDENCIES),
              .labels = {"dep"},
              .value_of = dependency_label,
              .read = read_up},
    [M_CREDENTIALS] = {.name = "auth_credentials",
                       .help = "Accounts, by what their password hash is made of; counted once an "
                               "hour, NaN before.",
                       .kind = METRIC_GAUGE,
                       .series = PASSWORD_STANDINGS,
                       .labels = {"hash"},
                       .value_of = standing_label,
                       .read = read_credentials},
    [M_KEY_AGE] = {.name = "auth_signing_key_age_seconds",
                   .help =
                       "How long the key of that state has been in it; NaN if there is none, or "
                       "it came from the environment.",
                   .kind = METRIC_GAUGE,
                   .series = ARRAY_LEN(KEY_STATE_NAMES),
                   .labels = {"state"},
                   .value_of = key_state_label,
                   .read = read_key_age},
    [M_KEY_CHANGES] = {.name = "auth_signing_key_changes_total",
                       .help = "Changes of the signing key that this instance has seen: another "
                               "signs; the one that signed was revoked.",
                       .kind = METRIC_COUNTER,
                       .series = KEY_CHANGES,
                       .labels = {"what"},
                       .value_of = key_change_label},
    [M_VERIFY] = {.name = "auth_password_verify_duration_seconds",
                  .help = "Time to hash a presented password, without waiting.",
                  .kind = METRIC_HISTOGRAM,
                  .series = ARRAY_LEN(VERIFY_NAMES),
                  .labels = {"result"},
                  .value_of = verify_label},
    [M_LANE_DEPTH] = {.name = "auth_lane_depth",
                      .help = "Jobs that wait in a lane or have a place in it.",
                      .kind = METRIC_GAUGE,
                      .series = LANES,
                      .labels = {"lane"},
                      .value_of = lane_label,
                      .read = read_depth},
    [M_LANE_BUSY] = {.name = "auth_lane_busy",
                     .help = "Threads of a lane that are at work.",
                     .kind = METRIC_GAUGE,
                     .series = LANES,
                     .labels = {"lane"},
                     .value_of = lane_label,
                     .read = read_busy},
    [M_LANE_WAIT] = {.name = "auth_lane_wait_seconds",
                     .help = "Time jobs waited in a lane for their turn.",
                     .kind = METRIC_HISTOGRAM,
                     .series = LANES,
                     .labels = {"lane"},
                     .value_of = lane_label,
                     .read_histogram = read_wait},
    [M_LANE_SHED] = {.name = "auth_lane_shed_total",
                     .help = "Jobs a lane refused or dropped.",
                     .kind = METRIC_COUNTER,
                     .series = LANES * LANE_DROPS,
                     .labels = {"lane", "why"},
                     .value_of = shed_label,
                     .read = read_shed},
    [M_SIGNER_RESTARTS] = {.name = "auth_signer_restarts_total",
                           .help = "Signer processes that took the place of one that had died.",
                           .kind = METRIC_COUNTER,
                           .series = 1,
                           .read = read_restarts},
    [M_FAULTY_SIGNATURES] = {.name = "auth_signature_faults_total",
                             .help = "Signatures that could not be made, or did not verify and were"
                                     " thrown away.",
                             .kind = METRIC_COUNTER,
                             .series = 1,
                             .read = read_faulty},
    [M_CPU] = {.name = "process_cpu_seconds_total",
               .help = "Processor time used.",
               .kind = METRIC_COUNTER,
               .series = 1,
               .read = read_cpu},
    [M_RESIDENT] = {.name = "process_resident_memory_bytes",
                    .help = "Memory in use.",
                    .kind = METRIC_GAUGE,
                    .series = 1,
                    .read = read_resident},
    [M_THREADS] = {.name = "process_threads",
                   .help = "Threads.",
                   .kind = METRIC_GAUGE,
                   .series = 1,
                   .read = read_threads},
    [M_OPEN_FDS] = {.name = "process_open_fds",
                    .help = "Open file descriptors.",
                    .kind = METRIC_GAUGE,
                    .series = 1,
                    .read = read_open_fds},
    [M_MAX_FDS] = {.name = "process_max_fds",
                   .help = "File descriptors the process may have open.",
                   .kind = METRIC_GAUGE,
                   .series = 1,
                   .read = read_max_fds},
    [M_STARTED] = {.name = "process_start_time_seconds",
                   .help = "Start of the process, in Unix time.",
                   .kind = METRIC_GAUGE,
                   .series = 1,
                   .read = read_started},
    [M_BUILD] = {.name = "watchword_build_info",
                 .help = "1; the version is the label.",
                 .kind = METRIC_GAUGE,
                 .series = 1,
                 .labels = {"version"},
                 .value_of = build_label,
                 .read = read_one},
    [M_LOG_DROPPED] = {.name = "watchword_log_lines_dropped_total",
                       .help = "Log lines that stderr did not take in time.",
                       .kind = METRIC_COUNTER,
                       .series = 1,
                       .read = read_log_dropped},
    [M_SWEPT] = {.name = "auth_sweep_deleted_total",
                 .help = "Expired rows deleted; client_data: sessions whose address was erased.",
                 .kind = METRIC_COUNTER,
                 .series = SWEPT_KINDS,
                 .labels = {"what"},
                 .value_of = swept_label,
                 .read = read_swept},
    [M_LIVE_SESSIONS] = {.name = "auth_sessions_live",
                         .help = "Live sessions of all instances, counted about once an hour.",
                         .kind = METRIC_GAUGE,
                         .series = 1,
                         .read = read_live_sessions},
    [M_HTTP_REQUESTS] = {.name = "http_requests_total",
                         .help = "Requests that have been answered.",
                         .kind = METRIC_COUNTER,
                         .labels = {"path", "method", "status"},
                         .value_of = http_label,
                         .read = read_http_requests},
    [M_HTTP_DURATION] = {.name = "http_request_duration_seconds",
                         .help = "Time from the header section to the answer.",
                         .kind = METRIC_HISTOGRAM,
                         .labels = {"path", "method", "status"},
                         .value_of = http_label},
};
