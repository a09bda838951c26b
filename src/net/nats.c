#include "net/nats.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/encode.h"
#include "base/json.h"
#include "base/secret.h"
#include "net/libnats.h"
#include "net/nats_url.h"

#define PING_INTERVAL_MS 20000
#define SUBJECT_MAX 256
#define REPLY_MAX 4096
#define CONFIG_MAX ((size_t)32 * 1024)

struct nats {
    struct nats_stream stream;
    struct secret urls; /* the list, its commas replaced by NUL */
    struct nats_server servers[NATS_SERVERS_MAX];
    unsigned server_count, next_server;
    natsConnection *connection; /* NULL: not connected */
    natsSubscription *answers;  /* to inbox.N for the Nth message of a batch */
    natsInbox *inbox;
    unsigned batch; /* so that late answers to an earlier batch are known as such */
    bool doubt;     /* of what comes next, the stream may have some already */
    bool replicated;
    char error[160];
    char trouble[160];
};

/* ---- the servers ---- */

static enum err read_servers(struct nats *nats, const char *urls)
{
    TRY(secret_copy(urls, strlen(urls), &nats->urls));
    char *p = (char *)nats->urls.data;
    while (nats->server_count < NATS_SERVERS_MAX) {
        struct nats_server *server = &nats->servers[nats->server_count++];
        size_t len = strcspn(p, ",");
        if (nats_server_read(p, len, server) != NULL)
            return ERR_INVALID;
        server->url = p;
        if (p[len] == '\0')
            return OK;
        p[len] = '\0';
        p += len + 1;
    }
    return ERR_INVALID;
}

/* ---- opening ---- */

enum err nats_load(const char **why)
{
    return libnats_load(why);
}

static void cleanup_nats(struct nats **nats)
{
    nats_close(*nats);
}

enum err nats_open(const char *url, const struct nats_stream *stream, struct nats **out,
                   const char **why)
{
    struct nats *nats CLEANUP(cleanup_nats) = NULL;
    const char *reason = NULL;
    *why = NULL;
    if (libnats_load(&reason) != OK) {
        *why = reason;
        return ERR_UNAVAILABLE;
    }
    if (nats_Open(-1) != NATS_OK)
        return ERR_INTERNAL;
    nats = calloc(1, sizeof *nats);
    if (nats == NULL)
        return ERR_INTERNAL;
    nats->stream = *stream;
    TRY(read_servers(nats, url));
    *out = TAKE(nats);
    return OK;
}

static void disconnect(struct nats *nats)
{
    natsSubscription_Destroy(nats->answers);
    natsInbox_Destroy(nats->inbox);
    natsConnection_Destroy(nats->connection);
    nats->answers = NULL;
    nats->inbox = NULL;
    nats->connection = NULL;
}

void nats_close(struct nats *nats)
{
    if (nats == NULL)
        return;
    disconnect(nats);
    (void)nats_CloseAndWait(NATS_TIMEOUT_MS);
    secret_close(&nats->urls);
    free(nats);
}

/* The library's texts for its status codes are fixed: nothing of the URL is in them. */
static enum err failed(struct nats *nats, const char *what, natsStatus status)
{
    struct text t = text_on(nats->error, sizeof nats->error);
    text_put_f(&t, "%s: %s", what, natsStatus_GetText(status));
    disconnect(nats);
    return ERR_UNAVAILABLE;
}

/* ---- connecting ---- */

static void cleanup_options(natsOptions **options)
{
    natsOptions_Destroy(*options);
}

static void cleanup_message(natsMsg **message)
{
    natsMsg_Destroy(*message);
}

static natsStatus set_options(natsOptions *o, const struct nats_server *server)
{
    natsStatus s = natsOptions_SetURL(o, server->url);
    if (s == NATS_OK)
        s = natsOptions_SetName(o, "watchword");
    if (s == NATS_OK)
        s = natsOptions_SetTimeout(o, NATS_TIMEOUT_MS);
    if (s == NATS_OK)
        s = natsOptions_SetWriteDeadline(o, NATS_TIMEOUT_MS);
    if (s == NATS_OK)
        s = natsOptions_SetAllowReconnect(o, false);
    if (s == NATS_OK)
        s = natsOptions_SetIgnoreDiscoveredServers(o, true);
    if (s == NATS_OK)
        s = natsOptions_SetNoEcho(o, true);
    if (s == NATS_OK)
        s = natsOptions_SetPingInterval(o, PING_INTERVAL_MS);
    if (s == NATS_OK)
        s = natsOptions_SetMaxPingsOut(o, 2);
    if (s == NATS_OK && server->secure)
        s = natsOptions_SetSecure(o, true);
    if (s == NATS_OK && server->secure)
        s = natsOptions_SetExpectedHostname(o, server->host);
    return s;
}

