/* A gateway holds marks beyond ours: the database was restored from a backup. The tenant's units are made again in an epoch
 * above all that the gateway has seen, or it would never take another change.
 *
 * All tenants of a gateway may be ahead at once: each waits once, and one at a time is worked on, so that the API keeps the
 * rest of the pool. */
#include "control/fleet/fleet_int.h"
#include "control/release/builder.h"
#include "base/log.h"
#include "base/mem.h"
#include "model/document.h"

#define RETRY_MS 100

struct raise_job {
    struct dm_job job;
    struct dm_fleet *fleet;
    struct dm_arena arena;
    uint64_t epoch;
    struct dm_unit_row units[DM_UNIT_KINDS];
    size_t n_units;
    char tenant[64];
};

/* --- on the pool -------------------------------------------------------------------------------------------------- */

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

/* --- one after the other ------------------------------------------------------------------------------------------ */

static void free_job(struct raise_job *job)
{
    dm_arena_done(&job->arena);
    dm_free(job);
}

static void on_raised(struct dm_job *base)
{
    struct raise_job *job = DM_CONTAINER_OF(base, struct raise_job, job);
    struct dm_fleet *fleet = job->fleet;

    dm_fleet_publish(fleet, job->units, job->n_units);
    free_job(job);
    fleet->is_raising = false;
    dm_fleet_raise_next(fleet);
}

static void on_retry(struct dm_timer *timer)
{
    dm_fleet_raise_next(DM_CONTAINER_OF(timer, struct dm_fleet, raise_retry));
}

static void wait_in_line(struct dm_fleet *fleet, struct target *target)
{
    struct target **at = &fleet->raises;

    if (target->is_raise_due)
        return;
    target->is_raise_due = true;
    target->next_raise = *at;
    *at = target;
}

static struct raise_job *new_job(struct dm_fleet *fleet, const struct target *target)
{
    struct raise_job *job = dm_calloc(1, sizeof(*job));

    job->job = (struct dm_job){.run = run_raise, .done = on_raised};
    job->fleet = fleet;
    job->epoch = target->raise_epoch;
    snprintf(job->tenant, sizeof(job->tenant), "%.*s", DM_STR_ARG(target->tenant));
    dm_arena_init(&job->arena, NULL, DM_DOCUMENT_ARENA_BYTES);
    return job;
}

void dm_fleet_raise_next(struct dm_fleet *fleet)
{
    struct target *target = fleet->raises;
    struct raise_job *job;

    if (target == NULL || fleet->is_raising || dm_timer_is_armed(&fleet->raise_retry))
        return;
    job = new_job(fleet, target);
    if (dm_pool_submit(fleet->settings.pool, &job->job) < 0) {
        free_job(job);
        fleet->raise_retry.on_due = on_retry;
        dm_timer_arm(fleet->settings.loop, &fleet->raise_retry, RETRY_MS);
        return;
    }
    fleet->is_raising = true;
    fleet->raises = target->next_raise;
    target->is_raise_due = false;
    target->raise_epoch = 0;
}

void dm_fleet_raise(struct dm_fleet *fleet, struct target *target, uint64_t epoch)
{
    struct target *first = dm_fleet_target(fleet, target->tenant, DM_UNIT_RELEASE);

    if (first == NULL)
        first = target;
    if (!first->is_raise_due)
        dm_log(
            DM_LOG_WARN, "gateway_ahead",
            "a gateway holds a newer unit of tenant '%.*s' than the database: its units are made again in a new epoch",
            DM_STR_ARG(target->tenant));
    first->raise_epoch = DM_MAX(first->raise_epoch, epoch);
    wait_in_line(fleet, first);
}
