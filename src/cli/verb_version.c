/* daemun version */
#include "cli/cli.h"
#include "cli/verb.h"
#include "base/json.h"

static int run(struct dm_cli *cli)
{
    DM_CLEANUP(dm_json_freep) struct dm_json *json = NULL;

    if (cli->output == DM_OUTPUT_TABLE) {
        fprintf(cli->world->out, "daemun %s\n", DM_VERSION);
        return DM_EXIT_OK;
    }
    json = dm_json_new_object();
    dm_json_set(json, "version", dm_json_new_string(dm_str_of(DM_VERSION)));
    return dm_cli_print_json(cli, json);
}

const struct dm_verb dm_verb_version = {
    .name = "version",
    .operands = "",
    .summary = "print the version of this program",
    .text = "Prints the version of this program. That of a running controller is in the answer of its /healthz.",
    .examples = {{"daemun version", "Prints `daemun` and the version."},
                 {"daemun version -o json", "The same for a script: {\"version\": \"…\"}."}},
    .run = run,
};
