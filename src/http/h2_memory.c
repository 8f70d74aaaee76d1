/* A block stands behind a header that says its class; what fits no class comes from the system.
 *
 * Classes are powers of two from 32 bytes on, but for the last one, which takes the buffer that each session puts its frames
 * together in (a largest frame of RFC 9113 section 4.2 and its head). */
#include "http/h2_memory.h"

#include "base/mem.h"

enum { SMALLEST_BYTES = 32, LARGEST_BYTES = (16 << 10) + 64, KEPT_BYTES = 4 << 20 };

struct block {
    uint32_t class; /* DM_H2_MEMORY_CLASSES: of the system */
    uint32_t reserved;
    size_t bytes;
};

_Static_assert(sizeof(struct block) % 16 == 0, "what follows is aligned");

static size_t class_bytes(uint32_t class)
{
    return class == DM_H2_MEMORY_CLASSES - 1 ? LARGEST_BYTES : (size_t)SMALLEST_BYTES << class;
}

static uint32_t class_of(size_t size)
{
    if (size <= SMALLEST_BYTES)
        return 0;
    if (size > class_bytes(DM_H2_MEMORY_CLASSES - 2))
        return size <= LARGEST_BYTES ? DM_H2_MEMORY_CLASSES - 1 : DM_H2_MEMORY_CLASSES;
    return (uint32_t)(64 - __builtin_clzll(size - 1)) - 5;
}

static void *take(struct dm_h2_memory *memory, size_t size)
{
    uint32_t class = class_of(size);
    struct block *block;

    if (DM_LIKELY(class < DM_H2_MEMORY_CLASSES)) {
        block = dm_freelist_take(&memory->classes[class]);
        block->bytes = class_bytes(class);
    } else {
        block = dm_alloc(sizeof(*block) + size);
        block->bytes = size;
    }
    block->class = class;
    memory->used_bytes += block->bytes;
    return block + 1;
}

static void give(struct dm_h2_memory *memory, void *ptr)
{
    struct block *block = (struct block *)ptr - 1;

    memory->used_bytes -= block->bytes;
    if (DM_LIKELY(block->class < DM_H2_MEMORY_CLASSES))
        dm_freelist_give(&memory->classes[block->class], block);
    else
        dm_free(block);
}

static void *on_malloc(size_t size, void *memory)
{
    return take(memory, size);
}

static void on_free(void *ptr, void *memory)
{
    if (ptr)
        give(memory, ptr);
}

static void *on_calloc(size_t count, size_t size, void *memory)
{
    size_t bytes;
    void *ptr;

    if (__builtin_mul_overflow(count, size, &bytes))
        return NULL;
    ptr = take(memory, bytes);
    memset(ptr, 0, bytes);
    return ptr;
}

static void *on_realloc(void *ptr, size_t size, void *memory)
{
    const struct block *block;
    void *moved;

    if (!ptr)
        return take(memory, size);
    block = (struct block *)ptr - 1;
    if (size <= block->bytes)
        return ptr;
    moved = take(memory, size);
    memcpy(moved, ptr, block->bytes);
    give(memory, ptr);
    return moved;
}

void dm_h2_memory_init(struct dm_h2_memory *memory)
{
    *memory = (struct dm_h2_memory){.mem = {memory, on_malloc, on_free, on_calloc, on_realloc}};
    for (uint32_t i = 0; i < DM_H2_MEMORY_CLASSES; i++)
        dm_freelist_init(&memory->classes[i], sizeof(struct block) + class_bytes(i), KEPT_BYTES / class_bytes(i));
}

void dm_h2_memory_done(struct dm_h2_memory *memory)
{
    for (size_t i = 0; i < DM_H2_MEMORY_CLASSES; i++)
        dm_freelist_done(&memory->classes[i]);
}
