#include "control/store/migrate.h"

static int current_version(struct dm_sql *sql, int64_t *ret, struct dm_err *err)
{
    int rc = dm_sql_script(sql, "CREATE TABLE IF NOT EXISTS schema_version (version BIGINT NOT NULL)", err);

    if (rc < 0)
        return rc;
    return dm_sql_int_n(sql, "SELECT COALESCE(MAX(version), 0) FROM schema_version", NULL, 0, ret, err);
}

static int apply(struct dm_sql *sql, const struct dm_migration *migration, struct dm_err *err)
{
    int rc = dm_sql_script(sql, migration->text, err);

    if (rc < 0)
        return rc;
    return dm_sql_run(sql, err, "INSERT INTO schema_version (version) VALUES (?1)", DM_SQL_I(migration->version));
}

static int apply_all(struct dm_sql *sql, const struct dm_migration *list, int count, struct dm_err *err)
{
    int64_t version = 0;
    int rc = current_version(sql, &version, err);

    if (rc < 0)
        return rc;
    if (version > count)
        return dm_fail(err, DM_EVERSION, "",
                       "the database has schema version %lld, this program knows versions up to %d: start the newer "
                       "program, or restore a backup made before the upgrade",
                       (long long)version, count);
    for (int i = (int)version; i < count; i++)
        if ((rc = apply(sql, &list[i], err)) < 0)
            return rc;
    return 0;
}

int dm_migrate(struct dm_sql *sql, const struct dm_migration *list, int count, struct dm_err *err)
{
    int rc = dm_sql_script(sql, "BEGIN IMMEDIATE", err);

    if (rc < 0)
        return rc;
    if ((rc = apply_all(sql, list, count, err)) >= 0)
        rc = dm_sql_script(sql, "COMMIT", err);
    if (rc < 0)
        sql->driver->script(sql, "ROLLBACK", NULL);
    return rc;
}
