/* What the files of the metrics share: metrics.c the whole page, metrics_text.c how it is written, and one file for each kind of label. */
#ifndef DM_GATEWAY_OBSERVE_METRICS_INT_H
#define DM_GATEWAY_OBSERVE_METRICS_INT_H

#include "gateway/observe/metrics.h"

struct dm_metrics_family {
    const char *name, *type, *help;
    size_t offset;
    double divide_by; /* 0: a whole number */
};

#define DM_METRICS_SEATS DM_COUNT(((struct dm_metrics_worker *)NULL)->pages)

/* metrics_text.c: a family begins, and each of its samples does and ends. */

void dm_metrics_begin(struct dm_buf *ret, const char *name, const char *type, const char *help);
void dm_metrics_begin_sample(struct dm_buf *ret, const char *name, const char *suffix, const char *label,
                             struct dm_str value);
void dm_metrics_add_label(struct dm_buf *ret, const char *label, const char *value);
void dm_metrics_end_sample(struct dm_buf *ret, uint64_t value);
void dm_metrics_end_sample_real(struct dm_buf *ret, double value);
void dm_metrics_end_family_sample(struct dm_buf *ret, const struct dm_metrics_family *family, uint64_t value);
void dm_metrics_write_one(struct dm_buf *ret, const char *name, const char *type, const char *help, uint64_t value);

/* All families of a kind. */
void dm_metrics_write_tenants(const struct dm_metrics_view *view, struct dm_buf *ret);
void dm_metrics_write_workers(const struct dm_metrics_view *view, struct dm_buf *ret);
void dm_metrics_write_listeners(const struct dm_metrics_view *view, struct dm_buf *ret);

#endif
