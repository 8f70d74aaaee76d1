#include "gateway/observe/metrics_int.h"

#include "base/mem.h"

#define TENANT(member) offsetof(struct dm_tenant_counters, member)

static const struct dm_metrics_family tenant_families[] = {
    {"daemun_tenant_connections", "gauge", "Client connections open that belong to a tenant.", TENANT(connections), 0},
    {"daemun_tenant_upstream_connections", "gauge", "Connections open to a tenant's backends.",
     TENANT(upstream_connections), 0},
    {"daemun_tenant_buffered_bytes", "gauge", "Memory that a tenant's connections hold in buffers.",
     TENANT(buffered_bytes), 0},
    {"daemun_tenant_cpu_seconds_total", "counter", "CPU time of a tenant's work.", TENANT(cpu_ns), 1e9},
    {"daemun_tenant_shed_requests_total", "counter", "Requests refused because a tenant's work waited too long.",
     TENANT(shed_requests), 0},
    {"daemun_tenant_shed_handshakes_total", "counter",
     "TLS handshakes refused because a tenant's work waited too long.", TENANT(shed_handshakes), 0},
    {"daemun_tenant_tls_handshakes_total", "counter",
     "TLS handshakes begun for a tenant's domains, resumptions among them.", TENANT(handshakes), 0},
    {"daemun_tenant_bandwidth_waits_in_total", "counter",
     "Times that a body from a client waited for its tenant's bandwidth.", TENANT(bandwidth_waits[0]), 0},
    {"daemun_tenant_bandwidth_waits_out_total", "counter",
     "Times that a body to a client waited for its tenant's bandwidth.", TENANT(bandwidth_waits[1]), 0},
    {"daemun_tenant_timers_total", "counter", "Timers of a tenant's work that came due.", TENANT(timers), 0},
    {"daemun_requests_total", "counter", "Requests of a tenant.", TENANT(requests), 0},
    {"daemun_received_bytes_total", "counter", "Bytes from clients, on the wire.", TENANT(client.in), 0},
    {"daemun_sent_bytes_total", "counter", "Bytes to clients, on the wire.", TENANT(client.out), 0},
    {"daemun_upstream_received_bytes_total", "counter", "Bytes from backends, on the wire.", TENANT(upstream.in), 0},
    {"daemun_upstream_sent_bytes_total", "counter", "Bytes to backends, on the wire.", TENANT(upstream.out), 0},
    {"daemun_upstream_connects_total", "counter", "Connections made to backends.", TENANT(upstream_connects), 0},
    {"daemun_upstream_reuses_total", "counter", "Requests given to a connection that was there.",
     TENANT(upstream_reuses), 0},
    {"daemun_compression_received_bytes_total", "counter", "Bytes of bodies before compression.",
     TENANT(compression_bytes_in), 0},
    {"daemun_compression_sent_bytes_total", "counter", "Bytes of bodies after compression.",
     TENANT(compression_bytes_out), 0},
    {"daemun_compression_skipped_total", "counter",
     "Responses sent as they were because memory for compression was used up.", TENANT(compression_skipped), 0},
    {"daemun_tunnels_total", "counter", "Connections that were upgraded to tunnels.", TENANT(tunnels_begun), 0},
    {"daemun_upstream_failures_total", "counter", "Attempts at a backend that failed.", TENANT(upstream_failures), 0},
    {"daemun_upstream_retries_total", "counter", "Requests tried again at a backend.", TENANT(upstream_retries), 0},
    {"daemun_upstream_retries_denied_total", "counter",
     "Requests not tried again because the backend's budget was spent.", TENANT(upstream_retries_denied), 0},
    {"daemun_endpoints_out_total", "counter", "Times that an endpoint of a backend was put out of turn.",
     TENANT(endpoints_out), 0},
    {"daemun_backend_calls_in_flight", "gauge", "Calls now to backends that have a limit of calls at a time.",
     TENANT(limited_calls), 0},
    {"daemun_circuits_open", "gauge", "Backends whose circuit is not closed, counted in each worker.",
     TENANT(circuits_open), 0},
    {"daemun_endpoints_unhealthy", "gauge", "Endpoints that health checks found unwell, counted in each worker.",
     TENANT(endpoints_unhealthy), 0},
    {"daemun_fallback_answers_total", "counter", "Answers that a backend's fallback gave in its place.",
     TENANT(fallback_answers), 0},
    {"daemun_cell_handed_over_total", "counter", "Client connections that were handed over to the tenant's cell.",
     TENANT(handed_over), 0},
    {"daemun_cell_relayed_total", "counter", "Requests that shared workers relayed to the tenant's cell.",
     TENANT(relayed), 0},
};

