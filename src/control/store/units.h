/* Units: the last signed document of each kind of a tenant, numbered by (epoch, sequence), which never goes back. */
#ifndef DM_CONTROL_STORE_UNITS_H
#define DM_CONTROL_STORE_UNITS_H

#include "control/store/tenants.h"

struct dm_unit_row {
    struct dm_str tenant;
    struct dm_str kind; /* "release", "applications", "grants" */
    uint32_t epoch;
    uint64_t sequence;
    struct dm_str document; /* signed; empty in lists without documents, and for a tenant that was removed */
    bool is_removed;        /* the tenant is gone: gateways drop the unit */
};

/* The number that the next document of this kind takes. */
DM_MUST_USE int dm_units_next(struct dm_tenant_handle *handle, struct dm_str kind, uint32_t *ret_epoch,
                              uint64_t *ret_sequence, struct dm_err *err);
/* Replaces the document of row->kind; row->tenant is not read. DM_ECONFLICT when the number is not above the present. */
DM_MUST_USE int dm_units_put(struct dm_tenant_handle *handle, const struct dm_unit_row *row, struct dm_err *err);
DM_MUST_USE int dm_units_get(struct dm_tenant_handle *handle, struct dm_str kind, struct dm_unit_row *ret,
                             struct dm_err *err);

typedef int (*dm_units_visit)(void *arg, const struct dm_unit_row *row, struct dm_err *err);
/* Numbers only. */
DM_MUST_USE int dm_units_of(struct dm_tenant_handle *handle, dm_units_visit visit, void *arg, struct dm_err *err);
/* Of all tenants, by tenant and kind, those removed among them; the master and the system only (DM_EPERM). Numbers
 * only. */
DM_MUST_USE int dm_units_all(struct dm_txn *txn, const struct dm_caller *caller, dm_units_visit visit, void *arg,
                             struct dm_err *err);

#endif
