/* Hash map with open addressing and linear probing.
 *
 * M1. cap is 0 or a power of two; used (live and deleted slots) stays at or below 3/4 of it, so a probe always ends.
 * M2. From the slot a hash points at to the slot that holds its key no slot is free.
 * M3. A deleted slot in front of a free one is made free at once, so steady putting and deleting does not fill the map. */
#include "base/map.h"

#include "base/crypto.h"
#include "base/mem.h"

#include <assert.h>

#define FIRST_SLOTS 16

enum { HASH_FREE = 0, HASH_DELETED = 1, HASH_FIRST = 2 };

void dm_map_init(struct dm_map *map, const uint8_t seed[16])
{
    *map = (struct dm_map){0};
    memcpy(map->seed, seed, sizeof(map->seed));
}

void dm_map_init_random(struct dm_map *map)
{
    *map = (struct dm_map){0};
    dm_crypto_random(map->seed, sizeof(map->seed));
}

void dm_map_done(struct dm_map *map)
{
    dm_free(map->slots);
    map->slots = NULL;
    map->count = map->used = map->cap = 0;
}

static uint64_t hash_of(const struct dm_map *map, struct dm_str key)
{
    uint64_t hash = dm_siphash(map->seed, key);

    return hash >= HASH_FIRST ? hash : hash + HASH_FIRST;
}

/* The slot of the key, or NULL. */
static struct dm_map_slot *find(const struct dm_map *map, uint64_t hash, struct dm_str key)
{
    size_t mask = map->cap - 1, i;

    if (map->cap == 0)
        return NULL;
    for (i = hash & mask; map->slots[i].hash != HASH_FREE; i = (i + 1) & mask)
        if (map->slots[i].hash == hash && dm_str_eq(map->slots[i].key, key))
            return &map->slots[i];
    return NULL;
}

/* The first slot of the hash's chain that holds nothing. */
static struct dm_map_slot *find_vacant(const struct dm_map *map, uint64_t hash)
{
    size_t mask = map->cap - 1, i = hash & mask;

    while (map->slots[i].hash >= HASH_FIRST)
        i = (i + 1) & mask;
    return &map->slots[i];
}

static void rehash(struct dm_map *map, size_t cap)
{
    struct dm_map old = *map;
    size_t i;

    map->slots = dm_calloc(cap, sizeof(*map->slots));
    map->cap = cap;
    map->used = map->count;
    for (i = 0; i < old.cap; i++)
        if (old.slots[i].hash >= HASH_FIRST)
            *find_vacant(map, old.slots[i].hash) = old.slots[i];
    dm_free(old.slots);
}

/* Doubles when live entries fill half of the map; otherwise a rehash only sweeps out the deleted ones. */
static void make_room(struct dm_map *map)
{
    if (map->cap == 0)
        rehash(map, FIRST_SLOTS);
    else if (map->used + 1 > map->cap / 4 * 3)
        rehash(map, map->count >= map->cap / 2 ? map->cap * 2 : map->cap);
}

void *dm_map_get(const struct dm_map *map, struct dm_str key)
{
    struct dm_map_slot *slot = find(map, hash_of(map, key), key);

    return slot ? slot->value : NULL;
}

void *dm_map_put(struct dm_map *map, struct dm_str key, void *value)
{
    uint64_t hash = hash_of(map, key);
    struct dm_map_slot *slot = find(map, hash, key);
    void *former = NULL;

    assert(value);
    if (slot) {
        former = slot->value;
    } else {
        make_room(map);
        slot = find_vacant(map, hash);
        map->used += slot->hash == HASH_FREE;
        map->count++;
    }
    *slot = (struct dm_map_slot){hash, key, value};
    return former;
}

static void free_deleted_run(struct dm_map *map, size_t i)
{
    size_t mask = map->cap - 1;

    if (map->slots[(i + 1) & mask].hash != HASH_FREE)
        return;
    for (; map->slots[i].hash == HASH_DELETED; i = (i - 1) & mask) {
        map->slots[i].hash = HASH_FREE;
        map->used--;
    }
}

void *dm_map_del(struct dm_map *map, struct dm_str key)
{
    struct dm_map_slot *slot = find(map, hash_of(map, key), key);
    void *value;

    if (!slot)
        return NULL;
    value = slot->value;
    *slot = (struct dm_map_slot){.hash = HASH_DELETED};
    map->count--;
    free_deleted_run(map, (size_t)(slot - map->slots));
    return value;
}

struct dm_map_slot *dm_map_next(const struct dm_map *map, size_t *at)
{
    while (*at < map->cap) {
        struct dm_map_slot *slot = &map->slots[(*at)++];

        if (slot->hash >= HASH_FIRST)
            return slot;
    }
    return NULL;
}