/* A tenant with its counters of all workers. */
struct summed {
    const struct dm_metrics_tenant *tenant;
    struct dm_tenant_counters counters;
};

struct sums {
    struct summed *items;
    size_t count;
};

#define WORDS (sizeof(struct dm_tenant_counters) / sizeof(uint64_t))
_Static_assert(sizeof(struct dm_tenant_counters) % sizeof(uint64_t) == 0, "the counters are all uint64_t");

static void sum_tenant(const struct dm_metrics_view *view, uint32_t slot, struct dm_tenant_counters *ret)
{
    uint64_t *to = (uint64_t *)ret;

    for (size_t w = 0; w < view->n_workers * DM_METRICS_SEATS; w++) {
        const struct dm_counters_page *page = view->workers[w / DM_METRICS_SEATS].pages[w % DM_METRICS_SEATS];
        const uint64_t *from;
        if (!page || slot >= DM_COUNTERS_TENANTS)
            continue;
        from = (const uint64_t *)&page->tenants[slot];
        for (size_t i = 0; i < WORDS; i++)
            to[i] += __atomic_load_n(&from[i], __ATOMIC_RELAXED);
    }
}

static struct sums sum_all(const struct dm_metrics_view *view)
{
    struct sums sums = {.items = dm_calloc(view->n_tenants, sizeof(struct summed))};

    for (size_t i = 0; i < view->n_tenants; i++) {
        struct summed *s = &sums.items[sums.count];
        memset(s, 0, sizeof(*s));
        s->tenant = &view->tenants[i];
        sum_tenant(view, s->tenant->slot, &s->counters);
        sums.count += s->tenant->is_live || s->counters.requests > 0;
    }
    return sums;
}

static void write_tenant_family(const struct sums *sums, const struct dm_metrics_family *family, struct dm_buf *ret)
{
    dm_metrics_begin(ret, family->name, family->type, family->help);
    for (size_t i = 0; i < sums->count; i++) {
        dm_metrics_begin_sample(ret, family->name, "", "tenant", sums->items[i].tenant->name);
        dm_metrics_end_family_sample(
            ret, family, *(const uint64_t *)(const void *)((const char *)&sums->items[i].counters + family->offset));
    }
}

static void write_open(const struct sums *sums, const char *name, const char *help, size_t begun, size_t ended,
                       struct dm_buf *ret)
{
    dm_metrics_begin(ret, name, "gauge", help);
    for (size_t i = 0; i < sums->count; i++) {
        const char *c = (const char *)&sums->items[i].counters;
        uint64_t n_begun = *(const uint64_t *)(const void *)(c + begun),
                 n_ended = *(const uint64_t *)(const void *)(c + ended);
        dm_metrics_begin_sample(ret, name, "", "tenant", sums->items[i].tenant->name);
        dm_metrics_end_sample(ret, n_begun > n_ended ? n_begun - n_ended : 0);
    }
}

static void write_in_flight(const struct sums *sums, struct dm_buf *ret)
{
    write_open(sums, "daemun_requests_in_flight", "Requests being served now, tunnels among them.",
               TENANT(exchanges_begun), TENANT(exchanges_ended), ret);
    write_open(sums, "daemun_tunnels", "Tunnels open now.", TENANT(tunnels_begun), TENANT(tunnels_ended), ret);
}

