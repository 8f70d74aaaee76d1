/* Tenants and the handles through which alone their rows are reached (S1). */
#ifndef DM_CONTROL_STORE_TENANTS_H
#define DM_CONTROL_STORE_TENANTS_H

#include "control/store/store.h"

struct dm_tenant_row {
    int64_t id;
    struct dm_str name;
    struct dm_str body; /* canonical JSON of the tenant */
    int64_t version;    /* sequence of the change that made it */
    int64_t created_ms;
    bool is_suspended;
};

/* A handle, valid until the end of the transaction. A tenant that is not there and one that the caller may not see are
 * the same DM_ENOENT. */
DM_MUST_USE int dm_tenants_open(struct dm_txn *txn, const struct dm_caller *caller, struct dm_str name,
                                struct dm_tenant_handle **ret, struct dm_err *err);
/* Makes an empty tenant. DM_EPERM unless the caller is the master; DM_EEXIST. Its units begin in an epoch that no
 * former tenant of this name had. */
DM_MUST_USE int dm_tenants_create(struct dm_txn *txn, const struct dm_caller *caller, struct dm_str name,
                                  struct dm_tenant_handle **ret, struct dm_err *err);
struct dm_str dm_tenants_name(const struct dm_tenant_handle *handle);
/* For documents and records; takes nobody anywhere. */
int64_t dm_tenants_number(const struct dm_tenant_handle *handle);
struct dm_txn *dm_tenants_txn(const struct dm_tenant_handle *handle);
DM_MUST_USE int dm_tenants_get(struct dm_tenant_handle *handle, struct dm_tenant_row *ret, struct dm_err *err);
DM_MUST_USE int dm_tenants_update(struct dm_tenant_handle *handle, struct dm_str body, bool is_suspended,
                                  int64_t version, struct dm_err *err);
/* With all its rows. Change records stay. The handle is of no more use. */
DM_MUST_USE int dm_tenants_remove(struct dm_tenant_handle *handle, struct dm_err *err);

/* The tenants that the caller may see, by name, after `after` ("" = from the first), at most limit. The row's strings
 * are borrowed for the visit; a negative return stops and is returned. */
typedef int (*dm_tenants_visit)(void *arg, const struct dm_tenant_row *row, struct dm_err *err);
DM_MUST_USE int dm_tenants_each(struct dm_txn *txn, const struct dm_caller *caller, struct dm_str after, size_t limit,
                                dm_tenants_visit visit, void *arg, struct dm_err *err);

#endif
