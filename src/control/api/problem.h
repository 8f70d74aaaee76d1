/* Refusals as problem details (RFC 9457): type, title, status, detail, and reason, request_id, errors [{pointer, detail}]. */
#ifndef DM_CONTROL_API_PROBLEM_H
#define DM_CONTROL_API_PROBLEM_H

#include "control/tenancy/failure.h"

struct dm_buf;

/* The status of a reason; 500 for one that is not in the table. */
unsigned dm_problem_status(const char *reason);
void dm_problem_write(const struct dm_failure *failure, struct dm_str request_id, struct dm_buf *ret);

#endif
