/* The life of HTTP/1.1 connections: timed, drained, closed. */
#include "http/h1_server_int.h"

#include <errno.h>

/* --- ending ------------------------------------------------------------------------------------------------------- */

void dm_h1_conn_close(struct dm_h1_conn *c)
{
    c->reading = READ_CLOSED;
    dm_timer_cancel(c->base.server->loop, &c->base.timer);
    dm_stream_close(&c->base.stream);
}

/* Nothing of it may pass for an orderly end: a body that only the end of the connection delimits, or a tunnel, is one that the client
 * can't tell from a whole one in clear text but by a reset. */
static void cut(struct dm_h1_conn *c)
{
    c->reading = READ_CLOSED;
    dm_timer_cancel(c->base.server->loop, &c->base.timer);
    dm_stream_flush(&c->base.stream);
    if (c->writer.framing == DM_HTTP_FRAMING_CLOSE)
        dm_stream_reset(&c->base.stream);
    else
        dm_stream_abort(&c->base.stream);
}

void dm_h1_conn_break(struct dm_h1_conn *c)
{
    if (c->writing == WRITE_BODY || c->is_tunnel || dm_stream_unsent(&c->base.stream) > 0)
        cut(c);
    else
        dm_h1_conn_close(c);
}

/* All is sent. */
static void part(struct dm_h1_conn *c)
{
    if (c->has_eof) {
        dm_h1_conn_close(c);
        return;
    }
    c->reading = READ_CLOSED;
    dm_timer_cancel(c->base.server->loop, &c->base.timer);
    dm_stream_close_gracefully(&c->base.stream, DM_HTTP_LINGER_MS);
}

void dm_h1_conn_leave(struct dm_h1_conn *c)
{
    if (c->reading == READ_LEAVING || c->reading == READ_CLOSED)
        return;
    dm_stream_flush(&c->base.stream);
    if (dm_stream_unsent(&c->base.stream) == 0) {
        part(c);
        return;
    }
    c->reading = READ_LEAVING;
    dm_stream_shutdown(&c->base.stream);
    dm_stream_resume(&c->base.stream);
    dm_h1_conn_look(c);
    dm_http_conn_arm(&c->base, DM_MIN(dm_http_pace_period_ms(c->body_timeout_ms), DM_HTTP_LINGER_MS));
}

void dm_h1_conn_fail(struct dm_h1_conn *c, struct dm_http_end end)
{
    void *user = c->request.user;
    bool has_request = c->has_request;

    c->has_request = false;
    c->request.user = NULL;
    dm_h1_conn_break(c);
    c->is_tunnel = false;
    if (has_request)
        c->base.server->handler->on_abort(user, &c->request, end);
}

void dm_h1_conn_refuse(struct dm_h1_conn *c, struct dm_http_end end, unsigned status)
{
    bool has_request = c->has_request;
    void *user = c->request.user;

    if (c->writing != WRITE_NONE) {
        dm_h1_conn_fail(c, end);
        return;
    }
    c->has_request = false;
    dm_h1_conn_answer_fault(c, end, status);
    c->request.user = NULL;
    if (has_request)
        c->base.server->handler->on_abort(user, &c->request, end);
}

static void on_error(struct dm_stream *stream, int code)
{
    dm_http_conn_broken(dm_http_conn_of(stream), code);
}

/* --- timers ------------------------------------------------------------------------------------------------------- */

/* The client has ended its direction and may have gone; C7. */
static bool is_half_closed(const struct dm_h1_conn *c)
{
    return c->has_eof && c->has_request && c->reading == READ_COMPLETE && !c->is_tunnel;
}

void dm_h1_conn_arm_look(struct dm_h1_conn *c)
{
    uint32_t ms = dm_http_pace_period_ms(c->body_timeout_ms);

    if (DM_UNLIKELY(is_half_closed(c)))
        ms = DM_MIN(ms, dm_http_pace_period_ms(c->base.server->settings.half_closed_timeout_ms));
    dm_http_conn_arm(&c->base, ms);
}

/* In `in`, as nothing comes in any more: how long the owner has given nothing. */
static void look_half_closed(struct dm_h1_conn *c, uint64_t now_ns)
{
    size_t unsent = dm_stream_unsent(&c->base.stream);

    dm_http_pace_look(&c->in, c->base.stream.bytes_out + unsent, unsent == 0, now_ns);
}

