/* A gateway holds marks beyond ours: the database was restored from a backup. The tenant's units are made again in an epoch
 * above all that the gateway has seen, or it would never take another change. */
#include "control/fleet/fleet_int.h"
#include "control/release/builder.h"
#include "base/log.h"
#include "base/mem.h"
#include "model/document.h"

struct raise_job {
    struct dm_job job;
    struct dm_fleet *fleet;
    struct dm_arena arena;
    uint64_t epoch;
    struct dm_unit_row units[DM_UNIT_KINDS];
    size_t n_units;
    char tenant[64];
};

static int make_units(struct raise_job *job, struct dm_txn *txn, struct dm_err *err)
{
    struct dm_caller caller = DM_CALLER_SYSTEM;
    struct dm_tenant_handle *tenant;
    int rc = dm_tenants_open(txn, &caller, dm_str_of(job->tenant), &tenant, err);

    if (rc >= 0)
        rc = dm_units_raise_epoch(tenant, job->epoch, err);
    for (int kind = 1; rc >= 0 && kind < DM_UNIT_KINDS; kind++)
        rc = dm_builder_make(tenant, job->fleet->settings.keyring, kind, &job->units[job->n_units++], err);
    return rc;
}

static void run_raise(struct dm_job *base)
{
    DM_CLEANUP(dm_txn_abort) struct dm_txn *txn = NULL;
    struct raise_job *job = DM_CONTAINER_OF(base, struct raise_job, job);
    struct dm_err err = {0};
    int rc = dm_txn_begin(job->fleet->settings.store, DM_TXN_WRITE, &job->arena, &txn, &err);

    if (rc >= 0)
        rc = make_units(job, txn, &err);
    if (rc >= 0)
        rc = dm_txn_commit(&txn, &err);
    if (rc >= 0)
        return;
    job->n_units = 0;
    dm_log(DM_LOG_ERROR, "epoch_not_raised", "tenant '%s': %s", job->tenant, err.message);
}

static void on_raised(struct dm_job *base)
{
    struct raise_job *job = DM_CONTAINER_OF(base, struct raise_job, job);

    dm_fleet_publish(job->fleet, job->units, job->n_units);
    dm_arena_done(&job->arena);
    dm_free(job);
}

void dm_fleet_raise(struct dm_fleet *fleet, struct dm_str tenant, uint64_t epoch)
{
    struct raise_job *job = dm_calloc(1, sizeof(*job));

    dm_log(DM_LOG_WARN, "gateway_ahead",
           "a gateway holds a newer unit of tenant '%.*s' than the database: its units are made again in a new epoch",
           DM_STR_ARG(tenant));
    job->job = (struct dm_job){.run = run_raise, .done = on_raised};
    job->fleet = fleet;
    job->epoch = epoch;
    snprintf(job->tenant, sizeof(job->tenant), "%.*s", DM_STR_ARG(tenant));
    dm_arena_init(&job->arena, NULL, DM_DOCUMENT_ARENA_BYTES);
    if (dm_pool_submit(fleet->settings.pool, &job->job) == 0)
        return;
    dm_arena_done(&job->arena);
    dm_free(job);
}
