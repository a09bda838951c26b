/* replay.c: runs a fuzz target over every file of the directories given, without a fuzzer. */
#include <dirent.h>
#include <sys/stat.h>

#include "fuzz.h"

#define INPUT_MAX ((size_t)1 << 20)

static void replay_file(const char *path)
{
    FILE *f = fopen(path, "rb");
    REQUIRE(f != NULL);
    uint8_t *data = malloc(INPUT_MAX);
    REQUIRE(data != NULL);
    size_t len = fread(data, 1, INPUT_MAX, f);
    fclose(f);
    /* A block of exactly this size, so that a read past its end shows. */
    uint8_t *exact = malloc(len > 0 ? len : 1);
    REQUIRE(exact != NULL);
    memcpy(exact, data, len);
    free(data);
    LLVMFuzzerTestOneInput(exact, len);
    free(exact);
}

static unsigned replay_directory(const char *path)
{
    DIR *dir = opendir(path);
    REQUIRE(dir != NULL);
    unsigned count = 0;
    for (struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir)) {
        char name[4096];
        struct stat st;
        int n = snprintf(name, sizeof name, "%s/%s", path, entry->d_name);
        if (n < 0 || (size_t)n >= sizeof name || stat(name, &st) != 0 || !S_ISREG(st.st_mode))
            continue;
        replay_file(name);
        count++;
    }
    closedir(dir);
    return count;
}

int main(int argc, char **argv)
{
    unsigned count = 0;
    for (int i = 1; i < argc; i++)
        count += replay_directory(argv[i]);
    printf("%u inputs\n", count);
    return count > 0 ? 0 : 1;
}
