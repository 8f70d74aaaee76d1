/* API tokens: of the platform (/api/v1/tokens, the master's) or of one tenant. */
#include "control/store/tokens.h"
#include "control/api/body.h"
#include "control/api/call.h"
#include "control/api/handlers.h"
#include "control/api/page.h"
#include "control/api/route.h"
#include "control/audit/details.h"
#include "control/identity/authenticate.h"
#include "control/release/stamp.h"
#include "base/json.h"
#include "base/mem.h"
#include "model/token.h"

static bool is_tenants(const struct dm_call *call)
{
    return call->route->operation == DM_OP_TOKENS_READ || call->route->operation == DM_OP_TOKENS_WRITE;
}

static struct dm_str keep_stamp(struct dm_call *call, int64_t unix_ms)
{
    char buf[DM_STAMP_MAX];
    struct dm_str ret = DM_STR("");

    if (unix_ms == 0 || dm_arena_str(&call->arena, dm_stamp(unix_ms / 1000 * 1000, buf), &ret) < 0)
        return DM_STR("");
    return ret;
}

static struct dm_token token_of(struct dm_call *call, const struct dm_token_row *row)
{
    return (struct dm_token){
        .id = row->id,
        .name = row->name,
        .role = DM_MAX(0, dm_names_find(dm_role_names, row->role)),
        .tenant = row->tenant,
        .expires_at = keep_stamp(call, row->expires_ms),
        .created_at = keep_stamp(call, row->created_ms),
    };
}

/* --- reading ------------------------------------------------------------------------------------------------------ */

static int list_one(void *arg, const struct dm_token_row *row, struct dm_err *err)
{
    struct dm_page *page = arg;
    struct dm_token token;
    char key[24];

    snprintf(key, sizeof(key), "%lld", (long long)row->id);
    if (!dm_page_next(page, dm_str_of(key)))
        return 0;
    token = token_of(page->call, row);
    dm_body_write(&page->w, &dm_schema_token, &token);
    return 0;
}

int dm_handle_tokens_list(struct dm_call *call)
{
    DM_CLEANUP(dm_txn_abort) struct dm_txn *txn = NULL;
    struct dm_tenant_handle *tenant = NULL;
    struct dm_page page;
    struct dm_err err = {0};
    int64_t after;
    int rc;

    if ((rc = dm_call_begin_read(call, &txn)) < 0 ||
        (is_tenants(call) && (rc = dm_call_open_tenant(call, txn, &tenant)) < 0) ||
        (rc = dm_page_begin(&page, call)) < 0 || (rc = dm_page_after_number(&page, &after)) < 0)
        return rc;
    if (dm_tokens_each(txn, &call->caller, tenant, after, page.limit + 1, list_one, &page, &err) < 0)
        return dm_call_fail(call, &err);
    dm_page_end(&page);
    return 0;
}

int dm_handle_whoami(struct dm_call *call)
{
    struct dm_jsonw w = dm_call_answer(call, 200);
    int role = dm_caller_is_master(&call->caller) ? DM_ROLE_MASTER_ADMIN : DM_ROLE_TENANT_ADMIN;

    dm_jsonw_begin_object(&w);
    dm_jsonw_member_str(&w, "name", call->caller.name);
    dm_jsonw_member_cstr(&w, "role", dm_role_names[role]);
    if (call->caller.tenant.len > 0)
        dm_jsonw_member_str(&w, "tenant", call->caller.tenant);
    dm_jsonw_end_object(&w);
    return 0;
}

/* --- making ------------------------------------------------------------------------------------------------------- */

/* Where the new token belongs: the path says, or for the platform's list the body. */
static int open_owner(struct dm_call *call, struct dm_write *write, struct dm_token *token)
{
    if (is_tenants(call)) {
        if (token->tenant.len > 0 && !dm_str_eq(token->tenant, call->params[0]))
            return dm_failure_add(&call->failure, DM_EINVAL, NULL, "/tenant", "must be '%.*s' as in the path",
                                  DM_STR_ARG(call->params[0]));
        if (token->role != DM_ROLE_TENANT_ADMIN)
            return dm_failure_add(&call->failure, DM_EINVAL, NULL, "/role",
                                  "must be 'tenant_admin' for a tenant's token");
        token->tenant = call->params[0];
    }
    if (token->role == DM_ROLE_MASTER_ADMIN)
        return 0;
    if (token->tenant.len == 0)
        return dm_failure_add(&call->failure, DM_EINVAL, NULL, "/tenant", "must be given with role 'tenant_admin'");
    return dm_write_open(write, token->tenant);
}

