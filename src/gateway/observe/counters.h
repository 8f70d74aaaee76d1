/* Counters that workers keep and the keeper sums: shared pages, one file per worker seat, which outlive both.
 *
 * Each number has one writer, its worker, and is read at any time; a reader may see numbers of one request half counted.
 * A worker that takes over a seat counts on from where the former one stopped, so that sums never go back. */
#ifndef DM_GATEWAY_OBSERVE_COUNTERS_H
#define DM_GATEWAY_OBSERVE_COUNTERS_H

#include "http/server_stats.h"
#include "io/tls.h"
#include "model/listener.h"
#include "model/reason.h"

#define DM_COUNTERS_VERSION 14
#define DM_COUNTERS_TENANTS 16384 /* as DM_WORKER_TENANTS_MAX; pages are touched when used */
#define DM_LATENCY_BUCKETS 20

/* Upper bounds in microseconds of the latency histogram; the last bucket has none. */
extern const uint32_t dm_latency_bounds_us[DM_LATENCY_BUCKETS - 1];

/* X(id, member): caps of a tenant (struct dm_caps) that something can be above */
#define DM_CAPS(X)                                                                                                     \
    X(CONNECTIONS, connections)                                                                                        \
    X(EXCHANGES, exchanges)                                                                                            \
    X(BUFFERED_BYTES, buffered_bytes)                                                                                  \
    X(UPSTREAM_CONNECTIONS, upstream_connections)                                                                      \
    X(STREAMS, streams)                                                                                                \
    X(HEADER_BYTES, header_bytes)                                                                                      \
    X(HEADERS, headers)                                                                                                \
    X(URL_BYTES, url_bytes)                                                                                            \
    X(BODY_BYTES, body_bytes)                                                                                          \
    X(HANDSHAKES, handshakes)

enum dm_cap {
#define DM_CAP_ENUM(id, member) DM_CAP_##id,
    DM_CAPS(DM_CAP_ENUM)
#undef DM_CAP_ENUM
        DM_CAP_COUNT
};
/* The member's name. */
const char *dm_cap_name(enum dm_cap cap);

/* X(id, member): caps that a request waits at for room; backend: no cap of the tenant's, but what a backend can do at a time */
#define DM_WAITS(X)                                                                                                    \
    X(EXCHANGES, exchanges)                                                                                            \
    X(UPSTREAM_CONNECTIONS, upstream_connections)                                                                      \
    X(BACKEND, backend)

enum dm_wait {
#define DM_WAIT_ENUM(id, member) DM_WAIT_##id,
    DM_WAITS(DM_WAIT_ENUM)
#undef DM_WAIT_ENUM
        DM_WAIT_COUNT
};
/* The cap's name. */
const char *dm_wait_name(enum dm_wait wait);

