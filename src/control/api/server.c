/* One request is an exchange:
 *
 *   READING --[end of body]--> RUNNING (a job owns the call) --[done]--> ANSWERING --[on_done]--> freed
 *                                                            --[?wait=live]--> WAITING --[live, timeout]--> ANSWERING
 *   READING --[no route, too large, pool full]--> ANSWERING
 *   any but RUNNING --[client gone]--> freed;  RUNNING --[client gone]--> ABANDONED --[done]--> freed
 *
 * X1. `request` is NULL from the moment the client is gone. X2. Only the pool touches `call` in RUNNING and ABANDONED. */
#include <strings.h>

#include "control/api/server.h"
#include "control/api/metrics.h"
#include "control/api/problem.h"
#include "control/api/route.h"
#include "control/fleet/fleet.h"
#include "base/encode.h"
#include "base/log.h"
#include "base/mem.h"
#include "http/path.h"
#include "http/serialize.h"
#include "http/server.h"
#include "io/listener.h"
#include "io/pool.h"

#define BACKLOG 128
#define REQUEST_ID_MAX 64
#define REQUEST_ID_BYTES 12
#define WRITE_CAP_BYTES (1u << 20)
#define CONNECTIONS_MAX 1024
#define BODIES_MAX_BYTES (256u << 20)

enum exchange_state { READING, RUNNING, ABANDONED, WAITING, ANSWERING };

struct dm_api_server {
    struct dm_loop *loop;
    struct dm_pool *pool;
    const struct dm_api *api;
    struct dm_http_server *http;
    struct dm_listener listener;
    bool is_listening;
    size_t n_exchanges;
    size_t bodies_bytes; /* kept for all exchanges */
};

struct exchange {
    struct dm_api_server *server;
    struct dm_http_request *request;
    enum exchange_state state;
    struct dm_job job;
    struct dm_fleet_wait wait;
    struct dm_call call;
    struct dm_buf body;
    uint64_t since_ns;
};

static void free_exchange(struct exchange *exchange)
{
    struct dm_api_server *server = exchange->server;

    dm_metrics_count(server->api->metrics,
                     exchange->call.route != NULL ? dm_route_index(exchange->call.route) : dm_routes_count,
                     exchange->call.status, dm_loop_now_ns(server->loop) - exchange->since_ns);
    server->bodies_bytes -= exchange->body.len;
    if (exchange->body.len > 0)
        dm_mem_wipe(exchange->body.ptr, exchange->body.len);
    dm_buf_done(&exchange->body);
    dm_call_done(&exchange->call);
    dm_free(exchange);
    server->n_exchanges--;
}

/* --- answering ---------------------------------------------------------------------------------------------------- */

/* Borrows call->fields. */
static struct dm_str answer_fields(struct dm_call *call)
{
    if (call->reply.len > 0)
        dm_call_field(call, "Content-Type", "%s", call->reply_type);
    dm_call_field(call, "Cache-Control", "no-store");
    dm_call_field(call, "X-Request-Id", "%.*s", DM_STR_ARG(call->request_id));
    return dm_buf_str(&call->fields);
}

/* The exchange may be gone afterwards. */
static void answer(struct exchange *exchange)
{
    struct dm_http_message message = {.status = exchange->call.status, .fields = answer_fields(&exchange->call)};

    exchange->state = ANSWERING;
    dm_http_request_reply(exchange->request, &message, dm_buf_str(&exchange->call.reply));
}

/* An answer that the loop gives itself. The exchange may be gone afterwards. */
static void refuse(struct exchange *exchange, int code, const char *reason, const char *detail)
{
    struct dm_call *call = &exchange->call;

    dm_failure_add(&call->failure, code, reason, "", "%s", detail);
    call->status = dm_problem_status(reason);
    call->reply_type = "application/problem+json";
    dm_problem_write(&call->failure, call->request_id, &call->reply);
    answer(exchange);
}

/* --- waiting for live --------------------------------------------------------------------------------------------- */

