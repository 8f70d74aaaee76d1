#include <stdarg.h>

#include "cli/cli.h"
#include "cli/help.h"
#include "cli/session.h"
#include "cli/verb.h"
#include "cli/yaml_write.h"
#include "base/crypto.h"
#include "base/json.h"

#define TIMEOUT_MS 10000u
#define TIMEOUT_MAX_S 3600u
#define PRINT_MAX (256u << 20)

/* --- telling ------------------------------------------------------------------------------------------------------ */

int dm_cli_fail(const struct dm_cli *cli, enum dm_exit code, const char *fmt, ...)
{
    va_list args;

    fflush(cli->world->out); /* so that both streams stand in order where they are one */
    fputs("daemun: ", cli->world->err);
    va_start(args, fmt);
    vfprintf(cli->world->err, fmt, args);
    va_end(args);
    fputc('\n', cli->world->err);
    return code;
}

void dm_cli_hint(const struct dm_cli *cli, const char *fmt, ...)
{
    va_list args;

    fputs("  → ", cli->world->err);
    va_start(args, fmt);
    vfprintf(cli->world->err, fmt, args);
    va_end(args);
    fputc('\n', cli->world->err);
}

void dm_cli_say(const struct dm_cli *cli, const char *fmt, ...)
{
    va_list args;

    if (cli->is_quiet)
        return;
    va_start(args, fmt);
    vfprintf(cli->world->out, fmt, args);
    va_end(args);
    fputc('\n', cli->world->out);
}

int dm_cli_print_json(const struct dm_cli *cli, const struct dm_json *value)
{
    DM_CLEANUP(dm_buf_done) struct dm_buf text = {0};

    dm_buf_init(&text, PRINT_MAX);
    if (cli->output == DM_OUTPUT_YAML) {
        dm_yaml_write(value, &text);
    } else {
        dm_json_print(value, true, &text);
        dm_buf_add_char(&text, '\n');
    }
    if (text.failed)
        return dm_cli_fail(cli, DM_EXIT_FAILED, "the answer is larger than %u MiB", PRINT_MAX >> 20);
    fwrite(text.ptr, 1, text.len, cli->world->out);
    return DM_EXIT_OK;
}

/* --- reading the command line ------------------------------------------------------------------------------------- */

/* The verb is the first argument that is neither an option nor the value of one. Returns its index, or n_args. */
static int find_verb(int n_args, const char *const *args)
{
    for (int i = 0; i < n_args; i++) {
        struct dm_args one = {0};
        int is_read;

        if (args[i][0] != '-' || args[i][1] == '\0')
            return i;
        is_read = dm_args_read(&dm_global_options, 1, 1, &args[i], &one, NULL);
        dm_args_done(&one);
        if (is_read < 0)
            i++;
    }
    return n_args;
}

static int fail_usage(const struct dm_cli *cli, const char *message)
{
    dm_cli_fail(cli, DM_EXIT_USAGE, "%s", message);
    if (cli->verb)
        dm_cli_hint(cli, "See: daemun %s --help", cli->verb->name);
    else
        dm_cli_hint(cli, "See: daemun help");
    return DM_EXIT_USAGE;
}

static int read_timeout(struct dm_cli *cli, const char *text)
{
    uint64_t seconds;

    if (dm_str_to_u64(dm_str_of(text), &seconds) < 0 || seconds < 1 || seconds > TIMEOUT_MAX_S)
        return fail_usage(cli, "--timeout must be a number of seconds from 1 to 3600");
    cli->timeout_ms = (uint32_t)seconds * 1000;
    return DM_EXIT_OK;
}

static int read_globals(struct dm_cli *cli)
{
    const char *output = dm_args_get(&cli->args, "output"), *timeout = dm_args_get(&cli->args, "timeout");

    cli->is_quiet = dm_args_has(&cli->args, "quiet");
    cli->timeout_ms = TIMEOUT_MS;
    if (output)
        cli->output = output[0] == 'j' ? DM_OUTPUT_JSON : output[0] == 'y' ? DM_OUTPUT_YAML : DM_OUTPUT_TABLE;
    return timeout ? read_timeout(cli, timeout) : DM_EXIT_OK;
}

