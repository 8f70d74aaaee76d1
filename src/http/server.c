/* The life of connections: accepted, timed, drained, closed. */
#include "http/server_int.h"

#include "base/mem.h"

#define LINGER_MS 2000 /* for the client to read our last answer */
#define HEAD_OUT_MAX (128u << 10)
#define POLL_FAILURES_MAX 16 /* while the last connections close */

const struct dm_http_server_settings dm_http_server_defaults = {
    .limits = {32u << 10, 8u << 10, 100, 8u << 10, 4u << 10, false},
    .body_bytes_max = 0,
    .head_timeout_ms = 10000,
    .idle_timeout_ms = 75000,
    .body_timeout_ms = 30000,
    .body_rate_bytes = 0,
    .write_cap_bytes = 256u << 10,
    .connections_max = 100000,
};

/* --- ending ------------------------------------------------------------------------------------------------------- */

void dm_http_conn_close(struct dm_http_conn *c)
{
    c->reading = READ_CLOSED;
    dm_timer_cancel(c->server->loop, &c->timer);
    dm_stream_close(&c->stream);
}

/* All is sent. */
static void part(struct dm_http_conn *c)
{
    if (c->has_eof) {
        dm_http_conn_close(c);
        return;
    }
    c->reading = READ_CLOSED;
    dm_timer_cancel(c->server->loop, &c->timer);
    dm_stream_close_gracefully(&c->stream, LINGER_MS);
}

void dm_http_conn_leave(struct dm_http_conn *c)
{
    if (c->reading == READ_LEAVING || c->reading == READ_CLOSED)
        return;
    dm_stream_flush(&c->stream);
    if (dm_stream_unsent(&c->stream) == 0) {
        part(c);
        return;
    }
    c->reading = READ_LEAVING;
    dm_stream_shutdown(&c->stream);
    dm_stream_resume(&c->stream);
    dm_http_conn_look(c);
    dm_http_conn_arm(c, DM_MIN(dm_http_pace_period_ms(c->server->settings.body_timeout_ms), LINGER_MS));
}

void dm_http_conn_fail(struct dm_http_conn *c, struct dm_http_end end)
{
    void *user = c->request.user;
    bool has_request = c->has_request;

    c->has_request = false;
    c->request.user = NULL;
    dm_http_conn_close(c);
    if (has_request)
        c->server->handler->on_abort(user, &c->request, end);
}

void dm_http_conn_refuse(struct dm_http_conn *c, struct dm_http_end end, unsigned status)
{
    bool has_request = c->has_request;
    void *user = c->request.user;

    if (c->writing != WRITE_NONE) {
        dm_http_conn_fail(c, end);
        return;
    }
    c->has_request = false;
    dm_http_conn_answer_fault(c, end, status);
    c->request.user = NULL;
    if (has_request)
        c->server->handler->on_abort(user, &c->request, end);
}

static void on_error(struct dm_stream *stream, int code)
{
    dm_http_conn_fail(dm_http_conn_of(stream), (struct dm_http_end){DM_HTTP_ABORT_PEER_RESET, 0, code});
}

/* --- timers ------------------------------------------------------------------------------------------------------- */

void dm_http_conn_arm(struct dm_http_conn *c, uint32_t ms)
{
    if (DM_LIKELY(ms > 0))
        dm_timer_arm(c->server->loop, &c->timer, ms);
    else
        dm_timer_cancel(c->server->loop, &c->timer);
}

void dm_http_conn_arm_look(struct dm_http_conn *c)
{
    dm_http_conn_arm(c, dm_http_pace_period_ms(c->server->settings.body_timeout_ms));
}

void dm_http_conn_look(struct dm_http_conn *c)
{
    uint64_t now_ns = dm_loop_now_ns(c->server->loop);
    bool is_reading = c->reading == READ_BODY && !c->is_body_stalled && !c->is_expecting;

    dm_http_pace_look(&c->in, c->stream.bytes_in, is_reading, now_ns);
    dm_http_pace_look(&c->out, c->stream.bytes_out, dm_stream_unsent(&c->stream) > 0, now_ns);
}

