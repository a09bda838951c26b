/* json_read: what is accepted, written out by jansson, is accepted again and means the same. */
#include "fuzz.h"

#include "base/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    json_t *j = NULL, *again = NULL;
    const char *why = NULL;
    if (json_read((const char *)data, size, &j, &why) != OK) {
        REQUIRE(why != NULL && j == NULL);
        return 0;
    }
    REQUIRE(json_is_object(j) && memchr(data, '\0', size) == NULL);
    REQUIRE(utf8_valid((const char *)data, size, NULL));
    char *text = json_dumps(j, JSON_COMPACT | JSON_REAL_PRECISION(17));
    REQUIRE(text != NULL);
    REQUIRE(json_read(text, strlen(text), &again, &why) == OK && json_equal(j, again));
    free(text);
    json_decref(again);
    json_decref(j);
    return 0;
}
