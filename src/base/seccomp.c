#include "base/seccomp.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__x86_64__)
#define ARCHITECTURE AUDIT_ARCH_X86_64
#define FOREIGN_CALLS 0x40000000u /* those of the x32 ABI start here */
#elif defined(__aarch64__)
#define ARCHITECTURE AUDIT_ARCH_AARCH64
#define FOREIGN_CALLS UINT32_MAX
#else
#define ARCHITECTURE 0 /* what the kernel calls this one is not known here: no filter */
#define FOREIGN_CALLS UINT32_MAX
#endif

#define STEPS_A_RULE 6
#define STEPS_AROUND 7

struct program {
    struct sock_filter steps[SECCOMP_RULES_MAX * STEPS_A_RULE + STEPS_AROUND];
    unsigned short count;
};

static void put(struct program *p, struct sock_filter step)
{
    p->steps[p->count++] = step;
}

static void load(struct program *p, size_t offset)
{
    put(p, (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)offset));
}

/* Skips so many steps unless the loaded word is value. */
static void unless_equal(struct program *p, uint32_t value, uint8_t skip)
{
    put(p, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, 0, skip));
}

static void decide(struct program *p, enum seccomp_verdict verdict)
{
    static const uint32_t actions[] = {
        [SECCOMP_ALLOW] = SECCOMP_RET_ALLOW,
        [SECCOMP_REFUSE] = SECCOMP_RET_ERRNO | EPERM,
        [SECCOMP_ABSENT] = SECCOMP_RET_ERRNO | ENOSYS,
        [SECCOMP_KILL] = SECCOMP_RET_KILL_PROCESS,
    };
    put(p, (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, actions[verdict]));
}

static void put_rule(struct program *p, const struct seccomp_rule *rule)
{
    if (rule->mask == 0) {
        unless_equal(p, rule->call, 1);
        decide(p, rule->verdict);
        return;
    }
    unless_equal(p, rule->call, 5);
    /* The low half: both architectures are little-endian. */
    load(p, offsetof(struct seccomp_data, args) + rule->argument * sizeof(uint64_t));
    put(p, (struct sock_filter)BPF_STMT(BPF_ALU | BPF_AND | BPF_K, rule->mask));
    put(p, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, rule->value, rule->differs,
                                        !rule->differs));
    decide(p, rule->verdict);
    load(p, offsetof(struct seccomp_data, nr));
}

enum err seccomp_install(const struct seccomp_rule *rules, size_t count,
                         enum seccomp_verdict otherwise, bool all_threads)
{
    struct program p = {.count = 0};
    if (count > SECCOMP_RULES_MAX)
        return ERR_TOO_LARGE;
    if (ARCHITECTURE == 0)
        return ERR_UNAVAILABLE;
    load(&p, offsetof(struct seccomp_data, arch));
    put(&p, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ARCHITECTURE, 1, 0));
    decide(&p, SECCOMP_KILL);
    load(&p, offsetof(struct seccomp_data, nr));
    put(&p, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, FOREIGN_CALLS, 0, 1));
    decide(&p, SECCOMP_KILL);
    for (size_t i = 0; i < count; i++)
        put_rule(&p, &rules[i]);
    decide(&p, otherwise);
    const struct sock_fprog program = {p.count, p.steps};
    long done = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
                        all_threads ? SECCOMP_FILTER_FLAG_TSYNC : 0, &program);
    return done == 0 ? OK : ERR_UNAVAILABLE;
}
