/* daemun create */
#include "cli/apply.h"
#include "cli/cli.h"
#include "cli/report.h"
#include "cli/session.h"
#include "cli/verb.h"
#include "base/json.h"

static const char *const kinds[] = {"tenant", "token", "credential", NULL};

static void set_text(struct dm_json *object, const char *name, const char *text)
{
    struct dm_json *value = text ? dm_json_new_string(dm_str_of(text)) : NULL;

    if (value)
        dm_json_set(object, name, value);
}

static struct dm_str member_text(const struct dm_json *object, const char *name)
{
    const struct dm_json *value = object && dm_json_type(object) == DM_JSON_OBJECT ? dm_json_get(object, name) : NULL;

    return value && dm_json_type(value) == DM_JSON_STRING ? dm_json_string(value) : DM_STR("");
}

/* What was made, and its secret, which is shown here and never again. */
static void tell(struct dm_cli *cli, const struct dm_json *answer, const char *what, const char *name,
                 const char *whose, const char *secret_member)
{
    struct dm_str secret = secret_member ? member_text(answer, secret_member) : DM_STR("");

    if (cli->output != DM_OUTPUT_TABLE) {
        dm_cli_print_json(cli, answer);
        return;
    }
    dm_cli_say(cli, "created %s %s%s%s", what, name, whose ? ", " : "", whose ? whose : "");
    if (secret.len == 0)
        return;
    if (!cli->is_quiet)
        fprintf(cli->world->out, "  %s: ", secret_member);
    fprintf(cli->world->out, "%.*s\n", DM_STR_ARG(secret));
    dm_cli_say(cli, "  Keep it: it is not shown again.");
}

/* POSTs and tells; waits where is_waiting. */
static int post(struct dm_cli *cli, struct dm_buf *path, const struct dm_json *body, bool is_waiting,
                struct dm_json **ret)
{
    dm_apply_add_wait(cli, is_waiting, path);
    return dm_session_do(cli, "POST", path->ptr, body, is_waiting ? cli->timeout_ms : 0, ret);
}

static int finish(struct dm_cli *cli, const struct dm_json *answer)
{
    if (cli->output != DM_OUTPUT_TABLE)
        cli->is_quiet = true;
    return dm_report_live(cli, answer && dm_json_type(answer) == DM_JSON_OBJECT ? dm_json_get(answer, "live") : NULL,
                          0);
}

static int create_tenant(struct dm_cli *cli, const char *name)
{
    DM_CLEANUP(dm_buf_done) struct dm_buf path = dm_session_path(NULL, "tenants", NULL);
    DM_CLEANUP(dm_json_freep) struct dm_json *body = dm_json_new_object();
    DM_CLEANUP(dm_json_freep) struct dm_json *answer = NULL;
    int rc;

    set_text(body, "name", name);
    set_text(body, "description", dm_args_get(&cli->args, "description"));
    if ((rc = post(cli, &path, body, false, &answer)) == DM_EXIT_OK)
        tell(cli, answer, "tenant", name, NULL, NULL);
    return rc;
}

static int create_token(struct dm_cli *cli, const char *name)
{
    DM_CLEANUP(dm_buf_done) struct dm_buf path = {0};
    DM_CLEANUP(dm_json_freep) struct dm_json *body = dm_json_new_object();
    DM_CLEANUP(dm_json_freep) struct dm_json *answer = NULL;
    const char *tenant;
    int rc = dm_session_tenant_or_platform(cli, &tenant);

    if (rc != DM_EXIT_OK)
        return rc;
    if (!tenant && !dm_args_has(&cli->args, "master")) {
        dm_cli_fail(cli, DM_EXIT_USAGE, "whose token? Name a tenant with --tenant, or give --master");
        return DM_EXIT_USAGE;
    }
    if (dm_args_has(&cli->args, "master"))
        tenant = NULL;
    path = dm_session_path(tenant, "tokens", NULL);
    set_text(body, "name", name);
    set_text(body, "role", tenant ? "tenant_admin" : "master_admin");
    set_text(body, "expires_at", dm_args_get(&cli->args, "expires"));
    if ((rc = post(cli, &path, body, false, &answer)) == DM_EXIT_OK)
        tell(cli, answer, "token", name, tenant ? "an admin of the tenant" : "a master admin", "token");
    return rc;
}

