/* daemun diff */
#include "cli/apply.h"
#include "cli/cli.h"
#include "cli/input.h"
#include "cli/report.h"
#include "cli/verb.h"
#include "base/json.h"

static int diff_one(struct dm_cli *cli, const struct dm_inputs *inputs, size_t at, struct dm_json *results,
                    bool *is_different)
{
    const struct dm_input *input = &inputs->items.items[at];
    struct dm_apply_mode mode = {.is_dry_run = true};
    struct dm_applied applied = {0};
    int rc = dm_apply_input(cli, input, &mode, &applied);

    if (rc == DM_EXIT_OK) {
        applied.is_new_tenant = applied.is_new_tenant && !dm_apply_is_made_before(inputs, at);
        *is_different |= applied.is_new_tenant || dm_json_count(applied.changes) > 0;
        if (results)
            dm_json_append(results, dm_report_json(input, &applied));
        else
            dm_report_changes(cli, input, &applied, DM_REPORT_DIFF);
    }
    dm_applied_done(&applied);
    return rc;
}

static int run(struct dm_cli *cli)
{
    DM_CLEANUP(dm_json_freep) struct dm_json *results = NULL;
    struct dm_inputs inputs = {0};
    bool is_different = false;
    int rc = dm_inputs_read(cli, &inputs);

    if (cli->output != DM_OUTPUT_TABLE)
        results = dm_json_new_array();
    for (size_t i = 0; rc == DM_EXIT_OK && i < inputs.items.count; i++)
        rc = diff_one(cli, &inputs, i, results, &is_different);
    dm_inputs_done(&inputs);
    if (rc == DM_EXIT_OK && results)
        rc = dm_cli_print_json(cli, results);
    if (rc == DM_EXIT_OK && !results && !is_different)
        dm_cli_say(cli, "No differences.");
    return rc == DM_EXIT_OK && is_different ? DM_EXIT_DIFFERENT : rc;
}

static const struct dm_option options[] = {
    {"file", 'f', "FILE",
     "A file, a directory (its *.yaml, *.yml and *.json), or - for standard input; may be repeated.",
     .completes = DM_COMPLETES_FILES, .is_repeatable = true},
};

const struct dm_verb dm_verb_diff = {
    .name = "diff",
    .operands = "-f FILE",
    .summary = "show what apply would change",
    .text =
        "Shows what `daemun apply` of the same files would change, and changes nothing: + is created, ~ changed with its "
        "members below, - deleted. Keys are never shown.\n"
        "\n"
        "Exits with 0 when nothing would change and with 1 when something would, so that a script can tell.",
    .options = DM_OPTIONS(options),
    .examples = {{"daemun diff -f team.yaml", "What would change?"},
                 {"daemun diff -q -f team.yaml || echo somebody changed it by hand", "For a script."}},
    .run = run,
};
