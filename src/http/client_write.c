/* The writing half of a connection: heads and bodies of requests. */
#include "http/client_int.h"
#include "http/serialize.h"

static void begin_exchange(struct dm_http_peer *p, const struct dm_http_message *m)
{
    p->exchange++;
    p->has_exchange = true;
    p->is_kept = p->is_body_stalled = false;
    p->exchange_in = p->stream.bytes_in;
    p->exchange_out = p->stream.bytes_out + dm_http_peer_unsent(p);
    p->method = (uint8_t)dm_http_method_of(m->method);
    p->writer.framing = (uint8_t)m->framing;
    p->writer.length_left = m->content_length;
    p->writing = WRITE_BODY;
    p->reading = READ_HEAD;
    p->scan = 0;
    p->is_closing = p->is_closing || m->is_closing;
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
    if (m->is_closing)
        dm_buf_add_lit(out, "Connection: close\r\n");
    dm_http_write_end(out);
}

void dm_http_peer_send(struct dm_http_peer *p, const struct dm_http_message *m)
{
    struct dm_buf *out = &p->client->out;

    begin_exchange(p, m);
    write_head(out, m);
    if (DM_UNLIKELY(out->failed) && !p->is_dead) /* nothing of it may go out */
        dm_http_peer_die(p, (struct dm_http_end){DM_HTTP_ABORT_FAULT, DM_HTTP_HEAD_TOO_LARGE, 0});
    if (DM_UNLIKELY(p->is_dead)) {
        p->reading = READ_CLOSED;
        dm_task_post(p->client->loop, &p->tell);
        return;
    }
    if (dm_stream_put(&p->stream, out->ptr, out->len) < 0)
        p->is_closing = true; /* the stream has failed and will say so */
    if (p->is_connected)
        dm_http_peer_arm_look(p);
}

size_t dm_http_peer_write(struct dm_http_peer *p, const char *ptr, size_t len)
{
    size_t taken;

    if (p->writing != WRITE_BODY || p->is_dead)
        return len;
    taken = dm_http_writer_put(&p->writer, &p->stream, &p->client->out, ptr, len);
    if (DM_UNLIKELY(!dm_timer_is_armed(&p->timer)) && p->is_connected)
        dm_http_peer_arm_look(p);
    return taken;
}

static void request_through(struct dm_http_peer *p)
{
    p->writing = WRITE_DONE;
    if (dm_http_writer_is_short(&p->writer)) { /* the backend must see it */
        p->is_closing = true;
        dm_stream_shutdown(&p->stream);
    }
    if (p->is_connected && p->reading == READ_HEAD)
        dm_http_peer_await_head(p);
    dm_http_peer_maybe_done(p);
}

void dm_http_peer_end(struct dm_http_peer *p, struct dm_str trailers)
{
    if (p->writing != WRITE_BODY || p->writer.is_ending || p->is_dead)
        return;
    if (dm_http_writer_end(&p->writer, &p->stream, &p->client->out, trailers))
        request_through(p);
}

void dm_http_peer_on_writable(struct dm_stream *stream)
{
    struct dm_http_peer *p = dm_http_peer_of(stream);

    if (!p->has_exchange || p->writing != WRITE_BODY)
        return;
    if (!p->writer.is_ending) {
        if (p->client->handler->on_writable)
            p->client->handler->on_writable(p->user, p);
    } else if (dm_http_writer_retry(&p->writer, stream, &p->client->out)) {
        request_through(p);
    }
}
