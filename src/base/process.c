#include "base/process.h"

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/macros.h"

static uint64_t read_clock(clockid_t id)
{
    struct timespec t = {0};
    clock_gettime(id, &t);
    return (uint64_t)t.tv_sec * NS_PER_SECOND + (uint64_t)t.tv_nsec;
}

static pthread_once_t once = PTHREAD_ONCE_INIT;
static int stat_file = -1, fd_dir = -1;

static void open_files(void)
{
    stat_file = open("/proc/self/stat", O_RDONLY | O_CLOEXEC);
    fd_dir = open("/proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

/* proc(5): field 20 is the number of threads, 22 the start in ticks since the machine's, 24 the
 * resident pages. The name, field 2, may hold anything; what follows its last parenthesis does not.
 */
static enum err read_stat(struct process_usage *out)
{
    char line[1024];
    unsigned long long threads = 0, ticks = 0, pages = 0;
    ssize_t n = pread(stat_file, line, sizeof line - 1, 0);
    if (n <= 0)
        return ERR_UNAVAILABLE;
    line[n] = '\0';
    const char *rest = strrchr(line, ')');
    /* NOLINTNEXTLINE(cert-err34-c): the kernel's own numbers */
    if (rest == NULL || sscanf(rest + 1,
                               " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d "
                               "%*d %llu %*d %llu %*u %llu",
                               &threads, &ticks, &pages) != 3)
        return ERR_UNAVAILABLE;
    out->threads = threads;
    out->resident_bytes = pages * (uint64_t)sysconf(_SC_PAGESIZE);
    uint64_t per_second = (uint64_t)sysconf(_SC_CLK_TCK);
    int64_t age_ms =
        (int64_t)(read_clock(CLOCK_BOOTTIME) / NS_PER_MS) - (int64_t)(ticks * 1000 / per_second);
    out->started_unix_ms = clock_unix_ms() - age_ms;
    return OK;
}

static void cleanup_dir(DIR **dir)
{
    if (*dir != NULL)
        closedir(*dir);
}

/* Looks at /proc/self/fd entry by entry: its size says as much since Linux 6.2 only. */
static enum err list_fds(uint64_t *out)
{
    int copy = fcntl(fd_dir, F_DUPFD_CLOEXEC, 0); /* confined, it could not be opened anew */
    DIR *dir CLEANUP(cleanup_dir) = copy >= 0 ? fdopendir(copy) : NULL;
    if (dir == NULL)
        return ERR_UNAVAILABLE;
    rewinddir(dir); /* the position is shared with the last look */
    uint64_t n = 0;
    /* NOLINTNEXTLINE(concurrency-mt-unsafe): the stream is this call's own */
    for (const struct dirent *e = readdir(dir); e != NULL; e = readdir(dir))
        n += e->d_name[0] != '.';
    *out = n - 1; /* the copy */
    return OK;
}

static enum err count_fds(uint64_t *out)
{
    static pthread_mutex_t one_look_at_a_time = PTHREAD_MUTEX_INITIALIZER;
    pthread_mutex_lock(&one_look_at_a_time);
    enum err e = list_fds(out);
    pthread_mutex_unlock(&one_look_at_a_time);
    return e;
}

enum err process_read(struct process_usage *out)
{
    struct process_usage usage = {.cpu_ns = read_clock(CLOCK_PROCESS_CPUTIME_ID)};
    struct rlimit limit;
    pthread_once(&once, open_files);
    TRY(read_stat(&usage));
    TRY(count_fds(&usage.open_fds));
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return ERR_UNAVAILABLE;
    usage.max_fds = limit.rlim_cur;
    *out = usage;
    return OK;
}
