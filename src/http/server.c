/* Connections: accepted, given to the protocol that their first bytes are in, closed. */
#include <errno.h>

#include "base/mem.h"
#include "http/h1_server_int.h"
#include "http/h2_server_int.h"
#include "io/look.h"
#include "io/proxy_protocol.h"
#include "io/tls.h"

#define HEAD_OUT_MAX (128u << 10)
#define SURPLUS_MAX 64 /* connections that are told that there are too many */
#define SURPLUS_MS 2000
#define LOOKS_MAX 32         /* a client that sends so few bytes at a time is served as it comes */
#define POLL_FAILURES_MAX 16 /* while the last connections close */

const struct dm_http_server_settings dm_http_server_defaults = {
    .limits = {32u << 10, 8u << 10, 100, 8u << 10, 4u << 10, false},
    .body_bytes_max = 0,
    .head_timeout_ms = 10000,
    .idle_timeout_ms = 75000,
    .body_timeout_ms = 30000,
    .body_rate_bytes = 0,
    .half_closed_timeout_ms = 5000,
    .write_cap_bytes = 256u << 10,
    .connections_max = 100000,
    .allows_http2 = true,
    .tunnel_idle_timeout_ms = 300000,
    .tunnel_timeout_ms = 0,
    .drain_idle_ms = 5000,
    .http2 =
        {
            .streams_max = 128,
            .stream_window_bytes = 64u << 10,
            .connection_window_bytes = 1u << 20,
            .header_table_bytes = 4096,
            .frame_max_bytes = 16384,
        },
};

/* --- which protocol ----------------------------------------------------------------------------------------------- */

/* RFC 9113 section 3.4 */
static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

static bool may_be_preface(const char *ptr, size_t len)
{
    return memcmp(ptr, preface, DM_MIN(len, sizeof(preface) - 1)) == 0;
}

static size_t go_on(struct dm_http_conn *conn, const struct dm_stream_type *type, const char *ptr, size_t len)
{
    dm_stream_set_type(&conn->stream, type);
    return type->on_read(&conn->stream, ptr, len);
}

static size_t on_first_read(struct dm_stream *stream, const char *ptr, size_t len)
{
    struct dm_http_conn *conn = dm_http_conn_of(stream);
    struct dm_http_server *server = conn->server;
    enum dm_http_protocol protocol = DM_HTTP_PROTOCOL_ANY;

    if (server->handler->on_first_bytes)
        protocol = server->handler->on_first_bytes(server->arg, conn);
    if (!server->h2 || protocol == DM_HTTP_PROTOCOL_1)
        return go_on(conn, &server->type, ptr, len);
    if (protocol == DM_HTTP_PROTOCOL_ANY && may_be_preface(ptr, len)) {
        if (len < sizeof(preface) - 1)
            return 0;
        protocol = DM_HTTP_PROTOCOL_2;
    }
    if (protocol != DM_HTTP_PROTOCOL_2)
        return go_on(conn, &server->type, ptr, len);
    dm_h2_conn_init((struct dm_h2_conn *)conn);
    if (DM_UNLIKELY(server->is_draining)) /* since it was accepted */
        conn->ops->drain(conn);
    return go_on(conn, dm_h2_type(server), ptr, len);
}

/* --- connections -------------------------------------------------------------------------------------------------- */

void dm_http_conn_on_closed(struct dm_stream *stream)
{
    struct dm_http_conn *c = dm_http_conn_of(stream);
    struct dm_http_server *server = c->server;

    if (c->next)
        c->next->prev = c->prev;
    if (c->prev)
        c->prev->next = c->next;
    else
        server->conns = c->next;
    server->n_conns--;
    server->n_surplus -= c->is_surplus;
    server->stats->connections = server->n_conns;
    dm_timer_cancel(server->loop, &c->timer);
    c->ops->done(c);
    if (server->handler->on_conn_end)
        server->handler->on_conn_end(server->arg, c);
    dm_freelist_give(&server->free_conns, c);
}

static void link_conn(struct dm_http_server *server, struct dm_http_conn *c)
{
    c->next = server->conns;
    if (c->next)
        c->next->prev = c;
    server->conns = c;
    server->n_conns++;
    server->stats->connections = server->n_conns;
    server->stats->accepted++;
}

