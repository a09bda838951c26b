#include "service/relay.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/random.h"
#include "base/thread.h"
#include "net/nats.h"
#include "service/event.h"

/* At once: what is read, sent and deleted together. */
#define BATCH 256
#define TEXTS_MAX ((size_t)256 * 1024)
/* The most that one transaction drops. */
#define DROP_MAX 5000

/* Events that follow each other this closely travel together. */
#define GATHER_MS 50
/* How often is looked for what others have written: other instances, or operators' commands. */
#define POLL_SHARED_MS 1000
#define POLL_SINGLE_MS 5000
#define TROUBLE_MS 1000

#define BACKOFF_FIRST_MS 250
#define BACKOFF_MAX_MS 10000

#define LAST_ROUNDS 8

#define STREAM_DAYS 14
/* Longer than an outage that falls between an event's storing and its acknowledgement. */
#define DUPLICATES_MINUTES 30

static const struct nats_stream STREAM = {.name = "AUTH_EVENTS",
                                          .subjects = "auth.>",
                                          .max_age_ms = STREAM_DAYS * MS_PER_DAY,
                                          .duplicates_ms = DUPLICATES_MINUTES * MS_PER_MINUTE};

struct relay {
    struct store *store;
    struct store_conn *conn;
    struct nats *nats;
    uint64_t backlog_max;

    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool running, closing;
    atomic_bool woken;

    /* ---- the thread's own ---- */
    unsigned failures; /* to connect or to store anything, in a row */
    bool led;          /* the backlog was ours when it was last looked at */
    uint64_t next_connect_ns;
    bool told_up, told_down;
    char told_trouble[160];
    struct store_event events[BATCH];
    struct nats_message messages[BATCH];
    char ids[BATCH][UUID_LEN + 1];
    char texts[TEXTS_MAX];

    /* ---- what it tells ---- */
    atomic_bool connected;
    atomic_uint_fast64_t published[EVENT_KINDS], failed[EVENT_KINDS], dropped;
    atomic_uint_fast64_t backlog;
    atomic_int_fast64_t oldest_age_ms; /* when it was measured */
    atomic_uint_fast64_t measured_ns;
};

/* ---- the connection to NATS ---- */

static void back_off(struct relay *relay)
{
    unsigned shift = relay->failures < 6 ? relay->failures : 6;
    uint64_t ms = (uint64_t)BACKOFF_FIRST_MS << shift;
    uint16_t r = 0;
    if (random_bytes(&r, sizeof r) != OK)
        r = UINT16_MAX;
    if (ms > BACKOFF_MAX_MS)
        ms = BACKOFF_MAX_MS;
    ms = ms / 2 + ms / 2 * r / UINT16_MAX; /* half of it random: instances do not come in step */
    relay->failures++;
    relay->next_connect_ns = clock_mono_ns() + ms * NS_PER_MS;
}

static void tell_stream(struct relay *relay)
{
    const char *trouble = nats_stream_trouble(relay->nats);
    if (trouble[0] != '\0' && strcmp(trouble, relay->told_trouble) != 0)
        log_note(LOG_WARN, "events.stream", "the stream AUTH_EVENTS could not be seen to", trouble);
    text_copy(relay->told_trouble, sizeof relay->told_trouble, trouble, strlen(trouble));
}

static void tell_connection(struct relay *relay)
{
    bool up = nats_is_connected(relay->nats);
    atomic_store(&relay->connected, up);
    if (up && relay->failures == 0 && !relay->told_up) {
        log_note(LOG_INFO, "events.connected", "events go to NATS", NULL);
        relay->told_up = true;
        relay->told_down = false;
    } else if (!up && !relay->told_down) {
        log_note(LOG_WARN, "events.disconnected", "NATS is away or takes nothing; events wait",
                 nats_last_error(relay->nats));
        relay->told_up = false;
        relay->told_down = true;
    }
}

/* Not yet when it is connected: it may answer and store nothing. */
static void went_well(struct relay *relay)
{
    relay->failures = 0;
    tell_connection(relay);
}

static bool connect_if_due(struct relay *relay)
{
    if (!nats_is_connected(relay->nats) && clock_mono_ns() >= relay->next_connect_ns) {
        if (nats_connect(relay->nats) == OK)
            tell_stream(relay);
        else
            back_off(relay);
    }
    tell_connection(relay);
    return nats_is_connected(relay->nats);
}

/* ---- the backlog ---- */

