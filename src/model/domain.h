/* A public host name that the master gave to a tenant. An exact name wins over a wildcard, a longer wildcard over a
 * shorter. "*.example.com" stands for one or more labels in the place of '*'. */
#ifndef DM_MODEL_DOMAIN_H
#define DM_MODEL_DOMAIN_H

#include "base/str.h"

struct dm_schema;

enum dm_environment { DM_ENVIRONMENT_PRODUCTION, DM_ENVIRONMENT_STAGING };
extern const char *const dm_environment_names[];

struct dm_domain {
    struct dm_str name;
    int environment; /* enum dm_environment */
};

extern const struct dm_schema dm_schema_domain;

static inline bool dm_domain_is_wildcard(struct dm_str name)
{
    return name.len > 2 && name.ptr[0] == '*' && name.ptr[1] == '.';
}

/* Does `granted` (exact or wildcard) hold `name` (exact or wildcard)? Both lower-case. */
bool dm_domain_holds(struct dm_str granted, struct dm_str name);

#endif
