/* One run of the command line. */
#ifndef DM_CLI_CLI_H
#define DM_CLI_CLI_H

#include "cli/exit.h"
#include "cli/option.h"

struct dm_client;
struct dm_json;
struct dm_verb;

enum dm_output { DM_OUTPUT_TABLE, DM_OUTPUT_JSON, DM_OUTPUT_YAML };

/* The outside: standard streams and environment. */
struct dm_cli_world {
    FILE *in, *out, *err;
    bool in_is_terminal, out_is_terminal;
    const char *(*env)(const char *name);
    char *const *argv; /* for a verb that becomes the same program of a newer version; NULL: none does */
};

/* Belongs to the run; verbs read it. */
struct dm_cli {
    const struct dm_cli_world *world;
    const struct dm_verb *verb;
    struct dm_args args;
    enum dm_output output;
    bool is_quiet;
    uint32_t timeout_ms;
    /* session.h; filled at the first call of it */
    struct dm_client *client;
    char *server, *token, *tenant;
};

/* The whole program, given argv without argv[0]. Returns the exit code. */
int dm_cli_run(const struct dm_cli_world *world, int n_args, const char *const *args);

/* A sentence on standard error, with "daemun: " before it; returns code. */
int dm_cli_fail(const struct dm_cli *cli, enum dm_exit code, const char *fmt, ...) DM_PRINTF(3, 4);
/* What to do next, on a line of its own below the sentence. */
void dm_cli_hint(const struct dm_cli *cli, const char *fmt, ...) DM_PRINTF(2, 3);
/* A line on standard output, unless --quiet. */
void dm_cli_say(const struct dm_cli *cli, const char *fmt, ...) DM_PRINTF(2, 3);

/* JSON or YAML on standard output, as --output says (never a table). Returns DM_EXIT_OK or DM_EXIT_FAILED. */
int dm_cli_print_json(const struct dm_cli *cli, const struct dm_json *value);

#endif
