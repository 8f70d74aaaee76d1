/* Bodies of writes: a whole resource (PUT, POST) or a merge patch (PATCH, RFC 7396) on what is there. */
#ifndef DM_CONTROL_API_BODY_H
#define DM_CONTROL_API_BODY_H

#include "base/str.h"

struct dm_call;
struct dm_json;
struct dm_jsonw;
struct dm_schema;

/* Reads json as the schema's struct. name: what the path says, set where the body leaves it out and refused where it says
 * another; DM_STR_NULL = the body says. */
DM_MUST_USE int dm_body_read(struct dm_call *call, const struct dm_schema *schema, struct dm_json *json,
                             struct dm_str name, void *ret);
/* The body of a PATCH applied to `object`. */
DM_MUST_USE int dm_body_patch(struct dm_call *call, const struct dm_schema *schema, const void *object,
                              struct dm_json **ret);
/* Members of an answer: defaults and what the controller set among them, no secrets. */
void dm_body_write(struct dm_jsonw *w, const struct dm_schema *schema, const void *object);

#endif
