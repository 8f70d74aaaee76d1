#include "gateway/observe/counters.h"

const uint32_t dm_latency_bounds_us[DM_LATENCY_BUCKETS - 1] = {
    100,   200,    400,    800,    1600,    2500,    5000,    10000,    20000,    40000,
    80000, 160000, 320000, 640000, 1000000, 2500000, 5000000, 10000000, 30000000,
};

/* Pages that nothing was written to stay untouched. */
static void end_tenant(struct dm_tenant_counters *counters)
{
    if (counters->exchanges_ended != counters->exchanges_begun)
        counters->exchanges_ended = counters->exchanges_begun;
    if (counters->tunnels_ended != counters->tunnels_begun)
        counters->tunnels_ended = counters->tunnels_begun;
    if (counters->connections != 0)
        counters->connections = 0;
    if (counters->upstream_connections != 0)
        counters->upstream_connections = 0;
    if (counters->buffered_bytes != 0)
        counters->buffered_bytes = 0;
    if (counters->circuits_open != 0)
        counters->circuits_open = 0;
    if (counters->endpoints_unhealthy != 0)
        counters->endpoints_unhealthy = 0;
    if (counters->limited_calls != 0)
        counters->limited_calls = 0;
    for (size_t i = 0; i < DM_WAIT_COUNT; i++)
        if (counters->waiting[i] != 0)
            counters->waiting[i] = 0;
}

void dm_counters_close(struct dm_counters_page *page, size_t n_tenants)
{
    page->worker.connections_open = page->worker.loop_longest_turn_ns = page->worker.loop_lag_ns = 0;
    page->worker.loop_longest_task_ns = page->worker.lobby_delay_ns = 0;
    page->worker.lobby_buffered_bytes = 0;
    for (size_t i = 0; i < DM_COUNT(page->listeners); i++) {
        struct dm_listener_counters *listener = &page->listeners[i];
        listener->stats.connections = listener->lobby_connections = listener->lobby_sources = 0;
    }
    for (size_t i = 0; i < DM_MIN(n_tenants, (size_t)DM_COUNTERS_TENANTS); i++)
        end_tenant(&page->tenants[i]);
}

unsigned dm_latency_bucket(uint64_t us)
{
    unsigned low = 0, high = DM_LATENCY_BUCKETS - 1;

    while (low < high) {
        unsigned mid = (low + high) / 2;
        if (us > dm_latency_bounds_us[mid])
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

static const char *const cap_names[] = {
#define CAP_NAME(id, member) [DM_CAP_##id] = #member,
    DM_CAPS(CAP_NAME)
#undef CAP_NAME
};

const char *dm_cap_name(enum dm_cap cap)
{
    return cap_names[cap];
}

static const char *const wait_names[] = {
#define WAIT_NAME(id, member) [DM_WAIT_##id] = #member,
    DM_WAITS(WAIT_NAME)
#undef WAIT_NAME
};

const char *dm_wait_name(enum dm_wait wait)
{
    return wait_names[wait];
}

void dm_listener_counters_take(struct dm_listener_counters *counters, const struct dm_listener_spec *spec)
{
    if (strncmp(counters->name, spec->name, sizeof(counters->name)) == 0)
        return;
    memset(counters, 0, sizeof(*counters));
    memcpy(counters->name, spec->name, sizeof(counters->name));
}
