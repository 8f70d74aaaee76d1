#include "control/api/body.h"
#include "control/api/call.h"
#include "control/api/merge.h"
#include "base/json.h"
#include "model/field.h"

static int check_name(struct dm_call *call, const struct dm_json *json, struct dm_str name)
{
    const struct dm_json *value = dm_json_get(json, "name");

    if (value == NULL || dm_json_type(value) != DM_JSON_STRING || dm_str_eq(dm_json_string(value), name))
        return 0;
    return dm_failure_add(&call->failure, DM_EINVAL, NULL, "/name", "must be '%.*s' as in the path, found '%.*s'",
                          DM_STR_ARG(name), DM_STR_ARG(dm_json_string(value)));
}

int dm_body_read(struct dm_call *call, const struct dm_schema *schema, struct dm_json *json, struct dm_str name,
                 void *ret)
{
    struct dm_json *text;
    int rc;

    if (name.ptr != NULL && (rc = check_name(call, json, name)) < 0)
        return rc;
    if (name.ptr != NULL && dm_json_get(json, "name") == NULL && (text = dm_json_new_string(name)) != NULL)
        dm_json_set(json, "name", text);
    return dm_model_read(schema, json, &call->arena, ret, &call->failure.errs);
}

int dm_body_patch(struct dm_call *call, const struct dm_schema *schema, const void *object, struct dm_json **ret)
{
    DM_CLEANUP(dm_buf_done) struct dm_buf text = {0};
    DM_CLEANUP(dm_json_freep) struct dm_json *patch = NULL;
    struct dm_json_limits limits = {.max_bytes = DM_CALL_REPLY_MAX, .max_depth = 64};
    struct dm_json *whole = NULL;
    struct dm_jsonw w;
    struct dm_err err = {0};
    int rc = dm_call_json(call, &patch);

    if (rc < 0)
        return rc;
    dm_buf_init(&text, DM_CALL_REPLY_MAX);
    dm_jsonw_init(&w, &text);
    dm_model_write(schema, object, &w, 0);
    if (dm_json_parse(dm_buf_str(&text), &limits, &whole, &err) < 0)
        return dm_call_fail(call, &err);
    *ret = dm_merge_patch(whole, patch);
    return 0;
}

void dm_body_write(struct dm_jsonw *w, const struct dm_schema *schema, const void *object)
{
    dm_model_write(schema, object, w, DM_WRITE_DEFAULTS | DM_WRITE_READ_ONLY);
}