void dm_h1_conn_look(struct dm_h1_conn *c)
{
    uint64_t now_ns = dm_loop_now_ns(c->base.server->loop);
    bool is_reading = c->reading == READ_BODY && !c->is_body_stalled && !c->is_expecting;

    if (DM_UNLIKELY(is_half_closed(c)))
        look_half_closed(c, now_ns);
    else
        dm_http_pace_look(&c->in, c->base.stream.bytes_in, is_reading, now_ns);
    dm_http_pace_look(&c->out, c->base.stream.bytes_out, dm_stream_unsent(&c->base.stream) > 0, now_ns);
}

static enum dm_http_pace_verdict judge(const struct dm_h1_conn *c, const struct dm_http_pace *pace)
{
    return dm_http_pace_judge(pace, c->body_timeout_ms, c->body_rate_bytes);
}

/* A slow upload is forgiven while the response moves, and the other way round, unless a rate is asked for. */
static enum dm_http_pace_verdict judge_both(const struct dm_h1_conn *c)
{
    enum dm_http_pace_verdict in = judge(c, &c->in), out = judge(c, &c->out);

    if (in == DM_HTTP_PACE_SLOW || out == DM_HTTP_PACE_SLOW)
        return DM_HTTP_PACE_SLOW;
    if (out == DM_HTTP_PACE_IDLE)
        return out;
    return c->out.is_waiting ? DM_HTTP_PACE_FINE : in;
}

static enum dm_http_abort abort_of(enum dm_http_pace_verdict verdict)
{
    return verdict == DM_HTTP_PACE_SLOW ? DM_HTTP_ABORT_BODY_RATE : DM_HTTP_ABORT_IDLE;
}

static void give_up_on_reader(struct dm_h1_conn *c, enum dm_http_abort why)
{
    dm_http_conn_count_timeout(&c->base, DM_HTTP_TIMEOUT_READER);
    dm_h1_conn_fail(c, (struct dm_http_end){why, 0, 0});
}

/* Only a request that is late itself is answered so. One that came whole may be at work behind a response that the client does
 * not read: 408 would invite it to repeat (RFC 9110 section 15.5.9). */
static void give_up(struct dm_h1_conn *c, enum dm_http_abort why)
{
    if (c->in.is_waiting && judge(c, &c->in) != DM_HTTP_PACE_FINE) {
        dm_http_conn_count_timeout(&c->base, DM_HTTP_TIMEOUT_BODY);
        dm_h1_conn_refuse(c, (struct dm_http_end){why, 0, 0}, 408);
    } else {
        give_up_on_reader(c, why);
    }
}

static void on_due_in_request(struct dm_h1_conn *c)
{
    enum dm_http_pace_verdict verdict;

    dm_h1_conn_look(c);
    if (!c->in.is_waiting && !c->out.is_waiting)
        return;
    if ((verdict = judge_both(c)) == DM_HTTP_PACE_FINE) {
        dm_h1_conn_arm_look(c);
    } else if (c->writing == WRITE_DONE && !c->out.is_waiting) {
        dm_http_conn_count_timeout(&c->base, DM_HTTP_TIMEOUT_BODY);
        c->reading = READ_COMPLETE; /* answered: the rest of the request is not worth more waiting */
        c->is_closing = true;
        dm_h1_conn_maybe_done(c);
    } else {
        give_up(c, abort_of(verdict));
    }
}

void dm_h1_conn_half_closed(struct dm_h1_conn *c)
{
    dm_http_pace_reset(&c->in);
    dm_h1_conn_look(c);
    if (c->base.server->settings.half_closed_timeout_ms > 0)
        dm_h1_conn_arm_look(c);
}

static void on_due_half_closed(struct dm_h1_conn *c)
{
    dm_h1_conn_look(c);
    if (dm_http_pace_judge(&c->in, c->base.server->settings.half_closed_timeout_ms, 0) != DM_HTTP_PACE_FINE)
        dm_h1_conn_fail(c, (struct dm_http_end){DM_HTTP_ABORT_PEER_CLOSED, 0, 0});
    else if (judge(c, &c->out) != DM_HTTP_PACE_FINE)
        give_up_on_reader(c, abort_of(judge(c, &c->out)));
    else
        dm_h1_conn_arm_look(c);
}

