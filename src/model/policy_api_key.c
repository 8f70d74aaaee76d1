#include "model/policy_int.h"

static const char *const place_names[] = {"header", "query", "basic", NULL};

static const struct dm_field fields[] = {
    DM_POLICY_TYPE_FIELD,
    {"in", DM_FIELD_FLAGS, 0, DM_AT(struct dm_policy, api_key.in), .min = 1,
     .def_int = DM_KEY_IN_HEADER | DM_KEY_IN_QUERY, .names = place_names,
     .doc = "Where the key may be: a header, a query parameter, the user name of `Authorization: Basic`. Asked in this "
            "order; the first place that has one counts."},
    {"query", DM_FIELD_STRING, 0, DM_AT(struct dm_policy, api_key.query), .max = DM_NAME_MAX, .def_str = "user_key",
     .format = &dm_format_query_name, .doc = "Name of the query parameter."},
    {"header", DM_FIELD_STRING, 0, DM_AT(struct dm_policy, api_key.header), .max = DM_HEADER_NAME_MAX,
     .def_str = "X-API-Key", .format = &dm_format_header_key, .doc = "Name of the header."},
    {"forward", DM_FIELD_BOOL, 0, DM_AT(struct dm_policy, api_key.forward),
     .doc = "The backend sees the key. Otherwise it is taken out before the request is forwarded."},
};

const struct dm_schema dm_schema_policy_api_key = {
    .name = "PolicyApiKey",
    .doc = "Tells applications apart by an API key. No key: `auth_missing`; an unknown one: `auth_invalid`.",
    DM_FIELDS(fields),
    .struct_bytes = sizeof(struct dm_policy),
};
