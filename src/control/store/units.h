/* Units: the last signed document of each kind of a tenant, numbered by (epoch, sequence), which never goes back. */
#ifndef DM_CONTROL_STORE_UNITS_H
#define DM_CONTROL_STORE_UNITS_H

#include "control/store/tenants.h"
#include "model/unit_kind.h"

struct dm_unit_row {
    struct dm_str tenant;
    enum dm_unit_kind kind;
    struct dm_mark mark;
    struct dm_str document; /* signed; empty in lists, and for a tenant that was removed */
    bool is_removed;        /* the tenant is gone: gateways drop the unit */
};

/* The mark that the next document of this kind takes. */
DM_MUST_USE int dm_units_next(struct dm_tenant_handle *handle, enum dm_unit_kind kind, struct dm_mark *ret,
                              struct dm_err *err);
/* The tenant's next marks are in an epoch above `epoch`: a gateway holds marks that this database never gave (it was
 * restored from a backup). */
DM_MUST_USE int dm_units_raise_epoch(struct dm_tenant_handle *handle, uint64_t epoch, struct dm_err *err);
/* Replaces the document of this kind. DM_ECONFLICT when the mark is not above the present one. */
DM_MUST_USE int dm_units_put(struct dm_tenant_handle *handle, enum dm_unit_kind kind, struct dm_mark mark,
                             struct dm_str document, struct dm_err *err);
/* With its document. DM_ENOENT. */
DM_MUST_USE int dm_units_get(struct dm_tenant_handle *handle, enum dm_unit_kind kind, struct dm_unit_row *ret,
                             struct dm_err *err);

typedef int (*dm_units_visit)(void *arg, const struct dm_unit_row *row, struct dm_err *err);
/* Numbers only. */
DM_MUST_USE int dm_units_of(struct dm_tenant_handle *handle, dm_units_visit visit, void *arg, struct dm_err *err);
/* Of all tenants, by tenant and kind, those removed among them; the master and the system only (DM_EPERM). Numbers
 * only. */
DM_MUST_USE int dm_units_all(struct dm_txn *txn, const struct dm_caller *caller, dm_units_visit visit, void *arg,
                             struct dm_err *err);

#endif
