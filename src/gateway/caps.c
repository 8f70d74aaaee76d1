#include "gateway/caps.h"

#include "gateway/admission.h"
#include "gateway/bandwidth.h"
#include "gateway/worker.h"

#define HELD_MIN 1334 /* exchanges, connections to backends: of which the usual weight has 1000 */

static const struct dm_ucaps none;

/* --- derived ------------------------------------------------------------------------------------------------------ */

/* K7. Rounded up. */
static uint64_t share_of(uint64_t n, uint32_t weight)
{
    uint64_t own = 3 * (uint64_t)weight, all = own + DM_FLOW_WEIGHT;

    return (n * own + all - 1) / all;
}

/* K2 */
void dm_caps_init(struct dm_worker *worker)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < worker->n_listeners; i++)
        sum += worker->listeners[i].spec->limits.connections;
    worker->held_max = (uint32_t)DM_MAX(sum, (uint64_t)HELD_MIN);
}

static bool has_request_caps(const struct dm_ucaps *caps)
{
    return caps->exchanges > 0 || caps->buffered_bytes > 0 || caps->header_bytes > 0 || caps->headers > 0 ||
           caps->url_bytes > 0 || caps->body_bytes > 0 || caps->body_timeout_ms > 0 || caps->body_rate_bytes > 0;
}

void dm_caps_set(struct dm_live_tenant *tenant)
{
    tenant->caps = tenant->grants ? &DM_UNIT_ROOT(tenant->grants, dm_ugrants)->caps : &none;
    tenant->held_max = (uint32_t)share_of(tenant->env->connections_max, tenant->flow.weight);
    tenant->free_exchanges = has_request_caps(tenant->caps) ? 0 : tenant->held_max;
    tenant->share.connections_max = tenant->caps->upstream_connections;
    tenant->share.connections_usual = tenant->held_max;
    dm_bandwidth_set(tenant, tenant->caps->bandwidth_in, tenant->caps->bandwidth_out);
}

static uint64_t lesser(uint64_t limit, uint64_t cap)
{
    return limit == 0 || (cap > 0 && cap < limit) ? cap : limit;
}

static enum dm_reason refuse(const struct dm_live_tenant *tenant, enum dm_cap cap, enum dm_reason reason)
{
    tenant->counters->refused[cap]++;
    return reason;
}

/* --- handshakes --------------------------------------------------------------------------------------------------- */

#define NS_PER_S UINT64_C(1000000000)
#define SCOPE UINT64_MAX /* no application's id */

enum { KEY_HANDSHAKES = 1 };

static bool take_rate(struct dm_worker *worker, const struct dm_live_tenant *tenant, uint64_t key, uint64_t a_second)
{
    struct dm_limit_table *table = &worker->limits.table;
    uint64_t wait_ns;

    return dm_limit_take_rate(table, dm_limit_key(dm_limit_scope(table, tenant->id, SCOPE), key),
                              dm_worker_wall_ns(worker), 1, NS_PER_S / a_second, NS_PER_S, &wait_ns);
}

bool dm_caps_take_handshake(struct dm_worker *worker, struct dm_live_tenant *tenant)
{
    uint64_t cap = tenant->caps->handshakes;

    if (cap > 0 && !take_rate(worker, tenant, KEY_HANDSHAKES, cap)) {
        tenant->counters->refused[DM_CAP_HANDSHAKES]++;
        return false;
    }
    tenant->counters->handshakes++;
    return true;
}

/* --- connections -------------------------------------------------------------------------------------------------- */

static bool has_room_for_connection(const struct dm_worker_listener *listener, const struct dm_live_tenant *tenant)
{
    uint64_t own = tenant->counters->connections;

    if (tenant->caps->connections == 0)
        return own < share_of(listener->spec->limits.connections, tenant->flow.weight);
    return own < tenant->caps->connections &&
           own + dm_counter_pages_others(&listener->worker->pages, tenant->counters,
                                         offsetof(struct dm_tenant_counters, connections)) <
               tenant->caps->connections;
}

bool dm_caps_take_connection(const struct dm_worker_listener *listener, struct dm_live_tenant *tenant)
{
    if (!has_room_for_connection(listener, tenant)) {
        tenant->counters->refused[DM_CAP_CONNECTIONS]++;
        return false;
    }
    tenant->counters->connections++;
    return true;
}

void dm_caps_give_connection(struct dm_live_tenant *tenant)
{
    tenant->counters->connections--;
}

void dm_caps_bound_connection(const struct dm_worker_listener *listener, const struct dm_live_tenant *tenant,
                              struct dm_http_conn *conn)
{
    const struct dm_ucaps *caps = tenant->caps;
    const struct dm_listener_limits *limits = &listener->spec->limits;

    if (caps->idle_timeout_ms > 0 || caps->head_timeout_ms > 0)
        dm_http_conn_set_timeouts(conn, (uint32_t)lesser(limits->head_timeout_ms, caps->head_timeout_ms),
                                  (uint32_t)lesser(limits->idle_timeout_ms, caps->idle_timeout_ms));
    if (caps->streams > 0)
        dm_http_conn_limit_streams(conn, caps->streams);
}

/* --- exchanges ---------------------------------------------------------------------------------------------------- */

static uint64_t others(const struct dm_worker *worker, const struct dm_live_tenant *tenant, size_t offset)
{
    return dm_counter_pages_others(&worker->pages, tenant->counters, offset);
}

