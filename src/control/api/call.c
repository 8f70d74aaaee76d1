#include <stdarg.h>

#include "control/api/call.h"
#include "control/api/problem.h"
#include "control/api/reply.h"
#include "control/api/route.h"
#include "control/identity/authenticate.h"
#include "control/store/tokens.h"
#include "base/json.h"
#include "base/log.h"
#include "http/field.h"
#include "http/query.h"
#include "model/field.h"
#include "model/query_parameter.h"

#define FIELDS_MAX 4096
#define JSON_DEPTH_MAX 32
#define LIVE_TIMEOUT_MS 10000
#define LIVE_TIMEOUT_MAX_MS 120000

void dm_call_init(struct dm_call *call, const struct dm_api *api)
{
    *call = (struct dm_call){.api = api};
    dm_arena_init(&call->arena, NULL, DM_CALL_ARENA_BYTES);
    dm_buf_init(&call->fields, FIELDS_MAX);
    dm_buf_init(&call->reply, DM_CALL_REPLY_MAX);
}

void dm_call_done(struct dm_call *call)
{
    dm_buf_done(&call->fields);
    dm_buf_done(&call->reply);
    dm_arena_wipe(&call->arena);
}

/* --- the frame of every call -------------------------------------------------------------------------------------- */

int dm_call_fail(struct dm_call *call, const struct dm_err *err)
{
    return dm_failure_err(&call->failure, NULL, err);
}

/* The last use of a token is recorded now and then; failing to is no reason to refuse the call. */
static void record_use(struct dm_call *call)
{
    DM_CLEANUP(dm_txn_abort) struct dm_txn *txn = NULL;

    if (dm_txn_begin(call->api->store, DM_TXN_WRITE, &call->arena, &txn, NULL) == 0 &&
        dm_tokens_touch(txn, call->caller.token_id, NULL) == 0 && dm_txn_commit(&txn, NULL) < 0)
        return;
}

static int authenticate(struct dm_call *call)
{
    DM_CLEANUP(dm_txn_abort) struct dm_txn *txn = NULL;
    struct dm_err err = {0};
    bool is_stale = false;
    int rc = dm_call_begin_read(call, &txn);

    if (rc < 0)
        return rc;
    rc = dm_authenticate(txn, call->api->keyring, call->authorization, &call->caller, &is_stale, &err);
    dm_txn_abort(&txn);
    if (rc == DM_EPERM) {
        dm_call_field(call, "WWW-Authenticate", "Bearer realm=\"daemun\"");
        return dm_failure_err(&call->failure, "unauthenticated", &err);
    }
    if (rc < 0)
        return dm_call_fail(call, &err);
    call->caller.request_id = call->request_id;
    if (is_stale)
        record_use(call);
    return 0;
}

static bool names_tenant(const struct dm_route *route)
{
    return strstr(route->doc.path, "{tenant}") != NULL;
}

static int check_right(struct dm_call *call)
{
    struct dm_str tenant = names_tenant(call->route) ? call->params[0] : DM_STR_NULL;
    struct dm_err err = {0};
    int rc = dm_access_check(&call->caller, call->route->operation, tenant, &err);

    if (rc == DM_EPERM)
        return dm_failure_err(&call->failure, "master_only", &err);
    return rc < 0 ? dm_call_fail(call, &err) : 0;
}

static int read_wait(struct dm_call *call)
{
    struct dm_str wait = dm_call_query(call, "wait");
    uint64_t timeout_ms = 0;

    if (wait.ptr == NULL)
        return 0;
    if (!dm_str_eq(wait, DM_STR("live")))
        return dm_failure_add(&call->failure, DM_EINVAL, NULL, "", "wait must be 'live'");
    if (dm_call_query_u64(call, "timeout_ms", 0, LIVE_TIMEOUT_MAX_MS, LIVE_TIMEOUT_MS, &timeout_ms) < 0)
        return DM_EINVAL;
    call->wants_live = true;
    call->live_tenant = call->params[0];
    call->live_timeout_ms = (uint32_t)timeout_ms;
    return 0;
}

/* What the route does not take is refused, not ignored: `?wiat=live` would not wait. Only what balancers and scrapers ask for
 * may carry anything. */
