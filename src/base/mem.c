/* The system allocator, counted. Out of memory ends the process. */
#include "base/mem.h"

#include "base/log.h"

#include <malloc.h>
#include <stdatomic.h>

static _Atomic uint64_t calls; /* a count for tests and metrics; decides nothing */

/* The log takes no memory, so it still works here. */
static _Noreturn void out_of_memory(size_t count, size_t size)
{
    dm_log(DM_LOG_ERROR, "out_of_memory", "no memory for %zu x %zu bytes", count, size);
    dm_log_drain(100);
    abort();
}

static void count_call(void)
{
    atomic_fetch_add_explicit(&calls, 1, memory_order_relaxed);
}

void *dm_alloc(size_t size)
{
    void *ptr;

    count_call();
    if (DM_UNLIKELY(!(ptr = malloc(size > 0 ? size : 1))))
        out_of_memory(1, size);
    return ptr;
}

void *dm_calloc(size_t count, size_t size)
{
    void *ptr;

    count_call();
    if (count == 0 || size == 0)
        count = size = 1;
    if (DM_UNLIKELY(!(ptr = calloc(count, size))))
        out_of_memory(count, size);
    return ptr;
}

void *dm_realloc(void *ptr, size_t size)
{
    void *grown;

    count_call();
    if (DM_UNLIKELY(!(grown = realloc(ptr, size > 0 ? size : 1))))
        out_of_memory(1, size);
    return grown;
}

void dm_free(void *ptr)
{
    free(ptr);
}

void dm_mem_trim(void)
{
    (void)malloc_trim(0);
}

char *dm_strdup(struct dm_str s)
{
    char *copy = dm_alloc(s.len + 1);

    if (s.len > 0)
        memcpy(copy, s.ptr, s.len);
    copy[s.len] = '\0';
    return copy;
}

uint64_t dm_mem_calls(void)
{
    return atomic_load_explicit(&calls, memory_order_relaxed);
}

void dm_mem_wipe(void *ptr, size_t len)
{
    explicit_bzero(ptr, len);
}
