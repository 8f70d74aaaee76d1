#include "cli/problem.h"
#include "cli/cli.h"
#include "cli/client.h"
#include "cli/places.h"
#include "base/json.h"

static const struct {
    const char *reason;
    enum dm_exit code;
    const char *hint;
} reasons[] = {
    {"invalid", DM_EXIT_REFUSED, "Correct what is named above and try again; nothing of it was applied."},
    {"malformed", DM_EXIT_REFUSED, "Is this the API of a daemun-controller of the same version as this daemun?"},
    {"unauthenticated", DM_EXIT_NOT_AUTHORISED, "Sign in: daemun login --server URL --token-stdin"},
    {"forbidden", DM_EXIT_NOT_AUTHORISED, "Ask whoever runs this platform for a token that may do this."},
    {"master_only", DM_EXIT_NOT_AUTHORISED, "Only the master may do this; ask whoever runs this platform."},
    {"not_granted", DM_EXIT_REFUSED,
     "What a tenant may reach and which domains it has is granted by the master; `daemun get grants` shows it."},
    {"tenant_suspended", DM_EXIT_NOT_AUTHORISED, "The master suspended this tenant; ask whoever runs this platform."},
    {"not_found", DM_EXIT_REFUSED, "`daemun get` lists what is there. What another tenant has is never shown."},
    {"exists", DM_EXIT_REFUSED, "Take another name, or change what is there."},
    {"in_use", DM_EXIT_REFUSED, "First change what needs it."},
    {"domain_taken", DM_EXIT_REFUSED,
     "A domain belongs to one tenant; choose another, or take it from that tenant first."},
    {"key_in_use", DM_EXIT_REFUSED, "Leave the key out to have one made."},
    {"precondition_failed", DM_EXIT_REFUSED, "Look at what is there now (`daemun diff`) and try again."},
    {"overloaded", DM_EXIT_UNREACHABLE, "Try again in a moment."},
    {"shutting_down", DM_EXIT_UNREACHABLE, "Try again in a moment."},
    {"store_failed", DM_EXIT_FAILED, "The log of daemun-controller says more."},
    {"internal", DM_EXIT_FAILED, "The log of daemun-controller says more."},
};

static enum dm_exit code_of_status(long status)
{
    if (status == 401 || status == 403)
        return DM_EXIT_NOT_AUTHORISED;
    if (status == 503 || status == 504)
        return DM_EXIT_UNREACHABLE;
    return status >= 500 || status < 400 ? DM_EXIT_FAILED : DM_EXIT_REFUSED;
}

static struct dm_json *parse(const struct dm_reply *reply)
{
    static const struct dm_json_limits limits = {DM_REPLY_MAX, 64};
    struct dm_json *json = NULL;

    if (dm_json_parse(dm_buf_str(&reply->body), &limits, &json, NULL) < 0)
        return NULL;
    if (dm_json_type(json) == DM_JSON_OBJECT)
        return json;
    dm_json_free(json);
    return NULL;
}

static struct dm_str text_of(const struct dm_json *object, const char *name)
{
    const struct dm_json *value = dm_json_type(object) == DM_JSON_OBJECT ? dm_json_get(object, name) : NULL;

    return value && dm_json_type(value) == DM_JSON_STRING ? dm_json_string(value) : DM_STR("");
}

void dm_problem_reason(const struct dm_reply *reply, char ret[DM_PROBLEM_REASON_MAX])
{
    DM_CLEANUP(dm_json_freep) struct dm_json *json = parse(reply);

    ret[0] = '\0';
    if (json)
        snprintf(ret, DM_PROBLEM_REASON_MAX, "%.*s", DM_STR_ARG(text_of(json, "reason")));
}

/* "  team.yaml:14:11 /products/0/path: must …" */
static void report_error(const struct dm_cli *cli, const struct dm_json *error, const struct dm_problem_source *source)
{
    struct dm_str pointer = text_of(error, "pointer"), detail = text_of(error, "detail");
    struct dm_place place = source ? dm_places_find(source->places, pointer) : (struct dm_place){0};
    FILE *err = cli->world->err;

    fputs("  ", err);
    if (source && source->file && place.line > 0)
        fprintf(err, "%s:%zu:%zu: ", source->file, place.line, place.column);
    if (pointer.len > 0)
        fprintf(err, "%.*s: ", DM_STR_ARG(pointer));
    fprintf(err, "%.*s\n", DM_STR_ARG(detail));
}

static void report_errors(const struct dm_cli *cli, const struct dm_json *json, const struct dm_problem_source *source)
{
    const struct dm_json *errors = dm_json_get(json, "errors"), *total = dm_json_get(json, "errors_total");
    size_t n = errors && dm_json_type(errors) == DM_JSON_ARRAY ? dm_json_count(errors) : 0;

    for (size_t i = 0; i < n; i++)
        report_error(cli, dm_json_at(errors, i), source);
    if (total && dm_json_type(total) == DM_JSON_INT && (size_t)dm_json_int(total) > n)
        fprintf(cli->world->err, "  … and %lld more\n", (long long)dm_json_int(total) - (long long)n);
}

static int report_foreign(const struct dm_cli *cli, const struct dm_reply *reply)
{
    dm_cli_fail(cli, DM_EXIT_FAILED, "%s answered with status %ld and no reason", cli->server, reply->status);
    dm_cli_hint(cli, "Is that the API of a daemun-controller (--server, DAEMUN_SERVER)?");
    return code_of_status(reply->status);
}

int dm_problem_report(const struct dm_cli *cli, const struct dm_reply *reply, const struct dm_problem_source *source)
{
    DM_CLEANUP(dm_json_freep) struct dm_json *json = parse(reply);
    struct dm_str reason = json ? text_of(json, "reason") : DM_STR("");
    struct dm_str title = json ? text_of(json, "title") : DM_STR("");
    enum dm_exit code = code_of_status(reply->status);

    if (reason.len == 0)
        return report_foreign(cli, reply);
    if (source && source->file)
        dm_cli_fail(cli, code, "%s was refused: %.*s (%.*s)", source->file, DM_STR_ARG(title), DM_STR_ARG(reason));
    else
        dm_cli_fail(cli, code, "refused: %.*s (%.*s)", DM_STR_ARG(title), DM_STR_ARG(reason));
    report_errors(cli, json, source);
    for (size_t i = 0; i < DM_COUNT(reasons); i++)
        if (dm_str_eq(reason, dm_str_of(reasons[i].reason))) {
            dm_cli_hint(cli, "%s", reasons[i].hint);
            return reasons[i].code;
        }
    return code;
}
