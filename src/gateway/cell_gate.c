#include "gateway/cell_gate.h"

#include <unistd.h>

#include "base/mem.h"
#include "gateway/cell_message.h"
#include "gateway/relay.h"
#include "gateway/worker.h"
#include "http/client.h"
#include "io/client_hello.h"
#include "io/handover.h"

/* --- what a connection begins with -------------------------------------------------------------------------------- */

static const char preface[] = "PRI * HTTP/2.0\r\n";

/* HTTP/2 in clear text: its client may wait for our SETTINGS before it names anybody. */
static bool is_http2(const char *ptr, size_t len)
{
    return memcmp(ptr, preface, DM_MIN(len, sizeof(preface) - 1)) == 0;
}

/* 1: *ret is whom it names, "" for nobody; 0: more is needed. What is no request is for the server to refuse. */
static int find_host(const struct dm_worker_listener *listener, const char *ptr, size_t len, struct dm_str *ret)
{
    struct dm_http_head *head = listener->worker->look_head;
    const struct dm_listener_limits *limits = &listener->spec->limits;
    struct dm_http_limits bounds = dm_http_limits_default;
    size_t scan = 0;
    int rc;

    bounds.head_bytes = (uint32_t)limits->header_bytes;
    bounds.fields = (uint32_t)limits->headers;
    bounds.url_bytes = (uint32_t)limits->url_bytes;
    bounds.allows_obs_text = true;
    *ret = DM_STR("");
    if (is_http2(ptr, len) || (rc = dm_http_parse_request(ptr, len, &scan, &bounds, head)) < 0)
        return 1;
    if (rc > 0)
        *ret = head->host.name;
    return rc > 0;
}

static int find_server_name(const char *ptr, size_t len, char name[DM_CLIENT_HELLO_NAME_MAX + 1], struct dm_str *ret)
{
    int rc = dm_client_hello_name(ptr, len, name);

    *ret = rc > 0 ? dm_str_of(name) : DM_STR("");
    return rc < 0 ? 1 : rc;
}

static bool give_client(const struct dm_worker_listener *listener, struct dm_live_tenant *tenant,
                        struct dm_http_conn *conn)
{
    struct dm_cell_message message = {.kind = DM_CELL_DIRECT};
    char text[DM_ADDR_TEXT_MAX];

    message.listener = dm_str_n(text, dm_addr_format(&listener->spec->addr, true, text));
    dm_http_conn_peer(conn, &message.peer);
    if (!dm_cell_gate_give(tenant->cell, &message, dm_http_conn_fd(conn)))
        return false;
    tenant->counters->handed_over++;
    return true;
}

/* A trusted front mixes tenants, but for TLS, which belongs to one. */
static bool is_mixed(const struct dm_worker_listener *listener, const struct dm_http_conn *conn)
{
    struct dm_addr peer;

    if (listener->spec->is_tls)
        return false;
    dm_http_conn_peer(conn, &peer);
    return dm_listener_sources_hold(&listener->spec->trusted_fronts, &peer);
}

static enum dm_http_look on_look(void *arg, struct dm_http_conn *conn, const char *ptr, size_t len)
{
    const struct dm_worker_listener *listener = arg;
    char text[DM_CLIENT_HELLO_NAME_MAX + 1];
    const struct dm_route *route;
    struct dm_str name;
    int rc;

    if (is_mixed(listener, conn))
        return DM_HTTP_LOOK_SERVE;
    rc = listener->spec->is_tls ? find_server_name(ptr, len, text, &name) : find_host(listener, ptr, len, &name);
    if (rc == 0)
        return DM_HTTP_LOOK_MORE;
    route = name.len > 0 ? dm_routes_find(&listener->worker->routes, name) : NULL;
    if (!route || !route->tenant->cell || !give_client(listener, route->tenant, conn))
        return DM_HTTP_LOOK_SERVE;
    return DM_HTTP_LOOK_GONE;
}

/* C1 */
static void look_or_not(struct dm_worker *worker)
{
    if (worker->gates && !worker->look_head) {
        worker->look_head = dm_calloc(1, sizeof(*worker->look_head));
        worker->relays =
            dm_http_client_new(worker->loop, &dm_http_client_defaults, &dm_relay_peer_handler, &dm_relay_call_handler);
    }
    for (size_t i = 0; i < worker->n_listeners; i++)
        dm_http_server_set_look(worker->listeners[i].server, worker->gates ? on_look : NULL);
}

/* --- gates -------------------------------------------------------------------------------------------------------- */

struct dm_cell_gate *dm_cell_gate_find(const struct dm_worker *worker, struct dm_str tenant)
{
    struct dm_cell_gate *gate = worker->gates;

    while (gate && !dm_str_eq(dm_str_of(gate->tenant), tenant))
        gate = gate->next;
    return gate;
}

static struct dm_cell_gate *gate_new(struct dm_worker *worker, struct dm_str tenant)
{
    struct dm_cell_gate *gate = dm_calloc(1, sizeof(*gate) + tenant.len + 1);

    memcpy(gate->tenant, tenant.ptr, tenant.len);
    gate->giving_fd = -1;
    gate->next = worker->gates;
    worker->gates = gate;
    return gate;
}

static void gate_free(struct dm_cell_gate *gate)
{
    if (gate->giving_fd >= 0)
        close(gate->giving_fd);
    dm_free(gate);
}

void dm_cell_gate_open(struct dm_worker *worker, struct dm_str tenant, int giving_fd)
{
    struct dm_cell_gate *gate = dm_cell_gate_find(worker, tenant);

    if (!gate)
        gate = gate_new(worker, tenant);
    if (gate->giving_fd >= 0)
        close(gate->giving_fd);
    gate->giving_fd = giving_fd;
    gate->is_stale = false;
    dm_worker_set_cell(worker, tenant, gate);
    look_or_not(worker);
}

static void close_gate(struct dm_worker *worker, struct dm_cell_gate **at)
{
    struct dm_cell_gate *gate = *at;

    *at = gate->next;
    dm_worker_set_cell(worker, dm_str_of(gate->tenant), NULL);
    gate_free(gate);
}

void dm_cell_gate_close(struct dm_worker *worker, struct dm_str tenant)
{
    struct dm_cell_gate **at = &worker->gates;

    while (*at && !dm_str_eq(dm_str_of((*at)->tenant), tenant))
        at = &(*at)->next;
    if (*at)
        close_gate(worker, at);
    look_or_not(worker);
}

void dm_cell_gates_expect(struct dm_worker *worker)
{
    for (struct dm_cell_gate *gate = worker->gates; gate; gate = gate->next)
        gate->is_stale = true;
}

void dm_cell_gates_settle(struct dm_worker *worker)
{
    for (struct dm_cell_gate **at = &worker->gates; *at;) {
        if ((*at)->is_stale)
            close_gate(worker, at);
        else
            at = &(*at)->next;
    }
    look_or_not(worker);
}

void dm_cell_gates_done(struct dm_worker *worker)
{
    while (worker->gates) {
        struct dm_cell_gate *gate = worker->gates;
        worker->gates = gate->next;
        gate_free(gate);
    }
    dm_free(worker->look_head);
}

bool dm_cell_gate_give(struct dm_cell_gate *gate, const struct dm_cell_message *message, int fd)
{
    char bytes[DM_HANDOVER_MESSAGE_MAX];
    struct dm_buf out;

    if (gate->giving_fd < 0)
        return false;
    dm_buf_init_fixed(&out, bytes, sizeof(bytes));
    dm_cell_message_write(message, &out);
    return !out.failed && dm_handover_give(gate->giving_fd, dm_buf_str(&out), fd) == 0;
}
