/* daemun completion */
#include "cli/cli.h"
#include "cli/completion.h"
#include "cli/verb.h"

static const char *const shells[] = {"bash", "zsh", NULL};

static int run(struct dm_cli *cli)
{
    const char *shell = dm_args_operand(&cli->args, 0);

    if (strcmp(shell, "bash") == 0)
        dm_completion_bash(cli->world->out);
    else if (strcmp(shell, "zsh") == 0)
        dm_completion_zsh(cli->world->out);
    else
        return dm_cli_fail(cli, DM_EXIT_USAGE, "there is no completion for '%s'; shells: bash, zsh", shell);
    return DM_EXIT_OK;
}

const struct dm_verb dm_verb_completion = {
    .name = "completion",
    .operands = "<bash|zsh>",
    .operands_min = 1,
    .operands_max = 1,
    .summary = "print completion for a shell",
    .text = "Prints a script that completes verbs, kinds, options and their values.",
    .examples = {{"source <(daemun completion bash)", "In ~/.bashrc: completion in bash."},
                 {"source <(daemun completion zsh)", "In ~/.zshrc: completion in zsh."}},
    .first = shells,
    .run = run,
};
