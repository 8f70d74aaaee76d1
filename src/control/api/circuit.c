/* The circuit of a backend as it is now on the gateways, and what people want of it without a release. */
#include "control/api/body.h"
#include "control/api/call.h"
#include "control/api/handlers.h"
#include "control/fleet/fleet.h"
#include "control/release/kind.h"
#include "control/release/stamp.h"
#include "control/store/circuit_holds.h"
#include "control/store/resources.h"
#include "base/json.h"
#include "model/backend.h"

#define MINUTE_MS INT64_C(60000)

/* 404 for a backend that there is not. */
static int find_backend(struct dm_call *call, struct dm_tenant_handle *tenant)
{
    struct dm_resource_row row;
    struct dm_err err = {0};

    return dm_resources_get(tenant, dm_kinds[DM_KIND_BACKEND].name, call->params[1], &row, &err) < 0
               ? dm_call_fail(call, &err)
               : 0;
}

static void write_hold(const struct dm_circuit_hold *hold, struct dm_jsonw *w)
{
    char stamp[DM_STAMP_MAX];

    dm_jsonw_name(w, "hold");
    if (hold->mode == DM_BREAKER_AUTO) {
        dm_jsonw_null(w);
        return;
    }
    dm_jsonw_begin_object(w);
    dm_jsonw_member_cstr(w, "state", dm_breaker_mode_names[hold->mode]);
    dm_jsonw_member_str(w, "until", dm_stamp((int64_t)hold->until_ms, stamp));
    dm_jsonw_end_object(w);
}

static void answer(struct dm_call *call, struct dm_tenant_handle *tenant, const struct dm_circuit_hold *hold)
{
    struct dm_jsonw w = dm_call_answer(call, 200);

    dm_jsonw_begin_object(&w);
    dm_jsonw_member_str(&w, "backend", call->params[1]);
    write_hold(hold, &w);
    dm_fleet_write_circuit(call->api->fleet, (uint64_t)dm_tenants_number(tenant), dm_tenants_name(tenant),
                           call->params[1], &w);
    dm_jsonw_end_object(&w);
}

int dm_handle_circuit_get(struct dm_call *call)
{
    DM_CLEANUP(dm_txn_abort) struct dm_txn *txn = NULL;
    struct dm_tenant_handle *tenant;
    struct dm_circuit_hold hold;
    struct dm_err err = {0};
    int rc;

    if ((rc = dm_call_begin_read(call, &txn)) < 0 || (rc = dm_call_open_tenant(call, txn, &tenant)) < 0 ||
        (rc = find_backend(call, tenant)) < 0)
        return rc;
    if (dm_circuit_holds_get(tenant, call->params[1], &hold, &err) < 0)
        return dm_call_fail(call, &err);
    answer(call, tenant, &hold);
    return 0;
}

/* --- by hand ------------------------------------------------------------------------------------------------------ */

static void write_side(struct dm_jsonw *w, const char *name, const struct dm_circuit_hold *hold, bool is_time)
{
    char stamp[DM_STAMP_MAX];

    if (is_time && hold->mode == DM_BREAKER_AUTO)
        return;
    dm_jsonw_member_str(
        w, name, is_time ? dm_stamp((int64_t)hold->until_ms, stamp) : dm_str_of(dm_breaker_mode_names[hold->mode]));
}

/* As audit/details.h makes them. */
static void write_details(struct dm_buf *ret, const struct dm_circuit_hold *before, const struct dm_circuit_hold *after)
{
    static const char *const pointers[] = {"/state", "/until"};
    struct dm_jsonw w;

    dm_jsonw_init(&w, ret);
    dm_jsonw_begin_array(&w);
    for (int i = 0; i < 2; i++) {
        dm_jsonw_begin_object(&w);
        dm_jsonw_member_cstr(&w, "pointer", pointers[i]);
        write_side(&w, "before", before, i > 0);
        write_side(&w, "after", after, i > 0);
        dm_jsonw_end_object(&w);
    }
    dm_jsonw_end_array(&w);
}

static int record(struct dm_write *write, const struct dm_circuit_hold *before, const struct dm_circuit_hold *after)
{
    char memory[512];
    struct dm_buf details;
    int64_t version;

    dm_buf_init_fixed(&details, memory, sizeof(memory));
    write_details(&details, before, after);
    return dm_write_record(write, DM_CHANGE_UPDATE, DM_STR("circuit"), after->backend, dm_buf_str(&details), &version);
}

static int put_order(struct dm_call *call, struct dm_write *write, const struct dm_circuit_order *order)
{
    struct dm_circuit_hold before, after;
    struct dm_err err = {0};
    int rc;

    if (dm_circuit_holds_get(write->tenant, call->params[1], &before, &err) < 0)
        return dm_call_fail(call, &err);
    after = before;
    after.mode = order->state;
    after.until_ms = (uint64_t)(dm_txn_now_ms(write->txn) + order->minutes * MINUTE_MS);
    if (dm_circuit_holds_put(write->tenant, &after, &err) < 0)
        return dm_call_fail(call, &err);
    if ((before.mode != DM_BREAKER_AUTO || after.mode != DM_BREAKER_AUTO) && (rc = record(write, &before, &after)) < 0)
        return rc;
    after.tenant = call->params[0];
    call->hold = after;
    call->has_hold = true;
    answer(call, write->tenant, &after);
    return dm_call_commit(call, write);
}

static int read_and_put(struct dm_call *call, struct dm_write *write)
{
    DM_CLEANUP(dm_json_freep) struct dm_json *json = NULL;
    struct dm_circuit_order order;
    int rc;

    if ((rc = dm_write_open(write, call->params[0])) < 0 || (rc = find_backend(call, write->tenant)) < 0 ||
        (rc = dm_call_json(call, &json)) < 0 ||
        (rc = dm_body_read(call, &dm_schema_circuit_order, json, DM_STR_NULL, &order)) < 0)
        return rc;
    return put_order(call, write, &order);
}

int dm_handle_circuit_put(struct dm_call *call)
{
    struct dm_write write;
    int rc = dm_call_begin_write(call, &write);

    if (rc == 0)
        rc = read_and_put(call, &write);
    dm_write_done(&write);
    return rc;
}
