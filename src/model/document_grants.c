/* The body of the grants: what the master opened, and the tenant's state, weight and caps. */
#include "model/document_int.h"

static const struct dm_field body_fields[] = {
    {"state", DM_FIELD_ENUM, DM_FIELD_REQUIRED, DM_AT(struct dm_grants_body, state), .names = dm_state_names,
     .doc = "State of the tenant."},
    {"weight", DM_FIELD_INT, 0, DM_AT(struct dm_grants_body, weight), .min = 1, .max = 10000,
     .def_int = DM_WEIGHT_DEFAULT, .doc = "Weight of the tenant."},
    {"caps", DM_FIELD_EMBED, 0, DM_AT(struct dm_grants_body, caps), .sub = &dm_schema_caps,
     .doc = "Caps of the tenant."},
    {"tenancy", DM_FIELD_ENUM, 0, DM_AT(struct dm_grants_body, tenancy), .names = dm_tenancy_names,
     .doc = "Tenancy of the tenant."},
    {"cell", DM_FIELD_EMBED, 0, DM_AT(struct dm_grants_body, cell), .sub = &dm_schema_cell,
     .doc = "Cell of the tenant."},
    {"domains", DM_FIELD_ARRAY, 0, DM_AT_ARRAY(struct dm_grants_body, domains), .max = DM_GRANTS_DOMAINS_MAX,
     .sub = &dm_schema_domain_grant, .doc = "Host names that are the tenant's."},
    {"endpoints", DM_FIELD_ARRAY, 0, DM_AT_ARRAY(struct dm_grants_body, endpoints), .max = DM_GRANTS_ENDPOINTS_MAX,
     .sub = &dm_schema_endpoint_grant, .doc = "Where its backends may be."},
};

static const struct dm_schema body_schema = {
    .name = "GrantsBody",
    .doc = "Grants as gateways know them.",
    DM_FIELDS(body_fields),
    .struct_bytes = sizeof(struct dm_grants_body),
};

static const struct dm_field fields[] = {
    DM_DOCUMENT_FIELDS,
    {"body", DM_FIELD_EMBED, DM_FIELD_REQUIRED, DM_AT(struct dm_document, grants), .sub = &body_schema,
     .doc = "The grants."},
};

const struct dm_schema dm_schema_document_grants = {
    .name = "GrantsDocument",
    .doc = "The grants of a tenant.",
    DM_FIELDS(fields),
    .struct_bytes = sizeof(struct dm_document),
};
