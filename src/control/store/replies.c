#include "control/store/replies.h"
#include "control/store/store_int.h"

int dm_replies_get(struct dm_txn *txn, int64_t token_id, struct dm_str key, struct dm_reply_row *ret,
                   struct dm_err *err)
{
    DM_CLEANUP(dm_sql_finishp) struct dm_sql_rows *rows = NULL;
    struct dm_str request;
    int rc = dm_sql_start(txn->sql, &rows, err, "SELECT request, sealed FROM reply WHERE token_id = ?1 AND key = ?2",
                          DM_SQL_I(token_id), DM_SQL_T(key));

    if (rc < 0 || (rc = dm_sql_next(rows, err)) < 0)
        return rc;
    if (rc == 0)
        return dm_fail(err, DM_ENOENT, "", "nothing was answered under this idempotency key");
    request = dm_sql_col_str(rows, 0);
    if (request.len != sizeof(ret->request))
        return dm_fail(err, DM_ECORRUPT, "", "a kept reply in the database has a digest of %zu bytes", request.len);
    ret->token_id = token_id;
    ret->key = key;
    memcpy(ret->request, request.ptr, request.len);
    return dm_txn_keep(txn, rows, 1, &ret->sealed, err);
}

int dm_replies_put(struct dm_txn *txn, const struct dm_tenant_handle *tenant, const struct dm_reply_row *row,
                   struct dm_err *err)
{
    int rc = dm_sql_run(txn->sql, err,
                        "INSERT INTO reply (token_id, key, request, sealed, created_ms, tenant_id) "
                        "VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                        DM_SQL_I(row->token_id), DM_SQL_T(row->key),
                        DM_SQL_B(dm_str_n((const char *)row->request, sizeof(row->request))), DM_SQL_B(row->sealed),
                        DM_SQL_I(txn->now_ms), tenant != NULL ? DM_SQL_I(tenant->tenant_id) : DM_SQL_N);

    return rc < 0 ? rc : 0;
}

int dm_replies_purge(struct dm_txn *txn, int64_t before_ms, struct dm_err *err)
{
    int rc = dm_sql_run(txn->sql, err, "DELETE FROM reply WHERE created_ms < ?1", DM_SQL_I(before_ms));

    return rc < 0 ? rc : 0;
}
