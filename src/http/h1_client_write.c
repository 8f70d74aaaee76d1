/* The writing half of a connection: heads and bodies of requests. */
#include "http/h1_client_int.h"
#include "http/serialize.h"

#include "base/mem.h"

static void begin_request(struct dm_h1_peer *p, const struct dm_http_message *m)
{
    p->method = (uint8_t)dm_http_method_of(m->method);
    p->writer.framing = (uint8_t)m->framing;
    p->writer.length_left = m->content_length;
    p->writing = WRITE_BODY;
    p->is_last_call = m->is_closing;
    dm_http_pace_reset(&p->pace);
}

static void write_head(struct dm_buf *out, const struct dm_http_message *m)
{
    dm_buf_reset(out);
    dm_http_write_request_line(out, m->method, m->target);
    dm_http_write_field(out, DM_STR("Host"), m->host);
    dm_buf_add(out, m->fields);
    if (m->framing == DM_HTTP_FRAMING_LENGTH)
        dm_http_write_field_u64(out, DM_STR("Content-Length"), m->content_length);
    else if (m->framing == DM_HTTP_FRAMING_CHUNKED)
        dm_buf_add_lit(out, "Transfer-Encoding: chunked\r\n");
    if (DM_UNLIKELY(m->protocol.len > 0)) {
        dm_buf_add_lit(out, "Connection: Upgrade\r\n");
        dm_http_write_field(out, DM_STR("Upgrade"), m->protocol);
    } else if (m->is_closing) {
        dm_buf_add_lit(out, "Connection: close\r\n");
    }
    dm_http_write_end(out);
}

/* The request is whole, and what it asked for may come. */
static void await_tunnel(struct dm_h1_peer *p, struct dm_str protocol)
{
    p->protocol = dm_strdup(protocol);
    p->writing = WRITE_DONE;
    if (p->base.is_connected)
        dm_h1_peer_await_head(p);
}

void dm_h1_call_send(struct dm_http_call *call, const struct dm_http_message *m)
{
    struct dm_h1_peer *p = dm_h1_peer_of_call(call);
    struct dm_buf *out = &p->base.client->out;

    begin_request(p, m);
    write_head(out, m);
    if (DM_UNLIKELY(out->failed)) /* nothing of it may go out */
        dm_http_peer_die(&p->base, (struct dm_http_end){DM_HTTP_ABORT_FAULT, DM_HTTP_HEAD_TOO_LARGE, 0});
    if (DM_UNLIKELY(p->base.is_dead))
        return;
    if (dm_stream_put(&p->base.stream, out->ptr, out->len) < 0)
        p->is_closing = true; /* the stream has failed and will say so */
    if (DM_UNLIKELY(m->protocol.len > 0))
        await_tunnel(p, m->protocol);
    else if (p->base.is_connected)
        dm_h1_peer_arm_look(p);
}

/* Behind the request, or into a tunnel. */
static size_t write_behind(struct dm_h1_peer *p, const char *ptr, size_t len)
{
    if (p->writing == WRITE_TUNNEL)
        return dm_h1_tunnel_write(p, ptr, len);
    if (!p->protocol || p->reading != READ_HEAD)
        return len;
    p->has_waiting_output = true;
    return 0;
}

size_t dm_h1_call_write(struct dm_http_call *call, const char *ptr, size_t len)
{
    struct dm_h1_peer *p = dm_h1_peer_of_call(call);
    size_t taken;

    if (DM_UNLIKELY(p->base.is_dead))
        return len;
    if (DM_UNLIKELY(p->writing != WRITE_BODY))
        return write_behind(p, ptr, len);
    taken = dm_http_writer_put(&p->writer, &p->base.stream, &p->base.client->out, ptr, len);
    if (DM_UNLIKELY(!dm_timer_is_armed(&p->base.timer)) && p->base.is_connected)
        dm_h1_peer_arm_look(p);
    return taken;
}

static void request_through(struct dm_h1_peer *p)
{
    p->writing = WRITE_DONE;
    if (dm_http_writer_is_short(&p->writer)) { /* the backend must see it */
        p->is_closing = true;
        dm_stream_shutdown(&p->base.stream);
    }
    if (p->base.is_connected && p->reading == READ_HEAD)
        dm_h1_peer_await_head(p);
    dm_h1_peer_maybe_done(p);
}

static void end_behind(struct dm_h1_peer *p)
{
    if (p->writing == WRITE_TUNNEL)
        dm_h1_tunnel_end(p);
    else
        p->has_ended_early = true;
}

void dm_h1_call_end(struct dm_http_call *call, struct dm_str trailers)
{
    struct dm_h1_peer *p = dm_h1_peer_of_call(call);

    if (DM_UNLIKELY(p->base.is_dead || p->writer.is_ending))
        return;
    if (DM_UNLIKELY(p->writing != WRITE_BODY)) {
        end_behind(p);
        return;
    }
    p->is_last_call = p->is_last_call || trailers.len > 0; /* P4 */
    if (dm_http_writer_end(&p->writer, &p->base.stream, &p->base.client->out, trailers))
        request_through(p);
}

void dm_h1_peer_on_writable(struct dm_stream *stream)
{
    struct dm_h1_peer *p = dm_h1_peer_of_stream(stream);

    if (!p->has_call || (p->writing != WRITE_BODY && p->writing != WRITE_TUNNEL))
        return;
    if (!p->writer.is_ending) {
        if (p->base.client->handler->on_writable)
            p->base.client->handler->on_writable(p->call.user, &p->call);
    } else if (dm_http_writer_retry(&p->writer, stream, &p->base.client->out)) {
        request_through(p);
    }
}
