#include "net/http_layout.h"

#include <string.h>

/* CR and LF, both overwritten. */
#define LINE_END 2

static bool is_line_end(const char *p)
{
    return p[0] == '\0' && p[1] == '\0';
}

struct http_layout http_layout_begin(const char *method, const char *target, const char *target_end,
                                     const char *version)
{
    const char *version_end = version + strlen(version);
    bool canonical = method + strlen(method) + 1 == target && target_end + 1 == version &&
                     is_line_end(version_end);
    return (struct http_layout){.expected = version_end + LINE_END, .broken = !canonical};
}

void http_layout_line(struct http_layout *layout, const char *name, size_t name_len,
                      const char *value, size_t value_len)
{
    if (layout->broken)
        return;
    /* The colon, and the blanks that the library skipped. */
    const char *p = name + name_len + 1;
    bool canonical = name == layout->expected && value != NULL && value >= p;
    while (canonical && p < value) {
        canonical = *p == ' ' || *p == '\t';
        p++;
    }
    layout->broken = !canonical || !is_line_end(value + value_len);
    layout->expected = canonical ? value + value_len + LINE_END : NULL;
}

bool http_layout_ok(const struct http_layout *layout)
{
    return !layout->broken && is_line_end(layout->expected);
}
