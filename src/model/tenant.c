#include "model/tenant.h"
#include "model/listener.h"
#include "model/field.h"
#include "model/format.h"

const char *const dm_state_names[] = {"active", "suspended", NULL};
const char *const dm_tenancy_names[] = {"shared", "dedicated", NULL};

static const struct dm_field caps_fields[] = {
    {"connections", DM_FIELD_INT, 0, DM_AT(struct dm_caps, connections), .max = 1000000,
     .doc = "Client connections open. Beyond: 503 `too_many_connections` and closed; with TLS the handshake is refused "
            "(alert `internal_error`). 0: its share of the listener's, in each worker process: "
            "3w / (3w + 100) of them, where w is the weight (three quarters with 100)."},
    {"exchanges", DM_FIELD_INT, 0, DM_AT(struct dm_caps, exchanges), .max = 1000000,
     .doc =
         "Requests in flight, tunnels among them. Beyond: wait (`queue`), then 503 `tenant_over_cap`. 0: its share (as of `connections`) of the connections "
         "of all listeners, at least of 1334, in each worker process."},
    {"buffered_bytes", DM_FIELD_INT, 0, DM_AT(struct dm_caps, buffered_bytes), .max = INT64_C(1) << 40,
     .doc =
         "Memory of buffers: what clients and backends sent and the other side has not taken yet, and what waits to be sent. "
         "Beyond: 503 `tenant_over_cap` for requests that begin, until less is held; those under way go on. 0: no bound."},
    {"upstream_connections", DM_FIELD_INT, 0, DM_AT(struct dm_caps, upstream_connections), .max = 1000000,
     .doc = "Connections to backends. Beyond, an idle one makes way; where there is none: wait (`queue`), then 503 "
            "`tenant_over_cap`. 0: as for `exchanges`."},
    {"handshakes", DM_FIELD_INT, 0, DM_AT(struct dm_caps, handshakes), .max = 1000000,
     .doc =
         "TLS handshakes a second that begin for its domains, resumptions among them, over all worker processes; as many as that "
         "may come at once. Beyond: refused before its cost (alert `internal_error`). 0: no bound."},
    {"bandwidth_in_bytes", DM_FIELD_INT, 0, DM_AT(struct dm_caps, bandwidth_in_bytes), .max = INT64_C(1) << 40,
     .doc =
         "Bytes a second from its clients, over all worker processes; as many as a quarter of a second brings, at least 64 KiB, may "
         "come at once. Beyond: bodies and tunnels wait, unread, and share what there is in turns. Heads count, but do not wait. "
         "0: no bound; at least 1024."},
    {"bandwidth_out_bytes", DM_FIELD_INT, 0, DM_AT(struct dm_caps, bandwidth_out_bytes), .max = INT64_C(1) << 40,
     .doc = "Bytes a second to its clients, likewise: backends are read as fast as that."},
    {"queue", DM_FIELD_INT, 0, DM_AT(struct dm_caps, queue), .max = 10000, .def_int = DM_QUEUE_DEFAULT,
     .doc =
         "Requests that may wait for room, above `exchanges` and `upstream_connections` together, first in, first out in each "
         "worker process. What waits reads no body and holds no connection to a backend. Beyond: 503 `tenant_over_cap` at "
         "once. 0: none waits."},
    {"queue_ms", DM_FIELD_INT, 0, DM_AT(struct dm_caps, queue_ms), .max = 60000, .def_int = DM_QUEUE_MS_DEFAULT,
     .doc =
         "How long a request waits at most. Beyond: 503 `tenant_over_cap`. 0: none waits, and `queue` must say so too."},
    {"header_bytes", DM_FIELD_INT, 0, DM_AT(struct dm_caps, header_bytes), .max = 1 << 20,
     .doc = "Bytes of a request's head, as HTTP/1.1 writes it. Beyond: 431 `header_too_large`."},
    {"headers", DM_FIELD_INT, 0, DM_AT(struct dm_caps, headers), .max = 10000,
     .doc = "Header fields of a request. Beyond: 431 `header_too_large`."},
    {"url_bytes", DM_FIELD_INT, 0, DM_AT(struct dm_caps, url_bytes), .max = 1 << 20,
     .doc = "Bytes of a request's target. Beyond: 414 `uri_too_long`."},
    {"body_bytes", DM_FIELD_INT, 0, DM_AT(struct dm_caps, body_bytes), .max = INT64_C(1) << 50,
     .doc = "Bytes of a request's body. Beyond: 413 `body_too_large`, or cut off where a response has begun."},
    {"streams", DM_FIELD_INT, 0, DM_AT(struct dm_caps, streams), .max = 1000,
     .doc = "Requests at a time on one HTTP/2 connection; clients are told. Beyond: `too_many_streams`, the stream is "
            "refused (`REFUSED_STREAM`), and a client that was told before loses the connection."},
    {"idle_timeout_ms", DM_FIELD_INT, 0, DM_AT(struct dm_caps, idle_timeout_ms), .max = DM_LISTENER_MS_MAX,
     .doc = "Time between the requests of a connection. Beyond: closed."},
    {"head_timeout_ms", DM_FIELD_INT, 0, DM_AT(struct dm_caps, head_timeout_ms), .max = DM_LISTENER_MS_MAX,
     .doc =
         "Time for the head of a request, but for the first of a clear-text connection, which is nobody's yet. Beyond: 408 "
         "`request_timeout`."},
    {"body_timeout_ms", DM_FIELD_INT, 0, DM_AT(struct dm_caps, body_timeout_ms), .max = DM_LISTENER_MS_MAX,
     .doc = "Time without a byte of a body, in either direction, while the client is waited for. Beyond: 408 "
            "`request_timeout`, or cut off where a response has begun."},
    {"body_rate_bytes", DM_FIELD_INT, 0, DM_AT(struct dm_caps, body_rate_bytes), .max = DM_LISTENER_RATE_MAX,
     .doc = "Least bytes a second of a body, in each direction for itself, on average after 10 s; never less than the "
            "listener's. Below: as for `body_timeout_ms`."},
};

