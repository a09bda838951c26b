/*
 * confine_lists.h: the lists of confine.c, in the order in which somebody will want to read them.
 * For confine.c alone.
 */
#ifndef WW_CONFINE_LISTS_H
#define WW_CONFINE_LISTS_H

/* What getaddrinfo and libpq look at: configuration that everyone may read, and libraries. */
static const char *const RESOLVER_PATHS[] = {
    "/etc/resolv.conf",
    "/etc/hosts",
    "/etc/host.conf",
    "/etc/nsswitch.conf",
    "/etc/gai.conf",
    "/etc/services",
    "/etc/protocols",
    "/etc/passwd",
    "/etc/group",
    "/etc/localtime",
    "/etc/ssl/certs",
    "/etc/ssl/openssl.cnf",
    "/etc/krb5.conf",
    "/etc/ld.so.cache",
    "/run/systemd/resolve",
    "/dev/urandom",
    "/usr/lib",
    "/usr/lib64",
    "/usr/share/zoneinfo",
    "/usr/share/ca-certificates",
    "/sys/devices/system/cpu",
    "/lib",
    "/lib64",
};

/* No process of ours has any business with these: whoever calls one has taken it over. */
static const uint32_t DEADLY[] = {
    SYS_execve,
    SYS_execveat,
    SYS_ptrace,
    SYS_process_vm_readv,
    SYS_process_vm_writev,
    SYS_kcmp,
    SYS_keyctl,
    SYS_add_key,
    SYS_request_key,
    SYS_mount,
    SYS_umount2,
    SYS_pivot_root,
    SYS_chroot,
    SYS_unshare,
    SYS_setns,
    SYS_bpf,
    SYS_perf_event_open,
    SYS_userfaultfd,
    SYS_init_module,
    SYS_finit_module,
    SYS_delete_module,
    SYS_kexec_load,
    SYS_reboot,
    SYS_swapon,
    SYS_swapoff,
    SYS_acct,
    SYS_personality,
    SYS_name_to_handle_at,
    SYS_open_by_handle_at,
#ifdef SYS_kexec_file_load
    SYS_kexec_file_load,
#endif
#ifdef SYS_modify_ldt
    SYS_modify_ldt,
#endif
#ifdef SYS_iopl
    SYS_iopl,
    SYS_ioperm,
#endif
#ifdef SYS_io_uring_setup
    SYS_io_uring_setup,
    SYS_io_uring_enter,
    SYS_io_uring_register,
#endif
#ifdef SYS_pidfd_getfd
    SYS_pidfd_getfd,
#endif
#ifdef SYS_open_tree
    SYS_open_tree,
    SYS_move_mount,
    SYS_fsopen,
    SYS_fsconfig,
    SYS_fsmount,
    SYS_fspick,
#endif
#ifdef SYS_mount_setattr
    SYS_mount_setattr,
#endif
};

#define ALWAYS(name)                                                                               \
    {                                                                                              \
        .call = SYS_##name, .verdict = SECCOMP_ALLOW                                               \
    }
#define ABSENT(name)                                                                               \
    {                                                                                              \
        .call = SYS_##name, .verdict = SECCOMP_ABSENT                                              \
    }
#define ONLY_IF(name, arg, bits, equal)                                                            \
    {                                                                                              \
        .call = SYS_##name, .verdict = SECCOMP_ALLOW, .argument = (arg), .mask = (bits),           \
        .value = (equal)                                                                           \
    }
#define NOT_IF(name, arg, bits, equal)                                                             \
    {                                                                                              \
        .call = SYS_##name, .verdict = SECCOMP_REFUSE, .argument = (arg), .mask = (bits),          \
        .value = (equal)                                                                           \
    }
#define NOT_UNLESS(name, arg, bits, equal)                                                         \
    {                                                                                              \
        .call = SYS_##name, .verdict = SECCOMP_REFUSE, .argument = (arg), .mask = (bits),          \
        .value = (equal), .differs = true                                                          \
    }
#define EXACTLY UINT32_MAX
#define CALLER 0 /* as a process or thread id: whoever calls */

/* Memory that is not code: what can be written is never executed. */
#define MEMORY_CALLS                                                                               \
    NOT_IF(mmap, 2, PROT_WRITE | PROT_EXEC, PROT_WRITE | PROT_EXEC), ALWAYS(mmap),                 \
        NOT_IF(mprotect, 2, PROT_EXEC, PROT_EXEC), ALWAYS(mprotect), ALWAYS(munmap),               \
        ALWAYS(mremap), ALWAYS(madvise), ALWAYS(brk)

