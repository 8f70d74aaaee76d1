/* Change records: append-only, chained by hash. What goes into a hash is audit's business. */
#ifndef DM_CONTROL_STORE_CHANGES_H
#define DM_CONTROL_STORE_CHANGES_H

#include "base/crypto.h"

#include "control/store/tenants.h"

struct dm_change_row {
    int64_t number;   /* from 1 without gaps, in the order of commits */
    int64_t sequence; /* the same among the changes of tenants of this name; of the platform's changes the number */
    int64_t at_ms;
    struct dm_str actor;
    int64_t tenant_number; /* 0 = the platform's */
    struct dm_str tenant;
    struct dm_str action, kind, name;
    struct dm_str request_id;
    struct dm_str details; /* JSON array */
    uint8_t previous[DM_DIGEST_BYTES], hash[DM_DIGEST_BYTES];
};

/* What the next record begins with: its number, its sequence (tenant NULL = the platform's) and in `previous` the hash of
 * the last (zeros before the first). */
DM_MUST_USE int dm_changes_next(struct dm_txn *txn, const struct dm_tenant_handle *tenant, struct dm_change_row *ret,
                                struct dm_err *err);
DM_MUST_USE int dm_changes_append(struct dm_txn *txn, const struct dm_change_row *row, struct dm_err *err);

/* The sequence of the tenant's last record; 0 = none. */
DM_MUST_USE int dm_changes_latest(struct dm_tenant_handle *handle, int64_t *ret, struct dm_err *err);

typedef int (*dm_changes_visit)(void *arg, const struct dm_change_row *row, struct dm_err *err);
/* Newest first, below `before` (0 = from the newest), at most limit. Of the tenant, by sequence; with handle NULL all, by
 * number, for the master only. */
DM_MUST_USE int dm_changes_each(struct dm_txn *txn, const struct dm_caller *caller, struct dm_tenant_handle *handle,
                                int64_t before, size_t limit, dm_changes_visit visit, void *arg, struct dm_err *err);
/* All, oldest first, for the master only. */
DM_MUST_USE int dm_changes_walk(struct dm_txn *txn, const struct dm_caller *caller, dm_changes_visit visit, void *arg,
                                struct dm_err *err);

#endif
