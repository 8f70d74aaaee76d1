#include "control/release/describe.h"
#include "control/release/stamp.h"
#include "base/arena.h"

static int keep(struct dm_arena *arena, const char *text, struct dm_str *ret)
{
    return dm_arena_str(arena, dm_str_of(text), ret);
}

static int keep_names(const struct dm_certificate_info *info, struct dm_arena *arena, struct dm_certificate *ret)
{
    struct dm_str *names = dm_arena_calloc(arena, DM_MAX(info->n_names, 1) * sizeof(*names));

    if (names == NULL)
        return DM_EBUDGET;
    for (unsigned i = 0; i < info->n_names; i++)
        if (keep(arena, info->names[i], &names[i]) < 0)
            return DM_EBUDGET;
    ret->names = names;
    ret->n_names = info->n_names;
    return 0;
}

int dm_describe_certificate(const struct dm_certificate_info *info, struct dm_arena *arena, struct dm_certificate *ret)
{
    char from[DM_STAMP_MAX], to[DM_STAMP_MAX];

    dm_stamp(info->not_before_s * 1000, from);
    dm_stamp(info->not_after_s * 1000, to);
    if (keep(arena, info->subject, &ret->subject) < 0 || keep(arena, info->issuer, &ret->issuer) < 0 ||
        keep(arena, from, &ret->not_before) < 0 || keep(arena, to, &ret->not_after) < 0 ||
        keep(arena, info->fingerprint, &ret->fingerprint) < 0 || keep(arena, info->key_type, &ret->key_type) < 0)
        return DM_EBUDGET;
    return keep_names(info, arena, ret);
}