/* HTTP/1.1 alone needs no look at the first bytes. */
static const struct dm_stream_type *first_type(const struct dm_http_server *server)
{
    return server->h2 || server->handler->on_first_bytes ? &server->first_type : &server->type;
}

void dm_http_conn_broken(struct dm_http_conn *conn, int code)
{
    const struct dm_http_server *server = conn->server;

    if (DM_UNLIKELY(conn->is_unnamed) && code == -EPROTO)
        server->stats->refused[DM_HTTP_REFUSED_PROXY_PROTOCOL]++;
    if (server->handler->on_broken)
        server->handler->on_broken(server->arg, conn, code);
    conn->ops->fail(conn, (struct dm_http_end){DM_HTTP_ABORT_PEER_RESET, 0, code});
}

static void set_peer(struct dm_http_conn *conn, const struct dm_addr *peer)
{
    size_t bytes = peer->ss.ss_family == AF_UNIX ? sizeof(peer->ss.ss_family) : peer->len;

    conn->peer_bytes = (uint8_t)DM_MIN(bytes, sizeof(conn->peer));
    memcpy(conn->peer, &peer->ss, conn->peer_bytes);
}

void dm_http_conn_count_timeout(struct dm_http_conn *conn, enum dm_http_timeout what)
{
    const struct dm_http_server *server = conn->server;

    server->stats->timeouts[what]++;
    if (server->handler->on_timeout)
        server->handler->on_timeout(server->arg, conn, what);
}

static enum dm_look on_look(struct dm_stream *stream, const char *ptr, size_t len, bool is_last)
{
    struct dm_http_conn *c = dm_http_conn_of(stream);
    struct dm_http_server *server = c->server;

    if (!server->look || c->n_looks >= LOOKS_MAX)
        return DM_LOOK_SERVE;
    c->n_looks++;
    switch (server->look(server->arg, c, ptr, len)) {
    case DM_HTTP_LOOK_MORE: return is_last ? DM_LOOK_SERVE : DM_LOOK_MORE;
    case DM_HTTP_LOOK_GONE: return DM_LOOK_GONE;
    default: return DM_LOOK_SERVE;
    }
}

static int on_proxy_header(struct dm_stream *stream, const struct dm_proxy_header *header)
{
    struct dm_http_conn *c = dm_http_conn_of(stream);
    const struct dm_http_handler *handler = c->server->handler;

    c->is_unnamed = false;
    if (DM_UNLIKELY(c->server->look != NULL))
        dm_look_expect(stream, on_look);
    if (!header->has_source)
        return 0;
    set_peer(c, &header->source);
    return handler->on_source ? handler->on_source(c->server->arg, c) : 0;
}

/* How a connection begins. */
enum opening { PLAINLY, UNNAMED, CLEARLY }; /* with a PROXY header; without TLS and not looked at */

/* NULL when it can't be served; the descriptor is closed. */
static struct dm_http_conn *open_conn(struct dm_http_server *server, const struct dm_stream_type *type, int fd,
                                      const struct dm_addr *peer, enum opening opening)
{
    struct dm_http_conn *c = dm_freelist_take(&server->free_conns);

    memset(c, 0, sizeof(struct dm_h1_conn));
    c->server = server;
    set_peer(c, peer);
    c->head_timeout_ms = server->settings.head_timeout_ms;
    c->idle_timeout_ms = server->settings.idle_timeout_ms;
    c->streams_max = server->settings.http2.streams_max;
    dm_h1_conn_init((struct dm_h1_conn *)c);
    if (dm_stream_open(&c->stream, server->loop, type, fd) < 0) {
        dm_freelist_give(&server->free_conns, c);
        return NULL;
    }
    dm_stream_set_flow(&c->stream, server->settings.flow);
    dm_timer_set_flow(server->loop, &c->timer, server->settings.flow);
    c->is_unnamed = opening == UNNAMED;
    if (DM_UNLIKELY(opening == UNNAMED))
        dm_proxy_expect(&c->stream, on_proxy_header);
    else if (DM_UNLIKELY(server->look != NULL) && opening == PLAINLY)
        dm_look_expect(&c->stream, on_look);
    if (server->settings.tls && opening != CLEARLY)
        dm_tls_serve(&c->stream, server->settings.tls);
    link_conn(server, c);
    dm_http_conn_arm(c, c->head_timeout_ms ? c->head_timeout_ms : c->idle_timeout_ms);
    return c;
}

