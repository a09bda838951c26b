/* commands.h: what `watchword COMMAND` does. Each returns the exit code: 0 done, 1 refused or
 * failed, 2 wrong usage. */
#ifndef WW_COMMANDS_H
#define WW_COMMANDS_H

int command_serve(int argc, char **argv);
int command_migrate(int argc, char **argv);
int command_check(int argc, char **argv);
int command_keys(int argc, char **argv);
int command_user(int argc, char **argv);
int command_session(int argc, char **argv);

/* Prints the configuration's problems to stderr, one a line; true if there are any. */
struct config;
_Bool print_problems(const struct config *config);

#endif
