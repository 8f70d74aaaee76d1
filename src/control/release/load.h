/* From rows to the structs of model/. Everything lies in the transaction's arena. */
#ifndef DM_CONTROL_RELEASE_LOAD_H
#define DM_CONTROL_RELEASE_LOAD_H

#include "control/release/kind.h"
#include "control/store/resources.h"
#include "model/tenant_file.h"

/* One row's body. What does not read is DM_ECORRUPT. */
DM_MUST_USE int dm_load_body(struct dm_txn *txn, const struct dm_schema *schema, struct dm_str body, void *ret,
                             struct dm_err *err);
/* The tenant with id, name and times. */
DM_MUST_USE int dm_load_tenant(struct dm_tenant_handle *handle, struct dm_tenant *ret, int64_t *ret_version,
                               struct dm_err *err);
/* One resource into a struct of its kind; applications with their ids and credentials (digests as hex, no keys),
 * certificates without their key. */
DM_MUST_USE int dm_load_resource(struct dm_tenant_handle *handle, enum dm_kind kind, struct dm_str name, void *ret,
                                 struct dm_resource_row *ret_row, struct dm_err *err);
/* All of a kind, by name. *ret is an array of the kind's structs. spare more items are left room for. */
DM_MUST_USE int dm_load_all(struct dm_tenant_handle *handle, enum dm_kind kind, size_t spare, void **ret,
                            size_t *ret_count, struct dm_err *err);
/* The grants; empty ones when there are none yet. */
DM_MUST_USE int dm_load_grants(struct dm_tenant_handle *handle, struct dm_grants *ret, int64_t *ret_version,
                               struct dm_err *err);
/* The whole declarative file, grants among it. */
DM_MUST_USE int dm_load_file(struct dm_tenant_handle *handle, struct dm_tenant_file *ret, struct dm_err *err);

#endif
