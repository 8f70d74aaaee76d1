/* After 101 (RFC 9110 section 7.8) a connection carries raw bytes both ways until each side has ended its direction. */
#include "http/h1_client_int.h"

#include "base/mem.h"

#define LINGER_MS 5000

static bool is_answer_to(const struct dm_h1_peer *p, const struct dm_http_head *head)
{
    return p->protocol && p->writing == WRITE_DONE && head->has_upgrade &&
           dm_str_ieq(dm_http_head_value(head, DM_HTTP_FIELD_ID_UPGRADE), dm_str_of(p->protocol));
}

static void look(struct dm_h1_peer *p)
{
    dm_http_pace_look(&p->pace, p->base.stream.bytes_in + p->base.stream.bytes_out, true,
                      dm_loop_now_ns(p->base.client->loop));
}

/* Until the next look, or the end. */
static void arm(struct dm_h1_peer *p)
{
    uint32_t idle_ms = p->call.timeouts.tunnel_idle_ms, ms = idle_ms ? DM_MAX(idle_ms / 4, 1u) : UINT32_MAX;
    uint64_t now_ns = dm_loop_now_ns(p->base.client->loop), left_ms;

    if (p->tunnel_due_ns != UINT64_MAX) {
        left_ms = p->tunnel_due_ns > now_ns ? (p->tunnel_due_ns - now_ns + 999999) / 1000000 : 1;
        ms = (uint32_t)DM_MIN(left_ms, (uint64_t)ms);
    }
    dm_http_peer_arm(&p->base, ms == UINT32_MAX ? 0 : ms);
}

static void time_out(struct dm_h1_peer *p, enum dm_http_abort why)
{
    const struct dm_http_call_handler *handler = p->base.client->handler;

    if (handler->on_tunnel_due)
        handler->on_tunnel_due(p->call.user, &p->call, why);
    if (p->has_call)
        dm_h1_peer_fail(p, (struct dm_http_end){why, 0, 0});
}

void dm_h1_tunnel_on_due(struct dm_h1_peer *p)
{
    look(p);
    if (dm_http_pace_judge(&p->pace, p->call.timeouts.tunnel_idle_ms, 0) != DM_HTTP_PACE_FINE)
        time_out(p, DM_HTTP_ABORT_IDLE);
    else if (dm_loop_now_ns(p->base.client->loop) >= p->tunnel_due_ns)
        time_out(p, DM_HTTP_ABORT_SHUTDOWN);
    else
        arm(p);
}

static void end_output(struct dm_h1_peer *p)
{
    p->writing = WRITE_DONE;
    dm_stream_shutdown(&p->base.stream);
}

static void begin(struct dm_h1_peer *p)
{
    uint32_t total_ms = p->call.timeouts.tunnel_total_ms;

    p->reading = READ_TUNNEL;
    p->writing = WRITE_TUNNEL;
    p->is_closing = true;
    p->tunnel_due_ns = total_ms ? dm_loop_now_ns(p->base.client->loop) + total_ms * UINT64_C(1000000) : UINT64_MAX;
    dm_http_pace_reset(&p->pace);
    look(p);
    arm(p);
}

bool dm_h1_tunnel_begin(struct dm_h1_peer *p, struct dm_http_head *head)
{
    const struct dm_http_call_handler *handler = p->base.client->handler;

    if (!is_answer_to(p, head))
        return false;
    begin(p);
    handler->on_response(p->call.user, &p->call, head);
    if (p->reading != READ_TUNNEL)
        return true;
    if (p->has_ended_early)
        end_output(p);
    else if (p->has_waiting_output && handler->on_writable)
        handler->on_writable(p->call.user, &p->call);
    return true;
}

bool dm_h1_tunnel_read(struct dm_h1_peer *p, const char *ptr, size_t len)
{
    size_t taken = p->base.client->handler->on_body(p->call.user, &p->call, ptr, len);

    if (p->reading != READ_TUNNEL)
        return false;
    p->position += taken;
    if (taken < len) {
        p->is_body_stalled = true;
        dm_stream_pause(&p->base.stream);
    }
    return taken == len;
}

void dm_h1_tunnel_on_eof(struct dm_h1_peer *p)
{
    p->reading = READ_DONE;
    if (p->base.client->handler->on_response_end)
        p->base.client->handler->on_response_end(p->call.user, &p->call, NULL);
    dm_h1_peer_maybe_done(p);
}

size_t dm_h1_tunnel_write(struct dm_h1_peer *p, const char *ptr, size_t len)
{
    ssize_t n = dm_stream_write(&p->base.stream, ptr, len);

    if (n == DM_EAGAIN)
        return 0;
    return n < 0 ? len : (size_t)n; /* it has failed and will say so */
}

void dm_h1_tunnel_end(struct dm_h1_peer *p)
{
    end_output(p);
    dm_h1_peer_maybe_done(p);
}

void dm_h1_tunnel_leave(struct dm_h1_peer *p, struct dm_str last)
{
    bool has_room = dm_stream_room(&p->base.stream) >= last.len;

    p->has_call = false;
    if (p->writing == WRITE_TUNNEL && last.len > 0 && has_room &&
        dm_stream_put(&p->base.stream, last.ptr, last.len) < 0)
        p->is_closing = true; /* the stream has failed and will say so */
    dm_h1_tunnel_close(p);
}

/* What was written is still sent. */
void dm_h1_tunnel_close(struct dm_h1_peer *p)
{
    p->reading = READ_CLOSED;
    dm_http_peer_cut_gracefully(&p->base, LINGER_MS);
    dm_http_peer_tell_end(&p->base);
}
