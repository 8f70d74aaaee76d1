#include "gateway/worker.h"

#include "base/crypto.h"
#include "base/encode.h"
#include "base/mem.h"
#include "io/tls.h"
#include "base/mix.h"
#include "gateway/bandwidth.h"
#include "gateway/caps.h"
#include "gateway/cell_gate.h"
#include "gateway/connection.h"
#include "gateway/entrance.h"
#include "gateway/tunnel.h"
#include "gateway/turn.h"

#define EXCHANGES_KEEP 8192
#define CONNECTIONS_KEEP 8192
#define TUNNELS_KEEP 8192
#define TURNS_KEEP 256
#define THROTTLES_KEEP 1024
#define CHUNK_BYTES (4u << 10)
#define CHUNKS_KEEP 16384
#define SCRATCH_MAX (256u << 10)

/* --- tenants ------------------------------------------------------------------------------------------------------ */

static struct dm_live_tenant *tenant_for(struct dm_worker *worker, struct dm_str name, uint32_t counter_slot)
{
    struct dm_live_tenant *tenant = dm_map_get(&worker->tenants, name);

    if (!tenant) {
        tenant = dm_live_tenant_new(&worker->upstream_env, name,
                                    &worker->counters->tenants[counter_slot % DM_COUNTERS_TENANTS]);
        tenant->cell = dm_cell_gate_find(worker, name);
        dm_map_put(&worker->tenants, tenant->name, tenant);
    }
    return tenant;
}

static void remove_tenant(struct dm_worker *worker, struct dm_live_tenant *tenant)
{
    tenant->is_gone = true;
    dm_routes_update(&worker->routes, tenant);
    dm_map_del(&worker->tenants, tenant->name);
    if (worker->vault)
        dm_vault_drop(worker->vault, tenant->id);
    dm_live_tenant_unref(tenant);
}

/* G3: the unit is of a tenant that took the name of one that is there still. */
static void replace_namesake(struct dm_worker *worker, struct dm_live_tenant *tenant)
{
    for (int kind = DM_UNIT_RELEASE; kind < DM_UNIT_KINDS; kind++)
        dm_live_tenant_remove(tenant, (enum dm_unit_kind)kind);
    remove_tenant(worker, tenant);
}

static uint64_t newest_epoch(const struct dm_live_tenant *tenant)
{
    uint64_t newest = 0;

    for (int kind = DM_UNIT_RELEASE; kind < DM_UNIT_KINDS; kind++)
        newest = DM_MAX(newest, tenant->marks[kind].epoch);
    return newest;
}

/* Not newer than what is live, or of a namesake that was before. Ids grow within an epoch. */
static bool is_old(const struct dm_live_tenant *tenant, const struct dm_unit_header *header)
{
    if (header->tenant_id == tenant->id)
        return dm_mark_cmp(header->mark, tenant->marks[header->kind]) <= 0;
    return header->tenant_id < tenant->id && header->mark.epoch <= newest_epoch(tenant);
}

int dm_worker_apply(struct dm_worker *worker, struct dm_unit *unit, uint32_t counter_slot, struct dm_err *err)
{
    const struct dm_unit_header *header = dm_unit_header(unit);
    struct dm_live_tenant *tenant = dm_map_get(&worker->tenants, dm_str_of(header->tenant));
    enum dm_unit_kind kind = (enum dm_unit_kind)header->kind;
    int rc;

    if (tenant && is_old(tenant, header)) {
        dm_unit_unref(unit);
        return 0;
    }
    if (tenant && tenant->id != header->tenant_id)
        replace_namesake(worker, tenant);
    tenant = tenant_for(worker, dm_str_of(header->tenant), counter_slot);
    if ((rc = dm_live_tenant_apply(tenant, unit, worker->vault, err)) < 0) {
        dm_unit_unref(unit);
        return rc;
    }
    if (kind != DM_UNIT_APPLICATIONS)
        dm_routes_update(&worker->routes, tenant);
    worker->counters->worker.units_applied++;
    return 1;
}

void dm_worker_remove(struct dm_worker *worker, struct dm_str name, enum dm_unit_kind kind, struct dm_mark mark)
{
    struct dm_live_tenant *tenant = dm_map_get(&worker->tenants, name);

    if (!tenant || dm_mark_cmp(mark, tenant->marks[kind]) < 0)
        return;
    dm_live_tenant_remove(tenant, kind);
    tenant->marks[kind] = mark;
    if (tenant->release || tenant->applications || tenant->grants || tenant->domains)
        dm_routes_update(&worker->routes, tenant);
    else
        remove_tenant(worker, tenant);
}