static void write_statuses(const struct sums *sums, struct dm_buf *ret)
{
    static const char *const classes[] = {"none", "1xx", "2xx", "3xx", "4xx", "5xx"};

    dm_metrics_begin(ret, "daemun_responses_total", "counter",
                     "Responses by class of their status; none: ended without one.");
    for (size_t i = 0; i < sums->count; i++)
        for (size_t c = 0; c < DM_COUNT(classes); c++) {
            dm_metrics_begin_sample(ret, "daemun_responses_total", "", "tenant", sums->items[i].tenant->name);
            dm_metrics_add_label(ret, "class", classes[c]);
            dm_metrics_end_sample(ret, sums->items[i].counters.status[c]);
        }
}

/* Only those that occurred. */
static void write_reasons(const struct sums *sums, struct dm_buf *ret)
{
    dm_metrics_begin(ret, "daemun_refusals_total", "counter",
                     "Answers that the gateway made itself, and broken exchanges, by reason.");
    for (size_t i = 0; i < sums->count; i++)
        for (int reason = DM_REASON_NONE + 1; reason < DM_REASON_COUNT; reason++) {
            uint64_t n = sums->items[i].counters.reasons[reason];
            if (n == 0)
                continue;
            dm_metrics_begin_sample(ret, "daemun_refusals_total", "", "tenant", sums->items[i].tenant->name);
            dm_metrics_add_label(ret, "reason", dm_reason_info((enum dm_reason)reason)->code);
            dm_metrics_end_sample(ret, n);
        }
}

/* Only those that occurred. */
static void write_upstream_tls(const struct sums *sums, struct dm_buf *ret)
{
    dm_metrics_begin(ret, "daemun_upstream_tls_failures_total", "counter",
                     "Attempts at a backend that failed because of TLS, by reason.");
    for (size_t i = 0; i < sums->count; i++)
        for (int reason = 0; reason < DM_TLS_REASON_COUNT; reason++) {
            uint64_t n = sums->items[i].counters.upstream_tls_failures[reason];
            if (n == 0)
                continue;
            dm_metrics_begin_sample(ret, "daemun_upstream_tls_failures_total", "", "tenant",
                                    sums->items[i].tenant->name);
            dm_metrics_add_label(ret, "reason", dm_tls_reason_name((enum dm_tls_reason)reason));
            dm_metrics_end_sample(ret, n);
        }
}

/* Only those that occurred. */
static void write_refused(const struct sums *sums, struct dm_buf *ret)
{
    dm_metrics_begin(ret, "daemun_tenant_refused_total", "counter",
                     "Connections, requests and streams that were refused above a cap of the tenant, by cap.");
    for (size_t i = 0; i < sums->count; i++)
        for (int cap = 0; cap < DM_CAP_COUNT; cap++) {
            uint64_t n = sums->items[i].counters.refused[cap];
            if (n == 0)
                continue;
            dm_metrics_begin_sample(ret, "daemun_tenant_refused_total", "", "tenant", sums->items[i].tenant->name);
            dm_metrics_add_label(ret, "cap", dm_cap_name((enum dm_cap)cap));
            dm_metrics_end_sample(ret, n);
        }
}

/* Only those that occurred. */
static void write_timeouts(const struct sums *sums, struct dm_buf *ret)
{
    dm_metrics_begin(ret, "daemun_tenant_timeouts_total", "counter",
                     "Requests and connections of a tenant that were given up, by what did not come in time.");
    for (size_t i = 0; i < sums->count; i++)
        for (int what = 0; what < DM_HTTP_TIMEOUT_COUNT; what++) {
            uint64_t n = sums->items[i].counters.timeouts[what];
            if (n == 0)
                continue;
            dm_metrics_begin_sample(ret, "daemun_tenant_timeouts_total", "", "tenant", sums->items[i].tenant->name);
            dm_metrics_add_label(ret, "what", dm_http_timeout_name((enum dm_http_timeout)what));
            dm_metrics_end_sample(ret, n);
        }
}