static void note_backlog(struct relay *relay, const struct store_backlog *backlog)
{
    int64_t age = backlog->oldest_at > 0 ? backlog->now - backlog->oldest_at : -1;
    atomic_store(&relay->backlog, backlog->rows);
    atomic_store(&relay->oldest_age_ms, age);
    atomic_store(&relay->measured_ns, clock_mono_ns());
}

/* The oldest go first, as in the stream itself. True if some went. */
static bool drop_excess(struct relay *relay, const struct store_backlog *backlog)
{
    uint64_t dropped = 0;
    if (!backlog->ours || backlog->rows <= relay->backlog_max)
        return false;
    uint64_t excess = backlog->rows - relay->backlog_max;
    if (store_outbox_drop(relay->conn, excess < DROP_MAX ? excess : DROP_MAX, &dropped) != OK ||
        dropped == 0)
        return false;
    uint64_t before = atomic_fetch_add(&relay->dropped, dropped);
    if (before == 0) /* once; the counter goes on telling */
        log_note(LOG_ERROR, "events.dropped",
                 "more than EVENTS_BACKLOG_MAX events wait: the oldest are dropped", NULL);
    return true;
}

/* ---- a batch ---- */

/* As many as their texts fit. */
static size_t compose(struct relay *relay, size_t count)
{
    size_t used = 0, n = 0;
    for (; n < count && TEXTS_MAX - used >= EVENT_TEXT_MAX; n++) {
        const struct store_event *event = &relay->events[n];
        struct text t = text_on(relay->texts + used, EVENT_TEXT_MAX);
        event_put(event, &t);
        uuid_format(&event->id, relay->ids[n]);
        relay->messages[n] = (struct nats_message){.subject = store_event_subject(event->kind),
                                                   .id = relay->ids[n],
                                                   .data = t.p,
                                                   .len = t.len};
        used += t.len + 1;
    }
    return n;
}

/* How many of them the stream has now. They are deleted; should that fail, they are sent again. */
static size_t publish(struct relay *relay, size_t n)
{
    int64_t seqs[BATCH];
    size_t stored = 0;
    enum err e = nats_publish(relay->nats, relay->messages, n);
    for (size_t i = 0; i < n; i++) {
        enum event_kind kind = relay->events[i].kind;
        if (relay->messages[i].stored)
            seqs[stored++] = relay->events[i].seq;
        atomic_fetch_add(relay->messages[i].stored ? &relay->published[kind] : &relay->failed[kind],
                         1);
    }
    if (stored > 0)
        relay->failures = 0;
    else if (e != OK)
        back_off(relay);
    tell_connection(relay);
    if (store_outbox_delete(relay->conn, seqs, stored) != OK) {
        nats_doubt(relay->nats);
        log_note(LOG_WARN, "events.delete", "sent events could not be deleted; they are sent again",
                 store_last_error());
    }
    return stored;
}

/* ---- the thread ---- */

struct pause {
    unsigned ms;
    bool wakeable; /* by what is committed */
};

static struct pause one_round(struct relay *relay)
{
    size_t count = 0;
    struct store_backlog backlog = {0};
    bool connected = connect_if_due(relay);
    /* Without NATS the first one is enough to tell what fails. */
    size_t wanted = connected ? BATCH : 1;
    if (store_outbox_read(relay->conn, relay->events, wanted, &count, &backlog) != OK)
        return (struct pause){TROUBLE_MS, false}; /* the probe tells of the database */
    note_backlog(relay, &backlog);
    if (backlog.ours && !relay->led)
        nats_doubt(relay->nats); /* whoever led before may have sent what it did not delete */
    relay->led = backlog.ours;
    if (drop_excess(relay, &backlog))
        return (struct pause){0, false};
    if (connected && (!backlog.ours || count == 0))
        went_well(relay);
    if (!backlog.ours)
        return (struct pause){POLL_SHARED_MS, false};
    if (count == 0)
        return (struct pause){
            store_is_single_writer(relay->store) ? POLL_SINGLE_MS : POLL_SHARED_MS, true};
    if (!connected) {
        atomic_fetch_add(&relay->failed[relay->events[0].kind], 1);
        return (struct pause){TROUBLE_MS, false};
    }
    size_t n = compose(relay, count);
    size_t stored = publish(relay, n);
    if (stored == n && (n < count || count == BATCH))
        return (struct pause){0, false};
    return (struct pause){stored > 0 ? GATHER_MS : TROUBLE_MS, false};
}

