#include "gateway/observe/metrics.h"

#include "base/mem.h"

struct family {
    const char *name, *type, *help;
    size_t offset;
    double divide_by; /* 0: a whole number */
};

#define SEATS DM_COUNT(((struct dm_metrics_worker *)NULL)->pages)
#define TENANT(member) offsetof(struct dm_tenant_counters, member)
#define WORKER(member) offsetof(struct dm_worker_counters, member)

static const struct family tenant_families[] = {
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

static const struct family worker_families[] = {
    {"daemun_worker_connections_total", "counter", "Client connections accepted.", WORKER(connections_accepted), 0},
    {"daemun_worker_connections", "gauge", "Client connections open.", WORKER(connections_open), 0},
    {"daemun_worker_faults_total", "counter", "Requests that could not be parsed.", WORKER(faults), 0},
    {"daemun_worker_unknown_host_total", "counter", "Requests for a host that is nobody's.", WORKER(unknown_host), 0},
    {"daemun_worker_loop_turns_total", "counter", "Turns of the event loop.", WORKER(loop_turns), 0},
    {"daemun_worker_loop_busy_seconds_total", "counter", "Time not spent waiting.", WORKER(loop_busy_ns), 1e9},
    {"daemun_worker_loop_longest_turn_seconds", "gauge", "Longest turn lately.", WORKER(loop_longest_turn_ns), 1e9},
    {"daemun_worker_loop_longest_task_seconds", "gauge", "Longest work lately that nobody could interrupt.",
     WORKER(loop_longest_task_ns), 1e9},
    {"daemun_worker_platform_cpu_seconds_total", "counter",
     "CPU time of work that is nobody's: polling, timers, talk with the keeper.", WORKER(platform_cpu_ns), 1e9},
    {"daemun_worker_lobby_cpu_seconds_total", "counter",
     "CPU time of connections that belong to no tenant, or to none yet.", WORKER(lobby_cpu_ns), 1e9},
    {"daemun_worker_lobby_received_bytes_total", "counter",
     "Bytes from clients that belong to no tenant, or to none yet.", WORKER(lobby.in), 0},
    {"daemun_worker_lobby_sent_bytes_total", "counter", "Bytes to clients that belong to no tenant, or to none yet.",
     WORKER(lobby.out), 0},
    {"daemun_worker_lobby_buffered_bytes", "gauge", "Memory that those connections hold in buffers.",
     WORKER(lobby_buffered_bytes), 0},
    {"daemun_worker_lobby_timers_total", "counter", "Timers of those connections that came due.", WORKER(lobby_timers),
     0},
    {"daemun_worker_platform_timers_total", "counter", "Timers of nobody's that came due.", WORKER(platform_timers), 0},
    {"daemun_worker_lobby_queue_delay_seconds", "gauge",
     "How long work of connections that belong to no tenant, or to none yet, waited for its turn at most lately.",
     WORKER(lobby_delay_ns), 1e9},
    {"daemun_worker_loop_lag_seconds", "gauge", "How late a timer was at most lately.", WORKER(loop_lag_ns), 1e9},
    {"daemun_worker_log_lines_total", "counter", "Access log lines made.", WORKER(log_lines), 0},
    {"daemun_worker_log_dropped_total", "counter", "Access log lines that the worker dropped.", WORKER(log_dropped), 0},
    {"daemun_worker_allocator_calls_total", "counter", "Calls of the system allocator.", WORKER(memory_calls), 0},
    {"daemun_worker_start_time_seconds", "gauge", "When the worker started, Unix time.", WORKER(started_at), 0},
    {"daemun_worker_units_applied_total", "counter", "Units taken into service.", WORKER(units_applied), 0},
    {"daemun_worker_units_refused_total", "counter", "Units that a worker could not open.", WORKER(units_refused), 0},
    {"daemun_worker_limit_slots", "gauge", "Slots of the limit table in use.", WORKER(limit_slots_used), 0},
    {"daemun_worker_limit_table_full_total", "counter", "Times that the limit table was full.",
     WORKER(limit_table_full), 0},
    {"daemun_worker_backend_floods_total", "counter", "Backend connections ended: frames that bring nothing (HTTP/2).",
     WORKER(backend_floods), 0},
    {"daemun_worker_backend_header_bombs_total", "counter",
     "Backend connections ended: header blocks that unpack to far too much (HTTP/2).", WORKER(backend_header_bombs), 0},
    {"daemun_worker_backend_malformed_total", "counter",
     "Backend connections ended, or streams reset: against the protocol (HTTP/2).", WORKER(backend_malformed), 0},
    {"daemun_worker_backend_silent_total", "counter", "Backend connections ended: no answer to a PING (HTTP/2).",
     WORKER(backend_silent), 0},
    {"daemun_worker_backend_goaway_total", "counter", "Backend connections that said GOAWAY (HTTP/2).",
     WORKER(backend_going), 0},
    {"daemun_worker_backend_refused_total", "counter", "Streams that backends refused (HTTP/2).",
     WORKER(backend_refused), 0},
    {"daemun_worker_tls_handshakes_total", "counter", "Full TLS handshakes.", WORKER(tls_handshakes), 0},
    {"daemun_worker_tls_resumptions_total", "counter", "TLS handshakes by a ticket.", WORKER(tls_resumed), 0},
};

/* --- text -------------------------------------------------------------------------------------------------------- */

void dm_metrics_escape(struct dm_str value, struct dm_buf *ret)
{
    for (size_t i = 0; i < value.len; i++) {
        char c = value.ptr[i];
        if (c == '\n') {
            dm_buf_add_lit(ret, "\\n");
            continue;
        }
        if (c == '\\' || c == '"')
            dm_buf_add_char(ret, '\\');
        dm_buf_add_char(ret, c);
    }
}

static void begin(struct dm_buf *ret, const char *name, const char *type, const char *help)
{
    dm_buf_printf(ret, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

/* name{label="value" */
static void begin_sample(struct dm_buf *ret, const char *name, const char *suffix, const char *label,
                         struct dm_str value)
{
    dm_buf_add(ret, dm_str_of(name));
    dm_buf_add(ret, dm_str_of(suffix));
    dm_buf_add_char(ret, '{');
    dm_buf_add(ret, dm_str_of(label));
    dm_buf_add_lit(ret, "=\"");
    dm_metrics_escape(value, ret);
    dm_buf_add_char(ret, '"');
}

/* ,label="value" — values from our own tables */
static void add_label(struct dm_buf *ret, const char *label, const char *value)
{
    dm_buf_add_char(ret, ',');
    dm_buf_add(ret, dm_str_of(label));
    dm_buf_add_lit(ret, "=\"");
    dm_buf_add(ret, dm_str_of(value));
    dm_buf_add_char(ret, '"');
}

static void end_sample(struct dm_buf *ret, uint64_t value)
{
    dm_buf_add_lit(ret, "} ");
    dm_buf_add_u64(ret, value);
    dm_buf_add_char(ret, '\n');
}

static void end_sample_real(struct dm_buf *ret, double value)
{
    dm_buf_printf(ret, "} %.9g\n", value);
}

static void end_family_sample(struct dm_buf *ret, const struct family *family, uint64_t value)
{
    if (family->divide_by > 0)
        end_sample_real(ret, (double)value / family->divide_by);
    else
        end_sample(ret, value);
}

static void write_one(struct dm_buf *ret, const char *name, const char *type, const char *help, uint64_t value)
{
    begin(ret, name, type, help);
    dm_buf_printf(ret, "%s %llu\n", name, (unsigned long long)value);
}

/* --- tenants ----------------------------------------------------------------------------------------------------- */

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

    for (size_t w = 0; w < view->n_workers * SEATS; w++) {
        const struct dm_counters_page *page = view->workers[w / SEATS].pages[w % SEATS];
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

static void write_tenant_family(const struct sums *sums, const struct family *family, struct dm_buf *ret)
{
    begin(ret, family->name, family->type, family->help);
    for (size_t i = 0; i < sums->count; i++) {
        begin_sample(ret, family->name, "", "tenant", sums->items[i].tenant->name);
        end_family_sample(ret, family,
                          *(const uint64_t *)(const void *)((const char *)&sums->items[i].counters + family->offset));
    }
}

static void write_open(const struct sums *sums, const char *name, const char *help, size_t begun, size_t ended,
                       struct dm_buf *ret)
{
    begin(ret, name, "gauge", help);
    for (size_t i = 0; i < sums->count; i++) {
        const char *c = (const char *)&sums->items[i].counters;
        uint64_t n_begun = *(const uint64_t *)(const void *)(c + begun),
                 n_ended = *(const uint64_t *)(const void *)(c + ended);
        begin_sample(ret, name, "", "tenant", sums->items[i].tenant->name);
        end_sample(ret, n_begun > n_ended ? n_begun - n_ended : 0);
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

    begin(ret, "daemun_responses_total", "counter", "Responses by class of their status; none: ended without one.");
    for (size_t i = 0; i < sums->count; i++)
        for (size_t c = 0; c < DM_COUNT(classes); c++) {
            begin_sample(ret, "daemun_responses_total", "", "tenant", sums->items[i].tenant->name);
            add_label(ret, "class", classes[c]);
            end_sample(ret, sums->items[i].counters.status[c]);
        }
}

/* Only those that occurred. */
static void write_reasons(const struct sums *sums, struct dm_buf *ret)
{
    begin(ret, "daemun_refusals_total", "counter",
          "Answers that the gateway made itself, and broken exchanges, by reason.");
    for (size_t i = 0; i < sums->count; i++)
        for (int reason = DM_REASON_NONE + 1; reason < DM_REASON_COUNT; reason++) {
            uint64_t n = sums->items[i].counters.reasons[reason];
            if (n == 0)
                continue;
            begin_sample(ret, "daemun_refusals_total", "", "tenant", sums->items[i].tenant->name);
            add_label(ret, "reason", dm_reason_info((enum dm_reason)reason)->code);
            end_sample(ret, n);
        }
}

/* Only those that occurred. */
static void write_upstream_tls(const struct sums *sums, struct dm_buf *ret)
{
    begin(ret, "daemun_upstream_tls_failures_total", "counter",
          "Attempts at a backend that failed because of TLS, by reason.");
    for (size_t i = 0; i < sums->count; i++)
        for (int reason = 0; reason < DM_TLS_REASON_COUNT; reason++) {
            uint64_t n = sums->items[i].counters.upstream_tls_failures[reason];
            if (n == 0)
                continue;
            begin_sample(ret, "daemun_upstream_tls_failures_total", "", "tenant", sums->items[i].tenant->name);
            add_label(ret, "reason", dm_tls_reason_name((enum dm_tls_reason)reason));
            end_sample(ret, n);
        }
}

/* Only those that occurred. */
static void write_refused(const struct sums *sums, struct dm_buf *ret)
{
    begin(ret, "daemun_tenant_refused_total", "counter",
          "Connections, requests and streams that were refused above a cap of the tenant, by cap.");
    for (size_t i = 0; i < sums->count; i++)
        for (int cap = 0; cap < DM_CAP_COUNT; cap++) {
            uint64_t n = sums->items[i].counters.refused[cap];
            if (n == 0)
                continue;
            begin_sample(ret, "daemun_tenant_refused_total", "", "tenant", sums->items[i].tenant->name);
            add_label(ret, "cap", dm_cap_name((enum dm_cap)cap));
            end_sample(ret, n);
        }
}

/* Only those that occurred. */
static void write_timeouts(const struct sums *sums, struct dm_buf *ret)
{
    begin(ret, "daemun_tenant_timeouts_total", "counter",
          "Requests and connections of a tenant that were given up, by what did not come in time.");
    for (size_t i = 0; i < sums->count; i++)
        for (int what = 0; what < DM_HTTP_TIMEOUT_COUNT; what++) {
            uint64_t n = sums->items[i].counters.timeouts[what];
            if (n == 0)
                continue;
            begin_sample(ret, "daemun_tenant_timeouts_total", "", "tenant", sums->items[i].tenant->name);
            add_label(ret, "what", dm_http_timeout_name((enum dm_http_timeout)what));
            end_sample(ret, n);
        }
}

static void write_circuit_changes(const struct sums *sums, struct dm_buf *ret)
{
    static const char *const states[] = {"closed", "open", "half_open"};

    _Static_assert(DM_COUNT(states) == DM_COUNT(((struct dm_tenant_counters *)NULL)->circuit_changes),
                   "a name for each");
    begin(ret, "daemun_circuit_changes_total", "counter",
          "Changes of the circuits of a tenant's backends, by the state that began.");
    for (size_t i = 0; i < sums->count; i++)
        for (size_t state = 0; state < DM_COUNT(states); state++) {
            uint64_t n = sums->items[i].counters.circuit_changes[state];
            if (n == 0)
                continue;
            begin_sample(ret, "daemun_circuit_changes_total", "", "tenant", sums->items[i].tenant->name);
            add_label(ret, "state", states[state]);
            end_sample(ret, n);
        }
}

static void begin_backend_sample(struct dm_buf *ret, const char *name, const struct dm_metrics_circuit *circuit)
{
    begin_sample(ret, name, "", "tenant", circuit->tenant);
    dm_buf_add_lit(ret, ",backend=\"");
    dm_metrics_escape(circuit->backend, ret);
    dm_buf_add_char(ret, '"');
}

/* Only of those that have changed, or have a limit: what never failed needs no number. */
static void write_circuits(const struct dm_metrics_view *view, struct dm_buf *ret)
{
    begin(ret, "daemun_circuit_state", "gauge",
          "State of a backend's circuit once it has changed, for all workers: 0 closed, 1 open, 2 half open.");
    for (size_t i = 0; i < view->n_circuits; i++) {
        begin_backend_sample(ret, "daemun_circuit_state", &view->circuits[i]);
        end_sample(ret, (uint64_t)view->circuits[i].state);
    }
    begin(ret, "daemun_backend_limit", "gauge",
          "Calls at a time that a worker gives a backend, as one of them found out last.");
    for (size_t i = 0; i < view->n_circuits; i++) {
        if (view->circuits[i].limit <= 0)
            continue;
        begin_backend_sample(ret, "daemun_backend_limit", &view->circuits[i]);
        end_sample_real(ret, view->circuits[i].limit);
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
            begin_sample(ret, name, "", "tenant", sums->items[i].tenant->name);
            add_label(ret, label, labels[k]);
            end_sample(ret, n);
        }
}

/* Only what occurred. */
static void write_checks(const struct sums *sums, struct dm_buf *ret)
{
    static const char *const results[] = {"failed", "passed", "skipped"}, *const states[] = {"healthy", "unhealthy"};

    _Static_assert(DM_COUNT(results) == DM_COUNT(((struct dm_tenant_counters *)NULL)->checks), "a name for each");
    begin(
        ret, "daemun_endpoint_checks_total", "counter",
        "Health checks of a tenant's endpoints, by result; skipped: it could not be made, for no fault of the backend's.");
    write_labelled(sums, "daemun_endpoint_checks_total", "result", results, DM_COUNT(results), TENANT(checks), ret);
    begin(ret, "daemun_endpoint_health_changes_total", "counter",
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
    begin(ret, family->name, family->type, family->help);
    for (size_t i = 0; i < sums->count; i++)
        for (int what = 0; what < DM_WAIT_COUNT; what++) {
            const struct dm_tenant_counters *c = &sums->items[i].counters;
            const uint64_t *values = (const uint64_t *)(const void *)((const char *)c + family->offset);
            if (c->waits[what] == 0)
                continue;
            begin_sample(ret, family->name, "", "tenant", sums->items[i].tenant->name);
            add_label(ret, "cap", dm_wait_name((enum dm_wait)what));
            end_sample(ret, values[what]);
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
        begin_sample(ret, name, "_bucket", "tenant", tenant->name);
        add_label(ret, "le", b < DM_LATENCY_BUCKETS - 1 ? bound : "+Inf");
        end_sample(ret, n);
    }
    begin_sample(ret, name, "_sum", "tenant", tenant->name);
    end_sample_real(ret, (double)sum_us / 1e6);
    begin_sample(ret, name, "_count", "tenant", tenant->name);
    end_sample(ret, n);
}

static void write_latencies(const struct sums *sums, struct dm_buf *ret)
{
    begin(ret, "daemun_request_duration_seconds", "histogram",
          "From the first byte of a request to the last of its response.");
    for (size_t i = 0; i < sums->count; i++)
        if (sums->items[i].counters.requests > 0)
            write_histogram(sums->items[i].tenant, "daemun_request_duration_seconds", sums->items[i].counters.latency,
                            sums->items[i].counters.latency_us_sum, ret);
    begin(ret, "daemun_tenant_queue_delay_seconds", "histogram", "How long a tenant's work waited for its turn.");
    for (size_t i = 0; i < sums->count; i++)
        if (sums->items[i].counters.requests > 0)
            write_histogram(sums->items[i].tenant, "daemun_tenant_queue_delay_seconds",
                            sums->items[i].counters.queue_delay, sums->items[i].counters.queue_delay_us_sum, ret);
    begin(ret, "daemun_upstream_duration_seconds", "histogram", "Time that backends took.");
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
    begin(ret, "daemun_tenant_wait_seconds", "histogram", "How long requests waited for room below a cap.");
    for (size_t i = 0; i < sums->count; i++) {
        const struct dm_tenant_counters *c = &sums->items[i].counters;
        if (c->waits[DM_WAIT_EXCHANGES] + c->waits[DM_WAIT_UPSTREAM_CONNECTIONS] + c->waits[DM_WAIT_BACKEND] > 0)
            write_histogram(sums->items[i].tenant, "daemun_tenant_wait_seconds", c->wait, c->wait_us_sum, ret);
    }
}

static void write_marks(const struct sums *sums, struct dm_buf *ret)
{
    begin(ret, "daemun_unit_sequence", "gauge", "Sequence of the unit that is live.");
    for (size_t i = 0; i < sums->count; i++)
        for (int kind = DM_UNIT_RELEASE; kind < DM_UNIT_KINDS; kind++) {
            const struct dm_metrics_tenant *tenant = sums->items[i].tenant;
            if (tenant->live[kind].sequence == 0)
                continue;
            begin_sample(ret, "daemun_unit_sequence", "", "tenant", tenant->name);
            add_label(ret, "kind", dm_unit_kind_names[kind]);
            end_sample(ret, tenant->live[kind].sequence);
        }
}

static void write_troubled(const struct dm_metrics_view *view, struct dm_buf *ret)
{
    begin(ret, "daemun_units_refused", "gauge",
          "Kinds of a tenant whose newest document was refused; the former is live.");
    for (size_t i = 0; i < view->n_tenants; i++)
        if (view->tenants[i].n_refused > 0) {
            begin_sample(ret, "daemun_units_refused", "", "tenant", view->tenants[i].name);
            end_sample(ret, view->tenants[i].n_refused);
        }
    begin(ret, "daemun_units_damaged", "gauge",
          "Kinds of a tenant whose unit file is damaged and not compiled again yet.");
    for (size_t i = 0; i < view->n_tenants; i++)
        if (view->tenants[i].n_damaged > 0) {
            begin_sample(ret, "daemun_units_damaged", "", "tenant", view->tenants[i].name);
            end_sample(ret, view->tenants[i].n_damaged);
        }
}

static void write_cell_view(const struct dm_metrics_view *view, const char *name, const char *type, const char *help,
                            uint64_t (*get)(const struct dm_metrics_tenant *tenant), struct dm_buf *ret)
{
    begin(ret, name, type, help);
    for (size_t i = 0; i < view->n_tenants; i++)
        if (view->tenants[i].has_cell) {
            begin_sample(ret, name, "", "tenant", view->tenants[i].name);
            end_sample(ret, get(&view->tenants[i]));
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

static void write_tenants(const struct dm_metrics_view *view, struct dm_buf *ret)
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

/* --- workers ----------------------------------------------------------------------------------------------------- */

/* A cell's is named by its tenant too. */
static void begin_worker_sample(struct dm_buf *ret, const char *name, const struct dm_metrics_worker *worker)
{
    dm_buf_printf(ret, "%s{worker=\"", name);
    if (worker->cell.len > 0) {
        dm_metrics_escape(worker->cell, ret);
        dm_buf_add_char(ret, '/');
    }
    dm_buf_printf(ret, "%u\"", worker->number);
}

/* Counts of both seats add up, and so do connections; of other gauges the higher one is told. False: there are no pages. */
static bool read_worker(const struct dm_metrics_worker *worker, const struct family *family, uint64_t *ret)
{
    bool is_sum = strcmp(family->type, "counter") == 0 || family->offset == WORKER(connections_open), is_there = false;

    *ret = 0;
    for (size_t i = 0; i < SEATS; i++) {
        uint64_t value;
        if (!worker->pages[i])
            continue;
        value =
            __atomic_load_n((const uint64_t *)(const void *)((const char *)&worker->pages[i]->worker + family->offset),
                            __ATOMIC_RELAXED);
        *ret = is_sum ? *ret + value : DM_MAX(*ret, value);
        is_there = true;
    }
    return is_there;
}

static void write_worker_family(const struct dm_metrics_view *view, const struct family *family, struct dm_buf *ret)
{
    begin(ret, family->name, family->type, family->help);
    for (size_t i = 0; i < view->n_workers; i++) {
        uint64_t value;
        if (!read_worker(&view->workers[i], family, &value))
            continue;
        begin_worker_sample(ret, family->name, &view->workers[i]);
        end_family_sample(ret, family, value);
    }
}

static uint64_t count_tls_failures(const struct dm_metrics_worker *worker, int reason)
{
    uint64_t n = 0;

    for (size_t i = 0; i < SEATS; i++)
        if (worker->pages[i])
            n += __atomic_load_n(&worker->pages[i]->worker.tls_failures[reason], __ATOMIC_RELAXED);
    return n;
}

/* Only those that occurred. */
static void write_tls_failures(const struct dm_metrics_view *view, struct dm_buf *ret)
{
    begin(ret, "daemun_worker_tls_failures_total", "counter", "Handshakes and connections that TLS ended, by reason.");
    for (size_t i = 0; i < view->n_workers; i++)
        for (int reason = 0; reason < DM_TLS_REASON_COUNT; reason++) {
            uint64_t n = count_tls_failures(&view->workers[i], reason);
            if (n == 0)
                continue;
            begin_worker_sample(ret, "daemun_worker_tls_failures_total", &view->workers[i]);
            add_label(ret, "reason", dm_tls_reason_name((enum dm_tls_reason)reason));
            end_sample(ret, n);
        }
}

static void write_keeper_view(const struct dm_metrics_view *view, const char *name, const char *type, const char *help,
                              uint64_t (*get)(const struct dm_metrics_worker *worker), struct dm_buf *ret)
{
    begin(ret, name, type, help);
    for (size_t i = 0; i < view->n_workers; i++) {
        begin_worker_sample(ret, name, &view->workers[i]);
        end_sample(ret, get(&view->workers[i]));
    }
}

static uint64_t get_up(const struct dm_metrics_worker *worker)
{
    return worker->is_up;
}

static uint64_t get_former(const struct dm_metrics_worker *worker)
{
    return worker->n_former;
}

static uint64_t get_leaving(const struct dm_metrics_worker *worker)
{
    return worker->n_leaving;
}

static uint64_t get_restarts(const struct dm_metrics_worker *worker)
{
    return worker->n_restarts;
}

static uint64_t get_written(const struct dm_metrics_worker *worker)
{
    return worker->log_lines;
}

static uint64_t get_unwritten(const struct dm_metrics_worker *worker)
{
    return worker->log_dropped;
}

static void write_workers(const struct dm_metrics_view *view, struct dm_buf *ret)
{
    write_keeper_view(view, "daemun_worker_up", "gauge", "Is the worker connected to its keeper?", get_up, ret);
    write_keeper_view(view, "daemun_worker_former", "gauge",
                      "Processes of a former program or options that serve until they are replaced.", get_former, ret);
    write_keeper_view(view, "daemun_worker_draining", "gauge", "Processes that finish what they have and end.",
                      get_leaving, ret);
    write_keeper_view(view, "daemun_worker_restarts_total", "counter",
                      "Times that the worker died since the keeper started.", get_restarts, ret);
    write_keeper_view(view, "daemun_access_log_written_total", "counter", "Access log lines on disk.", get_written,
                      ret);
    write_keeper_view(view, "daemun_access_log_lost_total", "counter", "Access log lines that could not be written.",
                      get_unwritten, ret);
    for (size_t i = 0; i < DM_COUNT(worker_families); i++)
        write_worker_family(view, &worker_families[i], ret);
    write_tls_failures(view, ret);
}

/* --- listeners --------------------------------------------------------------------------------------------------- */

/* All behind the name. */
#define LISTENER_WORDS                                                                                                 \
    ((sizeof(struct dm_listener_counters) - offsetof(struct dm_listener_counters, stats)) / sizeof(uint64_t))
_Static_assert(LISTENER_WORDS * sizeof(uint64_t) + offsetof(struct dm_listener_counters, stats) ==
                   sizeof(struct dm_listener_counters),
               "the counters are all uint64_t");
#define LISTENER(member) offsetof(struct dm_listener_counters, member)

/* Of all workers that have it at its place: one that has not started with these options yet has another one there. */
static void sum_listener(const struct dm_metrics_view *view, size_t at, struct dm_listener_counters *ret)
{
    uint64_t *to = (uint64_t *)&ret->stats;

    memset(ret, 0, sizeof(*ret));
    for (size_t w = 0; w < view->n_workers * SEATS; w++) {
        const struct dm_counters_page *page = view->workers[w / SEATS].pages[w % SEATS];
        const struct dm_listener_counters *from;
        if (!page)
            continue;
        from = &page->listeners[at];
        if (strncmp(from->name, view->listeners[at].name, sizeof(from->name)) != 0)
            continue;
        for (size_t i = 0; i < LISTENER_WORDS; i++)
            to[i] += __atomic_load_n((const uint64_t *)&from->stats + i, __ATOMIC_RELAXED);
    }
}

/* One family with a second label. all: also those that did not occur. */
struct listener_family {
    const char *name, *help, *label;
    size_t at, count; /* of its numbers in the stats */
    const char *(*name_of)(int i);
    bool all;
};

static const char *refusal_name(int i)
{
    return dm_http_refusal_name((enum dm_http_refusal)i);
}

static const char *timeout_name(int i)
{
    return dm_http_timeout_name((enum dm_http_timeout)i);
}

static const char *fault_name(int i)
{
    return dm_http_fault_name((enum dm_http_fault)i);
}

static const char *http2_name(int i)
{
    return dm_http2_counter_name((size_t)i);
}

static const char *http2_code_name(int i)
{
    return dm_http2_code_name((enum dm_http2_code)i);
}

static const struct listener_family listener_families[] = {
    {"daemun_listener_refused_total", "Connections that were not served, by reason.", "reason", LISTENER(stats.refused),
     DM_HTTP_REFUSAL_COUNT, refusal_name, true},
    {"daemun_listener_timeouts_total", "Connections and requests that were given up, by what did not come in time.",
     "what", LISTENER(stats.timeouts), DM_HTTP_TIMEOUT_COUNT, timeout_name, true},
    {"daemun_listener_faults_total", "Requests that were none or above a limit, by fault.", "fault",
     LISTENER(stats.faults), DM_HTTP_FAULT_COUNT, fault_name, false},
    {"daemun_listener_http2_refused_total", "HTTP/2 connections ended and streams reset, by what the client did.",
     "reason", LISTENER(stats.http2), DM_HTTP2_COUNTER_COUNT, http2_name, true},
    {"daemun_listener_http2_goaways_total", "GOAWAY sent, by error code.", "code", LISTENER(stats.http2.goaways),
     DM_HTTP2_CODE_COUNT, http2_code_name, false},
    {"daemun_listener_http2_resets_total", "RST_STREAM sent, by error code.", "code", LISTENER(stats.http2.resets),
     DM_HTTP2_CODE_COUNT, http2_code_name, false},
};

static void write_listener_family(const struct dm_metrics_view *view, const struct dm_listener_counters *sums,
                                  const struct listener_family *family, struct dm_buf *ret)
{
    begin(ret, family->name, "counter", family->help);
    for (size_t i = 0; i < view->n_listeners; i++) {
        const uint64_t *numbers = (const uint64_t *)(const void *)((const char *)&sums[i] + family->at);
        for (size_t n = 0; n < family->count; n++) {
            if (numbers[n] == 0 && !family->all)
                continue;
            begin_sample(ret, family->name, "", "listener", dm_str_of(view->listeners[i].name));
            add_label(ret, family->label, family->name_of((int)n));
            end_sample(ret, numbers[n]);
        }
    }
}

static void write_listener_number(const struct dm_metrics_view *view, const struct dm_listener_counters *sums,
                                  const struct family *family, struct dm_buf *ret)
{
    begin(ret, family->name, family->type, family->help);
    for (size_t i = 0; i < view->n_listeners; i++) {
        begin_sample(ret, family->name, "", "listener", dm_str_of(view->listeners[i].name));
        end_sample(ret, *(const uint64_t *)(const void *)((const char *)&sums[i] + family->offset));
    }
}

static void write_listeners(const struct dm_metrics_view *view, struct dm_buf *ret)
{
    static const struct family numbers[] = {
        {"daemun_listener_connections", "gauge", "Client connections open.", LISTENER(stats.connections), 0},
        {"daemun_listener_lobby_connections", "gauge",
         "Client connections open that have named no tenant yet, but for trusted fronts'.", LISTENER(lobby_connections),
         0},
        {"daemun_listener_lobby_sources", "gauge", "Sources of those connections, counted in each worker.",
         LISTENER(lobby_sources), 0},
        {"daemun_listener_connections_total", "counter", "Client connections taken.", LISTENER(stats.accepted), 0},
    };
    struct dm_listener_counters sums[DM_LISTENERS_MAX];

    for (size_t i = 0; i < view->n_listeners; i++)
        sum_listener(view, i, &sums[i]);
    for (size_t i = 0; i < DM_COUNT(numbers); i++)
        write_listener_number(view, sums, &numbers[i], ret);
    for (size_t i = 0; i < DM_COUNT(listener_families); i++)
        write_listener_family(view, sums, &listener_families[i], ret);
}

/* --- the rest ---------------------------------------------------------------------------------------------------- */

static void write_build(const struct dm_metrics_view *view, struct dm_buf *ret)
{
    begin(ret, "daemun_build_info", "gauge", "What runs here.");
    begin_sample(ret, "daemun_build_info", "", "version", view->version);
    dm_buf_add_lit(ret, ",gateway=\"");
    dm_metrics_escape(view->gateway, ret);
    dm_buf_add_lit(ret, "\",program=\"daemun-gateway\"");
    end_sample(ret, 1);
}

static void write_link(const struct dm_metrics_view *view, struct dm_buf *ret)
{
    if (!view->has_link)
        return;
    write_one(ret, "daemun_link_up", "gauge", "Is the controller connected?", view->is_link_up);
    write_one(ret, "daemun_link_connects_total", "counter", "Connections made to the controller.", view->link_connects);
    if (view->link_silent_s < 0)
        return;
    begin(ret, "daemun_link_silent_seconds", "gauge", "Time since the controller was last heard.");
    dm_buf_printf(ret, "daemun_link_silent_seconds %.3f\n", view->link_silent_s);
}

static void write_keeper(const struct dm_metrics_view *view, struct dm_buf *ret)
{
    write_one(ret, "daemun_upgrades_refused_total", "counter", "Programs that could not take over.",
              view->upgrades_refused);
    write_one(ret, "daemun_loader_starts_total", "counter", "Starts of the loader.", view->loader_starts);
    write_one(ret, "daemun_loader_deaths_total", "counter", "Loaders that died with a document in hand or without.",
              view->loader_deaths);
    write_one(ret, "daemun_documents_accepted_total", "counter", "Documents that became live.", view->units_accepted);
    write_one(ret, "daemun_documents_refused_total", "counter", "Documents that were refused.", view->units_refused);
    write_one(ret, "daemun_units_mended_total", "counter", "Unit files that were not sound and were compiled again.",
              view->units_mended);
    write_one(ret, "daemun_usage_batches_total", "counter", "Batches of usage counts made.", view->usage_batches);
    write_one(ret, "daemun_usage_files_waiting", "gauge", "Spooled usage files that the controller has not stored yet.",
              view->usage_waiting);
    write_one(ret, "daemun_usage_dropped_total", "counter", "Spooled usage files that were lost.", view->usage_dropped);
    write_one(ret, "daemun_keeper_log_dropped_total", "counter", "Lines that the keeper's own log dropped.",
              view->keeper_log_dropped);
    write_one(ret, "daemun_keeper_allocator_calls_total", "counter", "Calls of the system allocator by the keeper.",
              view->keeper_memory_calls);
}

void dm_metrics_write(const struct dm_metrics_view *view, struct dm_buf *ret)
{
    write_build(view, ret);
    write_link(view, ret);
    write_keeper(view, ret);
    write_workers(view, ret);
    write_listeners(view, ret);
    write_tenants(view, ret);
}
