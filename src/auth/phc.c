#include "auth/phc.h"

#include <string.h>

#include "base/encode.h"
#include "base/text.h"

#define SALT_MIN 8
#define TAG_MIN 16

/* What is left of the string; each step takes its part off the front. */
struct rest {
    const char *p;
    size_t len;
};

static bool take_literal(struct rest *r, const char *literal)
{
    size_t n = strlen(literal);
    if (r->len < n || strncmp(r->p, literal, n) != 0) /* lint: public */
        return false;
    r->p += n;
    r->len -= n;
    return true;
}

/* Everything up to a character of stops, or to the end. */
static struct rest take_until(struct rest *r, const char *stops)
{
    struct rest field = {r->p, 0};
    while (field.len < r->len && strchr(stops, r->p[field.len]) == NULL)
        field.len++;
    r->p += field.len;
    r->len -= field.len;
    return field;
}

static enum err take_number(struct rest *r, const char *name, uint64_t min, uint64_t max,
                            uint32_t *out)
{
    if (!take_literal(r, name))
        return ERR_MALFORMED;
    struct rest digits = take_until(r, ",$");
    uint64_t v = 0;
    if (decimal_parse(digits.p, digits.len, min, max, &v) != OK)
        return ERR_MALFORMED;
    *out = (uint32_t)v;
    return OK;
}

static enum err take_base64(struct rest *r, uint8_t *out, size_t min, size_t max, size_t *out_len)
{
    if (!take_literal(r, "$"))
        return ERR_MALFORMED;
    struct rest field = take_until(r, "$");
    if (base64_decode(field.p, field.len, out, max, out_len) != OK || *out_len < min)
        return ERR_MALFORMED;
    return OK;
}

bool phc_keyid_ok(const char *id, size_t len)
{
    if (len == 0 || len > PHC_KEYID_MAX)
        return false;
    for (size_t i = 0; i < len; i++) {
        char c = id[i];
        bool alnum = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (!alnum && c != '.' && c != '_' && c != '-')
            return false;
    }
    return true;
}

static enum err take_keyid(struct rest *r, char out[PHC_KEYID_MAX + 1])
{
    if (!take_literal(r, ",keyid="))
        return OK;
    struct rest id = take_until(r, ",$");
    if (!phc_keyid_ok(id.p, id.len))
        return ERR_MALFORMED;
    text_copy(out, PHC_KEYID_MAX + 1, id.p, id.len);
    return OK;
}

enum err phc_parse(const char *in, size_t len, struct phc *out)
{
    if (len > PHC_MAX || memchr(in, '\0', len) != NULL)
        return ERR_MALFORMED;
    struct rest r = {in, len};
    struct phc phc = {0};
    if (!take_literal(&r, "$argon2id$v=19$"))
        return ERR_MALFORMED;
    TRY(take_number(&r, "m=", 8, UINT32_MAX, &phc.params.memory_kib));
    TRY(take_number(&r, ",t=", 1, UINT32_MAX, &phc.params.iterations));
    TRY(take_number(&r, ",p=", 1, 255, &phc.params.parallelism));
    if (phc.params.memory_kib < 8 * phc.params.parallelism)
        return ERR_MALFORMED;
    TRY(take_keyid(&r, phc.keyid));
    TRY(take_base64(&r, phc.salt, SALT_MIN, sizeof phc.salt, &phc.salt_len));
    TRY(take_base64(&r, phc.tag, TAG_MIN, sizeof phc.tag, &phc.tag_len));
    if (r.len != 0)
        return ERR_MALFORMED;
    *out = phc;
    return OK;
}

enum err phc_format(const struct phc *phc, char out[PHC_MAX + 1])
{
    char salt[BASE64_LEN(PHC_SALT_MAX) + 1];
    char tag[BASE64_LEN(PHC_TAG_MAX) + 1];
    char buf[PHC_MAX + 1];
    base64_encode(phc->salt, phc->salt_len, salt);
    base64_encode(phc->tag, phc->tag_len, tag);
    struct text t = text_on(buf, sizeof buf);
    text_put_f(&t, "$argon2id$v=19$m=%u,t=%u,p=%u", phc->params.memory_kib, phc->params.iterations,
               phc->params.parallelism);
    if (phc->keyid[0] != '\0')
        text_put_f(&t, ",keyid=%s", phc->keyid);
    text_put_f(&t, "$%s$%s", salt, tag);
    if (!text_ok(&t))
        return ERR_TOO_LARGE;
    memcpy(out, buf, t.len + 1);
    return OK;
}
