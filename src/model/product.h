/* The API that a tenant offers. */
#ifndef DM_MODEL_PRODUCT_H
#define DM_MODEL_PRODUCT_H

#include "base/str.h"
#include "model/metric.h"
#include "model/plan.h"
#include "model/version.h"

struct dm_schema;

struct dm_product {
    struct dm_str name;
    struct dm_str description;
    struct dm_str *domains;
    size_t n_domains;
    struct dm_metric *metrics; /* `hits` need not be listed */
    size_t n_metrics;
    struct dm_version *versions;
    size_t n_versions;
    struct dm_plan *plans;
    size_t n_plans;
};

#define DM_PRODUCT_DOMAINS_MAX 64

extern const struct dm_schema dm_schema_product;

/* The metric of this name, `hits` included; NULL when there is none. Static or the product's. */
const struct dm_metric *dm_product_metric(const struct dm_product *product, struct dm_str name);
const struct dm_plan *dm_product_plan(const struct dm_product *product, struct dm_str name);
const struct dm_version *dm_product_version(const struct dm_product *product, struct dm_str name);

#endif
