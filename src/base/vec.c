/* Growing of heap vectors. */
#include "base/vec.h"

#define FIRST_ITEMS 8

void *dm_vec_grow(void *items, size_t count, size_t *cap, size_t item_bytes)
{
    if (DM_LIKELY(count < *cap))
        return items;
    if (*cap > SIZE_MAX / 2 / item_bytes)
        abort();
    *cap = *cap > 0 ? *cap * 2 : FIRST_ITEMS;
    return dm_realloc(items, *cap * item_bytes);
}
