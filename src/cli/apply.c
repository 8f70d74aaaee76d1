#include "cli/apply.h"
#include "cli/compare.h"
#include "cli/input.h"
#include "cli/problem.h"
#include "cli/session.h"
#include "base/json.h"
#include "base/sys.h"
#include "model/grants.h"
#include "model/tenant.h"
#include "model/tenant_file.h"

#define NS_PER_MS 1000000u

void dm_applied_done(struct dm_applied *applied)
{
    dm_json_free(applied->changes);
    dm_json_free(applied->credentials);
    dm_json_free(applied->live);
    *applied = (struct dm_applied){0};
}

void dm_apply_add_wait(const struct dm_cli *cli, bool is_waiting, struct dm_buf *path)
{
    if (!is_waiting)
        return;
    path->len--; /* the NUL */
    dm_buf_printf(path, "%cwait=live&timeout_ms=%u", memchr(path->ptr, '?', path->len) ? '&' : '?', cli->timeout_ms);
    dm_buf_add_char(path, '\0');
}

static uint64_t now_ms(void)
{
    struct dm_sys *sys = dm_sys_real();

    return sys->ops->mono_ns(sys) / NS_PER_MS;
}

static struct dm_json *take_member(const struct dm_json *object, const char *name)
{
    const struct dm_json *value = dm_json_type(object) == DM_JSON_OBJECT ? dm_json_get(object, name) : NULL;

    return value ? dm_json_copy(value) : NULL;
}

/* --- writing ------------------------------------------------------------------------------------------------------ */

static int put(struct dm_cli *cli, const struct dm_input *input, struct dm_buf *path, const struct dm_apply_mode *mode,
               struct dm_reply *reply, struct dm_applied *ret)
{
    uint64_t began = now_ms();
    bool is_waiting = mode->is_waiting && !mode->is_dry_run;
    int rc;

    dm_apply_add_wait(cli, is_waiting, path);
    rc = dm_session_call(cli, "PUT", path->ptr, input->body, is_waiting ? cli->timeout_ms : 0, reply);
    ret->took_ms = now_ms() - began;
    return rc;
}

static int report(struct dm_cli *cli, const struct dm_input *input, const struct dm_reply *reply)
{
    return dm_problem_report(cli, reply, &(struct dm_problem_source){input->file, input->places});
}

static bool is_ok(const struct dm_reply *reply)
{
    return reply->status >= 200 && reply->status <= 299;
}

/* --- tenants and grants: compared here, and written only when they differ ------------------------------------------
 * */

/* What is there; *ret stays NULL when there is nothing. */
static int fetch(struct dm_cli *cli, const char *path, struct dm_json **ret)
{
    DM_CLEANUP(dm_reply_done) struct dm_reply reply = {0};
    int rc = dm_session_call(cli, "GET", path, NULL, 0, &reply);

    if (rc != DM_EXIT_OK || reply.status == 404)
        return rc;
    return is_ok(&reply) ? dm_session_json(cli, &reply, ret) : dm_problem_report(cli, &reply, NULL);
}

/* The date of creation is the platform's to set: a file that leaves it out leaves it as it is. */
static void keep_compat_date(struct dm_json *body, const struct dm_json *before)
{
    if (before && dm_json_get(before, "compat_date") && !dm_json_get(body, "compat_date"))
        dm_json_set(body, "compat_date", dm_json_copy(dm_json_get(before, "compat_date")));
}

static int apply_small(struct dm_cli *cli, const struct dm_input *input, const struct dm_apply_mode *mode,
                       struct dm_buf *path, const struct dm_schema *schema, struct dm_applied *ret)
{
    DM_CLEANUP(dm_reply_done) struct dm_reply reply = {0};
    DM_CLEANUP(dm_json_freep) struct dm_json *before = NULL;
    DM_CLEANUP(dm_json_freep) struct dm_json *answer = NULL;
    int rc = fetch(cli, path->ptr, &before);

