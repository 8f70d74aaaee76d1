#include "control/fleet/fleet_int.h"
#include "base/jsonw.h"
#include "base/mem.h"

const double dm_fleet_lag_bounds[FLEET_LAG_BUCKETS] = {0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1, 5, 30};

static void write_mark(struct dm_jsonw *w, struct dm_mark mark)
{
    dm_jsonw_member_u64(w, "epoch", mark.epoch);
    dm_jsonw_member_u64(w, "sequence", mark.sequence);
}

static bool is_live(const struct target *target, const struct held *held)
{
    return held != NULL && dm_fleet_has_live(held, target->mark);
}

static bool is_refused(const struct target *target, const struct held *held)
{
    return held != NULL && held->refusal != NULL && dm_mark_cmp(held->refused, target->mark) >= 0;
}

static const char *state_of(const struct target *target, const struct held *held)
{
    if (is_live(target, held))
        return "live";
    if (is_refused(target, held))
        return "refused";
    return held != NULL && dm_mark_cmp(held->sent, target->mark) >= 0 ? "sent" : "waiting";
}

static void write_unit_on(struct dm_jsonw *w, struct gateway *gateway, const struct target *target)
{
    const struct held *held = dm_map_get(&gateway->held, target->key);
    struct dm_str rest, pointer;

    dm_jsonw_begin_object(w);
    dm_jsonw_member_cstr(w, "gateway", gateway->id);
    dm_jsonw_member_cstr(w, "state", state_of(target, held));
    dm_jsonw_name(w, "live");
    dm_jsonw_begin_object(w);
    write_mark(w, held != NULL ? held->live : (struct dm_mark){0});
    dm_jsonw_end_object(w);
    if (is_refused(target, held)) {
        rest = dm_str_of(held->refusal);
        dm_str_cut(&rest, '\n', &pointer);
        dm_jsonw_name(w, "error");
        dm_jsonw_begin_object(w);
        dm_jsonw_member_str(w, "pointer", pointer);
        dm_jsonw_member_str(w, "message", rest);
        dm_jsonw_end_object(w);
    }
    dm_jsonw_end_object(w);
}

static void write_unit(struct dm_fleet *fleet, const struct target *target, struct dm_jsonw *w)
{
    struct gateway *gateway;
    uint64_t live = 0, of = 0;

    for (gateway = fleet->gateways; gateway != NULL; gateway = gateway->next) {
        of++;
        live += is_live(target, dm_map_get(&gateway->held, target->key));
    }
    dm_jsonw_begin_object(w);
    dm_jsonw_member_str(w, "tenant", target->tenant);
    dm_jsonw_member_cstr(w, "kind", dm_unit_kind_names[target->kind]);
    write_mark(w, target->mark);
    dm_jsonw_member_u64(w, "live", live);
    dm_jsonw_member_u64(w, "of", of);
    dm_jsonw_name(w, "gateways");
    dm_jsonw_begin_array(w);
    for (gateway = fleet->gateways; gateway != NULL; gateway = gateway->next)
        write_unit_on(w, gateway, target);
    dm_jsonw_end_array(w);
    dm_jsonw_end_object(w);
}

static void write_tenant(struct dm_fleet *fleet, struct dm_str tenant, struct dm_jsonw *w)
{
    for (int kind = 1; kind < DM_UNIT_KINDS; kind++) {
        const struct target *target = dm_fleet_target(fleet, tenant, kind);

        if (target != NULL && !target->is_removed)
            write_unit(fleet, target, w);
    }
}

static int by_key(const void *a, const void *b)
{
    return dm_str_cmp((*(struct target *const *)a)->key, (*(struct target *const *)b)->key);
}

/* All that are not removed, by tenant and kind; the caller frees. */
static struct target **sorted_targets(struct dm_fleet *fleet, size_t *ret_count)
{
    struct target **sorted = dm_calloc(fleet->targets.count + 1, sizeof(*sorted));
    struct dm_map_slot *slot;
    size_t at = 0, n = 0;

    while ((slot = dm_map_next(&fleet->targets, &at)) != NULL)
        if (!((struct target *)slot->value)->is_removed)
            sorted[n++] = slot->value;
    qsort(sorted, n, sizeof(*sorted), by_key);
    *ret_count = n;
    return sorted;
}

static void write_all(struct dm_fleet *fleet, struct dm_jsonw *w)
{
    size_t n;
    struct target **sorted = sorted_targets(fleet, &n);

    for (size_t i = 0; i < n; i++)
        write_unit(fleet, sorted[i], w);
    dm_free(sorted);
}

/* How busy a gateway is with others is not a tenant's to see. */
static void write_gateway(const struct gateway *gateway, bool is_whole, struct dm_jsonw *w)
{
    dm_jsonw_begin_object(w);
    dm_jsonw_member_cstr(w, "id", gateway->id);
    dm_jsonw_member_bool(w, "connected", gateway->peer != NULL);
    if (is_whole) {
        dm_jsonw_member_cstr(w, "version", gateway->version);
        dm_jsonw_member_u64(w, "workers", gateway->n_workers);
        dm_jsonw_member_u64(w, "waiting", gateway->n_dirty);
    }
    dm_jsonw_end_object(w);
}

