/* daemun apply */
#include "cli/apply.h"
#include "cli/cli.h"
#include "cli/input.h"
#include "cli/report.h"
#include "cli/verb.h"
#include "base/json.h"

/* results: NULL for people. */
static int apply_one(struct dm_cli *cli, const struct dm_inputs *inputs, size_t at, const struct dm_apply_mode *mode,
                     struct dm_json *results)
{
    const struct dm_input *input = &inputs->items.items[at];
    struct dm_applied applied = {0};
    int rc = dm_apply_input(cli, input, mode, &applied);

    if (mode->is_dry_run && dm_apply_is_made_before(inputs, at))
        applied.is_new_tenant = false;
    if (rc == DM_EXIT_OK && !results) {
        dm_report_changes(cli, input, &applied, mode->is_dry_run ? DM_REPORT_DRY_RUN : DM_REPORT_APPLIED);
        dm_report_keys(cli, &applied);
    }
    if (rc == DM_EXIT_OK && results)
        dm_json_append(results, dm_report_json(input, &applied));
    if (rc == DM_EXIT_OK && results)
        cli->is_quiet = true;
    if (rc == DM_EXIT_OK)
        rc = dm_report_live(cli, applied.live, applied.took_ms);
    dm_applied_done(&applied);
    return rc;
}

static int apply_all(struct dm_cli *cli, const struct dm_inputs *inputs, struct dm_json *results)
{
    struct dm_apply_mode mode = {.is_dry_run = dm_args_has(&cli->args, "dry-run"),
                                 .is_waiting = !dm_args_has(&cli->args, "no-wait"),
                                 .may_prune = dm_args_has(&cli->args, "prune")};
    int rc = DM_EXIT_OK;

    for (size_t i = 0; rc == DM_EXIT_OK && i < inputs->items.count; i++)
        rc = apply_one(cli, inputs, i, &mode, results);
    return rc;
}

static int run(struct dm_cli *cli)
{
    DM_CLEANUP(dm_json_freep) struct dm_json *results = NULL;
    struct dm_inputs inputs = {0};
    int rc = dm_inputs_read(cli, &inputs);

    if (cli->output != DM_OUTPUT_TABLE)
        results = dm_json_new_array();
    if (rc == DM_EXIT_OK) {
        rc = apply_all(cli, &inputs, results);
        if (results)
            dm_cli_print_json(cli, results);
    }
    dm_inputs_done(&inputs);
    return rc;
}

static const struct dm_option options[] = {
    {"file", 'f', "FILE",
     "A file, a directory (its *.yaml, *.yml and *.json), or - for standard input; may be repeated.",
     .completes = DM_COMPLETES_FILES, .is_repeatable = true},
    {"dry-run", 0, NULL, "Ask the controller what would change; change nothing."},
    {"wait", 0, NULL, "Wait until it is live on every gateway, --timeout at most (that is the default)."},
    {"no-wait", 0, NULL, "Return as soon as it is stored."},
    {"prune", 0, NULL, "Delete also what stands in a section that the file does not mention at all."},
};

const struct dm_verb dm_verb_apply = {
    .name = "apply",
    .operands = "-f FILE",
    .summary = "make it so as files say",
    .text =
        "Brings tenants to the state that files describe, and says what it created, changed, deleted and left. Applying "
        "the same again changes nothing.\n"
        "\n"
        "A file holds the whole state of a tenant: what is not in it is deleted. So that a forgotten section does no "
        "harm, backends, products, domains, certificates and applications are deleted for good only where the file mentions their section "
        "(`applications: []`), or with --prune. Each document is applied whole or not at all.\n"
        "\n"
        "An application whose credentials are not mentioned keeps those it has; a credential without a key gets one, "
        "which is shown once. A certificate without its key keeps the one it has. A tenant that is not there is made when you are the master.",
    .options = DM_OPTIONS(options),
    .examples = {{"daemun apply -f team.yaml", "Applies a file and waits until it is live."},
                 {"daemun apply -f teams/ --dry-run", "Says what all files of a directory would change."},
                 {"daemun export | sed 's/value: 100/value: 200/' | daemun apply -f -", "Changes a limit in place."}},
    .run = run,
};
