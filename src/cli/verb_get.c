/* daemun get */
#include "cli/cli.h"
#include "cli/kind.h"
#include "cli/session.h"
#include "cli/verb.h"
#include "base/json.h"

#define QUERY_MAX 2048

static int fail_kind(struct dm_cli *cli, const char *name)
{
    const char *near = dm_kind_info_near(name);

    if (near)
        return dm_cli_fail(cli, DM_EXIT_USAGE, "there is no kind '%s', did you mean '%s'?", name, near);
    dm_cli_fail(cli, DM_EXIT_USAGE, "there is no kind '%s'", name);
    fputs("  → Kinds:", cli->world->err);
    for (size_t i = 0; dm_kind_plurals[i]; i++)
        fprintf(cli->world->err, "%s %s", i > 0 ? "," : "", dm_kind_plurals[i]);
    fputc('\n', cli->world->err);
    return DM_EXIT_USAGE;
}

static int find_owner(struct dm_cli *cli, const struct dm_kind_info *kind, const char **ret)
{
    *ret = NULL;
    if (kind->scope == DM_SCOPE_PLATFORM)
        return DM_EXIT_OK;
    return kind->scope == DM_SCOPE_TENANT ? dm_session_tenant(cli, ret) : dm_session_tenant_or_platform(cli, ret);
}

/* --from, --to, --step and the like are the API's own query arguments. */
static void add_query(struct dm_cli *cli, const struct dm_kind_info *kind, struct dm_buf *path)
{
    static const char *const names[] = {"from", "to", "step", "product", "application", "metric"};
    char mark = '?';

    if (strcmp(kind->plural, "usage") != 0)
        return;
    path->len--; /* the NUL */
    for (size_t i = 0; i < DM_COUNT(names); i++) {
        const char *value = dm_args_get(&cli->args, names[i]);

        if (!value)
            continue;
        dm_buf_printf(path, "%c%s=", mark, names[i]);
        dm_client_escape(path, dm_str_of(value));
        mark = '&';
    }
    dm_buf_add_char(path, '\0');
}

static int fetch(struct dm_cli *cli, const struct dm_kind_info *kind, const char *name, struct dm_json **ret)
{
    DM_CLEANUP(dm_buf_done) struct dm_buf path = {0};
    const char *tenant;
    int rc = find_owner(cli, kind, &tenant);

    if (rc != DM_EXIT_OK)
        return rc;
    path = dm_session_path(tenant, kind->plural, name, NULL);
    add_query(cli, kind, &path);
    if (kind->has_pages && !name)
        return dm_session_list(cli, path.ptr, ret);
    return dm_session_do(cli, "GET", path.ptr, NULL, 0, ret);
}

static void print_table(const struct dm_cli *cli, const struct dm_kind_info *kind, const struct dm_json *json,
                        bool is_item)
{
    const struct dm_json *items = is_item ? NULL : dm_json_get(json, "items");
    size_t n = is_item ? 1 : items && dm_json_type(items) == DM_JSON_ARRAY ? dm_json_count(items) : 0;
    struct dm_table table;

    if (n == 0) {
        if (!cli->is_quiet)
            fprintf(cli->world->err, "There are no %s.\n",
                    strcmp(kind->plural, "usage") == 0 ? "calls counted" : kind->plural);
        return;
    }
    dm_table_init(&table, kind->titles);
    for (size_t i = 0; i < n; i++)
        kind->row(is_item ? json : dm_json_at(items, i), &table);
    dm_table_print(&table, cli->world->out);
    dm_table_done(&table);
}

static int run(struct dm_cli *cli)
{
    const struct dm_kind_info *kind = dm_kind_info_find(dm_args_operand(&cli->args, 0));
    const char *name = dm_args_operand(&cli->args, 1);
    DM_CLEANUP(dm_json_freep) struct dm_json *json = NULL;
    int rc;

    if (!kind)
        return fail_kind(cli, dm_args_operand(&cli->args, 0));
    if (name && !kind->has_items)
        return dm_cli_fail(cli, DM_EXIT_USAGE, "%s are shown whole, without a name", kind->plural);
    if ((rc = fetch(cli, kind, name, &json)) != DM_EXIT_OK)
        return rc;
    if (!json || dm_json_type(json) != DM_JSON_OBJECT)
        return dm_cli_fail(cli, DM_EXIT_FAILED, "%s answered with no JSON object", cli->server);
    if (cli->output != DM_OUTPUT_TABLE)
        return dm_cli_print_json(cli, json);
    if (kind->print)
        kind->print(json, cli->world->out);
    else
        print_table(cli, kind, json, name != NULL);
    return DM_EXIT_OK;
}

static const char *const step_names[] = {"total", "minute", "hour", "day", NULL};

static const struct dm_option options[] = {
    {"from", 0, "TIME", "Of usage: the first minute, such as 2026-11-01T12:00:00Z (default: 24 hours ago)."},
    {"to", 0, "TIME", "Of usage: the minute behind the last (default: now)."},
    {"step", 0, "STEP", "Of usage: one row for each total (default), minute, hour or day.", .choices = step_names},
    {"product", 0, "NAME", "Of usage: this product alone."},
    {"application", 0, "NAME", "Of usage: this application alone."},
    {"metric", 0, "NAME", "Of usage: this metric alone."},
};

const struct dm_verb dm_verb_get = {
    .name = "get",
    .operands = "<kind> [name]",
    .operands_min = 1,
    .operands_max = 2,
    .summary = "show what is there: tenants, products, applications, …",
    .text = "Shows all things of a kind, or one of them by its name. A table has the columns that people look for; "
            "-o json gives all members as the API does, -o yaml the same as YAML.\n"
            "\n"
            "    tenants        the tenants that you may see\n"
            "    backends       the tenant's upstreams\n"
            "    products       the APIs that it offers\n"
            "    domains        how its host names are served\n"
            "    certificates   certificates of its domains, and for its backends\n"
            "    applications   who uses them, under which plan\n"
            "    grants         domains and endpoints that the master opened for it\n"
            "    tokens         API tokens; the master's all tokens when no tenant is named\n"
            "    changes        who changed what, newest first; the master's all changes when no tenant is named\n"
            "    usage          what was used, by product, application and metric\n"
            "    status         what is live on which gateway (as `daemun status`)\n"
            "\n"
            "Keys and tokens are never shown again after they were made.",
    .options = DM_OPTIONS(options),
    .examples = {{"daemun get products", "A table of the tenant's products."},
                 {"daemun get application mobile -o json", "One application with all its members."},
                 {"daemun get usage --product orders --step hour", "Calls of a product, hour by hour."}},
    .first = dm_kind_plurals,
    .run = run,
};
