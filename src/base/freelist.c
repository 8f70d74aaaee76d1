/* Free lists of objects of one size. A kept object holds the link to the next in its first bytes; the rest of it is
 * poisoned under AddressSanitizer. */
#include "base/freelist.h"

#include "base/mem.h"

#include <assert.h>

#if DM_ASAN
#include <sanitizer/asan_interface.h>
#endif

struct link {
    struct link *next;
};

void dm_freelist_init(struct dm_freelist *list, size_t object_bytes, size_t keep_max)
{
    *list = (struct dm_freelist){
        .object_bytes = DM_MAX(object_bytes, sizeof(struct link)),
        .keep_max = keep_max,
    };
}

static void set_poison(const struct dm_freelist *list, void *object, bool is_poisoned)
{
#if DM_ASAN
    if (is_poisoned)
        __asan_poison_memory_region(object, list->object_bytes);
    else
        __asan_unpoison_memory_region(object, list->object_bytes);
#endif
}

static void *pop(struct dm_freelist *list)
{
    struct link *link = list->free;

    set_poison(list, link, false);
    list->free = link->next;
    dm_prefetch(list->free, 0, 64); /* the next one's link, at least */
    list->n_free--;
    return link;
}

void dm_freelist_done(struct dm_freelist *list)
{
    while (list->free)
        dm_free(pop(list));
}

void *dm_freelist_take(struct dm_freelist *list)
{
    list->n_used++;
    return DM_LIKELY(list->free != NULL) ? pop(list) : dm_alloc(list->object_bytes);
}

static bool is_kept(const struct dm_freelist *list)
{
#ifdef DM_DEBUG_ALLOC
    return false;
#else
    return list->n_free < list->keep_max;
#endif
}

void dm_freelist_give(struct dm_freelist *list, void *object)
{
    struct link *link = object;

    assert(list->n_used > 0);
    list->n_used--;
    if (!is_kept(list)) {
        dm_free(object);
        return;
    }
    link->next = list->free;
    list->free = link;
    list->n_free++;
    set_poison(list, object, true);
}
