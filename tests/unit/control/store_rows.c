#include "store_rows.h"

#include <sqlite3.h>

#include "control/audit/record.h"

struct dm_txn *begin(struct harness *h, enum dm_txn_kind kind)
{
    struct dm_txn *txn = NULL;

    OK(dm_txn_begin(h->store, kind, &h->arena, &txn, &h->err));
    return txn;
}

struct dm_tenant_handle *create(struct harness *h, struct dm_txn *txn, const char *name)
{
    struct dm_tenant_handle *handle = NULL;

    OK(dm_tenants_create(txn, &master_caller, dm_str_of(name), &handle, &h->err));
    return handle;
}

struct dm_tenant_handle *open_tenant(struct harness *h, struct dm_txn *txn, const char *name)
{
    struct dm_tenant_handle *handle = NULL;

    OK(dm_tenants_open(txn, &master_caller, dm_str_of(name), &handle, &h->err));
    return handle;
}

void make_tenants(struct harness *h)
{
    struct dm_txn *txn = begin(h, DM_TXN_WRITE);

    create(h, txn, "a");
    create(h, txn, "b");
    OK(dm_txn_commit(&txn, &h->err));
}

void remove_tenant(struct harness *h, const char *name)
{
    struct dm_txn *txn = begin(h, DM_TXN_WRITE);

    OK(dm_tenants_remove(open_tenant(h, txn, name), &h->err));
    OK(dm_txn_commit(&txn, &h->err));
}

int64_t record(struct harness *h, const char *tenant, const char *name)
{
    struct dm_txn *txn = begin(h, DM_TXN_WRITE);
    struct dm_audit_entry entry = {.caller = &master_caller,
                                   .tenant = tenant != NULL ? open_tenant(h, txn, tenant) : NULL,
                                   .action = DM_CHANGE_UPDATE,
                                   .kind = DM_STR("tenant"),
                                   .name = dm_str_of(name),
                                   .details = DM_STR("[]")};
    int64_t sequence;

    OK(dm_audit_record(txn, &entry, &sequence, &h->err));
    OK(dm_txn_commit(&txn, &h->err));
    return sequence;
}

int verify(struct harness *h, int64_t *ret_count)
{
    struct dm_txn *txn = begin(h, DM_TXN_READ);
    int rc = dm_audit_verify(txn, &master_caller, ret_count, &h->err);

    dm_txn_abort(&txn);
    return rc;
}

void run_sql(struct harness *h, const char *text)
{
    char *message = NULL;
    sqlite3 *db;

    assert_int_equal(sqlite3_open(h->database, &db), SQLITE_OK);
    if (sqlite3_exec(db, text, NULL, NULL, &message) != SQLITE_OK)
        fail_msg("%s", message);
    sqlite3_close(db);
}

struct dm_resource_row row(const char *name, const char *body, int64_t version)
{
    return (struct dm_resource_row){
        .kind = DM_STR("backend"), .name = dm_str_of(name), .body = dm_str_of(body), .number = 1, .version = version};
}

int count_resource(void *arg, const struct dm_resource_row *row_, struct dm_err *err)
{
    ++*(int *)arg;
    return 0;
}
