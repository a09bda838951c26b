#include "auth/password.h"

#include <math.h>
#include <string.h>
#include <uninorm.h>
#include <unistr.h>
#include <zxcvbn.h>

#include "base/random.h"
#include "base/text.h"

/* The estimator takes quadratic time; a password that is strong in its first bytes is strong. */
#define ESTIMATE_BYTES_MAX 64

/* NFC shortens a text in UTF-8 at most to a third, so longer input cannot fit; and it makes a text
 * at most three times as long (Unicode Standard Annex 15). */
#define INPUT_BYTES_MAX ((size_t)3 * PASSWORD_BYTES_MAX)
#define NFC_BYTES_MAX (3 * INPUT_BYTES_MAX)

/* What a stored hash may ask for: so many times a new one, or what an earlier setting may
 * reasonably have been, whichever is more. Beyond that the row is hostile. */
#define MEMORY_FACTOR_MAX 4
#define WORK_FACTOR_MAX 8
#define MEMORY_KIB_ALWAYS ((uint64_t)256 * 1024)
#define WORK_KIB_ALWAYS (8 * MEMORY_KIB_ALWAYS) /* memory x iterations */

/* Left to itself u8_normalize takes memory from malloc and moves as the text grows, and each time
 * leaves a piece of the password behind. This buffer is never too small; if it were, the result
 * would be from malloc again. */
static enum err normalise(const uint8_t *in, size_t len, struct password *out)
{
    uint8_t buffer[NFC_BYTES_MAX];
    size_t n = sizeof buffer;
    uint8_t *nfc = u8_normalize(UNINORM_NFC, in, len, buffer, &n);
    enum err e = nfc == NULL ? ERR_INTERNAL : n > PASSWORD_BYTES_MAX ? ERR_TOO_LARGE : OK;
    if (e == OK) {
        memcpy(out->data, nfc, n);
        out->len = n;
        out->code_points = u8_mbsnlen(nfc, n);
    }
    if (nfc != NULL && nfc != buffer) {
        secret_wipe(nfc, n);
        free(nfc);
    }
    secret_wipe(buffer, sizeof buffer);
    return e;
}

enum err password_normalise(const char *in, size_t len, struct password *out)
{
    if (!utf8_valid(in, len, NULL))
        return ERR_MALFORMED;
    if (len > INPUT_BYTES_MAX)
        return ERR_TOO_LARGE;
    if (len == 0) { /* u8_normalize may answer NULL for it */
        out->len = out->code_points = 0;
        return OK;
    }
    return normalise((const uint8_t *)in, len, out);
}

/* zxcvbn's scale: 10^3, 10^6, 10^8, 10^10 guesses begin scores 1 to 4. */
static unsigned score_of(double bits)
{
    static const double begins[] = {3, 6, 8, 10};
    double digits = bits * log10(2);
    unsigned score = 0;
    while (score < ARRAY_LEN(begins) && digits >= begins[score])
        score++;
    return score;
}

static unsigned estimate(const struct password *password, const char *email)
{
    char text[ESTIMATE_BYTES_MAX + 1];
    char local[65];
    text_copy(text, sizeof text, (const char *)password->data, password->len);
    const char *at = strchr(email, '@');
    text_copy(local, sizeof local, email, at != NULL ? (size_t)(at - email) : strlen(email));
    const char *context[] = {local, at != NULL ? at + 1 : email, "watchword", NULL};
    double bits = ZxcvbnMatch(text, context, NULL);
    secret_wipe(text, sizeof text);
    return score_of(bits);
}

const char *password_refusal(const struct password_policy *policy, const struct password *password,
                             const char *email)
{
    if (password->code_points < policy->min_length)
        return "password is too short";
    if (password->code_points > policy->max_length)
        return "password is too long";
    if (policy->min_score > 0 && estimate(password, email) < policy->min_score)
        return "password is too easy to guess";
    return NULL;
}

static void set_job(const struct password_policy *policy, const struct password *password,
                    struct password_work *work)
{
    work->job = (struct argon2_job){
        .params = work->phc.params,
        .password = password->data,
        .password_len = password->len,
        .salt = work->phc.salt,
        .salt_len = work->phc.salt_len,
        .tag = work->tag,
        .tag_len = work->phc.tag_len,
    };
    for (unsigned i = 0; i < policy->pepper_count; i++) {
        const struct pepper *pepper = &policy->peppers[i];
        if (strcmp(pepper->id, work->phc.keyid) == 0) { /* lint: public */
            work->job.secret = pepper->key.data;
            work->job.secret_len = pepper->key.len;
        }
    }
}

