/* JSON merge patch (RFC 7396). */
#ifndef DM_CONTROL_API_MERGE_H
#define DM_CONTROL_API_MERGE_H

struct dm_json;

/* target, which is consumed (NULL = nothing there), with the patch applied. The result is the caller's. */
struct dm_json *dm_merge_patch(struct dm_json *target, const struct dm_json *patch);

#endif
