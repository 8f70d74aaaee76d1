/* What nghttp2 calls for what came: header blocks, bodies, resets, and every frame for the guard. */
#include "http/h2_server_int.h"

#include "base/mem.h"

enum { PRIORITY_BYTES = 5, PRIORITY_UPDATE = 0x10 };

static struct dm_h2_stream *stream_of(nghttp2_session *session, int32_t id)
{
    return nghttp2_session_get_stream_user_data(session, id);
}

/* What nghttp2 is answered: it stops reading when the connection is at its end. */
static int go_on(const struct dm_h2_conn *c)
{
    return DM_LIKELY(c->end_why == 0) ? 0 : NGHTTP2_ERR_CALLBACK_FAILURE;
}

/* --- every frame -------------------------------------------------------------------------------------------------- */

static void guard_continuation(struct dm_h2_conn *c, const nghttp2_frame_hd *hd)
{
    c->block_bytes += (uint32_t)hd->length + DM_H2_FRAME_HEAD_BYTES;
    if (++c->n_continuations > DM_H2_CONTINUATIONS_MAX)
        dm_h2_conn_blame(c, DM_H2_CONTINUATION_FLOOD);
    else if (hd->length == 0)
        dm_h2_conn_spend(c, DM_H2_EMPTY_FRAMES, 1);
}

static void guard_priority(struct dm_h2_conn *c, const nghttp2_frame_hd *hd)
{
    if (hd->stream_id == 0)
        dm_h2_conn_end(c, NGHTTP2_PROTOCOL_ERROR); /* RFC 9113 section 6.3 */
    else if (hd->length != PRIORITY_BYTES)
        dm_h2_conn_end(c, NGHTTP2_FRAME_SIZE_ERROR);
    else
        dm_h2_conn_spend(c, DM_H2_PRIORITY_FLOOD, 1);
}

void dm_h2_note_reset(struct dm_h2_conn *c, int32_t id)
{
    c->reset_id = DM_MAX(c->reset_id, (uint32_t)id);
}

static void note_opened(struct dm_h2_conn *c, int32_t stream_id)
{
    uint32_t id = (uint32_t)stream_id;

    if (id <= c->newest_id)
        return;
    if (id > c->newest_id + 2) {
        c->gap_from = c->newest_id;
        c->gap_to = id;
    }
    c->newest_id = id;
}

/* Q8. RFC 9113 section 5.1: on a closed stream nothing but PRIORITY, and what was on its way, may come; section 5.1.1: what is left
 * out is never opened. With GOAWAY out, nghttp2 opens nothing, and drops what comes. */
void dm_h2_guard_closed(struct dm_h2_conn *c, uint32_t id)
{
    if (DM_LIKELY(id > c->newest_id) || id <= c->reset_id || c->drain == H2_FINAL ||
        DM_LIKELY(stream_of(c->session, (int32_t)id) != NULL))
        return;
    dm_h2_conn_end(c, id > c->gap_from && id < c->gap_to ? NGHTTP2_PROTOCOL_ERROR : NGHTTP2_STREAM_CLOSED);
}

/* nghttp2 refuses a stream that we are never told of. */
static int on_invalid_frame(nghttp2_session *session, const nghttp2_frame *frame, int code, void *conn)
{
    note_opened(conn, frame->hd.stream_id);
    dm_h2_note_reset(conn, frame->hd.stream_id);
    return 0;
}

static int64_t widest_window(const struct dm_h2_conn *c)
{
    int64_t widest = 0;

    for (const struct dm_h2_link *link = c->streams.next; link != &c->streams; link = link->next) {
        const struct dm_h2_stream *s = DM_CONTAINER_OF(link, struct dm_h2_stream, link);
        widest = DM_MAX(widest, nghttp2_session_get_stream_remote_window_size(c->session, s->id));
    }
    return widest;
}

static void guard_settings(struct dm_h2_conn *c)
{
    int64_t initial = nghttp2_session_get_remote_settings(c->session, NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE);

    dm_h2_conn_spend(c, DM_H2_SETTINGS_FLOOD, 1);
    c->initial_max = (uint32_t)(INT32_MAX - widest_window(c) + initial);
}