static int check_query(struct dm_call *call)
{
    struct dm_str rest = call->query, name;
    struct dm_query_arg arg;
    const char *near = NULL;
    char shown[DM_SHOW_MAX], *buf;

    while ((call->route->doc.flags & DM_ROUTE_OPEN) == 0 && dm_query_next(&rest, &arg)) {
        if ((buf = dm_arena_alloc(&call->arena, arg.name.len + 1)) == NULL)
            return dm_failure_add(&call->failure, DM_EBUDGET, NULL, "", "the query is too large");
        name = dm_query_decode(arg.name, buf);
        if (!dm_query_parameter_is_taken(call->route->doc.flags, name, &near))
            return dm_failure_add(&call->failure, DM_EINVAL, NULL, "",
                                  near ? "there is no parameter %s here, did you mean '%s'?"
                                       : "there is no parameter %s here",
                                  dm_show(name, shown), near);
    }
    return 0;
}

static int run(struct dm_call *call)
{
    int rc = 0;

    if (call->route->operation != DM_OP_OPEN || call->authorization.len > 0)
        rc = authenticate(call);
    if (rc < 0 || (rc = check_right(call)) < 0 || (rc = check_query(call)) < 0)
        return rc;
    if ((call->route->doc.flags & DM_ROUTE_WAIT) != 0 && (rc = read_wait(call)) < 0)
        return rc;
    return call->route->handle(call);
}

/* What the store or the controller is at fault for is the operator's to know. */
static void log_failure(const struct dm_call *call)
{
    struct dm_log_member members[] = {{"request_id", call->request_id}};

    if (call->status >= 500)
        dm_log_members(DM_LOG_ERROR, "request_failed", members, DM_COUNT(members), "%.*s %.*s: %s",
                       DM_STR_ARG(call->method), DM_STR_ARG(call->path), call->failure.errs.items[0].message);
}

void dm_call_run(struct dm_call *call)
{
    call->reply_type = "application/json";
    if (run(call) >= 0 && !call->reply.failed)
        return;
    if (call->failure.errs.n == 0)
        dm_failure_add(&call->failure, DM_EBUDGET, NULL, "", "the answer is larger than %u bytes", DM_CALL_REPLY_MAX);
    dm_buf_reset(&call->reply);
    call->n_units = 0;
    call->gone_gateway = DM_STR("");
    call->has_hold = call->wants_live = false;
    call->status = dm_problem_status(dm_failure_reason(&call->failure));
    call->reply_type = "application/problem+json";
    dm_problem_write(&call->failure, call->request_id, &call->reply);
    log_failure(call);
}

/* --- what was asked ----------------------------------------------------------------------------------------------- */

struct dm_str dm_call_query(struct dm_call *call, const char *name)
{
    struct dm_query_arg arg;
    char *buf;

    if (!dm_query_find(call->query, dm_str_of(name), &arg))
        return DM_STR_NULL;
    if (arg.value.len == 0 || (buf = dm_arena_alloc(&call->arena, arg.value.len)) == NULL)
        return DM_STR("");
    return dm_query_decode(arg.value, buf);
}

int dm_call_query_u64(struct dm_call *call, const char *name, uint64_t min, uint64_t max, uint64_t otherwise,
                      uint64_t *ret)
{
    struct dm_str text = dm_call_query(call, name);
    uint64_t value = otherwise;

    if (text.ptr != NULL && (dm_str_to_u64(text, &value) < 0 || value < min || value > max))
        return dm_failure_add(&call->failure, DM_EINVAL, NULL, "", "%s must be a number from %llu to %llu", name,
                              (unsigned long long)min, (unsigned long long)max);
    *ret = value;
    return 0;
}

int dm_call_query_bool(struct dm_call *call, const char *name, bool *ret)
{
    struct dm_str text = dm_call_query(call, name);

    *ret = dm_str_eq(text, DM_STR("true"));
    if (text.ptr == NULL || *ret || dm_str_eq(text, DM_STR("false")))
        return 0;
    return dm_failure_add(&call->failure, DM_EINVAL, NULL, "", "%s must be 'true' or 'false'", name);
}

/* curl's default is taken for JSON too: tokens never come by themselves (no cookies), so a form can't be forged with it. */
static bool is_json(struct dm_str content_type)
{
    static const char *const types[] = {"", "application/json", "application/merge-patch+json",
                                        "application/x-www-form-urlencoded"};
    struct dm_str type;

    dm_str_cut(&content_type, ';', &type);
    type = dm_str_trim(type);
    for (size_t i = 0; i < DM_COUNT(types); i++)
        if (dm_str_ieq(type, dm_str_of(types[i])))
            return true;
    return false;
}

