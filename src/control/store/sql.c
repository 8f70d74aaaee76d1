#include "control/store/sql.h"

#include <stdatomic.h>

/* The fault sweep: see dm_store_set_fault. */
static int step_fault(struct dm_sql *sql, struct dm_err *err)
{
    if (sql->fault == NULL || atomic_load(sql->fault) <= 0)
        return 0;
    if (atomic_fetch_sub(sql->fault, 1) != 1)
        return 0;
    return dm_fail(err, DM_EIO, "", "the database failed: injected fault");
}

static int noted(struct dm_sql *sql, int rc)
{
    sql->is_failed |= rc < 0;
    return rc;
}

int dm_sql_script(struct dm_sql *sql, const char *text, struct dm_err *err)
{
    int rc = step_fault(sql, err);

    return noted(sql, rc < 0 ? rc : sql->driver->script(sql, text, err));
}

int dm_sql_start_n(struct dm_sql *sql, const char *text, const struct dm_sql_arg *args, size_t n_args,
                   struct dm_sql_rows **ret, struct dm_err *err)
{
    return noted(sql, sql->driver->start(sql, text, args, n_args, ret, err));
}

int dm_sql_next(struct dm_sql_rows *rows, struct dm_err *err)
{
    int rc = step_fault(rows->sql, err);

    return noted(rows->sql, rc < 0 ? rc : rows->sql->driver->next(rows, err));
}

void dm_sql_finish(struct dm_sql_rows *rows)
{
    if (rows != NULL)
        rows->sql->driver->finish(rows);
}

void dm_sql_finishp(struct dm_sql_rows **rows)
{
    dm_sql_finish(*rows);
    *rows = NULL;
}

int dm_sql_run_n(struct dm_sql *sql, const char *text, const struct dm_sql_arg *args, size_t n_args, struct dm_err *err)
{
    DM_CLEANUP(dm_sql_finishp) struct dm_sql_rows *rows = NULL;
    int rc = dm_sql_start_n(sql, text, args, n_args, &rows, err);

    if (rc < 0)
        return rc;
    while ((rc = dm_sql_next(rows, err)) > 0)
        ;
    return rc < 0 ? rc : (int)sql->driver->changed(sql);
}

int dm_sql_int_n(struct dm_sql *sql, const char *text, const struct dm_sql_arg *args, size_t n_args, int64_t *ret,
                 struct dm_err *err)
{
    DM_CLEANUP(dm_sql_finishp) struct dm_sql_rows *rows = NULL;
    int rc = dm_sql_start_n(sql, text, args, n_args, &rows, err);

    if (rc < 0 || (rc = dm_sql_next(rows, err)) < 0)
        return rc;
    if (rc == 0)
        return dm_fail(err, DM_ENOENT, "", "no such row");
    *ret = dm_sql_col_int(rows, 0);
    return 0;
}
