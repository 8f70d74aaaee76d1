/* What is live where. */
#include "control/api/call.h"
#include "control/api/handlers.h"
#include "control/api/route.h"
#include "control/fleet/fleet.h"

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
