/* The writing half of a connection: interim responses, heads, bodies, answers to what is no request. */
#include "base/mem.h"
#include "http/serialize.h"
#include "http/h1_server_int.h"

/* --- heads -------------------------------------------------------------------------------------------------------- */

static bool has_body(const struct dm_h1_conn *c, unsigned status)
{
    return !c->is_head_request && status != 204 && status != 304 && status >= 200;
}

static void write_framing(struct dm_buf *out, const struct dm_h1_conn *c, const struct dm_http_message *m)
{
    if (m->framing == DM_HTTP_FRAMING_LENGTH && m->status != 204)
        dm_http_write_field_u64(out, DM_STR("Content-Length"), m->content_length);
    else if (m->framing == DM_HTTP_FRAMING_NONE && has_body(c, m->status))
        dm_buf_add_lit(out, "Content-Length: 0\r\n");
    else if (m->framing == DM_HTTP_FRAMING_CHUNKED && !c->is_http10 && m->status != 204 && m->status != 304)
        dm_buf_add_lit(out, "Transfer-Encoding: chunked\r\n");
}

static void write_connection(struct dm_buf *out, const struct dm_h1_conn *c)
{
    if (c->is_closing)
        dm_buf_add_lit(out, "Connection: close\r\n");
    else if (c->is_http10)
        dm_buf_add_lit(out, "Connection: keep-alive\r\n");
}

/* RFC 9110 section 15.5.22 */
static void write_required_upgrade(struct dm_buf *out, const struct dm_h1_conn *c, const struct dm_http_message *m)
{
    if (c->is_http10 || m->protocol.len == 0)
        return;
    dm_http_write_field(out, DM_STR("Upgrade"), m->protocol);
    dm_buf_add_lit(out, "Connection: upgrade\r\n");
}

/* Is so much of the request to come that it is not worth reading? */
static bool leaves_rest(const struct dm_h1_conn *c)
{
    return c->is_ignoring && c->reading == READ_BODY && !dm_http_body_is_done(&c->body) &&
           (c->is_expecting || c->body.framing != DM_HTTP_FRAMING_LENGTH || c->body.left > DM_HTTP_DROP_MAX_BYTES);
}

static void decide_framing(struct dm_h1_conn *c, const struct dm_http_message *m)
{
    bool ends_with_close =
        m->framing == DM_HTTP_FRAMING_CLOSE || (m->framing == DM_HTTP_FRAMING_CHUNKED && c->is_http10);

    c->writer.framing = ends_with_close ? DM_HTTP_FRAMING_CLOSE : (uint8_t)m->framing;
    c->writer.length_left = m->content_length;
    c->is_closing = c->is_closing || m->is_closing || c->base.server->is_draining || leaves_rest(c) ||
                    (ends_with_close && has_body(c, m->status));
    if (!has_body(c, m->status))
        c->writer.framing = DM_HTTP_FRAMING_NONE;
}

/* A head that fits no buffer must not be followed by its body. */
static void write_unfit(struct dm_h1_conn *c, struct dm_buf *out)
{
    c->writer.framing = DM_HTTP_FRAMING_NONE;
    c->is_closing = true;
    dm_buf_reset(out);
    dm_http_write_status_line(out, 500, DM_STR_NULL);
    dm_buf_add_lit(out, "Content-Length: 0\r\nConnection: close\r\n\r\n");
}

/* The head of the response, in the server's buffer. */
static struct dm_buf *begin_response(struct dm_h1_conn *c, const struct dm_http_message *m)
{
    struct dm_buf *out = &c->base.server->out;

    decide_framing(c, m);
    dm_buf_reset(out);
    dm_http_write_status_line(out, m->status, DM_STR_NULL);
    dm_buf_add(out, m->fields);
    write_framing(out, c, m);
    write_connection(out, c);
    if (DM_UNLIKELY(m->status == 426))
        write_required_upgrade(out, c, m);
    dm_http_write_end(out);
    if (DM_UNLIKELY(out->failed))
        write_unfit(c, out);
    c->writing = WRITE_BODY;
    return out;
}

static void put(struct dm_h1_conn *c, const char *ptr, size_t len)
{
    if (dm_stream_put(&c->base.stream, ptr, len) < 0)
        c->is_closing = true; /* the stream has failed and will say so (C4) */
}

