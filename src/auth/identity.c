#include "auth/identity.h"

#include <idn2.h>
#include <string.h>
#include <unicase.h>
#include <unictype.h>
#include <uninorm.h>
#include <unistr.h>

#include "base/encode.h"
#include "base/text.h"

static void trim(const char **in, size_t *len)
{
    while (*len > 0 && ((*in)[0] == ' ' || (*in)[0] == '\t')) {
        (*in)++;
        (*len)--;
    }
    while (*len > 0 && ((*in)[*len - 1] == ' ' || (*in)[*len - 1] == '\t'))
        (*len)--;
}

/* RFC 5321 atext, plus letters, marks, digits and symbols beyond ASCII (RFC 6531). Quoted local
 * parts are not accepted: nobody has one, and they hide spaces and at-signs. */
static bool local_char(ucs4_t c)
{
    if (c < 0x80)
        return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
               (c != 0 && strchr("!#$%&'*+-/=?^_`{|}~.", (int)c) != NULL);
    return !uc_is_property(c, UC_PROPERTY_DEFAULT_IGNORABLE_CODE_POINT) &&
           !uc_is_property(c, UC_PROPERTY_WHITE_SPACE) &&
           !uc_is_general_category(c, UC_CATEGORY_C) && !uc_is_general_category(c, UC_CATEGORY_Z);
}

static bool local_ok(const uint8_t *s, size_t len)
{
    if (len == 0 || len > IDENTITY_LOCAL_MAX || s[0] == '.' || s[len - 1] == '.')
        return false;
    ucs4_t before = 0;
    for (size_t i = 0; i < len;) {
        ucs4_t c;
        int n = u8_mbtoucr(&c, s + i, len - i);
        if (n <= 0 || !local_char(c) || (c == '.' && before == '.'))
            return false;
        before = c;
        i += (size_t)n;
    }
    return true;
}

/* Letters, digits, hyphens in labels of 1 to 63, at least two labels, the last not all digits: what
 * IDNA leaves open, and an address literal in disguise. */
static bool domain_ok(const char *s)
{
    size_t labels = 1, in_label = 0;
    bool digits_only = true;
    for (; *s != '\0'; s++) {
        if (*s == '.') {
            if (in_label == 0 || s[-1] == '-')
                return false;
            labels++;
            in_label = 0;
            digits_only = true;
            continue;
        }
        bool digit = *s >= '0' && *s <= '9';
        if (!digit && !(*s >= 'a' && *s <= 'z') && !(*s == '-' && in_label > 0))
            return false;
        digits_only = digits_only && digit;
        if (++in_label > 63)
            return false;
    }
    return labels >= 2 && in_label > 0 && s[-1] != '-' && !digits_only;
}

/* libidn2 wants a terminated string and gives one of its own. */
static enum err canonical_domain(const char *in, size_t len, struct text *out)
{
    char domain[IDENTITY_MAX + 1];
    if (len == 0 || len > IDENTITY_MAX || memchr(in, '\0', len) != NULL)
        return ERR_MALFORMED;
    text_copy(domain, sizeof domain, in, len);
    char *ascii = NULL;
    int rc = idn2_to_ascii_8z(domain, &ascii, IDN2_NFC_INPUT | IDN2_NONTRANSITIONAL);
    if (rc != IDN2_OK)
        return rc == IDN2_MALLOC ? ERR_INTERNAL : ERR_MALFORMED;
    bool ok = domain_ok(ascii);
    if (ok)
        text_put(out, ascii);
    idn2_free(ascii);
    return ok ? OK : ERR_MALFORMED;
}

static enum err canonical_local(const char *in, size_t len, struct text *out)
{
    size_t folded_len = 0;
    uint8_t *folded = u8_casefold((const uint8_t *)in, len, NULL, UNINORM_NFKC, NULL, &folded_len);
    if (folded == NULL)
        return ERR_INTERNAL;
    bool ok = local_ok(folded, folded_len);
    if (ok)
        text_put_n(out, (const char *)folded, folded_len);
    free(folded);
    return ok ? OK : ERR_MALFORMED;
}

enum err identity_canonical(const char *in, size_t len, char out[IDENTITY_MAX + 1])
{
    trim(&in, &len);
    /* Folding shortens at most to a third; what is longer than that cannot become an address. */
    if (len > (size_t)3 * IDENTITY_MAX || !utf8_valid(in, len, NULL))
        return ERR_MALFORMED;
    const char *at = memrchr(in, '@', len);
    if (at == NULL || at == in)
        return ERR_MALFORMED;
    char buf[IDENTITY_MAX + 1];
    struct text t = text_on(buf, sizeof buf);
    TRY(canonical_local(in, (size_t)(at - in), &t));
    text_put_char(&t, '@');
    TRY(canonical_domain(at + 1, len - (size_t)(at - in) - 1, &t));
    if (!text_ok(&t))
        return ERR_MALFORMED;
    memcpy(out, buf, t.len + 1);
    return OK;
}

enum err identity_digest(const struct service_keys *keys, const struct uuid *tenant_id,
                         const char *canonical, uint8_t out[IDENTITY_DIGEST_LEN])
{
    const struct mac_part parts[] = {{tenant_id->b, sizeof tenant_id->b},
                                     {canonical, strlen(canonical)}};
    return service_keys_mac(keys, service_keys_current_id(keys), KEY_IDENTITY, parts, 2, out);
}

void identity_tag(const uint8_t digest[IDENTITY_DIGEST_LEN], char out[IDENTITY_TAG_LEN + 1])
{
    hex_encode(digest, IDENTITY_TAG_LEN / 2, out);
}
