/* Why a request to the control plane was refused, as its caller will read it: a stable reason and the errors with their
 * pointers. By value; zero-initialise before use. */
#ifndef DM_CONTROL_TENANCY_FAILURE_H
#define DM_CONTROL_TENANCY_FAILURE_H

#include "model/field.h"

struct dm_failure {
    const char *reason; /* static; NULL = what follows from the code of the first error */
    struct dm_errs errs;
};

/* Adds an error; the first reason stays. Returns code. */
int dm_failure_add(struct dm_failure *failure, int code, const char *reason, const char *pointer, const char *fmt, ...)
    DM_PRINTF(5, 6);
/* Adds err, whose code is returned. */
int dm_failure_err(struct dm_failure *failure, const char *reason, const struct dm_err *err);
/* The reason, found from the code where none was given: "not_found", "invalid", "forbidden", … */
const char *dm_failure_reason(const struct dm_failure *failure);

#endif
