/* file.h: small files that may hold secrets. For the start of the program; not for request paths.
 */
#ifndef WW_BASE_FILE_H
#define WW_BASE_FILE_H

#include "base/secret.h"

/* Reads a whole regular file of at most max bytes. ERR_NOT_FOUND, ERR_TOO_LARGE, or ERR_UNAVAILABLE
 * (errno tells). */
MUST_USE enum err file_read(const char *path, size_t max, struct secret *out);

/* The same of an open file, whole, wherever others that share the descriptor have read to. */
MUST_USE enum err file_read_descriptor(int fd, size_t max, struct secret *out);

/* As file_read, and ERR_FORBIDDEN unless the file is a regular file (no link) of this user (or
 * root) that nobody else can read or write. */
MUST_USE enum err file_read_private(const char *path, size_t max, struct secret *out);

/* Creates path with mode 0600 and these bytes, whole or not at all, synced to disk. ERR_CONFLICT if
 * it exists already: then nothing is changed. */
MUST_USE enum err file_create_private(const char *path, const void *data, size_t len);

/* As file_create_private, but takes the place of what is there, in one step: whoever reads gets all
 * of the old or all of the new, also after a crash. */
MUST_USE enum err file_replace_private(const char *path, const void *data, size_t len);

/* Overwrites a regular file, as far as a file system lets us, and removes it, synced to disk. It
 * loses its name first (to one with FILE_GONE_SUFFIX), so that nobody finds it half destroyed. A
 * file that has another name loses this one only. ERR_NOT_FOUND. */
MUST_USE enum err file_destroy(const char *path);

/* What a crash may leave behind, beside what was there. */
#define FILE_PART_SUFFIX ".part"
#define FILE_GONE_SUFFIX ".gone"

/* Makes a directory (and its missing parents) with mode 0700; fine if it exists. */
MUST_USE enum err file_make_dir(const char *path);

#endif
