/* What applications used since the last report, per (tenant, application, product, metric), until the keeper takes it. A cell
 * is made once and used on, so that counting allocates only for names not seen before. Threads: the worker's. */
#ifndef DM_GATEWAY_OBSERVE_USAGE_H
#define DM_GATEWAY_OBSERVE_USAGE_H

#include "base/str.h"

struct dm_usage_cell {
    uint64_t key[4]; /* ids of tenant, application, product, metric */
    uint64_t delta;
    struct dm_usage_cell *next_dirty; /* itself when last */
    char *tenant, *product, *metric;
};

struct dm_usage_table {
    struct dm_usage_cell **slots;
    size_t count, cap;
    struct dm_usage_cell *dirty; /* those with a delta */
    uint64_t seed;
};

/* Names as text, for the first time that a cell is met. */
struct dm_usage_names {
    struct dm_str tenant, product, metric;
};

void dm_usage_table_init(struct dm_usage_table *table, uint64_t seed);
void dm_usage_table_done(struct dm_usage_table *table);
void dm_usage_table_add(struct dm_usage_table *table, const uint64_t key[4], const struct dm_usage_names *names,
                        uint64_t delta);
/* Takes one cell's delta out: false when there is none. The cell is borrowed until the next call of add. */
bool dm_usage_table_take(struct dm_usage_table *table, const struct dm_usage_cell **ret, uint64_t *ret_delta);
static inline bool dm_usage_table_is_empty(const struct dm_usage_table *table)
{
    return !table->dirty;
}

#endif
