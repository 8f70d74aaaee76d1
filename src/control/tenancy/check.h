/* Rules between resources, asked before one of them is written (model/tenant_file.h has the rules). Errors point into the
 * resource that is written; what would break elsewhere is a conflict that names it. */
#ifndef DM_CONTROL_TENANCY_CHECK_H
#define DM_CONTROL_TENANCY_CHECK_H

#include "control/tenancy/write.h"

/* kind: any but grants. A certificate was resolved before (tenancy/certificates.h). */
DM_MUST_USE int dm_check_put(struct dm_write *write, enum dm_kind kind, const void *object);
/* Does nothing else need it? */
DM_MUST_USE int dm_check_remove(struct dm_write *write, enum dm_kind kind, struct dm_str name);

#endif
