/* The keeper's own small HTTP server: GET /metrics, /healthz, /status. It answers from what the keeper has in memory. */
#include "base/jsonw.h"
#include "base/mem.h"
#include "gateway/keeper/keeper_int.h"
#include "gateway/observe/metrics.h"
#include "http/server.h"

#include <unistd.h>

enum { CONNECTIONS_MAX = 64, BACKLOG = 64, ANSWER_BYTES_MAX = 256 << 20 };

/* --- /healthz ---------------------------------------------------------------------------------------------------- */

/* Healthy: every worker serves all that the disk gave. */
static bool write_health(const struct dm_keeper *k, struct dm_buf *ret)
{
    unsigned n = 0;

    for (unsigned slot = 0; slot < k->options.n_workers; slot++)
        n += dm_keeper_slot_is_served(k, slot);
    if (n == k->options.n_workers && !k->is_stopping) {
        dm_buf_add_lit(ret, "ok\n");
        return true;
    }
    dm_buf_printf(ret, "%s: %u of %u workers serve\n", k->is_stopping ? "stopping" : "starting", n,
                  k->options.n_workers);
    return false;
}

/* --- /status ----------------------------------------------------------------------------------------------------- */

static void write_worker(const struct dm_keeper_worker *worker, struct dm_jsonw *w)
{
    dm_jsonw_begin_object(w);
    dm_jsonw_member_u64(w, "slot", worker->number);
    if (worker->cell)
        dm_jsonw_member_cstr(w, "cell", worker->cell->tenant->name);
    dm_jsonw_member_u64(w, "pid", (uint64_t)worker->process.pid);
    dm_jsonw_member_bool(w, "is_connected", worker->conn != NULL);
    dm_jsonw_member_bool(w, "is_serving", dm_keeper_worker_serves(worker));
    dm_jsonw_member_bool(w, "is_adopted", worker->process.is_adopted);
    dm_jsonw_member_bool(w, "is_former", worker->is_known && !worker->is_ours);
    dm_jsonw_member_bool(w, "is_leaving", worker->is_leaving);
    dm_jsonw_member_u64(w, "restarts", worker->n_restarts);
    dm_jsonw_end_object(w);
}

/* Who serves or is to serve, and who sits beside it. */
static void write_workers(const struct dm_keeper *k, struct dm_jsonw *w)
{
    dm_jsonw_name(w, "workers");
    dm_jsonw_begin_array(w);
    for (const struct dm_keeper_worker *worker = dm_keeper_next_worker(k, NULL); worker;
         worker = dm_keeper_next_worker(k, worker))
        if (worker->process.pid > 0 || worker == k->current[worker->slot])
            write_worker(worker, w);
    dm_jsonw_end_array(w);
}

static void write_cell(const struct dm_keeper *k, const struct dm_keeper_cell *cell, struct dm_jsonw *w)
{
    bool has_user = cell->options.cell_uid != DM_GATEWAY_NO_UID;

    dm_jsonw_begin_object(w);
    dm_jsonw_member_cstr(w, "tenant", cell->tenant->name);
    dm_jsonw_member_u64(w, "number", cell->tenant->counter_slot);
    dm_jsonw_member_u64(w, "workers", cell->options.n_workers);
    dm_jsonw_member_bool(w, "is_serving", cell->is_gated && dm_keeper_cell_is_served(cell));
    dm_jsonw_member_bool(w, "is_ending", cell->is_ending);
    dm_jsonw_member_bool(w, "is_held_back", cell->is_held_back);
    dm_jsonw_member_bool(w, "has_alarm", cell->has_alarm);
    dm_jsonw_member_u64(w, "crashes", cell->n_crashes);
    dm_jsonw_member_bool(w, "has_own_user", has_user);
    dm_jsonw_member_u64(w, "uid", has_user ? cell->options.cell_uid : geteuid());
    dm_jsonw_member_u64(w, "cgroup_version", k->cgroups.version);
    dm_jsonw_member_cstr(w, "cgroup_fault", k->cgroup_fault);
    dm_jsonw_end_object(w);
}

static void write_cells(const struct dm_keeper *k, struct dm_jsonw *w)
{
    dm_jsonw_name(w, "cells");
    dm_jsonw_begin_array(w);
    for (const struct dm_keeper_cell *cell = k->cells; cell; cell = cell->next)
        write_cell(k, cell, w);
    dm_jsonw_end_array(w);
}

