/* The store: one schema, transactions, tenants behind handles. PostgreSQL comes behind the same calls.
 *
 * S1. Rows of a tenant are reached through a struct dm_tenant_handle only, which is got by name together with who asks
 *     (tenant.h); no call takes a bare tenant id.
 * S2. A write is one transaction: what it changed, the numbers it raised and the change record come together or not at
 *     all. Acknowledged means on disk.
 * S3. A transaction that failed once can't be committed.
 *
 * Threads: a store may be used from many threads; a transaction, its handles and its arena belong to one. Writers wait
 * for each other inside dm_txn_begin. Calls block on the disk: never on an event loop. */
#ifndef DM_CONTROL_STORE_STORE_H
#define DM_CONTROL_STORE_STORE_H

#include "base/arena.h"
#include "base/sys.h"

#include "control/identity/caller.h"

struct dm_store;
struct dm_txn;
struct dm_tenant_handle;

struct dm_store_settings {
    const char *path;   /* of the database file */
    struct dm_sys *sys; /* clock */
};

/* Opens or makes the database and brings its schema up to this program's. A schema newer than the program is
 * DM_EVERSION; a directory or file that can't be written is DM_EIO; a damaged file is DM_ECORRUPT: err says it in one
 * sentence. */
DM_MUST_USE int dm_store_open(const struct dm_store_settings *settings, struct dm_store **ret, struct dm_err *err);
/* No transaction may be open. */
void dm_store_close(struct dm_store *store);
/* The schema this program makes. */
int dm_store_schema_version(void);
/* Tests: the n-th statement step from now on fails with DM_EIO; 0 = none does. */
void dm_store_set_fault(struct dm_store *store, long n);
/* Steps left before the fault; 0 or less when it struck or none was set. */
long dm_store_fault(const struct dm_store *store);

enum dm_txn_kind { DM_TXN_READ, DM_TXN_WRITE };

/* Results of calls on the transaction are allocated in `arena` and outlive the transaction. */
DM_MUST_USE int dm_txn_begin(struct dm_store *store, enum dm_txn_kind kind, struct dm_arena *arena, struct dm_txn **ret,
                             struct dm_err *err);
/* Ends the transaction either way; after success everything is on disk. */
DM_MUST_USE int dm_txn_commit(struct dm_txn **txn, struct dm_err *err);
/* Ends it without a trace. *txn may be NULL. Fits DM_CLEANUP. */
void dm_txn_abort(struct dm_txn **txn);
struct dm_arena *dm_txn_arena(struct dm_txn *txn);
/* Unix time of the begin. */
int64_t dm_txn_now_ms(const struct dm_txn *txn);

#endif
