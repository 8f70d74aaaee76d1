/* daemun login */
#include "cli/cli.h"
#include "cli/config.h"
#include "cli/session.h"
#include "cli/verb.h"
#include "base/json.h"
#include "base/mem.h"

#define TOKEN_MAX 1024

static struct dm_str member_text(const struct dm_json *object, const char *name)
{
    const struct dm_json *value = dm_json_type(object) == DM_JSON_OBJECT ? dm_json_get(object, name) : NULL;

    return value && dm_json_type(value) == DM_JSON_STRING ? dm_json_string(value) : DM_STR("");
}

/* --token, --token-stdin, --token-file, or DAEMUN_TOKEN; into *ret, NUL-terminated. */
static int read_token(struct dm_cli *cli, struct dm_buf *ret)
{
    const char *given = dm_args_get(&cli->args, "token"), *file = dm_args_get(&cli->args, "token-file");

    if (!given && !file && !dm_args_has(&cli->args, "token-stdin"))
        given = cli->world->env("DAEMUN_TOKEN");
    if (given && given[0] != '\0') {
        dm_buf_init(ret, TOKEN_MAX);
        dm_buf_add(ret, dm_str_of(given));
        dm_buf_add_char(ret, '\0');
        ret->len--;
        return ret->failed ? dm_cli_fail(cli, DM_EXIT_USAGE, "the token is too long") : DM_EXIT_OK;
    }
    return dm_session_read_secret(cli, file ? file : "-", ret);
}

static void warn_of_clear_text(const struct dm_cli *cli)
{
    if (strncmp(cli->server, "http://", 7) == 0 && !dm_client_is_local(cli->server))
        fprintf(cli->world->err, "daemun: warning: %s is clear text: whoever is on the way can read the token\n",
                cli->server);
}

static int keep(struct dm_cli *cli, const struct dm_json *who)
{
    struct dm_str role = member_text(who, "role"), tenant = member_text(who, "tenant"), name = member_text(who, "name");
    DM_CLEANUP(dm_freep) char *kept_tenant = tenant.len > 0 ? dm_strdup(tenant) : NULL;
    struct dm_config config = {.server = cli->server, .token = cli->token, .tenant = kept_tenant};
    char path[DM_CONFIG_PATH_MAX];
    struct dm_err err = {0};

    if (dm_config_write(cli->world, &config, &err) < 0 || dm_config_path(cli->world, path, &err) < 0)
        return dm_cli_fail(cli, DM_EXIT_FAILED, "%s", err.message);
    warn_of_clear_text(cli);
    if (tenant.len > 0)
        dm_cli_say(cli, "Signed in to %s as %.*s, %.*s of tenant %.*s.", cli->server, DM_STR_ARG(name),
                   DM_STR_ARG(role), DM_STR_ARG(tenant));
    else
        dm_cli_say(cli, "Signed in to %s as %.*s, %.*s.", cli->server, DM_STR_ARG(name), DM_STR_ARG(role));
    dm_cli_say(cli, "The token is kept in %s.", path);
    return DM_EXIT_OK;
}

static int run(struct dm_cli *cli)
{
    DM_CLEANUP(dm_json_freep) struct dm_json *who = NULL;
    DM_CLEANUP(dm_buf_done) struct dm_buf token = {0};
    int rc = read_token(cli, &token);

    if (rc != DM_EXIT_OK || (rc = dm_session_use_token(cli, token.ptr)) != DM_EXIT_OK)
        return rc;
    dm_mem_wipe(token.ptr, token.len);
    if ((rc = dm_session_do(cli, "GET", "/api/v1/whoami", NULL, 0, &who)) != DM_EXIT_OK)
        return rc;
    if (!who || member_text(who, "role").len == 0)
        return dm_cli_fail(cli, DM_EXIT_FAILED, "%s did not say whose token this is", cli->server);
    return keep(cli, who);
}

static const struct dm_option options[] = {
    {"token-stdin", 0, NULL, "Read the token from standard input (default, when no other option names one)."},
    {"token", 0, "TOKEN",
     "The token itself. Others on this machine can see it while this runs; better from standard input."},
};

const struct dm_verb dm_verb_login = {
    .name = "login",
    .operands = "",
    .summary = "check a token and keep it for the next calls",
    .text = "Checks a token with the controller and keeps it, with the server's address, in daemun/config.json below "
            "XDG_CONFIG_HOME or ~/.config, for you alone (mode 0600). The first master token was printed when `daemun "
            "serve` started for the first time; more are made with `daemun create token`.",
    .options = DM_OPTIONS(options),
    .examples = {{"daemun login --server https://gate.example.com:9080 --token-stdin < token.txt", "Signs in."},
                 {"daemun login", "Signs in to http://127.0.0.1:9080; asks for the token, which is not shown."}},
    .run = run,
};
