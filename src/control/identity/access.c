#include "control/identity/access.h"

/* What a tenant admin may do: in its own tenant, or for the platform's operations at all. */
enum right { NO, YES };

static const struct {
    const char *what; /* "only the master …" */
    enum right tenant_admin;
    bool is_write;
} operations[DM_OP_COUNT] = {
    [DM_OP_OPEN] = {"", YES, false},
    [DM_OP_WHOAMI] = {"", YES, false},
    [DM_OP_TENANT_LIST] = {"lists tenants", YES, false}, /* shows its own alone */
    [DM_OP_TENANT_READ] = {"sees tenants", YES, false},
    [DM_OP_TENANT_CREATE] = {"makes tenants", NO, true},
    [DM_OP_TENANT_WRITE] = {"changes a tenant's settings", NO, true},
    [DM_OP_TENANT_DELETE] = {"deletes tenants", NO, true},
    [DM_OP_GRANTS_READ] = {"sees grants", YES, false},
    [DM_OP_GRANTS_WRITE] = {"gives domains and endpoints", NO, true},
    [DM_OP_RESOURCE_READ] = {"sees resources", YES, false},
    [DM_OP_RESOURCE_WRITE] = {"changes resources", YES, true},
    [DM_OP_STATUS_READ] = {"sees the status", YES, false},
    [DM_OP_CHANGES_READ] = {"sees changes", YES, false},
    [DM_OP_USAGE_READ] = {"sees usage", YES, false},
    [DM_OP_TOKENS_READ] = {"sees tokens", YES, false},
    [DM_OP_TOKENS_WRITE] = {"changes tokens", YES, true},
    [DM_OP_PLATFORM_STATUS_READ] = {"sees the status of the platform", NO, false},
    [DM_OP_PLATFORM_GATEWAYS_WRITE] = {"deletes gateways", NO, true},
    [DM_OP_PLATFORM_CHANGES_READ] = {"sees the changes of the platform", NO, false},
    [DM_OP_PLATFORM_TOKENS_READ] = {"sees the tokens of the platform", NO, false},
    [DM_OP_PLATFORM_TOKENS_WRITE] = {"changes the tokens of the platform", NO, true},
};

int dm_access_check(const struct dm_caller *caller, enum dm_operation operation, struct dm_str tenant,
                    struct dm_err *err)
{
    if (operation == DM_OP_OPEN || dm_caller_is_master(caller))
        return 0;
    if (caller->standing != DM_STANDING_TENANT_ADMIN)
        return dm_fail(err, DM_EPERM, "", "the token has no role");
    if (tenant.ptr != NULL && !dm_str_eq(tenant, caller->tenant))
        return dm_fail(err, DM_ENOENT, "", "there is no tenant '%.*s'", DM_STR_ARG(tenant));
    if (operations[operation].tenant_admin != YES)
        return dm_fail(err, DM_EPERM, "", "only the master %s; your token is tenant_admin of '%.*s'",
                       operations[operation].what, DM_STR_ARG(caller->tenant));
    return 0;
}

bool dm_access_is_write(enum dm_operation operation)
{
    return operations[operation].is_write;
}
