"""Which SQL a service on SQLite runs, in order: a library between it and SQLite writes it down."""
from __future__ import annotations

import subprocess
from pathlib import Path

from .settings import preloaded

# A record for each statement that begins: the thread's name, a tab, the text. A mapping outlives the
# closing of files at start, and what the service may no longer open later. Its processes share it.
SIZE = 4 << 20
SOURCE = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static struct {
    atomic_size_t used;
    char records[];
} *log;
static _Thread_local char name[16]; /* the kernel may not be asked for it */

__attribute__((constructor)) static void set_up(void)
{
    int fd = open(getenv("STATEMENTS_FILE"), O_RDWR);
    log = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (log == MAP_FAILED)
        abort();
    close(fd);
}

int pthread_setname_np(pthread_t thread, const char *text)
{
    int (*set)(pthread_t, const char *) =
        (int (*)(pthread_t, const char *))dlsym(RTLD_NEXT, "pthread_setname_np");
    snprintf(name, sizeof name, "%s", text);
    return set(thread, text);
}

int sqlite3_step(sqlite3_stmt *statement)
{
    int (*step)(sqlite3_stmt *) = (int (*)(sqlite3_stmt *))dlsym(RTLD_NEXT, "sqlite3_step");
    if (!sqlite3_stmt_busy(statement)) {
        char record[4096];
        size_t len = (size_t)snprintf(record, sizeof record, "%s\t%s\036", name, sqlite3_sql(statement));
        size_t at = atomic_fetch_add(&log->used, len);
        if (len >= sizeof record || sizeof *log + at + len > SIZE)
            abort();
        memcpy(log->records + at, record, len);
    }
    return step(statement);
}
"""

COUNTER = 8  # bytes before the records
REQUESTS = "db"  # the thread that works for requests


class Statements:
    """What begins, from the last time on."""

    def __init__(self, folder: Path) -> None:
        source, self._library = folder / "statements.c", folder / "statements.so"
        source.write_text(SOURCE)
        subprocess.run(["cc", "-shared", "-fPIC", f"-DSIZE={SIZE}", "-o", str(self._library),
                        str(source)], check=True)
        self._file = folder / "statements"
        self._file.write_bytes(bytes(SIZE))
        self._read = COUNTER

    def settings(self) -> dict[str, str]:
        """For the service's environment."""
        return {**preloaded(self._library), "STATEMENTS_FILE": str(self._file)}

    def take(self) -> list[str]:
        """For requests, in order."""
        text = self._file.read_bytes()[self._read:].rstrip(b"\0")
        self._read += len(text)
        pairs = (record.split("\t", 1) for record in text.decode().split("\036") if record)
        return [sql for thread, sql in pairs if thread == REQUESTS]
