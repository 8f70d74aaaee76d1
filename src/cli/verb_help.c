/* daemun help */
#include "cli/cli.h"
#include "cli/help.h"
#include "cli/verb.h"

static int run(struct dm_cli *cli)
{
    const char *name = dm_args_operand(&cli->args, 0);
    const struct dm_verb *verb = name ? dm_verb_find(name) : NULL;
    const char *near;

    if (dm_args_has(&cli->args, "markdown")) {
        dm_help_manual(cli->world->out);
    } else if (!name) {
        dm_help_all(cli->world->out);
    } else if (verb) {
        dm_help_verb(verb, cli->world->out);
    } else if (!dm_help_topic(name, cli->world->out)) {
        if ((near = dm_verb_near(name)) || (near = dm_option_near(dm_help_topics, name)))
            return dm_cli_fail(cli, DM_EXIT_USAGE, "there is no help on '%s', did you mean '%s'?", name, near);
        return dm_cli_fail(cli, DM_EXIT_USAGE, "there is no help on '%s'; `daemun help` lists verbs and topics", name);
    }
    return DM_EXIT_OK;
}

static const struct dm_option options[] = {
    {"markdown", 0, NULL, "Print the whole manual as Markdown (docs/cli.md)."},
};

const struct dm_verb dm_verb_help = {
    .name = "help",
    .operands = "[verb|topic]",
    .operands_max = 1,
    .summary = "explain a verb, the exit codes, the environment, or files",
    .text =
        "Explains a verb as `daemun <verb> --help` does, or a topic: exit-codes, environment, files. Without a word it "
        "lists the verbs.",
    .options = DM_OPTIONS(options),
    .examples = {{"daemun help apply", "What `apply` does, with all its options."},
                 {"daemun help exit-codes", "What scripts can rely on."}},
    .run = run,
};
