/* What people want of backends' circuits for a while (model/circuit.h), by the backend's name. */
#ifndef DM_CONTROL_STORE_CIRCUIT_HOLDS_H
#define DM_CONTROL_STORE_CIRCUIT_HOLDS_H

#include "control/store/tenants.h"
#include "model/circuit.h"

/* Makes or replaces; AUTO removes. */
DM_MUST_USE int dm_circuit_holds_put(struct dm_tenant_handle *handle, const struct dm_circuit_hold *hold,
                                     struct dm_err *err);
/* *ret is AUTO when there is none, or its time is over. */
DM_MUST_USE int dm_circuit_holds_get(struct dm_tenant_handle *handle, struct dm_str backend,
                                     struct dm_circuit_hold *ret, struct dm_err *err);

typedef int (*dm_circuit_holds_visit)(void *arg, const struct dm_circuit_hold *hold, struct dm_err *err);
/* Of all tenants, those that stand; the master and the system only (DM_EPERM). */
DM_MUST_USE int dm_circuit_holds_all(struct dm_txn *txn, const struct dm_caller *caller, dm_circuit_holds_visit visit,
                                     void *arg, struct dm_err *err);

#endif
