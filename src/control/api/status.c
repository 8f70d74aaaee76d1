/* What is live where, and what was used. */
#include "control/api/call.h"
#include "control/api/handlers.h"
#include "control/api/route.h"
#include "control/fleet/fleet.h"
#include "control/release/stamp.h"
#include "control/store/usage.h"

#define USAGE_ROWS_MAX 10000
#define MINUTES_PER_HOUR 60

int dm_handle_status_get(struct dm_call *call)
{
    DM_CLEANUP(dm_txn_abort) struct dm_txn *txn = NULL;
    struct dm_tenant_handle *tenant;
    struct dm_str name = DM_STR_NULL;
    struct dm_jsonw w;
    int rc;

    if (call->route->operation == DM_OP_STATUS_READ) {
        if ((rc = dm_call_begin_read(call, &txn)) < 0 || (rc = dm_call_open_tenant(call, txn, &tenant)) < 0)
            return rc;
        name = dm_tenants_name(tenant);
    }
    w = dm_call_answer(call, 200);
    dm_fleet_write_status(call->api->fleet, name, &w);
    return 0;
}

/* --- usage -------------------------------------------------------------------------------------------------------- */

static int query_minute(struct dm_call *call, const char *name, int64_t otherwise, int64_t *ret)
{
    struct dm_str text = dm_call_query(call, name);
    int64_t ms = 0;

    *ret = otherwise;
    if (text.ptr == NULL)
        return 0;
    if (dm_stamp_parse(text, &ms) < 0)
        return dm_failure_add(&call->failure, DM_EINVAL, NULL, "", "%s must be a time such as 2026-11-01T12:00:00Z",
                              name);
    *ret = ms / 60000;
    return 0;
}

static int read_step(struct dm_call *call, int64_t *ret)
{
    static const struct {
        const char *name;
        int64_t minutes;
    } steps[] = {{"total", 0}, {"minute", 1}, {"hour", 60}, {"day", 1440}};
    struct dm_str text = dm_call_query(call, "step");

    *ret = 0;
    if (text.ptr == NULL)
        return 0;
    for (size_t i = 0; i < DM_COUNT(steps); i++)
        if (dm_str_eq(text, dm_str_of(steps[i].name))) {
            *ret = steps[i].minutes;
            return 0;
        }
    return dm_failure_add(&call->failure, DM_EINVAL, NULL, "", "step must be 'total', 'minute', 'hour' or 'day'");
}

static int read_query(struct dm_call *call, int64_t now_minute, struct dm_usage_query *ret)
{
    int rc;

    if ((rc = query_minute(call, "from", now_minute - 24 * MINUTES_PER_HOUR, &ret->from_minute)) < 0 ||
        (rc = query_minute(call, "to", now_minute + 1, &ret->to_minute)) < 0 ||
        (rc = read_step(call, &ret->step_minutes)) < 0)
        return rc;
    ret->product = dm_call_query(call, "product");
    ret->application = dm_call_query(call, "application");
    ret->metric = dm_call_query(call, "metric");
    return 0;
}

static int write_row(void *arg, const struct dm_usage_row *row, struct dm_err *err)
{
    struct dm_jsonw *w = arg;
    char stamp[DM_STAMP_MAX];

    dm_jsonw_begin_object(w);
    dm_jsonw_member_str(w, "product", row->product);
    dm_jsonw_member_str(w, "application", row->application_name);
    dm_jsonw_member_str(w, "metric", row->metric);
    dm_jsonw_member_str(w, "from", dm_stamp(row->minute * 60000, stamp));
    dm_jsonw_member_u64(w, "count", (uint64_t)row->count);
    dm_jsonw_end_object(w);
    return 0;
}

int dm_handle_usage_get(struct dm_call *call)
{
    DM_CLEANUP(dm_txn_abort) struct dm_txn *txn = NULL;
    struct dm_tenant_handle *tenant;
    struct dm_usage_query query = {0};
    struct dm_err err = {0};
    struct dm_jsonw w;
    int rc;

    if ((rc = dm_call_begin_read(call, &txn)) < 0 || (rc = dm_call_open_tenant(call, txn, &tenant)) < 0 ||
        (rc = read_query(call, dm_txn_now_ms(txn) / 60000, &query)) < 0)
        return rc;
    w = dm_call_answer(call, 200);
    dm_jsonw_begin_object(&w);
    dm_jsonw_name(&w, "items");
    dm_jsonw_begin_array(&w);
    if (dm_usage_each(tenant, &query, USAGE_ROWS_MAX, write_row, &w, &err) < 0)
        return dm_call_fail(call, &err);
    dm_jsonw_end_array(&w);
    dm_jsonw_end_object(&w);
    return 0;
}
