#include "model/policy_int.h"

static void check_cors(const void *object, struct dm_check *check)
{
    const struct dm_policy_cors *cors = &((const struct dm_policy *)object)->cors;

    for (size_t i = 0; i < cors->n_allow_origins; i++) {
        char sub[64];

        if (!dm_str_eq(cors->allow_origins[i], DM_STR("*")))
            continue;
        snprintf(sub, sizeof(sub), "/allow_origins/%zu", i);
        if (cors->n_allow_origins > 1)
            dm_check_fail(check, sub, "must be the only item when it is '*'");
        else if (cors->allow_credentials)
            dm_check_fail(check, sub, "must be an origin when allow_credentials is true, found '*'");
    }
}

#define LIST(member)                                                                                                   \
    .offset = offsetof(struct dm_policy, cors.member), .count_offset = offsetof(struct dm_policy, cors.n_##member),    \
    .max = DM_CORS_LIST_MAX

static const struct dm_field fields[] = {
    DM_POLICY_TYPE_FIELD,
    {"allow_origins", DM_FIELD_STRINGS, DM_FIELD_REQUIRED | DM_FIELD_UNIQUE, LIST(allow_origins), .min = 1,
     .item_max = DM_HOST_NAME_MAX + 16, .format = &dm_format_origin,
     .doc = "Origins whose pages may call, or `*` alone."},
    {"allow_methods", DM_FIELD_STRINGS, DM_FIELD_UNIQUE, LIST(allow_methods), .item_max = 32,
     .format = &dm_format_method, .doc = "Methods they may use. Left out: what the preflight asks for."},
    {"allow_headers", DM_FIELD_STRINGS, DM_FIELD_UNIQUE, LIST(allow_headers), .item_max = DM_HEADER_NAME_MAX,
     .format = &dm_format_header_name, .doc = "Headers they may send. Left out: what the preflight asks for."},
    {"expose_headers", DM_FIELD_STRINGS, DM_FIELD_UNIQUE, LIST(expose_headers), .item_max = DM_HEADER_NAME_MAX,
     .format = &dm_format_header_name, .doc = "Response headers that their scripts may read."},
    {"allow_credentials", DM_FIELD_BOOL, 0, DM_AT(struct dm_policy, cors.allow_credentials),
     .doc = "Cookies and Authorization may be sent along."},
    {"max_age_s", DM_FIELD_INT, DM_FIELD_UNSET, DM_AT(struct dm_policy, cors.max_age_s), .min = 0, .max = 86400,
     .def_int = -1, .doc = "How long a browser may keep the answer to a preflight. Left out: the browser's own time."},
};

const struct dm_schema dm_schema_policy_cors = {
    .name = "PolicyCors",
    .doc =
        "Answers preflights and marks responses, so that web pages of other origins may call (Fetch standard). A request "
        "without Origin is left alone.",
    DM_FIELDS(fields),
    .struct_bytes = sizeof(struct dm_policy),
    .validate = check_cors,
};
