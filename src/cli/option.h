/* Options of the command line: tables that drive reading, help, completion and the manual.
 *
 * `--name value`, `--name=value`, `-f value`, `-fvalue`; options and operands in any order; `--` ends options; `-`
 * alone is an operand. An option given twice counts the last time, unless it is repeatable. */
#ifndef DM_CLI_OPTION_H
#define DM_CLI_OPTION_H

#include "base/err.h"
#include "base/vec.h"

enum dm_completes { DM_COMPLETES_NOTHING, DM_COMPLETES_FILES, DM_COMPLETES_DIRECTORIES };

struct dm_option {
    const char *name;           /* without "--" */
    char letter;                /* 0 = none */
    const char *value;          /* "FILE"; NULL = a switch */
    const char *doc;            /* what it does, with its default */
    const char *const *choices; /* the only values there are, NULL-terminated; NULL = any */
    enum dm_completes completes;
    bool is_repeatable;
};

struct dm_options {
    const struct dm_option *items;
    size_t count;
};
#define DM_OPTIONS(table)                                                                                              \
    {                                                                                                                  \
        (table), DM_COUNT(table)                                                                                       \
    }

struct dm_args {
    DM_VEC(struct dm_arg) given;
    DM_VEC(const char *) operands;
};

struct dm_arg {
    const struct dm_option *option;
    const char *value; /* "" of a switch; borrowed from argv */
};

/* Reads args against the tables. DM_EINVAL with a sentence that names the argument and, for a misspelt option, the
 * nearest. The caller calls dm_args_done also after a failure; ret is zero-initialised before. */
DM_MUST_USE int dm_args_read(const struct dm_options *tables, size_t n_tables, int n_args, const char *const *args,
                             struct dm_args *ret, struct dm_err *err);
void dm_args_done(struct dm_args *args);

/* The value given last, or NULL. */
const char *dm_args_get(const struct dm_args *args, const char *name);
/* The i-th value of a repeatable option, or NULL. */
const char *dm_args_at(const struct dm_args *args, const char *name, size_t i);
bool dm_args_has(const struct dm_args *args, const char *name);
/* The i-th operand, or NULL. */
const char *dm_args_operand(const struct dm_args *args, size_t i);

/* The nearest of the NULL-terminated names, near enough to be meant, or NULL. */
const char *dm_option_near(const char *const *names, const char *name);

#endif
