/* What comes from an HTTP/2 backend: frames, heads, bodies, ends. */
#include "http/h2_client_int.h"

#include "base/mem.h"

enum {
    CREDIT_MAX = 1000,
    CONTINUATIONS_MAX = 8,
    CREDIT_NS = 10000000,  /* a frame each */
    UNPACKED_HEADS_MAX = 4 /* of header blocks, in largest heads */
};

/* --- what ends calls and connections ------------------------------------------------------------------------------ */

static int stop(struct dm_h2_peer *p, enum dm_http_abort why)
{
    p->end = (struct dm_http_end){why, 0, 0};
    return NGHTTP2_ERR_CALLBACK_FAILURE;
}

static void refuse_message(struct dm_h2_call *call, int fault)
{
    dm_h2_call_peer(call)->base.client->counters.malformed++;
    dm_h2_call_abort(call, NGHTTP2_PROTOCOL_ERROR, (struct dm_http_end){DM_HTTP_ABORT_FAULT, fault, 0});
}

static enum dm_http_abort abort_of(uint32_t code)
{
    switch (code) {
    case NGHTTP2_NO_ERROR: return DM_HTTP_ABORT_PEER_CLOSED;
    case NGHTTP2_REFUSED_STREAM: return DM_HTTP_ABORT_REFUSED;
    case NGHTTP2_PROTOCOL_ERROR:
    case NGHTTP2_FLOW_CONTROL_ERROR:
    case NGHTTP2_STREAM_CLOSED:
    case NGHTTP2_FRAME_SIZE_ERROR:
    case NGHTTP2_COMPRESSION_ERROR: return DM_HTTP_ABORT_FAULT;
    default: return DM_HTTP_ABORT_CANCELLED;
    }
}

/* --- bodies ------------------------------------------------------------------------------------------------------- */

static void give_piece(struct dm_http_peer *peer, struct dm_h2_piece *piece)
{
    dm_stream_count_buffer(&peer->stream, -(int32_t)sizeof(*piece));
    dm_freelist_give(&peer->client->free_pieces, piece);
}

void dm_h2_call_drop_kept(struct dm_h2_call *call)
{
    struct dm_h2_piece *piece;

    while ((piece = call->kept)) {
        call->kept = piece->next;
        give_piece(call->base.peer, piece);
    }
    call->last_kept = NULL;
}

static void keep(struct dm_h2_call *call, const char *ptr, size_t len)
{
    while (len > 0) {
        struct dm_h2_piece *piece = call->last_kept;
        size_t n;

        if (!piece || piece->end == sizeof(piece->data)) {
            piece = dm_freelist_take(&call->base.peer->client->free_pieces);
            dm_stream_count_buffer(&call->base.peer->stream, (int32_t)sizeof(*piece));
            piece->next = NULL;
            piece->start = piece->end = 0;
            if (call->last_kept)
                call->last_kept->next = piece;
            else
                call->kept = piece;
            call->last_kept = piece;
        }
        n = DM_MIN(len, sizeof(piece->data) - piece->end);
        memcpy(piece->data + piece->end, ptr, n);
        piece->end += (uint32_t)n;
        ptr += n;
        len -= n;
    }
}

/* The stream's window opens for what the owner took. */
static void consumed(struct dm_h2_peer *p, int32_t stream_id, size_t len)
{
    if (len == 0 || p->base.is_closed)
        return;
    (void)nghttp2_session_consume_stream(p->session, stream_id, len);
    p->wants_flush = true;
}

static void finish_response(struct dm_h2_call *call, const struct dm_http_head *trailers)
{
    const struct dm_http_call_handler *handler = call->base.peer->client->handler;

    call->reading = H2_READ_DONE;
    if (handler->on_response_end)
        handler->on_response_end(call->base.user, &call->base, trailers);
    if (call->is_over || (call->is_tunnel && call->writing != H2_WRITE_ENDED))
        return;
    dm_h2_call_done(call);
}

/* Returns whether all was taken. */
static bool present_piece(struct dm_h2_call *call, struct dm_h2_piece *piece)
{
    struct dm_http_client *client = call->base.peer->client;
    size_t len = piece->end - piece->start;
    size_t taken = client->handler->on_body(call->base.user, &call->base, piece->data + piece->start, len);

    if (call->is_over)
        return false;
    piece->start += (uint32_t)taken;
    consumed(dm_h2_call_peer(call), call->stream_id, taken);
    if (taken < len) {
        call->is_stalled = true;
        dm_h2_call_look(call);
        return false;
    }
    call->kept = piece->next;
    if (!call->kept)
        call->last_kept = NULL;
    give_piece(call->base.peer, piece);
    return true;
}

