#include "control/api/merge.h"
#include "base/json.h"
#include "base/mem.h"

static void merge_member(struct dm_json *target, struct dm_str name, const struct dm_json *patch)
{
    DM_CLEANUP(dm_freep) char *key = dm_strdup(name);
    struct dm_json *old = dm_json_get(target, key);

    if (dm_json_type(patch) == DM_JSON_NULL)
        dm_json_del(target, key);
    else
        dm_json_set(target, key, dm_merge_patch(old != NULL ? dm_json_copy(old) : NULL, patch));
}

struct dm_json *dm_merge_patch(struct dm_json *target, const struct dm_json *patch)
{
    struct dm_str name;
    struct dm_json *value;
    void *at = NULL;

    if (dm_json_type(patch) != DM_JSON_OBJECT) {
        dm_json_free(target);
        return dm_json_copy(patch);
    }
    if (target == NULL || dm_json_type(target) != DM_JSON_OBJECT) {
        dm_json_free(target);
        target = dm_json_new_object();
    }
    while (dm_json_next(patch, &at, &name, &value))
        merge_member(target, name, value);
    return target;
}
