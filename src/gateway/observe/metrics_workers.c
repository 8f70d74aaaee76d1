#include "gateway/observe/metrics_int.h"

#define WORKER(member) offsetof(struct dm_worker_counters, member)

static const struct dm_metrics_family worker_families[] = {
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
static bool read_worker(const struct dm_metrics_worker *worker, const struct dm_metrics_family *family, uint64_t *ret)
{
    bool is_sum = strcmp(family->type, "counter") == 0 || family->offset == WORKER(connections_open), is_there = false;

    *ret = 0;
    for (size_t i = 0; i < DM_METRICS_SEATS; i++) {
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

static void write_worker_family(const struct dm_metrics_view *view, const struct dm_metrics_family *family,
                                struct dm_buf *ret)
{
    dm_metrics_begin(ret, family->name, family->type, family->help);
    for (size_t i = 0; i < view->n_workers; i++) {
        uint64_t value;
        if (!read_worker(&view->workers[i], family, &value))
            continue;
        begin_worker_sample(ret, family->name, &view->workers[i]);
        dm_metrics_end_family_sample(ret, family, value);
    }
}

static uint64_t count_tls_failures(const struct dm_metrics_worker *worker, int reason)
{
    uint64_t n = 0;

    for (size_t i = 0; i < DM_METRICS_SEATS; i++)
        if (worker->pages[i])
            n += __atomic_load_n(&worker->pages[i]->worker.tls_failures[reason], __ATOMIC_RELAXED);
    return n;
}

/* Only those that occurred. */
static void write_tls_failures(const struct dm_metrics_view *view, struct dm_buf *ret)
{
    dm_metrics_begin(ret, "daemun_worker_tls_failures_total", "counter",
                     "Handshakes and connections that TLS ended, by reason.");
    for (size_t i = 0; i < view->n_workers; i++)
        for (int reason = 0; reason < DM_TLS_REASON_COUNT; reason++) {
            uint64_t n = count_tls_failures(&view->workers[i], reason);
            if (n == 0)
                continue;
            begin_worker_sample(ret, "daemun_worker_tls_failures_total", &view->workers[i]);
            dm_metrics_add_label(ret, "reason", dm_tls_reason_name((enum dm_tls_reason)reason));
            dm_metrics_end_sample(ret, n);
        }
}

static void write_keeper_view(const struct dm_metrics_view *view, const char *name, const char *type, const char *help,
                              uint64_t (*get)(const struct dm_metrics_worker *worker), struct dm_buf *ret)
{
    dm_metrics_begin(ret, name, type, help);
    for (size_t i = 0; i < view->n_workers; i++) {
        begin_worker_sample(ret, name, &view->workers[i]);
        dm_metrics_end_sample(ret, get(&view->workers[i]));
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

void dm_metrics_write_workers(const struct dm_metrics_view *view, struct dm_buf *ret)
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