static int check_operands(const struct dm_cli *cli)
{
    size_t n = cli->args.operands.count;
    char message[256];

    if (n > cli->verb->operands_max) {
        snprintf(message, sizeof(message), "'%s' is one too many; the form is: daemun %s %s",
                 cli->args.operands.items[cli->verb->operands_max], cli->verb->name, cli->verb->operands);
        return fail_usage(cli, message);
    }
    if (n < cli->verb->operands_min) {
        snprintf(message, sizeof(message), "something is missing; the form is: daemun %s %s", cli->verb->name,
                 cli->verb->operands);
        return fail_usage(cli, message);
    }
    return DM_EXIT_OK;
}

/* args: the whole line without the verb. */
static int run_verb(struct dm_cli *cli, int n_args, const char *const *args)
{
    const struct dm_options tables[] = {cli->verb->options, dm_global_options};
    struct dm_err err = {0};
    int rc;

    if (dm_args_read(tables, DM_COUNT(tables), n_args, args, &cli->args, &err) < 0)
        return fail_usage(cli, err.message);
    if (dm_args_has(&cli->args, "help")) {
        dm_help_verb(cli->verb, cli->world->out);
        return DM_EXIT_OK;
    }
    if ((rc = read_globals(cli)) != DM_EXIT_OK || (rc = check_operands(cli)) != DM_EXIT_OK)
        return rc;
    return cli->verb->run(cli);
}

static int fail_verb(const struct dm_cli *cli, const char *name)
{
    const char *near = dm_verb_near(name);
    char message[256];

    snprintf(message, sizeof(message),
             near ? "there is no verb '%.64s', did you mean '%s'?" : "there is no verb '%.64s'", name, near);
    return fail_usage(cli, message);
}

/* Options alone: --help, --version, or a mistake. */
static int run_without_verb(struct dm_cli *cli, int n_args, const char *const *args)
{
    struct dm_err err = {0};

    if (n_args == 1 && strcmp(args[0], "--version") == 0)
        return dm_verb_version.run(cli);
    if (dm_args_read(&dm_global_options, 1, n_args, args, &cli->args, &err) < 0)
        return fail_usage(cli, err.message);
    if (dm_args_has(&cli->args, "help") || n_args == 0) {
        dm_help_all(n_args == 0 ? cli->world->err : cli->world->out);
        return n_args == 0 ? DM_EXIT_USAGE : DM_EXIT_OK;
    }
    return fail_usage(cli, "there is no verb on the command line");
}

static int run(struct dm_cli *cli, int n_args, const char *const *args)
{
    DM_VEC(const char *) rest = {0};
    int at = find_verb(n_args, args), rc;

    if (at == n_args)
        return run_without_verb(cli, n_args, args);
    if (!(cli->verb = dm_verb_find(args[at])))
        return fail_verb(cli, args[at]);
    for (int i = 0; i < n_args; i++)
        if (i != at)
            *dm_vec_push(&rest) = args[i];
    rc = run_verb(cli, n_args - 1, rest.items);
    dm_vec_done(&rest);
    return rc;
}

int dm_cli_run(const struct dm_cli_world *world, int n_args, const char *const *args)
{
    struct dm_cli cli = {.world = world};
    int rc;

    if (dm_crypto_init() < 0)
        return dm_cli_fail(&cli, DM_EXIT_FAILED, "libsodium can't be initialised");
    rc = run(&cli, n_args, args);
    dm_session_close(&cli);
    dm_args_done(&cli.args);
    if (fflush(world->out) != 0 && rc == DM_EXIT_OK)
        rc = dm_cli_fail(&cli, DM_EXIT_FAILED, "standard output can't be written");
    return rc;
}
