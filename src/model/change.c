#include "model/change.h"
#include "model/field.h"
#include "model/format.h"

const char *const dm_change_action_names[] = {"create", "update", "delete", NULL};

#define VALUE_MAX (1 << 20)

static const struct dm_field detail_fields[] = {
    {"pointer", DM_FIELD_STRING, 0, DM_AT(struct dm_change_detail, pointer), .max = DM_TEXT_MAX,
     .doc = "The member, with names in the place of numbers: `/versions/v1/path`."},
    {"before", DM_FIELD_JSON, 0, DM_AT(struct dm_change_detail, before), .max = VALUE_MAX,
     .doc = "Value before; left out when there was none."},
    {"after", DM_FIELD_JSON, 0, DM_AT(struct dm_change_detail, after), .max = VALUE_MAX,
     .doc = "Value after; left out when there is none."},
};

const struct dm_schema dm_schema_change_detail = {
    .name = "ChangeDetail",
    .doc = "One difference.",
    DM_FIELDS(detail_fields),
    .struct_bytes = sizeof(struct dm_change_detail),
};

static const struct dm_field fields[] = {
    {"sequence", DM_FIELD_INT, DM_FIELD_REQUIRED, DM_AT(struct dm_change, sequence), .max = INT64_MAX,
     .doc = "Number of the change: in a tenant's list among its own, in the platform's among all."},
    {"at", DM_FIELD_STRING, DM_FIELD_REQUIRED, DM_AT(struct dm_change, at), .max = 20, .format = &dm_format_time,
     .doc = "When."},
    {"actor", DM_FIELD_STRING, DM_FIELD_REQUIRED, DM_AT(struct dm_change, actor), .max = DM_TEXT_MAX,
     .format = &dm_format_text, .doc = "Name of the token that made it."},
    {"tenant", DM_FIELD_STRING, DM_FIELD_UNSET, DM_AT(struct dm_change, tenant), .max = 63, .format = &dm_format_tenant,
     .doc = "Whose it is. Left out: the platform's."},
    {"action", DM_FIELD_ENUM, DM_FIELD_REQUIRED, DM_AT(struct dm_change, action), .names = dm_change_action_names,
     .doc = "What was done."},
    {"kind", DM_FIELD_STRING, DM_FIELD_REQUIRED, DM_AT(struct dm_change, kind), .max = DM_NAME_MAX,
     .format = &dm_format_name, .doc = "Kind of resource: `product`, `backend`, …"},
    {"name", DM_FIELD_STRING, DM_FIELD_REQUIRED, DM_AT(struct dm_change, name), .max = DM_NAME_MAX,
     .format = &dm_format_text, .doc = "Name of the resource."},
    {"request_id", DM_FIELD_STRING, DM_FIELD_UNSET, DM_AT(struct dm_change, request_id), .max = DM_NAME_MAX,
     .format = &dm_format_text, .doc = "Id of the request that made it."},
    {"details", DM_FIELD_ARRAY, 0, DM_AT_ARRAY(struct dm_change, details), .max = DM_CHANGE_DETAILS_MAX,
     .sub = &dm_schema_change_detail, .doc = "What is different."},
    {"hash", DM_FIELD_STRING, DM_FIELD_UNSET, DM_AT(struct dm_change, hash), .max = 64, .format = &dm_format_text,
     .doc = "BLAKE2b-256 over the hash of the change before and this one, in hexadecimal: the chain of changes. In "
            "the platform's list alone."},
};

const struct dm_schema dm_schema_change = {
    .name = "Change",
    .doc = "A change record: one for each write that was acknowledged.",
    DM_FIELDS(fields),
    .struct_bytes = sizeof(struct dm_change),
};