/* As if the worker had never had them: they may come again. */
static void forget_units(struct dm_worker *worker, struct dm_live_tenant *tenant)
{
    static const enum dm_unit_kind kinds[] = {DM_UNIT_RELEASE, DM_UNIT_APPLICATIONS, DM_UNIT_DOMAINS};

    for (size_t i = 0; i < DM_COUNT(kinds); i++) {
        dm_live_tenant_remove(tenant, kinds[i]);
        tenant->marks[kinds[i]] = (struct dm_mark){0, 0};
    }
    if (worker->vault)
        dm_vault_drop(worker->vault, tenant->id);
    dm_routes_update(&worker->routes, tenant);
}

void dm_worker_set_cell(struct dm_worker *worker, struct dm_str name, struct dm_cell_gate *gate)
{
    struct dm_live_tenant *tenant = dm_map_get(&worker->tenants, name);
    bool is_new;

    if (!tenant)
        return;
    is_new = gate && !tenant->cell;
    tenant->cell = gate;
    if (is_new)
        forget_units(worker, tenant);
}

/* --- clock -------------------------------------------------------------------------------------------------------- */

struct dm_str dm_worker_date(struct dm_worker *worker)
{
    uint64_t now_s = dm_worker_wall_ns(worker) / 1000000000;

    if (now_s != worker->date_s) {
        worker->date_s = now_s;
        dm_http_date_write((int64_t)now_s, worker->date_text);
    }
    return dm_str_n(worker->date_text, DM_HTTP_DATE_LEN);
}

/* --- names -------------------------------------------------------------------------------------------------------- */

void dm_worker_next_id(struct dm_worker *worker, char ret[DM_REQUEST_ID_LEN])
{
    memcpy(ret, worker->id_prefix, sizeof(worker->id_prefix));
    dm_hex_u64(dm_mix64(worker->id_count++ ^ worker->id_secret[0]) ^ worker->id_secret[1],
               ret + sizeof(worker->id_prefix));
}

/* --- life --------------------------------------------------------------------------------------------------------- */

static void init_memory(struct dm_worker *worker)
{
    dm_freelist_init(&worker->exchanges, sizeof(struct dm_exchange), EXCHANGES_KEEP);
    dm_freelist_init(&worker->connections, sizeof(struct dm_connection), CONNECTIONS_KEEP);
    dm_freelist_init(&worker->tunnels, sizeof(struct dm_tunnel), TUNNELS_KEEP);
    dm_freelist_init(&worker->turns, sizeof(struct dm_turn), TURNS_KEEP);
    dm_freelist_init(&worker->throttles, DM_THROTTLE_BYTES, THROTTLES_KEEP);
    dm_chunk_pool_init(&worker->chunks, CHUNK_BYTES, CHUNKS_KEEP);
    dm_buf_init(&worker->scratch, SCRATCH_MAX);
    dm_buf_init(&worker->answer, SCRATCH_MAX);
    worker->encoders = dm_encoders_new();
    dm_map_init_random(&worker->tenants);
    dm_routes_init(&worker->routes);
}

static void init_secrets(struct dm_worker *worker, struct dm_sys *sys)
{
    uint8_t secret[16];
    uint64_t prefix, seed;

    sys->ops->random(sys, &prefix, sizeof(prefix));
    dm_hex_u64(prefix, worker->id_prefix);
    sys->ops->random(sys, worker->id_secret, sizeof(worker->id_secret));
    sys->ops->random(sys, &seed, sizeof(seed));
    dm_usage_table_init(&worker->usage, seed);
    sys->ops->random(sys, secret, sizeof(secret));
    worker->credentials = dm_credential_cache_new(secret);
    dm_mem_wipe(secret, sizeof(secret));
}

static struct dm_http_server *server_new(struct dm_worker_listener *listener, struct dm_http_server_stats *stats)
{
    const struct dm_listener_limits *limits = &listener->spec->limits;
    struct dm_http_server_settings settings = dm_http_server_defaults;