void dm_h1_request_respond(struct dm_http_request *request, const struct dm_http_message *m)
{
    struct dm_h1_conn *c = dm_h1_conn_of_request(request);
    struct dm_buf *out;

    if (!c->has_request || c->writing != WRITE_NONE)
        return;
    out = begin_response(c, m);
    put(c, out->ptr, out->len);
    dm_h1_conn_arm_look(c);
}

void dm_h1_request_inform(struct dm_http_request *request, unsigned status, struct dm_str fields)
{
    struct dm_h1_conn *c = dm_h1_conn_of_request(request);
    struct dm_buf *out = &c->base.server->out;

    if (!c->has_request || c->is_http10 || c->writing != WRITE_NONE || status / 100 != 1 || status == 101 ||
        (status == 100 && !c->is_expecting))
        return;
    dm_buf_reset(out);
    dm_http_write_status_line(out, status, DM_STR_NULL);
    dm_buf_add(out, fields);
    dm_http_write_end(out);
    if (out->failed || dm_stream_room(&c->base.stream) <= out->len)
        return; /* a client that reads nothing misses nothing */
    put(c, out->ptr, out->len);
    dm_stream_flush(&c->base.stream);
    if (status != 100)
        return;
    c->is_expecting = false;
    dm_h1_conn_look(c);
    dm_h1_conn_arm_look(c);
}

/* --- tunnels ------------------------------------------------------------------------------------------------------ */

static struct dm_buf *write_switching(struct dm_h1_conn *c, const struct dm_http_message *m)
{
    struct dm_buf *out = &c->base.server->out;

    dm_buf_reset(out);
    dm_http_write_status_line(out, 101, DM_STR_NULL);
    dm_buf_add(out, m->fields);
    dm_http_write_field(out, DM_STR("Upgrade"), m->protocol);
    dm_buf_add_lit(out, "Connection: upgrade\r\n");
    dm_http_write_end(out);
    return out;
}

/* C6. A client that sent no more from before on is told of as if it did so now. */
static void begin_tunnel(struct dm_h1_conn *c)
{
    const struct dm_http_server_settings *settings = &c->base.server->settings;
    uint64_t now_ns = dm_loop_now_ns(c->base.server->loop);

    c->is_tunnel = c->is_closing = true;
    c->is_ignoring = c->is_body_stalled = false;
    c->reading = READ_TUNNEL;
    c->writing = WRITE_BODY;
    c->writer.framing = DM_HTTP_FRAMING_CLOSE;
    c->tunnel_due_ns = settings->tunnel_timeout_ms ? now_ns + settings->tunnel_timeout_ms * UINT64_C(1000000) : 0;
    dm_http_pace_reset(&c->in);
    dm_http_pace_look(&c->in, c->base.stream.bytes_in + c->base.stream.bytes_out, true, now_ns);
    if (c->has_eof)
        dm_http_conn_arm(&c->base, 1);
    else
        dm_h1_conn_arm_tunnel(c);
    dm_stream_resume(&c->base.stream);
}

void dm_h1_request_tunnel(struct dm_http_request *request, const struct dm_http_message *m)
{
    struct dm_h1_conn *c = dm_h1_conn_of_request(request);
    struct dm_buf *out;

    if (!c->has_request || !c->may_tunnel || c->writing != WRITE_NONE || c->reading != READ_COMPLETE)
        return;
    out = write_switching(c, m);
    begin_tunnel(c);
    put(c, out->ptr, out->len);
}

void dm_h1_request_leave(struct dm_http_request *request, struct dm_str last)
{
    struct dm_h1_conn *c = dm_h1_conn_of_request(request);

    if (!c->is_tunnel) {
        dm_h1_request_abort(request, DM_HTTP2_CODE_INTERNAL);
        return;
    }
    if (c->writing == WRITE_BODY && last.len > 0 && dm_stream_room(&c->base.stream) >= last.len)
        put(c, last.ptr, last.len);
    c->has_request = c->is_tunnel = false;
    c->request.user = NULL;
    c->writing = WRITE_DONE;
    dm_h1_conn_leave(c);
}

/* --- bodies ------------------------------------------------------------------------------------------------------- */

size_t dm_h1_request_write(struct dm_http_request *request, const char *ptr, size_t len)
{
    struct dm_h1_conn *c = dm_h1_conn_of_request(request);
    size_t taken;

    if (c->writing != WRITE_BODY)
        return len;
    taken = dm_http_writer_put(&c->writer, &c->base.stream, &c->base.server->out, ptr, len);
    if (DM_UNLIKELY(!dm_timer_is_armed(&c->base.timer)))
        dm_h1_conn_arm_look(c);
    return taken;
}