void dm_h1_conn_arm_tunnel(struct dm_h1_conn *c)
{
    uint32_t idle_ms = c->base.server->settings.tunnel_idle_timeout_ms;
    uint32_t ms = idle_ms > 0 ? dm_http_pace_period_ms(idle_ms) : UINT32_MAX;
    uint64_t now_ns = dm_loop_now_ns(c->base.server->loop), left_ms;

    if (c->tunnel_due_ns > 0) {
        left_ms = c->tunnel_due_ns > now_ns ? (c->tunnel_due_ns - now_ns + 999999) / 1000000 : 1;
        ms = (uint32_t)DM_MIN(left_ms, (uint64_t)ms);
    }
    dm_http_conn_arm(&c->base, ms == UINT32_MAX ? 0 : ms);
}

static void time_out_tunnel(struct dm_h1_conn *c, enum dm_http_abort why)
{
    const struct dm_http_handler *handler = c->base.server->handler;

    if (handler->on_tunnel_due)
        handler->on_tunnel_due(c->request.user, &c->request, why);
    if (c->is_tunnel)
        dm_h1_conn_fail(c, (struct dm_http_end){why, 0, 0});
}

static void on_due_in_tunnel(struct dm_h1_conn *c)
{
    uint64_t now_ns = dm_loop_now_ns(c->base.server->loop);

    if (c->has_eof && c->reading == READ_TUNNEL) {
        dm_h1_conn_end_tunnel(c);
        return;
    }
    dm_http_pace_look(&c->in, c->base.stream.bytes_in + c->base.stream.bytes_out, true, now_ns);
    if (c->tunnel_due_ns > 0 && now_ns >= c->tunnel_due_ns)
        time_out_tunnel(c, DM_HTTP_ABORT_SHUTDOWN);
    else if (dm_http_pace_judge(&c->in, c->base.server->settings.tunnel_idle_timeout_ms, 0) != DM_HTTP_PACE_FINE)
        time_out_tunnel(c, DM_HTTP_ABORT_IDLE);
    else
        dm_h1_conn_arm_tunnel(c);
}

/* Between requests, or after the last, with a response that is not sent yet. */
static void on_due_sending(struct dm_h1_conn *c)
{
    dm_h1_conn_look(c);
    if (judge(c, &c->out) != DM_HTTP_PACE_FINE) {
        dm_http_conn_count_timeout(&c->base, DM_HTTP_TIMEOUT_READER);
        dm_h1_conn_break(c);
    } else if (c->reading == READ_LEAVING) {
        dm_http_conn_arm(&c->base, DM_MIN(dm_http_pace_period_ms(c->body_timeout_ms), DM_HTTP_LINGER_MS));
    } else {
        dm_h1_conn_arm_look(c);
    }
    c->is_sending = true;
}

static void on_due_idle(struct dm_h1_conn *c)
{
    if (c->base.server->is_draining) {
        dm_h1_conn_leave(c);
        return;
    }
    if (!c->is_sending) {
        dm_http_conn_count_timeout(&c->base, c->position == 0 ? DM_HTTP_TIMEOUT_HEAD : DM_HTTP_TIMEOUT_IDLE);
        dm_h1_conn_close(c);
        return;
    }
    c->is_sending = false;
    dm_http_conn_arm(&c->base, c->base.idle_timeout_ms);
}

static void on_due_in_head(struct dm_h1_conn *c)
{
    dm_http_conn_count_timeout(&c->base, DM_HTTP_TIMEOUT_HEAD);
    dm_h1_conn_answer_fault(c, (struct dm_http_end){DM_HTTP_ABORT_HEAD_TIMEOUT, 0, 0}, 408);
}

static void on_due(struct dm_timer *timer)
{
    struct dm_h1_conn *c = DM_CONTAINER_OF(timer, struct dm_h1_conn, base.timer);

    if (DM_UNLIKELY(c->is_tunnel))
        on_due_in_tunnel(c);
    else if (DM_UNLIKELY(is_half_closed(c)))
        on_due_half_closed(c);
    else if (c->has_request)
        on_due_in_request(c);
    else if (c->reading == READ_HEAD)
        on_due_in_head(c);
    else if (dm_stream_unsent(&c->base.stream) > 0)
        on_due_sending(c);
    else if (c->reading == READ_LEAVING)
        part(c);
    else
        on_due_idle(c);
}

/* --- connections -------------------------------------------------------------------------------------------------- */

