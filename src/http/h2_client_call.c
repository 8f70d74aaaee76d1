/* The life of calls on HTTP/2 connections to backends: opened, timed, ended. */
#include "http/h2_client_int.h"

#include "base/mem.h"

void dm_h2_call_free(struct dm_h2_call *call)
{
    struct dm_http_client *client = call->base.peer->client;

    dm_h2_call_drop_kept(call);
    if (call->trailers_in)
        dm_freelist_give(&client->free_waiting, call->trailers_in);
    dm_free(call->trailers);
    dm_free(call->held);
    dm_freelist_give(&client->free_h2_calls, call);
}

/* --- ends ---------------------------------------------------------------------------------------------------------- */

static void arm_call(struct dm_h2_call *call, uint32_t ms)
{
    struct dm_loop *loop = call->base.peer->client->loop;

    if (ms > 0)
        dm_timer_arm(loop, &call->timer, ms);
    else
        dm_timer_cancel(loop, &call->timer);
}

static void unlink_call(struct dm_h2_call **list, struct dm_h2_call *call)
{
    if (call->next)
        call->next->prev = call->prev;
    if (call->prev)
        call->prev->next = call->next;
    else
        *list = call->next;
}

/* The call is over, and its stream nobody's. */
static void remove_call(struct dm_h2_call *call)
{
    struct dm_h2_peer *p = dm_h2_call_peer(call);

    call->is_over = true;
    dm_timer_cancel(p->base.client->loop, &call->timer);
    dm_task_cancel(p->base.client->loop, &call->wake);
    if (p->block_call == call)
        p->block_call = NULL;
    if (call->stream_id > 0)
        (void)nghttp2_session_set_stream_user_data(p->session, call->stream_id, NULL);
    unlink_call(&p->calls, call);
    p->n_calls--;
    p->kept_ms = call->base.timeouts.kept_ms;
    call->next = p->gone;
    p->gone = call;
    dm_http_peer_leave_flow(&p->base);
}

static void reset(struct dm_h2_call *call, uint32_t code)
{
    struct dm_h2_peer *p = dm_h2_call_peer(call);

    if (call->stream_id <= 0 || p->base.is_closed)
        return;
    (void)nghttp2_submit_rst_stream(p->session, NGHTTP2_FLAG_NONE, call->stream_id, code);
    p->wants_flush = true;
}

void dm_h2_call_done(struct dm_h2_call *call)
{
    struct dm_h2_peer *p = dm_h2_call_peer(call);

    dm_h2_peer_enter(p);
    if (call->writing != H2_WRITE_ENDED || (call->is_upgrading && !call->is_tunnel))
        reset(call, NGHTTP2_CANCEL); /* nobody wants the rest of the request */
    p->limit += p->limit < DM_H2_LIMIT_NONE;
    remove_call(call);
    p->base.client->handler->on_done(call->base.user, &call->base);
    dm_h2_peer_settle(p);
    dm_h2_peer_leave(p);
}

void dm_h2_call_abort(struct dm_h2_call *call, uint32_t code, struct dm_http_end end)
{
    struct dm_h2_peer *p = dm_h2_call_peer(call);

    dm_h2_peer_enter(p);
    if (code != NGHTTP2_NO_ERROR)
        reset(call, code);
    remove_call(call);
    p->base.client->handler->on_abort(call->base.user, &call->base, end);
    dm_h2_peer_settle(p);
    dm_h2_peer_leave(p);
}

void dm_h2_call_abort_later(struct dm_h2_call *call, struct dm_http_end end)
{
    if (call->has_end)
        return;
    call->has_end = true;
    call->end = end;
    dm_task_post(call->base.peer->client->loop, &call->wake);
}

static void cancel(struct dm_http_call *base)
{
    struct dm_h2_call *call = dm_h2_call_of(base);
    struct dm_h2_peer *p = dm_h2_call_peer(call);

    if (call->is_over)
        return;
    dm_h2_peer_enter(p);
    reset(call, NGHTTP2_CANCEL);
    remove_call(call);
    dm_h2_peer_settle(p);
    dm_h2_peer_leave(p);
}

/* Nothing but the memory of a stream that its backend should end. */
static void on_left_due(struct dm_timer *timer)
{
    struct dm_h2_call *call = DM_CONTAINER_OF(timer, struct dm_h2_call, timer);
    struct dm_h2_peer *p = dm_h2_call_peer(call);

    dm_h2_peer_enter(p);
    if (nghttp2_session_get_stream_remote_close(p->session, call->stream_id) >= 0)
        reset(call, NGHTTP2_CANCEL);
    unlink_call(&p->left, call);
    call->next = p->gone;
    p->gone = call;
    dm_h2_peer_leave(p);
}

