/* Hash map from byte strings to pointers, seeded with SipHash so that nobody outside can aim at a bucket. Open
 * addressing; keys are borrowed and must live as long as their entry. Threads: one. */
#ifndef DM_BASE_MAP_H
#define DM_BASE_MAP_H

#include "base/str.h"

struct dm_map_slot {
    uint64_t hash; /* 0 = free, 1 = deleted */
    struct dm_str key;
    void *value;
};

struct dm_map {
    struct dm_map_slot *slots;
    size_t count, used, cap; /* used counts deleted slots too */
    uint8_t seed[16];
};

void dm_map_init(struct dm_map *map, const uint8_t seed[16]);
/* Seeds from the system's randomness. */
void dm_map_init_random(struct dm_map *map);
void dm_map_done(struct dm_map *map);
/* The value, or NULL. */
void *dm_map_get(const struct dm_map *map, struct dm_str key);
/* Replaces; returns the former value or NULL. The key of an existing entry is replaced too. value must not be NULL. */
void *dm_map_put(struct dm_map *map, struct dm_str key, void *value);
/* Removes; returns the value or NULL. */
void *dm_map_del(struct dm_map *map, struct dm_str key);
/* Walks all entries in no order: start with *at = 0; NULL at the end. Deleting the entry just returned is allowed. */
struct dm_map_slot *dm_map_next(const struct dm_map *map, size_t *at);

#endif