/* The key comes from a file or standard input: on the command line everybody on the machine could read it. */
static int add_key(struct dm_cli *cli, struct dm_json *body)
{
    const char *file = dm_args_get(&cli->args, "key-file");
    DM_CLEANUP(dm_buf_done) struct dm_buf key = {0};
    int rc;

    if (!file)
        return DM_EXIT_OK;
    if ((rc = dm_session_read_secret(cli, file, &key)) == DM_EXIT_OK)
        set_text(body, "key", key.ptr);
    return rc;
}

static int post_credential(struct dm_cli *cli, struct dm_buf *path, const struct dm_json *body, const char *name)
{
    DM_CLEANUP(dm_json_freep) struct dm_json *answer = NULL;
    int rc = post(cli, path, body, !dm_args_has(&cli->args, "no-wait"), &answer);

    if (rc != DM_EXIT_OK)
        return rc;
    tell(cli, answer, "credential", name, NULL, "key");
    return finish(cli, answer);
}

static int create_credential(struct dm_cli *cli, const char *name)
{
    DM_CLEANUP(dm_buf_done) struct dm_buf path = {0};
    DM_CLEANUP(dm_json_freep) struct dm_json *body = dm_json_new_object();
    const char *tenant, *slash = strchr(name, '/');
    char *application;
    int rc;

    if (!slash || slash == name || slash[1] == '\0')
        return dm_cli_fail(cli, DM_EXIT_USAGE, "a credential is named as APPLICATION/CREDENTIAL, found '%s'", name);
    if ((rc = dm_session_tenant(cli, &tenant)) != DM_EXIT_OK || (rc = add_key(cli, body)) != DM_EXIT_OK)
        return rc;
    application = dm_strdup(dm_str_n(name, (size_t)(slash - name)));
    path = dm_session_path(tenant, "applications", application, "credentials", NULL);
    dm_free(application);
    set_text(body, "name", slash + 1);
    set_text(body, "type", "api_key");
    return post_credential(cli, &path, body, name);
}

static int run(struct dm_cli *cli)
{
    const char *kind = dm_args_operand(&cli->args, 0), *name = dm_args_operand(&cli->args, 1);

    if (strcmp(kind, "tenant") == 0)
        return create_tenant(cli, name);
    if (strcmp(kind, "token") == 0)
        return create_token(cli, name);
    if (strcmp(kind, "credential") == 0)
        return create_credential(cli, name);
    dm_cli_fail(cli, DM_EXIT_USAGE, "can't create a '%s'; kinds: tenant, token, credential", kind);
    dm_cli_hint(
        cli, "Backends, products, domains, certificates and applications are described in a file: daemun help files");
    return DM_EXIT_USAGE;
}

static const struct dm_option options[] = {
    {"description", 0, "TEXT", "Of a tenant: what people should know about it."},
    {"master", 0, NULL, "Of a token: the master's, who may do everything."},
    {"expires", 0, "TIME", "Of a token: when it ends, such as 2027-01-01T00:00:00Z (default: never)."},
    {"key-file", 0, "FILE", "Of a credential: take the key from this file, - for standard input (default: make one).",
     .completes = DM_COMPLETES_FILES},
    {"no-wait", 0, NULL, "Return as soon as it is stored, not when it is live."},
};

const struct dm_verb dm_verb_create = {
    .name = "create",
    .operands = "<kind> <name>",
    .operands_min = 2,
    .operands_max = 2,
    .summary = "make a tenant, a token, or a credential",
    .text =
        "Makes what has a life of its own beside files: a tenant (master only), an API token for a tenant's admin or for "
        "the master, or a credential of an application (APPLICATION/CREDENTIAL).\n"
        "\n"
        "A token, and a key that was made, is shown once. With --quiet nothing else is printed.",
    .options = DM_OPTIONS(options),
    .examples = {{"daemun create tenant orders --description 'Orders team'", "As the master."},
                 {"daemun create token ci --tenant orders", "A token for that team's pipeline."},
                 {"daemun create credential mobile/second",
                  "A second key for an application, so that the first can go."}},
    .first = kinds,
    .run = run,
};
