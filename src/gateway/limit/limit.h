/* May this application count this usage under its plan? All limits of the plan that the usage touches, or none. */
#ifndef DM_GATEWAY_LIMIT_LIMIT_H
#define DM_GATEWAY_LIMIT_LIMIT_H

#include "gateway/limit/period.h"
#include "gateway/limit/table.h"
#include "model/reason.h"
#include "snapshot/release.h"
#include "snapshot/rules.h"

struct dm_limits {
    struct dm_limit_table table;
    struct dm_periods periods;
};

struct dm_limit_verdict {
    enum dm_reason reason; /* NONE: counted; RATE_LIMITED or LIMIT_EXCEEDED: nothing was counted */
    uint32_t metric;       /* of the limit that was hit */
    uint32_t period;       /* enum dm_period, with LIMIT_EXCEEDED */
    uint64_t limit;
    uint64_t retry_after_s;
};

void dm_limits_take(struct dm_limits *limits, const struct dm_unit *release, const struct dm_uplan *plan,
                    uint64_t tenant_id, uint64_t application_id, const struct dm_usage *usage, uint64_t wall_ns,
                    struct dm_limit_verdict *ret);

#endif
