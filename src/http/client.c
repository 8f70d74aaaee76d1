/* The life of connections: connected, timed, kept, closed. */
#include "http/client_int.h"

#include "base/mem.h"

#define HEAD_OUT_MAX (128u << 10)
#define POLL_FAILURES_MAX 16 /* while the last connections close */

const struct dm_http_client_settings dm_http_client_defaults = {
    .limits = {64u << 10, 8u << 10, 128, 8u << 10, 4u << 10, true},
    .write_cap_bytes = 256u << 10,
};

/* --- ending ------------------------------------------------------------------------------------------------------- */

static void forget(struct dm_http_peer *p)
{
    p->has_exchange = p->is_kept = false;
    p->is_forgotten = true;
    p->client->n_owned--;
}

static void close_stream(struct dm_http_peer *p)
{
    p->reading = READ_CLOSED;
    dm_timer_cancel(p->client->loop, &p->timer);
    if (!p->is_stream_closed)
        dm_stream_abort(&p->stream);
}

void dm_http_peer_die(struct dm_http_peer *p, struct dm_http_end end)
{
    p->is_dead = true;
    p->end = end;
    close_stream(p);
}

static void tell_end(struct dm_http_peer *p, struct dm_http_end end)
{
    const struct dm_http_peer_handler *handler = p->client->handler;
    bool has_exchange = p->has_exchange, is_kept = p->is_kept;
    void *user = p->user;

    forget(p);
    if (has_exchange)
        handler->on_abort(user, p, end);
    else if (is_kept && handler->on_idle_end)
        handler->on_idle_end(user, p);
}

void dm_http_peer_fail(struct dm_http_peer *p, struct dm_http_end end)
{
    if (!p->has_exchange && !p->is_kept) {
        dm_http_peer_die(p, end);
        return;
    }
    close_stream(p);
    tell_end(p, end);
}

static void free_if_gone(struct dm_http_peer *p)
{
    struct dm_http_client *client = p->client;

    if (!p->is_forgotten || !p->is_stream_closed)
        return;
    dm_task_cancel(client->loop, &p->tell);
    dm_http_writer_done(&p->writer);
    dm_freelist_give(&client->free_peers, p);
}

static void on_tell(struct dm_task *task)
{
    struct dm_http_peer *p = DM_CONTAINER_OF(task, struct dm_http_peer, tell);

    if (!p->is_forgotten && (p->has_exchange || p->is_kept))
        tell_end(p, p->end);
    free_if_gone(p);
}

static void on_closed(struct dm_stream *stream)
{
    struct dm_http_peer *p = dm_http_peer_of(stream);

    p->is_stream_closed = true;
    dm_timer_cancel(p->client->loop, &p->timer);
    free_if_gone(p);
}

/* --- timers ------------------------------------------------------------------------------------------------------- */

static void arm(struct dm_http_peer *p, uint32_t ms)
{
    if (DM_LIKELY(ms > 0))
        dm_timer_arm(p->client->loop, &p->timer, ms);
    else
        dm_timer_cancel(p->client->loop, &p->timer);
}

void dm_http_peer_arm_look(struct dm_http_peer *p)
{
    arm(p, dm_http_pace_period_ms(p->timeouts.idle_ms));
}

static bool awaits_head(const struct dm_http_peer *p)
{
    return p->reading == READ_HEAD && p->writing == WRITE_DONE;
}

void dm_http_peer_look(struct dm_http_peer *p)
{
    bool is_reading = p->reading == READ_BODY && !p->is_body_stalled;

    dm_http_pace_look(&p->pace, p->stream.bytes_in + p->stream.bytes_out, is_reading || dm_http_peer_unsent(p) > 0,
                      dm_loop_now_ns(p->client->loop));
}

void dm_http_peer_await_head(struct dm_http_peer *p)
{
    uint32_t period_ms = dm_http_pace_period_ms(p->timeouts.idle_ms), response_ms = p->timeouts.response_ms;

    p->head_due_ns = response_ms ? dm_loop_now_ns(p->client->loop) + response_ms * UINT64_C(1000000) : UINT64_MAX;
    arm(p, response_ms ? DM_MIN(response_ms, period_ms) : period_ms);
}

static void on_due_awaiting_head(struct dm_http_peer *p)
{
    uint64_t now_ns = dm_loop_now_ns(p->client->loop);

    if (p->head_due_ns == UINT64_MAX)
        return;
    if (now_ns >= p->head_due_ns)
        dm_http_peer_fail(p, (struct dm_http_end){DM_HTTP_ABORT_RESPONSE_TIMEOUT, 0, 0});
    else
        arm(p, (uint32_t)((p->head_due_ns - now_ns + 999999) / 1000000));
}

static void on_due_moving(struct dm_http_peer *p)
{
    dm_http_peer_look(p);
    if (dm_http_pace_judge(&p->pace, p->timeouts.idle_ms, 0) != DM_HTTP_PACE_FINE)
        dm_http_peer_fail(p, (struct dm_http_end){DM_HTTP_ABORT_IDLE, 0, 0});
    else if (awaits_head(p))
        dm_http_peer_await_head(p);
    else if (p->pace.is_waiting)
        dm_http_peer_arm_look(p);
}

static void on_due(struct dm_timer *timer)
{
    struct dm_http_peer *p = DM_CONTAINER_OF(timer, struct dm_http_peer, timer);

    if (p->is_kept)
        dm_http_peer_fail(p, (struct dm_http_end){DM_HTTP_ABORT_IDLE, 0, 0});
    else if (p->has_exchange && awaits_head(p) && dm_http_peer_unsent(p) == 0)
        on_due_awaiting_head(p);
    else if (p->has_exchange)
        on_due_moving(p);
}