/* --- caps that contradict each other ------------------------------------------------------------------------------ */

#define BANDWIDTH_MIN 1024

static void check_bandwidth(struct dm_check *check, const char *member, int64_t bandwidth, const struct dm_caps *caps)
{
    if (bandwidth == 0)
        return;
    if (bandwidth < BANDWIDTH_MIN)
        dm_check_fail(check, member, "must be 0 or at least %d, found %lld", BANDWIDTH_MIN, (long long)bandwidth);
    else if (caps->body_rate_bytes > bandwidth)
        dm_check_fail(check, member,
                      "must be at least body_rate_bytes, which every body has to keep (%lld), found %lld",
                      (long long)caps->body_rate_bytes, (long long)bandwidth);
}

static bool is_above(int64_t cap, int64_t other)
{
    return other > 0 && cap > other;
}

static void check_caps(const void *object, struct dm_check *check)
{
    const struct dm_caps *caps = object;

    if (caps->queue > 0 && caps->queue_ms == 0)
        dm_check_fail(check, "/queue_ms",
                      "must be at least 1 for the %lld requests of queue to wait, found 0 (queue 0: none waits)",
                      (long long)caps->queue);
    if (is_above(caps->streams, caps->exchanges))
        dm_check_fail(check, "/streams", "must be at most exchanges, which all connections share (%lld), found %lld",
                      (long long)caps->exchanges, (long long)caps->streams);
    if (is_above(caps->url_bytes, caps->header_bytes))
        dm_check_fail(check, "/url_bytes", "must be at most header_bytes, of which it is a part (%lld), found %lld",
                      (long long)caps->header_bytes, (long long)caps->url_bytes);
    check_bandwidth(check, "/bandwidth_in_bytes", caps->bandwidth_in_bytes, caps);
    check_bandwidth(check, "/bandwidth_out_bytes", caps->bandwidth_out_bytes, caps);
}

const struct dm_schema dm_schema_caps = {
    .name = "Caps",
    .doc =
        "How much of a gateway one tenant may hold at a time (the first five: all worker processes of the gateway together, which may "
        "pass it by what they take in the same moment), and what one request or connection of its may take. A cap allows nothing "
        "that the listener does not; 0 is the listener's limit where nothing else is said. What connections, streams, heads and idle "
        "times are held to does not count on connections of trusted fronts, which are nobody's, and not on those that were there before "
        "the cap was set. Metrics, by tenant: `daemun_tenant_connections`, `daemun_requests_in_flight`, "
        "`daemun_tenant_buffered_bytes`, `daemun_tenant_upstream_connections`, `daemun_tenant_waiting{cap}`; `daemun_tenant_refused_total{cap}`, what was beyond a cap, by the names here; "
        "`daemun_tenant_timeouts_total{what}`, what did not come in time on the tenant's connections (`head`, `idle`, `body`, `reader`); "
        "and `daemun_refusals_total{reason}`.",
    DM_FIELDS(caps_fields),
    .struct_bytes = sizeof(struct dm_caps),
    .validate = check_caps,
};