void dm_h2_call_present(struct dm_h2_call *call)
{
    while (call->kept)
        if (!present_piece(call, call->kept))
            return;
    if (call->reading == H2_READ_ENDED)
        finish_response(call, call->trailers_in ? &call->trailers_in->head : NULL);
}

void dm_h2_call_resume(struct dm_http_call *base)
{
    struct dm_h2_call *call = dm_h2_call_of(base);

    if (!call->is_stalled)
        return;
    call->is_stalled = false;
    dm_h2_call_look(call);
    dm_h2_call_arm(call);
    dm_task_post(base->peer->client->loop, &call->wake);
}

/* Returns whether the response may have this many bytes more. */
static bool fits(struct dm_h2_call *call, size_t len)
{
    if (call->is_tunnel || call->in_framing == DM_HTTP_FRAMING_CHUNKED)
        return true;
    if (call->in_framing == DM_HTTP_FRAMING_NONE || len > call->in_left)
        return false;
    call->in_left -= len;
    return true;
}

static void take_data(struct dm_h2_call *call, const char *ptr, size_t len)
{
    struct dm_h2_peer *p = dm_h2_call_peer(call);
    int32_t stream_id = call->stream_id;
    size_t taken = 0;

    if (call->reading != H2_READ_BODY || !fits(call, len)) {
        consumed(p, stream_id, len);
        refuse_message(call, call->reading == H2_READ_BODY ? DM_HTTP_BODY_LENGTH : DM_HTTP_BAD_STATUS_LINE);
        return;
    }
    if (!call->kept && !call->is_stalled)
        taken = p->base.client->handler->on_body(call->base.user, &call->base, ptr, len);
    if (call->is_over)
        taken = len;
    consumed(p, stream_id, taken);
    if (taken == len)
        return;
    keep(call, ptr + taken, len - taken);
    if (!call->is_stalled && !dm_task_is_posted(&call->wake)) {
        call->is_stalled = true;
        dm_h2_call_look(call);
    }
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t stream_id, const uint8_t *ptr, size_t len,
                   void *user)
{
    struct dm_h2_peer *p = user;
    struct dm_h2_call *call = dm_h2_peer_find(p, stream_id);

    (void)flags;
    (void)nghttp2_session_consume_connection(session, len);
    p->wants_flush = true;
    if (call)
        take_data(call, (const char *)ptr, len);
    else
        consumed(p, stream_id, len);
    return 0;
}

/* --- heads -------------------------------------------------------------------------------------------------------- */

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    struct dm_h2_peer *p = user;
    struct dm_http_client *client = p->base.client;
    struct dm_h2_call *call = dm_h2_peer_find(p, frame->hd.stream_id);

    (void)session;
    dm_h2_block_init(&p->block, call && call->reading != H2_READ_HEAD ? DM_H2_TRAILERS : DM_H2_RESPONSE,
                     &client->settings.limits, &client->head, client->h2_text);
    p->block_call = call;
    p->has_block = true;
    if (call)
        call->has_response = true;
    return 0;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name, size_t name_len,
                     const uint8_t *value, size_t value_len, uint8_t flags, void *user)
{
    struct dm_h2_peer *p = user;

    (void)session;
    (void)frame;
    (void)flags;
    dm_h2_block_add(&p->block, dm_str_n((const char *)name, name_len), dm_str_n((const char *)value, value_len));
    if (p->block.unpacked_bytes <= UNPACKED_HEADS_MAX * (size_t)p->base.client->settings.limits.head_bytes)
        return 0;
    p->base.client->counters.header_bombs++;
    return stop(p, DM_HTTP_ABORT_FLOOD);
}

static void respond(struct dm_h2_call *call, struct dm_http_head *head)
{
    struct dm_http_client *client = call->base.peer->client;

    call->reading = H2_READ_BODY;
    call->in_framing = head->framing;
    call->in_left = head->framing == DM_HTTP_FRAMING_LENGTH ? head->content_length : 0;
    if (call->is_upgrading && head->status / 100 == 2) {
        dm_h2_call_begin_tunnel(call);
        head->status = 101;
    } else {
        if (call->is_upgrading)
            call->writing = H2_WRITE_ENDED; /* the request had no body */
        dm_h2_call_look(call);
        dm_h2_call_arm(call);
    }
    client->handler->on_response(call->base.user, &call->base, head);
    if (call->is_over || !call->is_tunnel)
        return;
    if (call->has_ended_early)
        dm_http_call_end(&call->base, DM_STR_NULL);
    else if (call->wants_writable)
        dm_task_post(client->loop, &call->wake);
}

