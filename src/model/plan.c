#include "model/plan.h"
#include "model/field.h"
#include "model/format.h"

const char *const dm_period_names[] = {"minute", "hour", "day", "week", "month", "year", "eternity", NULL};
const char *const dm_rate_unit_names[] = {"second", "minute", "hour", "day", NULL};

uint64_t dm_rate_unit_ns(int per)
{
    static const uint64_t seconds[] = {1, 60, 3600, 86400};

    return seconds[per] * 1000000000u;
}

#define COUNT_MAX INT64_C(1000000000000)

static const struct dm_field limit_fields[] = {
    {"metric", DM_FIELD_STRING, 0, DM_AT(struct dm_limit, metric), .max = DM_NAME_MAX, .def_str = "hits",
     .format = &dm_format_metric, .doc = "What is limited. A limit of `hits` counts its methods too."},
    {"period", DM_FIELD_ENUM, DM_FIELD_REQUIRED, DM_AT(struct dm_limit, period), .names = dm_period_names,
     .doc = "Calendar period in UTC; a week begins on Monday."},
    {"value", DM_FIELD_INT, DM_FIELD_REQUIRED, DM_AT(struct dm_limit, value), .max = COUNT_MAX,
     .doc = "At most this many in a period; 0 closes the metric. Over it: `limit_exceeded`."},
};

const struct dm_schema dm_schema_limit = {
    .name = "Limit",
    .doc = "How much of a metric an application may use in a calendar period.",
    DM_FIELDS(limit_fields),
    .struct_bytes = sizeof(struct dm_limit),
};

static const struct dm_field rate_limit_fields[] = {
    {"metric", DM_FIELD_STRING, 0, DM_AT(struct dm_rate_limit, metric), .max = DM_NAME_MAX, .def_str = "hits",
     .format = &dm_format_metric, .doc = "What is limited."},
    {"rate", DM_FIELD_INT, DM_FIELD_REQUIRED, DM_AT(struct dm_rate_limit, rate), .min = 1, .max = COUNT_MAX,
     .doc = "How many units come back per `per`, evenly."},
    {"per", DM_FIELD_ENUM, 0, DM_AT(struct dm_rate_limit, per), .names = dm_rate_unit_names,
     .doc = "Unit of time of `rate`."},
    {"burst", DM_FIELD_INT, DM_FIELD_UNSET, DM_AT(struct dm_rate_limit, burst), .min = 1, .max = COUNT_MAX,
     .doc = "How many may come at once after a quiet time (the size of the token bucket). Left out, it is `rate`."},
};

const struct dm_schema dm_schema_rate_limit = {
    .name = "RateLimit",
    .doc = "A token bucket per application. When it is empty: `rate_limited`.",
    DM_FIELDS(rate_limit_fields),
    .struct_bytes = sizeof(struct dm_rate_limit),
};

static void check_limits(const struct dm_plan *plan, struct dm_check *check)
{
    for (size_t i = 1; i < plan->n_limits; i++) {
        const struct dm_limit *limit = &plan->limits[i];

        for (size_t j = 0; j < i; j++) {
            char sub[64];

            if (plan->limits[j].period != limit->period || !dm_str_eq(plan->limits[j].metric, limit->metric))
                continue;
            snprintf(sub, sizeof(sub), "/limits/%zu", i);
            dm_check_fail(check, sub, "must be unique, but a limit of '%.*s' per %s stands in item %zu already",
                          DM_STR_ARG(limit->metric), dm_period_names[limit->period], j);
            break;
        }
    }
}

static void check_rate_limits(const struct dm_plan *plan, struct dm_check *check)
{
    for (size_t i = 1; i < plan->n_rate_limits; i++) {
        const struct dm_rate_limit *limit = &plan->rate_limits[i];

        for (size_t j = 0; j < i; j++) {
            char sub[64];

            if (plan->rate_limits[j].per != limit->per || !dm_str_eq(plan->rate_limits[j].metric, limit->metric))
                continue;
            snprintf(sub, sizeof(sub), "/rate_limits/%zu", i);
            dm_check_fail(check, sub, "must be unique, but a rate limit of '%.*s' per %s stands in item %zu already",
                          DM_STR_ARG(limit->metric), dm_rate_unit_names[limit->per], j);
            break;
        }
    }
}

static void check_plan(const void *object, struct dm_check *check)
{
    check_limits(object, check);
    check_rate_limits(object, check);
}

static const struct dm_field fields[] = {
    {"name", DM_FIELD_STRING, DM_FIELD_REQUIRED | DM_FIELD_IDENTITY, DM_AT(struct dm_plan, name), .max = DM_NAME_MAX,
     .format = &dm_format_name, .doc = "Name, unique in the product."},
    {"description", DM_FIELD_STRING, 0, DM_AT(struct dm_plan, description), .max = DM_TEXT_MAX,
     .format = &dm_format_text, .doc = "Whom it is for."},
    {"limits", DM_FIELD_ARRAY, 0, DM_AT_ARRAY(struct dm_plan, limits), .max = DM_PLAN_LIMITS_MAX,
     .sub = &dm_schema_limit, .doc = "Usage limits; all of them hold."},
    {"rate_limits", DM_FIELD_ARRAY, 0, DM_AT_ARRAY(struct dm_plan, rate_limits), .max = DM_PLAN_LIMITS_MAX,
     .sub = &dm_schema_rate_limit, .doc = "Rate limits; all of them hold."},
};

const struct dm_schema dm_schema_plan = {
    .name = "Plan",
    .doc = "An application plan: how much its subscribers may use.",
    DM_FIELDS(fields),
    .struct_bytes = sizeof(struct dm_plan),
    .validate = check_plan,
};