/* Once a turn: the pages are other processors' cache lines. */
static void look_at_others(const struct dm_worker *worker, struct dm_live_tenant *tenant)
{
    uint64_t now_ns = dm_loop_now_ns(worker->loop), begun, ended, waiting;

    if (tenant->looked_ns == now_ns)
        return;
    ended = others(worker, tenant, offsetof(struct dm_tenant_counters, exchanges_ended));
    begun = others(worker, tenant, offsetof(struct dm_tenant_counters, exchanges_begun));
    waiting = others(worker, tenant, offsetof(struct dm_tenant_counters, waiting[DM_WAIT_EXCHANGES]));
    tenant->looked_ns = now_ns;
    tenant->others = begun > ended + waiting ? begun - ended - waiting : 0;
    tenant->others_bytes = others(worker, tenant, offsetof(struct dm_tenant_counters, buffered_bytes));
}

/* For so many of this worker's. */
static bool has_room_for_exchanges(const struct dm_exchange *ex, uint64_t own)
{
    uint64_t cap = ex->tenant->caps->exchanges;

    if (cap == 0)
        return own <= ex->tenant->held_max;
    return own <= cap && own + ex->tenant->others <= cap;
}

/* This one is counted already, and so are those that wait and go before it. */
static bool has_room_for_exchange(const struct dm_exchange *ex)
{
    const struct dm_tenant_counters *counters = ex->tenant->counters;

    return has_room_for_exchanges(ex, counters->exchanges_begun - counters->exchanges_ended);
}

bool dm_caps_has_room(const struct dm_exchange *ex)
{
    const struct dm_tenant_counters *counters = ex->tenant->counters;
    uint64_t in_flight = counters->exchanges_begun - counters->exchanges_ended - counters->waiting[DM_WAIT_EXCHANGES];

    if (ex->tenant->caps->exchanges > 0)
        look_at_others(ex->worker, ex->tenant);
    return has_room_for_exchanges(ex, in_flight + 1);
}

static bool has_room_for_bytes(const struct dm_live_tenant *tenant)
{
    uint64_t cap = tenant->caps->buffered_bytes;

    return cap == 0 || tenant->counters->buffered_bytes + tenant->others_bytes < cap;
}

/* --- requests ----------------------------------------------------------------------------------------------------- */

/* As HTTP/1.1 writes it, whatever it came in: with ": " and CR LF for each field. */
static size_t head_bytes(const struct dm_http_head *head)
{
    size_t n = head->method_name.len + head->target.len + sizeof("  HTTP/1.1\r\n\r\n") - 1;

    for (unsigned i = 0; i < head->field_count; i++)
        n += head->fields[i].name.len + head->fields[i].value.len + sizeof(": \r\n") - 1;
    return n;
}

static bool is_above(uint64_t n, uint64_t cap)
{
    return cap > 0 && n > cap;
}

static enum dm_reason check_head(const struct dm_live_tenant *tenant, const struct dm_http_head *head)
{
    const struct dm_ucaps *caps = tenant->caps;

    if (is_above(head->target.len, caps->url_bytes))
        return refuse(tenant, DM_CAP_URL_BYTES, DM_REASON_URI_TOO_LONG);
    if (is_above(head->field_count, caps->headers))
        return refuse(tenant, DM_CAP_HEADERS, DM_REASON_HEADER_TOO_LARGE);
    if (caps->header_bytes > 0 && head_bytes(head) > caps->header_bytes)
        return refuse(tenant, DM_CAP_HEADER_BYTES, DM_REASON_HEADER_TOO_LARGE);
    return DM_REASON_NONE;
}

/* What the client may do while the body comes and the response goes. */
static void bound_pace(const struct dm_exchange *ex)
{
    const struct dm_listener_limits *limits = &ex->listener->spec->limits;
    const struct dm_ucaps *caps = ex->tenant->caps;

    if (caps->body_timeout_ms == 0 && caps->body_rate_bytes == 0)
        return;
    dm_http_request_set_pace(ex->caller, (uint32_t)lesser(limits->body_timeout_ms, caps->body_timeout_ms),
                             (uint32_t)DM_MAX(limits->body_rate, (uint64_t)caps->body_rate_bytes));
}

static enum dm_reason bound_body(const struct dm_exchange *ex)
{
    const struct dm_http_head *head = ex->head;
    uint64_t max = lesser(ex->listener->spec->limits.body_max, ex->tenant->caps->body_bytes);

    if (max == 0)
        return DM_REASON_NONE;
    if (head->has_content_length && head->content_length > max)
        return refuse(ex->tenant, DM_CAP_BODY_BYTES, DM_REASON_BODY_TOO_LARGE);
    if (!dm_http_request_limit_body(ex->caller, max))
        return refuse(ex->tenant, DM_CAP_BODY_BYTES, DM_REASON_BODY_TOO_LARGE);
    return DM_REASON_NONE;
}

enum dm_reason dm_caps_check(struct dm_exchange *ex)
{
    enum dm_reason reason;

    if (ex->tenant->caps->exchanges > 0 || ex->tenant->caps->buffered_bytes > 0)
        look_at_others(ex->worker, ex->tenant);
    ex->must_wait = !has_room_for_exchange(ex);
    if (ex->must_wait && !dm_admission_has_place(ex))
        return refuse(ex->tenant, DM_CAP_EXCHANGES, DM_REASON_TENANT_OVER_CAP);
    if (!has_room_for_bytes(ex->tenant))
        return refuse(ex->tenant, DM_CAP_BUFFERED_BYTES, DM_REASON_TENANT_OVER_CAP);
    bound_pace(ex);
    if ((reason = check_head(ex->tenant, ex->head)) != DM_REASON_NONE)
        return reason;
    return bound_body(ex);
}

void dm_caps_count_too_large(const struct dm_exchange *ex)
{
    if (ex->tenant && ex->tenant->caps->body_bytes > 0 &&
        lesser(ex->listener->spec->limits.body_max, ex->tenant->caps->body_bytes) == ex->tenant->caps->body_bytes)
        ex->tenant->counters->refused[DM_CAP_BODY_BYTES]++;
}