static int on_begin_frame(nghttp2_session *session, const nghttp2_frame_hd *hd, void *conn)
{
    struct dm_h2_conn *c = conn;

    dm_stream_enter(&c->base.stream); /* behind a request that was another's work */
    c->last_type = hd->type;
    switch (hd->type) {
    case NGHTTP2_DATA: break; /* scan_data(): this is not called for DATA that nghttp2 drops */
    case NGHTTP2_HEADERS:
        c->n_continuations = 0;
        c->block_bytes = (uint32_t)hd->length + DM_H2_FRAME_HEAD_BYTES;
        dm_h2_guard_closed(c, (uint32_t)hd->stream_id);
        break;
    case NGHTTP2_CONTINUATION: guard_continuation(c, hd); break;
    case NGHTTP2_RST_STREAM: dm_h2_conn_spend(c, DM_H2_RAPID_RESET, 1); break;
    case NGHTTP2_WINDOW_UPDATE: dm_h2_conn_spend(c, DM_H2_WINDOW_STALL, 1); break;
    case NGHTTP2_PRIORITY: guard_priority(c, hd); break;
    case PRIORITY_UPDATE: dm_h2_conn_spend(c, DM_H2_PRIORITY_FLOOD, 1); break;
    case NGHTTP2_SETTINGS:
        if (!(hd->flags & NGHTTP2_FLAG_ACK))
            guard_settings(c);
        break;
    case NGHTTP2_PING:
        if (!(hd->flags & NGHTTP2_FLAG_ACK))
            dm_h2_conn_spend(c, DM_H2_PING_FLOOD, 1);
        break;
    case NGHTTP2_GOAWAY: break;
    default: dm_h2_conn_spend(c, DM_H2_EMPTY_FRAMES, 1);
    }
    return go_on(c);
}

/* Extensions are counted, and left alone. */
static int on_extension(nghttp2_session *session, void **payload, const nghttp2_frame_hd *hd, void *conn)
{
    return NGHTTP2_ERR_CANCEL;
}

static int on_extension_chunk(nghttp2_session *session, const nghttp2_frame_hd *hd, const uint8_t *ptr, size_t len,
                              void *conn)
{
    return 0;
}

/* --- header blocks ------------------------------------------------------------------------------------------------ */

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *conn)
{
    struct dm_h2_conn *c = conn;
    struct dm_http_server *server = c->base.server;
    bool is_request = frame->headers.cat == NGHTTP2_HCAT_REQUEST;
    struct dm_h2_stream *s =
        is_request ? dm_h2_stream_new(c, frame->hd.stream_id) : stream_of(session, frame->hd.stream_id);

    if ((frame->hd.flags & NGHTTP2_FLAG_PRIORITY) && frame->headers.pri_spec.stream_id == frame->hd.stream_id)
        dm_h2_conn_end(c, NGHTTP2_PROTOCOL_ERROR);
    if (is_request) {
        note_opened(c, s->id);
        (void)nghttp2_session_set_stream_user_data(session, s->id, s);
    }
    dm_h2_block_init(&server->h2->block, is_request ? DM_H2_REQUEST : DM_H2_TRAILERS, &server->settings.limits,
                     &server->head, server->h2->text);
    c->has_block = true;
    c->block_stream = s;
    return go_on(c);
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name, size_t name_len,
                     const uint8_t *value, size_t value_len, uint8_t flags, void *conn)
{
    struct dm_h2_conn *c = conn;
    struct dm_h2_block *block = &dm_h2_shared_of(c)->block;

    dm_h2_block_add(block, dm_str_n((const char *)name, name_len), dm_str_n((const char *)value, value_len));
    if (DM_UNLIKELY(block->unpacked_bytes > (size_t)DM_H2_BOMB_FACTOR * block->limits->head_bytes))
        dm_h2_conn_blame(c, DM_H2_HEADER_BOMB);
    return go_on(c);
}

static uint64_t due_ns(const struct dm_h2_conn *c)
{
    uint32_t ms = c->base.head_timeout_ms;

    return ms > 0 ? dm_loop_now_ns(c->base.server->loop) + ms * UINT64_C(1000000) : 0;
}

void dm_h2_block_park(struct dm_h2_conn *c)
{
    struct dm_h2_shared *shared = dm_h2_shared_of(c);

    if (c->block_due_ns == 0)
        c->block_due_ns = due_ns(c);
    c->parked = dm_freelist_take(&shared->parked);
    c->parked->block = shared->block;
    dm_h2_block_move(&c->parked->block, &c->parked->head, c->parked->text);
}

