#ifndef DM_SNAPSHOT_COMPILE_INT_H
#define DM_SNAPSHOT_COMPILE_INT_H

#include "model/format.h"
#include "snapshot/compile.h"

/* Each appends its part and gives the offset of its root. */
DM_MUST_USE int dm_compile_release(struct dm_builder *b, const struct dm_release_body *body, dm_off *ret,
                                   struct dm_err *err);
DM_MUST_USE int dm_compile_applications(struct dm_builder *b, const struct dm_applications_body *body, dm_off *ret,
                                        struct dm_err *err);
dm_off dm_compile_grants(struct dm_builder *b, const struct dm_grants_body *body);
DM_MUST_USE int dm_compile_domains(struct dm_builder *b, const struct dm_domains_body *body, dm_off *ret,
                                   struct dm_err *err);
dm_off dm_compile_policy(struct dm_builder *b, const struct dm_policy *policy, uint32_t *ret_type);

/* metric_index tells the index of a metric's name in the product. */
struct dm_metric_names {
    const struct dm_str *names;
    size_t count;
};
DM_MUST_USE int dm_compile_rules(struct dm_builder *b, const struct dm_mapping_rule *rules, size_t n_rules,
                                 const struct dm_metric_names *metrics, dm_off *ret, struct dm_err *err);
/* Index of the name; the model made sure that it is there. */
uint32_t dm_metric_index(const struct dm_metric_names *metrics, struct dm_str name);

/* "product/plan" */
uint64_t dm_plan_id(struct dm_str product, struct dm_str plan);

#endif
