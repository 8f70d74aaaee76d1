/* Gateways that are gone for good. */
#include "control/api/call.h"
#include "control/api/handlers.h"
#include "control/fleet/fleet.h"

static int check_is_away(struct dm_call *call, struct dm_str id)
{
    bool is_connected;

    if (dm_fleet_find(call->api->fleet, id, &is_connected) < 0)
        return dm_failure_add(&call->failure, DM_ENOENT, NULL, "", "no gateway '%.*s' is known", DM_STR_ARG(id));
    if (is_connected)
        return dm_failure_add(&call->failure, DM_ECONFLICT, "in_use", "",
                              "the gateway '%.*s' is connected: stop it before it is deleted", DM_STR_ARG(id));
    return 0;
}

static int remove_it(struct dm_call *call, struct dm_write *write)
{
    struct dm_str id = call->params[0];
    int64_t version;
    int rc;

    if ((rc = check_is_away(call, id)) < 0 ||
        (rc = dm_write_record(write, DM_CHANGE_DELETE, DM_STR("gateway"), id, DM_STR("[]"), &version)) < 0)
        return rc;
    call->status = 204;
    call->gone_gateway = id;
    return dm_call_commit(call, write);
}

int dm_handle_gateway_delete(struct dm_call *call)
{
    struct dm_write write;
    int rc = dm_call_begin_write(call, &write);

    if (rc == 0)
        rc = remove_it(call, &write);
    dm_write_done(&write);
    return rc;
}