    if (rc == DM_EXIT_OK && input->kind == DM_INPUT_TENANT)
        keep_compat_date(input->body, before);
    if (rc != DM_EXIT_OK || (rc = dm_compare(cli, input, schema, before, &ret->changes)) != DM_EXIT_OK)
        return rc;
    ret->is_new_tenant = !before && input->kind == DM_INPUT_TENANT;
    if (mode->is_dry_run || (before && dm_json_count(ret->changes) == 0))
        return DM_EXIT_OK;
    if ((rc = put(cli, input, path, mode, &reply, ret)) != DM_EXIT_OK)
        return rc;
    if (!is_ok(&reply))
        return report(cli, input, &reply);
    if ((rc = dm_session_json(cli, &reply, &answer)) == DM_EXIT_OK)
        ret->live = take_member(answer, "live");
    return rc;
}

static int apply_tenant(struct dm_cli *cli, const struct dm_input *input, const struct dm_apply_mode *mode,
                        struct dm_applied *ret)
{
    DM_CLEANUP(dm_buf_done) struct dm_buf path = dm_session_path(input->tenant, NULL);

    dm_json_set(input->body, "name", dm_json_new_string(dm_str_of(input->tenant)));
    return apply_small(cli, input, mode, &path, &dm_schema_tenant, ret);
}

static int apply_grants(struct dm_cli *cli, const struct dm_input *input, const struct dm_apply_mode *mode,
                        struct dm_applied *ret)
{
    DM_CLEANUP(dm_buf_done) struct dm_buf path = dm_session_path(input->tenant, "grants", NULL);

    return apply_small(cli, input, mode, &path, &dm_schema_grants, ret);
}

/* --- whole files -------------------------------------------------------------------------------------------------- */

static const char *const sections[] = {"backends", "products", "domains", "certificates", "applications"};

/* A section that is not mentioned was more likely forgotten than meant to be emptied. */
static int check_pruned(struct dm_cli *cli, const struct dm_input *input, const struct dm_json *changes)
{
    size_t n[DM_COUNT(sections)] = {0};

    for (size_t i = 0; i < dm_json_count(changes); i++) {
        struct dm_str pointer = dm_json_string(dm_json_get(dm_json_at(changes, i), "pointer"));

        for (size_t s = 0; s < DM_COUNT(sections); s++)
            n[s] += dm_str_starts(dm_str_skip(pointer, 1), dm_str_of(sections[s])) &&
                    !dm_json_get(input->body, sections[s]);
    }
    for (size_t s = 0; s < DM_COUNT(sections); s++) {
        if (n[s] == 0)
            continue;
        dm_cli_fail(cli, DM_EXIT_USAGE,
                    "%s does not mention `%s`, and tenant %s has %zu; applying it would delete them", input->file,
                    sections[s], input->tenant, n[s]);
        dm_cli_hint(cli,
                    "A file holds the whole state of a tenant. Write `%s: []` or give --prune if you mean it; "
                    "`daemun export` writes what is there.",
                    sections[s]);
        return DM_EXIT_USAGE;
    }
    return DM_EXIT_OK;
}

static bool mentions_all(const struct dm_input *input)
{
    for (size_t s = 0; s < DM_COUNT(sections); s++)
        if (!dm_json_get(input->body, sections[s]))
            return false;
    return true;
}

static int read_answer(struct dm_cli *cli, const struct dm_reply *reply, struct dm_applied *ret)
{
    DM_CLEANUP(dm_json_freep) struct dm_json *answer = NULL;
    int rc = dm_session_json(cli, reply, &answer);

    if (rc != DM_EXIT_OK)
        return rc;
    dm_json_free(ret->changes);
    ret->changes = take_member(answer, "changes");
    ret->credentials = take_member(answer, "credentials");
    ret->live = take_member(answer, "live");
    return ret->changes ? rc : dm_cli_fail(cli, DM_EXIT_FAILED, "%s answered without the changes", cli->server);
}

/* 404: is it that the tenant is not there yet, and may this token make it? */
static int may_create(struct dm_cli *cli, const struct dm_input *input, const struct dm_reply *reply)
{
    bool is_master = false;
    int rc = dm_session_is_master(cli, &is_master);

    if (rc == DM_EXIT_OK && !is_master)
        rc = report(cli, input, reply);
    return rc;
}

