/* The life of connections of HTTP/1.1: opened, timed, kept. */
#include "http/h1_client_int.h"

#include "base/mem.h"

/* --- ending ------------------------------------------------------------------------------------------------------- */

void dm_h1_peer_fail(struct dm_h1_peer *p, struct dm_http_end end)
{
    p->reading = READ_CLOSED;
    if (p->has_call)
        dm_http_peer_cut(&p->base);
    else
        dm_http_peer_cut_idle(&p->base);
    dm_http_peer_tell_end(&p->base);
    if (!p->has_call)
        return;
    p->has_call = false;
    p->base.client->handler->on_abort(p->call.user, &p->call, end);
}

static void fail(struct dm_http_peer *peer, struct dm_http_end end)
{
    dm_h1_peer_fail(dm_h1_peer_of(peer), end);
}

/* P6 */
static bool take_back(struct dm_h1_peer *p)
{
    return p->reading == READ_HEAD && !p->is_closing && p->base.is_owned && !p->base.is_closed && !p->base.is_dead &&
           dm_stream_take_back(&p->base.stream, p->call_out);
}

/* For the next call. */
static void keep(struct dm_h1_peer *p)
{
    p->reading = READ_IDLE;
    p->writing = WRITE_NONE;
    dm_http_peer_arm(&p->base, p->call.timeouts.kept_ms);
    p->base.client->peer_handler->on_room(p->base.owner, &p->base);
}

static void cancel(struct dm_http_call *call)
{
    struct dm_h1_peer *p = dm_h1_peer_of_call(call);

    if (!p->has_call)
        return;
    p->has_call = false;
    if (take_back(p)) {
        dm_http_writer_done(&p->writer);
        keep(p);
        return;
    }
    p->reading = READ_CLOSED;
    dm_http_peer_cut_short(&p->base);
    dm_http_peer_tell_end(&p->base);
    dm_http_peer_free_later(&p->base);
}

static void leave_tunnel(struct dm_http_call *call, struct dm_str last)
{
    struct dm_h1_peer *p = dm_h1_peer_of_call(call);

    if (p->has_call && p->tunnel_due_ns && !p->base.is_closed)
        dm_h1_tunnel_leave(p, last);
    else
        cancel(call);
}

static bool is_reusable(const struct dm_h1_peer *p)
{
    return !p->is_closing && !p->is_last_call && !p->base.is_closed && p->reading == READ_DONE &&
           p->position == p->base.stream.bytes_in && dm_stream_is_open(&p->base.stream) &&
           dm_stream_unsent(&p->base.stream) == 0;
}

/* Behind the last call of a connection that can't be used again, or that nobody wants. */
static void close_behind_call(struct dm_h1_peer *p)
{
    p->reading = READ_CLOSED;
    dm_http_peer_cut_idle(&p->base);
    dm_http_peer_tell_end(&p->base);
    dm_http_peer_free_later(&p->base);
}

void dm_h1_peer_done(struct dm_h1_peer *p)
{
    struct dm_http_client *client = p->base.client;

    p->has_call = false;
    client->handler->on_done(p->call.user, &p->call);
    if (DM_UNLIKELY(p->base.is_closed))
        return;
    if (DM_UNLIKELY(!p->base.is_owned || !is_reusable(p))) {
        if (p->tunnel_due_ns)
            dm_h1_tunnel_close(p);
        else
            close_behind_call(p);
        return;
    }
    keep(p);
}

/* --- timers ------------------------------------------------------------------------------------------------------- */

void dm_h1_peer_arm_look(struct dm_h1_peer *p)
{
    dm_http_peer_arm(&p->base, dm_http_pace_period_ms(p->call.timeouts.idle_ms));
}

static bool awaits_head(const struct dm_h1_peer *p)
{
    return p->reading == READ_HEAD && p->writing == WRITE_DONE;
}

void dm_h1_peer_look(struct dm_h1_peer *p)
{
    bool is_reading = p->reading == READ_BODY && !p->is_body_stalled;

    dm_http_pace_look(&p->pace, p->base.stream.bytes_in + p->base.stream.bytes_out,
                      is_reading || dm_http_peer_unsent(&p->base) > 0, dm_loop_now_ns(p->base.client->loop));
}

