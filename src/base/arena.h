/* Arenas: memory that is given back all at once, with a byte budget.
 *
 * An arena takes 4 KiB or larger chunks from a chunk pool (a free list that belongs to one worker), so that in steady
 * state the system allocator is never called. A request that would pass the budget returns NULL, which is an ordinary
 * error (413, 431, 503). With DM_DEBUG_ALLOC every allocation is a malloc of its own with a red zone; under
 * AddressSanitizer unused chunk bytes are poisoned in any build.
 *
 * Threads: an arena and its pool belong to one thread. */
#ifndef DM_BASE_ARENA_H
#define DM_BASE_ARENA_H

#include "base/str.h"

#if DM_ASAN
#include <sanitizer/asan_interface.h>
#endif

struct dm_chunk;

/* Free chunks of one size (head of the chunk included). keep_max bounds how many are kept; more are given back to the
 * system. An allocation that does not fit a chunk is taken from the system and given back at reset. */
struct dm_chunk_pool {
    struct dm_chunk *free;
    size_t chunk_bytes;
    size_t n_free, keep_max;
    uint64_t n_system; /* chunks ever taken from the system */
};

void dm_chunk_pool_init(struct dm_chunk_pool *pool, size_t chunk_bytes, size_t keep_max);
void dm_chunk_pool_done(struct dm_chunk_pool *pool);

struct dm_arena {
    struct dm_chunk_pool *pool; /* NULL: chunks come from the system (cold code) */
    struct dm_chunk *chunks;
    char *at, *end;
    size_t used_bytes, budget_bytes; /* used_bytes <= budget_bytes */
};

/* budget_bytes counts what is handed out, rounded to alignment. The memory of `arena` is the caller's. */
void dm_arena_init(struct dm_arena *arena, struct dm_chunk_pool *pool, size_t budget_bytes);
/* Gives everything back; the arena is as after init. */
void dm_arena_reset(struct dm_arena *arena);
#define dm_arena_done dm_arena_reset
/* The same, and what lay in it is overwritten. */
void dm_arena_wipe(struct dm_arena *arena);

/* Slow path of dm_arena_alloc; NULL when the budget is exhausted. */
void *dm_arena_alloc_slow(struct dm_arena *arena, size_t size);

/* 16-byte aligned, uninitialised; NULL when the budget is exhausted. */
DM_MUST_USE static inline void *dm_arena_alloc(struct dm_arena *arena, size_t size)
{
#ifndef DM_DEBUG_ALLOC
    /* at and end are multiples of 16, so what fits unrounded fits rounded; size 0 wraps and takes the slow path. */
    if (DM_LIKELY(size - 1 < (size_t)(arena->end - arena->at))) {
        size_t rounded = (size + 15) & ~(size_t)15;
        void *ptr = arena->at;

        if (DM_LIKELY(rounded <= arena->budget_bytes - arena->used_bytes)) {
            arena->at += rounded;
            arena->used_bytes += rounded;
#if DM_ASAN
            __asan_unpoison_memory_region(ptr, size);
#endif
            return ptr;
        }
    }
#endif
    return dm_arena_alloc_slow(arena, size);
}

void *dm_arena_calloc(struct dm_arena *arena, size_t size) DM_MUST_USE;
/* Copies s; ret->ptr is NUL-terminated behind ret->len. DM_EBUDGET when the budget is exhausted. */
DM_MUST_USE int dm_arena_str(struct dm_arena *arena, struct dm_str s, struct dm_str *ret);
/* printf into the arena. */
DM_MUST_USE int dm_arena_printf(struct dm_arena *arena, struct dm_str *ret, const char *fmt, ...) DM_PRINTF(3, 4);

#define DM_ARENA_NEW(arena, type) ((type *)dm_arena_calloc((arena), sizeof(type)))

#endif
