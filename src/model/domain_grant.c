#include "model/domain_grant.h"
#include "model/field.h"
#include "model/format.h"

const char *const dm_environment_names[] = {"production", "staging", NULL};

static const struct dm_field fields[] = {
    {"name", DM_FIELD_STRING, DM_FIELD_REQUIRED | DM_FIELD_IDENTITY, DM_AT(struct dm_domain_grant, name),
     .max = DM_HOST_NAME_MAX, .format = &dm_format_domain,
     .doc = "Host name; `*.example.com` stands for every name below example.com. An exact name wins over a wildcard, a "
            "longer wildcard over a shorter."},
    {"environment", DM_FIELD_ENUM, 0, DM_AT(struct dm_domain_grant, environment), .names = dm_environment_names,
     .doc = "Which environment answers on it. Kept; gateways make no difference by it yet."},
};

const struct dm_schema dm_schema_domain_grant = {
    .name = "DomainGrant",
    .doc = "A public host name that the master gave to the tenant.",
    DM_FIELDS(fields),
    .struct_bytes = sizeof(struct dm_domain_grant),
};
