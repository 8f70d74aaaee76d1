/* The system allocator, seen through one place: every byte this program allocates itself is counted here. Being out of
 * memory is fatal (abort after a log line), so callers do not check. Threads: all calls are thread-safe. */
#ifndef DM_BASE_MEM_H
#define DM_BASE_MEM_H

#include "base/str.h"

/* Uninitialised. size 0 gives a unique pointer. */
void *dm_alloc(size_t size) __attribute__((malloc, alloc_size(1), returns_nonnull));
/* Zeroed array. Aborts on overflow of count * size. */
void *dm_calloc(size_t count, size_t size) __attribute__((malloc, alloc_size(1, 2), returns_nonnull));
void *dm_realloc(void *ptr, size_t size) __attribute__((alloc_size(2), returns_nonnull));
void dm_free(void *ptr);
/* NUL-terminated heap copy. */
char *dm_strdup(struct dm_str s) __attribute__((malloc, returns_nonnull));

/* Gives pages that are free back to the system, which the allocator keeps else. Milliseconds, after a peak: for quiet times. */
void dm_mem_trim(void);

/* Allocations (new and grown; not frees) since start, by this program's own code. */
uint64_t dm_mem_calls(void);

/* For DM_CLEANUP(dm_freep): frees what the variable points at. */
static inline void dm_freep(void *ptr_to_ptr)
{
    dm_free(*(void **)ptr_to_ptr);
}

/* Overwrites secrets; never optimised away. */
void dm_mem_wipe(void *ptr, size_t len);

#endif
