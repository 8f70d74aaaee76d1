/* What the files of store/ share. */
#ifndef DM_CONTROL_STORE_STORE_INT_H
#define DM_CONTROL_STORE_STORE_INT_H

#include "control/store/sql.h"
#include "control/store/store.h"

struct dm_txn {
    struct dm_store *store;
    struct dm_sql *sql;
    struct dm_arena *arena;
    enum dm_txn_kind kind;
    int64_t now_ms;
    int64_t started_s; /* of the store: Unix time of its opening */
};

struct dm_tenant_handle {
    struct dm_txn *txn;
    int64_t tenant_id;
    struct dm_str name;
};

/* Copies a column into the transaction's arena; a NULL column gives DM_STR_NULL. */
DM_MUST_USE int dm_txn_keep(struct dm_txn *txn, struct dm_sql_rows *rows, int column, struct dm_str *ret,
                            struct dm_err *err);
/* The next number of a counter ("tenant", "application/7", …), from 1. */
DM_MUST_USE int dm_txn_number(struct dm_txn *txn, const char *counter, int64_t *ret, struct dm_err *err);
/* A statement failed for a reason of the database's: rc itself, with the message in err. */
int dm_txn_fail_budget(struct dm_err *err);

#endif
