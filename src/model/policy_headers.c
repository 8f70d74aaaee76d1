#include "model/policy_int.h"

const char *const dm_header_op_names[] = {"set", "add", "push", "delete", NULL};

static void check_op(const void *object, struct dm_check *check)
{
    const struct dm_header_op *op = object;

    if (op->op == DM_HEADER_DELETE && op->value.len > 0)
        dm_check_fail(check, "/value", "must be left out when op is 'delete'");
    else if (op->op != DM_HEADER_DELETE && op->value.len == 0)
        dm_check_fail(check, "", "member 'value' is required when op is '%s'", dm_header_op_names[op->op]);
}

static const struct dm_field op_fields[] = {
    {"op", DM_FIELD_ENUM, DM_FIELD_REQUIRED, DM_AT(struct dm_header_op, op), .names = dm_header_op_names,
     .doc =
         "`set` leaves one field with this value, `add` adds one if there is one already, `push` adds one in any case, "
         "`delete` leaves none."},
    {"name", DM_FIELD_STRING, DM_FIELD_REQUIRED, DM_AT(struct dm_header_op, name), .max = DM_HEADER_NAME_MAX,
     .format = &dm_format_header, .doc = "Name of the header."},
    {"value", DM_FIELD_STRING, DM_FIELD_UNSET, DM_AT(struct dm_header_op, value), .max = DM_HEADER_VALUE_MAX,
     .format = &dm_format_header_value, .doc = "Its value, as it stands."},
};

const struct dm_schema dm_schema_header_op = {
    .name = "HeaderOp",
    .doc = "One change of a header.",
    DM_FIELDS(op_fields),
    .struct_bytes = sizeof(struct dm_header_op),
    .validate = check_op,
};

static const struct dm_field fields[] = {
    DM_POLICY_TYPE_FIELD,
    {"request", DM_FIELD_ARRAY, 0, .offset = offsetof(struct dm_policy, headers.request),
     .count_offset = offsetof(struct dm_policy, headers.n_request), .max = DM_HEADER_OPS_MAX,
     .sub = &dm_schema_header_op, .doc = "Changes of the request, in this order."},
    {"response", DM_FIELD_ARRAY, 0, .offset = offsetof(struct dm_policy, headers.response),
     .count_offset = offsetof(struct dm_policy, headers.n_response), .max = DM_HEADER_OPS_MAX,
     .sub = &dm_schema_header_op, .doc = "Changes of the response, in this order."},
};

const struct dm_schema dm_schema_policy_headers = {
    .name = "PolicyHeaders",
    .doc = "Changes headers of requests and responses.",
    DM_FIELDS(fields),
    .struct_bytes = sizeof(struct dm_policy),
};
