/* Who asks. By value; the strings are borrowed from whoever authenticated. */
#ifndef DM_CONTROL_IDENTITY_CALLER_H
#define DM_CONTROL_IDENTITY_CALLER_H

#include "base/str.h"

/* Ordered: a higher standing may whatever a lower may. Nobody is what a zeroed caller is. */
enum dm_standing {
    DM_STANDING_NOBODY,
    DM_STANDING_TENANT_ADMIN,
    DM_STANDING_MASTER_ADMIN,
    DM_STANDING_SYSTEM, /* the controller itself: link, start-up; no token has it */
};

struct dm_caller {
    enum dm_standing standing;
    struct dm_str tenant;  /* the only tenant of a tenant admin; empty otherwise */
    int64_t tenant_number; /* its, so that another tenant made under the same name is none of the caller's */
    struct dm_str name;    /* for records: the token's name */
    int64_t token_id;      /* 0 when there is none */
    struct dm_str request_id;
};

#define DM_CALLER_SYSTEM ((struct dm_caller){.standing = DM_STANDING_SYSTEM, .name = DM_STR("system")})

static inline bool dm_caller_is_master(const struct dm_caller *caller)
{
    return caller->standing >= DM_STANDING_MASTER_ADMIN;
}

#endif
