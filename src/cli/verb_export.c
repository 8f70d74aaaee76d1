/* daemun export */
#include "cli/cli.h"
#include "cli/session.h"
#include "cli/verb.h"
#include "base/json.h"

static int run(struct dm_cli *cli)
{
    DM_CLEANUP(dm_buf_done) struct dm_buf path = {0};
    DM_CLEANUP(dm_json_freep) struct dm_json *json = NULL;
    const char *tenant;
    int rc = dm_session_tenant(cli, &tenant);

    if (rc != DM_EXIT_OK)
        return rc;
    path = dm_session_path(tenant, "document", NULL);
    if ((rc = dm_session_do(cli, "GET", path.ptr, NULL, 0, &json)) != DM_EXIT_OK)
        return rc;
    if (!json || dm_json_type(json) != DM_JSON_OBJECT)
        return dm_cli_fail(cli, DM_EXIT_FAILED, "%s answered with no JSON object", cli->server);
    if (dm_args_has(&cli->args, "no-grants"))
        dm_json_del(json, "grants");
    if (cli->output == DM_OUTPUT_TABLE)
        cli->output = DM_OUTPUT_YAML;
    return dm_cli_print_json(cli, json);
}

static const struct dm_option options[] = {
    {"no-grants", 0, NULL, "Leave out what the master granted: the file is then the tenant's own business alone."},
};

const struct dm_verb dm_verb_export = {
    .name = "export",
    .operands = "",
    .summary = "write the whole state of a tenant as a file",
    .text =
        "Writes the whole state of a tenant to standard output, as YAML or with -o json as JSON. What has its default is "
        "left out, and so are keys of applications and certificates, which nobody can read. Applying what was exported changes nothing.",
    .options = DM_OPTIONS(options),
    .examples = {{"daemun export > team.yaml", "Keeps the tenant's state, for instance in git."},
                 {"daemun export --tenant orders -o json", "As the master, of one tenant, as JSON."}},
    .run = run,
};
