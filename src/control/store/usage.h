/* Usage counted by gateways, rolled up by minute. */
#ifndef DM_CONTROL_STORE_USAGE_H
#define DM_CONTROL_STORE_USAGE_H

#include "control/store/tenants.h"

struct dm_usage_row {
    struct dm_str product, metric;
    int64_t application;            /* number of the resource; 0 = none */
    struct dm_str application_name; /* in queries: "" when it is gone */
    int64_t minute;                 /* Unix time / 60 */
    int64_t count;
};

/* Batches may come in any order within this many numbers below the highest; what is further below counts as stored. */
#define DM_USAGE_WINDOW 4096

/* Takes note of a batch of a gateway: 1 when it is new, 0 when it was stored before. */
DM_MUST_USE int dm_usage_batch(struct dm_txn *txn, struct dm_str gateway, uint64_t batch, struct dm_err *err);
/* Adds to what is there. */
DM_MUST_USE int dm_usage_add(struct dm_tenant_handle *handle, const struct dm_usage_row *row, struct dm_err *err);

struct dm_usage_query {
    int64_t from_minute, to_minute;             /* half-open */
    int64_t step_minutes;                       /* sums over steps; 0 = one sum over all */
    struct dm_str product, application, metric; /* DM_STR_NULL = any */
    struct dm_usage_row after;                  /* the row before the first; zeroed = from the start */
};

typedef int (*dm_usage_visit)(void *arg, const struct dm_usage_row *row, struct dm_err *err);
/* One row for each product, application (by number), metric and step, ordered by them; at most limit. row->minute is the
 * step's first. */
DM_MUST_USE int dm_usage_each(struct dm_tenant_handle *handle, const struct dm_usage_query *query, size_t limit,
                              dm_usage_visit visit, void *arg, struct dm_err *err);

#endif