static int check_expiry(struct dm_call *call, struct dm_write *write, const struct dm_token *token, int64_t *ret_ms)
{
    *ret_ms = 0;
    if (token->expires_at.len == 0)
        return 0;
    if (dm_stamp_parse(token->expires_at, ret_ms) < 0 || *ret_ms <= dm_txn_now_ms(write->txn))
        return dm_failure_add(&call->failure, DM_EINVAL, NULL, "/expires_at", "must be a time to come, found '%.*s'",
                              DM_STR_ARG(token->expires_at));
    return 0;
}

static int record(struct dm_call *call, struct dm_write *write, const struct dm_token *before,
                  const struct dm_token *after)
{
    const struct dm_token *token = after != NULL ? after : before;
    struct dm_err err = {0};
    struct dm_str details;
    size_t n_details;
    int64_t version;

    if (dm_audit_details(&dm_schema_token, before, after, &call->arena, &details, &n_details, &err) < 0)
        return dm_call_fail(call, &err);
    return dm_write_record(write, after != NULL ? DM_CHANGE_CREATE : DM_CHANGE_DELETE, DM_STR("token"), token->name,
                           details, &version);
}

static void answer(struct dm_call *call, struct dm_token *token, const char *text)
{
    struct dm_jsonw w = dm_call_answer(call, 201);

    token->token = dm_str_of(text);
    dm_model_write(&dm_schema_token, token, &w, DM_WRITE_DEFAULTS | DM_WRITE_READ_ONLY | DM_WRITE_SECRETS);
    dm_call_field(call, "Location", "%.*s/%lld", DM_STR_ARG(call->path), (long long)token->id);
}

static int add(struct dm_call *call, struct dm_write *write, struct dm_token *token)
{
    struct dm_token_row row = {.role = dm_str_of(dm_role_names[token->role]), .name = token->name};
    char text[DM_TOKEN_TEXT_BYTES];
    struct dm_err err = {0};
    int rc = check_expiry(call, write, token, &row.expires_ms);

    if (rc < 0)
        return rc;
    dm_authenticate_make(call->api->keyring, text, row.digest);
    if (dm_tokens_add(write->txn, &call->caller, write->tenant, &row, &err) < 0)
        return dm_call_fail(call, &err);
    token->id = row.id;
    token->created_at = keep_stamp(call, row.created_ms);
    if ((rc = record(call, write, NULL, token)) < 0)
        return rc;
    answer(call, token, text);
    dm_mem_wipe(text, sizeof(text));
    return dm_call_commit(call, write);
}

int dm_handle_tokens_create(struct dm_call *call)
{
    DM_CLEANUP(dm_json_freep) struct dm_json *json = NULL;
    struct dm_write write;
    struct dm_token token;
    int rc = dm_call_begin_write(call, &write);

    if (rc == 0 && (rc = dm_call_json(call, &json)) >= 0 &&
        (rc = dm_body_read(call, &dm_schema_token, json, DM_STR_NULL, &token)) >= 0 &&
        (rc = open_owner(call, &write, &token)) >= 0)
        rc = add(call, &write, &token);
    dm_write_done(&write);
    return rc;
}

/* --- deleting ----------------------------------------------------------------------------------------------------- */

static int remove_it(struct dm_call *call, struct dm_write *write)
{
    struct dm_token_row row;
    struct dm_token token;
    struct dm_err err = {0};
    uint64_t id;
    int rc;

    if (dm_str_to_u64(call->params[is_tenants(call) ? 1 : 0], &id) < 0 || id > INT64_MAX)
        return dm_failure_add(&call->failure, DM_ENOENT, NULL, "", "there is no such token");
    if (dm_tokens_get(write->txn, &call->caller, write->tenant, (int64_t)id, &row, &err) < 0)
        return dm_call_fail(call, &err);
    token = token_of(call, &row);
    if (write->tenant == NULL && row.tenant.len > 0 && (rc = dm_write_open(write, row.tenant)) < 0)
        return rc;
    if ((rc = record(call, write, &token, NULL)) < 0)
        return rc;
    if (dm_tokens_remove(write->txn, &call->caller, write->tenant, (int64_t)id, &err) < 0)
        return dm_call_fail(call, &err);
    call->status = 204;
    return dm_call_commit(call, write);
}

int dm_handle_token_delete(struct dm_call *call)
{
    struct dm_write write;
    int rc = dm_call_begin_write(call, &write);

    if (rc == 0 && (!is_tenants(call) || (rc = dm_write_open(&write, call->params[0])) >= 0))
        rc = remove_it(call, &write);
    dm_write_done(&write);
    return rc;
}