int dm_call_json(struct dm_call *call, struct dm_json **ret)
{
    struct dm_json_limits limits = {.max_bytes = call->route->body_max, .max_depth = JSON_DEPTH_MAX};
    struct dm_json *json = NULL;
    struct dm_err err = {0};

    if (!is_json(call->content_type))
        return dm_failure_add(&call->failure, DM_EINVAL, "unsupported_media_type", "",
                              "the body must be application/json, found '%.*s'", DM_STR_ARG(call->content_type));
    if (dm_json_parse(call->body, &limits, &json, &err) < 0)
        return dm_failure_err(&call->failure, "malformed", &err);
    if (dm_json_type(json) != DM_JSON_OBJECT) {
        dm_failure_add(&call->failure, DM_EINVAL, NULL, "", "must be an object, found %s", dm_json_type_name(json));
        dm_json_free(json);
        return DM_EINVAL;
    }
    *ret = json;
    return 0;
}

static int read_version(struct dm_str tag, int64_t *ret)
{
    uint64_t version;

    if (tag.len < 3 || tag.ptr[0] != '"' || tag.ptr[tag.len - 1] != '"' ||
        dm_str_to_u64(dm_str_n(tag.ptr + 1, tag.len - 2), &version) < 0 || version > INT64_MAX)
        return DM_EINVAL;
    *ret = (int64_t)version;
    return 0;
}

int dm_call_precondition(struct dm_call *call, struct dm_precondition *ret)
{
    struct dm_precondition precondition = {.has_match = call->if_match.len > 0};
    struct dm_str rest = call->if_match, tag;

    precondition.match_any = dm_str_eq(call->if_match, DM_STR("*"));
    while (!precondition.match_any && dm_http_list_next(&rest, &tag))
        if (precondition.n_versions < DM_COUNT(precondition.versions) &&
            read_version(tag, &precondition.versions[precondition.n_versions]) == 0)
            precondition.n_versions++;
    if (call->if_none_match.len > 0 && !dm_str_eq(call->if_none_match, DM_STR("*")))
        return dm_failure_add(&call->failure, DM_EINVAL, NULL, "", "If-None-Match of a write must be '*'");
    precondition.none_match_any = call->if_none_match.len > 0;
    *ret = precondition;
    return 0;
}

/* --- transactions ------------------------------------------------------------------------------------------------- */

int dm_call_begin_read(struct dm_call *call, struct dm_txn **ret)
{
    struct dm_err err = {0};

    return dm_txn_begin(call->api->store, DM_TXN_READ, &call->arena, ret, &err) < 0 ? dm_call_fail(call, &err) : 0;
}

int dm_call_open_tenant(struct dm_call *call, struct dm_txn *txn, struct dm_tenant_handle **ret)
{
    struct dm_err err = {0};

    return dm_tenants_open(txn, &call->caller, call->params[0], ret, &err) < 0 ? dm_call_fail(call, &err) : 0;
}

/* Authentication read another state, perhaps long before the writer's turn came. */
static int check_token(struct dm_call *call, struct dm_write *write)
{
    struct dm_err err = {0};
    bool stands = false;

    if (dm_tokens_stands(write->txn, call->caller.token_id, &stands, &err) < 0)
        return dm_call_fail(call, &err);
    return stands ? 0
                  : dm_failure_add(&call->failure, DM_EPERM, "unauthenticated", "",
                                   "the token was revoked or expired meanwhile");
}

int dm_call_begin_write(struct dm_call *call, struct dm_write *write)
{
    int rc;

    *write = (struct dm_write){
        .store = call->api->store,
        .keyring = call->api->keyring,
        .caller = &call->caller,
        .failure = &call->failure,
    };
    if ((rc = dm_write_begin(write, &call->arena)) < 0 || (rc = check_token(call, write)) < 0)
        return rc;
    return dm_reply_find(call, write);
}

int dm_call_commit(struct dm_call *call, struct dm_write *write)
{
    int rc = dm_write_make_units(write);

    if (rc < 0 || (rc = dm_reply_keep(call, write)) < 0 || (rc = dm_write_finish(write)) < 0)
        return rc;
    memcpy(call->units, write->units, sizeof(call->units));
    call->n_units = write->n_units;
    return 0;
}

/* --- the answer --------------------------------------------------------------------------------------------------- */

void dm_call_field(struct dm_call *call, const char *name, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    dm_buf_printf(&call->fields, "%s: ", name);
    dm_buf_vprintf(&call->fields, fmt, args);
    dm_buf_add_lit(&call->fields, "\r\n");
    va_end(args);
}

void dm_call_etag(struct dm_call *call, int64_t version)
{
    dm_call_field(call, "ETag", "\"%lld\"", (long long)version);
}

struct dm_jsonw dm_call_answer(struct dm_call *call, unsigned status)
{
    struct dm_jsonw w;

    call->status = status;
    dm_buf_reset(&call->reply);
    dm_jsonw_init(&w, &call->reply);
    return w;
}
