/* Who may do what: one table of operation x standing. What a caller may not see is DM_ENOENT; what it sees but may not do
 * is DM_EPERM with the reason. */
#ifndef DM_CONTROL_IDENTITY_ACCESS_H
#define DM_CONTROL_IDENTITY_ACCESS_H

#include "base/err.h"

#include "control/identity/caller.h"

enum dm_operation {
    DM_OP_OPEN, /* needs no token */
    DM_OP_WHOAMI,
    DM_OP_TENANT_LIST,
    DM_OP_TENANT_READ,
    DM_OP_TENANT_CREATE,
    DM_OP_TENANT_WRITE,
    DM_OP_TENANT_DELETE,
    DM_OP_GRANTS_READ,
    DM_OP_GRANTS_WRITE,
    DM_OP_RESOURCE_READ,
    DM_OP_RESOURCE_WRITE,
    DM_OP_STATUS_READ,
    DM_OP_CHANGES_READ,
    DM_OP_USAGE_READ,
    DM_OP_TOKENS_READ,
    DM_OP_TOKENS_WRITE,
    DM_OP_PLATFORM_STATUS_READ,
    DM_OP_PLATFORM_GATEWAYS_WRITE,
    DM_OP_PLATFORM_CHANGES_READ,
    DM_OP_PLATFORM_TOKENS_READ,
    DM_OP_PLATFORM_TOKENS_WRITE,
    DM_OP_COUNT,
};

/* tenant: whose the thing is; DM_STR_NULL for the platform's. */
DM_MUST_USE int dm_access_check(const struct dm_caller *caller, enum dm_operation operation, struct dm_str tenant,
                                struct dm_err *err);
/* Changes something, so that a tenant that is suspended may not do it. */
bool dm_access_is_write(enum dm_operation operation);

#endif
