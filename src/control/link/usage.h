/* Usage batches on their way from the link to the store, as jobs of the pool. */
#ifndef DM_CONTROL_LINK_USAGE_H
#define DM_CONTROL_LINK_USAGE_H

#include "base/str.h"

struct dm_link_usage;
struct dm_pool;
struct dm_store;

/* Zeroed but for its first members. */
struct dm_link_usage_sink {
    struct dm_pool *pool;
    struct dm_store *store;
    /* The batch is on disk. On the loop's thread. */
    void (*on_stored)(struct dm_link_usage_sink *sink, struct dm_str gateway, uint64_t batch);
    _Atomic uint64_t n_items, n_failed;
};

/* Borrows the strings for the call. A batch that can't be taken now is not answered, so that the gateway sends it again. */
void dm_link_usage_take(struct dm_link_usage_sink *sink, struct dm_str gateway, const struct dm_link_usage *usage);

#endif
