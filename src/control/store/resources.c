#include "control/store/resources.h"
#include "control/store/store_int.h"

#define COLUMNS "kind, name, body, number, version"

static int no_resource(struct dm_err *err, struct dm_str kind, struct dm_str name)
{
    return dm_fail(err, DM_ENOENT, "", "there is no %.*s '%.*s'", DM_STR_ARG(kind), DM_STR_ARG(name));
}

static struct dm_resource_row row_of(struct dm_sql_rows *rows)
{
    return (struct dm_resource_row){
        .kind = dm_sql_col_str(rows, 0),
        .name = dm_sql_col_str(rows, 1),
        .body = dm_sql_col_str(rows, 2),
        .number = dm_sql_col_int(rows, 3),
        .version = dm_sql_col_int(rows, 4),
    };
}

int dm_resources_get(struct dm_tenant_handle *handle, struct dm_str kind, struct dm_str name,
                     struct dm_resource_row *ret, struct dm_err *err)
{
    DM_CLEANUP(dm_sql_finishp) struct dm_sql_rows *rows = NULL;
    struct dm_resource_row row;
    int rc = dm_sql_start(handle->txn->sql, &rows, err,
                          "SELECT " COLUMNS " FROM resource WHERE tenant_id = ?1 AND kind = ?2 AND name = ?3",
                          DM_SQL_I(handle->tenant_id), DM_SQL_T(kind), DM_SQL_T(name));

    if (rc < 0 || (rc = dm_sql_next(rows, err)) < 0)
        return rc;
    if (rc == 0)
        return no_resource(err, kind, name);
    row = row_of(rows);
    if (dm_txn_keep(handle->txn, rows, 0, &row.kind, err) < 0 ||
        dm_txn_keep(handle->txn, rows, 1, &row.name, err) < 0 || dm_txn_keep(handle->txn, rows, 2, &row.body, err) < 0)
        return DM_EBUDGET;
    *ret = row;
    return 0;
}

int dm_resources_put(struct dm_tenant_handle *handle, const struct dm_resource_row *row, struct dm_err *err)
{
    int rc = dm_sql_run(handle->txn->sql, err,
                        "INSERT INTO resource (tenant_id, kind, name, number, version, body) "
                        "VALUES (?1, ?2, ?3, ?4, ?5, ?6) "
                        "ON CONFLICT (tenant_id, kind, name) DO UPDATE SET version = ?5, body = ?6",
                        DM_SQL_I(handle->tenant_id), DM_SQL_T(row->kind), DM_SQL_T(row->name), DM_SQL_I(row->number),
                        DM_SQL_I(row->version), DM_SQL_T(row->body));

    return rc < 0 ? rc : 0;
}

int dm_resources_remove(struct dm_tenant_handle *handle, struct dm_str kind, struct dm_str name, struct dm_err *err)
{
    int rc = dm_sql_run(handle->txn->sql, err, "DELETE FROM resource WHERE tenant_id = ?1 AND kind = ?2 AND name = ?3",
                        DM_SQL_I(handle->tenant_id), DM_SQL_T(kind), DM_SQL_T(name));

    if (rc == 0)
        return no_resource(err, kind, name);
    return rc < 0 ? rc : 0;
}

int dm_resources_number(struct dm_tenant_handle *handle, struct dm_str kind, int64_t *ret, struct dm_err *err)
{
    char counter[96];

    snprintf(counter, sizeof(counter), "%.*s/%lld", DM_STR_ARG(kind), (long long)handle->tenant_id);
    return dm_txn_number(handle->txn, counter, ret, err);
}

int dm_resources_count(struct dm_tenant_handle *handle, struct dm_str kind, size_t *ret, struct dm_err *err)
{
    int64_t count = 0;
    int rc =
        dm_sql_int(handle->txn->sql, &count, err, "SELECT COUNT(*) FROM resource WHERE tenant_id = ?1 AND kind = ?2",
                   DM_SQL_I(handle->tenant_id), DM_SQL_T(kind));

    if (rc == 0)
        *ret = (size_t)count;
    return rc;
}

int dm_resources_each(struct dm_tenant_handle *handle, struct dm_str kind, struct dm_str after, size_t limit,
                      dm_resources_visit visit, void *arg, struct dm_err *err)
{
    DM_CLEANUP(dm_sql_finishp) struct dm_sql_rows *rows = NULL;
    int rc = dm_sql_start(handle->txn->sql, &rows, err,
                          "SELECT " COLUMNS " FROM resource WHERE tenant_id = ?1 AND kind = ?2 AND name > ?3 "
                          "ORDER BY name LIMIT ?4",
                          DM_SQL_I(handle->tenant_id), DM_SQL_T(kind), DM_SQL_T(after),
                          DM_SQL_I(limit > 0 ? (int64_t)limit : INT64_MAX));

    while (rc >= 0 && (rc = dm_sql_next(rows, err)) > 0) {
        struct dm_resource_row row = row_of(rows);

        rc = visit(arg, &row, err);
    }
    return rc;
}

int dm_resources_subscribe(struct dm_tenant_handle *handle, struct dm_str application, struct dm_str product,
                           struct dm_str plan, struct dm_err *err)
{
    int rc = dm_sql_run(handle->txn->sql, err,
                        "INSERT INTO subscription (tenant_id, application, product, plan) VALUES (?1, ?2, ?3, ?4)",
                        DM_SQL_I(handle->tenant_id), DM_SQL_T(application), DM_SQL_T(product), DM_SQL_T(plan));

    return rc < 0 ? rc : 0;
}

int dm_resources_unsubscribe(struct dm_tenant_handle *handle, struct dm_str application, struct dm_err *err)
{
    int rc = dm_sql_run(handle->txn->sql, err, "DELETE FROM subscription WHERE tenant_id = ?1 AND application = ?2",
                        DM_SQL_I(handle->tenant_id), DM_SQL_T(application));

    return rc < 0 ? rc : 0;
}

int dm_resources_subscribed(struct dm_tenant_handle *handle, dm_subscriptions_visit visit, void *arg,
                            struct dm_err *err)
{
    DM_CLEANUP(dm_sql_finishp) struct dm_sql_rows *rows = NULL;
    int rc = dm_sql_start(handle->txn->sql, &rows, err,
                          "SELECT product, plan, MIN(application) FROM subscription WHERE tenant_id = ?1 "
                          "GROUP BY product, plan ORDER BY product, plan",
                          DM_SQL_I(handle->tenant_id));

    while (rc >= 0 && (rc = dm_sql_next(rows, err)) > 0)
        rc = visit(arg, dm_sql_col_str(rows, 0), dm_sql_col_str(rows, 1), dm_sql_col_str(rows, 2), err);
    return rc;
}