    settings.limits.head_bytes = (uint32_t)limits->header_bytes;
    settings.limits.fields = (uint32_t)limits->headers;
    settings.limits.url_bytes = (uint32_t)limits->url_bytes;
    settings.limits.allows_obs_text = true;
    settings.head_timeout_ms = (uint32_t)limits->head_timeout_ms;
    settings.idle_timeout_ms = (uint32_t)limits->idle_timeout_ms;
    settings.body_timeout_ms = (uint32_t)limits->body_timeout_ms;
    settings.half_closed_timeout_ms = (uint32_t)limits->half_closed_timeout_ms;
    settings.tunnel_idle_timeout_ms = 0; /* what a backend says of its tunnels holds for both sides */
    settings.body_rate_bytes = (uint32_t)limits->body_rate;
    settings.body_bytes_max = limits->body_max;
    settings.connections_max = limits->connections;
    settings.drain_idle_ms = (uint32_t)listener->worker->options->drain_ms; /* dm_worker_drain_end() comes before */
    settings.allows_http2 = listener->spec->has_http2;
    settings.http2.streams_max = (uint32_t)limits->streams;
    settings.tls = listener->spec->is_tls ? listener->worker->acceptor : NULL;
    settings.stats = stats;
    settings.flow = &listener->worker->lobby;
    return dm_http_server_new(listener->worker->loop, &settings, &dm_exchange_handler, listener);
}

static struct dm_http_client *client_new(struct dm_worker *worker, const struct dm_http_peer_handler *of_peers,
                                         const struct dm_http_call_handler *of_calls)
{
    struct dm_http_client_settings settings = dm_http_client_defaults;

    settings.limits.allows_obs_text = true;
    return dm_http_client_new(worker->loop, &settings, of_peers, of_calls);
}

static void init_listeners(struct dm_worker *worker)
{
    for (size_t i = 0; i < worker->options->n_listen; i++) {
        struct dm_worker_listener *listener = &worker->listeners[i];

        *listener = (struct dm_worker_listener){.worker = worker, .spec = &worker->options->listen[i]};
        listener->counters = &worker->counters->listeners[i];
        dm_listener_counters_take(listener->counters, listener->spec);
        dm_entrance_init(listener, dm_loop_sys(worker->loop));
        listener->server = server_new(listener, &worker->counters->listeners[i].stats);
    }
    worker->n_listeners = worker->options->n_listen;
    dm_caps_init(worker);
}

void dm_worker_listener_accept(const struct dm_worker_listener *listener, int fd, const struct dm_addr *peer)
{
    dm_entrance_accept(listener, fd, peer);
}

size_t dm_worker_connections(const struct dm_worker *worker)
{
    size_t n = 0;

    for (size_t i = 0; i < worker->n_listeners; i++)
        n += dm_http_server_connections(worker->listeners[i].server);
    return n;
}

void dm_worker_drain(struct dm_worker *worker)
{
    for (size_t i = 0; i < worker->n_listeners; i++)
        dm_http_server_drain(worker->listeners[i].server);
}

void dm_worker_drain_end(struct dm_worker *worker)
{
    for (size_t i = 0; i < worker->n_listeners; i++)
        dm_http_server_drain_end(worker->listeners[i].server);
}

_Static_assert(DM_COUNTER_PAGES_MAX == DM_GATEWAY_WORKERS_MAX * DM_GATEWAY_BANKS, "a page for each seat");

void dm_worker_look_at_others(struct dm_worker *worker)
{
    const struct dm_gateway_options *options = worker->options;
    char path[DM_GATEWAY_PATH_MAX];
    struct dm_map_slot *tenant;
    size_t at = 0;

    for (unsigned slot = 0; slot < options->n_workers; slot++)
        for (unsigned bank = 0; bank < DM_GATEWAY_BANKS; bank++) {
            if (slot == options->slot && bank == options->bank)
                continue;
            dm_gateway_path(options, path, DM_GATEWAY_COUNTERS, slot, dm_gateway_bank_suffix[bank]);
            dm_counter_pages_look(&worker->pages, slot * DM_GATEWAY_BANKS + bank, path);
        }
    while (worker->pages.n_others > 0 && (tenant = dm_map_next(&worker->tenants, &at)))
        dm_upstream_share_yield(&((struct dm_live_tenant *)tenant->value)->share);
}

int dm_worker_share_circuits(struct dm_worker *worker, const char *path, struct dm_err *err)
{
    int rc = dm_circuit_table_open(&worker->circuits, path, err);

    if (rc == 0)
        worker->upstream_env.circuits = &worker->circuits;
    return rc;
}

void dm_worker_tend_circuits(struct dm_worker *worker)
{
    struct dm_map_slot *tenant;
    size_t at = 0;

    while ((tenant = dm_map_next(&worker->tenants, &at)))
        dm_upstream_share_tend(&((struct dm_live_tenant *)tenant->value)->share);
}

void dm_worker_end_exchanges(struct dm_worker *worker)
{
    for (size_t i = 0; i < worker->n_listeners; i++)
        dm_http_server_end_requests(worker->listeners[i].server);
}

