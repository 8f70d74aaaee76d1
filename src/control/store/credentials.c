#include "control/store/credentials.h"
#include "control/store/resources.h"
#include "control/store/store_int.h"

static int exists(struct dm_tenant_handle *handle, const struct dm_credential_row *row, bool *ret_name, bool *ret_key,
                  struct dm_err *err)
{
    int64_t names = 0, keys = 0;
    int rc = dm_sql_int(handle->txn->sql, &names, err,
                        "SELECT COUNT(*) FROM credential WHERE tenant_id = ?1 AND application = ?2 AND name = ?3",
                        DM_SQL_I(handle->tenant_id), DM_SQL_T(row->application), DM_SQL_T(row->name));

    if (rc == 0)
        rc = dm_sql_int(
            handle->txn->sql, &keys, err, "SELECT COUNT(*) FROM credential WHERE tenant_id = ?1 AND digest = ?2",
            DM_SQL_I(handle->tenant_id), DM_SQL_B(dm_str_n((const char *)row->digest, sizeof(row->digest))));
    *ret_name = names > 0;
    *ret_key = keys > 0;
    return rc;
}

int dm_credentials_add(struct dm_tenant_handle *handle, struct dm_credential_row *row, struct dm_err *err)
{
    bool has_name, has_key;
    int rc = exists(handle, row, &has_name, &has_key, err);

    if (rc < 0)
        return rc;
    if (has_name)
        return dm_fail(err, DM_EEXIST, "/name", "the application has a credential '%.*s' already",
                       DM_STR_ARG(row->name));
    if (has_key)
        return dm_fail(err, DM_EEXIST, "/key", "it is in use by a credential of this tenant already");
    if ((rc = dm_resources_number(handle, DM_STR("credential"), &row->number, err)) < 0)
        return rc;
    row->created_ms = handle->txn->now_ms;
    rc = dm_sql_run(handle->txn->sql, err,
                    "INSERT INTO credential (tenant_id, number, application, name, type, digest, created_ms, shown) "
                    "VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
                    DM_SQL_I(handle->tenant_id), DM_SQL_I(row->number), DM_SQL_T(row->application), DM_SQL_T(row->name),
                    DM_SQL_T(row->type), DM_SQL_B(dm_str_n((const char *)row->digest, sizeof(row->digest))),
                    DM_SQL_I(row->created_ms), DM_SQL_T(row->shown.ptr ? row->shown : DM_STR("")));
    return rc < 0 ? rc : 0;
}

int dm_credentials_remove(struct dm_tenant_handle *handle, struct dm_str application, struct dm_str name,
                          struct dm_err *err)
{
    int rc = dm_sql_run(handle->txn->sql, err,
                        "DELETE FROM credential WHERE tenant_id = ?1 AND application = ?2 AND name = ?3",
                        DM_SQL_I(handle->tenant_id), DM_SQL_T(application), DM_SQL_T(name));

    if (rc == 0)
        return dm_fail(err, DM_ENOENT, "", "the application has no credential '%.*s'", DM_STR_ARG(name));
    return rc < 0 ? rc : 0;
}

int dm_credentials_remove_all(struct dm_tenant_handle *handle, struct dm_str application, struct dm_err *err)
{
    int rc = dm_sql_run(handle->txn->sql, err, "DELETE FROM credential WHERE tenant_id = ?1 AND application = ?2",
                        DM_SQL_I(handle->tenant_id), DM_SQL_T(application));

    return rc < 0 ? rc : 0;
}

static int row_of(struct dm_sql_rows *rows, struct dm_credential_row *ret, struct dm_err *err)
{
    struct dm_str digest = dm_sql_col_str(rows, 4);

    if (digest.len != sizeof(ret->digest))
        return dm_fail(err, DM_ECORRUPT, "", "a credential in the database has a digest of %zu bytes", digest.len);
    *ret = (struct dm_credential_row){
        .number = dm_sql_col_int(rows, 0),
        .application = dm_sql_col_str(rows, 1),
        .name = dm_sql_col_str(rows, 2),
        .type = dm_sql_col_str(rows, 3),
        .created_ms = dm_sql_col_int(rows, 5),
        .shown = dm_sql_col_str(rows, 6),
    };
    memcpy(ret->digest, digest.ptr, digest.len);
    return 0;
}

int dm_credentials_each(struct dm_tenant_handle *handle, struct dm_str application, dm_credentials_visit visit,
                        void *arg, struct dm_err *err)
{
    DM_CLEANUP(dm_sql_finishp) struct dm_sql_rows *rows = NULL;
    int rc;

    if (application.ptr != NULL)
        rc = dm_sql_start(handle->txn->sql, &rows, err,
                          "SELECT number, application, name, type, digest, created_ms, shown FROM credential "
                          "WHERE tenant_id = ?1 AND application = ?2 ORDER BY number",
                          DM_SQL_I(handle->tenant_id), DM_SQL_T(application));
    else
        rc = dm_sql_start(handle->txn->sql, &rows, err,
                          "SELECT number, application, name, type, digest, created_ms, shown FROM credential "
                          "WHERE tenant_id = ?1 ORDER BY application, number",
                          DM_SQL_I(handle->tenant_id));
    while (rc >= 0 && (rc = dm_sql_next(rows, err)) > 0) {
        struct dm_credential_row row;

        if ((rc = row_of(rows, &row, err)) >= 0)
            rc = visit(arg, &row, err);
    }
    return rc;
}

int dm_credentials_digest_key(struct dm_tenant_handle *handle, int64_t *ret_id, struct dm_str *ret_sealed,
                              struct dm_err *err)
{
    DM_CLEANUP(dm_sql_finishp) struct dm_sql_rows *rows = NULL;
    int rc = dm_sql_start(handle->txn->sql, &rows, err,
                          "SELECT key_id, sealed FROM tenant_key WHERE tenant_id = ?1 ORDER BY key_id DESC LIMIT 1",
                          DM_SQL_I(handle->tenant_id));

    if (rc < 0 || (rc = dm_sql_next(rows, err)) < 0)
        return rc;
    if (rc == 0)
        return dm_fail(err, DM_ENOENT, "", "the tenant has no digest key");
    *ret_id = dm_sql_col_int(rows, 0);
    return dm_txn_keep(handle->txn, rows, 1, ret_sealed, err);
}

int dm_credentials_set_digest_key(struct dm_tenant_handle *handle, int64_t id, struct dm_str sealed, struct dm_err *err)
{
    int rc = dm_sql_run(handle->txn->sql, err, "INSERT INTO tenant_key (tenant_id, key_id, sealed) VALUES (?1, ?2, ?3)",
                        DM_SQL_I(handle->tenant_id), DM_SQL_I(id), DM_SQL_B(sealed));

    return rc < 0 ? rc : 0;
}
