#include "confine.h"

#include <fcntl.h>
#include <linux/sched.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/macros.h"
#include "base/seccomp.h"
#include "confine_lists.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) ||                         \
    __has_feature(memory_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

bool confine_is_loose(void)
{
    return SANITIZED;
}

static void allow_sanitizers(struct landlock *l)
{
    if (SANITIZED)
        landlock_allow_path(l, "/", LANDLOCK_READ);
}

void confine_basics(void)
{
    static const struct rlimit none = {0, 0};
    (void)setrlimit(RLIMIT_CORE, &none);
    (void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    (void)prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
}

/* ---- Landlock ---- */

void confine_network_begin(struct landlock *out)
{
    *out = (struct landlock){.fd = -1};
    /* The keeper, which is there before, must end with this process. Without the right to any of
     * the calls that send signals there is nothing to refuse. */
    if (landlock_open(false, out) != OK)
        return;
    for (size_t i = 0; i < ARRAY_LEN(RESOLVER_PATHS); i++)
        landlock_allow_path(out, RESOLVER_PATHS[i], LANDLOCK_READ);
    landlock_allow_path(out, "/dev/null", LANDLOCK_READ | LANDLOCK_WRITE);
    allow_sanitizers(out);
}

/* Takes the ruleset; without one there is nothing to enforce. */
static enum err enforce(enum confine_mode mode, struct landlock *l)
{
    enum err e = ERR_UNAVAILABLE;
    if (mode == CONFINE_OFF)
        e = OK;
    else if (l->fd >= 0)
        e = landlock_enforce(l);
    landlock_close(l);
    return e;
}

static enum err enough(enum confine_mode mode, enum err e)
{
    return mode == CONFINE_REQUIRE ? e : OK;
}

enum err confine_network_files(enum confine_mode mode, struct landlock *l,
                               struct confine_gaps *gaps)
{
    unsigned abi = l->fd >= 0 ? l->abi : 0;
    enum err e = enforce(mode, l);
    gaps->files = e != OK;
    gaps->ports = e != OK || (mode != CONFINE_OFF && abi < 4);
    return enough(mode, e);
}

static enum err no_files(enum confine_mode mode, const char *but)
{
    struct landlock l = {.fd = -1};
    if (mode != CONFINE_OFF && landlock_open(true, &l) == OK) {
        if (but != NULL)
            landlock_allow_path(&l, but, LANDLOCK_READ | LANDLOCK_WRITE | LANDLOCK_CHANGE);
        allow_sanitizers(&l);
    }
    return enough(mode, enforce(mode, &l));
}

enum err confine_signer_files(enum confine_mode mode)
{
    return no_files(mode, NULL);
}

/* ---- seccomp ---- */

/* tgkill names the process, and knows no 0 for the one that calls. */
static struct seccomp_rule own_rule(struct seccomp_rule rule)
{
    if (rule.call == SYS_tgkill)
        rule.value = (uint32_t)getpid();
    return rule;
}

/* confine_is_loose says why. */
static enum err install(enum confine_mode mode, const struct seccomp_rule *allowed, size_t count,
                        enum seccomp_verdict otherwise)
{
    struct seccomp_rule rules[SECCOMP_RULES_MAX];
    size_t n = 0;
    if (mode == CONFINE_OFF)
        return OK;
    for (size_t i = 0; i < ARRAY_LEN(DEADLY); i++)
        if (!SANITIZED || DEADLY[i] != SYS_ptrace)
            rules[n++] = (struct seccomp_rule){.call = DEADLY[i], .verdict = SECCOMP_KILL};
    for (size_t i = 0; i < count && !SANITIZED; i++)
        rules[n++] = own_rule(allowed[i]);
    return enough(mode, seccomp_install(rules, n, SANITIZED ? SECCOMP_ALLOW : otherwise, true));
}

enum err confine_network_calls(enum confine_mode mode, struct confine_gaps *gaps)
{
    enum err e = install(mode == CONFINE_AUTO ? CONFINE_REQUIRE : mode, NETWORK_CALLS,
                         ARRAY_LEN(NETWORK_CALLS), SECCOMP_REFUSE);
    gaps->calls = e != OK;
    return enough(mode, e);
}

enum err confine_keeper(enum confine_mode mode, const char *keys_dir)
{
    TRY(no_files(mode, keys_dir));
    return install(mode, KEEPER_CALLS, ARRAY_LEN(KEEPER_CALLS), SECCOMP_REFUSE);
}

enum err confine_signer_calls(enum confine_mode mode)
{
    return install(mode, SIGNER_CALLS, ARRAY_LEN(SIGNER_CALLS), SECCOMP_KILL);
}
