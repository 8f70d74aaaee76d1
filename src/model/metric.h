/* What is counted and limited. A metric with a parent is a method: counting it counts its parent too. */
#ifndef DM_MODEL_METRIC_H
#define DM_MODEL_METRIC_H

#include "base/str.h"

struct dm_schema;

struct dm_metric {
    struct dm_str name;
    struct dm_str parent; /* "" or "hits" */
    struct dm_str description;
    struct dm_str unit;
};

/* The metric that every product has, listed or not. */
#define DM_METRIC_HITS DM_STR("hits")
#define DM_METRICS_MAX 256

extern const struct dm_schema dm_schema_metric;

#endif