struct dm_tenant_counters {
    uint64_t connections, upstream_connections; /* open now */
    uint64_t buffered_bytes;                    /* held now */
    uint64_t refused[DM_CAP_COUNT];             /* connections, requests and streams above a cap */
    uint64_t timeouts[DM_HTTP_TIMEOUT_COUNT];   /* on connections of the tenant */
    uint64_t requests;
    uint64_t status[6];                        /* by hundreds; [0] = ended without an answer */
    uint64_t reasons[DM_REASON_COUNT];         /* answers that the gateway made itself */
    struct dm_stream_traffic client, upstream; /* bytes on the wire, with clients and backends */
    uint64_t compression_bytes_in, compression_bytes_out;
    uint64_t compression_skipped; /* for want of memory */
    uint64_t upstream_connects, upstream_reuses, upstream_failures, upstream_retries;
    uint64_t upstream_tls_failures[DM_TLS_REASON_COUNT];
    uint64_t exchanges_begun, exchanges_ended; /* in flight = the difference */
    uint64_t tunnels_begun, tunnels_ended;     /* open = the difference */
    uint64_t latency_us_sum;
    uint64_t latency[DM_LATENCY_BUCKETS];
    uint64_t upstream_latency_us_sum;
    uint64_t upstream_latency[DM_LATENCY_BUCKETS];
    uint64_t cpu_ns;                  /* of its work */
    uint64_t circuits_open;           /* backends whose circuit is not closed, now */
    uint64_t circuit_changes[3];      /* by the state that began (enum dm_breaker_state) */
    uint64_t upstream_retries_denied; /* above the budget */
    uint64_t endpoints_out;           /* times that one was put out of turn */
    uint64_t waiting[DM_WAIT_COUNT];  /* now; those at `exchanges` are begun, but not in flight */
    uint64_t waits[DM_WAIT_COUNT], waits_expired[DM_WAIT_COUNT];
    uint64_t wait_us_sum;
    uint64_t wait[DM_LATENCY_BUCKETS];
    uint64_t queue_delay_us_sum; /* of the tasks that were followed (io/overload.h) */
    uint64_t queue_delay[DM_LATENCY_BUCKETS];
    uint64_t shed_requests, shed_handshakes; /* refused because its work waited too long */
    uint64_t handshakes;                     /* of TLS, begun for its domains */
    uint64_t bandwidth_waits[2];             /* of bodies, by direction (enum dm_bandwidth_way) */
    uint64_t checks[3];                      /* of endpoints' health, by what they said (enum dm_check_verdict) */
    uint64_t health_changes[2];              /* of verdicts: to well, to unwell */
    uint64_t endpoints_unhealthy;            /* that this worker has put out of turn for it, now */
    uint64_t fallback_answers;
    uint64_t timers;               /* that came due */
    uint64_t handed_over, relayed; /* connections and exchanges that went to its cell */
    uint64_t limited_calls;        /* now, to backends with a limit of calls at a time */
};

struct dm_worker_counters {
    uint64_t connections_accepted, connections_open;
    uint64_t faults; /* requests that were none */
    uint64_t unknown_host;
    uint64_t loop_turns, loop_busy_ns, loop_longest_turn_ns, loop_lag_ns;
    uint64_t log_lines, log_dropped;
    uint64_t memory_calls; /* of the system allocator */
    uint64_t started_at;   /* Unix seconds */
    uint64_t units_applied, units_refused;
    uint64_t limit_slots_used, limit_table_full;
    /* what backends of HTTP/2 did (struct dm_http_client_counters) */
    uint64_t backend_floods, backend_header_bombs, backend_malformed, backend_silent, backend_going, backend_refused;
    uint64_t tls_handshakes, tls_resumed; /* full ones, and those by a ticket, that a request followed */
    uint64_t tls_failures[DM_TLS_REASON_COUNT];
    uint64_t platform_cpu_ns, lobby_cpu_ns; /* of nobody's work, and of connections that are nobody's (yet) */
    uint64_t loop_longest_task_ns;
    uint64_t lobby_delay_ns;        /* the longest that its work waited, lately */
    struct dm_stream_traffic lobby; /* of connections that are nobody's (yet), but for trusted fronts' */
    uint64_t lobby_buffered_bytes;  /* held now */
    uint64_t lobby_timers, platform_timers;
};

/* Of a listener, by its place among the options. A page outlives them: they are of the listener that is named. */
struct dm_listener_counters {
    char name[DM_ADDR_TEXT_MAX];
    struct dm_http_server_stats stats;
    uint64_t lobby_connections, lobby_sources; /* now (gateway/lobby.h) */
};

struct dm_counters_page {
    struct dm_worker_counters worker;
    struct dm_listener_counters listeners[DM_LISTENERS_MAX];
    struct dm_tenant_counters tenants[DM_COUNTERS_TENANTS];
};

/* As much of a page as a worker of one tenant has, which is the first in it. */
#define DM_COUNTERS_CELL_BYTES (offsetof(struct dm_counters_page, tenants) + sizeof(struct dm_tenant_counters))

/* Takes the place for the listener: what another one counted there is forgotten. */
void dm_listener_counters_take(struct dm_listener_counters *counters, const struct dm_listener_spec *spec);
/* The process that kept them is gone, and with it its connections and what it had in flight. n_tenants: slots in use. */
void dm_counters_close(struct dm_counters_page *page, size_t n_tenants);

/* Bucket of a latency. */
unsigned dm_latency_bucket(uint64_t us);

#endif
