#include "cli/places.h"
#include "base/map.h"
#include "base/mem.h"

struct node {
    struct node *next;
    struct dm_place place;
    char pointer[];
};

struct dm_places {
    struct dm_map by_pointer;
    struct node *nodes;
};

struct dm_places *dm_places_new(void)
{
    struct dm_places *places = dm_calloc(1, sizeof(*places));

    dm_map_init_random(&places->by_pointer);
    return places;
}

void dm_places_free(struct dm_places *places)
{
    struct node *node, *next;

    if (!places)
        return;
    for (node = places->nodes; node; node = next) {
        next = node->next;
        dm_free(node);
    }
    dm_map_done(&places->by_pointer);
    dm_free(places);
}

void dm_places_add(struct dm_places *places, struct dm_str pointer, struct dm_place place)
{
    struct node *node = dm_alloc(sizeof(*node) + pointer.len + 1);

    node->next = places->nodes;
    node->place = place;
    if (pointer.len > 0)
        memcpy(node->pointer, pointer.ptr, pointer.len);
    node->pointer[pointer.len] = '\0';
    places->nodes = node;
    dm_map_put(&places->by_pointer, dm_str_n(node->pointer, pointer.len), node);
}

struct dm_place dm_places_find(const struct dm_places *places, struct dm_str pointer)
{
    const struct node *node;

    if (!places)
        return (struct dm_place){0};
    while (!(node = dm_map_get(&places->by_pointer, pointer)) && pointer.len > 0) {
        do
            pointer.len--;
        while (pointer.ptr[pointer.len] != '/' && pointer.len > 0);
    }
    return node ? node->place : (struct dm_place){0};
}

bool dm_places_step(char *pointer, size_t *len, size_t max, struct dm_str name)
{
    size_t at = *len;

    if (at >= max)
        return false;
    pointer[at++] = '/';
    for (size_t i = 0; i < name.len; i++) {
        char c = name.ptr[i];

        if (at + 2 > max)
            return false;
        if (c == '~' || c == '/') {
            pointer[at++] = '~';
            pointer[at++] = c == '~' ? '0' : '1';
        } else {
            pointer[at++] = c;
        }
    }
    *len = at;
    return true;
}
