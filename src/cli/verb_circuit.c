/* daemun circuit */
#include "cli/cli.h"
#include "cli/kind.h"
#include "cli/session.h"
#include "cli/table.h"
#include "cli/verb.h"
#include "base/json.h"

static const char *const states[] = {"open", "closed", "auto", NULL};

static const struct dm_json *array_of(const struct dm_json *object, const char *name)
{
    const struct dm_json *value = dm_json_type(object) == DM_JSON_OBJECT ? dm_json_get(object, name) : NULL;

    return value && dm_json_type(value) == DM_JSON_ARRAY ? value : NULL;
}

static size_t count_of(const struct dm_json *array)
{
    return array ? dm_json_count(array) : 0;
}

static void add(struct dm_table *table, const struct dm_json *object, const char *name)
{
    char number[32];

    dm_table_add(table, dm_kind_text(object, name, number, sizeof(number)));
}

static void print_gateways(const struct dm_json *gateways, FILE *out)
{
    static const char *const titles[] = {"GATEWAY", "CONNECTED", "STATE", "HELD", "SINCE", "PROBE AT", NULL};
    struct dm_table table;

    dm_table_init(&table, titles);
    for (size_t i = 0; i < count_of(gateways); i++) {
        const struct dm_json *gateway = dm_json_at(gateways, i);

        add(&table, gateway, "gateway");
        add(&table, gateway, "connected");
        add(&table, gateway, "state");
        add(&table, gateway, "held");
        add(&table, gateway, "since");
        add(&table, gateway, "probe_at");
    }
    dm_table_print(&table, out);
    dm_table_done(&table);
}

static void add_change(struct dm_table *table, const struct dm_json *gateway, const struct dm_json *change)
{
    add(table, change, "at");
    add(table, gateway, "gateway");
    add(table, change, "to");
    add(table, change, "cause");
    add(table, change, "calls");
    add(table, change, "failed");
    add(table, change, "slow");
    add(table, change, "consecutive");
    add(table, change, "endpoints_out");
    add(table, change, "open_ms");
}

static void print_changes(const struct dm_json *gateways, FILE *out)
{
    static const char *const titles[] = {"CHANGED AT", "GATEWAY", "TO",  "CAUSE",   "CALLS", "FAILED",
                                         "SLOW",       "BEHIND",  "OUT", "OPEN MS", NULL};
    struct dm_table table;
    size_t n = 0;

    dm_table_init(&table, titles);
    for (size_t i = 0; i < count_of(gateways); i++) {
        const struct dm_json *gateway = dm_json_at(gateways, i), *changes = array_of(gateway, "changes");

        for (size_t k = 0; k < count_of(changes); k++, n++)
            add_change(&table, gateway, dm_json_at(changes, k));
    }
    if (n > 0) {
        fputc('\n', out);
        dm_table_print(&table, out);
    }
    dm_table_done(&table);
}

static void print(const struct dm_cli *cli, const struct dm_json *circuit)
{
    const struct dm_json *hold = dm_json_get(circuit, "hold"), *gateways = array_of(circuit, "gateways");
    char buf[32];

    print_gateways(gateways, cli->world->out);
    print_changes(gateways, cli->world->out);
    if (hold && dm_json_type(hold) == DM_JSON_OBJECT)
        dm_cli_say(cli, "\nHeld %.*s until %.*s.", DM_STR_ARG(dm_kind_text(hold, "state", buf, sizeof(buf))),
                   DM_STR_ARG(dm_kind_text(hold, "until", buf, sizeof(buf))));
}

static bool is_state(const char *name)
{
    for (size_t i = 0; states[i]; i++)
        if (strcmp(states[i], name) == 0)
            return true;
    return false;
}

/* {"state": …, "minutes": …} */
static int order_of(struct dm_cli *cli, const char *state, struct dm_json **ret)
{
    const char *minutes = dm_args_get(&cli->args, "minutes");
    const struct dm_json_limits limits = {.max_bytes = 80, .max_depth = 2};
    uint64_t number = 0;
    char text[80];

    if (!is_state(state))
        return dm_cli_fail(cli, DM_EXIT_USAGE, "the state is open, closed or auto, found '%s'", state);
    if (minutes && (dm_str_to_u64(dm_str_of(minutes), &number) < 0 || number < 1 || number > 1440))
        return dm_cli_fail(cli, DM_EXIT_USAGE, "--minutes is a number from 1 to 1440, found '%s'", minutes);
    if (minutes)
        snprintf(text, sizeof(text), "{\"state\":\"%s\",\"minutes\":%llu}", state, (unsigned long long)number);
    else
        snprintf(text, sizeof(text), "{\"state\":\"%s\"}", state);
    return dm_json_parse(dm_str_of(text), &limits, ret, NULL) < 0 ? DM_EXIT_FAILED : DM_EXIT_OK;
}

static int run(struct dm_cli *cli)
{
    const char *backend = dm_args_operand(&cli->args, 0), *state = dm_args_operand(&cli->args, 1), *tenant;
    DM_CLEANUP(dm_json_freep) struct dm_json *order = NULL;
    DM_CLEANUP(dm_json_freep) struct dm_json *circuit = NULL;
    DM_CLEANUP(dm_buf_done) struct dm_buf path = {0};
    int rc = state ? order_of(cli, state, &order) : DM_EXIT_OK;

    if (rc != DM_EXIT_OK || (rc = dm_session_tenant(cli, &tenant)) != DM_EXIT_OK)
        return rc;
    path = dm_session_path(tenant, "backends", backend, "circuit", NULL);
    if ((rc = dm_session_do(cli, order ? "PUT" : "GET", path.ptr, order, 0, &circuit)) != DM_EXIT_OK)
        return rc;
    if (!circuit || dm_json_type(circuit) != DM_JSON_OBJECT)
        return dm_cli_fail(cli, DM_EXIT_FAILED, "%s answered with no JSON object", cli->server);
    if (cli->output != DM_OUTPUT_TABLE)
        return dm_cli_print_json(cli, circuit);
    if (order)
        dm_cli_say(cli, "The gateways are told: %s is %s%s.", backend, strcmp(state, "auto") == 0 ? "" : "held ",
                   state);
    else
        print(cli, circuit);
    return DM_EXIT_OK;
}

static const struct dm_option options[] = {
    {"minutes", 0, "N", "How long it is held open or closed (default: 60, at most 1440)."},
};

const struct dm_verb dm_verb_circuit = {
    .name = "circuit",
    .operands = "<backend> [open|closed|auto]",
    .operands_min = 1,
    .operands_max = 2,
    .summary = "a backend's circuit as it is now; open or close it",
    .text =
        "Shows the state of a backend's circuit breaker on each gateway, since when, and its last changes with their evidence: cause, "
        "calls, failed and slow ones in the window, failures behind one another, endpoints out of turn.\n"
        "\n"
        "With a state it is changed by hand, on every gateway within a second and without a release: open refuses all calls to the "
        "backend, closed none, auto lets the gateways judge again. What was said ends by itself after --minutes.",
    .options = DM_OPTIONS(options),
    .examples = {{"daemun circuit orders-service", "Is it cut off, and why?"},
                 {"daemun circuit orders-service open --minutes 30", "Leave it alone for half an hour."},
                 {"daemun circuit orders-service auto", "And no longer."}},
    .run = run,
};