static void set_current(const struct password_policy *policy, struct phc *phc)
{
    *phc = (struct phc){
        .params = policy->params, .salt_len = PASSWORD_SALT_LEN, .tag_len = PASSWORD_TAG_LEN};
    if (policy->pepper_count > 0)
        memcpy(phc->keyid, policy->peppers[0].id, sizeof phc->keyid);
}

enum err password_hash_begin(const struct password_policy *policy, const struct password *password,
                             struct password_work *work)
{
    *work = (struct password_work){0};
    set_current(policy, &work->phc);
    TRY(random_bytes(work->phc.salt, work->phc.salt_len));
    set_job(policy, password, work);
    return OK;
}

enum err password_hash_finish(struct password_work *work, char out[PHC_MAX + 1])
{
    memcpy(work->phc.tag, work->tag, work->phc.tag_len);
    return phc_format(&work->phc, out);
}

static bool affordable(const struct password_policy *policy, const struct argon2_params *params)
{
    uint64_t memory = (uint64_t)policy->params.memory_kib * MEMORY_FACTOR_MAX;
    uint64_t work = argon2_work(&policy->params) * WORK_FACTOR_MAX;
    if (memory < MEMORY_KIB_ALWAYS)
        memory = MEMORY_KIB_ALWAYS;
    if (work < WORK_KIB_ALWAYS)
        work = WORK_KIB_ALWAYS;
    return params->memory_kib <= memory && argon2_work(params) <= work;
}

static bool pepper_known(const struct password_policy *policy, const char *id)
{
    for (unsigned i = 0; i < policy->pepper_count; i++)
        if (strcmp(policy->peppers[i].id, id) == 0) /* lint: public */
            return true;
    return id[0] == '\0';
}

/* Why a stored hash cannot be verified, or NULL with *phc filled in. */
static const char *read_stored(const struct password_policy *policy, const char *stored,
                               struct phc *phc)
{
    if (phc_parse(stored, strlen(stored), phc) != OK)
        return "stored hash is malformed";
    if (!affordable(policy, &phc->params))
        return "stored hash asks for more work than is allowed";
    if (!pepper_known(policy, phc->keyid))
        return "stored hash needs a pepper that is not configured";
    return NULL;
}

const char *password_unusable(const struct password_policy *policy, const char *stored)
{
    struct phc phc;
    return read_stored(policy, stored, &phc);
}

enum err password_verify_begin(const struct password_policy *policy,
                               const struct password *password, const char *stored,
                               struct password_work *work, const char **unusable)
{
    *work = (struct password_work){0};
    *unusable = stored != NULL ? read_stored(policy, stored, &work->phc) : NULL;
    if (stored == NULL || *unusable != NULL) {
        /* A random salt and a tag that no hash is compared to with effect. */
        work->dummy = true;
        set_current(policy, &work->phc);
        TRY(random_bytes(work->phc.salt, work->phc.salt_len));
        TRY(random_bytes(work->phc.tag, work->phc.tag_len));
    }
    set_job(policy, password, work);
    return OK;
}

enum err password_verify_finish(const struct password_work *work)
{
    bool same = ct_equal(work->tag, work->phc.tag, work->phc.tag_len);
    return same && !work->dummy ? OK : ERR_DENIED;
}

static bool pepper_outdated(const struct password_policy *policy, const struct phc *phc)
{
    const char *current = policy->pepper_count > 0 ? policy->peppers[0].id : "";
    return strcmp(phc->keyid, current) != 0; /* lint: public */
}

static bool params_outdated(const struct password_policy *policy, const struct phc *phc)
{
    return !argon2_same_params(&phc->params, &policy->params) || phc->tag_len != PASSWORD_TAG_LEN;
}

bool password_outdated(const struct password_policy *policy, const struct password_work *work)
{
    return params_outdated(policy, &work->phc) || pepper_outdated(policy, &work->phc);
}

enum password_standing password_standing(const struct password_policy *policy, const char *stored,
                                         struct argon2_params *params)
{
    struct phc phc;
    if (phc_parse(stored, strlen(stored), &phc) != OK || !affordable(policy, &phc.params))
        return PASSWORD_UNUSABLE;
    if (!pepper_known(policy, phc.keyid))
        return PASSWORD_UNKNOWN_PEPPER;
    *params = phc.params;
    if (pepper_outdated(policy, &phc))
        return PASSWORD_PEPPER;
    return params_outdated(policy, &phc) ? PASSWORD_PARAMETERS : PASSWORD_CURRENT;
}

void password_wipe(struct password *password)
{
    secret_wipe(password, sizeof *password);
}