void dm_h2_block_unpark(struct dm_h2_conn *c)
{
    struct dm_h2_shared *shared = dm_h2_shared_of(c);

    shared->block = c->parked->block;
    dm_h2_block_move(&shared->block, &c->base.server->head, shared->text);
    dm_freelist_give(&shared->parked, c->parked);
    c->parked = NULL;
}

/* --- requests ----------------------------------------------------------------------------------------------------- */

static void malformed(struct dm_h2_stream *s, int fault)
{
    dm_h2_counters_of(dm_h2_conn_of_stream(s))->malformed_messages++;
    s->request.conn->server->stats->faults[fault]++;
    dm_h2_stream_fail(s, DM_HTTP_ABORT_FAULT, fault, NGHTTP2_PROTOCOL_ERROR);
}

static void take_head(struct dm_h2_stream *s, const struct dm_http_head *head, bool has_end)
{
    const struct dm_http_server_settings *settings = &s->request.conn->server->settings;

    s->is_head_request = head->method == DM_HTTP_METHOD_HEAD;
    s->is_expecting = head->expects_continue;
    s->may_tunnel = head->upgrade.len > 0;
    s->body_left = head->has_content_length ? head->content_length : UINT64_MAX;
    s->body_max = settings->body_bytes_max ? settings->body_bytes_max : UINT64_MAX;
    s->has_request = true;
    if (!has_end)
        dm_h2_stream_look(s);
}

/* One that asks for a tunnel is complete with its head; what follows is the tunnel's (server.h). */
static void offer_tunnel(struct dm_h2_stream *s, bool has_end)
{
    const struct dm_http_handler *handler = s->request.conn->server->handler;

    s->reading = H2_READ_OFFERED;
    s->has_end = has_end;
    if (dm_h2_stream_is_open(s) && handler->on_request_end)
        handler->on_request_end(s->request.user, &s->request, NULL);
}

static void begin_request(struct dm_h2_conn *c, struct dm_h2_stream *s, bool has_end)
{
    struct dm_http_server *server = c->base.server;
    struct dm_http_head *head = &server->head;
    struct dm_h2_block *block = &dm_h2_shared_of(c)->block;
    int rc = dm_h2_block_end(block, has_end, DM_HTTP_METHOD_OTHER);

    s->bytes_in = c->block_bytes;
    if (rc < 0 && block->is_malformed) {
        malformed(s, -rc);
        return;
    }
    if (dm_h2_is_reset(c, (uint32_t)s->id)) {
        dm_h2_counters_of(c)->cancelled_streams++;
        s->is_ignoring = true;
        return;
    }
    if (rc < 0) {
        s->has_end = has_end;
        dm_h2_stream_refuse(s, (struct dm_http_end){DM_HTTP_ABORT_FAULT, -rc, 0},
                            dm_http_fault_status((enum dm_http_fault) - rc));
        return;
    }
    take_head(s, head, has_end);
    server->handler->on_request(server->arg, &s->request, head);
    if (DM_UNLIKELY(s->may_tunnel))
        offer_tunnel(s, has_end);
    else if (has_end)
        dm_h2_stream_deliver_end(s, NULL);
}

/* RFC 9113 section 8.1.1: a body is as long as was said. */
static bool is_short(const struct dm_h2_stream *s)
{
    return s->body_left != 0 && s->body_left != UINT64_MAX;
}

static void take_trailers(struct dm_h2_conn *c, struct dm_h2_stream *s, bool has_end)
{
    struct dm_h2_block *block = &dm_h2_shared_of(c)->block;
    int rc = dm_h2_block_end(block, has_end, DM_HTTP_METHOD_OTHER);

    s->bytes_in += c->block_bytes;
    if (rc < 0 && (block->is_malformed || s->may_tunnel)) {
        malformed(s, -rc);
    } else if (rc < 0) {
        s->has_end = has_end;
        dm_h2_stream_refuse(s, (struct dm_http_end){DM_HTTP_ABORT_FAULT, -rc, 0},
                            dm_http_fault_status((enum dm_http_fault) - rc));
    } else if (is_short(s)) {
        malformed(s, DM_HTTP_BODY_LENGTH);
    } else {
        dm_h2_stream_deliver_end(s, block->head->field_count > 0 ? block : NULL);
    }
}