static void done(struct dm_http_conn *conn)
{
    dm_http_writer_done(&((struct dm_h1_conn *)conn)->writer);
}

static void fail(struct dm_http_conn *conn, struct dm_http_end end)
{
    dm_h1_conn_fail((struct dm_h1_conn *)conn, end);
}

static bool is_between_requests(const struct dm_h1_conn *c)
{
    return (c->reading == READ_IDLE || c->reading == READ_HELD) && !c->has_request;
}

static void drain_end(struct dm_http_conn *conn)
{
    struct dm_h1_conn *c = (struct dm_h1_conn *)conn;

    if (is_between_requests(c))
        dm_h1_conn_leave(c);
}

/* The next request may be on its way: its answer says that it is the last. */
static void drain(struct dm_http_conn *conn)
{
    struct dm_h1_conn *c = (struct dm_h1_conn *)conn;
    uint32_t ms = conn->server->settings.drain_idle_ms;

    if (c->reading == READ_HELD || ms == 0)
        drain_end(conn);
    else if (is_between_requests(c))
        dm_http_conn_arm(conn, ms);
}

static void end_requests(struct dm_http_conn *conn)
{
    struct dm_h1_conn *c = (struct dm_h1_conn *)conn;

    if (c->is_tunnel)
        time_out_tunnel(c, DM_HTTP_ABORT_SHUTDOWN);
    else if (c->has_request && conn->server->handler->on_request_due)
        conn->server->handler->on_request_due(c->request.user, &c->request);
}

static const struct dm_http_conn_ops conn_ops = {fail, drain, drain_end, end_requests, done, NULL, NULL};

void dm_h1_conn_init(struct dm_h1_conn *c)
{
    c->base.ops = &conn_ops;
    c->base.timer.on_due = on_due;
    c->body_timeout_ms = c->base.server->settings.body_timeout_ms;
    c->body_rate_bytes = c->base.server->settings.body_rate_bytes;
    c->request = (struct dm_http_request){&dm_h1_request_ops, &c->base, NULL};
}

void dm_h1_type_init(struct dm_stream_type *type, const struct dm_http_server_settings *settings)
{
    *type = (struct dm_stream_type){
        .on_read = dm_h1_conn_on_read,
        .on_eof = dm_h1_conn_on_eof,
        .on_writable = dm_h1_conn_on_writable,
        .on_error = on_error,
        .on_closed = dm_http_conn_on_closed,
        .read_max_bytes = DM_MAX(settings->limits.head_bytes, settings->limits.trailer_bytes) + 4096,
        .write_max_bytes = (uint32_t)DM_MIN(settings->write_cap_bytes, (size_t)1 << 30),
    };
}

static void set_pace(struct dm_http_request *request, uint32_t body_timeout_ms, uint32_t body_rate_bytes)
{
    struct dm_h1_conn *c = dm_h1_conn_of_request(request);

    c->body_timeout_ms = body_timeout_ms;
    c->body_rate_bytes = body_rate_bytes;
    if (dm_timer_is_armed(&c->base.timer))
        dm_h1_conn_arm_look(c);
}

/* --- requests of HTTP/1.1 ----------------------------------------------------------------------------------------- */

static uint64_t bytes_in(const struct dm_http_request *request)
{
    return dm_h1_conn_of_request(request)->position - dm_h1_conn_of_request(request)->request_in;
}

static uint64_t bytes_out(const struct dm_http_request *request)
{
    const struct dm_h1_conn *c = dm_h1_conn_of_request(request);
    uint64_t sent = c->base.stream.bytes_out + dm_stream_unsent(&c->base.stream);

    return sent > c->request_out ? sent - c->request_out : 0;
}

const struct dm_http_request_ops dm_h1_request_ops = {
    .inform = dm_h1_request_inform,
    .respond = dm_h1_request_respond,
    .write = dm_h1_request_write,
    .end = dm_h1_request_end,
    .reply = dm_h1_request_reply,
    .tunnel = dm_h1_request_tunnel,
    .leave = dm_h1_request_leave,
    .abort = dm_h1_request_abort,
    .resume = dm_h1_request_resume,
    .ignore_body = dm_h1_request_ignore_body,
    .limit_body = dm_h1_request_limit_body,
    .set_pace = set_pace,
    .bytes_in = bytes_in,
    .bytes_out = bytes_out,
};
