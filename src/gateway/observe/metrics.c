#include "gateway/observe/metrics_int.h"

static void write_build(const struct dm_metrics_view *view, struct dm_buf *ret)
{
    dm_metrics_begin(ret, "daemun_build_info", "gauge", "What runs here.");
    dm_metrics_begin_sample(ret, "daemun_build_info", "", "version", view->version);
    dm_buf_add_lit(ret, ",gateway=\"");
    dm_metrics_escape(view->gateway, ret);
    dm_buf_add_lit(ret, "\",program=\"daemun-gateway\"");
    dm_metrics_end_sample(ret, 1);
}

static void write_link(const struct dm_metrics_view *view, struct dm_buf *ret)
{
    if (!view->has_link)
        return;
    dm_metrics_write_one(ret, "daemun_link_up", "gauge", "Is the controller connected?", view->is_link_up);
    dm_metrics_write_one(ret, "daemun_link_connects_total", "counter", "Connections made to the controller.",
                         view->link_connects);
    if (view->link_silent_s < 0)
        return;
    dm_metrics_begin(ret, "daemun_link_silent_seconds", "gauge", "Time since the controller was last heard.");
    dm_buf_printf(ret, "daemun_link_silent_seconds %.3f\n", view->link_silent_s);
}

static void write_keeper(const struct dm_metrics_view *view, struct dm_buf *ret)
{
    dm_metrics_write_one(ret, "daemun_upgrades_refused_total", "counter", "Programs that could not take over.",
                         view->upgrades_refused);
    dm_metrics_write_one(ret, "daemun_loader_starts_total", "counter", "Starts of the loader.", view->loader_starts);
    dm_metrics_write_one(ret, "daemun_loader_deaths_total", "counter",
                         "Loaders that died with a document in hand or without.", view->loader_deaths);
    dm_metrics_write_one(ret, "daemun_documents_accepted_total", "counter", "Documents that became live.",
                         view->units_accepted);
    dm_metrics_write_one(ret, "daemun_documents_refused_total", "counter", "Documents that were refused.",
                         view->units_refused);
    dm_metrics_write_one(ret, "daemun_units_mended_total", "counter",
                         "Unit files that were not sound and were compiled again.", view->units_mended);
    dm_metrics_write_one(ret, "daemun_usage_batches_total", "counter", "Batches of usage counts made.",
                         view->usage_batches);
    dm_metrics_write_one(ret, "daemun_usage_files_waiting", "gauge",
                         "Spooled usage files that the controller has not stored yet.", view->usage_waiting);
    dm_metrics_write_one(ret, "daemun_usage_dropped_total", "counter", "Spooled usage files that were lost.",
                         view->usage_dropped);
    dm_metrics_write_one(ret, "daemun_keeper_log_dropped_total", "counter", "Lines that the keeper's own log dropped.",
                         view->keeper_log_dropped);
    dm_metrics_write_one(ret, "daemun_keeper_allocator_calls_total", "counter",
                         "Calls of the system allocator by the keeper.", view->keeper_memory_calls);
}

void dm_metrics_write(const struct dm_metrics_view *view, struct dm_buf *ret)
{
    write_build(view, ret);
    write_link(view, ret);
    write_keeper(view, ret);
    dm_metrics_write_workers(view, ret);
    dm_metrics_write_listeners(view, ret);
    dm_metrics_write_tenants(view, ret);
}
