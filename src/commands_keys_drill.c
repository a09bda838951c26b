/* commands_keys_drill.c: watchword keys drill: a rotation, or a compromise, played through on a
 * running service. */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "commands_keys_drill.h"

static bool go_on_until(struct drill *d, int64_t end)
{
    while (drill_now(d) < end) {
        if (!drill_round_trip(d))
            return false;
        drill_pause(DRILL_PAUSE_S);
    }
    return true;
}

/* ---- a rotation ---- */

enum change { CHANGE_PUBLISH, CHANGE_ACTIVATE, CHANGE_RETIRE };

static enum err make_change(struct drill *d, enum change change, char kid[KID_MAX + 1],
                            struct key_refusal *why, struct keys_flaw *flaw)
{
    struct keys_operation *k = d->k;
    struct key_entry key CLEANUP(key_entry_close) = {0};
    switch (change) {
    case CHANGE_PUBLISH:
        TRY(keys_generate(k, &key, flaw));
        memcpy(kid, key.kid, sizeof key.kid);
        TRY(key_publish(&k->change.set, &key, k->now, why));
        break;
    case CHANGE_ACTIVATE:
        if (strcmp(key_set_active(&k->change.set)->kid, kid) == 0)
            return OK; /* the service was faster */
        TRY(key_activate(&k->change.set, kid, k->now, false, why));
        break;
    default:
        if (key_set_find(&k->change.set, kid) == NULL)
            return OK;
        TRY(key_retire(&k->change.set, kid, k->now, false, why));
    }
    return keys_change_commit(&k->change, flaw);
}

static bool change_keys(struct drill *d, enum change change, char kid[KID_MAX + 1])
{
    static const char *const events[][2] = {
        {"auth.key_published", "a signing key is published; it does not sign yet"},
        {"auth.key_activated", "a signing key signs from now on"},
        {"auth.key_retired", "a signing key is gone"},
    };
    struct keys_operation *k = d->k;
    struct key_refusal why = {0};
    struct keys_flaw flaw = {0};
    enum err e = keys_change_begin(k->op.config.keys_dir, k->op.config.jwt_kid, &k->change, &flaw);
    k->now = drill_now(d);
    if (e == OK)
        e = make_change(d, change, kid, &why, &flaw);
    keys_change_end(&k->change);
    if (e == OK)
        keys_audit(k, events[change][0], events[change][1], kid);
    return e == OK || drill_say(why.what != NULL ? why.what : flaw.text, kid);
}

static bool rotate(struct drill *d, char before[KID_MAX + 1], char after[KID_MAX + 1])
{
    struct key_set set CLEANUP(key_set_close) = {0};
    struct keys_flaw flaw;
    const struct config *config = &d->k->op.config;
    if (keys_dir_read(config->keys_dir, config->jwt_kid, &set, &flaw) != OK)
        return drill_say(flaw.text, "");
    memcpy(before, key_set_active(&set)->kid, KID_MAX + 1);
    if (key_successor(&set) != NULL)
        return drill_say("a key is next already; a drill brings its own", key_successor(&set)->kid);
    if (!drill_fetch_keys(d))
        return false;
    if (keyring_find(d->ring, before, strlen(before)) == NULL)
        return drill_say("the service does not publish the active key of this KEYS_DIR", before);
    if (!drill_round_trip(d) || !change_keys(d, CHANGE_PUBLISH, after) ||
        !drill_wait_published(d, after, true))
        return false;
    drill_say("published; now the wait until verifiers can know it", after);
    if (!go_on_until(d, d->k->now + KEY_PUBLISH_WAIT_S) || !change_keys(d, CHANGE_ACTIVATE, after))
        return false;
    drill_say("activated; now the wait until nobody needs the one before", after);
    if (!go_on_until(d, d->k->now + KEY_RETIRE_WAIT_S) || !change_keys(d, CHANGE_RETIRE, before) ||
        !drill_wait_published(d, before, false) || !drill_round_trip(d))
        return false;
    return strcmp(d->kid, after) == 0 || drill_say("the service still signs with", d->kid);
}

