#include <stdarg.h>

#include "control/tenancy/failure.h"

int dm_failure_err(struct dm_failure *failure, const char *reason, const struct dm_err *err)
{
    if (failure->reason == NULL)
        failure->reason = reason;
    return dm_errs_add(&failure->errs, err->code, err->pointer, "%s", err->message);
}

int dm_failure_add(struct dm_failure *failure, int code, const char *reason, const char *pointer, const char *fmt, ...)
{
    struct dm_err err = {.code = code};
    va_list args;

    va_start(args, fmt);
    vsnprintf(err.message, sizeof(err.message), fmt, args);
    va_end(args);
    snprintf(err.pointer, sizeof(err.pointer), "%s", pointer);
    return dm_failure_err(failure, reason, &err);
}

const char *dm_failure_reason(const struct dm_failure *failure)
{
    if (failure->reason != NULL)
        return failure->reason;
    switch (dm_errs_code(&failure->errs)) {
    case DM_EINVAL: return "invalid";
    case DM_ENOENT: return "not_found";
    case DM_EEXIST: return "exists";
    case DM_ECONFLICT: return "conflict";
    case DM_EPERM: return "forbidden";
    case DM_EBUDGET: return "too_large";
    default: return "store_failed";
    }
}