/* As on a connection of its own: the backend ends its direction too, or is cut. */
static void linger(struct dm_h2_call *call)
{
    struct dm_h2_peer *p = dm_h2_call_peer(call);

    p->gone = call->next;
    call->next = p->left;
    call->prev = NULL;
    if (call->next)
        call->next->prev = call;
    p->left = call;
    call->timer.on_due = on_left_due;
    dm_timer_set_flow(p->base.client->loop, &call->timer, NULL);
    arm_call(call, DM_H2_LINGER_MS);
}

/* A window that lets `last` through lets our END_STREAM through as well; otherwise the stream is reset. */
static void leave_tunnel(struct dm_http_call *base, struct dm_str last)
{
    struct dm_h2_call *call = dm_h2_call_of(base);
    struct dm_h2_peer *p = dm_h2_call_peer(call);

    if (call->is_over)
        return;
    dm_h2_peer_enter(p);
    if (call->is_tunnel && !p->base.is_closed)
        dm_h2_call_end_with(call, last);
    if (!call->is_eof_sent)
        reset(call, NGHTTP2_CANCEL);
    remove_call(call);
    if (call->is_eof_sent && call->stream_id > 0 && !p->base.is_closed)
        linger(call);
    dm_h2_peer_settle(p);
    dm_h2_peer_leave(p);
}

static void on_wake(struct dm_task *task)
{
    struct dm_h2_call *call = DM_CONTAINER_OF(task, struct dm_h2_call, wake);
    struct dm_h2_peer *p = dm_h2_call_peer(call);
    const struct dm_http_call_handler *handler = p->base.client->handler;

    dm_h2_peer_enter(p);
    if (call->has_end) {
        dm_h2_call_abort(call, NGHTTP2_NO_ERROR, call->end);
    } else {
        if (call->wants_writable && call->writing == H2_WRITE_BODY) {
            call->wants_writable = false;
            dm_h2_call_look(call);
            if (handler->on_writable)
                handler->on_writable(call->base.user, &call->base);
        }
        if (!call->is_over && !call->is_stalled)
            dm_h2_call_present(call);
    }
    dm_h2_peer_leave(p);
}

/* --- timers ------------------------------------------------------------------------------------------------------- */

static bool awaits_head(const struct dm_h2_call *call)
{
    return call->reading == H2_READ_HEAD && (call->writing == H2_WRITE_ENDED || call->is_upgrading);
}

void dm_h2_call_look(struct dm_h2_call *call)
{
    bool is_reading = call->reading == H2_READ_BODY && !call->is_stalled;

    dm_http_pace_look(&call->pace, call->bytes_in + call->bytes_out,
                      call->is_tunnel || is_reading || call->wants_writable,
                      dm_loop_now_ns(call->base.peer->client->loop));
}

static uint32_t until_due_ms(const struct dm_h2_call *call)
{
    uint64_t now_ns = dm_loop_now_ns(call->base.peer->client->loop);

    if (call->due_ns == UINT64_MAX)
        return UINT32_MAX;
    return call->due_ns > now_ns ? (uint32_t)((call->due_ns - now_ns + 999999) / 1000000) : 1;
}

void dm_h2_call_arm(struct dm_h2_call *call)
{
    uint32_t ms, idle_ms = call->base.timeouts.idle_ms;

    if (!call->base.peer->is_connected)
        return;
    if (call->is_tunnel) {
        idle_ms = call->base.timeouts.tunnel_idle_ms;
        ms = idle_ms ? DM_MAX(idle_ms / 4, 1u) : UINT32_MAX;
        ms = DM_MIN(ms, until_due_ms(call));
        arm_call(call, ms == UINT32_MAX ? 0 : ms);
    } else if (awaits_head(call)) {
        ms = until_due_ms(call);
        arm_call(call, ms == UINT32_MAX ? 0 : ms);
    } else {
        arm_call(call, dm_http_pace_period_ms(idle_ms));
    }
}

static void set_due(struct dm_h2_call *call, uint32_t ms)
{
    call->due_ns = ms ? dm_loop_now_ns(call->base.peer->client->loop) + ms * UINT64_C(1000000) : UINT64_MAX;
}

