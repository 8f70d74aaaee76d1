/* Where in a text the nodes of its tree stand: JSON pointer -> line and column. So an error that names a pointer can be
 * shown where a person looks. */
#ifndef DM_CLI_PLACES_H
#define DM_CLI_PLACES_H

#include "base/str.h"

struct dm_places;

/* From 1; columns count characters. {0, 0} = not known. */
struct dm_place {
    size_t line, column;
};

struct dm_places *dm_places_new(void);
/* NULL is fine. */
void dm_places_free(struct dm_places *places);

/* pointer is copied. */
void dm_places_add(struct dm_places *places, struct dm_str pointer, struct dm_place place);
/* Of the node, or of the nearest one above it that is known (a member that is missing stands nowhere). places may be
 * NULL. */
struct dm_place dm_places_find(const struct dm_places *places, struct dm_str pointer);

/* Appends "/name" to a pointer of *len bytes in pointer, '~' and '/' escaped (RFC 6901). False when it does not fit in
 * max bytes; nothing is changed then. */
bool dm_places_step(char *pointer, size_t *len, size_t max, struct dm_str name);

#endif
