#include "control/audit/details.h"
#include "base/jsonw.h"
#include "model/change.h"
#include "model/field.h"

#define DETAILS_MAX (32u << 20)

static void write_detail(struct dm_jsonw *w, struct dm_str pointer, struct dm_str before, struct dm_str after)
{
    struct dm_change_detail detail = {.pointer = pointer, .before = before, .after = after};

    dm_model_write(&dm_schema_change_detail, &detail, w, 0);
}

/* The whole object as the one difference. */
static void write_whole(struct dm_jsonw *w, const struct dm_schema *schema, const void *object, bool is_before)
{
    DM_CLEANUP(dm_buf_done) struct dm_buf text = {0};
    struct dm_jsonw inner;

    dm_buf_init(&text, DETAILS_MAX);
    dm_jsonw_init(&inner, &text);
    dm_model_write(schema, object, &inner, 0);
    if (is_before)
        write_detail(w, DM_STR(""), dm_buf_str(&text), DM_STR(""));
    else
        write_detail(w, DM_STR(""), DM_STR(""), dm_buf_str(&text));
}

static ssize_t write_diff(struct dm_jsonw *w, const struct dm_schema *schema, const void *before, const void *after,
                          struct dm_arena *arena)
{
    struct dm_diff *diff = NULL;
    ssize_t count = dm_model_diff(schema, before, after, arena, &diff);

    for (ssize_t i = 0; i < DM_MIN(count, (ssize_t)DM_CHANGE_DETAILS_MAX); i++)
        write_detail(w, diff[i].pointer, diff[i].before, diff[i].after);
    return count;
}

int dm_audit_details(const struct dm_schema *schema, const void *before, const void *after, struct dm_arena *arena,
                     struct dm_str *ret, size_t *ret_count, struct dm_err *err)
{
    DM_CLEANUP(dm_buf_done) struct dm_buf text = {0};
    struct dm_jsonw w;
    ssize_t count = 1;

    dm_buf_init(&text, DETAILS_MAX);
    dm_jsonw_init(&w, &text);
    dm_jsonw_begin_array(&w);
    if (before != NULL && after != NULL)
        count = write_diff(&w, schema, before, after, arena);
    else
        write_whole(&w, schema, before != NULL ? before : after, before != NULL);
    dm_jsonw_end_array(&w);
    if (count < 0 || text.failed || dm_arena_str(arena, dm_buf_str(&text), ret) < 0)
        return dm_fail(err, DM_EBUDGET, "", "the change is too large to be recorded");
    *ret_count = (size_t)count;
    return 0;
}
