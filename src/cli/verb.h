/* Verbs: one file each, described by a table that drives dispatch, help, completion and docs/cli.md. */
#ifndef DM_CLI_VERB_H
#define DM_CLI_VERB_H

#include "cli/option.h"

struct dm_cli;

struct dm_example {
    const char *command;
    const char *does;
};

#define DM_VERB_EXAMPLES_MAX 4

struct dm_verb {
    const char *name;
    const char *operands; /* "<kind> [name]", "" = none */
    size_t operands_min, operands_max;
    const char *summary; /* a few words, in the list of verbs */
    const char *text;    /* what it does; paragraphs, one line each */
    struct dm_options options;
    struct dm_example examples[DM_VERB_EXAMPLES_MAX];
    const char *const *first;       /* what the first operand may be, for completion; NULL-terminated or NULL */
    int (*run)(struct dm_cli *cli); /* returns an enum dm_exit */
};

extern const struct dm_verb dm_verb_serve, dm_verb_login, dm_verb_get, dm_verb_apply, dm_verb_diff, dm_verb_export,
    dm_verb_create, dm_verb_delete, dm_verb_status, dm_verb_circuit, dm_verb_completion, dm_verb_version, dm_verb_help;

/* All of them, in the order of the help; NULL-terminated. */
extern const struct dm_verb *const dm_verbs[];
/* Options that every verb takes. */
extern const struct dm_options dm_global_options;

/* NULL when there is none such. */
const struct dm_verb *dm_verb_find(const char *name);
/* The nearest name, or NULL. */
const char *dm_verb_near(const char *name);

#endif