static void end_response(struct dm_h2_call *call, struct dm_http_head *trailers)
{
    struct dm_h2_peer *p = dm_h2_call_peer(call);

    if (call->reading != H2_READ_BODY)
        return;
    if (call->in_left > 0 && !call->is_tunnel) {
        refuse_message(call, DM_HTTP_BODY_LENGTH);
        return;
    }
    if (!call->kept) {
        finish_response(call, trailers);
        return;
    }
    call->reading = H2_READ_ENDED;
    dm_h2_call_look(call);
    if (!trailers)
        return;
    if (p->block_memory) {
        call->trailers_in = p->block_memory;
        p->block_memory = NULL;
        return;
    }
    call->trailers_in = dm_freelist_take(&p->base.client->free_waiting);
    dm_h2_block_move(&p->block, &call->trailers_in->head, call->trailers_in->text);
}

static void take_head(struct dm_h2_call *call, struct dm_http_head *head, bool is_end_stream)
{
    int rc = head->status < 200 ? dm_http_call_inform(&call->base, head) : 0;

    if (rc < 0)
        refuse_message(call, -rc);
    if (head->status < 200)
        return;
    respond(call, head);
    if (!call->is_over && is_end_stream)
        end_response(call, NULL);
}

static void take_block(struct dm_h2_peer *p, struct dm_h2_call *call, bool is_end_stream)
{
    bool is_head = p->block.kind == DM_H2_RESPONSE;
    int rc = dm_h2_block_end(&p->block, is_end_stream, (enum dm_http_method)call->method);

    if (rc < 0)
        refuse_message(call, -rc);
    else if (is_head)
        take_head(call, p->block.head, is_end_stream);
    else
        end_response(call, p->block.head);
}

static void headers_complete(struct dm_h2_peer *p, bool is_end_stream)
{
    struct dm_h2_call *call = p->block_call;

    if (p->has_block && call)
        take_block(p, call, is_end_stream);
    p->has_block = false;
    p->block_call = NULL;
    if (p->block_memory)
        dm_freelist_give(&p->base.client->free_waiting, p->block_memory);
    p->block_memory = NULL;
}

/* The rest of a header block comes later: the client's memory is another connection's until then. */
static void put_block_aside(struct dm_h2_peer *p)
{
    if (!p->has_block || p->block_memory)
        return;
    p->block_memory = dm_freelist_take(&p->base.client->free_waiting);
    dm_h2_block_move(&p->block, &p->block_memory->head, p->block_memory->text);
}

/* --- frames ------------------------------------------------------------------------------------------------------- */

static int32_t price_of(unsigned type, unsigned flags, uint32_t len)
{
    switch (type) {
    case NGHTTP2_HEADERS: return -2;
    case NGHTTP2_DATA: return len > 0 || flags & NGHTTP2_FLAG_END_STREAM ? -1 : 1;
    case NGHTTP2_SETTINGS: return 10;
    default: return 1;
    }
}

static void earn(struct dm_h2_peer *p)
{
    uint64_t earned = (dm_loop_now_ns(p->base.client->loop) - p->credit_ns) / CREDIT_NS;

    p->credit_ns += earned * CREDIT_NS;
    p->credit = (int32_t)DM_MIN((uint64_t)p->credit + earned, (uint64_t)CREDIT_MAX);
}

static bool spend(struct dm_h2_peer *p)
{
    const uint8_t *head = p->frame_head;

    p->payload_left = (uint32_t)head[0] << 16 | (uint32_t)head[1] << 8 | head[2];
    p->frame_head_len = 0;
    p->credit = DM_MIN(p->credit - price_of(head[3], head[4], p->payload_left), (int32_t)CREDIT_MAX);
    p->n_continuations = head[3] == NGHTTP2_CONTINUATION ? p->n_continuations + 1 : 0;
    return p->credit >= 0 && p->n_continuations <= CONTINUATIONS_MAX;
}

/* H4, for every frame there is, of which nghttp2 tells only some. */
static bool walk(struct dm_h2_peer *p, const char *ptr, size_t len)
{
    earn(p);
    while (len > 0) {
        size_t skip = DM_MIN((size_t)p->payload_left, len), n;

        p->payload_left -= (uint32_t)skip;
        ptr += skip;
        len -= skip;
        n = DM_MIN(sizeof(p->frame_head) - p->frame_head_len, len);
        memcpy(p->frame_head + p->frame_head_len, ptr, n);
        p->frame_head_len += (uint8_t)n;
        ptr += n;
        len -= n;
        if (p->frame_head_len == sizeof(p->frame_head) && !spend(p))
            return false;
    }
    return true;
}

static int on_begin_frame(nghttp2_session *session, const nghttp2_frame_hd *hd, void *user)
{
    struct dm_h2_peer *p = user;
    struct dm_h2_call *call;

    (void)session;
    if ((hd->type == NGHTTP2_HEADERS || hd->type == NGHTTP2_DATA || hd->type == NGHTTP2_CONTINUATION) &&
        (call = dm_h2_peer_find(p, hd->stream_id)))
        call->bytes_in += hd->length + 9;
    return 0;
}

