/* Writing a tenant itself, and what the master gave it. */
#ifndef DM_CONTROL_TENANCY_TENANTS_H
#define DM_CONTROL_TENANCY_TENANTS_H

#include "control/tenancy/write.h"

struct dm_tenant;
struct dm_grants;

/* Makes or changes the tenant of this name; sets id and created_at. A new tenant has its three units at once. */
DM_MUST_USE int dm_put_tenant(struct dm_write *write, struct dm_tenant *tenant,
                              const struct dm_precondition *precondition, struct dm_outcome *ret);
/* With everything it has. The write's units then say which gateways must drop. */
DM_MUST_USE int dm_remove_tenant(struct dm_write *write, struct dm_str name,
                                 const struct dm_precondition *precondition);

/* DM_EEXIST domain_taken when another tenant has one of the domains. */
DM_MUST_USE int dm_put_grants(struct dm_write *write, const struct dm_grants *grants,
                              const struct dm_precondition *precondition, struct dm_outcome *ret);

#endif
