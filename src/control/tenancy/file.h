/* Applying a whole declarative file: what differs is written in one transaction, what is left out is deleted. Grants that
 * are left out stay as they are. */
#ifndef DM_CONTROL_TENANCY_FILE_H
#define DM_CONTROL_TENANCY_FILE_H

#include "control/tenancy/write.h"

struct dm_json;
struct dm_tenant_file;

/* Reads the file for the tenant that the write has open: an application without the member `credentials` keeps those it
 * has, a certificate without `key` the one it has. Fills the failure. */
DM_MUST_USE int dm_file_read(struct dm_write *write, struct dm_json *json, const struct dm_tenant_file *before,
                             struct dm_tenant_file *ret);

/* The differences in file order, in the arena. Returns their number. */
DM_MUST_USE ssize_t dm_file_diff(struct dm_write *write, const struct dm_tenant_file *before,
                                 const struct dm_tenant_file *after, struct dm_diff **ret);

/* before is what the transaction holds (dm_load_file). */
DM_MUST_USE int dm_file_apply(struct dm_write *write, const struct dm_tenant_file *before, struct dm_tenant_file *after,
                              bool *ret_is_changed);

#endif
