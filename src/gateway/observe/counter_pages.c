#include "gateway/observe/counter_pages.h"

#include "base/mem.h"

#include <unistd.h>

/* Only files that are there: a worker makes its own. One of another version is not ours to read. */
static struct dm_shm *map_page(const char *path, size_t bytes)
{
    struct dm_shm *map;

    if (access(path, F_OK) < 0)
        return NULL;
    map = dm_calloc(1, sizeof(*map));
    if (dm_shm_open(map, path, "counters", DM_COUNTERS_VERSION, bytes, false, NULL) == 0)
        return map;
    dm_free(map);
    return NULL;
}

void dm_counter_pages_look(struct dm_counter_pages *pages, unsigned seat, const char *path)
{
    size_t bytes = pages->page_bytes ? pages->page_bytes : sizeof(struct dm_counters_page);

    if (!pages->maps[seat] && (pages->maps[seat] = map_page(path, bytes)))
        pages->others[pages->n_others++] = pages->maps[seat]->ptr;
}

void dm_counter_pages_done(struct dm_counter_pages *pages)
{
    for (size_t i = 0; i < DM_COUNT(pages->maps); i++) {
        if (!pages->maps[i])
            continue;
        dm_shm_close(pages->maps[i]);
        dm_free(pages->maps[i]);
    }
    pages->n_others = 0;
}

uint64_t dm_counter_pages_others(const struct dm_counter_pages *pages, const struct dm_tenant_counters *counters,
                                 size_t offset)
{
    size_t slot = (size_t)(counters - pages->own->tenants);
    uint64_t sum = 0;

    for (size_t i = 0; i < pages->n_others; i++)
        sum +=
            __atomic_load_n((const uint64_t *)(const void *)((const char *)&pages->others[i]->tenants[slot] + offset),
                            __ATOMIC_RELAXED);
    return sum;
}
