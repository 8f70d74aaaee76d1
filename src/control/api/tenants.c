/* Tenants. */
#include "control/tenancy/tenants.h"
#include "control/api/body.h"
#include "control/api/call.h"
#include "control/api/handlers.h"
#include "control/api/page.h"
#include "control/release/load.h"
#include "base/json.h"
#include "model/tenant.h"

struct listing {
    struct dm_page page;
    struct dm_txn *txn;
};

/* Its number says how many were made before it, which is the master's to know. */
static void write_tenant(struct dm_call *call, struct dm_jsonw *w, const struct dm_tenant *tenant)
{
    struct dm_tenant shown = *tenant;

    if (!dm_caller_is_master(&call->caller))
        shown.id = 0;
    dm_body_write(w, &dm_schema_tenant, &shown);
}

static int list_one(void *arg, const struct dm_tenant_row *row, struct dm_err *err)
{
    struct listing *listing = arg;
    struct dm_tenant_handle *handle;
    struct dm_tenant tenant;
    int64_t version;
    int rc;

    if (!dm_page_next(&listing->page, row->name))
        return 0;
    if ((rc = dm_tenants_open(listing->txn, &listing->page.call->caller, row->name, &handle, err)) < 0 ||
        (rc = dm_load_tenant(handle, &tenant, &version, err)) < 0)
        return rc;
    write_tenant(listing->page.call, &listing->page.w, &tenant);
    return 0;
}

int dm_handle_tenants_list(struct dm_call *call)
{
    DM_CLEANUP(dm_txn_abort) struct dm_txn *txn = NULL;
    struct listing listing = {0};
    struct dm_err err = {0};
    int rc;

    if ((rc = dm_call_begin_read(call, &txn)) < 0 || (rc = dm_page_begin(&listing.page, call)) < 0)
        return rc;
    listing.txn = txn;
    if (dm_tenants_each(txn, &call->caller, listing.page.after, listing.page.limit + 1, list_one, &listing, &err) < 0)
        return dm_call_fail(call, &err);
    dm_page_end(&listing.page);
    return 0;
}

int dm_handle_tenant_get(struct dm_call *call)
{
    DM_CLEANUP(dm_txn_abort) struct dm_txn *txn = NULL;
    struct dm_tenant_handle *handle;
    struct dm_tenant tenant;
    struct dm_err err = {0};
    struct dm_jsonw w;
    int64_t version;
    int rc;

    if ((rc = dm_call_begin_read(call, &txn)) < 0 || (rc = dm_call_open_tenant(call, txn, &handle)) < 0)
        return rc;
    if (dm_load_tenant(handle, &tenant, &version, &err) < 0)
        return dm_call_fail(call, &err);
    w = dm_call_answer(call, 200);
    write_tenant(call, &w, &tenant);
    dm_call_etag(call, version);
    return 0;
}

/* name: from the path, or DM_STR_NULL. */
static int put(struct dm_call *call, struct dm_write *write, struct dm_json *json, struct dm_str name,
               const struct dm_precondition *precondition)
{
    struct dm_outcome outcome = {0};
    struct dm_tenant tenant;
    struct dm_jsonw w;
    int rc;

    if ((rc = dm_body_read(call, &dm_schema_tenant, json, name, &tenant)) < 0 ||
        (rc = dm_put_tenant(write, &tenant, precondition, &outcome)) < 0)
        return rc;
    w = dm_call_answer(call, outcome.is_created ? 201 : 200);
    write_tenant(call, &w, &tenant);
    dm_call_etag(call, outcome.version);
    call->live_tenant = tenant.name;
    if (outcome.is_created)
        dm_call_field(call, "Location", "/api/v1/tenants/%.*s", DM_STR_ARG(tenant.name));
    return dm_call_commit(call, write);
}

/* POST makes and never changes. */
static int create(struct dm_call *call, struct dm_write *write, struct dm_json *json)
{
    struct dm_precondition precondition = {.none_match_any = true};
    int rc = put(call, write, json, DM_STR_NULL, &precondition);

    if (rc == DM_ECONFLICT)
        call->failure.reason = "exists";
    return rc;
}

static int put_body(struct dm_call *call, struct dm_write *write, struct dm_json *json)
{
    struct dm_precondition precondition;
    int rc = dm_call_precondition(call, &precondition);

    return rc < 0 ? rc : put(call, write, json, call->params[0], &precondition);
}

static int with_body(struct dm_call *call, int (*act)(struct dm_call *, struct dm_write *, struct dm_json *))
{
    DM_CLEANUP(dm_json_freep) struct dm_json *json = NULL;
    struct dm_write write;
    int rc = dm_call_begin_write(call, &write);

    if (rc == 0 && (rc = dm_call_json(call, &json)) >= 0)
        rc = act(call, &write, json);
    dm_write_done(&write);
    return rc;
}

int dm_handle_tenants_create(struct dm_call *call)
{
    return with_body(call, create);
}

int dm_handle_tenant_put(struct dm_call *call)
{
    return with_body(call, put_body);
}

static int patch(struct dm_call *call, struct dm_write *write)
{
    DM_CLEANUP(dm_json_freep) struct dm_json *json = NULL;
    struct dm_tenant_handle *handle;
    struct dm_tenant tenant;
    struct dm_err err = {0};
    int64_t version;
    int rc = dm_call_open_tenant(call, write->txn, &handle);

    if (rc < 0)
        return rc;
    if (dm_load_tenant(handle, &tenant, &version, &err) < 0)
        return dm_call_fail(call, &err);
    rc = dm_body_patch(call, &dm_schema_tenant, &tenant, &json);
    return rc < 0 ? rc : put_body(call, write, json);
}

static int remove_it(struct dm_call *call, struct dm_write *write)
{
    struct dm_precondition precondition;
    int rc;

    if ((rc = dm_call_precondition(call, &precondition)) < 0 ||
        (rc = dm_remove_tenant(write, call->params[0], &precondition)) < 0)
        return rc;
    call->status = 204;
    return dm_call_commit(call, write);
}

static int in_write(struct dm_call *call, int (*act)(struct dm_call *, struct dm_write *))
{
    struct dm_write write;
    int rc = dm_call_begin_write(call, &write);

    if (rc == 0)
        rc = act(call, &write);
    dm_write_done(&write);
    return rc;
}

int dm_handle_tenant_patch(struct dm_call *call)
{
    return in_write(call, patch);
}

int dm_handle_tenant_delete(struct dm_call *call)
{
    return in_write(call, remove_it);
}
