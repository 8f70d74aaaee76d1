/* Arenas over chunks.
 *
 * A1. used_bytes is the sum of what was handed out, each rounded up to 16, and never passes budget_bytes.
 * A2. at and end lie in one chunk of the list chunks, not always its head: an allocation that fits no chunk has one of its
 *     own and leaves them where they are.
 * A3. Bytes between at and end are poisoned under AddressSanitizer, and so are the chunks in a pool.
 * A4. With DM_DEBUG_ALLOC each allocation is a chunk of its own: head, red zone, the bytes, red zone. A damaged red zone
 *     aborts at reset. */
#include "base/arena.h"

#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"

#include <stdarg.h>

#define ALIGNMENT 16
#define SYSTEM_CHUNK_BYTES 4096
#define SYSTEM_CHUNK_BYTES_MAX 65536
#define RED_ZONE_BYTES 16
#define RED_ZONE_BYTE 0xa5

struct dm_chunk {
    struct dm_chunk *next;
    size_t bytes; /* with this head; with DM_DEBUG_ALLOC the bytes asked for */
};

_Static_assert(sizeof(struct dm_chunk) % ALIGNMENT == 0, "what follows the head is aligned");

static void poison(const void *ptr, size_t len)
{
#if DM_ASAN
    __asan_poison_memory_region(ptr, len);
#endif
}

static void unpoison(const void *ptr, size_t len)
{
#if DM_ASAN
    __asan_unpoison_memory_region(ptr, len);
#endif
}

static size_t round_up(size_t n)
{
    return (n + ALIGNMENT - 1) & ~(size_t)(ALIGNMENT - 1);
}

static void chunk_to_system(struct dm_chunk *chunk)
{
    unpoison(chunk, chunk->bytes);
    dm_free(chunk);
}

void dm_chunk_pool_init(struct dm_chunk_pool *pool, size_t chunk_bytes, size_t keep_max)
{
    *pool = (struct dm_chunk_pool){
        .chunk_bytes = DM_MAX(round_up(chunk_bytes), sizeof(struct dm_chunk) + ALIGNMENT),
        .keep_max = keep_max,
    };
}

void dm_chunk_pool_done(struct dm_chunk_pool *pool)
{
    struct dm_chunk *chunk;

    while ((chunk = pool->free)) {
        pool->free = chunk->next;
        chunk_to_system(chunk);
    }
    pool->n_free = 0;
}

void dm_arena_init(struct dm_arena *arena, struct dm_chunk_pool *pool, size_t budget_bytes)
{
    *arena = (struct dm_arena){.pool = pool, .budget_bytes = budget_bytes};
}

static struct dm_chunk *chunk_from_system(struct dm_chunk_pool *pool, size_t bytes)
{
    struct dm_chunk *chunk = dm_alloc(bytes);

    if (pool)
        pool->n_system++;
    chunk->bytes = bytes;
    return chunk;
}

#ifdef DM_DEBUG_ALLOC

static void check_red_zone(const unsigned char *zone, const char *where)
{
    size_t i;

    for (i = 0; i < RED_ZONE_BYTES; i++) {
        if (zone[i] == RED_ZONE_BYTE)
            continue;
        dm_log(DM_LOG_ERROR, "red_zone_damaged", "a write %s the end of an arena allocation", where);
        dm_log_drain(100);
        abort();
    }
}

void dm_arena_reset(struct dm_arena *arena)
{
    struct dm_chunk *chunk;

    while ((chunk = arena->chunks)) {
        unsigned char *zone = (unsigned char *)(chunk + 1);

        arena->chunks = chunk->next;
        unpoison(zone, RED_ZONE_BYTES + chunk->bytes + RED_ZONE_BYTES);
        check_red_zone(zone, "before");
        check_red_zone(zone + RED_ZONE_BYTES + chunk->bytes, "behind");
        dm_free(chunk);
    }
    arena->used_bytes = 0;
}

static void wipe(struct dm_chunk *chunk)
{
    dm_mem_wipe((char *)(chunk + 1) + RED_ZONE_BYTES, chunk->bytes);
}

static void *take(struct dm_arena *arena, size_t size, size_t rounded)
{
    struct dm_chunk *chunk = chunk_from_system(arena->pool, sizeof(*chunk) + size + 2 * RED_ZONE_BYTES);
    unsigned char *zone = (unsigned char *)(chunk + 1);

    chunk->bytes = size;
    chunk->next = arena->chunks;
    arena->chunks = chunk;
    memset(zone, RED_ZONE_BYTE, RED_ZONE_BYTES);
    memset(zone + RED_ZONE_BYTES + size, RED_ZONE_BYTE, RED_ZONE_BYTES);
    poison(zone, RED_ZONE_BYTES);
    poison(zone + RED_ZONE_BYTES + size, RED_ZONE_BYTES);
    arena->used_bytes += rounded;
    return zone + RED_ZONE_BYTES;
}

