/*
 * password.h: what a password may be, how it is hashed, how one is verified.
 *
 * A password is its NFC form in UTF-8, whole: never cut, trimmed or folded. The hash itself runs
 * elsewhere (on a thread of the HASH lane), so hashing and verifying come in two halves around a
 * struct argon2_job: begin fills the job, finish reads its tag. A verification against nothing - no
 * such account, or a row that cannot be used - gets a job of the same cost whose outcome is always
 * ERR_DENIED.
 *
 * A struct password_policy is opened once, then immutable and usable from any thread. A struct
 * password_work belongs to one request.
 */
#ifndef WW_AUTH_PASSWORD_H
#define WW_AUTH_PASSWORD_H

#include "auth/phc.h"
#include "base/secret.h"

#define PASSWORD_BYTES_MAX 1024 /* of the NFC form; PASSWORD_MAX_LENGTH of 256 times 4 bytes */
#define PASSWORD_SALT_LEN 16
#define PASSWORD_TAG_LEN 32
#define PASSWORD_PEPPERS_MAX 4

struct pepper {
    char id[PHC_KEYID_MAX + 1];
    struct secret key;
};

struct password_policy {
    unsigned min_length, max_length;             /* code points */
    unsigned min_score;                          /* zxcvbn 0 to 4; 0: no estimate */
    struct argon2_params params;                 /* for new hashes */
    struct pepper peppers[PASSWORD_PEPPERS_MAX]; /* the first is current; none: no pepper */
    unsigned pepper_count;
};

struct password {
    uint8_t data[PASSWORD_BYTES_MAX];
    size_t len;
    size_t code_points;
};

struct password_work {
    struct argon2_job job; /* points into this struct and to the password */
    struct phc phc;
    uint8_t tag[PHC_TAG_MAX];
    bool dummy; /* no outcome but ERR_DENIED */
};

/* NFC. ERR_MALFORMED if it is not UTF-8, ERR_TOO_LARGE if it cannot be anyone's password,
 * ERR_INTERNAL without memory. */
MUST_USE enum err password_normalise(const char *in, size_t len, struct password *out);

/* NULL if it may become a password; else the rule that it breaks, fit to be shown. email gives the
 * words that it must not be built from. */
const char *password_refusal(const struct password_policy *policy, const struct password *password,
                             const char *email);

/* A job that hashes the password anew with a fresh salt. The password must outlive the work. */
MUST_USE enum err password_hash_begin(const struct password_policy *policy,
                                      const struct password *password, struct password_work *work);
MUST_USE enum err password_hash_finish(struct password_work *work, char out[PHC_MAX + 1]);

/* A job that recomputes the stored hash, or its dummy if stored is NULL. Sets *unusable to why a
 * stored hash cannot be verified (a fixed text for the operator), else NULL. */
MUST_USE enum err password_verify_begin(const struct password_policy *policy,
                                        const struct password *password, const char *stored,
                                        struct password_work *work, const char **unusable);
/* Why no password can be verified against that stored hash, as a fixed text; NULL if one can. */
const char *password_unusable(const struct password_policy *policy, const char *stored);
/* OK or ERR_DENIED, in time that does not depend on which. */
MUST_USE enum err password_verify_finish(const struct password_work *work);

/* The verified hash was made with other parameters or another pepper than new ones are. */
MUST_USE bool password_outdated(const struct password_policy *policy,
                                const struct password_work *work);

/* What becomes of a stored hash at its owner's next login. */
enum password_standing {
    PASSWORD_CURRENT,        /* nothing: it is as new ones are */
    PASSWORD_PARAMETERS,     /* replaced: other parameters, the current pepper */
    PASSWORD_PEPPER,         /* replaced: an older pepper, or none where there is one */
    PASSWORD_UNKNOWN_PEPPER, /* refused: a pepper that is not configured */
    PASSWORD_UNUSABLE,       /* refused: malformed, or too much work */
    PASSWORD_STANDINGS,
};
/* Sets *params to its parameters, if it can be verified. */
enum password_standing password_standing(const struct password_policy *policy, const char *stored,
                                         struct argon2_params *params);

void password_wipe(struct password *password);

#endif
