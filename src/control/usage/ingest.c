#include "control/usage/ingest.h"
#include "control/store/usage.h"
#include "model/link.h"

#define ARENA_BYTES (1u << 20)

/* Counted before the tenant was made: another's, who had the name before. */
static int is_formers(struct dm_tenant_handle *tenant, const struct dm_link_usage *usage, bool *ret, struct dm_err *err)
{
    struct dm_tenant_row row;
    int rc = dm_tenants_get(tenant, &row, err);

    if (rc == 0)
        *ret = (int64_t)usage->to_s < row.created_ms / 1000;
    return rc;
}

static int add_all(struct dm_txn *txn, const struct dm_link_usage *usage, struct dm_err *err)
{
    struct dm_caller caller = DM_CALLER_SYSTEM;
    struct dm_tenant_handle *tenant;
    bool is_others = false;
    int rc = dm_tenants_open(txn, &caller, usage->tenant, &tenant, err);

    if (rc == DM_ENOENT)
        return 0;
    if (rc < 0 || (rc = is_formers(tenant, usage, &is_others, err)) < 0 || is_others)
        return rc;
    for (size_t i = 0; rc >= 0 && i < usage->n_items; i++) {
        struct dm_usage_row row = {
            .product = usage->items[i].product,
            .metric = usage->items[i].metric,
            .application = (int64_t)usage->items[i].application,
            .minute = (int64_t)(usage->from_s / 60),
            .count = (int64_t)usage->items[i].delta,
        };

        rc = dm_usage_add(tenant, &row, err);
    }
    return rc;
}

static int ingest(struct dm_store *store, struct dm_arena *arena, struct dm_str gateway,
                  const struct dm_link_usage *usage, struct dm_err *err)
{
    DM_CLEANUP(dm_txn_abort) struct dm_txn *txn = NULL;
    int rc = dm_txn_begin(store, DM_TXN_WRITE, arena, &txn, err);

    if (rc < 0 || (rc = dm_usage_batch(txn, gateway, usage->batch, err)) <= 0)
        return rc;
    if ((rc = add_all(txn, usage, err)) < 0)
        return rc;
    return dm_txn_commit(&txn, err);
}

int dm_usage_ingest(struct dm_store *store, struct dm_str gateway, const struct dm_link_usage *usage,
                    struct dm_err *err)
{
    struct dm_arena arena;
    int rc;

    dm_arena_init(&arena, NULL, ARENA_BYTES);
    rc = ingest(store, &arena, gateway, usage, err);
    dm_arena_done(&arena);
    return rc;
}
