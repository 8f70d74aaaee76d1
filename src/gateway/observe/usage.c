#include "gateway/observe/usage.h"

#include "base/mem.h"

#define FIRST_CAP 256

void dm_usage_table_init(struct dm_usage_table *table, uint64_t seed)
{
    memset(table, 0, sizeof(*table));
    table->seed = seed | 1;
    table->cap = FIRST_CAP;
    table->slots = dm_calloc(table->cap, sizeof(*table->slots));
}

void dm_usage_table_done(struct dm_usage_table *table)
{
    for (size_t i = 0; i < table->cap; i++)
        if (table->slots[i]) {
            dm_free(table->slots[i]->tenant);
            dm_free(table->slots[i]->product);
            dm_free(table->slots[i]->metric);
            dm_free(table->slots[i]);
        }
    dm_free(table->slots);
}

/* The ids are hashes or small numbers of the platform's own; the seed keeps them from being aimed. */
static size_t slot_for(const struct dm_usage_table *table, const uint64_t key[4])
{
    uint64_t h = table->seed;

    for (unsigned i = 0; i < 4; i++) {
        h = (h ^ key[i]) * UINT64_C(0x9e3779b97f4a7c15);
        h ^= h >> 32;
    }
    for (size_t at = h & (table->cap - 1);; at = (at + 1) & (table->cap - 1))
        if (!table->slots[at] || memcmp(table->slots[at]->key, key, sizeof(table->slots[at]->key)) == 0)
            return at;
}

static void grow(struct dm_usage_table *table)
{
    struct dm_usage_cell **former = table->slots;
    size_t n = table->cap;

    table->cap *= 2;
    table->slots = dm_calloc(table->cap, sizeof(*table->slots));
    for (size_t i = 0; i < n; i++)
        if (former[i])
            table->slots[slot_for(table, former[i]->key)] = former[i];
    dm_free(former);
}

static struct dm_usage_cell *cell_new(const uint64_t key[4], const struct dm_usage_names *names)
{
    struct dm_usage_cell *cell = dm_calloc(1, sizeof(*cell));

    memcpy(cell->key, key, sizeof(cell->key));
    cell->tenant = dm_strdup(names->tenant);
    cell->product = dm_strdup(names->product);
    cell->metric = dm_strdup(names->metric);
    return cell;
}

void dm_usage_table_add(struct dm_usage_table *table, const uint64_t key[4], const struct dm_usage_names *names,
                        uint64_t delta)
{
    size_t at = slot_for(table, key);
    struct dm_usage_cell *cell = table->slots[at];

    if (!cell) {
        if (4 * (table->count + 1) > 3 * table->cap) {
            grow(table);
            at = slot_for(table, key);
        }
        cell = table->slots[at] = cell_new(key, names);
        table->count++;
    }
    if (!cell->next_dirty) {
        cell->next_dirty = table->dirty ? table->dirty : cell;
        table->dirty = cell;
    }
    cell->delta += delta;
}

bool dm_usage_table_take(struct dm_usage_table *table, const struct dm_usage_cell **ret, uint64_t *ret_delta)
{
    struct dm_usage_cell *cell = table->dirty;

    if (!cell)
        return false;
    table->dirty = cell->next_dirty == cell ? NULL : cell->next_dirty;
    cell->next_dirty = NULL;
    *ret = cell;
    *ret_delta = cell->delta;
    cell->delta = 0;
    return true;
}