static enum dm_http_pace_verdict judge(const struct dm_http_conn *c, const struct dm_http_pace *pace)
{
    return dm_http_pace_judge(pace, c->server->settings.body_timeout_ms, c->server->settings.body_rate_bytes);
}

/* A slow upload is forgiven while the response moves, and the other way round, unless a rate is asked for. */
static enum dm_http_pace_verdict judge_both(const struct dm_http_conn *c)
{
    enum dm_http_pace_verdict in = judge(c, &c->in), out = judge(c, &c->out);

    if (in == DM_HTTP_PACE_SLOW || out == DM_HTTP_PACE_SLOW)
        return DM_HTTP_PACE_SLOW;
    if (out == DM_HTTP_PACE_IDLE)
        return out;
    return c->out.is_waiting ? DM_HTTP_PACE_FINE : in;
}

/* Only a request that is late itself is answered so. One that came whole may be at work behind a response that the client does
 * not read: 408 would invite it to repeat (RFC 9110 section 15.5.9). */
static void give_up(struct dm_http_conn *c, enum dm_http_abort why)
{
    struct dm_http_end end = {why, 0, 0};

    if (c->in.is_waiting && judge(c, &c->in) != DM_HTTP_PACE_FINE)
        dm_http_conn_refuse(c, end, 408);
    else
        dm_http_conn_fail(c, end);
}

static void on_due_in_request(struct dm_http_conn *c)
{
    enum dm_http_pace_verdict verdict;

    dm_http_conn_look(c);
    if (!c->in.is_waiting && !c->out.is_waiting)
        return;
    if ((verdict = judge_both(c)) == DM_HTTP_PACE_FINE) {
        dm_http_conn_arm_look(c);
    } else if (c->writing == WRITE_DONE && !c->out.is_waiting) {
        c->reading = READ_COMPLETE; /* answered: the rest of the request is not worth more waiting */
        c->is_closing = true;
        dm_http_conn_maybe_done(c);
    } else {
        give_up(c, verdict == DM_HTTP_PACE_SLOW ? DM_HTTP_ABORT_BODY_RATE : DM_HTTP_ABORT_IDLE);
    }
}

/* Between requests, or after the last, with a response that is not sent yet. */
static void on_due_sending(struct dm_http_conn *c)
{
    dm_http_conn_look(c);
    if (judge(c, &c->out) != DM_HTTP_PACE_FINE)
        dm_http_conn_close(c);
    else if (c->reading == READ_LEAVING)
        dm_http_conn_arm(c, DM_MIN(dm_http_pace_period_ms(c->server->settings.body_timeout_ms), LINGER_MS));
    else
        dm_http_conn_arm_look(c);
    c->is_sending = true;
}

static void on_due_idle(struct dm_http_conn *c)
{
    if (!c->is_sending) {
        dm_http_conn_close(c);
        return;
    }
    c->is_sending = false;
    dm_http_conn_arm(c, c->server->settings.idle_timeout_ms);
}

static void on_due(struct dm_timer *timer)
{
    struct dm_http_conn *c = DM_CONTAINER_OF(timer, struct dm_http_conn, timer);

    if (c->has_request)
        on_due_in_request(c);
    else if (c->reading == READ_HEAD)
        dm_http_conn_answer_fault(c, (struct dm_http_end){DM_HTTP_ABORT_HEAD_TIMEOUT, 0, 0}, 408);
    else if (dm_stream_unsent(&c->stream) > 0)
        on_due_sending(c);
    else if (c->reading == READ_LEAVING)
        part(c);
    else
        on_due_idle(c);
}

/* --- connections -------------------------------------------------------------------------------------------------- */

static void on_closed(struct dm_stream *stream)
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
    dm_timer_cancel(server->loop, &c->timer);
    dm_http_writer_done(&c->writer);
    dm_freelist_give(&server->free_conns, c);
}

static void link_conn(struct dm_http_server *server, struct dm_http_conn *c)
{
    c->next = server->conns;
    if (c->next)
        c->next->prev = c;
    server->conns = c;
    server->n_conns++;
}

