#include "control/store/units.h"
#include "control/store/store_int.h"

static struct dm_str kind_name(enum dm_unit_kind kind)
{
    return dm_str_of(dm_unit_kind_names[kind]);
}

static int kind_of(struct dm_str name, enum dm_unit_kind *ret, struct dm_err *err)
{
    for (int kind = 1; kind < DM_UNIT_KINDS; kind++)
        if (dm_str_eq(kind_name(kind), name)) {
            *ret = kind;
            return 0;
        }
    return dm_fail(err, DM_ECORRUPT, "", "the database holds a unit of kind '%.*s'", DM_STR_ARG(name));
}

/* The present mark; (0, 0) when there is none. */
static int present_mark(struct dm_tenant_handle *handle, enum dm_unit_kind kind, struct dm_mark *ret,
                        struct dm_err *err)
{
    DM_CLEANUP(dm_sql_finishp) struct dm_sql_rows *rows = NULL;
    int rc =
        dm_sql_start(handle->txn->sql, &rows, err, "SELECT epoch, sequence FROM unit WHERE tenant = ?1 AND kind = ?2",
                     DM_SQL_T(handle->name), DM_SQL_T(kind_name(kind)));

    if (rc < 0 || (rc = dm_sql_next(rows, err)) < 0)
        return rc;
    *ret = (struct dm_mark){0};
    if (rc > 0)
        *ret = (struct dm_mark){(uint64_t)dm_sql_col_int(rows, 0), (uint64_t)dm_sql_col_int(rows, 1)};
    return 0;
}

int dm_units_next(struct dm_tenant_handle *handle, enum dm_unit_kind kind, struct dm_mark *ret, struct dm_err *err)
{
    struct dm_mark mark;
    int64_t epoch = 0;
    int rc = present_mark(handle, kind, &mark, err);

    /* What was written since a backup was made is not known after its restoration: those numbers are never given again. */
    if (rc >= 0)
        rc = dm_units_raise_epoch(handle, (uint64_t)(handle->txn->started_s - 1), err);
    if (rc >= 0)
        rc = dm_sql_int(handle->txn->sql, &epoch, err, "SELECT epoch FROM tenant_epoch WHERE name = ?1",
                        DM_SQL_T(handle->name));
    if (rc < 0)
        return rc;
    if ((uint64_t)epoch > mark.epoch)
        mark = (struct dm_mark){(uint64_t)epoch, 0};
    *ret = (struct dm_mark){mark.epoch, mark.sequence + 1};
    return 0;
}

int dm_units_raise_epoch(struct dm_tenant_handle *handle, uint64_t epoch, struct dm_err *err)
{
    int rc = dm_sql_run(handle->txn->sql, err, "UPDATE tenant_epoch SET epoch = ?2 + 1 WHERE name = ?1 AND epoch <= ?2",
                        DM_SQL_T(handle->name), DM_SQL_I(epoch));

    return rc < 0 ? rc : 0;
}

int dm_units_put(struct dm_tenant_handle *handle, enum dm_unit_kind kind, struct dm_mark mark, struct dm_str document,
                 struct dm_err *err)
{
    struct dm_mark present;
    int rc = present_mark(handle, kind, &present, err);

    if (rc < 0)
        return rc;
    if (dm_mark_cmp(mark, present) <= 0)
        return dm_fail(err, DM_ECONFLICT, "", "unit numbers never go back");
    rc = dm_sql_run(handle->txn->sql, err,
                    "INSERT INTO unit (tenant, kind, tenant_id, epoch, sequence, removed, document) "
                    "VALUES (?1, ?2, ?3, ?4, ?5, 0, ?6) ON CONFLICT (tenant, kind) DO UPDATE SET "
                    "tenant_id = ?3, epoch = ?4, sequence = ?5, removed = 0, document = ?6",
                    DM_SQL_T(handle->name), DM_SQL_T(kind_name(kind)), DM_SQL_I(handle->tenant_id),
                    DM_SQL_I(mark.epoch), DM_SQL_I(mark.sequence), DM_SQL_B(document));
    return rc < 0 ? rc : 0;
}

static int row_of(struct dm_sql_rows *rows, struct dm_unit_row *ret, struct dm_err *err)
{
    *ret = (struct dm_unit_row){
        .tenant = dm_sql_col_str(rows, 0),
        .mark = {(uint64_t)dm_sql_col_int(rows, 2), (uint64_t)dm_sql_col_int(rows, 3)},
        .is_removed = dm_sql_col_int(rows, 4) != 0,
        .document = DM_STR(""),
    };
    return kind_of(dm_sql_col_str(rows, 1), &ret->kind, err);
}

int dm_units_get(struct dm_tenant_handle *handle, enum dm_unit_kind kind, struct dm_unit_row *ret, struct dm_err *err)
{
    DM_CLEANUP(dm_sql_finishp) struct dm_sql_rows *rows = NULL;
    struct dm_unit_row row;
    int rc = dm_sql_start(handle->txn->sql, &rows, err,
                          "SELECT tenant, kind, epoch, sequence, removed, document FROM unit "
                          "WHERE tenant_id = ?1 AND kind = ?2",
                          DM_SQL_I(handle->tenant_id), DM_SQL_T(kind_name(kind)));

    if (rc < 0 || (rc = dm_sql_next(rows, err)) < 0)
        return rc;
    if (rc == 0)
        return dm_fail(err, DM_ENOENT, "", "the tenant has no %s yet", dm_unit_kind_names[kind]);
    if ((rc = row_of(rows, &row, err)) < 0 || (rc = dm_txn_keep(handle->txn, rows, 5, &row.document, err)) < 0)
        return rc;
    row.tenant = handle->name;
    *ret = row;
    return 0;
}

static int visit_all(struct dm_sql_rows *rows, dm_units_visit visit, void *arg, struct dm_err *err)
{
    int rc;

    while ((rc = dm_sql_next(rows, err)) > 0) {
        struct dm_unit_row row;

        if ((rc = row_of(rows, &row, err)) < 0 || (rc = visit(arg, &row, err)) < 0)
            break;
    }
    return rc;
}

int dm_units_of(struct dm_tenant_handle *handle, dm_units_visit visit, void *arg, struct dm_err *err)
{
    DM_CLEANUP(dm_sql_finishp) struct dm_sql_rows *rows = NULL;
    int rc = dm_sql_start(handle->txn->sql, &rows, err,
                          "SELECT tenant, kind, epoch, sequence, removed FROM unit WHERE tenant_id = ?1 ORDER BY kind",
                          DM_SQL_I(handle->tenant_id));

    return rc < 0 ? rc : visit_all(rows, visit, arg, err);
}

int dm_units_all(struct dm_txn *txn, const struct dm_caller *caller, dm_units_visit visit, void *arg,
                 struct dm_err *err)
{
    DM_CLEANUP(dm_sql_finishp) struct dm_sql_rows *rows = NULL;
    int rc;

    if (!dm_caller_is_master(caller))
        return dm_fail(err, DM_EPERM, "", "only the master sees the units of all tenants");
    rc = dm_sql_start_n(txn->sql, "SELECT tenant, kind, epoch, sequence, removed FROM unit ORDER BY tenant, kind", NULL,
                        0, &rows, err);
    return rc < 0 ? rc : visit_all(rows, visit, arg, err);
}
