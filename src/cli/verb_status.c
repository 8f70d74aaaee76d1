/* daemun status */
#include "cli/cli.h"
#include "cli/kind.h"
#include "cli/session.h"
#include "cli/verb.h"
#include "base/json.h"

static int64_t number_of(const struct dm_json *object, const char *name)
{
    const struct dm_json *value = dm_json_type(object) == DM_JSON_OBJECT ? dm_json_get(object, name) : NULL;

    return value && dm_json_type(value) == DM_JSON_INT ? dm_json_int(value) : 0;
}

/* Units that are not live on every gateway; *ret_n = all units. */
static size_t count_behind(const struct dm_json *status, size_t *ret_n)
{
    const struct dm_json *units = dm_json_get(status, "units");
    size_t n_behind = 0;

    *ret_n = units && dm_json_type(units) == DM_JSON_ARRAY ? dm_json_count(units) : 0;
    for (size_t i = 0; i < *ret_n; i++) {
        const struct dm_json *unit = dm_json_at(units, i);

        n_behind += number_of(unit, "live") < number_of(unit, "of") || number_of(unit, "of") == 0;
    }
    return n_behind;
}

static int run(struct dm_cli *cli)
{
    DM_CLEANUP(dm_buf_done) struct dm_buf path = {0};
    DM_CLEANUP(dm_json_freep) struct dm_json *status = NULL;
    const char *tenant;
    size_t n, n_behind;
    int rc = dm_session_tenant_or_platform(cli, &tenant);

    if (rc != DM_EXIT_OK)
        return rc;
    path = dm_session_path(tenant, "status", NULL);
    if ((rc = dm_session_do(cli, "GET", path.ptr, NULL, 0, &status)) != DM_EXIT_OK)
        return rc;
    if (!status || dm_json_type(status) != DM_JSON_OBJECT)
        return dm_cli_fail(cli, DM_EXIT_FAILED, "%s answered with no JSON object", cli->server);
    n_behind = count_behind(status, &n);
    if (cli->output != DM_OUTPUT_TABLE)
        dm_cli_print_json(cli, status);
    else if (!cli->is_quiet)
        dm_kind_info_find("status")->print(status, cli->world->out);
    if (cli->output == DM_OUTPUT_TABLE && n_behind > 0)
        dm_cli_say(cli, "\n%zu of %zu units are not live on every gateway.", n_behind, n);
    else if (cli->output == DM_OUTPUT_TABLE && n > 0)
        dm_cli_say(cli, "\nAll is live.");
    return n_behind > 0 ? DM_EXIT_DIFFERENT : DM_EXIT_OK;
}

const struct dm_verb dm_verb_status = {
    .name = "status",
    .operands = "",
    .summary = "what is live on which gateway",
    .text =
        "Shows each unit of configuration (release, applications, grants, domains) with its sequence number, on how many gateways "
        "it is live, and which are behind and why; and the gateways themselves. The master sees all tenants, or one "
        "with --tenant.\n"
        "\n"
        "Exits with 0 when everything is live everywhere and with 1 when something is behind.",
    .examples = {{"daemun status", "Is my change live?"},
                 {"daemun status -q --tenant orders && echo all live", "For a script, as the master."}},
    .run = run,
};