static void on_connect(struct dm_stream *stream)
{
    struct dm_http_peer *p = dm_http_peer_of(stream);

    p->is_connected = true;
    if (!p->has_exchange)
        return;
    if (p->writing == WRITE_DONE)
        dm_http_peer_await_head(p);
    else
        dm_http_peer_arm_look(p);
}

static void on_error(struct dm_stream *stream, int code)
{
    struct dm_http_peer *p = dm_http_peer_of(stream);
    enum dm_http_abort why = DM_HTTP_ABORT_PEER_RESET;

    if (!p->is_connected)
        why = code == DM_ETIMEOUT ? DM_HTTP_ABORT_CONNECT_TIMEOUT : DM_HTTP_ABORT_CONNECT_FAILED;
    dm_http_peer_fail(p, (struct dm_http_end){why, 0, code});
}

/* --- connections -------------------------------------------------------------------------------------------------- */

struct dm_http_peer *dm_http_client_connect(struct dm_http_client *client, const struct dm_addr *addr,
                                            const struct dm_http_peer_timeouts *timeouts)
{
    struct dm_http_peer *p = dm_freelist_take(&client->free_peers);
    int rc;

    memset(p, 0, sizeof(*p));
    p->client = client;
    p->timeouts = *timeouts;
    p->addr = *addr;
    p->timer.on_due = on_due;
    p->tell.run = on_tell;
    client->n_owned++;
    if ((rc = dm_stream_connect(&p->stream, client->loop, &client->type, addr, timeouts->connect_ms)) < 0) {
        p->is_stream_closed = true;
        dm_http_peer_die(p, (struct dm_http_end){DM_HTTP_ABORT_CONNECT_FAILED, 0, rc});
    }
    return p;
}

struct dm_http_client *dm_http_client_new(struct dm_loop *loop, const struct dm_http_client_settings *settings,
                                          const struct dm_http_peer_handler *handler)
{
    struct dm_http_client *client = dm_calloc(1, sizeof(*client));

    client->loop = loop;
    client->settings = *settings;
    client->handler = handler;
    client->type = (struct dm_stream_type){
        .on_read = dm_http_peer_on_read,
        .on_eof = dm_http_peer_on_eof,
        .on_writable = dm_http_peer_on_writable,
        .on_connect = on_connect,
        .on_error = on_error,
        .on_closed = on_closed,
        .read_max_bytes = DM_MAX(settings->limits.head_bytes, settings->limits.trailer_bytes) + 4096,
        .write_max_bytes = (uint32_t)DM_MIN(settings->write_cap_bytes, (size_t)1 << 30),
    };
    dm_freelist_init(&client->free_peers, sizeof(struct dm_http_peer), 4096);
    dm_buf_init(&client->out, HEAD_OUT_MAX);
    return client;
}

void dm_http_client_free(struct dm_http_client *client)
{
    unsigned n_failed = 0;

    if (!client)
        return;
    while (client->free_peers.n_used > client->n_owned && n_failed < POLL_FAILURES_MAX)
        n_failed += dm_loop_turn(client->loop, 0) < 0;
    dm_freelist_done(&client->free_peers);
    dm_buf_done(&client->out);
    dm_free(client);
}

void dm_http_peer_set_user(struct dm_http_peer *p, void *user)
{
    p->user = user;
}

void *dm_http_peer_user(const struct dm_http_peer *p)
{
    return p->user;
}

bool dm_http_peer_has_response(const struct dm_http_peer *p)
{
    return p->stream.bytes_in > p->exchange_in;
}

bool dm_http_peer_is_reused(const struct dm_http_peer *p)
{
    return p->is_reused;
}

bool dm_http_peer_is_reusable(const struct dm_http_peer *p)
{
    return !p->is_closing && !p->is_dead && p->reading == READ_DONE && p->position == p->stream.bytes_in &&
           dm_stream_is_open(&p->stream) && dm_stream_unsent(&p->stream) == 0;
}

void dm_http_peer_keep(struct dm_http_peer *p, void *idle_user, uint32_t idle_ms)
{
    p->is_kept = true;
    p->user = idle_user;
    if (DM_UNLIKELY(p->is_dead)) {
        dm_task_post(p->client->loop, &p->tell);
        return;
    }
    p->reading = READ_IDLE;
    p->writing = WRITE_NONE;
    arm(p, idle_ms);
}

void dm_http_peer_take(struct dm_http_peer *p, const struct dm_http_peer_timeouts *timeouts)
{
    p->is_kept = false;
    p->is_reused = true;
    p->timeouts = *timeouts;
}

void dm_http_peer_close(struct dm_http_peer *p)
{
    if (p->is_forgotten)
        return;
    forget(p);
    close_stream(p);
    if (p->is_stream_closed)
        dm_task_post(p->client->loop, &p->tell); /* P6 */
}

const struct dm_addr *dm_http_peer_addr(const struct dm_http_peer *p)
{
    return &p->addr;
}

uint64_t dm_http_peer_bytes_in(const struct dm_http_peer *p)
{
    return p->stream.bytes_in - p->exchange_in;
}

uint64_t dm_http_peer_bytes_out(const struct dm_http_peer *p)
{
    uint64_t sent = p->stream.bytes_out + dm_http_peer_unsent(p);

    return sent > p->exchange_out ? sent - p->exchange_out : 0;
}
