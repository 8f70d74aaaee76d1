/* An application plan of a product: how much its subscribers may use. */
#ifndef DM_MODEL_PLAN_H
#define DM_MODEL_PLAN_H

#include "base/str.h"

struct dm_schema;

enum dm_period {
    DM_PERIOD_MINUTE,
    DM_PERIOD_HOUR,
    DM_PERIOD_DAY,
    DM_PERIOD_WEEK, /* from Monday */
    DM_PERIOD_MONTH,
    DM_PERIOD_YEAR,
    DM_PERIOD_ETERNITY,
};
extern const char *const dm_period_names[];

/* At most `value` of the metric in a calendar period (UTC); over it: limit_exceeded. 0 closes the metric. */
struct dm_limit {
    struct dm_str metric;
    int period; /* enum dm_period */
    int64_t value;
};

enum dm_rate_unit { DM_RATE_SECOND, DM_RATE_MINUTE, DM_RATE_HOUR, DM_RATE_DAY };
extern const char *const dm_rate_unit_names[];

/* A token bucket per application: refilled evenly with `rate` units per `per`, holds at most burst; over it:
 * rate_limited. */
struct dm_rate_limit {
    struct dm_str metric;
    int64_t rate;
    int per;       /* enum dm_rate_unit */
    int64_t burst; /* 0 = not given, which is `rate`; read it with dm_rate_limit_burst() */
};

struct dm_plan {
    struct dm_str name;
    struct dm_str description;
    struct dm_limit *limits;
    size_t n_limits;
    struct dm_rate_limit *rate_limits;
    size_t n_rate_limits;
};

#define DM_PLANS_MAX 64
#define DM_PLAN_LIMITS_MAX 128

static inline int64_t dm_rate_limit_burst(const struct dm_rate_limit *limit)
{
    return limit->burst > 0 ? limit->burst : limit->rate;
}

/* Nanoseconds of a unit. */
uint64_t dm_rate_unit_ns(int per);

extern const struct dm_schema dm_schema_limit;
extern const struct dm_schema dm_schema_rate_limit;
extern const struct dm_schema dm_schema_plan;

#endif
