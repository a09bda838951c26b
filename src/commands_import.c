/*
 * commands_import.c: watchword user import: users of another service, with their hashes.
 *
 * One JSON object a line: tenant_id, email, password_hash; user_id and status if they matter. A
 * line that cannot be used is named and left out, the others go in. A user who is there already is
 * left alone, so an import that was interrupted can be repeated whole.
 */
#include "commands_import.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "auth/password.h"
#include "base/clock.h"

#define LINE_MAX_BYTES 4096
/* Lines that share a transaction, where the store shares them. */
#define BATCH 64

enum fate { IMPORTED, UNCHANGED, REFUSED, FATES };

struct import {
    struct operation *op;
    unsigned long line;
    unsigned long count[FATES];
};

struct lines {
    size_t len[BATCH];
    char text[BATCH][LINE_MAX_BYTES];
};

static void cleanup_lines(struct lines **lines)
{
    free(*lines);
}

struct row {
    struct store_credential credential;
    char email[IDENTITY_MAX + 1];
    bool has_user_id;
};

static enum fate refuse(const struct import *import, const char *what)
{
    fprintf(stderr, "watchword: user import: line %lu: %s\n", import->line, what);
    return REFUSED;
}

/* ---- one line ---- */

/* The members that a line may have. Each fills its part of the row, or says what is wrong. */

static const char *read_tenant(const struct import *import, const char *value, struct row *row)
{
    (void)import;
    return uuid_parse(value, strlen(value), &row->credential.tenant_id) == OK
               ? NULL
               : "tenant_id is not a UUID";
}

static const char *read_user(const struct import *import, const char *value, struct row *row)
{
    (void)import;
    row->has_user_id = true;
    return uuid_parse(value, strlen(value), &row->credential.user_id) == OK
               ? NULL
               : "user_id is not a UUID";
}

static const char *read_email(const struct import *import, const char *value, struct row *row)
{
    (void)import;
    row->credential.email = row->email;
    return identity_canonical(value, strlen(value), row->email) == OK
               ? NULL
               : "email is not an e-mail address";
}

static const char *read_hash(const struct import *import, const char *value, struct row *row)
{
    row->credential.password_hash = value;
    return password_unusable(&import->op->config.password, value);
}

static const char *read_status(const struct import *import, const char *value, struct row *row)
{
    (void)import;
    row->credential.disabled = strcmp(value, "disabled") == 0;
    return row->credential.disabled || strcmp(value, "active") == 0
               ? NULL
               : "status is neither active nor disabled";
}

static const struct field {
    const char *name;
    bool required;
    const char *(*read)(const struct import *import, const char *value, struct row *row);
} FIELDS[] = {
    {"tenant_id", true, read_tenant},   {"email", true, read_email},
    {"password_hash", true, read_hash}, {"user_id", false, read_user},
    {"status", false, read_status},
};

/* NULL if the row is filled in; else what is wrong. The row points into the document. */
static const char *read_row(const struct import *import, json_t *doc, struct row *row)
{
    size_t known = 0;
    for (size_t i = 0; i < ARRAY_LEN(FIELDS); i++) {
        const json_t *member = json_object_get(doc, FIELDS[i].name);
        if (member == NULL && !FIELDS[i].required)
            continue;
        if (!json_is_string(member))
            return "tenant_id, email and password_hash are required; all members are strings";
        const char *wrong = FIELDS[i].read(import, json_string_value(member), row);
        if (wrong != NULL)
            return wrong;
        known++;
    }
    if (json_object_size(doc) != known)
        return "there is a member besides tenant_id, user_id, email, password_hash and status";
    if (!row->has_user_id && uuid_make_v7(clock_unix_ms(), &row->credential.user_id) != OK)
        return "no random numbers for a user_id";
    return NULL;
}

/* Somebody has the address or the id: this user, or another? */
static enum err compare(struct import *import, const struct row *row, enum fate *fate)
{
    struct store_user user;
    const struct store_user_name name = {.tenant_id = row->credential.tenant_id,
                                         .email = row->credential.email};
    enum err e = store_find_user(import->op->conn, &name, &user);
    if (e == ERR_NOT_FOUND)
        *fate = refuse(import, "user_id belongs to a user with another email");
    else if (e != OK)
        return e;
    else if (row->has_user_id && !uuid_equal(&user.user_id, &row->credential.user_id))
        *fate = refuse(import, "email belongs to a user with another user_id");
    else
        *fate = UNCHANGED;
    return OK;
}

