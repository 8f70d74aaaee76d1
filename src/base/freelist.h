/* Typed free lists: objects of one size, kept by one worker for its next use. With DM_DEBUG_ALLOC take and give are
 * malloc and free, so that sanitizers see each life. Threads: one. */
#ifndef DM_BASE_FREELIST_H
#define DM_BASE_FREELIST_H

#include "base/defs.h"

struct dm_freelist {
    void *free;
    size_t object_bytes;
    size_t n_free, n_used, keep_max;
};

void dm_freelist_init(struct dm_freelist *list, size_t object_bytes, size_t keep_max);
/* Frees the kept objects. Objects still in use are the caller's leak. */
void dm_freelist_done(struct dm_freelist *list);
/* Uninitialised object; never NULL. */
void *dm_freelist_take(struct dm_freelist *list);
void dm_freelist_give(struct dm_freelist *list, void *object);

#endif