void dm_http_server_accept(struct dm_http_server *server, int fd, const struct dm_addr *peer)
{
    struct dm_http_conn *c;

    if (server->is_draining || server->n_conns >= server->settings.connections_max) {
        dm_loop_sys(server->loop)->ops->close(dm_loop_sys(server->loop), fd);
        return;
    }
    c = dm_freelist_take(&server->free_conns);
    memset(c, 0, sizeof(*c));
    c->server = server;
    c->request = (struct dm_http_request){&dm_h1_request_ops, c, NULL};
    c->peer = *peer;
    c->timer.on_due = on_due;
    if (dm_stream_open(&c->stream, server->loop, &server->type, fd) < 0) {
        dm_freelist_give(&server->free_conns, c);
        return;
    }
    link_conn(server, c);
    dm_http_conn_arm(c, server->settings.head_timeout_ms ? server->settings.head_timeout_ms
                                                         : server->settings.idle_timeout_ms);
}

struct dm_http_server *dm_http_server_new(struct dm_loop *loop, const struct dm_http_server_settings *settings,
                                          const struct dm_http_handler *handler, void *arg)
{
    struct dm_http_server *server = dm_calloc(1, sizeof(*server));

    server->loop = loop;
    server->settings = *settings;
    server->handler = handler;
    server->arg = arg;
    server->type = (struct dm_stream_type){
        .on_read = dm_http_conn_on_read,
        .on_eof = dm_http_conn_on_eof,
        .on_writable = dm_http_conn_on_writable,
        .on_error = on_error,
        .on_closed = on_closed,
        .read_max_bytes = DM_MAX(settings->limits.head_bytes, settings->limits.trailer_bytes) + 4096,
        .write_max_bytes = (uint32_t)DM_MIN(settings->write_cap_bytes, (size_t)1 << 30),
    };
    dm_freelist_init(&server->free_conns, sizeof(struct dm_http_conn), 4096);
    dm_buf_init(&server->out, HEAD_OUT_MAX);
    return server;
}

void dm_http_server_free(struct dm_http_server *server)
{
    unsigned n_failed = 0;

    if (!server)
        return;
    server->is_draining = true;
    for (struct dm_http_conn *c = server->conns; c; c = c->next)
        dm_http_conn_fail(c, (struct dm_http_end){DM_HTTP_ABORT_SHUTDOWN, 0, 0});
    while (server->conns && n_failed < POLL_FAILURES_MAX)
        n_failed += dm_loop_turn(server->loop, 0) < 0;
    dm_freelist_done(&server->free_conns);
    dm_buf_done(&server->out);
    dm_free(server);
}

void dm_http_server_drain(struct dm_http_server *server)
{
    server->is_draining = true;
    for (struct dm_http_conn *c = server->conns; c; c = c->next)
        if ((c->reading == READ_IDLE || c->reading == READ_HELD) && !c->has_request)
            dm_http_conn_leave(c);
}

size_t dm_http_server_connections(const struct dm_http_server *server)
{
    return server->n_conns;
}

/* --- requests of HTTP/1.1 ----------------------------------------------------------------------------------------- */

static uint64_t bytes_in(const struct dm_http_request *request)
{
    return request->conn->position - request->conn->request_in;
}

static uint64_t bytes_out(const struct dm_http_request *request)
{
    const struct dm_http_conn *c = request->conn;
    uint64_t sent = c->stream.bytes_out + dm_stream_unsent(&c->stream);

    return sent > c->request_out ? sent - c->request_out : 0;
}

const struct dm_http_request_ops dm_h1_request_ops = {
    .inform = dm_h1_request_inform,
    .respond = dm_h1_request_respond,
    .write = dm_h1_request_write,
    .end = dm_h1_request_end,
    .reply = dm_h1_request_reply,
    .abort = dm_h1_request_abort,
    .resume = dm_h1_request_resume,
    .ignore_body = dm_h1_request_ignore_body,
    .limit_body = dm_h1_request_limit_body,
    .bytes_in = bytes_in,
    .bytes_out = bytes_out,
};
