/* Help texts, from the tables of verbs and options. */
#ifndef DM_CLI_HELP_H
#define DM_CLI_HELP_H

#include "base/defs.h"

struct dm_verb;

/* The list of verbs. */
void dm_help_all(FILE *out);
void dm_help_verb(const struct dm_verb *verb, FILE *out);
/* "exit-codes", "environment", "files"; false when there is no such topic. */
bool dm_help_topic(const char *name, FILE *out);
/* All of it as Markdown: docs/cli.md. */
void dm_help_manual(FILE *out);

extern const char *const dm_help_topics[]; /* NULL-terminated */

#endif
