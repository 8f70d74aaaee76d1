/* The gateway's Prometheus text (exposition format 0.0.4): what workers count in their pages, summed, and what the keeper
 * knows itself. No I/O; the caller fills a view. */
#ifndef DM_GATEWAY_OBSERVE_METRICS_H
#define DM_GATEWAY_OBSERVE_METRICS_H

#include "base/buf.h"
#include "gateway/observe/counters.h"
#include "model/unit_kind.h"

struct dm_metrics_tenant {
    struct dm_str name;
    uint32_t slot;
    bool is_live;                       /* shown also when nothing was counted */
    struct dm_mark live[DM_UNIT_KINDS]; /* (0, 0): none */
    uint32_t n_refused, n_damaged;      /* of its kinds, now */
    bool has_cell, is_cell_up, is_cell_held_back;
    uint64_t n_cell_crashes;
};

struct dm_metrics_worker {
    struct dm_str cell;                      /* whose worker it is; empty: a shared one */
    unsigned number;                         /* among those */
    const struct dm_counters_page *pages[2]; /* of its two seats; NULL: not there */
    bool is_up;
    uint64_t n_former, n_leaving; /* processes: of another program or other options, and not replaced yet; draining */
    uint64_t n_restarts;
    uint64_t log_lines, log_dropped; /* of the keeper's writer */
};

/* The circuit of a backend that is not as it was at first. */
struct dm_metrics_circuit {
    struct dm_str tenant, backend;
    int state;    /* enum dm_breaker_state */
    double limit; /* of calls at a time; 0: none */
};

struct dm_metrics_view {
    struct dm_str version, gateway;
    const struct dm_metrics_tenant *tenants;
    size_t n_tenants;
    const struct dm_metrics_circuit *circuits;
    size_t n_circuits;
    const struct dm_metrics_worker *workers; /* by slot */
    size_t n_workers;
    const struct dm_listener_spec *listeners;
    size_t n_listeners;
    bool has_link, is_link_up;
    double link_silent_s; /* since the last byte; < 0: there was none */
    uint64_t link_connects;
    uint64_t upgrades_refused, loader_starts, loader_deaths, units_accepted, units_refused, units_mended;
    uint64_t usage_batches, usage_waiting, usage_dropped;
    uint64_t keeper_log_dropped, keeper_memory_calls;
};

/* Appends; ret->failed when it passes its maximum. */
void dm_metrics_write(const struct dm_metrics_view *view, struct dm_buf *ret);

/* A label's value: backslash, quote and line feed escaped. */
void dm_metrics_escape(struct dm_str value, struct dm_buf *ret);

#endif
