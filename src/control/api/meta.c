/* What is not about tenants: description, health, metrics. */
#include "control/api/call.h"
#include "control/api/handlers.h"
#include "control/api/metrics.h"
#include "control/api/route.h"
#include "control/fleet/fleet.h"
#include "base/mem.h"

int dm_handle_openapi(struct dm_call *call)
{
    struct dm_route_doc *docs = dm_calloc(dm_routes_count, sizeof(*docs));
    struct dm_jsonw w = dm_call_answer(call, 200);

    for (size_t i = 0; i < dm_routes_count; i++)
        docs[i] = dm_routes[i].doc;
    dm_openapi_write(docs, dm_routes_count, &w);
    dm_free(docs);
    return 0;
}

/* A transaction that can begin says that the store answers. */
int dm_handle_healthz(struct dm_call *call)
{
    DM_CLEANUP(dm_txn_abort) struct dm_txn *txn = NULL;
    struct dm_jsonw w;
    int rc = dm_call_begin_read(call, &txn);

    if (rc < 0)
        return rc;
    w = dm_call_answer(call, 200);
    dm_jsonw_begin_object(&w);
    dm_jsonw_member_cstr(&w, "status", "ok");
    dm_jsonw_member_cstr(&w, "version", DM_VERSION);
    dm_jsonw_end_object(&w);
    return 0;
}

static void route_label(size_t route, struct dm_buf *ret)
{
    if (route < dm_routes_count)
        dm_buf_printf(ret, "%s %s", dm_routes[route].doc.method, dm_routes[route].doc.path);
    else
        dm_buf_add_lit(ret, "none");
}

/* Names of tenants are for the master alone; without its token the numbers come without them. */
int dm_handle_metrics(struct dm_call *call)
{
    call->status = 200;
    call->reply_type = "text/plain; version=0.0.4; charset=utf-8";
    dm_metrics_write(call->api->metrics, route_label, &call->reply);
    dm_fleet_write_metrics(call->api->fleet, dm_caller_is_master(&call->caller), &call->reply);
    return 0;
}
