/*
 * commands_keys_drill.h: the two halves of `watchword keys drill`: a client of the running service
 * with an account and a verifier of its own (commands_keys_client.c), and what is played through
 * (commands_keys_drill.c).
 *
 * The verifier does what verifiers do: it caches the JWKS for ten minutes, and fetches it anew for
 * an unknown kid, but not within 30 seconds. Whatever fails has been said on stderr.
 */
#ifndef WW_COMMANDS_KEYS_DRILL_H
#define WW_COMMANDS_KEYS_DRILL_H

#include "auth/access_token.h"
#include "commands_keys.h"
#include "net/http_client.h"

#define DRILL_PASSWORD_LEN 32
#define DRILL_TOKENS_MAX 32
/* What a change of the keys may take to be seen. */
#define DRILL_SEEN_S 120
/* Between refreshes: REFRESH_PER_MIN_PER_TOKEN lets 20 a minute through. */
#define DRILL_PAUSE_S 4

struct drill {
    struct keys_operation *k;
    struct http_client_target target;
    struct access_policy access;
    int64_t started; /* Unix seconds */

    /* the account */
    struct uuid tenant_id, user_id;
    char email[64];
    char password[2 * DRILL_PASSWORD_LEN + 1];
    char *refresh_token;
    bool registered;

    /* the verifier */
    struct keyring *ring;
    int64_t fetched_at;
    char *tokens[DRILL_TOKENS_MAX]; /* the newest ones, in a circle */
    unsigned issued;
    unsigned verified, failed;
    char kid[KID_MAX + 1]; /* of the last token */
};

void drill_close(struct drill *d);

/* Access tokens so far are not to verify any more. */
void drill_forget_tokens(struct drill *d);

/* The drill's clock, in Unix seconds; test builds may let it run faster than the wall's. */
int64_t drill_now(const struct drill *d);
void drill_pause(int64_t seconds);

/* A line on stderr; gives false. */
bool drill_say(const char *what, const char *detail);

/* Registers an account in a tenant of its own, and logs in. */
MUST_USE bool drill_open_account(struct drill *d);
MUST_USE bool drill_log_in(struct drill *d);
void drill_close_account(struct drill *d);

/* The verifier fetches the JWKS anew. */
MUST_USE bool drill_fetch_keys(struct drill *d);

/* One refresh. Its token and those of the last minutes go to the verifier, which counts. */
MUST_USE bool drill_round_trip(struct drill *d);

/* Waits until the JWKS has the key, or has it no more. */
MUST_USE bool drill_wait_published(struct drill *d, const char *kid, bool expected);

/* Waits until the session does not refresh any more. */
MUST_USE bool drill_wait_ended(struct drill *d);

#endif
