#include "control/store/certificate_keys.h"
#include "control/store/store_int.h"

int dm_certificate_keys_put(struct dm_tenant_handle *handle, struct dm_str certificate, struct dm_str sealed,
                            struct dm_err *err)
{
    int rc = dm_sql_run(handle->txn->sql, err,
                        "INSERT INTO certificate_key (tenant_id, certificate, sealed) VALUES (?1, ?2, ?3) "
                        "ON CONFLICT (tenant_id, certificate) DO UPDATE SET sealed = ?3",
                        DM_SQL_I(handle->tenant_id), DM_SQL_T(certificate), DM_SQL_B(sealed));

    return rc < 0 ? rc : 0;
}

int dm_certificate_keys_get(struct dm_tenant_handle *handle, struct dm_str certificate, struct dm_str *ret_sealed,
                            struct dm_err *err)
{
    DM_CLEANUP(dm_sql_finishp) struct dm_sql_rows *rows = NULL;
    int rc = dm_sql_start(handle->txn->sql, &rows, err,
                          "SELECT sealed FROM certificate_key WHERE tenant_id = ?1 AND certificate = ?2",
                          DM_SQL_I(handle->tenant_id), DM_SQL_T(certificate));

    if (rc < 0 || (rc = dm_sql_next(rows, err)) < 0)
        return rc;
    if (rc == 0)
        return dm_fail(err, DM_ENOENT, "", "the certificate '%.*s' has no key", DM_STR_ARG(certificate));
    return dm_txn_keep(handle->txn, rows, 0, ret_sealed, err);
}

int dm_certificate_keys_remove(struct dm_tenant_handle *handle, struct dm_str certificate, struct dm_err *err)
{
    int rc = dm_sql_run(handle->txn->sql, err, "DELETE FROM certificate_key WHERE tenant_id = ?1 AND certificate = ?2",
                        DM_SQL_I(handle->tenant_id), DM_SQL_T(certificate));

    if (rc == 0)
        return dm_fail(err, DM_ENOENT, "", "the certificate '%.*s' has no key", DM_STR_ARG(certificate));
    return rc < 0 ? rc : 0;
}

int dm_certificate_keys_data(struct dm_tenant_handle *handle, int64_t *ret_id, struct dm_str *ret_sealed,
                             struct dm_err *err)
{
    DM_CLEANUP(dm_sql_finishp) struct dm_sql_rows *rows = NULL;
    int rc =
        dm_sql_start(handle->txn->sql, &rows, err,
                     "SELECT key_id, sealed FROM tenant_data_key WHERE tenant_id = ?1 ORDER BY key_id DESC LIMIT 1",
                     DM_SQL_I(handle->tenant_id));

    if (rc < 0 || (rc = dm_sql_next(rows, err)) < 0)
        return rc;
    if (rc == 0)
        return dm_fail(err, DM_ENOENT, "", "the tenant has no data key");
    *ret_id = dm_sql_col_int(rows, 0);
    return dm_txn_keep(handle->txn, rows, 1, ret_sealed, err);
}

int dm_certificate_keys_set_data(struct dm_tenant_handle *handle, int64_t id, struct dm_str sealed, struct dm_err *err)
{
    int rc =
        dm_sql_run(handle->txn->sql, err, "INSERT INTO tenant_data_key (tenant_id, key_id, sealed) VALUES (?1, ?2, ?3)",
                   DM_SQL_I(handle->tenant_id), DM_SQL_I(id), DM_SQL_B(sealed));

    return rc < 0 ? rc : 0;
}