void dm_h2_call_await_head(struct dm_h2_call *call)
{
    set_due(call, call->base.timeouts.response_ms);
    call->peer_bytes_in = call->base.peer->stream.bytes_in;
    dm_h2_call_arm(call);
}

void dm_h2_call_begin_tunnel(struct dm_h2_call *call)
{
    call->is_tunnel = true;
    set_due(call, call->base.timeouts.tunnel_total_ms);
    dm_http_pace_reset(&call->pace);
    dm_h2_call_look(call);
    dm_h2_call_arm(call);
}

void dm_h2_call_on_connected(struct dm_h2_call *call)
{
    if (awaits_head(call))
        dm_h2_call_await_head(call);
    else
        dm_h2_call_arm(call);
}

static void time_out(struct dm_h2_call *call, enum dm_http_abort why)
{
    struct dm_h2_peer *p = dm_h2_call_peer(call);
    const struct dm_http_call_handler *handler = p->base.client->handler;

    if (call->is_tunnel && handler->on_tunnel_due) {
        handler->on_tunnel_due(call->base.user, &call->base, why);
        if (call->is_over)
            return;
    }
    if (why == DM_HTTP_ABORT_RESPONSE_TIMEOUT && call->peer_bytes_in == p->base.stream.bytes_in)
        dm_h2_peer_probe(p);
    dm_h2_call_abort(call, NGHTTP2_CANCEL, (struct dm_http_end){why, 0, 0});
}

static void on_call_due_moving(struct dm_h2_call *call)
{
    const struct dm_http_timeouts *t = &call->base.timeouts;

    dm_h2_call_look(call);
    if (dm_http_pace_judge(&call->pace, call->is_tunnel ? t->tunnel_idle_ms : t->idle_ms, 0) != DM_HTTP_PACE_FINE)
        time_out(call, DM_HTTP_ABORT_IDLE);
    else if (call->pace.is_waiting)
        dm_h2_call_arm(call);
}

static void on_call_due(struct dm_timer *timer)
{
    struct dm_h2_call *call = DM_CONTAINER_OF(timer, struct dm_h2_call, timer);
    struct dm_h2_peer *p = dm_h2_call_peer(call);
    bool is_due = dm_loop_now_ns(p->base.client->loop) >= call->due_ns;

    dm_h2_peer_enter(p);
    if (call->is_tunnel && is_due)
        time_out(call, DM_HTTP_ABORT_SHUTDOWN);
    else if (call->is_tunnel || !awaits_head(call))
        on_call_due_moving(call);
    else if (is_due)
        time_out(call, DM_HTTP_ABORT_RESPONSE_TIMEOUT);
    else
        dm_h2_call_arm(call);
    dm_h2_peer_leave(p);
}

/* --- opening ------------------------------------------------------------------------------------------------------ */

static bool has_response(const struct dm_http_call *call)
{
    return DM_CONTAINER_OF(call, const struct dm_h2_call, base)->has_response;
}

static uint64_t bytes_in(const struct dm_http_call *call)
{
    return DM_CONTAINER_OF(call, const struct dm_h2_call, base)->bytes_in;
}

static uint64_t bytes_out(const struct dm_http_call *call)
{
    return DM_CONTAINER_OF(call, const struct dm_h2_call, base)->bytes_out;
}

static const struct dm_http_call_ops call_ops = {
    .send = dm_h2_call_send,
    .write = dm_h2_call_write,
    .end = dm_h2_call_end,
    .resume = dm_h2_call_resume,
    .leave = leave_tunnel,
    .cancel = cancel,
    .has_response = has_response,
    .bytes_in = bytes_in,
    .bytes_out = bytes_out,
};

struct dm_http_call *dm_h2_call_open(struct dm_h2_peer *p, const struct dm_http_timeouts *timeouts)
{
    struct dm_http_peer *peer = &p->base;
    struct dm_h2_call *call = dm_freelist_take(&peer->client->free_h2_calls);

    memset(call, 0, sizeof(*call));
    call->base = (struct dm_http_call){&call_ops, peer, NULL, *timeouts, p->has_settings, true};
    call->timer.on_due = on_call_due;
    call->wake.run = on_wake;
    call->wake.flow = call->timer.task.flow = peer->stream.task.flow;
    call->due_ns = UINT64_MAX;
    call->next = p->calls;
    if (call->next)
        call->next->prev = call;
    p->calls = call;
    if (p->n_calls++ == 0 && !p->is_suspect)
        dm_timer_cancel(peer->client->loop, &peer->timer);
    return &call->base;
}