static const struct dm_dns_config dns_defaults;

static void on_lobby_wait(struct dm_flow *lobby, uint64_t ns)
{
    struct dm_worker *worker = DM_CONTAINER_OF(lobby, struct dm_worker, lobby);

    worker->lobby_delay_ns = DM_MAX(worker->lobby_delay_ns, ns);
}

int dm_worker_init(struct dm_worker *worker, struct dm_sys *sys, const struct dm_gateway_options *options,
                   struct dm_counters_page *counters, const char *limits_path, struct dm_err *err)
{
    int rc;

    memset(worker, 0, sizeof(*worker));
    worker->options = options;
    worker->counters = counters;
    worker->pages.own = counters;
    if ((rc = dm_limit_table_open(&worker->limits.table, limits_path, err)) < 0)
        return rc;
    worker->loop = dm_loop_new(sys);
    dm_loop_set_fair(worker->loop, options->is_fair);
    worker->wall_offset_ns = sys->ops->wall_ns(sys) - sys->ops->mono_ns(sys);
    dm_loop_platform(worker->loop)->cpu_ns = &counters->worker.platform_cpu_ns;
    dm_loop_set_wait_target(worker->loop, options->queue_delay_ms * UINT64_C(1000000));
    dm_loop_platform(worker->loop)->timers = &counters->worker.platform_timers;
    dm_flow_init(&worker->lobby, DM_FLOW_WEIGHT, &counters->worker.lobby_cpu_ns);
    worker->lobby.timers = &counters->worker.lobby_timers;
    worker->lobby.on_wait = on_lobby_wait;
    init_memory(worker);
    init_secrets(worker, sys);
    worker->acceptor = dm_tls_acceptor_new(dm_connection_select, worker);
    init_listeners(worker);
    worker->client = client_new(worker, &dm_upstream_peer_handler, &dm_exchange_call_handler);
    worker->upstream_env = (struct dm_upstream_env){worker->loop,
                                                    dm_dns_new(worker->loop, &dns_defaults),
                                                    worker->client,
                                                    &worker->system_trust,
                                                    &worker->pages,
                                                    worker->held_max,
                                                    .vault = &worker->vault,
                                                    .n_workers = options->n_workers};
    dm_access_log_init(&worker->log, worker->loop);
    return 0;
}

int dm_worker_share_health(struct dm_worker *worker, const char *path, struct dm_err *err)
{
    int rc = dm_health_table_open(&worker->health, path, err);

    if (rc < 0)
        return rc;
    worker->check_client = client_new(worker, &dm_upstream_check_peer_handler, &dm_upstream_check_handler);
    worker->upstream_env.health = &worker->health;
    worker->upstream_env.check_client = worker->check_client;
    return 0;
}

void dm_worker_done(struct dm_worker *worker)
{
    struct dm_map_slot *slot;
    size_t at = 0;

    for (size_t i = 0; i < worker->n_listeners; i++) {
        dm_http_server_free(worker->listeners[i].server);
        dm_entrance_done(&worker->listeners[i]);
    }
    dm_cell_gates_done(worker);
    dm_routes_done(&worker->routes);
    while ((slot = dm_map_next(&worker->tenants, &at)))
        dm_live_tenant_unref(slot->value);
    dm_map_done(&worker->tenants);
    dm_loop_turn(worker->loop, 0); /* connections to backends that were closed are freed */
    dm_dns_free(worker->upstream_env.dns);
    dm_http_client_free(worker->check_client);
    dm_health_table_close(&worker->health);
    dm_http_client_free(worker->client);
    dm_http_client_free(worker->relays);
    dm_tls_trust_unref(worker->system_trust);
    dm_access_log_done(&worker->log);
    dm_usage_table_done(&worker->usage);
    dm_credential_cache_free(worker->credentials);
    dm_limit_table_close(&worker->limits.table);
    if (worker->circuits.page)
        dm_circuit_table_close(&worker->circuits);
    dm_counter_pages_done(&worker->pages);
    dm_encoders_free(worker->encoders);
    dm_tls_acceptor_free(worker->acceptor);
    dm_vault_free(worker->vault);
    dm_freelist_done(&worker->exchanges);
    dm_freelist_done(&worker->connections);
    dm_freelist_done(&worker->tunnels);
    dm_freelist_done(&worker->turns);
    dm_freelist_done(&worker->throttles);
    dm_chunk_pool_done(&worker->chunks);
    dm_buf_done(&worker->scratch);
    dm_buf_done(&worker->answer);
    dm_loop_free(worker->loop);
}