/* {"live": …} becomes the last member of the answer, or its only one. */
static void add_live(struct exchange *exchange)
{
    struct dm_call *call = &exchange->call;
    struct dm_buf *reply = &call->reply;
    struct dm_jsonw w;

    if (call->status == 204)
        call->status = 200;
    if (reply->len > 2 && reply->ptr[reply->len - 1] == '}') {
        reply->len--;
        dm_buf_add_lit(reply, ",\"live\":");
    } else {
        dm_buf_reset(reply);
        dm_buf_add_lit(reply, "{\"live\":");
    }
    dm_jsonw_init(&w, reply);
    dm_fleet_write_live(&exchange->wait, &w);
    dm_buf_add_char(reply, '}');
}

static void on_live(struct dm_fleet_wait *wait)
{
    struct exchange *exchange = DM_CONTAINER_OF(wait, struct exchange, wait);

    add_live(exchange);
    answer(exchange);
}

static void on_run(struct dm_job *job)
{
    struct exchange *exchange = DM_CONTAINER_OF(job, struct exchange, job);
    struct dm_call *call = &exchange->call;

    dm_metrics_set_jobs(exchange->server->api->metrics, dm_pool_in_flight(exchange->server->pool));
    dm_fleet_publish(call->api->fleet, call->units, call->n_units);
    if (call->has_hold)
        dm_fleet_hold(call->api->fleet, &call->hold);
    if (call->gone_gateway.len > 0)
        dm_fleet_forget(call->api->fleet, call->gone_gateway);
    if (exchange->state == ABANDONED) {
        free_exchange(exchange);
    } else if (call->wants_live && call->status < 300) {
        exchange->state = WAITING;
        exchange->wait.on_done = on_live;
        dm_fleet_wait_start(call->api->fleet, &exchange->wait, call->live_tenant, call->units, call->n_units,
                            call->live_timeout_ms);
    } else {
        answer(exchange);
    }
}

static void run_call(struct dm_job *job)
{
    dm_call_run(&DM_CONTAINER_OF(job, struct exchange, job)->call);
}

/* --- reading ------------------------------------------------------------------------------------------------------ */

static struct dm_str keep(struct dm_call *call, struct dm_str s)
{
    struct dm_str ret = DM_STR("");

    return s.len > 0 && dm_arena_str(&call->arena, s, &ret) < 0 ? DM_STR("") : ret;
}

