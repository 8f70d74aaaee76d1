/* Completion of shells, generated from the tables of verbs and options. */
#ifndef DM_CLI_COMPLETION_H
#define DM_CLI_COMPLETION_H

#include "base/defs.h"

void dm_completion_bash(FILE *out);
void dm_completion_zsh(FILE *out);

#endif
