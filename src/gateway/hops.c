#include "gateway/hops.h"

enum { DIGITS_MAX = 24 };

static bool counts(enum dm_http_method method)
{
    return method == DM_HTTP_METHOD_OPTIONS || method == DM_HTTP_METHOD_TRACE;
}

/* Without room for it the field stays away: the request may then go further than was asked for, as behind a hop that does not know
 * the field. */
static void put_lowered(struct dm_exchange *ex, uint64_t left)
{
    char *text = dm_arena_alloc(&ex->arena, DIGITS_MAX);
    struct dm_buf value;

    if (!text)
        return;
    dm_buf_init_fixed(&value, text, DIGITS_MAX);
    dm_buf_printf(&value, "%llu", (unsigned long long)left);
    (void)dm_http_head_add(ex->head, DM_STR("Max-Forwards"), dm_buf_str(&value));
}

bool dm_hops_are_over(struct dm_exchange *ex)
{
    struct dm_http_field *field;
    uint64_t left;

    if (DM_LIKELY(!counts(ex->head->method)))
        return false;
    field = dm_http_head_find_name(ex->head, DM_STR("max-forwards"));
    if (!field || dm_str_to_u64(field->value, &left) < 0)
        return false;
    if (left == 0)
        return true;
    dm_http_head_drop_from(ex->head, field);
    put_lowered(ex, left - 1);
    return false;
}
