/* What the master opened for a tenant. */
#include "control/api/body.h"
#include "control/api/call.h"
#include "control/api/handlers.h"
#include "control/release/load.h"
#include "control/tenancy/tenants.h"
#include "base/json.h"

static void answer(struct dm_call *call, const struct dm_grants *grants, int64_t version)
{
    struct dm_jsonw w = dm_call_answer(call, 200);

    dm_body_write(&w, &dm_schema_grants, grants);
    if (version != 0)
        dm_call_etag(call, version);
}

int dm_handle_grants_get(struct dm_call *call)
{
    DM_CLEANUP(dm_txn_abort) struct dm_txn *txn = NULL;
    struct dm_tenant_handle *handle;
    struct dm_grants grants;
    struct dm_err err = {0};
    int64_t version;
    int rc;

    if ((rc = dm_call_begin_read(call, &txn)) < 0 || (rc = dm_call_open_tenant(call, txn, &handle)) < 0)
        return rc;
    if (dm_load_grants(handle, &grants, &version, &err) < 0)
        return dm_call_fail(call, &err);
    answer(call, &grants, version);
    return 0;
}

static int put(struct dm_call *call, struct dm_write *write, struct dm_json *json)
{
    struct dm_precondition precondition;
    struct dm_outcome outcome = {0};
    struct dm_grants grants;
    int rc;

    if ((rc = dm_body_read(call, &dm_schema_grants, json, DM_STR_NULL, &grants)) < 0 ||
        (rc = dm_call_precondition(call, &precondition)) < 0 ||
        (rc = dm_put_grants(write, &grants, &precondition, &outcome)) < 0)
        return rc;
    answer(call, &grants, outcome.version);
    return dm_call_commit(call, write);
}

static int put_body(struct dm_call *call, struct dm_write *write)
{
    DM_CLEANUP(dm_json_freep) struct dm_json *json = NULL;
    int rc = dm_call_json(call, &json);

    return rc < 0 ? rc : put(call, write, json);
}

static int patch_body(struct dm_call *call, struct dm_write *write)
{
    DM_CLEANUP(dm_json_freep) struct dm_json *json = NULL;
    struct dm_grants grants;
    struct dm_err err = {0};
    int64_t version;
    int rc;

    if (dm_load_grants(write->tenant, &grants, &version, &err) < 0)
        return dm_call_fail(call, &err);
    rc = dm_body_patch(call, &dm_schema_grants, &grants, &json);
    return rc < 0 ? rc : put(call, write, json);
}

static int in_write(struct dm_call *call, int (*act)(struct dm_call *, struct dm_write *))
{
    struct dm_write write;
    int rc = dm_call_begin_write(call, &write);

    if (rc == 0 && (rc = dm_write_open(&write, call->params[0])) >= 0)
        rc = act(call, &write);
    dm_write_done(&write);
    return rc;
}

int dm_handle_grants_put(struct dm_call *call)
{
    return in_write(call, put_body);
}

int dm_handle_grants_patch(struct dm_call *call)
{
    return in_write(call, patch_body);
}