static int report_rotation(const struct drill *d, const char *before, const char *after)
{
    char buf[1024];
    struct text t = text_on(buf, sizeof buf);
    json_open(&t);
    json_str(&t, "kid_before", before);
    json_str(&t, "kid_after", after);
    json_i64(&t, "verified", d->verified);
    json_i64(&t, "failed", d->failed);
    json_close(&t);
    if (operator_json(&d->k->op))
        puts(buf);
    else
        printf("rotated from %s to %s; tokens verified: %u; failed: %u\n", before, after,
               d->verified, d->failed);
    return d->failed == 0 ? 0 : 1;
}

/* ---- a compromise ---- */

static double seconds_since(uint64_t start_ns)
{
    return (double)(clock_mono_ns() - start_ns) / (double)NS_PER_SECOND;
}

static int compromise(struct drill *d)
{
    struct keys_operation *k = d->k;
    struct key_refusal why = {0};
    struct keys_flaw flaw = {0};
    char kid[KID_MAX + 1], buf[1024], ended_before[CLOCK_RFC3339_LEN + 1];
    struct text t = text_on(buf, sizeof buf);
    uint64_t start = clock_mono_ns();
    if (keys_change_begin(k->op.config.keys_dir, k->op.config.jwt_kid, &k->change, &flaw) != OK)
        return keys_flawed(&flaw);
    memcpy(kid, key_set_active(&k->change.set)->kid, sizeof kid);
    enum err e = keys_revoke(k, kid, &why, &flaw);
    keys_change_end(&k->change);
    if (e != OK)
        return drill_say(why.what != NULL ? why.what : flaw.text, kid) ? 0 : 1;
    if (!operator_end_all_sessions(&k->op, ended_before) || !drill_wait_ended(d))
        return 1;
    double sessions_s = seconds_since(start);
    if (!drill_wait_published(d, kid, false))
        return 1;
    double jwks_s = seconds_since(start);
    drill_forget_tokens(d);
    if (!drill_log_in(d) || !drill_fetch_keys(d) || !drill_round_trip(d) || d->failed > 0)
        return 1;
    json_open(&t);
    json_str(&t, "revoked", kid);
    json_str(&t, "active", d->kid);
    json_key(&t, "jwks_seconds");
    text_put_f(&t, "%.1f", jwks_s);
    json_key(&t, "sessions_seconds");
    text_put_f(&t, "%.1f", sessions_s);
    json_close(&t);
    if (operator_json(&k->op))
        puts(buf);
    else
        printf("%s left the JWKS after %.1f s; no old session refreshed after %.1f s; %s signs\n",
               kid, jwks_s, sessions_s, d->kid);
    return 0;
}

/* ---- running ---- */

int keys_drill(struct keys_operation *k)
{
    struct drill d CLEANUP(drill_close) = {.k = k, .started = clock_unix_ms() / MS_PER_SECOND};
    const struct config *config = &k->op.config;
    char before[KID_MAX + 1] = "", after[KID_MAX + 1] = "";
    d.access = boot_access_policy(config);
    if (http_client_parse(k->op.options.url, &d.target) != OK) {
        fprintf(stderr, "watchword: keys drill: --url must be http://HOST[:PORT]\n");
        return 2;
    }
    boot_open(&k->op.config, false, &k->op.boot);
    if (k->op.boot.keys == NULL)
        return drill_say("SERVICE_SECRET is required: set it as for the service", "") ? 0 : 1;
    if (!operator_open_database(&k->op))
        return 1;
    int code = 1;
    if (drill_open_account(&d)) {
        if (keys_given(k, OPTION_COMPROMISE))
            code = compromise(&d);
        else if (rotate(&d, before, after))
            code = report_rotation(&d, before, after);
    }
    drill_close_account(&d);
    return code;
}
