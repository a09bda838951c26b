/* commands_import.h: watchword user import, for main's command table. */
#ifndef WW_COMMANDS_IMPORT_H
#define WW_COMMANDS_IMPORT_H

#include "commands_operator.h"

/* Adds the users that standard input names, one JSON object a line. Gives the exit code. */
int import_users(struct operation *op);

#endif