static void write_circuit_changes(const struct sums *sums, struct dm_buf *ret)
{
    static const char *const states[] = {"closed", "open", "half_open"};

    _Static_assert(DM_COUNT(states) == DM_COUNT(((struct dm_tenant_counters *)NULL)->circuit_changes),
                   "a name for each");
    dm_metrics_begin(ret, "daemun_circuit_changes_total", "counter",
                     "Changes of the circuits of a tenant's backends, by the state that began.");
    for (size_t i = 0; i < sums->count; i++)
        for (size_t state = 0; state < DM_COUNT(states); state++) {
            uint64_t n = sums->items[i].counters.circuit_changes[state];
            if (n == 0)
                continue;
            dm_metrics_begin_sample(ret, "daemun_circuit_changes_total", "", "tenant", sums->items[i].tenant->name);
            dm_metrics_add_label(ret, "state", states[state]);
            dm_metrics_end_sample(ret, n);
        }
}

static void begin_backend_sample(struct dm_buf *ret, const char *name, const struct dm_metrics_circuit *circuit)
{
    dm_metrics_begin_sample(ret, name, "", "tenant", circuit->tenant);
    dm_buf_add_lit(ret, ",backend=\"");
    dm_metrics_escape(circuit->backend, ret);
    dm_buf_add_char(ret, '"');
}

/* Only of those that have changed, or have a limit: what never failed needs no number. */
static void write_circuits(const struct dm_metrics_view *view, struct dm_buf *ret)
{
    dm_metrics_begin(
        ret, "daemun_circuit_state", "gauge",
        "State of a backend's circuit once it has changed, for all workers: 0 closed, 1 open, 2 half open.");
    for (size_t i = 0; i < view->n_circuits; i++) {
        begin_backend_sample(ret, "daemun_circuit_state", &view->circuits[i]);
        dm_metrics_end_sample(ret, (uint64_t)view->circuits[i].state);
    }
    dm_metrics_begin(ret, "daemun_backend_limit", "gauge",
                     "Calls at a time that a worker gives a backend, as one of them found out last.");
    for (size_t i = 0; i < view->n_circuits; i++) {
        if (view->circuits[i].limit <= 0)
            continue;
        begin_backend_sample(ret, "daemun_backend_limit", &view->circuits[i]);
        dm_metrics_end_sample_real(ret, view->circuits[i].limit);
    }
}

static void write_labelled(const struct sums *sums, const char *name, const char *label, const char *const *labels,
                           size_t n_labels, size_t offset, struct dm_buf *ret)
{
    for (size_t i = 0; i < sums->count; i++)
        for (size_t k = 0; k < n_labels; k++) {
            const char *counters = (const char *)&sums->items[i].counters;
            uint64_t n = ((const uint64_t *)(const void *)(counters + offset))[k];
            if (n == 0)
                continue;
            dm_metrics_begin_sample(ret, name, "", "tenant", sums->items[i].tenant->name);
            dm_metrics_add_label(ret, label, labels[k]);
            dm_metrics_end_sample(ret, n);
        }
}

/* Only what occurred. */
static void write_checks(const struct sums *sums, struct dm_buf *ret)
{
    static const char *const results[] = {"failed", "passed", "skipped"}, *const states[] = {"healthy", "unhealthy"};

    _Static_assert(DM_COUNT(results) == DM_COUNT(((struct dm_tenant_counters *)NULL)->checks), "a name for each");
    dm_metrics_begin(
        ret, "daemun_endpoint_checks_total", "counter",
        "Health checks of a tenant's endpoints, by result; skipped: it could not be made, for no fault of the backend's.");
    write_labelled(sums, "daemun_endpoint_checks_total", "result", results, DM_COUNT(results), TENANT(checks), ret);
    dm_metrics_begin(ret, "daemun_endpoint_health_changes_total", "counter",
                     "Changes of what health checks say of a tenant's endpoints, by the state that began.");
    write_labelled(sums, "daemun_endpoint_health_changes_total", "state", states, DM_COUNT(states),
                   TENANT(health_changes), ret);
}

struct wait_family {
    const char *name, *type, *help;
    size_t offset;
};

static const struct wait_family wait_families[] = {
    {"daemun_tenant_waiting", "gauge", "Requests that wait for room below a cap of the tenant now, by cap.",
     TENANT(waiting)},
    {"daemun_tenant_waits_total", "counter", "Requests that waited for room, by cap.", TENANT(waits)},
    {"daemun_tenant_waits_expired_total", "counter", "Requests that waited for room in vain, by cap.",
     TENANT(waits_expired)},
};

