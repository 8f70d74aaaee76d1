#include "control/store/tenants.h"
#include "control/store/store_int.h"

#define COLUMNS "tenant_id, name, body, version, created_ms, suspended"

static int no_tenant(struct dm_err *err, struct dm_str name)
{
    return dm_fail(err, DM_ENOENT, "", "there is no tenant '%.*s'", DM_STR_ARG(name));
}

static int new_handle(struct dm_txn *txn, int64_t tenant_id, struct dm_str name, struct dm_tenant_handle **ret,
                      struct dm_err *err)
{
    struct dm_tenant_handle *handle = DM_ARENA_NEW(txn->arena, struct dm_tenant_handle);

    if (handle == NULL || dm_arena_str(txn->arena, name, &handle->name) < 0)
        return dm_txn_fail_budget(err);
    handle->txn = txn;
    handle->tenant_id = tenant_id;
    *ret = handle;
    return 0;
}

static bool may_see(const struct dm_caller *caller, struct dm_str name)
{
    return dm_caller_is_master(caller) ||
           (caller->standing == DM_STANDING_TENANT_ADMIN && dm_str_eq(caller->tenant, name));
}

int dm_tenants_open(struct dm_txn *txn, const struct dm_caller *caller, struct dm_str name,
                    struct dm_tenant_handle **ret, struct dm_err *err)
{
    int64_t tenant_id;
    int rc;

    if (!may_see(caller, name))
        return no_tenant(err, name);
    rc = dm_sql_int(txn->sql, &tenant_id, err, "SELECT tenant_id FROM tenant WHERE name = ?1", DM_SQL_T(name));
    if (rc == DM_ENOENT || (rc == 0 && !dm_caller_is_master(caller) && tenant_id != caller->tenant_number))
        return no_tenant(err, name);
    return rc < 0 ? rc : new_handle(txn, tenant_id, name, ret, err);
}

/* At least the time in seconds, so that a database that was made anew is ahead of what gateways hold from the old one. */
static int take_epoch(struct dm_txn *txn, struct dm_str name, struct dm_err *err)
{
    int64_t epoch;

    return dm_sql_int(txn->sql, &epoch, err,
                      "INSERT INTO tenant_epoch (name, epoch) VALUES (?1, ?2) "
                      "ON CONFLICT (name) DO UPDATE SET epoch = "
                      "CASE WHEN tenant_epoch.epoch < ?2 THEN ?2 ELSE tenant_epoch.epoch + 1 END RETURNING epoch",
                      DM_SQL_T(name), DM_SQL_I(txn->now_ms / 1000));
}

static int is_taken(struct dm_txn *txn, struct dm_str name, struct dm_err *err)
{
    int64_t count = 0;
    int rc = dm_sql_int(txn->sql, &count, err, "SELECT COUNT(*) FROM tenant WHERE name = ?1", DM_SQL_T(name));

    if (rc == 0 && count > 0)
        return dm_fail(err, DM_EEXIST, "/name", "there is a tenant '%.*s' already", DM_STR_ARG(name));
    return rc;
}

int dm_tenants_create(struct dm_txn *txn, const struct dm_caller *caller, struct dm_str name,
                      struct dm_tenant_handle **ret, struct dm_err *err)
{
    int64_t tenant_id = 0;
    int rc;

    if (!dm_caller_is_master(caller))
        return dm_fail(err, DM_EPERM, "", "only the master makes tenants");
    if ((rc = is_taken(txn, name, err)) < 0 || (rc = dm_txn_number(txn, "tenant", &tenant_id, err)) < 0)
        return rc;
    rc = dm_sql_run(txn->sql, err,
                    "INSERT INTO tenant (tenant_id, name, body, suspended, version, created_ms) "
                    "VALUES (?1, ?2, '{}', 0, 0, ?3)",
                    DM_SQL_I(tenant_id), DM_SQL_T(name), DM_SQL_I(txn->now_ms));
    if (rc < 0 || (rc = take_epoch(txn, name, err)) < 0)
        return rc;
    return new_handle(txn, tenant_id, name, ret, err);
}

