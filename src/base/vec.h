/* Heap vectors: DM_VEC(struct thing) things = {0}; *dm_vec_push(&things) = …; things.items[i]; dm_vec_done(&things). */
#ifndef DM_BASE_VEC_H
#define DM_BASE_VEC_H

#include "base/mem.h"

#define DM_VEC(type)                                                                                                   \
    struct {                                                                                                           \
        type *items;                                                                                                   \
        size_t count, cap;                                                                                             \
    }

/* Grows the array behind items to hold one more. */
void *dm_vec_grow(void *items, size_t count, size_t *cap, size_t item_bytes);

/* Pointer to a new last item, uninitialised; valid until the next push. */
#define dm_vec_push(vec)                                                                                               \
    ((vec)->items = dm_vec_grow((vec)->items, (vec)->count, &(vec)->cap, sizeof(*(vec)->items)),                       \
     &(vec)->items[(vec)->count++])

/* Removes item i; the last one takes its place. */
#define dm_vec_drop(vec, i) ((vec)->items[i] = (vec)->items[--(vec)->count])

#define dm_vec_done(vec) (dm_free((vec)->items), (vec)->items = NULL, (vec)->count = (vec)->cap = 0)

#endif
