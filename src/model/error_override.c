#include "model/error_override.h"
#include "model/field.h"
#include "model/format.h"
#include "model/reason.h"

static void check_override(const void *object, struct dm_check *check)
{
    const struct dm_error_override *error = object;
    enum dm_reason reason = dm_reason_of(error->reason);
    const char *near = dm_names_near(dm_reason_worded, error->reason);
    char shown[DM_SHOW_MAX];

    if (reason == DM_REASON_NONE)
        dm_check_fail(check, "", near ? "unknown reason %s, did you mean '%s'?" : "unknown reason %s",
                      dm_show(error->reason, shown), near);
    else if (!dm_reason_info(reason)->is_worded)
        dm_check_fail(check, "", "must not reword '%s', which is answered before a version is known",
                      dm_reason_info(reason)->code);
    else if (error->content_type.len > 0 && error->body.len == 0)
        dm_check_fail(check, "/content_type", "must come with a body");
    else if (error->status == 0 && error->body.len == 0)
        dm_check_fail(check, "", "must have a status or a body");
}

static const struct dm_field fields[] = {
    {"reason", DM_FIELD_STRING, DM_FIELD_REQUIRED | DM_FIELD_KEY, DM_AT(struct dm_error_override, reason), .min = 1,
     .max = DM_NAME_MAX, .doc = "The reason."},
    {"status", DM_FIELD_INT, DM_FIELD_UNSET, DM_AT(struct dm_error_override, status), .min = 400, .max = 599,
     .doc = "Status of the answer. Left out: the reason's own."},
    {"content_type", DM_FIELD_STRING, DM_FIELD_UNSET, DM_AT(struct dm_error_override, content_type), .max = 128,
     .format = &dm_format_media_type, .doc = "Type of the body. Left out: text/plain; charset=utf-8."},
    {"body", DM_FIELD_STRING, DM_FIELD_UNSET, DM_AT(struct dm_error_override, body), .max = DM_ERROR_BODY_MAX,
     .format = &dm_format_text_body, .doc = "Body, as it stands. Left out or empty: problem details (RFC 9457)."},
};

const struct dm_schema dm_schema_error_override = {
    .name = "ErrorOverride",
    .doc = "How a version words an answer that the gateway makes itself.",
    DM_FIELDS(fields),
    .struct_bytes = sizeof(struct dm_error_override),
    .validate = check_override,
};