/* What any thread does without being asked. */
#define THREAD_CALLS                                                                               \
    ALWAYS(futex), ALWAYS(exit), ALWAYS(exit_group), ALWAYS(rt_sigreturn), ALWAYS(rt_sigprocmask), \
        ALWAYS(restart_syscall), ALWAYS(clock_gettime), ALWAYS(clock_nanosleep),                   \
        ALWAYS(nanosleep), ALWAYS(sched_yield), ALWAYS(getpid), ALWAYS(gettid), ALWAYS(getrandom)

/* Not that a descriptor sends signals to somebody (fcntl(2), "Managing signals"). */
#define FCNTL_CALLS                                                                                \
    NOT_IF(fcntl, 1, EXACTLY, F_SETOWN), NOT_IF(fcntl, 1, EXACTLY, F_SETOWN_EX),                   \
        NOT_IF(fcntl, 1, EXACTLY, F_SETSIG), ALWAYS(fcntl)

/* ---- the signer: asked over sockets it has, answers, computes ---- */
static const struct seccomp_rule SIGNER_CALLS[] = {
    ALWAYS(recvfrom), ALWAYS(sendmsg), ALWAYS(close), MEMORY_CALLS, THREAD_CALLS,
};

/* ---- the keeper, and its children until they have confined themselves further: files below
 * KEYS_DIR, processes, threads; no socket but pairs ---- */
static const struct seccomp_rule KEEPER_CALLS[] = {
    MEMORY_CALLS,
    THREAD_CALLS,
    ALWAYS(mlock),
    ALWAYS(mlock2),
    ALWAYS(munlock),
    ALWAYS(mlockall),
    /* files */
    ALWAYS(openat),
    ALWAYS(close),
    ALWAYS(close_range),
    ALWAYS(read),
    ALWAYS(pread64),
    ALWAYS(write),
    ALWAYS(pwrite64),
    ALWAYS(writev),
    ALWAYS(lseek),
    ALWAYS(fstat),
    ALWAYS(newfstatat),
    ALWAYS(statx),
    FCNTL_CALLS,
    ALWAYS(flock),
    ALWAYS(fsync),
    ALWAYS(fdatasync),
    ALWAYS(ftruncate),
    ALWAYS(fchmod),
    ALWAYS(getdents64),
    ALWAYS(getcwd),
    ALWAYS(readlinkat),
    ALWAYS(faccessat),
    ALWAYS(unlinkat),
    ALWAYS(renameat),
    ALWAYS(renameat2),
    ALWAYS(linkat),
    ALWAYS(mkdirat),
    ALWAYS(umask),
#ifdef __x86_64__ /* what later architectures never had */
    ALWAYS(access),
    ALWAYS(unlink),
    ALWAYS(rename),
    ALWAYS(link),
    ALWAYS(mkdir),
    ALWAYS(readlink),
    ALWAYS(poll),
    ALWAYS(arch_prctl),
    ALWAYS(fork),
#endif
    /* processes and threads */
    ALWAYS(clone),
    ABSENT(clone3),
    ALWAYS(wait4),
    ALWAYS(waitid),
    ALWAYS(kill),
    ALWAYS(getppid),
    ALWAYS(geteuid),
    ALWAYS(getuid),
    ALWAYS(set_robust_list),
    ALWAYS(set_tid_address),
    ALWAYS(rseq),
    ALWAYS(rt_sigaction),
    ALWAYS(sigaltstack),
    ALWAYS(sched_getaffinity),
    ONLY_IF(prlimit64, 0, EXACTLY, CALLER),
    ALWAYS(prctl),
    ALWAYS(seccomp),
    ALWAYS(landlock_create_ruleset),
    ALWAYS(landlock_add_rule),
    ALWAYS(landlock_restrict_self),
    /* words with the others */
    ONLY_IF(socketpair, 0, EXACTLY, AF_UNIX),
    ALWAYS(ppoll),
    ALWAYS(recvfrom),
    ALWAYS(recvmsg),
    ALWAYS(sendto),
    ALWAYS(sendmsg),
};

#define SOCKET_KIND 0xf                            /* the rest are flags */
#define STREAM_OR_DGRAM (SOCK_STREAM | SOCK_DGRAM) /* both together: SOCK_RAW */

