/* daemun delete */
#include "cli/apply.h"
#include "cli/cli.h"
#include "cli/report.h"
#include "cli/session.h"
#include "cli/verb.h"
#include "base/json.h"

static const char *const kinds[] = {"tenant",      "backend",    "product", "domain",  "certificate",
                                    "application", "credential", "token",   "gateway", NULL};
static const char *const plurals[] = {"tenants",      "backends",    "products", "domains", "certificates",
                                      "applications", "credentials", "tokens",   "gateways"};

/* Index into kinds, by singular or plural; -1. */
static int find_kind(const char *name)
{
    for (size_t i = 0; kinds[i]; i++)
        if (strcmp(kinds[i], name) == 0 || strcmp(plurals[i], name) == 0)
            return (int)i;
    return -1;
}

/* A credential is "application/credential". */
static int credential_path(struct dm_cli *cli, const char *tenant, const char *name, struct dm_buf *ret)
{
    const char *slash = strchr(name, '/');
    char *application;

    if (!slash || slash == name || slash[1] == '\0')
        return dm_cli_fail(cli, DM_EXIT_USAGE, "a credential is named as APPLICATION/CREDENTIAL, found '%s'", name);
    application = dm_strdup(dm_str_n(name, (size_t)(slash - name)));
    *ret = dm_session_path(tenant, "applications", application, "credentials", slash + 1, NULL);
    dm_free(application);
    return DM_EXIT_OK;
}

static struct dm_str member_text(const struct dm_json *object, const char *name)
{
    const struct dm_json *value = dm_json_get(object, name);

    return value && dm_json_type(value) == DM_JSON_STRING ? dm_json_string(value) : DM_STR("");
}

/* Tokens go by their id; a name will do where only one has it. */
static int find_token(struct dm_cli *cli, const struct dm_json *list, const char *name, char id[24])
{
    const struct dm_json *items = dm_json_get(list, "items");
    size_t n_found = 0;

    for (size_t i = 0; i < dm_json_count(items); i++) {
        const struct dm_json *item = dm_json_at(items, i), *number = dm_json_get(item, "id");

        if (!number || !dm_str_eq(member_text(item, "name"), dm_str_of(name)))
            continue;
        n_found++;
        snprintf(id, 24, "%lld", (long long)dm_json_int(number));
    }
    if (n_found == 0)
        return dm_cli_fail(cli, DM_EXIT_REFUSED, "there is no token '%s'; `daemun get tokens` lists them", name);
    if (n_found > 1)
        return dm_cli_fail(cli, DM_EXIT_USAGE,
                           "%zu tokens are called '%s'; name one by its id from `daemun get tokens`", n_found, name);
    return DM_EXIT_OK;
}

static int token_path(struct dm_cli *cli, const char *name, struct dm_buf *ret)
{
    DM_CLEANUP(dm_buf_done) struct dm_buf path = {0};
    DM_CLEANUP(dm_json_freep) struct dm_json *list = NULL;
    const char *tenant;
    uint64_t number;
    char id[24];
    int rc = dm_session_tenant_or_platform(cli, &tenant);

    if (rc != DM_EXIT_OK)
        return rc;
    snprintf(id, sizeof(id), "%.23s", name);
    path = dm_session_path(tenant, "tokens", NULL);
    if (dm_str_to_u64(dm_str_of(name), &number) < 0 && ((rc = dm_session_list(cli, path.ptr, &list)) != DM_EXIT_OK ||
                                                        (rc = find_token(cli, list, name, id)) != DM_EXIT_OK))
        return rc;
    *ret = dm_session_path(tenant, "tokens", id, NULL);
    return DM_EXIT_OK;
}

static int path_of(struct dm_cli *cli, int kind, const char *name, struct dm_buf *ret)
{
    const char *tenant;
    int rc;

    if (strcmp(kinds[kind], "tenant") == 0) {
        *ret = dm_session_path(name, NULL);
        return DM_EXIT_OK;
    }
    if (strcmp(kinds[kind], "gateway") == 0) {
        *ret = dm_session_path(NULL, "gateways", name, NULL);
        return DM_EXIT_OK;
    }
    if (strcmp(kinds[kind], "token") == 0)
        return token_path(cli, name, ret);
    if ((rc = dm_session_tenant(cli, &tenant)) != DM_EXIT_OK)
        return rc;
    if (strcmp(kinds[kind], "credential") == 0)
        return credential_path(cli, tenant, name, ret);
    *ret = dm_session_path(tenant, plurals[kind], name, NULL);
    return DM_EXIT_OK;
}

