/* A public host name that the master gave to a tenant. An exact name wins over a wildcard, a longer wildcard over a
 * shorter. "*.example.com" stands for one or more labels in the place of '*'. */
#ifndef DM_MODEL_DOMAIN_GRANT_H
#define DM_MODEL_DOMAIN_GRANT_H

#include "base/str.h"

struct dm_schema;

enum dm_environment { DM_ENVIRONMENT_PRODUCTION, DM_ENVIRONMENT_STAGING };
extern const char *const dm_environment_names[];

struct dm_domain_grant {
    struct dm_str name;
    int environment; /* enum dm_environment */
};

extern const struct dm_schema dm_schema_domain_grant;

#endif