static void response_through(struct dm_h1_conn *c)
{
    c->writing = WRITE_DONE;
    if (dm_http_writer_is_short(&c->writer))
        c->is_closing = true; /* the client must see it */
    if (DM_UNLIKELY(c->reading == READ_TUNNEL))
        dm_stream_shutdown(&c->base.stream);
    if (c->reading == READ_BODY)
        dm_h1_request_ignore_body(&c->request);
    if (c->reading == READ_BODY && !dm_http_body_is_done(&c->body) && (c->is_closing || c->is_expecting)) {
        c->reading = READ_COMPLETE;
        c->is_closing = true;
    }
    dm_h1_conn_maybe_done(c);
}

void dm_h1_request_end(struct dm_http_request *request, struct dm_str trailers)
{
    struct dm_h1_conn *c = dm_h1_conn_of_request(request);

    if (c->writing != WRITE_BODY || c->writer.is_ending)
        return;
    if (dm_http_writer_end(&c->writer, &c->base.stream, &c->base.server->out, trailers))
        response_through(c);
    else
        dm_h1_conn_arm_look(c);
}

/* A body behind a head that leaves no room for it goes with the head. */
static void put_joined(struct dm_h1_conn *c, const struct dm_buf *head, struct dm_str body)
{
    char *joined = dm_alloc(head->len + body.len);

    memcpy(joined, head->ptr, head->len);
    memcpy(joined + head->len, body.ptr, body.len);
    put(c, joined, head->len + body.len);
    dm_free(joined);
}

static void put_answer(struct dm_h1_conn *c, const struct dm_http_message *m, struct dm_str body)
{
    struct dm_buf *head = begin_response(c, m);

    if (body.len > 0 && c->writer.framing != DM_HTTP_FRAMING_NONE && dm_stream_room(&c->base.stream) <= head->len) {
        put_joined(c, head, body);
    } else {
        put(c, head->ptr, head->len);
        if (c->writer.framing != DM_HTTP_FRAMING_NONE)
            put(c, body.ptr, body.len);
    }
    c->writer.length_left = 0;
}

void dm_h1_request_reply(struct dm_http_request *request, struct dm_http_message *m, struct dm_str body)
{
    struct dm_h1_conn *c = dm_h1_conn_of_request(request);

    if (!c->has_request || c->writing != WRITE_NONE)
        return;
    m->framing = m->status == 304 ? DM_HTTP_FRAMING_NONE : DM_HTTP_FRAMING_LENGTH;
    m->content_length = body.len;
    dm_h1_request_ignore_body(&c->request);
    put_answer(c, m, body);
    dm_h1_conn_arm_look(c);
    dm_h1_request_end(&c->request, DM_STR_NULL);
}

void dm_h1_request_abort(struct dm_http_request *request, uint32_t code)
{
    struct dm_h1_conn *c = dm_h1_conn_of_request(request);

    c->has_request = false;
    c->request.user = NULL;
    dm_h1_conn_break(c);
    c->is_tunnel = false;
}

void dm_h1_conn_answer_fault(struct dm_h1_conn *c, struct dm_http_end end, unsigned status)
{
    struct dm_http_message message = {.status = status, .framing = DM_HTTP_FRAMING_LENGTH, .is_closing = true};
    struct dm_str body = DM_STR_NULL;

    if (c->base.server->handler->on_fault)
        c->base.server->handler->on_fault(c->base.server->arg, &c->request, end, &message, &body);
    message.status = message.status ? message.status : status;
    message.framing = DM_HTTP_FRAMING_LENGTH;
    message.content_length = body.len;
    message.is_closing = true;
    put_answer(c, &message, body);
    dm_h1_conn_leave(c);
}

/* --- of the stream ------------------------------------------------------------------------------------------------ */

static void end_hold(struct dm_h1_conn *c)
{
    c->reading = READ_IDLE;
    c->is_sending = true;
    dm_h1_conn_arm_look(c);
    dm_stream_resume(&c->base.stream);
}

void dm_h1_conn_on_writable(struct dm_stream *stream)
{
    struct dm_h1_conn *c = dm_h1_conn_of(stream);

    if (c->reading == READ_HELD)
        end_hold(c);
    else if (c->writer.is_ending && dm_http_writer_retry(&c->writer, stream, &c->base.server->out))
        response_through(c);
    else if (!c->writer.is_ending && c->has_request && c->writing == WRITE_BODY && c->base.server->handler->on_writable)
        c->base.server->handler->on_writable(c->request.user, &c->request);
}