static void on_headers(struct dm_h2_conn *c, const nghttp2_frame *frame)
{
    struct dm_h2_stream *s = c->block_stream;
    bool has_end = (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;

    c->has_block = false;
    c->block_stream = NULL;
    c->block_due_ns = 0;
    if (!s)
        return;
    if (dm_h2_shared_of(c)->block.kind == DM_H2_REQUEST)
        begin_request(c, s, has_end);
    else if (!s->is_ignoring)
        take_trailers(c, s, has_end);
    else
        s->has_end |= has_end;
}

/* --- bodies ------------------------------------------------------------------------------------------------------- */

static void stop_expecting(struct dm_h2_stream *s)
{
    s->is_expecting = false;
    dm_h2_stream_look(s);
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *ptr, size_t len, void *conn)
{
    struct dm_h2_conn *c = conn;
    struct dm_h2_stream *s = stream_of(session, id);

    if (!s) {
        (void)nghttp2_session_consume(session, id, len);
        return 0;
    }
    if (DM_UNLIKELY(s->is_expecting))
        stop_expecting(s);
    s->bytes_in += len;
    s->body_in += len;
    if (s->body_left < len && s->body_left != UINT64_MAX && !s->is_ignoring) {
        malformed(s, DM_HTTP_BODY_LENGTH);
    } else if (s->body_in > s->body_max && !s->is_ignoring && !s->may_tunnel) {
        dm_h2_stream_refuse(s, (struct dm_http_end){DM_HTTP_ABORT_TOO_LARGE, DM_HTTP_BODY_TOO_LARGE, 0}, 413);
    } else if (s->body_left != UINT64_MAX) {
        s->body_left -= DM_MIN(len, s->body_left);
    }
    dm_h2_stream_deliver(s, (const char *)ptr, len);
    return go_on(c);
}

static void on_data_frame(struct dm_h2_conn *c, const nghttp2_frame *frame)
{
    struct dm_h2_stream *s = stream_of(c->session, frame->hd.stream_id);

    if (frame->hd.length > 0 && frame->hd.length <= frame->data.padlen && !(frame->hd.flags & NGHTTP2_FLAG_END_STREAM))
        dm_h2_conn_spend(c, DM_H2_EMPTY_FRAMES, 1);
    if (!s)
        return;
    s->bytes_in += DM_H2_FRAME_HEAD_BYTES;
    if (!(frame->hd.flags & NGHTTP2_FLAG_END_STREAM))
        return;
    if (is_short(s) && !s->is_ignoring)
        malformed(s, DM_HTTP_BODY_LENGTH);
    else
        dm_h2_stream_deliver_end(s, NULL);
}

/* --- frames, whole ------------------------------------------------------------------------------------------------ */

/* RFC 9113 section 6.9.2: a window that grows above its maximum ends the connection. nghttp2 ends the stream alone. */
static void on_settings(struct dm_h2_conn *c, const nghttp2_settings *settings)
{
    for (size_t i = 0; i < settings->niv; i++)
        if (settings->iv[i].settings_id == NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE &&
            settings->iv[i].value > c->initial_max && c->n_streams > 0)
            dm_h2_conn_end(c, NGHTTP2_FLOW_CONTROL_ERROR);
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *conn)
{
    struct dm_h2_conn *c = conn;

    switch (frame->hd.type) {
    case NGHTTP2_HEADERS: on_headers(c, frame); break;
    case NGHTTP2_DATA: on_data_frame(c, frame); break;
    case NGHTTP2_GOAWAY: c->is_parting = true; break;
    case NGHTTP2_SETTINGS: on_settings(c, &frame->settings); break;
    case NGHTTP2_PING:
        if (frame->hd.flags & NGHTTP2_FLAG_ACK)
            dm_h2_conn_on_pong(c, frame->ping.opaque_data);
        break;
    default: break;
    }
    return go_on(c);
}

static int on_stream_close(nghttp2_session *session, int32_t id, uint32_t code, void *conn)
{
    struct dm_h2_stream *s = stream_of(session, id);

    if (s) {
        (void)nghttp2_session_set_stream_user_data(session, id, NULL);
        dm_h2_stream_gone(s, code);
    }
    return 0;
}

void dm_h2_read_callbacks(nghttp2_session_callbacks *callbacks)
{
    nghttp2_session_callbacks_set_on_begin_frame_callback(callbacks, on_begin_frame);
    nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(callbacks, on_invalid_frame);
    nghttp2_session_callbacks_set_unpack_extension_callback(callbacks, on_extension);
    nghttp2_session_callbacks_set_on_extension_chunk_recv_callback(callbacks, on_extension_chunk);
    nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_stream_close);
}