/* Of tenants whose requests have waited. */
static void write_wait_family(const struct sums *sums, const struct wait_family *family, struct dm_buf *ret)
{
    dm_metrics_begin(ret, family->name, family->type, family->help);
    for (size_t i = 0; i < sums->count; i++)
        for (int what = 0; what < DM_WAIT_COUNT; what++) {
            const struct dm_tenant_counters *c = &sums->items[i].counters;
            const uint64_t *values = (const uint64_t *)(const void *)((const char *)c + family->offset);
            if (c->waits[what] == 0)
                continue;
            dm_metrics_begin_sample(ret, family->name, "", "tenant", sums->items[i].tenant->name);
            dm_metrics_add_label(ret, "cap", dm_wait_name((enum dm_wait)what));
            dm_metrics_end_sample(ret, values[what]);
        }
}

static void write_histogram(const struct dm_metrics_tenant *tenant, const char *name, const uint64_t *buckets,
                            uint64_t sum_us, struct dm_buf *ret)
{
    uint64_t n = 0;
    char bound[32];

    for (size_t b = 0; b < DM_LATENCY_BUCKETS; b++) {
        n += buckets[b];
        if (b < DM_LATENCY_BUCKETS - 1)
            snprintf(bound, sizeof(bound), "%.6g", dm_latency_bounds_us[b] / 1e6);
        dm_metrics_begin_sample(ret, name, "_bucket", "tenant", tenant->name);
        dm_metrics_add_label(ret, "le", b < DM_LATENCY_BUCKETS - 1 ? bound : "+Inf");
        dm_metrics_end_sample(ret, n);
    }
    dm_metrics_begin_sample(ret, name, "_sum", "tenant", tenant->name);
    dm_metrics_end_sample_real(ret, (double)sum_us / 1e6);
    dm_metrics_begin_sample(ret, name, "_count", "tenant", tenant->name);
    dm_metrics_end_sample(ret, n);
}

static void write_latencies(const struct sums *sums, struct dm_buf *ret)
{
    dm_metrics_begin(ret, "daemun_request_duration_seconds", "histogram",
                     "From the first byte of a request to the last of its response.");
    for (size_t i = 0; i < sums->count; i++)
        if (sums->items[i].counters.requests > 0)
            write_histogram(sums->items[i].tenant, "daemun_request_duration_seconds", sums->items[i].counters.latency,
                            sums->items[i].counters.latency_us_sum, ret);
    dm_metrics_begin(ret, "daemun_tenant_queue_delay_seconds", "histogram",
                     "How long a tenant's work waited for its turn.");
    for (size_t i = 0; i < sums->count; i++)
        if (sums->items[i].counters.requests > 0)
            write_histogram(sums->items[i].tenant, "daemun_tenant_queue_delay_seconds",
                            sums->items[i].counters.queue_delay, sums->items[i].counters.queue_delay_us_sum, ret);
    dm_metrics_begin(ret, "daemun_upstream_duration_seconds", "histogram", "Time that backends took.");
    for (size_t i = 0; i < sums->count; i++)
        if (sums->items[i].counters.requests > 0)
            write_histogram(sums->items[i].tenant, "daemun_upstream_duration_seconds",
                            sums->items[i].counters.upstream_latency, sums->items[i].counters.upstream_latency_us_sum,
                            ret);
}

static void write_waits(const struct sums *sums, struct dm_buf *ret)
{
    for (size_t i = 0; i < DM_COUNT(wait_families); i++)
        write_wait_family(sums, &wait_families[i], ret);
    dm_metrics_begin(ret, "daemun_tenant_wait_seconds", "histogram", "How long requests waited for room below a cap.");
    for (size_t i = 0; i < sums->count; i++) {
        const struct dm_tenant_counters *c = &sums->items[i].counters;
        if (c->waits[DM_WAIT_EXCHANGES] + c->waits[DM_WAIT_UPSTREAM_CONNECTIONS] + c->waits[DM_WAIT_BACKEND] > 0)
            write_histogram(sums->items[i].tenant, "daemun_tenant_wait_seconds", c->wait, c->wait_us_sum, ret);
    }
}