void dm_h1_peer_await_head(struct dm_h1_peer *p)
{
    uint32_t period_ms = dm_http_pace_period_ms(p->call.timeouts.idle_ms), response_ms = p->call.timeouts.response_ms;

    p->head_due_ns = response_ms ? dm_loop_now_ns(p->base.client->loop) + response_ms * UINT64_C(1000000) : UINT64_MAX;
    dm_http_peer_arm(&p->base, response_ms ? DM_MIN(response_ms, period_ms) : period_ms);
}

static void on_due_awaiting_head(struct dm_h1_peer *p)
{
    uint64_t now_ns = dm_loop_now_ns(p->base.client->loop);

    if (p->head_due_ns == UINT64_MAX)
        return;
    if (now_ns >= p->head_due_ns)
        dm_h1_peer_fail(p, (struct dm_http_end){DM_HTTP_ABORT_RESPONSE_TIMEOUT, 0, 0});
    else
        dm_http_peer_arm(&p->base, (uint32_t)((p->head_due_ns - now_ns + 999999) / 1000000));
}

static void on_due_moving(struct dm_h1_peer *p)
{
    dm_h1_peer_look(p);
    if (dm_http_pace_judge(&p->pace, p->call.timeouts.idle_ms, 0) != DM_HTTP_PACE_FINE)
        dm_h1_peer_fail(p, (struct dm_http_end){DM_HTTP_ABORT_IDLE, 0, 0});
    else if (awaits_head(p))
        dm_h1_peer_await_head(p);
    else if (p->pace.is_waiting)
        dm_h1_peer_arm_look(p);
}

static void on_due(struct dm_timer *timer)
{
    struct dm_h1_peer *p = DM_CONTAINER_OF(timer, struct dm_h1_peer, base.timer);

    if (!p->has_call)
        dm_h1_peer_fail(p, (struct dm_http_end){DM_HTTP_ABORT_IDLE, 0, 0});
    else if (DM_UNLIKELY(p->tunnel_due_ns))
        dm_h1_tunnel_on_due(p);
    else if (awaits_head(p) && dm_http_peer_unsent(&p->base) == 0)
        on_due_awaiting_head(p);
    else
        on_due_moving(p);
}

/* --- of the stream ------------------------------------------------------------------------------------------------ */

static void on_connect(struct dm_stream *stream)
{
    struct dm_h1_peer *p = dm_h1_peer_of_stream(stream);

    p->base.is_connected = true;
    if (!p->has_call)
        return;
    if (p->writing == WRITE_DONE)
        dm_h1_peer_await_head(p);
    else
        dm_h1_peer_arm_look(p);
}

static void on_error(struct dm_stream *stream, int code)
{
    struct dm_h1_peer *p = dm_h1_peer_of_stream(stream);

    dm_h1_peer_fail(p, dm_http_peer_end_of(&p->base, code));
}

/* --- connections -------------------------------------------------------------------------------------------------- */

static bool has_response(const struct dm_http_call *call)
{
    const struct dm_h1_peer *p = DM_CONTAINER_OF(call, const struct dm_h1_peer, call);

    return p->base.stream.bytes_in > p->call_in;
}

static uint64_t bytes_in(const struct dm_http_call *call)
{
    const struct dm_h1_peer *p = DM_CONTAINER_OF(call, const struct dm_h1_peer, call);

    return p->base.stream.bytes_in - p->call_in;
}

static uint64_t bytes_out(const struct dm_http_call *call)
{
    const struct dm_h1_peer *p = DM_CONTAINER_OF(call, const struct dm_h1_peer, call);
    uint64_t sent = p->base.stream.bytes_out + dm_http_peer_unsent(&p->base);

    return sent > p->call_out ? sent - p->call_out : 0;
}

static const struct dm_http_call_ops call_ops = {
    .send = dm_h1_call_send,
    .write = dm_h1_call_write,
    .end = dm_h1_call_end,
    .resume = dm_h1_call_resume,
    .leave = leave_tunnel,
    .cancel = cancel,
    .has_response = has_response,
    .bytes_in = bytes_in,
    .bytes_out = bytes_out,
};

