/* A tenant: one development team. Owned by the master. */
#ifndef DM_MODEL_TENANT_H
#define DM_MODEL_TENANT_H

#include "base/str.h"

struct dm_schema;

enum dm_state { DM_STATE_ACTIVE, DM_STATE_SUSPENDED };
extern const char *const dm_state_names[];

/* Hard caps per gateway; 0 = derived from the listeners, or the listener's, but for the queue, handshakes and bandwidth. */
struct dm_caps {
    int64_t connections; /* client connections */
    int64_t exchanges;   /* in flight */
    int64_t buffered_bytes;
    int64_t upstream_connections;
    int64_t handshakes;                              /* of TLS, a second */
    int64_t bandwidth_in_bytes, bandwidth_out_bytes; /* a second */
    int64_t queue, queue_ms; /* of requests above exchanges and upstream_connections; 0 = none waits */
    /* of one request or connection; never above what the listener allows */
    int64_t header_bytes;
    int64_t headers;
    int64_t url_bytes;
    int64_t body_bytes;
    int64_t streams; /* of one HTTP/2 connection */
    int64_t idle_timeout_ms;
    int64_t head_timeout_ms;
    int64_t body_timeout_ms;
    int64_t body_rate_bytes; /* a second */
};

/* Whose worker processes serve it: all tenants' together, or its own, which are its cell. */
enum dm_tenancy { DM_TENANCY_SHARED, DM_TENANCY_DEDICATED };
extern const char *const dm_tenancy_names[];

/* On each gateway; 0 = no bound of its own. */
struct dm_cell {
    int64_t workers;      /* processes */
    int64_t cpu_percent;  /* of one core, all its processes together */
    int64_t cpu_weight;   /* among the cells */
    int64_t memory_bytes; /* all its processes together */
};

struct dm_tenant {
    int64_t id; /* read-only, never reused; 0 = not shown */
    struct dm_str name;
    struct dm_str description;
    int state; /* enum dm_state */
    int64_t weight;
    struct dm_caps caps;
    int tenancy; /* enum dm_tenancy */
    struct dm_cell cell;
    struct dm_str compat_date; /* "" = the date of creation */
    struct dm_str created_at;  /* read-only */
};

#define DM_WEIGHT_DEFAULT 100
#define DM_CELL_WORKERS_MAX 32
#define DM_CELL_CPU_WEIGHT_DEFAULT 100
#define DM_QUEUE_DEFAULT 100
#define DM_QUEUE_MS_DEFAULT 1000

extern const struct dm_schema dm_schema_caps;
extern const struct dm_schema dm_schema_cell;
extern const struct dm_schema dm_schema_tenant;

#endif