static void take_settings(struct dm_h2_peer *p)
{
    if (!p->has_settings)
        p->limit = DM_H2_LIMIT_NONE; /* what was known before was a guess */
    p->has_settings = true;
    for (struct dm_h2_call *call = p->calls; call; call = call->next)
        if (call->writing == H2_WRITE_HELD)
            dm_h2_call_send_held(call);
    dm_h2_peer_settle(p);
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    bool is_end_stream = (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
    struct dm_h2_peer *p = user;
    struct dm_h2_call *call;

    (void)session;
    switch (frame->hd.type) {
    case NGHTTP2_HEADERS: headers_complete(p, is_end_stream); break;
    case NGHTTP2_DATA:
        if (is_end_stream && (call = dm_h2_peer_find(p, frame->hd.stream_id)))
            end_response(call, NULL);
        break;
    case NGHTTP2_SETTINGS:
        if (!(frame->hd.flags & NGHTTP2_FLAG_ACK))
            take_settings(p);
        break;
    case NGHTTP2_GOAWAY:
        p->base.client->counters.going += !p->is_going;
        dm_h2_peer_go(p);
        dm_h2_peer_settle(p);
        break;
    default: break;
    }
    return 0;
}

static void count_end(struct dm_h2_peer *p, uint32_t code)
{
    if (code == NGHTTP2_REFUSED_STREAM) {
        p->base.client->counters.refused++;
        p->limit = DM_MAX(p->n_calls - 1, 1u); /* what it was seen to take */
    } else if (abort_of(code) == DM_HTTP_ABORT_FAULT) {
        p->base.client->counters.malformed++;
    }
}

static int on_stream_close(nghttp2_session *session, int32_t stream_id, uint32_t code, void *user)
{
    struct dm_h2_peer *p = user;
    struct dm_h2_call *call = dm_h2_peer_find(p, stream_id);
    struct dm_http_end end = {abort_of(code), 0, 0};

    (void)session;
    if (end.why == DM_HTTP_ABORT_CANCELLED)
        end.error = (int)code;
    if (!call)
        return 0;
    call->stream_id = -1;
    if (dm_h2_call_is_whole(call))
        return 0;
    count_end(p, code);
    if (p->is_reading)
        dm_h2_call_abort(call, NGHTTP2_NO_ERROR, end);
    else
        dm_h2_call_abort_later(call, end);
    return 0;
}

/* --- of the stream ------------------------------------------------------------------------------------------------ */

/* By nghttp2's own limits. */
static bool is_flood(ssize_t rc)
{
    return rc == NGHTTP2_ERR_FLOODED || rc == NGHTTP2_ERR_TOO_MANY_SETTINGS;
}

static void end_session(struct dm_h2_peer *p, ssize_t rc)
{
    struct dm_http_end end = p->end;

    if (rc < 0 && end.why == 0)
        end.why = is_flood(rc) ? DM_HTTP_ABORT_FLOOD : DM_HTTP_ABORT_FAULT;
    if (rc < 0)
        p->base.client->counters.floods += is_flood(rc);
    if (end.why == DM_HTTP_ABORT_FLOOD)
        (void)nghttp2_session_terminate_session(p->session, NGHTTP2_ENHANCE_YOUR_CALM);
    dm_h2_peer_flush(p);
    if (p->base.is_closed)
        return;
    if (end.why == 0 &&
        (p->n_calls == 0 || nghttp2_session_want_read(p->session) || nghttp2_session_want_write(p->session)))
        return;
    if (end.why == 0)
        end.why = p->is_going ? DM_HTTP_ABORT_PEER_CLOSED : DM_HTTP_ABORT_FAULT;
    p->base.client->counters.malformed += end.why == DM_HTTP_ABORT_FAULT;
    dm_stream_flush(&p->base.stream);
    dm_h2_peer_fail(p, end);
}

size_t dm_h2_peer_on_read(struct dm_stream *stream, const char *ptr, size_t len)
{
    struct dm_h2_peer *p = dm_h2_peer_of_stream(stream);
    ssize_t rc;

    dm_h2_peer_enter(p);
    dm_h2_peer_trust(p);
    p->is_in_session = p->is_reading = true;
    rc = walk(p, ptr, len) ? nghttp2_session_mem_recv(p->session, (const uint8_t *)ptr, len) : NGHTTP2_ERR_FLOODED;
    p->is_in_session = p->is_reading = false;
    put_block_aside(p);
    if (!p->base.is_closed)
        end_session(p, rc);
    dm_h2_peer_leave(p);
    return len;
}

void dm_h2_client_set_read_callbacks(nghttp2_session_callbacks *callbacks)
{
    nghttp2_session_callbacks_set_on_begin_frame_callback(callbacks, on_begin_frame);
    nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_stream_close);
}
