#include <termios.h>

#include "cli/session.h"
#include "cli/config.h"
#include "cli/problem.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/sys.h"

#define SECRET_MAX 1024
#define PATH_MAX_BYTES 4096

/* --- where to, and as whom ---------------------------------------------------------------------------------------- */

static char *copy(const char *s)
{
    return s && s[0] != '\0' ? dm_strdup(dm_str_of(s)) : NULL;
}

static const char *option_or_env(const struct dm_cli *cli, const char *option, const char *env)
{
    const char *value = dm_args_get(&cli->args, option);

    return value ? value : cli->world->env(env);
}

static int find_server(struct dm_cli *cli, const struct dm_config *config)
{
    DM_CLEANUP(dm_buf_done) struct dm_buf server = {0};
    const char *given = option_or_env(cli, "server", "DAEMUN_SERVER");
    struct dm_err err = {0};

    if (!given || given[0] == '\0')
        given = config->server ? config->server : DM_SERVER_DEFAULT;
    dm_buf_init(&server, 1024);
    if (dm_client_server(dm_str_of(given), &server, &err) < 0)
        return dm_cli_fail(cli, DM_EXIT_USAGE, "%s", err.message);
    cli->server = dm_strdup(dm_buf_str(&server));
    return DM_EXIT_OK;
}

/* One line without echo. */
static ssize_t ask(struct dm_cli *cli, char *ret, size_t max)
{
    int fd = fileno(cli->world->in);
    struct termios before, hidden;
    bool is_hidden = tcgetattr(fd, &before) == 0;

    fputs("Secret (not shown): ", cli->world->err);
    fflush(cli->world->err);
    if (is_hidden) {
        hidden = before;
        hidden.c_lflag &= ~(tcflag_t)ECHO;
        tcsetattr(fd, TCSAFLUSH, &hidden);
    }
    if (!fgets(ret, (int)max, cli->world->in))
        ret[0] = '\0';
    if (is_hidden)
        tcsetattr(fd, TCSAFLUSH, &before);
    fputc('\n', cli->world->err);
    return (ssize_t)strlen(ret);
}

static ssize_t read_some(struct dm_cli *cli, char *ret, size_t max)
{
    size_t n;

    if (cli->world->in_is_terminal)
        return ask(cli, ret, max);
    n = fread(ret, 1, max, cli->world->in);
    return ferror(cli->world->in) ? -1 : (ssize_t)n;
}

static int read_all(struct dm_cli *cli, const char *path, struct dm_buf *ret)
{
    struct dm_err err = {0};
    char bytes[SECRET_MAX];
    ssize_t n;

    if (strcmp(path, "-") != 0) {
        if (dm_sys_read_file(dm_sys_real(), path, SECRET_MAX, ret, &err) < 0)
            return dm_cli_fail(cli, DM_EXIT_USAGE, "%s", err.message);
        return DM_EXIT_OK;
    }
    dm_buf_init(ret, SECRET_MAX);
    if ((n = read_some(cli, bytes, sizeof(bytes))) < 0)
        return dm_cli_fail(cli, DM_EXIT_FAILED, "standard input can't be read");
    dm_buf_add_n(ret, bytes, (size_t)n);
    dm_mem_wipe(bytes, sizeof(bytes));
    return DM_EXIT_OK;
}

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

int dm_session_read_secret(struct dm_cli *cli, const char *path, struct dm_buf *ret)
{
    int rc = read_all(cli, path, ret);
    size_t from = 0;

    if (rc != DM_EXIT_OK)
        return rc;
    while (ret->len > 0 && is_space(ret->ptr[ret->len - 1]))
        ret->len--;
    while (from < ret->len && is_space(ret->ptr[from]))
        from++;
    dm_buf_consume(ret, from);
    for (size_t i = 0; i < ret->len; i++)
        if ((unsigned char)ret->ptr[i] <= 0x20 || (unsigned char)ret->ptr[i] >= 0x7F)
            return dm_cli_fail(cli, DM_EXIT_USAGE, "a token is one word of ASCII characters; %s holds something else",
                               strcmp(path, "-") == 0 ? "standard input" : path);
    if (ret->len == 0)
        return dm_cli_fail(cli, DM_EXIT_USAGE, "there is no token in %s",
                           strcmp(path, "-") == 0 ? "standard input" : path);
    dm_buf_add_char(ret, '\0');
    if (ret->failed)
        return dm_cli_fail(cli, DM_EXIT_USAGE, "the token is too long");
    ret->len--;
    return DM_EXIT_OK;
}