struct dm_str dm_tenants_name(const struct dm_tenant_handle *handle)
{
    return handle->name;
}

int64_t dm_tenants_number(const struct dm_tenant_handle *handle)
{
    return handle->tenant_id;
}

struct dm_txn *dm_tenants_txn(const struct dm_tenant_handle *handle)
{
    return handle->txn;
}

static struct dm_tenant_row row_of(struct dm_sql_rows *rows)
{
    return (struct dm_tenant_row){
        .id = dm_sql_col_int(rows, 0),
        .name = dm_sql_col_str(rows, 1),
        .body = dm_sql_col_str(rows, 2),
        .version = dm_sql_col_int(rows, 3),
        .created_ms = dm_sql_col_int(rows, 4),
        .is_suspended = dm_sql_col_int(rows, 5) != 0,
    };
}

int dm_tenants_get(struct dm_tenant_handle *handle, struct dm_tenant_row *ret, struct dm_err *err)
{
    DM_CLEANUP(dm_sql_finishp) struct dm_sql_rows *rows = NULL;
    struct dm_tenant_row row;
    int rc = dm_sql_start(handle->txn->sql, &rows, err, "SELECT " COLUMNS " FROM tenant WHERE tenant_id = ?1",
                          DM_SQL_I(handle->tenant_id));

    if (rc < 0 || (rc = dm_sql_next(rows, err)) < 0)
        return rc;
    if (rc == 0)
        return no_tenant(err, handle->name);
    row = row_of(rows);
    row.name = handle->name;
    if ((rc = dm_txn_keep(handle->txn, rows, 2, &row.body, err)) < 0)
        return rc;
    *ret = row;
    return 0;
}

int dm_tenants_update(struct dm_tenant_handle *handle, struct dm_str body, bool is_suspended, int64_t version,
                      struct dm_err *err)
{
    int rc = dm_sql_run(handle->txn->sql, err,
                        "UPDATE tenant SET body = ?2, suspended = ?3, version = ?4 WHERE tenant_id = ?1",
                        DM_SQL_I(handle->tenant_id), DM_SQL_T(body), DM_SQL_I(is_suspended), DM_SQL_I(version));

    if (rc == 0)
        return no_tenant(err, handle->name);
    return rc < 0 ? rc : 0;
}

int dm_tenants_remove(struct dm_tenant_handle *handle, struct dm_err *err)
{
    int rc = dm_sql_run(handle->txn->sql, err,
                        "UPDATE unit SET removed = 1, sequence = sequence + 1, document = '' WHERE tenant_id = ?1",
                        DM_SQL_I(handle->tenant_id));

    if (rc < 0)
        return rc;
    rc = dm_sql_run(handle->txn->sql, err, "DELETE FROM tenant WHERE tenant_id = ?1", DM_SQL_I(handle->tenant_id));
    if (rc == 0)
        return no_tenant(err, handle->name);
    return rc < 0 ? rc : 0;
}

int dm_tenants_each(struct dm_txn *txn, const struct dm_caller *caller, struct dm_str after, size_t limit,
                    dm_tenants_visit visit, void *arg, struct dm_err *err)
{
    DM_CLEANUP(dm_sql_finishp) struct dm_sql_rows *rows = NULL;
    struct dm_str only = dm_caller_is_master(caller) ? DM_STR_NULL : caller->tenant;
    int rc;

    if (caller->standing == DM_STANDING_NOBODY)
        return 0;
    rc = dm_sql_start(txn->sql, &rows, err,
                      "SELECT " COLUMNS " FROM tenant WHERE name > ?1 AND (?2 IS NULL OR name = ?2) "
                      "ORDER BY name LIMIT ?3",
                      DM_SQL_T(after), DM_SQL_T_OR_N(only), DM_SQL_I(limit));
    while (rc >= 0 && (rc = dm_sql_next(rows, err)) > 0) {
        struct dm_tenant_row row = row_of(rows);

        rc = visit(arg, &row, err);
    }
    return rc;
}