static natsStatus connect_to(struct nats *nats, const struct nats_server *server)
{
    natsOptions *options CLEANUP(cleanup_options) = NULL;
    char pattern[SUBJECT_MAX];
    natsStatus s = natsOptions_Create(&options);
    if (s == NATS_OK)
        s = set_options(options, server);
    if (s == NATS_OK)
        s = natsConnection_Connect(&nats->connection, options);
    if (s == NATS_OK)
        s = natsInbox_Create(&nats->inbox);
    if (s != NATS_OK)
        return s;
    struct text t = text_on(pattern, sizeof pattern);
    text_put_f(&t, "%s.*", nats->inbox);
    return natsConnection_SubscribeSync(&nats->answers, nats->connection, pattern);
}

bool nats_is_connected(const struct nats *nats)
{
    return nats->connection != NULL &&
           natsConnection_Status(nats->connection) == NATS_CONN_STATUS_CONNECTED;
}

/* ---- the stream ---- */

/* Asks the JetStream API; *out is its answer, which the caller releases. */
static enum err ask(struct nats *nats, const char *verb, const char *body, size_t len, json_t **out)
{
    char subject[SUBJECT_MAX];
    const char *why = NULL;
    natsMsg *answer CLEANUP(cleanup_message) = NULL;
    struct text t = text_on(subject, sizeof subject);
    text_put_f(&t, "$JS.API.STREAM.%s.%s", verb, nats->stream.name);
    natsStatus s =
        natsConnection_Request(&answer, nats->connection, subject, body, (int)len, NATS_TIMEOUT_MS);
    t = text_on(nats->trouble, sizeof nats->trouble);
    if (s != NATS_OK) {
        text_put_f(&t, "JetStream did not answer: %s", natsStatus_GetText(s));
        return ERR_UNAVAILABLE;
    }
    int answer_len = natsMsg_GetDataLength(answer);
    if (json_read(natsMsg_GetData(answer), (size_t)answer_len, out, &why) != OK) {
        text_put(&t, "JetStream gave an answer that is not understood");
        return ERR_UNAVAILABLE;
    }
    return OK;
}

/* OK, ERR_NOT_FOUND, or ERR_UNAVAILABLE for any other error in the answer. */
static enum err judge(struct nats *nats, const json_t *answer)
{
    const json_t *error = json_object_get(answer, "error");
    if (error == NULL)
        return OK;
    if (json_integer_value(json_object_get(error, "code")) == 404)
        return ERR_NOT_FOUND;
    const char *text = json_string_value(json_object_get(error, "description"));
    text_copy(nats->trouble, sizeof nats->trouble, text != NULL ? text : "?",
              text != NULL ? strlen(text) : 1);
    return ERR_UNAVAILABLE;
}

static bool has_subject(const json_t *config, const char *subject)
{
    const json_t *subjects = json_object_get(config, "subjects");
    for (size_t i = 0; i < json_array_size(subjects); i++) {
        const char *one = json_string_value(json_array_get(subjects, i));
        if (one != NULL && strcmp(one, subject) == 0)
            return true;
    }
    return false;
}

static bool has_one_replica(const json_t *config)
{
    return json_integer_value(json_object_get(config, "num_replicas")) == 1;
}

/* Sets a number; true if it was another. */
static bool set_ms(json_t *config, const char *key, int64_t ms)
{
    json_int_t ns = (json_int_t)ms * (json_int_t)NS_PER_MS;
    if (json_integer_value(json_object_get(config, key)) == ns)
        return false;
    json_object_set_new(config, key, json_integer(ns));
    return true;
}