#else

static void chunk_give(struct dm_chunk_pool *pool, struct dm_chunk *chunk)
{
    if (!pool || chunk->bytes != pool->chunk_bytes || pool->n_free >= pool->keep_max) {
        chunk_to_system(chunk);
        return;
    }
    poison(chunk + 1, chunk->bytes - sizeof(*chunk));
    chunk->next = pool->free;
    pool->free = chunk;
    pool->n_free++;
}

static struct dm_chunk *chunk_take(struct dm_chunk_pool *pool)
{
    struct dm_chunk *chunk = pool->free;

    if (!chunk)
        return chunk_from_system(pool, pool->chunk_bytes);
    pool->free = chunk->next;
    pool->n_free--;
    return chunk;
}

void dm_arena_reset(struct dm_arena *arena)
{
    struct dm_chunk *chunk;

    while ((chunk = arena->chunks)) {
        arena->chunks = chunk->next;
        chunk_give(arena->pool, chunk);
    }
    arena->at = arena->end = NULL;
    arena->used_bytes = 0;
}

static void wipe(struct dm_chunk *chunk)
{
    unpoison(chunk, chunk->bytes);
    dm_mem_wipe(chunk + 1, chunk->bytes - sizeof(*chunk));
}

/* Without a pool chunks double, so that a large document costs few of them. */
static size_t next_chunk_bytes(const struct dm_arena *arena)
{
    if (arena->pool)
        return arena->pool->chunk_bytes;
    if (!arena->chunks)
        return SYSTEM_CHUNK_BYTES;
    return DM_MIN(DM_MAX(arena->chunks->bytes * 2, SYSTEM_CHUNK_BYTES), SYSTEM_CHUNK_BYTES_MAX);
}

static void *take_oversized(struct dm_arena *arena, size_t size, size_t rounded)
{
    struct dm_chunk *chunk = chunk_from_system(arena->pool, sizeof(*chunk) + rounded);

    chunk->next = arena->chunks;
    arena->chunks = chunk;
    poison((char *)(chunk + 1) + size, rounded - size);
    return chunk + 1;
}

static void take_chunk(struct dm_arena *arena, size_t bytes)
{
    struct dm_chunk *chunk = arena->pool ? chunk_take(arena->pool) : chunk_from_system(NULL, bytes);

    chunk->next = arena->chunks;
    arena->chunks = chunk;
    arena->at = (char *)(chunk + 1);
    arena->end = (char *)chunk + bytes;
    poison(arena->at, (size_t)(arena->end - arena->at));
}

static void *take(struct dm_arena *arena, size_t size, size_t rounded)
{
    size_t bytes = next_chunk_bytes(arena);
    void *ptr;

    arena->used_bytes += rounded;
    if (rounded > bytes - sizeof(struct dm_chunk))
        return take_oversized(arena, size, rounded);
    if (rounded > (size_t)(arena->end - arena->at))
        take_chunk(arena, bytes);
    ptr = arena->at;
    arena->at += rounded;
    unpoison(ptr, size);
    return ptr;
}

#endif

void dm_arena_wipe(struct dm_arena *arena)
{
    for (struct dm_chunk *chunk = arena->chunks; chunk; chunk = chunk->next)
        wipe(chunk);
    dm_arena_reset(arena);
}

void *dm_arena_alloc_slow(struct dm_arena *arena, size_t size)
{
    size_t rounded = round_up(size > 0 ? size : 1);

    if (size > SIZE_MAX / 2 || rounded > arena->budget_bytes - arena->used_bytes)
        return NULL;
    return take(arena, size, rounded);
}

void *dm_arena_calloc(struct dm_arena *arena, size_t size)
{
    void *ptr = dm_arena_alloc(arena, size);

    return ptr ? memset(ptr, 0, size) : NULL;
}

int dm_arena_str(struct dm_arena *arena, struct dm_str s, struct dm_str *ret)
{
    char *copy = s.len < SIZE_MAX ? dm_arena_alloc(arena, s.len + 1) : NULL;

    if (!copy)
        return DM_EBUDGET;
    if (s.len > 0)
        memcpy(copy, s.ptr, s.len);
    copy[s.len] = '\0';
    *ret = dm_str_n(copy, s.len);
    return 0;
}

int dm_arena_printf(struct dm_arena *arena, struct dm_str *ret, const char *fmt, ...)
{
    va_list args;
    char *text;
    int len;

    va_start(args, fmt);
    len = vsnprintf(NULL, 0, fmt, args);
    va_end(args);
    if (len < 0)
        return DM_EINVAL;
    if (!(text = dm_arena_alloc(arena, (size_t)len + 1)))
        return DM_EBUDGET;
    va_start(args, fmt);
    vsnprintf(text, (size_t)len + 1, fmt, args);
    va_end(args);
    *ret = dm_str_n(text, (size_t)len);
    return 0;
}