void dm_fleet_write_status(struct dm_fleet *fleet, struct dm_str tenant, struct dm_jsonw *w)
{
    struct gateway *gateway;

    dm_jsonw_begin_object(w);
    pthread_mutex_lock(&fleet->mutex);
    dm_jsonw_name(w, "units");
    dm_jsonw_begin_array(w);
    if (tenant.ptr != NULL)
        write_tenant(fleet, tenant, w);
    else
        write_all(fleet, w);
    dm_jsonw_end_array(w);
    dm_jsonw_name(w, "gateways");
    dm_jsonw_begin_array(w);
    for (gateway = fleet->gateways; gateway != NULL; gateway = gateway->next)
        write_gateway(gateway, tenant.ptr == NULL, w);
    dm_jsonw_end_array(w);
    pthread_mutex_unlock(&fleet->mutex);
    dm_jsonw_end_object(w);
}

/* --- metrics ------------------------------------------------------------------------------------------------------ */

static void write_gateways(struct dm_fleet *fleet, struct dm_buf *ret)
{
    struct gateway *gateway;

    dm_buf_add_lit(ret, "# HELP daemun_controller_gateway_up Is the gateway connected?\n"
                        "# TYPE daemun_controller_gateway_up gauge\n");
    for (gateway = fleet->gateways; gateway != NULL; gateway = gateway->next)
        dm_buf_printf(ret, "daemun_controller_gateway_up{gateway=\"%s\"} %d\n", gateway->id, gateway->peer != NULL);
    dm_buf_add_lit(ret, "# HELP daemun_controller_gateway_waiting Units that the gateway has yet to be sent.\n"
                        "# TYPE daemun_controller_gateway_waiting gauge\n");
    for (gateway = fleet->gateways; gateway != NULL; gateway = gateway->next)
        dm_buf_printf(ret, "daemun_controller_gateway_waiting{gateway=\"%s\"} %zu\n", gateway->id, gateway->n_dirty);
}

static void write_lag(const struct dm_fleet *fleet, struct dm_buf *ret)
{
    dm_buf_add_lit(ret, "# HELP daemun_controller_live_seconds Time from commit to live on a gateway.\n"
                        "# TYPE daemun_controller_live_seconds histogram\n");
    for (size_t i = 0; i < FLEET_LAG_BUCKETS; i++)
        dm_buf_printf(ret, "daemun_controller_live_seconds_bucket{le=\"%g\"} %llu\n", dm_fleet_lag_bounds[i],
                      (unsigned long long)fleet->lag_buckets[i]);
    dm_buf_printf(ret,
                  "daemun_controller_live_seconds_bucket{le=\"+Inf\"} %llu\n"
                  "daemun_controller_live_seconds_sum %.6f\ndaemun_controller_live_seconds_count %llu\n",
                  (unsigned long long)fleet->lag_count, fleet->lag_sum_s, (unsigned long long)fleet->lag_count);
}

static void write_counters(const struct dm_fleet *fleet, struct dm_buf *ret)
{
    uint64_t n_items = 0, n_failed = 0;

    if (fleet->link != NULL)
        dm_link_usage_counts(fleet->link, &n_items, &n_failed);
    dm_buf_printf(ret,
                  "# HELP daemun_controller_units Units of all tenants.\n"
                  "# TYPE daemun_controller_units gauge\ndaemun_controller_units %zu\n"
                  "# HELP daemun_controller_units_refused_total Units that a gateway refused.\n"
                  "# TYPE daemun_controller_units_refused_total counter\ndaemun_controller_units_refused_total %llu\n",
                  fleet->targets.count, (unsigned long long)fleet->n_refused);
    dm_buf_printf(ret,
                  "# HELP daemun_controller_usage_items_total Usage items stored.\n"
                  "# TYPE daemun_controller_usage_items_total counter\ndaemun_controller_usage_items_total %llu\n"
                  "# HELP daemun_controller_usage_failed_total Usage batches that could not be stored.\n"
                  "# TYPE daemun_controller_usage_failed_total counter\ndaemun_controller_usage_failed_total %llu\n",
                  (unsigned long long)n_items, (unsigned long long)n_failed);
}

static void write_sequences(struct dm_fleet *fleet, struct dm_buf *ret)
{
    size_t n;
    struct target **sorted = sorted_targets(fleet, &n);

    dm_buf_add_lit(ret, "# HELP daemun_controller_unit_sequence Sequence of the newest unit.\n"
                        "# TYPE daemun_controller_unit_sequence gauge\n");
    for (size_t i = 0; i < n; i++)
        dm_buf_printf(ret, "daemun_controller_unit_sequence{tenant=\"%.*s\",kind=\"%s\"} %llu\n",
                      DM_STR_ARG(sorted[i]->tenant), dm_unit_kind_names[sorted[i]->kind],
                      (unsigned long long)sorted[i]->mark.sequence);
    dm_free(sorted);
}

void dm_fleet_write_metrics(struct dm_fleet *fleet, bool with_tenants, struct dm_buf *ret)
{
    pthread_mutex_lock(&fleet->mutex);
    write_gateways(fleet, ret);
    write_lag(fleet, ret);
    write_counters(fleet, ret);
    if (with_tenants)
        write_sequences(fleet, ret);
    pthread_mutex_unlock(&fleet->mutex);
}
