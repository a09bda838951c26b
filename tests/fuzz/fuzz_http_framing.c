/* Header lines "name:value\n": whatever passes has one Host and at most one statement of length. */
#include "fuzz.h"

#include <strings.h>

#include "net/http_framing.h"

static unsigned counted(const char *in, size_t size, const char *name)
{
    unsigned n = 0;
    for (size_t i = 0; i + strlen(name) < size; i++)
        n += (i == 0 || in[i - 1] == '\n') && strncasecmp(in + i, name, strlen(name)) == 0;
    return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *in = (const char *)data, *end = in + size;
    struct http_framing f = {0};
    for (const char *line = in; line < end;) {
        const char *stop = memchr(line, '\n', (size_t)(end - line));
        stop = stop != NULL ? stop : end;
        const char *colon = memchr(line, ':', (size_t)(stop - line));
        colon = colon != NULL ? colon : stop;
        const char *value = colon < stop ? colon + 1 : stop;
        http_framing_line(&f, line, (size_t)(colon - line), value, (size_t)(stop - value));
        line = stop < end ? stop + 1 : end;
    }
    if (http_framing_ok(&f, true)) {
        REQUIRE(counted(in, size, "Host:") == 1 && memchr(in, '\0', size) == NULL);
        REQUIRE(counted(in, size, "Content-Length:") + counted(in, size, "Transfer-Encoding:") < 2);
        REQUIRE(memchr(in, '\r', size) == NULL && f.length <= INT64_MAX);
    }
    if (http_framing_ok(&f, false))
        REQUIRE(counted(in, size, "Transfer-Encoding:") == 0);
    return 0;
}