static void write_mark(struct dm_jsonw *w, struct dm_mark mark)
{
    dm_jsonw_member_u64(w, "epoch", mark.epoch);
    dm_jsonw_member_u64(w, "sequence", mark.sequence);
}

static void write_unit(const struct dm_keeper *k, const struct dm_held_unit *unit, struct dm_jsonw *w)
{
    if (dm_mark_is_none(unit->live) && !unit->refusal && !unit->is_damaged)
        return;
    dm_jsonw_name(w, dm_unit_kind_names[unit->kind]);
    dm_jsonw_begin_object(w);
    write_mark(w, unit->live);
    dm_jsonw_member_u64(w, "workers", dm_keeper_count_applied(k, unit));
    dm_jsonw_member_bool(w, "is_damaged", unit->is_damaged);
    if (unit->refusal) {
        dm_jsonw_name(w, "refused");
        dm_jsonw_begin_object(w);
        write_mark(w, unit->refusal->mark);
        dm_jsonw_member_cstr(w, "pointer", unit->refusal->err.pointer);
        dm_jsonw_member_cstr(w, "detail", unit->refusal->err.message);
        dm_jsonw_end_object(w);
    }
    dm_jsonw_end_object(w);
}

static void write_tenants(const struct dm_keeper *k, struct dm_jsonw *w)
{
    dm_jsonw_name(w, "tenants");
    dm_jsonw_begin_array(w);
    for (const struct dm_held_tenant *tenant = k->store.first; tenant; tenant = tenant->next) {
        dm_jsonw_begin_object(w);
        dm_jsonw_member_cstr(w, "name", tenant->name);
        for (int kind = DM_UNIT_RELEASE; kind < DM_UNIT_KINDS; kind++)
            write_unit(k, &tenant->units[kind], w);
        dm_jsonw_end_object(w);
    }
    dm_jsonw_end_array(w);
}

static double silent_s(const struct dm_keeper *k)
{
    if (k->controller.last_ns == 0)
        return -1;
    return (double)(dm_loop_now_ns(k->loop) - k->controller.last_ns) / 1e9;
}

static void write_link(const struct dm_keeper *k, struct dm_jsonw *w)
{
    dm_jsonw_name(w, "link");
    dm_jsonw_begin_object(w);
    dm_jsonw_member_bool(w, "is_configured", k->options.has_controller);
    dm_jsonw_member_bool(w, "is_up", dm_controller_is_up(&k->controller));
    dm_jsonw_member_u64(w, "connects", k->controller.n_connects);
    if (silent_s(k) >= 0) {
        dm_jsonw_name(w, "silent_seconds");
        dm_jsonw_real(w, silent_s(k));
    }
    dm_jsonw_end_object(w);
}

static void write_status(const struct dm_keeper *k, struct dm_buf *ret)
{
    struct dm_jsonw w;

    dm_jsonw_init(&w, ret);
    dm_jsonw_begin_object(&w);
    dm_jsonw_member_cstr(&w, "gateway", k->options.id);
    dm_jsonw_member_cstr(&w, "version", DM_VERSION);
    dm_jsonw_member_bool(&w, "is_stopping", k->is_stopping);
    dm_jsonw_member_u64(&w, "uptime_seconds", (dm_loop_now_ns(k->loop) - k->started_ns) / 1000000000);
    write_link(k, &w);
    write_workers(k, &w);
    write_cells(k, &w);
    write_tenants(k, &w);
    dm_jsonw_end_object(&w);
    dm_buf_add_char(ret, '\n');
}

/* --- /metrics ---------------------------------------------------------------------------------------------------- */

static void view_tenant(const struct dm_keeper *k, const struct dm_held_tenant *tenant, struct dm_metrics_tenant *ret)
{
    const struct dm_keeper_cell *cell = dm_keeper_cell_find(k, tenant);

    *ret = (struct dm_metrics_tenant){.name = dm_str_of(tenant->name), .slot = tenant->counter_slot};
    if (cell) {
        ret->has_cell = true;
        ret->is_cell_up = dm_keeper_cell_is_served(cell);
        ret->is_cell_held_back = cell->is_held_back;
        ret->n_cell_crashes = cell->n_crashes;
    }
    for (int kind = DM_UNIT_RELEASE; kind < DM_UNIT_KINDS; kind++) {
        const struct dm_held_unit *unit = &tenant->units[kind];
        ret->live[kind] = unit->live;
        ret->is_live |= !dm_mark_is_none(unit->live);
        ret->n_refused += unit->refusal != NULL;
        ret->n_damaged += unit->is_damaged;
    }
}

