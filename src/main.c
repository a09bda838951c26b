/* main.c: which command was asked for. */
#include <fcntl.h>
#include <openssl/crypto.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "commands.h"
#include "confine.h"

static const char HELP[] =
    "watchword " WATCHWORD_VERSION ": an authentication service\n"
    "\n"
    "  watchword serve               run the service (also without a command)\n"
    "  watchword migrate [--status]  bring the database to this version, or show where it is\n"
    "  watchword check [--database]  look for problems in configuration and keys; with --database\n"
    "                                also whether every stored password can be verified\n"
    "  watchword keys COMMAND        list or generate signing keys, or publish, activate, retire "
    "or\n"
    "                                revoke one (named by its kid)\n"
    "  watchword user COMMAND        show, disable, enable, unlock or delete: --tenant UUID, and\n"
    "                                --email ADDRESS or --user UUID; import: from standard input\n"
    "  watchword session COMMAND     list or revoke-all (the user named as above), revoke\n"
    "                                (--session UUID), or revoke-everyone\n"
    "  watchword version             print the version\n"
    "  watchword help                print this\n"
    "\n"
    "For keys, user and session (and migrate): --json prints one JSON object. --yes answers what\n"
    "a command that destroys something asks. keys activate and keys retire do not wait with\n"
    "--emergency; keys revoke ends every session with --sessions. keys drill --url URL rotates\n"
    "the keys of a running service and verifies its tokens all the while; --compromise revokes.\n"
    "\n"
    "Settings come from the environment; the README lists them. Exit codes: 0 done, 1 refused or\n"
    "failed, 2 wrong usage.\n";

static int command_version(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    puts("watchword " WATCHWORD_VERSION);
    return 0;
}

static int command_help(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    fputs(HELP, stdout);
    return 0;
}

static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
} COMMANDS[] = {
    {"serve", command_serve},     {"migrate", command_migrate},   {"check", command_check},
    {"keys", command_keys},       {"user", command_user},         {"session", command_session},
    {"version", command_version}, {"--version", command_version}, {"help", command_help},
    {"--help", command_help},     {"-h", command_help},
};

/* Where one of them was closed by whoever started us, the next file or socket would take its place:
 * the log would go to the database. Opened the wrong way round, each fails as if it were closed. */
static bool hold_standard_streams(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) < 0 &&
            open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY) != fd)
            return false;
    return true;
}

/* Who reads what a command has printed learns from the exit code alone that it is not all there. */
static int printed(int code)
{
    if (fflush(stdout) == 0 && ferror(stdout) == 0)
        return code;
    fprintf(stderr, "watchword: standard output cannot be written\n");
    return code != 0 ? code : 1;
}

int main(int argc, char **argv)
{
    if (!hold_standard_streams())
        return 1;
    umask(077);       /* databases, keys, secrets: nobody else's */
    confine_basics(); /* operators' commands hold them, too */
    /* libnats gives back at exit what OpenSSL would give back once more. First, or it is too late.
     */
    OPENSSL_init_crypto(OPENSSL_INIT_NO_ATEXIT, NULL);
    if (argc < 2)
        return command_serve(0, NULL);
    for (size_t i = 0; i < sizeof COMMANDS / sizeof COMMANDS[0]; i++)
        if (strcmp(argv[1], COMMANDS[i].name) == 0)
            return printed(COMMANDS[i].run(argc - 2, argv + 2));
    fprintf(stderr, "watchword: unknown command: %s (watchword help lists them)\n", argv[1]);
    return 2;
}
