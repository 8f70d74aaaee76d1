/* What a change record says about a change: a JSON array of {pointer, before, after}, without secrets. */
#ifndef DM_CONTROL_AUDIT_DETAILS_H
#define DM_CONTROL_AUDIT_DETAILS_H

#include "base/arena.h"
#include "base/err.h"

struct dm_schema;

/* before or after is NULL when the thing was made or deleted. *ret lies in the arena; *ret_count is the number of
 * differences: 0 = nothing changed. */
DM_MUST_USE int dm_audit_details(const struct dm_schema *schema, const void *before, const void *after,
                                 struct dm_arena *arena, struct dm_str *ret, size_t *ret_count, struct dm_err *err);

#endif