static bool has_calls(const struct dm_http_peer *peer)
{
    return DM_CONTAINER_OF(peer, const struct dm_h1_peer, base)->has_call;
}

/* A dead one takes a call still, which is told with the loop's next turn (P2). */
static bool has_room(const struct dm_http_peer *peer)
{
    const struct dm_h1_peer *p = DM_CONTAINER_OF(peer, const struct dm_h1_peer, base);

    return !p->has_call && p->reading == READ_IDLE && !p->is_closing;
}

static struct dm_http_call *open_call(struct dm_http_peer *peer, const struct dm_http_timeouts *timeouts)
{
    struct dm_h1_peer *p = dm_h1_peer_of(peer);

    if (!has_room(peer))
        return NULL;
    if (DM_UNLIKELY(p->protocol)) {
        dm_free(p->protocol);
        p->protocol = NULL;
    }
    p->call.is_reused = p->n_calls > 0;
    p->call.timeouts = *timeouts;
    p->call.user = NULL;
    p->call.n_interim = 0;
    p->n_calls++;
    p->has_call = true;
    p->is_body_stalled = p->has_waiting_output = p->has_ended_early = p->is_last_call = false;
    if (!peer->is_connected)
        dm_http_peer_arm(peer, 0); /* what it was kept for is no time of this call */
    p->call_in = peer->stream.bytes_in;
    p->call_out = peer->stream.bytes_out;
    p->reading = READ_HEAD;
    p->scan = 0;
    return &p->call;
}

static void leave(struct dm_http_peer *peer)
{
    struct dm_h1_peer *p = dm_h1_peer_of(peer);

    p->is_closing = true;
    if (p->has_call)
        return;
    dm_http_peer_cut_idle(peer);
    dm_http_peer_free_later(peer);
}

static bool is_new(const struct dm_http_peer *peer)
{
    return DM_CONTAINER_OF(peer, const struct dm_h1_peer, base)->n_calls == 0;
}

static void free_peer(struct dm_http_peer *peer)
{
    struct dm_h1_peer *p = dm_h1_peer_of(peer);

    dm_http_writer_done(&p->writer);
    dm_free(p->protocol);
    dm_freelist_give(&peer->client->free_h1_peers, p);
}

static const struct dm_http_peer_ops peer_ops = {
    .open = open_call,
    .has_room = has_room,
    .has_calls = has_calls,
    .is_new = is_new,
    .leave = leave,
    .fail = fail,
    .free = free_peer,
};

struct dm_http_peer *dm_h1_peer_connect(struct dm_http_client *client, const struct dm_http_peer_settings *settings,
                                        void *owner)
{
    struct dm_h1_peer *p = dm_freelist_take(&client->free_h1_peers);

    memset(p, 0, sizeof(*p));
    p->base.ops = &peer_ops;
    p->base.timer.on_due = on_due;
    p->call.ops = &call_ops;
    p->call.peer = &p->base;
    dm_http_peer_start(&p->base, client, settings, &client->h1_type, owner);
    return &p->base;
}

void dm_h1_client_init(struct dm_http_client *client)
{
    const struct dm_http_client_settings *settings = &client->settings;

    client->h1_type = (struct dm_stream_type){
        .on_read = dm_h1_peer_on_read,
        .on_eof = dm_h1_peer_on_eof,
        .on_writable = dm_h1_peer_on_writable,
        .on_connect = on_connect,
        .on_error = on_error,
        .on_closed = dm_http_peer_on_closed,
        .read_max_bytes = DM_MAX(settings->limits.head_bytes, settings->limits.trailer_bytes) + 4096,
        .write_max_bytes = (uint32_t)DM_MIN(settings->write_cap_bytes, (size_t)1 << 30),
    };
    dm_freelist_init(&client->free_h1_peers, sizeof(struct dm_h1_peer), 4096);
}

void dm_h1_client_done(struct dm_http_client *client)
{
    dm_freelist_done(&client->free_h1_peers);
}
