#include "model/product.h"
#include "model/field.h"
#include "model/format.h"

static const struct dm_metric hits = {{"hits", 4}, {"", 0}, {"", 0}, {"hit", 3}};

const struct dm_metric *dm_product_metric(const struct dm_product *product, struct dm_str name)
{
    for (size_t i = 0; i < product->n_metrics; i++) {
        if (dm_str_eq(product->metrics[i].name, name))
            return &product->metrics[i];
    }
    return dm_str_eq(name, DM_METRIC_HITS) ? &hits : NULL;
}

const struct dm_plan *dm_product_plan(const struct dm_product *product, struct dm_str name)
{
    for (size_t i = 0; i < product->n_plans; i++) {
        if (dm_str_eq(product->plans[i].name, name))
            return &product->plans[i];
    }
    return NULL;
}

const struct dm_version *dm_product_version(const struct dm_product *product, struct dm_str name)
{
    for (size_t i = 0; i < product->n_versions; i++) {
        if (dm_str_eq(product->versions[i].name, name))
            return &product->versions[i];
    }
    return NULL;
}

static void check_metric(const struct dm_product *product, struct dm_str name, struct dm_check *check, const char *sub)
{
    const char *names[DM_METRICS_MAX + 2] = {"hits"}, *near;
    char texts[DM_METRICS_MAX][DM_NAME_MAX + 1], shown[DM_SHOW_MAX];

    if (dm_product_metric(product, name))
        return;
    for (size_t i = 0; i < product->n_metrics; i++) {
        snprintf(texts[i], sizeof(texts[i]), "%.*s", DM_STR_ARG(product->metrics[i].name));
        names[i + 1] = texts[i];
    }
    near = dm_names_near(names, name);
    dm_check_fail(check, sub,
                  near ? "no metric %s in this product, did you mean '%s'?" : "no metric %s in this product",
                  dm_show(name, shown), near);
}

static void check_version(const struct dm_product *product, const struct dm_version *version, struct dm_check *check)
{
    for (size_t i = 0; i < version->n_mapping_rules; i++) {
        char sub[64];

        snprintf(sub, sizeof(sub), "/mapping_rules/%zu/metric", i);
        check_metric(product, version->mapping_rules[i].metric, check, sub);
    }
}

static void check_plan(const struct dm_product *product, const struct dm_plan *plan, struct dm_check *check)
{
    char sub[64];

    for (size_t i = 0; i < plan->n_limits; i++) {
        snprintf(sub, sizeof(sub), "/limits/%zu/metric", i);
        check_metric(product, plan->limits[i].metric, check, sub);
    }
    for (size_t i = 0; i < plan->n_rate_limits; i++) {
        snprintf(sub, sizeof(sub), "/rate_limits/%zu/metric", i);
        check_metric(product, plan->rate_limits[i].metric, check, sub);
    }
}

static void check_paths(const struct dm_product *product, struct dm_check *check)
{
    for (size_t i = 1; i < product->n_versions; i++) {
        for (size_t j = 0; j < i; j++) {
            char sub[64], shown[DM_SHOW_MAX];

            if (!dm_str_eq(product->versions[i].path, product->versions[j].path))
                continue;
            snprintf(sub, sizeof(sub), "/versions/%zu", i);
            dm_check_fail(check, sub, "must have a path of its own, but %s is the path of version '%.*s' already",
                          dm_show(product->versions[i].path, shown), DM_STR_ARG(product->versions[j].name));
            break;
        }
    }
}

static void check_product(const void *object, struct dm_check *check)
{
    const struct dm_product *product = object;
    size_t mark;

    check_paths(product, check);
    for (size_t i = 0; i < product->n_versions; i++) {
        mark = dm_check_enter(check, "/versions/%zu", i);
        check_version(product, &product->versions[i], check);
        dm_check_leave(check, mark);
    }
    for (size_t i = 0; i < product->n_plans; i++) {
        mark = dm_check_enter(check, "/plans/%zu", i);
        check_plan(product, &product->plans[i], check);
        dm_check_leave(check, mark);
    }
}

static const struct dm_field fields[] = {
    {"name", DM_FIELD_STRING, DM_FIELD_REQUIRED | DM_FIELD_IDENTITY, DM_AT(struct dm_product, name), .max = DM_NAME_MAX,
     .format = &dm_format_name, .doc = "Name, unique in the tenant."},
    {"description", DM_FIELD_STRING, 0, DM_AT(struct dm_product, description), .max = DM_TEXT_MAX,
     .format = &dm_format_text, .doc = "What people should know about it."},
    {"domains", DM_FIELD_STRINGS, DM_FIELD_UNIQUE, DM_AT_ARRAY(struct dm_product, domains),
     .max = DM_PRODUCT_DOMAINS_MAX, .item_max = DM_HOST_NAME_MAX, .format = &dm_format_domain,
     .doc = "Host names it answers on; each must lie within the tenant's grants."},
    {"metrics", DM_FIELD_ARRAY, 0, DM_AT_ARRAY(struct dm_product, metrics), .max = DM_METRICS_MAX,
     .sub = &dm_schema_metric, .doc = "What is counted, besides `hits`."},
    {"versions", DM_FIELD_ARRAY, 0, DM_AT_ARRAY(struct dm_product, versions), .max = DM_VERSIONS_MAX,
     .sub = &dm_schema_version, .doc = "Its versions, each independent of the others."},
    {"plans", DM_FIELD_ARRAY, 0, DM_AT_ARRAY(struct dm_product, plans), .max = DM_PLANS_MAX, .sub = &dm_schema_plan,
     .doc = "Plans that applications subscribe to."},
};

const struct dm_schema dm_schema_product = {
    .name = "Product",
    .doc = "The API that a tenant offers.",
    DM_FIELDS(fields),
    .struct_bytes = sizeof(struct dm_product),
    .validate = check_product,
};