static const struct dm_field cell_fields[] = {
    {"workers", DM_FIELD_INT, 0, DM_AT(struct dm_cell, workers), .min = 1, .max = DM_CELL_WORKERS_MAX, .def_int = 1,
     .doc = "Worker processes."},
    {"cpu_percent", DM_FIELD_INT, 0, DM_AT(struct dm_cell, cpu_percent), .max = 100 * DM_CELL_WORKERS_MAX,
     .doc = "CPU time that all its processes together get at most, in percent of one core. 0: no bound."},
    {"cpu_weight", DM_FIELD_INT, 0, DM_AT(struct dm_cell, cpu_weight), .min = 1, .max = 10000,
     .def_int = DM_CELL_CPU_WEIGHT_DEFAULT,
     .doc = "Share of a busy machine, in proportion to the weights of the other cells."},
    {"memory_bytes", DM_FIELD_INT, 0, DM_AT(struct dm_cell, memory_bytes), .max = INT64_C(1) << 50,
     .doc = "Memory that all its processes together get at most; beyond, the system ends one of them. 0: no bound."},
};

const struct dm_schema dm_schema_cell = {
    .name = "Cell",
    .doc =
        "The worker processes of a dedicated tenant on each gateway. The bounds of CPU and memory hold where the gateway may use "
        "control groups (`--cgroup`); its `/status` says whether.",
    DM_FIELDS(cell_fields),
    .struct_bytes = sizeof(struct dm_cell),
};

static const struct dm_field fields[] = {
    {"id", DM_FIELD_INT, DM_FIELD_READ_ONLY, DM_AT(struct dm_tenant, id), .max = INT64_MAX,
     .doc = "Number of the tenant, never used again; shown to the master alone."},
    {"name", DM_FIELD_STRING, DM_FIELD_REQUIRED | DM_FIELD_IDENTITY, DM_AT(struct dm_tenant, name), .max = 63,
     .format = &dm_format_tenant, .doc = "Name of the team in paths, files and metrics; it never changes."},
    {"description", DM_FIELD_STRING, 0, DM_AT(struct dm_tenant, description), .max = DM_TEXT_MAX,
     .format = &dm_format_text, .doc = "What people should know about it."},
    {"state", DM_FIELD_ENUM, 0, DM_AT(struct dm_tenant, state), .names = dm_state_names,
     .doc = "A suspended tenant's domains are answered with `tenant_suspended`."},
    {"weight", DM_FIELD_INT, 0, DM_AT(struct dm_tenant, weight), .min = 1, .max = 10000, .def_int = DM_WEIGHT_DEFAULT,
     .doc = "Share of a busy gateway, in proportion to the weights of the other busy tenants."},
    {"caps", DM_FIELD_EMBED, 0, DM_AT(struct dm_tenant, caps), .sub = &dm_schema_caps,
     .doc = "How much of a gateway it may hold at a time."},
    {"tenancy", DM_FIELD_ENUM, 0, DM_AT(struct dm_tenant, tenancy), .names = dm_tenancy_names,
     .doc = "`dedicated`: it is served by worker processes of its own, its cell, behind the same addresses and ports."},
    {"cell", DM_FIELD_EMBED, 0, DM_AT(struct dm_tenant, cell), .sub = &dm_schema_cell,
     .doc = "What its cell may have, while it is dedicated."},
    {"compat_date", DM_FIELD_STRING, DM_FIELD_UNSET, DM_AT(struct dm_tenant, compat_date), .max = 10,
     .format = &dm_format_date,
     .doc =
         "Behaviour level: a newer platform changes nothing for the tenant until it moves this date. Left out, it is the "
         "date of creation."},
    {"created_at", DM_FIELD_STRING, DM_FIELD_READ_ONLY | DM_FIELD_UNSET, DM_AT(struct dm_tenant, created_at), .max = 20,
     .format = &dm_format_time, .doc = "When it was made."},
};

const struct dm_schema dm_schema_tenant = {
    .name = "Tenant",
    .doc = "One development team. Owned by the master.",
    DM_FIELDS(fields),
    .struct_bytes = sizeof(struct dm_tenant),
};
