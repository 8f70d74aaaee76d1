#include "control/store/changes.h"
#include "control/store/store_int.h"

#define COLUMNS                                                                                                        \
    "number, at_ms, actor, tenant_id, tenant, action, kind, name, request_id, details, previous, hash, sequence"

static int digest_of(struct dm_str bytes, uint8_t ret[DM_DIGEST_BYTES], struct dm_err *err)
{
    if (bytes.len != DM_DIGEST_BYTES)
        return dm_fail(err, DM_ECORRUPT, "", "a change record in the database has a hash of %zu bytes", bytes.len);
    memcpy(ret, bytes.ptr, DM_DIGEST_BYTES);
    return 0;
}

static int row_of(struct dm_sql_rows *rows, struct dm_change_row *ret, struct dm_err *err)
{
    *ret = (struct dm_change_row){
        .number = dm_sql_col_int(rows, 0),
        .at_ms = dm_sql_col_int(rows, 1),
        .actor = dm_sql_col_str(rows, 2),
        .tenant_number = dm_sql_col_int(rows, 3),
        .tenant = dm_sql_col_str(rows, 4),
        .action = dm_sql_col_str(rows, 5),
        .kind = dm_sql_col_str(rows, 6),
        .name = dm_sql_col_str(rows, 7),
        .request_id = dm_sql_col_str(rows, 8),
        .details = dm_sql_col_str(rows, 9),
        .sequence = dm_sql_col_int(rows, 12),
    };
    if (digest_of(dm_sql_col_str(rows, 10), ret->previous, err) < 0)
        return DM_ECORRUPT;
    return digest_of(dm_sql_col_str(rows, 11), ret->hash, err);
}

static int last_of_all(struct dm_txn *txn, int64_t *ret_number, uint8_t ret_hash[DM_DIGEST_BYTES], struct dm_err *err)
{
    DM_CLEANUP(dm_sql_finishp) struct dm_sql_rows *rows = NULL;
    int rc =
        dm_sql_start_n(txn->sql, "SELECT number, hash FROM change ORDER BY number DESC LIMIT 1", NULL, 0, &rows, err);

    if (rc < 0 || (rc = dm_sql_next(rows, err)) < 0)
        return rc;
    *ret_number = 0;
    memset(ret_hash, 0, DM_DIGEST_BYTES);
    if (rc == 0)
        return 0;
    *ret_number = dm_sql_col_int(rows, 0);
    return digest_of(dm_sql_col_str(rows, 1), ret_hash, err);
}

int dm_changes_next(struct dm_txn *txn, const struct dm_tenant_handle *tenant, struct dm_change_row *ret,
                    struct dm_err *err)
{
    int rc = last_of_all(txn, &ret->number, ret->previous, err);

    if (rc < 0)
        return rc;
    ret->sequence = ++ret->number;
    if (tenant == NULL)
        return 0;
    return dm_sql_int(txn->sql, &ret->sequence, err,
                      "UPDATE tenant_epoch SET changes = changes + 1 WHERE name = ?1 RETURNING changes",
                      DM_SQL_T(tenant->name));
}

int dm_changes_append(struct dm_txn *txn, const struct dm_change_row *row, struct dm_err *err)
{
    int rc = dm_sql_run(txn->sql, err,
                        "INSERT INTO change (" COLUMNS ") VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, "
                        "?13)",
                        DM_SQL_I(row->number), DM_SQL_I(row->at_ms), DM_SQL_T(row->actor), DM_SQL_I(row->tenant_number),
                        DM_SQL_T(row->tenant), DM_SQL_T(row->action), DM_SQL_T(row->kind), DM_SQL_T(row->name),
                        DM_SQL_T(row->request_id), DM_SQL_T(row->details),
                        DM_SQL_B(dm_str_n((const char *)row->previous, DM_DIGEST_BYTES)),
                        DM_SQL_B(dm_str_n((const char *)row->hash, DM_DIGEST_BYTES)), DM_SQL_I(row->sequence));

    return rc < 0 ? rc : 0;
}

int dm_changes_latest(struct dm_tenant_handle *handle, int64_t *ret, struct dm_err *err)
{
    return dm_sql_int(handle->txn->sql, ret, err, "SELECT COALESCE(MAX(sequence), 0) FROM change WHERE tenant_id = ?1",
                      DM_SQL_I(handle->tenant_id));
}

static int visit_all(struct dm_sql_rows *rows, dm_changes_visit visit, void *arg, struct dm_err *err)
{
    int rc;

    while ((rc = dm_sql_next(rows, err)) > 0) {
        struct dm_change_row row;

        if ((rc = row_of(rows, &row, err)) < 0 || (rc = visit(arg, &row, err)) < 0)
            break;
    }
    return rc;
}

int dm_changes_each(struct dm_txn *txn, const struct dm_caller *caller, struct dm_tenant_handle *handle, int64_t before,
                    size_t limit, dm_changes_visit visit, void *arg, struct dm_err *err)
{
    DM_CLEANUP(dm_sql_finishp) struct dm_sql_rows *rows = NULL;
    int64_t below = before > 0 ? before : INT64_MAX;
    int rc;

    if (handle == NULL && !dm_caller_is_master(caller))
        return dm_fail(err, DM_EPERM, "", "only the master sees the changes of all tenants");
    if (handle != NULL)
        rc = dm_sql_start(txn->sql, &rows, err,
                          "SELECT " COLUMNS " FROM change WHERE tenant_id = ?1 AND sequence < ?2 "
                          "ORDER BY sequence DESC LIMIT ?3",
                          DM_SQL_I(handle->tenant_id), DM_SQL_I(below), DM_SQL_I(limit));
    else
        rc = dm_sql_start(txn->sql, &rows, err,
                          "SELECT " COLUMNS " FROM change WHERE number < ?1 ORDER BY number DESC LIMIT ?2",
                          DM_SQL_I(below), DM_SQL_I(limit));
    return rc < 0 ? rc : visit_all(rows, visit, arg, err);
}

int dm_changes_walk(struct dm_txn *txn, const struct dm_caller *caller, dm_changes_visit visit, void *arg,
                    struct dm_err *err)
{
    DM_CLEANUP(dm_sql_finishp) struct dm_sql_rows *rows = NULL;
    int rc;

    if (!dm_caller_is_master(caller))
        return dm_fail(err, DM_EPERM, "", "only the master sees the changes of all tenants");
    rc = dm_sql_start_n(txn->sql, "SELECT " COLUMNS " FROM change ORDER BY number", NULL, 0, &rows, err);
    return rc < 0 ? rc : visit_all(rows, visit, arg, err);
}