/* ---- the process that faces the network ---- */
static const struct seccomp_rule NETWORK_CALLS[] = {
    MEMORY_CALLS,
    THREAD_CALLS,
    ALWAYS(mlock),
    ALWAYS(mlock2),
    ALWAYS(munlock),
    ALWAYS(msync),
    /* waiting */
    ALWAYS(epoll_create1),
    ALWAYS(epoll_ctl),
    ALWAYS(epoll_pwait),
    ALWAYS(ppoll),
    ALWAYS(pselect6),
    ALWAYS(eventfd2),
    ALWAYS(pipe2),
    ALWAYS(signalfd4),
    ALWAYS(rt_sigtimedwait),
    ALWAYS(rt_sigaction),
    ALWAYS(sigaltstack),
    /* sockets: TCP, UDP (names), Unix (PostgreSQL), netlink (which addresses there are) */
    ONLY_IF(socket, 0, EXACTLY, AF_UNIX),
    ONLY_IF(socket, 0, EXACTLY, AF_NETLINK),
    NOT_IF(socket, 1, SOCKET_KIND, SOCK_RAW),
    NOT_UNLESS(socket, 1, SOCKET_KIND & ~(uint32_t)STREAM_OR_DGRAM, 0),
    /* Landlock looks at the ports of TCP alone: not at those of MPTCP, SCTP and others that reach
     * the same places, nor at connections made by sending. */
    NOT_UNLESS(socket, 2, ~(uint32_t)(IPPROTO_TCP | IPPROTO_UDP), 0),
    ONLY_IF(socket, 0, EXACTLY, AF_INET),
    ONLY_IF(socket, 0, EXACTLY, AF_INET6),
    ALWAYS(bind), /* of netlink; no listen */
    ALWAYS(connect),
    ALWAYS(accept4),
    ALWAYS(accept),
    ALWAYS(recvfrom),
    ALWAYS(recvmsg),
    ALWAYS(recvmmsg),
    NOT_IF(sendto, 3, MSG_FASTOPEN, MSG_FASTOPEN),
    ALWAYS(sendto),
    NOT_IF(sendmsg, 2, MSG_FASTOPEN, MSG_FASTOPEN),
    ALWAYS(sendmsg),
    NOT_IF(sendmmsg, 3, MSG_FASTOPEN, MSG_FASTOPEN),
    ALWAYS(sendmmsg),
    ALWAYS(sendfile),
    ALWAYS(shutdown),
    ALWAYS(getsockname),
    ALWAYS(getpeername),
    ALWAYS(getsockopt),
    ALWAYS(setsockopt),
    /* files that are open, or that Landlock lets it open */
    ALWAYS(openat),
    ALWAYS(close),
    ALWAYS(read),
    ALWAYS(readv),
    ALWAYS(pread64),
    ALWAYS(write),
    ALWAYS(writev),
    ALWAYS(pwrite64),
    ALWAYS(lseek),
    ALWAYS(fstat),
    ALWAYS(newfstatat),
    ALWAYS(statx),
    FCNTL_CALLS,
    ALWAYS(flock),
    ALWAYS(fsync),
    ALWAYS(fdatasync),
    ALWAYS(ftruncate),
    ALWAYS(fallocate),
    ALWAYS(fchmod),
    ALWAYS(fchown),
    ALWAYS(getdents64),
    ALWAYS(getcwd),
    ALWAYS(readlinkat),
    ALWAYS(faccessat),
    ALWAYS(unlinkat),
    ALWAYS(umask),
    ONLY_IF(ioctl, 1, EXACTLY, FIONREAD),
    ONLY_IF(ioctl, 1, EXACTLY, FIONBIO),
    /* threads, but no processes */
    ONLY_IF(clone, 0, CLONE_THREAD, CLONE_THREAD),
    ABSENT(clone3), /* its flags cannot be seen from here */
    ALWAYS(set_robust_list),
    ALWAYS(rseq),
    ONLY_IF(tgkill, 0, EXACTLY, CALLER), /* see own_rule */
    ALWAYS(wait4),
    NOT_UNLESS(setpriority, 0, EXACTLY, PRIO_PROCESS), /* not the caller's group, nor its user */
    ONLY_IF(setpriority, 1, EXACTLY, CALLER),
    ALWAYS(getpriority),
    ALWAYS(sched_getaffinity),
    ALWAYS(sched_getparam),
    ALWAYS(sched_getscheduler),
    ONLY_IF(sched_setattr, 0, EXACTLY, CALLER),
    ALWAYS(membarrier),
    ONLY_IF(prctl, 0, EXACTLY, PR_SET_NAME),
    /* what it is told about itself and the machine */
    ALWAYS(getppid),
    ALWAYS(getuid),
    ALWAYS(geteuid),
    ALWAYS(getgid),
    ALWAYS(getegid),
    ALWAYS(uname),
    ALWAYS(sysinfo),
    ALWAYS(getrusage),
    ONLY_IF(prlimit64, 0, EXACTLY, CALLER),
    ALWAYS(getcpu),
    ALWAYS(clock_getres),
    ALWAYS(gettimeofday),
    ALWAYS(times),
#ifdef __x86_64__ /* what later architectures never had */
    ALWAYS(epoll_wait),
    ALWAYS(poll),
    ALWAYS(select),
    ALWAYS(stat),
    ALWAYS(lstat),
    ALWAYS(access),
    ALWAYS(readlink),
    ALWAYS(unlink),
    ALWAYS(time),
    ALWAYS(pipe),
    ALWAYS(open),
    ALWAYS(getrlimit),
#endif
};

#endif