/* All that a tenant has goes with it. */
static int confirm_tenant(struct dm_cli *cli, const char *name)
{
    char line[256] = "";
    size_t len;

    if (dm_args_has(&cli->args, "yes"))
        return DM_EXIT_OK;
    if (!cli->world->in_is_terminal)
        return dm_cli_fail(cli, DM_EXIT_USAGE, "deleting tenant %s deletes all that it has; give --yes if you mean it",
                           name);
    fprintf(cli->world->err, "This deletes tenant %s with all that it has. Type its name to go on: ", name);
    fflush(cli->world->err);
    if (!fgets(line, sizeof(line), cli->world->in))
        line[0] = '\0';
    len = strcspn(line, "\n");
    line[len] = '\0';
    return strcmp(line, name) == 0 ? DM_EXIT_OK : dm_cli_fail(cli, DM_EXIT_USAGE, "nothing was deleted");
}

/* Is it something that goes from gateways too? */
static bool is_on_gateways(int kind)
{
    return strcmp(kinds[kind], "token") != 0 && strcmp(kinds[kind], "gateway") != 0;
}

static int delete (struct dm_cli *cli, int kind, const char *name, struct dm_buf *path)
{
    DM_CLEANUP(dm_json_freep) struct dm_json *answer = NULL;
    bool is_waiting = !dm_args_has(&cli->args, "no-wait") && is_on_gateways(kind);
    int rc;

    dm_apply_add_wait(cli, is_waiting, path);
    rc = dm_session_do(cli, "DELETE", path->ptr, NULL, is_waiting ? cli->timeout_ms : 0, &answer);
    if (rc != DM_EXIT_OK)
        return rc;
    dm_cli_say(cli, "deleted %s %s", kinds[kind], name);
    if (answer && dm_json_type(answer) == DM_JSON_OBJECT)
        rc = dm_report_live(cli, dm_json_get(answer, "live"), 0);
    return rc;
}

static int run(struct dm_cli *cli)
{
    const char *name = dm_args_operand(&cli->args, 1);
    int kind = find_kind(dm_args_operand(&cli->args, 0)), rc;
    DM_CLEANUP(dm_buf_done) struct dm_buf path = {0};

    if (kind < 0)
        return dm_cli_fail(
            cli, DM_EXIT_USAGE,
            "can't delete a '%s'; kinds: tenant, backend, product, domain, certificate, application, credential, token, gateway",
            dm_args_operand(&cli->args, 0));
    if (strcmp(kinds[kind], "tenant") == 0 && (rc = confirm_tenant(cli, name)) != DM_EXIT_OK)
        return rc;
    if ((rc = path_of(cli, kind, name, &path)) != DM_EXIT_OK)
        return rc;
    return delete (cli, kind, name, &path);
}

static const struct dm_option options[] = {
    {"yes", 'y', NULL, "Delete a tenant without asking."},
    {"no-wait", 0, NULL, "Return as soon as it is stored, not when it is live."},
};

const struct dm_verb dm_verb_delete = {
    .name = "delete",
    .operands = "<kind> <name>",
    .operands_min = 2,
    .operands_max = 2,
    .summary = "delete one thing by its name",
    .text =
        "Deletes a tenant, backend, product, domain, certificate, application, credential (APPLICATION/CREDENTIAL), token (its id, or its name when "
        "only one has it) or gateway, and waits until nothing of it is on any gateway. What something else needs is refused "
        "with the reason.\n"
        "\n"
        "A tenant goes with all that it has, so that is asked for again. A gateway is deleted when it is gone for good: until "
        "then it counts among those that a change must be live on, connected or not.",
    .options = DM_OPTIONS(options),
    .examples = {{"daemun delete application mobile", "Its keys stop working at once."},
                 {"daemun delete credential mobile/first", "Revokes one key."},
                 {"daemun delete gateway gateway-2",
                  "As the master: it was taken down, and nobody waits for it any more."}},
    .first = kinds,
    .run = run,
};