/* A token that is set already stays. */
static int find_token(struct dm_cli *cli, const struct dm_config *config)
{
    const char *file = dm_args_get(&cli->args, "token-file"), *env = cli->world->env("DAEMUN_TOKEN");
    DM_CLEANUP(dm_buf_done) struct dm_buf text = {0};
    int rc;

    if (cli->token)
        return DM_EXIT_OK;
    if (file) {
        if ((rc = dm_session_read_secret(cli, file, &text)) != DM_EXIT_OK)
            return rc;
        cli->token = dm_strdup(dm_buf_str(&text));
        dm_mem_wipe(text.ptr, text.len);
    } else if (env && env[0] != '\0') {
        cli->token = copy(env);
    } else if (config->server && strcmp(config->server, cli->server) == 0) {
        cli->token = copy(config->token);
        if (!cli->tenant)
            cli->tenant = copy(config->tenant);
    }
    return DM_EXIT_OK;
}

static int find_all(struct dm_cli *cli, const struct dm_config *config)
{
    int rc;

    cli->tenant = copy(option_or_env(cli, "tenant", "DAEMUN_TENANT"));
    if ((rc = find_server(cli, config)) != DM_EXIT_OK || (rc = find_token(cli, config)) != DM_EXIT_OK)
        return rc;
    cli->client = dm_client_new(&(struct dm_client_config){.server = cli->server,
                                                           .token = cli->token,
                                                           .ca_file = dm_args_get(&cli->args, "ca-file"),
                                                           .timeout_ms = cli->timeout_ms});
    return DM_EXIT_OK;
}

int dm_session_open(struct dm_cli *cli)
{
    struct dm_config config = {0};
    struct dm_err err = {0};
    int rc;

    if (cli->client)
        return DM_EXIT_OK;
    if (dm_config_read(cli->world, &config, &err) < 0)
        rc = dm_cli_fail(cli, DM_EXIT_USAGE, "%s", err.message);
    else
        rc = find_all(cli, &config);
    dm_config_done(&config);
    return rc;
}

int dm_session_use_token(struct dm_cli *cli, const char *token)
{
    cli->token = copy(token);
    return dm_session_open(cli);
}

void dm_session_close(struct dm_cli *cli)
{
    dm_client_free(cli->client);
    if (cli->token)
        dm_mem_wipe(cli->token, strlen(cli->token));
    dm_free(cli->server);
    dm_free(cli->token);
    dm_free(cli->tenant);
    cli->client = NULL;
    cli->server = cli->token = cli->tenant = NULL;
}

static const char *member_text(const struct dm_json *object, const char *name)
{
    const struct dm_json *value = dm_json_type(object) == DM_JSON_OBJECT ? dm_json_get(object, name) : NULL;

    return value && dm_json_type(value) == DM_JSON_STRING ? dm_json_string(value).ptr : NULL;
}

int dm_session_is_master(struct dm_cli *cli, bool *ret)
{
    DM_CLEANUP(dm_json_freep) struct dm_json *who = NULL;
    int rc = dm_session_do(cli, "GET", "/api/v1/whoami", NULL, 0, &who);

    if (rc == DM_EXIT_OK)
        *ret = member_text(who, "tenant") == NULL;
    return rc;
}

int dm_session_tenant_or_platform(struct dm_cli *cli, const char **ret)
{
    DM_CLEANUP(dm_json_freep) struct dm_json *who = NULL;
    int rc = dm_session_open(cli);

    if (rc == DM_EXIT_OK && !cli->tenant) {
        if ((rc = dm_session_do(cli, "GET", "/api/v1/whoami", NULL, 0, &who)) == DM_EXIT_OK)
            cli->tenant = copy(member_text(who, "tenant"));
    }
    if (rc == DM_EXIT_OK)
        *ret = cli->tenant;
    return rc;
}

int dm_session_tenant(struct dm_cli *cli, const char **ret)
{
    int rc = dm_session_tenant_or_platform(cli, ret);

    if (rc != DM_EXIT_OK || *ret)
        return rc;
    dm_cli_fail(cli, DM_EXIT_USAGE, "which tenant? You are signed in as the master, who sees them all");
    dm_cli_hint(cli, "Name one with --tenant NAME or DAEMUN_TENANT; `daemun get tenants` lists them.");
    return DM_EXIT_USAGE;
}

/* --- calls -------------------------------------------------------------------------------------------------------- */

static int fail_call(const struct dm_cli *cli, const struct dm_err *err)
{
    dm_cli_fail(cli, DM_EXIT_UNREACHABLE, "%s", err->message);
    if (dm_client_is_local(cli->server))
        dm_cli_hint(cli, "Does it run? Start it with: daemun serve");
    else
        dm_cli_hint(cli, "Is this the right server (--server, DAEMUN_SERVER or daemun login)?");
    return DM_EXIT_UNREACHABLE;
}