static int create_tenant(struct dm_cli *cli, const char *tenant)
{
    DM_CLEANUP(dm_buf_done) struct dm_buf path = dm_session_path(tenant, NULL);
    DM_CLEANUP(dm_json_freep) struct dm_json *body = dm_json_new_object();

    dm_json_set(body, "name", dm_json_new_string(dm_str_of(tenant)));
    return dm_session_do(cli, "PUT", path.ptr, body, 0, NULL);
}

static int put_file(struct dm_cli *cli, const struct dm_input *input, const struct dm_apply_mode *mode,
                    struct dm_reply *reply, struct dm_applied *ret)
{
    DM_CLEANUP(dm_buf_done) struct dm_buf path = dm_session_path(input->tenant, "document", NULL);

    if (mode->is_dry_run) {
        path.len--; /* the NUL */
        dm_buf_add(&path, DM_STR("?dry_run=true"));
        dm_buf_add_char(&path, '\0');
    }
    return put(cli, input, &path, mode, reply, ret);
}

/* All that the file holds, as new. */
static int compare_new(struct dm_cli *cli, const struct dm_input *input, struct dm_applied *ret)
{
    DM_CLEANUP(dm_json_freep) struct dm_json *empty = dm_json_new_object();

    dm_json_set(empty, "daemun", dm_json_new_int(1));
    dm_json_set(empty, "tenant", dm_json_new_string(dm_str_of(input->tenant)));
    return dm_compare(cli, input, &dm_schema_tenant_file, empty, &ret->changes);
}

static int put_new(struct dm_cli *cli, const struct dm_input *input, const struct dm_apply_mode *mode,
                   struct dm_reply *reply, struct dm_applied *ret)
{
    int rc = may_create(cli, input, reply);

    if (rc != DM_EXIT_OK)
        return rc;
    ret->is_new_tenant = true;
    if (mode->is_dry_run)
        return compare_new(cli, input, ret);
    if ((rc = create_tenant(cli, input->tenant)) != DM_EXIT_OK ||
        (rc = put_file(cli, input, mode, reply, ret)) != DM_EXIT_OK)
        return rc;
    return is_ok(reply) ? read_answer(cli, reply, ret) : report(cli, input, reply);
}

static int put_or_create(struct dm_cli *cli, const struct dm_input *input, const struct dm_apply_mode *mode,
                         struct dm_applied *ret)
{
    DM_CLEANUP(dm_reply_done) struct dm_reply reply = {0};
    int rc = put_file(cli, input, mode, &reply, ret);

    if (rc != DM_EXIT_OK)
        return rc;
    if (reply.status == 404)
        return put_new(cli, input, mode, &reply, ret);
    return is_ok(&reply) ? read_answer(cli, &reply, ret) : report(cli, input, &reply);
}

static int apply_file(struct dm_cli *cli, const struct dm_input *input, const struct dm_apply_mode *mode,
                      struct dm_applied *ret)
{
    int rc;

    if (!mode->is_dry_run && !mode->may_prune && !mentions_all(input)) {
        struct dm_apply_mode asking = {.is_dry_run = true};
        struct dm_applied first = {0};

        rc = put_or_create(cli, input, &asking, &first);
        if (rc == DM_EXIT_OK && !first.is_new_tenant)
            rc = check_pruned(cli, input, first.changes);
        dm_applied_done(&first);
        if (rc != DM_EXIT_OK)
            return rc;
    }
    return put_or_create(cli, input, mode, ret);
}

int dm_apply_input(struct dm_cli *cli, const struct dm_input *input, const struct dm_apply_mode *mode,
                   struct dm_applied *ret)
{
    switch (input->kind) {
    case DM_INPUT_TENANT: return apply_tenant(cli, input, mode, ret);
    case DM_INPUT_GRANTS: return apply_grants(cli, input, mode, ret);
    default: return apply_file(cli, input, mode, ret);
    }
}

bool dm_apply_is_made_before(const struct dm_inputs *inputs, size_t at)
{
    for (size_t i = 0; i < at; i++)
        if (inputs->items.items[i].kind == DM_INPUT_TENANT &&
            strcmp(inputs->items.items[i].tenant, inputs->items.items[at].tenant) == 0)
            return true;
    return false;
}