static void write_marks(const struct sums *sums, struct dm_buf *ret)
{
    dm_metrics_begin(ret, "daemun_unit_sequence", "gauge", "Sequence of the unit that is live.");
    for (size_t i = 0; i < sums->count; i++)
        for (int kind = DM_UNIT_RELEASE; kind < DM_UNIT_KINDS; kind++) {
            const struct dm_metrics_tenant *tenant = sums->items[i].tenant;
            if (tenant->live[kind].sequence == 0)
                continue;
            dm_metrics_begin_sample(ret, "daemun_unit_sequence", "", "tenant", tenant->name);
            dm_metrics_add_label(ret, "kind", dm_unit_kind_names[kind]);
            dm_metrics_end_sample(ret, tenant->live[kind].sequence);
        }
}

static void write_troubled(const struct dm_metrics_view *view, struct dm_buf *ret)
{
    dm_metrics_begin(ret, "daemun_units_refused", "gauge",
                     "Kinds of a tenant whose newest document was refused; the former is live.");
    for (size_t i = 0; i < view->n_tenants; i++)
        if (view->tenants[i].n_refused > 0) {
            dm_metrics_begin_sample(ret, "daemun_units_refused", "", "tenant", view->tenants[i].name);
            dm_metrics_end_sample(ret, view->tenants[i].n_refused);
        }
    dm_metrics_begin(ret, "daemun_units_damaged", "gauge",
                     "Kinds of a tenant whose unit file is damaged and not compiled again yet.");
    for (size_t i = 0; i < view->n_tenants; i++)
        if (view->tenants[i].n_damaged > 0) {
            dm_metrics_begin_sample(ret, "daemun_units_damaged", "", "tenant", view->tenants[i].name);
            dm_metrics_end_sample(ret, view->tenants[i].n_damaged);
        }
}

static void write_cell_view(const struct dm_metrics_view *view, const char *name, const char *type, const char *help,
                            uint64_t (*get)(const struct dm_metrics_tenant *tenant), struct dm_buf *ret)
{
    dm_metrics_begin(ret, name, type, help);
    for (size_t i = 0; i < view->n_tenants; i++)
        if (view->tenants[i].has_cell) {
            dm_metrics_begin_sample(ret, name, "", "tenant", view->tenants[i].name);
            dm_metrics_end_sample(ret, get(&view->tenants[i]));
        }
}

static uint64_t get_cell_up(const struct dm_metrics_tenant *tenant)
{
    return tenant->is_cell_up;
}

static uint64_t get_cell_held_back(const struct dm_metrics_tenant *tenant)
{
    return tenant->is_cell_held_back;
}

static uint64_t get_cell_crashes(const struct dm_metrics_tenant *tenant)
{
    return tenant->n_cell_crashes;
}

static void write_cells(const struct dm_metrics_view *view, struct dm_buf *ret)
{
    write_cell_view(view, "daemun_cell_up", "gauge", "Does a worker of the tenant's cell serve?", get_cell_up, ret);
    write_cell_view(view, "daemun_cell_held_back", "gauge",
                    "Is the cell, which crashes again and again, waiting to be started?", get_cell_held_back, ret);
    write_cell_view(view, "daemun_cell_crashes_total", "counter",
                    "Times that a worker of the tenant's cell died since it has one.", get_cell_crashes, ret);
}

void dm_metrics_write_tenants(const struct dm_metrics_view *view, struct dm_buf *ret)
{
    struct sums sums = sum_all(view);

    for (size_t i = 0; i < DM_COUNT(tenant_families); i++)
        write_tenant_family(&sums, &tenant_families[i], ret);
    write_in_flight(&sums, ret);
    write_statuses(&sums, ret);
    write_reasons(&sums, ret);
    write_upstream_tls(&sums, ret);
    write_refused(&sums, ret);
    write_timeouts(&sums, ret);
    write_circuits(view, ret);
    write_circuit_changes(&sums, ret);
    write_checks(&sums, ret);
    write_waits(&sums, ret);
    write_latencies(&sums, ret);
    write_marks(&sums, ret);
    write_troubled(view, ret);
    write_cells(view, ret);
    dm_free(sums.items);
}