int dm_session_call(struct dm_cli *cli, const char *method, const char *path, const struct dm_json *body,
                    uint32_t wait_ms, struct dm_reply *reply)
{
    DM_CLEANUP(dm_buf_done) struct dm_buf text = {0};
    struct dm_err err = {0};
    int rc = dm_session_open(cli);

    if (rc != DM_EXIT_OK)
        return rc;
    if (!cli->token) {
        dm_cli_fail(cli, DM_EXIT_NOT_AUTHORISED, "there is no token for %s", cli->server);
        dm_cli_hint(cli, "Sign in: daemun login --server %s --token-stdin", cli->server);
        return DM_EXIT_NOT_AUTHORISED;
    }
    dm_buf_init(&text, DM_REPLY_MAX);
    if (body)
        dm_json_print(body, false, &text);
    if (dm_client_call(cli->client, method, path, body ? dm_buf_str(&text) : DM_STR_NULL, wait_ms, reply, &err) < 0)
        return fail_call(cli, &err);
    return DM_EXIT_OK;
}

int dm_session_json(struct dm_cli *cli, const struct dm_reply *reply, struct dm_json **ret)
{
    static const struct dm_json_limits limits = {DM_REPLY_MAX, 64};
    struct dm_err err = {0};

    if (dm_json_parse(dm_buf_str(&reply->body), &limits, ret, &err) < 0)
        return dm_cli_fail(cli, DM_EXIT_FAILED, "%s answered with no JSON: %s", cli->server, err.message);
    return DM_EXIT_OK;
}

int dm_session_do(struct dm_cli *cli, const char *method, const char *path, const struct dm_json *body,
                  uint32_t wait_ms, struct dm_json **ret)
{
    DM_CLEANUP(dm_reply_done) struct dm_reply reply = {0};
    int rc = dm_session_call(cli, method, path, body, wait_ms, &reply);

    if (rc != DM_EXIT_OK)
        return rc;
    if (reply.status < 200 || reply.status > 299)
        return dm_problem_report(cli, &reply, NULL);
    if (ret && reply.body.len > 0)
        return dm_session_json(cli, &reply, ret);
    return DM_EXIT_OK;
}

/* --- lists -------------------------------------------------------------------------------------------------------- */

static int move_items(struct dm_cli *cli, const struct dm_json *page, struct dm_json *items)
{
    const struct dm_json *from = dm_json_type(page) == DM_JSON_OBJECT ? dm_json_get(page, "items") : NULL;

    if (!from || dm_json_type(from) != DM_JSON_ARRAY)
        return dm_cli_fail(cli, DM_EXIT_FAILED, "%s answered with no list", cli->server);
    for (size_t i = 0; i < dm_json_count(from); i++)
        dm_json_append(items, dm_json_copy(dm_json_at(from, i)));
    return DM_EXIT_OK;
}

static int read_page(struct dm_cli *cli, const char *path, struct dm_buf *cursor, struct dm_json *items)
{
    DM_CLEANUP(dm_json_freep) struct dm_json *page = NULL;
    DM_CLEANUP(dm_buf_done) struct dm_buf url = {0};
    const char *next;
    int rc;

    dm_buf_init(&url, PATH_MAX_BYTES);
    dm_buf_printf(&url, "%s%slimit=1000", path, strchr(path, '?') ? "&" : "?");
    if (cursor->len > 0) {
        dm_buf_add_lit(&url, "&cursor=");
        dm_client_escape(&url, dm_buf_str(cursor));
    }
    dm_buf_add_char(&url, '\0');
    if ((rc = dm_session_do(cli, "GET", url.ptr, NULL, 0, &page)) != DM_EXIT_OK ||
        (rc = move_items(cli, page, items)) != DM_EXIT_OK)
        return rc;
    dm_buf_reset(cursor);
    if ((next = member_text(page, "next")))
        dm_buf_add(cursor, dm_str_of(next));
    return DM_EXIT_OK;
}

int dm_session_list(struct dm_cli *cli, const char *path, struct dm_json **ret)
{
    DM_CLEANUP(dm_json_freep) struct dm_json *list = dm_json_new_object();
    DM_CLEANUP(dm_buf_done) struct dm_buf cursor = {0};
    struct dm_json *items = dm_json_new_array();
    int rc;

    dm_json_set(list, "items", items);
    dm_buf_init(&cursor, PATH_MAX_BYTES);
    do {
        if ((rc = read_page(cli, path, &cursor, items)) != DM_EXIT_OK)
            return rc;
    } while (cursor.len > 0);
    *ret = list;
    list = NULL;
    return DM_EXIT_OK;
}

struct dm_buf dm_session_path_of(const char *tenant, const char *const *pieces)
{
    struct dm_buf path;

    dm_buf_init(&path, PATH_MAX_BYTES);
    dm_buf_add_lit(&path, "/api/v1");
    if (tenant) {
        dm_buf_add_lit(&path, "/tenants/");
        dm_client_escape(&path, dm_str_of(tenant));
    }
    for (size_t i = 0; pieces[i]; i++) {
        dm_buf_add_char(&path, '/');
        dm_client_escape(&path, dm_str_of(pieces[i]));
    }
    dm_buf_add_char(&path, '\0');
    return path;
}
