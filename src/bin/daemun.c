/* daemun: the command line. */
#include <signal.h>
#include <unistd.h>

#include "cli/child.h"
#include "cli/cli.h"

static const char *env(const char *name)
{
    return getenv(name);
}

int main(int argc, char **argv)
{
    struct dm_cli_world world = {
        .in = stdin,
        .out = stdout,
        .err = stderr,
        .in_is_terminal = isatty(STDIN_FILENO),
        .out_is_terminal = isatty(STDOUT_FILENO),
        .env = env,
        .argv = argv,
    };

    if (argc > 2 && strcmp(argv[1], DM_CHILD_EXEC) == 0)
        return dm_child_exec(argv + 2);
    signal(SIGPIPE, SIG_IGN);
    return dm_cli_run(&world, argc - 1, (const char *const *)argv + 1);
}
