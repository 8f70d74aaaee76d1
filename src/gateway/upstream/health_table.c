#include "gateway/upstream/health_table.h"

#include <stdatomic.h>

#define PAGE_VERSION 1

struct dm_health_cell {
    _Atomic uint64_t key; /* 0 = free */
    _Atomic uint64_t due_ns;
    _Atomic uint64_t health; /* dm_health_pack() */
};

struct dm_health_page {
    struct dm_health_cell rows[DM_COUNTERS_TENANTS][DM_HEALTH_ENDPOINTS_MAX];
};

int dm_health_table_open(struct dm_health_table *table, const char *path, struct dm_err *err)
{
    int rc = dm_shm_open(&table->shm, path, "health", PAGE_VERSION, sizeof(struct dm_health_page), true, err);

    if (rc < 0)
        return rc;
    table->page = table->shm.ptr;
    return 0;
}

void dm_health_table_close(struct dm_health_table *table)
{
    if (table->page)
        dm_shm_close(&table->shm);
    table->page = NULL;
}

/* --- cells --------------------------------------------------------------------------------------------------------- */

/* A2 */
static bool is_nobodys(uint64_t due_ns, uint64_t now_ns)
{
    return due_ns > now_ns ? due_ns - now_ns > DM_HEALTH_AHEAD_NS : now_ns - due_ns > DM_HEALTH_KEEP_NS;
}

/* All look in the same order, so that two who take one for the same key at once come to the same. */
static struct dm_health_cell *find(struct dm_health_cell *row, uint64_t key)
{
    for (size_t i = 0; i < DM_HEALTH_ENDPOINTS_MAX; i++) {
        struct dm_health_cell *cell = &row[(key + i) % DM_HEALTH_ENDPOINTS_MAX];
        if (atomic_load(&cell->key) == key)
            return cell;
    }
    return NULL;
}

/* The verdict goes before the key comes: nobody reads the former owner's as this one's. */
static struct dm_health_cell *take(struct dm_health_cell *cell, uint64_t former, uint64_t key, uint64_t due_ns)
{
    uint64_t lost = atomic_load(&cell->due_ns);

    if (!atomic_compare_exchange_strong(&cell->due_ns, &lost, due_ns))
        return NULL; /* somebody else is about it */
    atomic_store(&cell->health, 0);
    return atomic_compare_exchange_strong(&cell->key, &former, key) ? cell : NULL;
}

static struct dm_health_cell *claim(struct dm_health_cell *row, uint64_t key, uint64_t now_ns, uint64_t due_ns)
{
    for (size_t i = 0; i < DM_HEALTH_ENDPOINTS_MAX; i++) {
        struct dm_health_cell *cell = &row[(key + i) % DM_HEALTH_ENDPOINTS_MAX], *taken;
        uint64_t former = atomic_load(&cell->key);
        if (former != 0 && !is_nobodys(atomic_load(&cell->due_ns), now_ns))
            continue;
        if ((taken = take(cell, former, key, due_ns)))
            return taken;
    }
    return NULL;
}

struct dm_health_cell *dm_health_table_find(struct dm_health_table *table, size_t row, uint64_t key, uint64_t now_ns,
                                            uint64_t due_ns)
{
    struct dm_health_cell *cells = table->page->rows[row % DM_COUNTERS_TENANTS];
    struct dm_health_cell *cell = find(cells, key);

    if (cell && is_nobodys(atomic_load(&cell->due_ns), now_ns))
        return take(cell, key, key, due_ns) ? cell : find(cells, key);
    if (cell)
        return cell;
    (void)claim(cells, key, now_ns, due_ns);
    return find(cells, key);
}

struct dm_health dm_health_cell_read(const struct dm_health_cell *cell)
{
    return dm_health_unpack(atomic_load(&cell->health));
}

/* --- leases -------------------------------------------------------------------------------------------------------- */

static bool is_due(uint64_t due_ns, uint64_t now_ns, uint64_t ahead_ns)
{
    return due_ns <= now_ns || due_ns - now_ns > ahead_ns;
}

uint64_t dm_health_cell_due_ns(const struct dm_health_cell *cell, uint64_t now_ns, uint64_t ahead_ns)
{
    uint64_t due_ns = atomic_load(&cell->due_ns);

    return is_due(due_ns, now_ns, ahead_ns) ? now_ns : due_ns;
}

bool dm_health_cell_lease(struct dm_health_cell *cell, uint64_t now_ns, uint64_t ahead_ns, uint64_t until_ns)
{
    uint64_t due_ns = atomic_load(&cell->due_ns);

    return is_due(due_ns, now_ns, ahead_ns) && atomic_compare_exchange_strong(&cell->due_ns, &due_ns, until_ns);
}

int dm_health_cell_note(struct dm_health_cell *cell, uint64_t lease_ns, const struct dm_health_settings *settings,
                        bool has_passed, struct dm_health *ret)
{
    uint64_t word = atomic_load(&cell->health);
    struct dm_health health = dm_health_unpack(word);
    bool has_changed = dm_health_note(&health, settings, has_passed);

    if (atomic_load(&cell->due_ns) != lease_ns ||
        !atomic_compare_exchange_strong(&cell->health, &word, dm_health_pack(&health)))
        return DM_EAGAIN;
    *ret = health;
    return has_changed;
}

void dm_health_cell_end(struct dm_health_cell *cell, uint64_t lease_ns, uint64_t due_ns)
{
    (void)atomic_compare_exchange_strong(&cell->due_ns, &lease_ns, due_ns);
}