static bool set_subject(json_t *config, const char *subject)
{
    if (has_subject(config, subject))
        return false;
    if (!json_is_array(json_object_get(config, "subjects")))
        json_object_set_new(config, "subjects", json_array());
    json_array_append_new(json_object_get(config, "subjects"), json_string(subject));
    return true;
}

static enum err write_config(struct nats *nats, const char *verb, const json_t *config)
{
    json_t *answer CLEANUP(cleanup_json) = NULL;
    char *text CLEANUP(cleanup_free) = json_dumps(config, JSON_COMPACT);
    if (text == NULL)
        return ERR_INTERNAL;
    TRY(ask(nats, verb, text, strlen(text), &answer));
    return judge(nats, answer);
}

static enum err create_stream(struct nats *nats)
{
    json_t *config CLEANUP(cleanup_json) = json_object();
    json_object_set_new(config, "name", json_string(nats->stream.name));
    json_object_set_new(config, "retention", json_string("limits"));
    json_object_set_new(config, "storage", json_string("file"));
    json_object_set_new(config, "discard", json_string("old"));
    json_object_set_new(config, "num_replicas", json_integer(1));
    json_object_set_new(config, "max_consumers", json_integer(-1));
    json_object_set_new(config, "max_msgs", json_integer(-1));
    json_object_set_new(config, "max_bytes", json_integer(-1));
    (void)set_subject(config, nats->stream.subjects);
    (void)set_ms(config, "max_age", nats->stream.max_age_ms);
    (void)set_ms(config, "duplicate_window", nats->stream.duplicates_ms);
    return write_config(nats, "CREATE", config);
}

static enum err update_stream(struct nats *nats, json_t *config)
{
    bool changed = set_subject(config, nats->stream.subjects);
    changed |= set_ms(config, "max_age", nats->stream.max_age_ms);
    changed |= set_ms(config, "duplicate_window", nats->stream.duplicates_ms);
    return changed ? write_config(nats, "UPDATE", config) : OK;
}

/* Whoever may only publish still can: the stream is then somebody else's business. */
static void see_to_stream(struct nats *nats)
{
    json_t *answer CLEANUP(cleanup_json) = NULL;
    nats->trouble[0] = '\0';
    nats->replicated = true; /* for all we know */
    enum err e = ask(nats, "INFO", NULL, 0, &answer);
    if (e == OK)
        e = judge(nats, answer);
    if (e == OK)
        nats->replicated = !has_one_replica(json_object_get(answer, "config"));
    if (e == ERR_NOT_FOUND) {
        e = create_stream(nats);
        nats->replicated = e != OK;
    } else if (e == OK) {
        e = update_stream(nats, json_object_get(answer, "config"));
    }
    if (e == OK)
        nats->trouble[0] = '\0';
}

enum err nats_connect(struct nats *nats)
{
    disconnect(nats);
    nats->doubt = true;
    const struct nats_server *server = &nats->servers[nats->next_server];
    nats->next_server = (nats->next_server + 1) % nats->server_count;
    natsStatus s = connect_to(nats, server);
    if (s != NATS_OK)
        return failed(nats, "cannot connect", s);
    see_to_stream(nats);
    return OK;
}

/* ---- publishing ---- */

static natsStatus send_one(struct nats *nats, const struct nats_message *m, const char *before,
                           size_t index)
{
    natsMsg *msg CLEANUP(cleanup_message) = NULL;
    char reply[SUBJECT_MAX];
    struct text t = text_on(reply, sizeof reply);
    text_put_f(&t, "%s.%u-%zu", nats->inbox, nats->batch, index);
    natsStatus s = natsMsg_Create(&msg, m->subject, reply, m->data, (int)m->len);
    if (s == NATS_OK)
        s = natsMsgHeader_Set(msg, "Nats-Msg-Id", m->id);
    if (s == NATS_OK && before != NULL) /* refused unless that one is the stream's last */
        s = natsMsgHeader_Set(msg, "Nats-Expected-Last-Msg-Id", before);
    return s == NATS_OK ? natsConnection_PublishMsg(nats->connection, msg) : s;
}

