/* How a version words an answer that the gateway makes itself, by reason. */
#ifndef DM_MODEL_ERROR_OVERRIDE_H
#define DM_MODEL_ERROR_OVERRIDE_H

#include "base/str.h"

struct dm_schema;

struct dm_error_override {
    struct dm_str reason;       /* the member's name; a reason that may be worded (dm_reason_info.is_worded) */
    int64_t status;             /* 0 = the reason's own */
    struct dm_str content_type; /* "" = text/plain; charset=utf-8 */
    struct dm_str body;         /* "" = problem details as always */
};

#define DM_ERROR_BODY_MAX 16384

extern const struct dm_schema dm_schema_error_override;

#endif
