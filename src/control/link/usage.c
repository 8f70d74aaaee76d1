#include <stdatomic.h>

#include "control/link/usage.h"
#include "control/usage/ingest.h"
#include "base/log.h"
#include "base/mem.h"
#include "io/pool.h"
#include "model/link.h"

#define ARENA_BYTES (4u << 20)

struct usage_job {
    struct dm_job job;
    struct dm_link_usage_sink *sink;
    struct dm_arena arena;
    struct dm_link_usage usage; /* the arena's */
    char gateway[DM_LINK_ID_MAX + 1];
    int rc;
};

static void run(struct dm_job *base)
{
    struct usage_job *job = DM_CONTAINER_OF(base, struct usage_job, job);
    struct dm_err err = {0};

    job->rc = dm_usage_ingest(job->sink->store, dm_str_of(job->gateway), &job->usage, &err);
    if (job->rc < 0)
        dm_log(DM_LOG_ERROR, "usage_not_stored", "batch %llu of gateway '%s': %s", (unsigned long long)job->usage.batch,
               job->gateway, err.message);
}

static void free_job(struct usage_job *job)
{
    dm_arena_done(&job->arena);
    dm_free(job);
}

static void on_done(struct dm_job *base)
{
    struct usage_job *job = DM_CONTAINER_OF(base, struct usage_job, job);
    struct dm_link_usage_sink *sink = job->sink;

    if (job->rc < 0) {
        atomic_fetch_add(&sink->n_failed, 1);
    } else {
        atomic_fetch_add(&sink->n_items, job->usage.n_items);
        sink->on_stored(sink, dm_str_of(job->gateway), job->usage.batch);
    }
    free_job(job);
}

static int copy(const struct dm_link_usage *usage, struct dm_arena *arena, struct dm_link_usage *ret)
{
    struct dm_link_usage_item *items = dm_arena_calloc(arena, (usage->n_items + 1) * sizeof(*items));

    if (items == NULL)
        return DM_EBUDGET;
    *ret = *usage;
    ret->items = items;
    if (dm_arena_str(arena, usage->tenant, &ret->tenant) < 0)
        return DM_EBUDGET;
    for (size_t i = 0; i < usage->n_items; i++) {
        items[i] = usage->items[i];
        if (dm_arena_str(arena, usage->items[i].product, &items[i].product) < 0 ||
            dm_arena_str(arena, usage->items[i].metric, &items[i].metric) < 0)
            return DM_EBUDGET;
    }
    return 0;
}

void dm_link_usage_take(struct dm_link_usage_sink *sink, struct dm_str gateway, const struct dm_link_usage *usage)
{
    struct usage_job *job = dm_calloc(1, sizeof(*job));

    job->job = (struct dm_job){.run = run, .done = on_done};
    job->sink = sink;
    snprintf(job->gateway, sizeof(job->gateway), "%.*s", DM_STR_ARG(gateway));
    dm_arena_init(&job->arena, NULL, ARENA_BYTES);
    if (copy(usage, &job->arena, &job->usage) < 0 || dm_pool_submit(sink->pool, &job->job) < 0)
        free_job(job);
}