static void view_slot(const struct dm_keeper *k, unsigned slot, struct dm_metrics_worker *ret)
{
    *ret = (struct dm_metrics_worker){.is_up = dm_keeper_slot_is_served(k, slot), .number = slot};
    for (int bank = 0; bank < DM_GATEWAY_BANKS; bank++) {
        struct dm_keeper_worker *worker = k->workers[slot][bank];
        if (!worker)
            continue;
        if (worker->cell) {
            ret->cell = dm_str_of(worker->cell->tenant->name);
            ret->number = worker->number;
            if (worker->conn)
                dm_keeper_cell_read_counters(worker);
        }
        ret->pages[bank] = dm_keeper_counters(worker);
        ret->is_up |= worker->conn && worker == k->current[slot];
        ret->n_former += worker->is_known && !worker->is_ours && !worker->is_leaving;
        ret->n_leaving += worker->is_leaving;
        ret->n_restarts += worker->n_restarts;
        ret->log_lines += worker->log.n_lines;
        ret->log_dropped += worker->log.n_dropped;
    }
}

static struct dm_metrics_view view_keeper(const struct dm_keeper *k)
{
    return (struct dm_metrics_view){.version = DM_STR(DM_VERSION),
                                    .gateway = dm_str_of(k->options.id),
                                    .has_link = k->options.has_controller,
                                    .is_link_up = dm_controller_is_up(&k->controller),
                                    .link_silent_s = silent_s(k),
                                    .link_connects = k->controller.n_connects,
                                    .loader_starts = k->loader.process.n_starts,
                                    .loader_deaths = k->loader.n_deaths,
                                    .units_accepted = k->n_accepted,
                                    .units_refused = k->n_refused,
                                    .units_mended = k->n_mended,
                                    .upgrades_refused = k->n_upgrades_refused,
                                    .usage_batches = k->spool.n_batches,
                                    .usage_waiting = k->spool.files.count,
                                    .usage_dropped = k->spool.n_dropped,
                                    .keeper_log_dropped = dm_log_dropped(),
                                    .keeper_memory_calls = dm_mem_calls()};
}

static size_t count_cell_slots(const struct dm_keeper *k)
{
    size_t n = 0;

    for (const struct dm_keeper_cell *cell = k->cells; cell; cell = cell->next)
        n += cell->n_slots;
    return n;
}

/* The caller frees both. */
static struct dm_metrics_circuit *view_circuits(const struct dm_keeper *k, struct dm_circuit_info **ret_infos,
                                                size_t *ret_count)
{
    struct dm_circuit_info *infos = dm_keeper_list_circuits(k, ret_count);
    struct dm_metrics_circuit *circuits = dm_calloc(*ret_count, sizeof(*circuits));

    for (size_t i = 0; i < *ret_count; i++)
        circuits[i] = (struct dm_metrics_circuit){infos[i].report.tenant, infos[i].report.backend,
                                                  (int)infos[i].report.state, (double)infos[i].limit.limit};
    *ret_infos = infos;
    return circuits;
}

static void write_metrics(const struct dm_keeper *k, struct dm_buf *ret)
{
    struct dm_circuit_info *infos;
    struct dm_metrics_tenant *tenants = dm_calloc(k->store.n_tenants, sizeof(*tenants));
    struct dm_metrics_worker *workers = dm_calloc(k->options.n_workers + count_cell_slots(k), sizeof(*workers));
    struct dm_metrics_view view = view_keeper(k);
    struct dm_metrics_circuit *circuits = view_circuits(k, &infos, &view.n_circuits);

    for (const struct dm_held_tenant *tenant = k->store.first; tenant; tenant = tenant->next)
        view_tenant(k, tenant, &tenants[view.n_tenants++]);
    for (unsigned i = 0; i < k->options.n_workers; i++)
        view_slot(k, i, &workers[view.n_workers++]);
    for (const struct dm_keeper_cell *cell = k->cells; cell; cell = cell->next)
        for (unsigned i = 0; i < cell->n_slots; i++)
            view_slot(k, cell->slots[i], &workers[view.n_workers++]);
    view.tenants = tenants;
    view.circuits = circuits;
    view.workers = workers;
    view.listeners = k->options.listen;
    view.n_listeners = k->options.n_listen;
    dm_metrics_write(&view, ret);
    dm_free(circuits);
    dm_free(infos);
    dm_free(workers);
    dm_free(tenants);
}

