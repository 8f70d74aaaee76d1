/* Numbered migrations: store/migrations/NNNN_name.sql, embedded at build time, each applied once in a transaction. */
#ifndef DM_CONTROL_STORE_MIGRATE_H
#define DM_CONTROL_STORE_MIGRATE_H

#include "control/store/sql.h"

struct dm_migration {
    int version;
    const char *name;
    const char *text;
};
/* Ordered by version, 1, 2, …; generated. */
extern const struct dm_migration dm_migrations[];
extern const int dm_migrations_count;

/* Brings the schema from where it is to the last of `list`. DM_EVERSION when it is beyond. */
DM_MUST_USE int dm_migrate(struct dm_sql *sql, const struct dm_migration *list, int count, struct dm_err *err);

#endif