void dm_http_server_count_refusal(struct dm_http_server *server, enum dm_http_refusal refusal)
{
    server->stats->refused[refusal]++;
}

void dm_http_server_turn_away(struct dm_http_server *server, int fd, enum dm_http_refusal refusal)
{
    dm_http_server_count_refusal(server, refusal);
    dm_loop_sys(server->loop)->ops->close(dm_loop_sys(server->loop), fd);
}

static bool is_full(const struct dm_http_server *server)
{
    return server->n_conns - server->n_surplus >= server->settings.connections_max;
}

/* A client that sent nothing yet would not know what to do with an answer. */
static size_t on_read_surplus(struct dm_stream *stream, const char *ptr, size_t len)
{
    struct dm_h1_conn *c = dm_h1_conn_of(stream);

    dm_stream_set_type(stream, &c->base.server->type);
    dm_h1_conn_answer_fault(c, (struct dm_http_end){DM_HTTP_ABORT_CROWDED, 0, 0}, 503);
    return len;
}

static struct dm_http_conn *accept_surplus(struct dm_http_server *server, int fd, const struct dm_addr *peer)
{
    struct dm_http_conn *c;

    if (server->n_surplus == SURPLUS_MAX || server->settings.tls) {
        dm_http_server_turn_away(server, fd, DM_HTTP_REFUSED_CROWDED);
        return NULL;
    }
    server->stats->refused[DM_HTTP_REFUSED_CROWDED]++;
    if (!(c = open_conn(server, &server->surplus_type, fd, peer, CLEARLY)))
        return NULL;
    c->is_surplus = true;
    server->n_surplus++;
    dm_http_conn_arm(c, SURPLUS_MS);
    return c;
}

struct dm_http_conn *dm_http_server_accept(struct dm_http_server *server, int fd, const struct dm_addr *peer)
{
    if (DM_UNLIKELY(server->is_draining)) {
        dm_http_server_turn_away(server, fd, DM_HTTP_REFUSED_DRAINING);
        return NULL;
    }
    if (DM_UNLIKELY(is_full(server)))
        return accept_surplus(server, fd, peer);
    return open_conn(server, first_type(server), fd, peer, PLAINLY);
}

void dm_http_server_accept_proxied(struct dm_http_server *server, int fd, const struct dm_addr *peer)
{
    if (server->is_draining || is_full(server))
        dm_http_server_turn_away(server, fd, server->is_draining ? DM_HTTP_REFUSED_DRAINING : DM_HTTP_REFUSED_CROWDED);
    else
        (void)open_conn(server, first_type(server), fd, peer, UNNAMED);
}

struct dm_http_conn *dm_http_server_accept_clear(struct dm_http_server *server, int fd, const struct dm_addr *peer)
{
    if (!server->is_draining && !is_full(server))
        return open_conn(server, first_type(server), fd, peer, CLEARLY);
    dm_http_server_turn_away(server, fd, server->is_draining ? DM_HTTP_REFUSED_DRAINING : DM_HTTP_REFUSED_CROWDED);
    return NULL;
}

void dm_http_server_set_look(struct dm_http_server *server, dm_http_look_cb look)
{
    server->look = look;
}

struct dm_http_server *dm_http_server_new(struct dm_loop *loop, const struct dm_http_server_settings *settings,
                                          const struct dm_http_handler *handler, void *arg)
{
    struct dm_http_server *server = dm_calloc(1, sizeof(*server));

    server->loop = loop;
    server->settings = *settings;
    server->handler = handler;
    server->arg = arg;
    dm_h1_type_init(&server->type, settings);
    server->surplus_type = server->type;
    server->surplus_type.on_read = on_read_surplus;
    server->stats = settings->stats ? settings->stats : &server->own_stats;
    server->stats->connections = 0;
    server->first_type = server->type;
    server->first_type.on_read = on_first_read;
    dm_freelist_init(&server->free_conns, DM_MAX(sizeof(struct dm_h1_conn), sizeof(struct dm_h2_conn)), 4096);
    if (settings->allows_http2)
        server->h2 = dm_h2_shared_new(settings);
    dm_buf_init(&server->out, HEAD_OUT_MAX);
    return server;
}