/* Which message of this batch an answer is for; n if for none. */
static size_t index_of(const struct nats *nats, const natsMsg *answer, size_t n)
{
    const char *dot = strrchr(natsMsg_GetSubject(answer), '.');
    const char *dash = dot != NULL ? strchr(dot, '-') : NULL;
    uint64_t batch = 0, index = 0;
    if (dash == NULL ||
        decimal_parse(dot + 1, (size_t)(dash - dot - 1), 0, UINT32_MAX, &batch) != OK ||
        decimal_parse(dash + 1, strlen(dash + 1), 0, UINT32_MAX, &index) != OK ||
        batch != nats->batch || index >= n)
        return n;
    return index;
}

/* {"stream":"NAME","seq":7} or the same with "duplicate":true; or {"error":{...}}. */
static bool is_stored(struct nats *nats, const natsMsg *answer)
{
    json_t *doc CLEANUP(cleanup_json) = NULL;
    const char *why = NULL;
    int len = natsMsg_GetDataLength(answer);
    if (natsMsg_IsNoResponders((natsMsg *)(uintptr_t)answer)) {
        text_copy(nats->error, sizeof nats->error, "no stream takes the subject", 27);
        return false;
    }
    if (len <= 0 || len > REPLY_MAX ||
        json_read(natsMsg_GetData(answer), (size_t)len, &doc, &why) != OK)
        return false;
    const char *stream = json_string_value(json_object_get(doc, "stream"));
    const char *text =
        json_string_value(json_object_get(json_object_get(doc, "error"), "description"));
    if (text != NULL)
        text_copy(nats->error, sizeof nats->error, text, strlen(text));
    return text == NULL && stream != NULL && strcmp(stream, nats->stream.name) == 0;
}

/* Until every message has its answer, or none comes for a while. */
static natsStatus gather(struct nats *nats, struct nats_message *messages, size_t n, size_t *stored)
{
    uint64_t end = clock_mono_ns() + NATS_TIMEOUT_MS * NS_PER_MS;
    for (size_t answered = 0; answered < n;) {
        natsMsg *answer CLEANUP(cleanup_message) = NULL;
        uint64_t now = clock_mono_ns();
        natsStatus s = now < end ? natsSubscription_NextMsg(&answer, nats->answers,
                                                            (int64_t)((end - now) / NS_PER_MS) + 1)
                                 : NATS_TIMEOUT;
        if (s != NATS_OK)
            return s;
        size_t i = index_of(nats, answer, n);
        if (i == n)
            continue;
        answered++;
        messages[i].stored = is_stored(nats, answer);
        *stored += messages[i].stored;
    }
    return NATS_OK;
}

static natsStatus publish_together(struct nats *nats, struct nats_message *messages, size_t n,
                                   size_t *stored)
{
    natsStatus s = NATS_OK;
    nats->batch++;
    for (size_t i = 0; i < n && s == NATS_OK; i++)
        s = send_one(nats, &messages[i], i > 0 ? messages[i - 1].id : NULL, i);
    return s == NATS_OK ? gather(nats, messages, n, stored) : s;
}

/* Up to the first that is not stored. */
static natsStatus publish_singly(struct nats *nats, struct nats_message *messages, size_t n,
                                 size_t *stored)
{
    natsStatus s = NATS_OK;
    for (size_t i = 0; i < n && s == NATS_OK && *stored == i; i++) {
        nats->batch++;
        s = send_one(nats, &messages[i], NULL, 0);
        if (s == NATS_OK)
            s = gather(nats, &messages[i], 1, stored);
    }
    return s;
}

void nats_doubt(struct nats *nats)
{
    nats->doubt = true;
}

enum err nats_publish(struct nats *nats, struct nats_message *messages, size_t n)
{
    natsStatus s = NATS_CONNECTION_CLOSED;
    size_t stored = 0;
    bool singly = nats->doubt || nats->replicated;
    nats->doubt = true;
    nats->error[0] = '\0';
    for (size_t i = 0; i < n; i++)
        messages[i].stored = false;
    if (nats_is_connected(nats))
        s = (singly ? publish_singly : publish_together)(nats, messages, n, &stored);
    if (s != NATS_OK)
        return failed(nats, "cannot publish", s);
    if (stored == n) {
        nats->doubt = false;
        return OK;
    }
    if (stored == 0)
        disconnect(nats);
    return ERR_UNAVAILABLE;
}

const char *nats_last_error(const struct nats *nats)
{
    return nats->error;
}

const char *nats_stream_trouble(const struct nats *nats)
{
    return nats->trouble;
}
