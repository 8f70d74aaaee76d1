/* Domains: a public host name belongs to one tenant of the whole installation. */
#ifndef DM_CONTROL_STORE_DOMAINS_H
#define DM_CONTROL_STORE_DOMAINS_H

#include "control/store/tenants.h"

/* DM_EEXIST, with the other tenant's name in err, when it has this name, a wildcard that holds it, or a name that this
 * wildcard would hold. */
DM_MUST_USE int dm_domains_claim(struct dm_tenant_handle *handle, struct dm_str name, struct dm_err *err);
DM_MUST_USE int dm_domains_release_all(struct dm_tenant_handle *handle, struct dm_err *err);

#endif