static bool is_request_id(struct dm_str s)
{
    if (s.len == 0 || s.len > REQUEST_ID_MAX)
        return false;
    for (size_t i = 0; i < s.len; i++)
        if (memchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.:", s.ptr[i], 66) == NULL)
            return false;
    return true;
}

/* The client's own when it is fit to stand in logs and records. */
static struct dm_str request_id(struct dm_call *call, struct dm_str given)
{
    uint8_t random[REQUEST_ID_BYTES];
    char hex[2 * REQUEST_ID_BYTES + 1];

    if (is_request_id(given))
        return keep(call, given);
    dm_crypto_random(random, sizeof(random));
    dm_hex(random, sizeof(random), hex);
    return keep(call, dm_str_of(hex));
}

static struct dm_str field_value(struct dm_call *call, const struct dm_http_head *head, const char *name)
{
    const struct dm_http_field *field = dm_http_head_find_name(head, dm_str_of(name));

    return field != NULL ? keep(call, field->value) : DM_STR("");
}

static void take_head(struct dm_call *call, const struct dm_http_head *head)
{
    call->request_id = request_id(call, dm_http_head_value(head, DM_HTTP_FIELD_ID_X_REQUEST_ID));
    call->method = keep(call, head->method_name);
    call->path = keep(call, head->path);
    call->query = keep(call, head->query);
    call->authorization = field_value(call, head, "authorization");
    call->if_match = field_value(call, head, "if-match");
    call->if_none_match = field_value(call, head, "if-none-match");
    call->idempotency_key = field_value(call, head, "idempotency-key");
    call->content_type = field_value(call, head, "content-type");
}

/* A wildcard domain's '*' comes as it is or escaped (RFC 3986 leaves both); no other byte of a name needs it. */
static size_t unescape_stars(char *to, struct dm_str path)
{
    size_t n = 0;

    for (size_t i = 0; i < path.len; i++) {
        bool is_star = path.len - i > 2 && strncasecmp(path.ptr + i, "%2A", 3) == 0;

        to[n++] = is_star ? '*' : path.ptr[i];
        i += is_star ? 2 : 0;
    }
    return n;
}

static int normalise_path(struct dm_call *call)
{
    char *buf = dm_arena_alloc(&call->arena, call->path.len + 1);
    int rc;

    if (buf == NULL)
        return DM_EBUDGET;
    if ((rc = dm_path_normalise(call->path, 0, buf, &call->path)) < 0)
        return rc;
    call->path.len = unescape_stars(buf, call->path);
    call->path.ptr = buf;
    return 0;
}

/* false: refused, and perhaps gone. */
static bool find_route(struct exchange *exchange)
{
    struct dm_call *call = &exchange->call;
    struct dm_buf allow;
    char memory[128];

    dm_buf_init_fixed(&allow, memory, sizeof(memory));
    if (normalise_path(call) < 0) {
        refuse(exchange, DM_EINVAL, "malformed", "the path is not valid");
        return false;
    }
    call->route = dm_route_find(call->method, call->path, call->params, DM_CALL_PARAMS_MAX, &allow);
    if (call->route != NULL)
        return true;
    if (allow.len > 0) {
        dm_call_field(call, "Allow", "%.*s", DM_STR_ARG(dm_buf_str(&allow)));
        refuse(exchange, DM_EINVAL, "method_not_allowed", "this method is not for this path");
    } else {
        refuse(exchange, DM_ENOENT, "not_found", "there is nothing at this path");
    }
    return false;
}

static void refuse_body(struct exchange *exchange)
{
    char detail[96];

    snprintf(detail, sizeof(detail), "the body is larger than %u bytes", exchange->call.route->body_max);
    refuse(exchange, DM_EBUDGET, "too_large", detail);
}

static void refuse_overload(struct exchange *exchange, const char *detail)
{
    dm_call_field(&exchange->call, "Retry-After", "1");
    refuse(exchange, DM_EBUDGET, "overloaded", detail);
}

static void on_request(void *arg, struct dm_http_request *request, struct dm_http_head *head)
{
    struct dm_api_server *server = arg;
    struct exchange *exchange = dm_calloc(1, sizeof(*exchange));

    server->n_exchanges++;
    exchange->server = server;
    exchange->request = request;
    exchange->state = READING;
    exchange->since_ns = dm_loop_now_ns(server->loop);
    dm_call_init(&exchange->call, server->api);
    dm_buf_init(&exchange->body, 0);
    dm_http_request_set_user(request, exchange);
    take_head(&exchange->call, head);
    if (!find_route(exchange))
        return;
    exchange->body.max = exchange->call.route->body_max;
    if (head->content_length > exchange->body.max)
        refuse_body(exchange);
    else if (head->expects_continue)
        dm_http_request_inform(request, 100, DM_STR(""));
}

static size_t on_body(void *user, struct dm_http_request *request, const char *ptr, size_t len)
{
    struct exchange *exchange = user;
    struct dm_api_server *server = exchange->server;
    size_t max = server->api->bodies_max_bytes, before = exchange->body.len;

    /* Anybody may send one, also without a token. */
    if (server->bodies_bytes + len > (max > 0 ? max : BODIES_MAX_BYTES)) {
        refuse_overload(exchange, "too many large requests come in at once");
        return len;
    }
    dm_buf_add_n(&exchange->body, ptr, len);
    server->bodies_bytes += exchange->body.len - before;
    if (exchange->body.failed)
        refuse_body(exchange);
    return len;
}

static void on_request_end(void *user, struct dm_http_request *request, const struct dm_http_head *trailers)
{
    struct exchange *exchange = user;

    exchange->call.body = dm_buf_str(&exchange->body);
    exchange->job = (struct dm_job){.run = run_call, .done = on_run};
    exchange->state = RUNNING;
    if (dm_pool_submit(exchange->server->pool, &exchange->job) == 0)
        return;
    exchange->state = READING;
    refuse_overload(exchange, "too many requests are waiting for the store");
}

static void on_done(void *user, struct dm_http_request *request)
{
    free_exchange(user);
}

static void on_abort(void *user, struct dm_http_request *request, struct dm_http_end end)
{
    struct exchange *exchange = user;

    exchange->request = NULL;
    if (exchange->state == RUNNING) {
        exchange->state = ABANDONED;
        return;
    }
    if (exchange->state == WAITING)
        dm_fleet_wait_cancel(&exchange->wait);
    free_exchange(exchange);
}

static void on_fault(void *arg, struct dm_http_request *request, struct dm_http_end end,
                     struct dm_http_message *ret_message, struct dm_str *ret_body)
{
    ret_message->fields = DM_STR("Content-Type: application/problem+json\r\n");
    *ret_body = end.fault
                    ? DM_STR("{\"type\":\"urn:daemun:reason:malformed\",\"title\":\"The request can't be read\","
                             "\"reason\":\"malformed\",\"errors\":[]}")
                    : DM_STR("{\"type\":\"urn:daemun:reason:request_timeout\",\"title\":\"The request did not come "
                             "in time\",\"reason\":\"request_timeout\",\"errors\":[]}");
}

static const struct dm_http_handler handler = {
    .on_request = on_request,
    .on_body = on_body,
    .on_request_end = on_request_end,
    .on_done = on_done,
    .on_abort = on_abort,
    .on_fault = on_fault,
};

/* ------------------------------------------------------------------------------------------------------------------ */

struct dm_api_server *dm_api_server_new(struct dm_loop *loop, struct dm_pool *pool, const struct dm_api *api)
{
    struct dm_http_server_settings settings = dm_http_server_defaults;
    struct dm_api_server *server = dm_calloc(1, sizeof(*server));

    settings.write_cap_bytes = WRITE_CAP_BYTES;
    settings.connections_max = CONNECTIONS_MAX;
    settings.allows_http2 = false;
    settings.drain_idle_ms = 0;
    server->loop = loop;
    server->pool = pool;
    server->api = api;
    server->http = dm_http_server_new(loop, &settings, &handler, server);
    return server;
}

void dm_api_server_accept(struct dm_api_server *server, int fd, const struct dm_addr *peer)
{
    dm_http_server_accept(server->http, fd, peer);
}

static void on_accept(struct dm_listener *listener, int fd, const struct dm_addr *peer)
{
    dm_api_server_accept(DM_CONTAINER_OF(listener, struct dm_api_server, listener), fd, peer);
}

int dm_api_server_listen(struct dm_api_server *server, const struct dm_addr *addr, struct dm_err *err)
{
    int rc = dm_listener_open(&server->listener, server->loop, addr, BACKLOG, false, on_accept, err);

    server->is_listening = rc >= 0;
    return rc;
}

const struct dm_addr *dm_api_server_addr(const struct dm_api_server *server)
{
    return &server->listener.addr;
}

void dm_api_server_drain(struct dm_api_server *server)
{
    if (server->is_listening)
        dm_listener_close(&server->listener);
    server->is_listening = false;
    dm_http_server_drain(server->http);
}

size_t dm_api_server_busy(const struct dm_api_server *server)
{
    return server->n_exchanges + dm_http_server_connections(server->http);
}

void dm_api_server_free(struct dm_api_server *server)
{
    if (server == NULL)
        return;
    if (server->is_listening)
        dm_listener_close(&server->listener);
    dm_http_server_free(server->http);
    dm_free(server);
}
