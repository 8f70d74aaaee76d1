/* What the controller counts about itself, in Prometheus' text format. Threads: any. */
#ifndef DM_CONTROL_API_METRICS_H
#define DM_CONTROL_API_METRICS_H

#include "base/buf.h"

struct dm_metrics;

struct dm_metrics *dm_metrics_new(size_t n_routes);
void dm_metrics_free(struct dm_metrics *metrics);
/* route: dm_route_index, or n_routes for requests that met none. */
void dm_metrics_count(struct dm_metrics *metrics, size_t route, unsigned status, uint64_t duration_ns);
/* Jobs that the pool has in hand. */
void dm_metrics_set_jobs(struct dm_metrics *metrics, size_t jobs);
/* route_label gives "METHOD path" of an index. */
void dm_metrics_write(struct dm_metrics *metrics, void (*route_label)(size_t route, struct dm_buf *ret),
                      struct dm_buf *ret);

#endif