void dm_http_server_free(struct dm_http_server *server)
{
    unsigned n_failed = 0;

    if (!server)
        return;
    server->is_draining = true;
    dm_http_server_end_requests(server);
    for (struct dm_http_conn *c = server->conns; c; c = c->next)
        c->ops->fail(c, (struct dm_http_end){DM_HTTP_ABORT_SHUTDOWN, 0, 0});
    while (server->conns && n_failed < POLL_FAILURES_MAX)
        n_failed += dm_loop_turn(server->loop, 0) < 0;
    dm_freelist_done(&server->free_conns);
    dm_h2_shared_free(server->h2);
    dm_buf_done(&server->out);
    dm_free(server);
}

void dm_http_server_drain(struct dm_http_server *server)
{
    server->is_draining = true;
    for (struct dm_http_conn *c = server->conns; c; c = c->next)
        c->ops->drain(c);
}

void dm_http_server_drain_end(struct dm_http_server *server)
{
    server->is_draining = server->has_drained = true;
    for (struct dm_http_conn *c = server->conns; c; c = c->next)
        c->ops->drain_end(c);
}

void dm_http_server_end_requests(struct dm_http_server *server)
{
    for (struct dm_http_conn *c = server->conns; c; c = c->next)
        c->ops->end_requests(c);
}

size_t dm_http_server_connections(const struct dm_http_server *server)
{
    return server->n_conns;
}

const struct dm_http_server_stats *dm_http_server_stats(const struct dm_http_server *server)
{
    return server->stats;
}

const struct dm_http2_counters *dm_http_server_http2_counters(const struct dm_http_server *server)
{
    return &server->stats->http2;
}

void dm_http_conn_set_user(struct dm_http_conn *conn, void *user)
{
    conn->user = user;
}

void *dm_http_conn_user(const struct dm_http_conn *conn)
{
    return conn->user;
}

void dm_http_conn_set_entry(struct dm_http_conn *conn, void *entry)
{
    conn->entry = entry;
}

void *dm_http_conn_entry(const struct dm_http_conn *conn)
{
    return conn->entry;
}

void dm_http_conn_turn_away(struct dm_http_conn *conn, enum dm_http_refusal refusal)
{
    conn->server->stats->refused[refusal]++;
    conn->ops->fail(conn, (struct dm_http_end){DM_HTTP_ABORT_CROWDED, 0, 0});
}

void *dm_http_conn_arg(const struct dm_http_conn *conn)
{
    return conn->server->arg;
}

void dm_http_conn_peer(const struct dm_http_conn *conn, struct dm_addr *ret)
{
    memset(ret, 0, sizeof(*ret));
    memcpy(&ret->ss, conn->peer, conn->peer_bytes);
    ret->len = conn->peer_bytes;
}

int dm_http_conn_fd(const struct dm_http_conn *conn)
{
    return conn->stream.watch.fd;
}

const struct dm_stream *dm_http_conn_stream(const struct dm_http_conn *conn)
{
    return &conn->stream;
}

void dm_http_conn_set_account(struct dm_http_conn *conn, uint64_t *buffered)
{
    dm_stream_set_account(&conn->stream, buffered);
}

void dm_http_conn_set_traffic(struct dm_http_conn *conn, struct dm_stream_traffic *traffic)
{
    dm_stream_set_traffic(&conn->stream, traffic);
}

void dm_http_conn_set_flow(struct dm_http_conn *conn, struct dm_flow *flow)
{
    flow = flow ? flow : conn->server->settings.flow;
    dm_stream_set_flow(&conn->stream, flow);
    dm_timer_set_flow(conn->server->loop, &conn->timer, flow);
    dm_stream_enter(&conn->stream);
}

struct dm_http_conn *dm_http_conn_of_stream(struct dm_stream *stream)
{
    return dm_http_conn_of(stream);
}

void dm_http_conn_set_timeouts(struct dm_http_conn *conn, uint32_t head_timeout_ms, uint32_t idle_timeout_ms)
{
    conn->head_timeout_ms = head_timeout_ms;
    conn->idle_timeout_ms = idle_timeout_ms;
    if (conn->ops->heed_timeouts)
        conn->ops->heed_timeouts(conn);
}

void dm_http_conn_limit_streams(struct dm_http_conn *conn, uint32_t max)
{
    if (max >= conn->streams_max)
        return;
    conn->streams_max = max;
    if (conn->ops->limit_streams)
        conn->ops->limit_streams(conn);
}