/* Under the lock. Returns when the time is over, when there is something to do, or at the end. */
static void rest(struct relay *relay, struct pause pause)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    uint64_t ns = (uint64_t)until.tv_nsec + pause.ms * NS_PER_MS;
    until.tv_sec += (time_t)(ns / NS_PER_SECOND);
    until.tv_nsec = (long)(ns % NS_PER_SECOND);
    while (!relay->closing && !(pause.wakeable && atomic_load(&relay->woken)))
        if (pthread_cond_timedwait(&relay->wake, &relay->lock, &until) != 0)
            return;
}

static void *run(void *arg)
{
    struct relay *relay = arg;
    struct pause pause = {0, false};
    pthread_setname_np(pthread_self(), "relay");
    thread_make_background(); /* and the threads of the library with it */
    pthread_mutex_lock(&relay->lock);
    while (!relay->closing) {
        rest(relay, pause);
        bool woken = pause.wakeable && atomic_exchange(&relay->woken, false);
        if (woken && !relay->closing)
            rest(relay, (struct pause){GATHER_MS, false});
        pthread_mutex_unlock(&relay->lock);
        pause = one_round(relay);
        pthread_mutex_lock(&relay->lock);
    }
    pthread_mutex_unlock(&relay->lock);
    for (unsigned i = 0; i < LAST_ROUNDS && nats_is_connected(relay->nats); i++)
        if (one_round(relay).ms > 0)
            break;
    return NULL;
}

void relay_wake(struct relay *relay)
{
    if (relay == NULL || atomic_exchange(&relay->woken, true))
        return;
    pthread_mutex_lock(&relay->lock);
    pthread_cond_signal(&relay->wake);
    pthread_mutex_unlock(&relay->lock);
}

/* ---- opening ---- */

enum err relay_open(const struct relay_config *config, struct relay **out)
{
    struct relay *relay = calloc(1, sizeof *relay);
    const char *why = NULL;
    if (relay == NULL)
        return ERR_INTERNAL;
    relay->store = config->store;
    relay->backlog_max = config->backlog_max;
    atomic_store(&relay->oldest_age_ms, -1);
    pthread_mutex_init(&relay->lock, NULL);
    clock_cond_init(&relay->wake);
    enum err e = nats_open(config->nats_url, &STREAM, &relay->nats, &why);
    if (e == OK)
        e = store_conn_open_background(relay->store, &relay->conn);
    if (e == OK) {
        relay->running = pthread_create(&relay->thread, NULL, run, relay) == 0;
        e = relay->running ? OK : ERR_INTERNAL;
    }
    if (why != NULL)
        log_note(LOG_ERROR, "events.library", "NATS_URL: the client library cannot be loaded", why);
    if (e != OK) {
        relay_close(relay);
        return e;
    }
    *out = relay;
    return OK;
}

void relay_close(struct relay *relay)
{
    if (relay == NULL)
        return;
    pthread_mutex_lock(&relay->lock);
    relay->closing = true;
    pthread_cond_signal(&relay->wake);
    pthread_mutex_unlock(&relay->lock);
    if (relay->running)
        pthread_join(relay->thread, NULL);
    nats_close(relay->nats);
    store_conn_close(relay->conn);
    pthread_cond_destroy(&relay->wake);
    pthread_mutex_destroy(&relay->lock);
    free(relay);
}

/* ---- what it tells ---- */

bool relay_is_connected(const struct relay *relay)
{
    return relay != NULL && atomic_load(&relay->connected);
}

uint64_t relay_published(const struct relay *relay, enum event_kind kind)
{
    return relay != NULL ? atomic_load(&relay->published[kind]) : 0;
}

uint64_t relay_failed(const struct relay *relay, enum event_kind kind)
{
    return relay != NULL ? atomic_load(&relay->failed[kind]) : 0;
}

uint64_t relay_dropped(const struct relay *relay)
{
    return relay != NULL ? atomic_load(&relay->dropped) : 0;
}

uint64_t relay_backlog(const struct relay *relay)
{
    return relay != NULL ? atomic_load(&relay->backlog) : 0;
}

double relay_oldest_seconds(const struct relay *relay)
{
    int64_t age = relay != NULL ? atomic_load(&relay->oldest_age_ms) : -1;
    if (age < 0)
        return 0;
    uint64_t since = clock_mono_ns() - atomic_load(&relay->measured_ns);
    return (double)age / (double)MS_PER_SECOND + (double)since / (double)NS_PER_SECOND;
}