/* --- the server -------------------------------------------------------------------------------------------------- */

static void reply(struct dm_http_request *request, unsigned status, struct dm_str fields, struct dm_str body)
{
    struct dm_http_message message = {.status = status, .fields = fields};

    dm_http_request_reply(request, &message, body);
}

static void route(const struct dm_keeper *k, struct dm_http_request *request, struct dm_str path, struct dm_buf *body)
{
    const struct dm_str text = DM_STR("Content-Type: text/plain; charset=utf-8\r\nCache-Control: no-store\r\n");
    unsigned status = 200;

    if (dm_str_eq(path, DM_STR("/metrics"))) {
        write_metrics(k, body);
        reply(request, 200, DM_STR("Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n"), dm_buf_str(body));
    } else if (dm_str_eq(path, DM_STR("/status"))) {
        write_status(k, body);
        reply(request, 200, DM_STR("Content-Type: application/json\r\nCache-Control: no-store\r\n"), dm_buf_str(body));
    } else if (dm_str_eq(path, DM_STR("/healthz"))) {
        status = write_health(k, body) ? 200 : 503;
        reply(request, status, text, dm_buf_str(body));
    } else {
        reply(request, 404, text, DM_STR("there are /metrics, /healthz and /status\n"));
    }
}

static void on_request(void *arg, struct dm_http_request *request, struct dm_http_head *head)
{
    struct dm_buf body;

    if (!dm_str_eq(head->method_name, DM_STR("GET")) && !dm_str_eq(head->method_name, DM_STR("HEAD"))) {
        reply(request, 405, DM_STR("Allow: GET, HEAD\r\nContent-Type: text/plain; charset=utf-8\r\n"),
              DM_STR("GET only\n"));
        return;
    }
    dm_buf_init(&body, ANSWER_BYTES_MAX);
    route(arg, request, head->path, &body);
    dm_buf_done(&body);
}

static size_t on_body(void *user, struct dm_http_request *request, const char *ptr, size_t len)
{
    return len;
}

static void on_request_end(void *user, struct dm_http_request *request, const struct dm_http_head *trailers)
{
}

static void on_writable(void *user, struct dm_http_request *request)
{
}

static void on_done(void *user, struct dm_http_request *request)
{
}

static void on_abort(void *user, struct dm_http_request *request, struct dm_http_end end)
{
}

static const struct dm_http_handler handler = {
    .on_request = on_request,
    .on_body = on_body,
    .on_request_end = on_request_end,
    .on_writable = on_writable,
    .on_done = on_done,
    .on_abort = on_abort,
};

static void on_accept(struct dm_listener *listener, int fd, const struct dm_addr *peer)
{
    dm_http_server_accept(DM_CONTAINER_OF(listener, struct dm_keeper, admin)->admin_server, fd, peer);
}

int dm_keeper_admin_start(struct dm_keeper *k, struct dm_err *err)
{
    struct dm_http_server_settings settings = dm_http_server_defaults;
    struct dm_err inner = {0};

    settings.connections_max = CONNECTIONS_MAX;
    settings.allows_http2 = false;
    settings.drain_idle_ms = 0;
    if (dm_listener_open(&k->admin, k->loop, &k->options.admin, BACKLOG, false, on_accept, &inner) < 0)
        return dm_fail(err, inner.code, "", "--admin: %s", inner.message);
    k->admin_server = dm_http_server_new(k->loop, &settings, &handler, k);
    return 0;
}

void dm_keeper_admin_stop(struct dm_keeper *k)
{
    if (!k->admin_server)
        return;
    dm_listener_close(&k->admin);
    dm_http_server_free(k->admin_server);
    k->admin_server = NULL;
}