static enum err import_line(struct import *import, const char *text, size_t len, enum fate *fate)
{
    json_t *doc CLEANUP(cleanup_json) = NULL;
    struct row row = {0};
    struct uuid user_id;
    const char *wrong = NULL;
    if (json_read(text, len, &doc, &wrong) == OK)
        wrong = read_row(import, doc, &row);
    if (wrong != NULL) {
        *fate = refuse(import, wrong);
        return OK;
    }
    enum err e = store_register(import->op->conn, &row.credential, NULL, &user_id);
    if (e == ERR_CONFLICT)
        return compare(import, &row, fate);
    if (e == OK)
        *fate = IMPORTED;
    return e;
}

/* ---- all of them ---- */

/* Reads a line without its end; false at the end of the input, and where it cannot be read on: half
 * a line is none. len is LINE_MAX_BYTES + 1 if it is longer than LINE_MAX_BYTES. */
static bool read_line(char line[LINE_MAX_BYTES], size_t *len)
{
    size_t n = 0;
    int c = getchar();
    if (c == EOF)
        return false;
    for (; c != EOF && c != '\n'; c = getchar()) {
        if (n < LINE_MAX_BYTES)
            line[n] = (char)c;
        n += n <= LINE_MAX_BYTES;
    }
    *len = n;
    return ferror(stdin) == 0;
}

/* Up to BATCH lines: all are read before the transaction begins, because input may be slow and the
 * database may have one writer. */
static unsigned read_lines(struct lines *lines)
{
    unsigned n = 0;
    while (n < BATCH && read_line(lines->text[n], &lines->len[n]))
        n++;
    return n;
}

static enum err import_lines(struct import *import, const struct lines *lines, unsigned n,
                             unsigned long fates[FATES])
{
    for (unsigned i = 0; i < n; i++) {
        enum fate fate = REFUSED;
        import->line++;
        if (lines->len[i] == 0)
            continue;
        if (lines->len[i] > LINE_MAX_BYTES)
            fate = refuse(import, "is longer than 4096 bytes");
        else
            TRY(import_line(import, lines->text[i], lines->len[i], &fate));
        fates[fate]++;
    }
    return OK;
}

static enum err import_batch(struct import *import, const struct lines *lines, unsigned n)
{
    unsigned long fates[FATES] = {0};
    TRY(store_batch_begin(import->op->conn));
    enum err imported = import_lines(import, lines, n, fates);
    enum err e = store_batch_end(import->op->conn);
    for (unsigned i = 0; e == OK && i < FATES; i++)
        import->count[i] += fates[i];
    return imported != OK ? imported : e;
}

static enum err import_all(struct import *import)
{
    struct lines *lines CLEANUP(cleanup_lines) = malloc(sizeof *lines);
    if (lines == NULL)
        return ERR_INTERNAL;
    for (unsigned n = read_lines(lines); n > 0; n = read_lines(lines))
        TRY(import_batch(import, lines, n));
    return OK;
}

static void answer(const struct import *import)
{
    const unsigned long *count = import->count;
    if (operator_json(import->op))
        printf("{\"imported\":%lu,\"unchanged\":%lu,\"refused\":%lu}\n", count[IMPORTED],
               count[UNCHANGED], count[REFUSED]);
    else
        printf("imported: %lu; there already: %lu; refused: %lu\n", count[IMPORTED],
               count[UNCHANGED], count[REFUSED]);
}

static void audit(const struct import *import)
{
    struct log_line line;
    log_begin(&line, LOG_INFO, "operator.users_imported", "an operator imported accounts");
    log_i64(&line, "imported", (int64_t)import->count[IMPORTED]);
    log_i64(&line, "unchanged", (int64_t)import->count[UNCHANGED]);
    log_i64(&line, "refused", (int64_t)import->count[REFUSED]);
    operator_sign(&line);
    log_end(&line);
}

int import_users(struct operation *op)
{
    struct import import = {.op = op};
    enum err e = import_all(&import);
    answer(&import);
    if (import.count[IMPORTED] > 0)
        audit(&import);
    bool unread = ferror(stdin) != 0;
    if (e != OK || unread)
        fprintf(stderr,
                "watchword: user import: stopped before line %lu; repeat it whole when this "
                "is mended\n",
                import.line + 1);
    if (e != OK)
        return operator_failed(op, e);
    if (unread) {
        fprintf(stderr, "watchword: user import: standard input cannot be read\n");
        return 1;
    }
    return import.count[REFUSED] == 0 ? 0 : 1;
}
