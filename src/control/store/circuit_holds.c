#include "control/store/circuit_holds.h"
#include "control/store/store_int.h"
#include "model/backend.h"
#include "model/field.h"

int dm_circuit_holds_put(struct dm_tenant_handle *handle, const struct dm_circuit_hold *hold, struct dm_err *err)
{
    struct dm_sql_arg tenant = DM_SQL_I(handle->tenant_id), backend = DM_SQL_T(hold->backend);
    int rc;

    rc = dm_sql_run(handle->txn->sql, err,
                    "DELETE FROM circuit_hold WHERE tenant_id = ?1 AND (backend = ?2 OR until_ms <= ?3)", tenant,
                    backend, DM_SQL_I(handle->txn->now_ms));
    if (rc >= 0 && hold->mode != DM_BREAKER_AUTO)
        rc = dm_sql_run(handle->txn->sql, err,
                        "INSERT INTO circuit_hold (tenant_id, backend, mode, until_ms) VALUES (?1, ?2, ?3, ?4)", tenant,
                        backend, DM_SQL_T(dm_str_of(dm_breaker_mode_names[hold->mode])),
                        DM_SQL_I((int64_t)hold->until_ms));
    return rc < 0 ? rc : 0;
}

/* A mode that this program does not know holds nothing. */
static int mode_of(struct dm_str name)
{
    return DM_MAX(DM_BREAKER_AUTO, dm_names_find(dm_breaker_mode_names, name));
}

int dm_circuit_holds_get(struct dm_tenant_handle *handle, struct dm_str backend, struct dm_circuit_hold *ret,
                         struct dm_err *err)
{
    DM_CLEANUP(dm_sql_finishp) struct dm_sql_rows *rows = NULL;
    int rc =
        dm_sql_start(handle->txn->sql, &rows, err,
                     "SELECT mode, until_ms FROM circuit_hold WHERE tenant_id = ?1 AND backend = ?2 AND until_ms > ?3",
                     DM_SQL_I(handle->tenant_id), DM_SQL_T(backend), DM_SQL_I(handle->txn->now_ms));

    if (rc < 0 || (rc = dm_sql_next(rows, err)) < 0)
        return rc;
    *ret = (struct dm_circuit_hold){.tenant_id = (uint64_t)handle->tenant_id,
                                    .tenant = dm_tenants_name(handle),
                                    .backend = backend,
                                    .mode = rc > 0 ? mode_of(dm_sql_col_str(rows, 0)) : DM_BREAKER_AUTO,
                                    .until_ms = rc > 0 ? (uint64_t)dm_sql_col_int(rows, 1) : 0};
    return 0;
}

int dm_circuit_holds_all(struct dm_txn *txn, const struct dm_caller *caller, dm_circuit_holds_visit visit, void *arg,
                         struct dm_err *err)
{
    DM_CLEANUP(dm_sql_finishp) struct dm_sql_rows *rows = NULL;
    int rc;

    if (!dm_caller_is_master(caller))
        return dm_fail(err, DM_EPERM, "", "only the master sees what all tenants hold");
    rc = dm_sql_start(txn->sql, &rows, err,
                      "SELECT t.tenant_id, t.name, h.backend, h.mode, h.until_ms FROM circuit_hold h JOIN tenant t ON "
                      "t.tenant_id = h.tenant_id WHERE h.until_ms > ?1 ORDER BY t.name, h.backend",
                      DM_SQL_I(txn->now_ms));
    while (rc >= 0 && (rc = dm_sql_next(rows, err)) > 0) {
        struct dm_circuit_hold hold = {.tenant_id = (uint64_t)dm_sql_col_int(rows, 0),
                                       .tenant = dm_sql_col_str(rows, 1),
                                       .backend = dm_sql_col_str(rows, 2),
                                       .mode = mode_of(dm_sql_col_str(rows, 3)),
                                       .until_ms = (uint64_t)dm_sql_col_int(rows, 4)};
        rc = visit(arg, &hold, err);
    }
    return rc < 0 ? rc : 0;
}
