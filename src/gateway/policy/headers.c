#include "gateway/policy/policy_int.h"

static int add(struct dm_http_head *head, struct dm_str name, struct dm_str value)
{
    return dm_http_head_add(head, name, value) ? 0 : DM_EBUDGET;
}

static int apply(const struct dm_unit *unit, const struct dm_uheader *op, struct dm_http_head *head)
{
    struct dm_str name = dm_unit_str(unit, op->name), value = dm_unit_str(unit, op->value);

    switch ((enum dm_uheader_op)op->op) {
    case DM_UHEADER_SET: dm_http_head_drop(head, name); return add(head, name, value);
    case DM_UHEADER_ADD: return dm_http_head_find_name(head, name) ? add(head, name, value) : 0;
    case DM_UHEADER_PUSH: return add(head, name, value);
    case DM_UHEADER_DELETE: dm_http_head_drop(head, name);
    }
    return 0;
}

int dm_headers_apply(const struct dm_unit *unit, dm_off at, uint32_t n, struct dm_http_head *head)
{
    const struct dm_uheader *ops = dm_unit_at(unit, at);
    int rc = 0;

    for (uint32_t i = 0; i < n && rc == 0; i++)
        rc = apply(unit, &ops[i], head);
    return rc;
}

bool dm_headers_name(const struct dm_unit *unit, dm_off at, uint32_t n, struct dm_str name)
{
    const struct dm_uheader *ops = dm_unit_at(unit, at);

    for (uint32_t i = 0; i < n; i++)
        if (dm_str_ieq(dm_unit_str(unit, ops[i].name), name))
            return true;
    return false;
}
