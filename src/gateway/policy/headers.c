#include "gateway/policy/policy_int.h"

static void apply(const struct dm_unit *unit, const struct dm_uheader *op, struct dm_http_head *head)
{
    struct dm_str name = dm_unit_str(unit, op->name), value = dm_unit_str(unit, op->value);

    switch ((enum dm_uheader_op)op->op) {
    case DM_UHEADER_SET:
        dm_http_head_drop(head, name);
        dm_http_head_add(head, name, value);
        break;
    case DM_UHEADER_ADD:
        if (dm_http_head_find_name(head, name))
            dm_http_head_add(head, name, value);
        break;
    case DM_UHEADER_PUSH:
        dm_http_head_add(head, name, value);
        break;
    case DM_UHEADER_DELETE:
        dm_http_head_drop(head, name);
        break;
    }
}

void dm_headers_apply(const struct dm_unit *unit, dm_off at, uint32_t n, struct dm_http_head *head)
{
    const struct dm_uheader *ops = dm_unit_at(unit, at);

    for (uint32_t i = 0; i < n; i++)
        apply(unit, &ops[i], head);
}
