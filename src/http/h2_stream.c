/* The life of a stream: what of its body waits, who is waited for, how it ends. */
#include "base/mem.h"
#include "http/h2_server_int.h"

#define NS_PER_MS UINT64_C(1000000)
#define RAPID_NS (250 * NS_PER_MS)

static const struct dm_http_handler *handler_of(const struct dm_h2_stream *s)
{
    return s->request.conn->server->handler;
}

/* --- life --------------------------------------------------------------------------------------------------------- */

struct dm_h2_stream *dm_h2_stream_new(struct dm_h2_conn *c, int32_t id)
{
    struct dm_h2_stream *s = dm_freelist_take(&dm_h2_shared_of(c)->streams);

    memset(s, 0, sizeof(*s));
    s->request = (struct dm_http_request){&dm_h2_request_ops, &c->base, NULL};
    s->id = id;
    s->begun_ns = dm_loop_now_ns(c->base.server->loop);
    s->body_left = UINT64_MAX;
    s->body_timeout_ms = c->base.server->settings.body_timeout_ms;
    s->body_rate_bytes = c->base.server->settings.body_rate_bytes;
    dm_h2_ring_add(&c->streams, &s->link);
    c->n_streams++;
    return s;
}

/* Q3 */
void dm_h2_stream_maybe_free(struct dm_h2_stream *s)
{
    struct dm_h2_conn *c = dm_h2_conn_of_stream(s);

    if (!s->is_gone || s->has_request || s->is_presenting)
        return;
    dm_h2_ring_del(&s->link);
    dm_h2_ring_del(&s->todo);
    dm_h2_stream_drop_kept(s);
    dm_h2_stream_drop_out(s);
    if (s->late)
        dm_freelist_give(&dm_h2_shared_of(c)->parked, s->late);
    if (c->block_stream == s)
        c->block_stream = NULL;
    if (--c->n_streams == 0)
        dm_h2_conn_rest(c);
    dm_freelist_give(&dm_h2_shared_of(c)->streams, s);
}

static void wait_to_tell(struct dm_h2_stream *s)
{
    struct dm_h2_conn *c = dm_h2_conn_of_stream(s);

    dm_h2_ring_del(&s->todo);
    dm_h2_ring_add(&c->ended, &s->todo);
    s->is_ending_told = true;
}

void dm_h2_stream_tell_end(struct dm_h2_stream *s)
{
    const struct dm_http_handler *handler = handler_of(s);
    struct dm_h2_conn *c = dm_h2_conn_of_stream(s);
    void *user = s->request.user;
    struct dm_http_end end = {(enum dm_http_abort)s->why, s->fault, 0};

    dm_h2_ring_del(&s->todo);
    s->request.user = NULL;
    if (s->why == 0) {
        dm_h2_guard_give(&c->guard, DM_H2_RAPID_RESET, 1);
        dm_h2_guard_give(&c->guard, DM_H2_PRIORITY_FLOOD, 1);
        handler->on_done(user, &s->request);
    } else {
        handler->on_abort(user, &s->request, end);
    }
    s->has_request = false;
    dm_h2_stream_maybe_free(s);
}

/* Through from both sides, though the client may still be sending what nobody wants. */
static bool is_done(const struct dm_h2_stream *s)
{
    return s->has_request && s->writing == H2_WRITE_DONE && (s->reading == H2_READ_COMPLETE || s->is_ignoring);
}

void dm_h2_stream_maybe_done(struct dm_h2_stream *s)
{
    if (is_done(s) && !s->is_ending_told)
        wait_to_tell(s);
}

static void abandon_for(struct dm_h2_stream *s, enum dm_http_abort why)
{
    if (!s->has_request) {
        dm_h2_stream_maybe_free(s);
    } else if (!s->is_ending_told) {
        s->why = (uint8_t)why;
        wait_to_tell(s);
    }
}

static enum dm_http_abort why_of(uint32_t code)
{
    switch (code) {
    case NGHTTP2_PROTOCOL_ERROR:
    case NGHTTP2_FLOW_CONTROL_ERROR:
    case NGHTTP2_STREAM_CLOSED:
    case NGHTTP2_FRAME_SIZE_ERROR: return DM_HTTP_ABORT_FAULT;
    default: return DM_HTTP_ABORT_CANCELLED;
    }
}

/* A stream that its client ends when it has had enough of it, or has waited in vain, is no attack. */
static void forgive_reset(struct dm_h2_stream *s)
{
    struct dm_h2_conn *c = dm_h2_conn_of_stream(s);

    if (s->bytes_out > 0 || dm_loop_now_ns(c->base.server->loop) - s->begun_ns >= RAPID_NS)
        dm_h2_guard_give(&c->guard, DM_H2_RAPID_RESET, 1);
}

void dm_h2_stream_gone(struct dm_h2_stream *s, uint32_t code)
{
    s->is_gone = true;
    s->wants_writable = false;
    dm_h2_stream_drop_out(s);
    if (!s->has_request || !s->end_out || (s->is_tunnel && !s->has_end)) {
        forgive_reset(s);
        abandon_for(s, why_of(code));
        return;
    }
    if (!s->has_end) { /* a rest of the request that nobody waits for */
        s->is_ignoring = true;
        dm_h2_stream_drop_kept(s);
    }
    dm_h2_stream_maybe_done(s); /* or when the owner ends it */
}

void dm_h2_stream_abandon(struct dm_h2_stream *s, enum dm_http_abort why)
{
    s->is_gone = true;
    s->wants_writable = false;
    dm_h2_stream_drop_out(s);
    abandon_for(s, why);
}

/* --- failing ------------------------------------------------------------------------------------------------------ */

static void reset(struct dm_h2_stream *s, uint32_t code)
{
    struct dm_h2_conn *c = dm_h2_conn_of_stream(s);

    if (s->is_gone || c->is_closed)
        return;
    (void)nghttp2_submit_rst_stream(c->session, NGHTTP2_FLAG_NONE, s->id, code);
}

void dm_h2_stream_fail(struct dm_h2_stream *s, enum dm_http_abort why, int fault, uint32_t code)
{
    struct dm_h2_conn *c = dm_h2_conn_of_stream(s);

    reset(s, code);
    dm_h2_stream_drop_kept(s);
    s->is_ignoring = true;
    s->writing = H2_WRITE_DONE;
    s->wants_writable = false;
    if (s->has_request && !s->is_ending_told) {
        s->why = (uint8_t)why;
        s->fault = (uint8_t)fault;
        wait_to_tell(s);
    }
    dm_h2_conn_run_later(c);
}

void dm_h2_stream_refuse(struct dm_h2_stream *s, struct dm_http_end end, unsigned status)
{
    struct dm_http_message message = {.status = status};
    struct dm_str body = DM_STR_NULL;
    struct dm_http_server *server = s->request.conn->server;

    if (end.fault)
        server->stats->faults[end.fault]++;
    if (s->writing != H2_WRITE_NONE || s->is_ending_told || s->is_gone) {
        dm_h2_stream_fail(s, end.why, end.fault, NGHTTP2_CANCEL);
        return;
    }
    if (server->handler->on_fault)
        server->handler->on_fault(server->arg, &s->request, end, &message, &body);
    message.status = message.status ? message.status : status;
    dm_h2_stream_drop_kept(s);
    s->is_ignoring = true;
    dm_h2_stream_answer(s, &message, body);
    if (s->has_request) {
        s->why = (uint8_t)end.why;
        s->fault = (uint8_t)end.fault;
        wait_to_tell(s);
    }
    dm_h2_conn_run_later(dm_h2_conn_of_stream(s));
}

/* --- pace --------------------------------------------------------------------------------------------------------- */

static bool waits_for_body(const struct dm_h2_stream *s)
{
    return s->reading == H2_READ_BODY && !s->has_end && !s->is_ignoring && !s->is_expecting && s->kept_bytes == 0 &&
           !s->is_tunnel;
}

static bool waits_for_window(const struct dm_h2_stream *s)
{
    return (s->wants_writable || s->writing == H2_WRITE_ENDING) && !s->is_tunnel;
}

void dm_h2_stream_look(struct dm_h2_stream *s)
{
    uint64_t now_ns = dm_loop_now_ns(s->request.conn->server->loop);

    if (DM_UNLIKELY(s->is_tunnel)) {
        dm_http_pace_look(&s->in, s->bytes_in + s->bytes_out, true, now_ns);
        return;
    }
    dm_http_pace_look(&s->in, s->bytes_in + (s->may_be_silent ? s->bytes_out : 0), waits_for_body(s), now_ns);
    dm_http_pace_look(&s->out_pace, s->bytes_out, waits_for_window(s), now_ns);
}

void dm_h2_stream_end_tunnel(struct dm_h2_stream *s, enum dm_http_abort why)
{
    if (!s->is_tunnel || !dm_h2_stream_is_open(s) || s->is_gone)
        return;
    if (handler_of(s)->on_tunnel_due)
        handler_of(s)->on_tunnel_due(s->request.user, &s->request, why);
    if (s->has_request)
        dm_h2_stream_fail(s, why, 0, NGHTTP2_CANCEL);
}

void dm_h2_stream_go(struct dm_h2_stream *s)
{
    if (s->is_tunnel)
        dm_h2_stream_end_tunnel(s, DM_HTTP_ABORT_SHUTDOWN);
    else if (dm_h2_stream_is_open(s) && !s->is_gone && handler_of(s)->on_request_due)
        handler_of(s)->on_request_due(s->request.user, &s->request);
}

static void judge_tunnel(struct dm_h2_stream *s)
{
    const struct dm_http_server_settings *settings = &s->request.conn->server->settings;
    uint64_t now_ns = dm_loop_now_ns(s->request.conn->server->loop);

    if (!s->has_request && now_ns >= s->tunnel_due_ns)
        dm_h2_stream_fail(s, DM_HTTP_ABORT_SHUTDOWN, 0, NGHTTP2_CANCEL); /* it was left */
    else if (s->tunnel_due_ns > 0 && now_ns >= s->tunnel_due_ns)
        dm_h2_stream_end_tunnel(s, DM_HTTP_ABORT_SHUTDOWN);
    else if (dm_http_pace_judge(&s->in, settings->tunnel_idle_timeout_ms, 0) != DM_HTTP_PACE_FINE)
        dm_h2_stream_end_tunnel(s, DM_HTTP_ABORT_IDLE);
}

static enum dm_http_pace_verdict judge(const struct dm_h2_stream *s, const struct dm_http_pace *pace)
{
    if (s->may_be_silent && pace == &s->in)
        return dm_http_pace_judge(pace, s->silence_ms, 0);
    return dm_http_pace_judge(pace, s->body_timeout_ms, s->body_rate_bytes);
}

/* As in HTTP/1.1 (h1_conn.c): a slow upload is forgiven while the response moves, unless a rate is asked for; and only a request
 * that is late itself may be told so. */
static void judge_request(struct dm_h2_stream *s)
{
    enum dm_http_pace_verdict in = judge(s, &s->in), out = judge(s, &s->out_pace);
    bool is_slow = in == DM_HTTP_PACE_SLOW || out == DM_HTTP_PACE_SLOW;
    struct dm_http_end end = {is_slow ? DM_HTTP_ABORT_BODY_RATE : DM_HTTP_ABORT_IDLE, 0, 0};

    if (!is_slow && out == DM_HTTP_PACE_FINE && (in == DM_HTTP_PACE_FINE || s->out_pace.is_waiting))
        return;
    dm_h2_counters_of(dm_h2_conn_of_stream(s))->slow_streams++;
    dm_http_conn_count_timeout(s->request.conn,
                               in != DM_HTTP_PACE_FINE ? DM_HTTP_TIMEOUT_BODY : DM_HTTP_TIMEOUT_READER);
    if (in != DM_HTTP_PACE_FINE)
        dm_h2_stream_refuse(s, end, 408);
    else
        dm_h2_stream_fail(s, end.why, 0, NGHTTP2_CANCEL);
}

/* An answer without an owner that the client does not take is dropped as others are. */
void dm_h2_stream_judge(struct dm_h2_stream *s)
{
    if (s->is_gone || s->is_ending_told)
        return;
    dm_h2_stream_look(s);
    if (s->is_tunnel)
        judge_tunnel(s);
    else
        judge_request(s);
}

/* --- the body ----------------------------------------------------------------------------------------------------- */

static void consume(struct dm_h2_stream *s, size_t n)
{
    struct dm_h2_conn *c = dm_h2_conn_of_stream(s);

    if (c->is_closed || n == 0)
        return;
    if (s->is_gone)
        (void)nghttp2_session_consume_connection(c->session, n);
    else
        (void)nghttp2_session_consume(c->session, s->id, n);
}

static void drop_piece(struct dm_h2_stream *s)
{
    struct dm_h2_piece *piece = s->first;

    if (!(s->first = piece->next))
        s->last = NULL;
    dm_stream_count_buffer(&s->request.conn->stream, -(int32_t)sizeof(*piece));
    dm_freelist_give(&s->request.conn->server->h2->pieces, piece);
}

void dm_h2_stream_drop_kept(struct dm_h2_stream *s)
{
    while (s->first)
        drop_piece(s);
    consume(s, s->kept_bytes);
    s->kept_bytes = 0;
}

static void request_end(struct dm_h2_stream *s, const struct dm_http_head *trailers)
{
    s->reading = H2_READ_COMPLETE;
    if (dm_h2_stream_is_open(s) && !s->is_ignoring && handler_of(s)->on_request_end)
        handler_of(s)->on_request_end(s->request.user, &s->request, trailers);
    dm_h2_stream_maybe_done(s);
}

static bool may_present(const struct dm_h2_stream *s)
{
    return dm_h2_stream_is_open(s) && !s->is_ignoring && s->reading == H2_READ_BODY;
}

/* Until the owner takes less than there is. */
static void present(struct dm_h2_stream *s)
{
    while (may_present(s) && s->first) {
        struct dm_h2_piece *piece = s->first;
        size_t len = piece->end - piece->start;
        size_t taken = handler_of(s)->on_body(s->request.user, &s->request, piece->data + piece->start, len);
        if (!may_present(s))
            return; /* nothing is kept any more */
        piece->start += (uint32_t)taken;
        s->kept_bytes -= (uint32_t)taken;
        consume(s, taken);
        if (taken < len)
            return;
        drop_piece(s);
    }
    if (!may_present(s))
        return;
    if (s->has_end)
        request_end(s, s->late ? &s->late->head : NULL);
    else
        dm_h2_stream_look(s);
}

void dm_h2_stream_present(struct dm_h2_stream *s)
{
    s->is_resumed = false;
    s->is_presenting = true;
    present(s);
    s->is_presenting = false;
    dm_h2_stream_maybe_free(s);
}

void dm_h2_stream_resume(struct dm_h2_stream *s)
{
    struct dm_h2_conn *c = dm_h2_conn_of_stream(s);

    if (!dm_h2_stream_is_open(s) || s->is_resumed || (!s->first && !s->has_end))
        return;
    s->is_resumed = true;
    if (!s->todo.next)
        dm_h2_ring_add(&c->writable, &s->todo);
    dm_h2_conn_run_later(c);
}

static void keep(struct dm_h2_stream *s, const char *ptr, size_t len)
{
    if (s->kept_bytes == 0 && len > 0)
        dm_h2_stream_look(s);
    s->kept_bytes += (uint32_t)len;
    while (len > 0) {
        struct dm_h2_piece *piece = s->last;
        if (!piece || piece->end == sizeof(piece->data)) {
            piece = dm_freelist_take(&s->request.conn->server->h2->pieces);
            dm_stream_count_buffer(&s->request.conn->stream, (int32_t)sizeof(*piece));
            piece->next = NULL;
            piece->start = piece->end = 0;
            if (s->last)
                s->last->next = piece;
            else
                s->first = piece;
            s->last = piece;
        }
        size_t n = DM_MIN(len, sizeof(piece->data) - piece->end);
        memcpy(piece->data + piece->end, ptr, n);
        piece->end += (uint32_t)n;
        ptr += n;
        len -= n;
    }
    dm_h2_stream_look(s);
}

/* Nobody wants it. */
static bool is_unwanted(const struct dm_h2_stream *s)
{
    return s->is_ignoring || !dm_h2_stream_is_open(s);
}

void dm_h2_stream_deliver(struct dm_h2_stream *s, const char *ptr, size_t len)
{
    size_t taken = 0;

    if (is_unwanted(s)) {
        consume(s, len);
        return;
    }
    if (s->kept_bytes == 0 && s->reading == H2_READ_BODY)
        taken = handler_of(s)->on_body(s->request.user, &s->request, ptr, len);
    if (is_unwanted(s))
        taken = len;
    consume(s, taken);
    if (taken < len)
        keep(s, ptr + taken, len - taken);
}

void dm_h2_stream_deliver_end(struct dm_h2_stream *s, struct dm_h2_block *block)
{
    struct dm_h2_shared *shared = s->request.conn->server->h2;

    s->has_end = true;
    if (s->kept_bytes == 0 && s->reading == H2_READ_BODY) {
        request_end(s, block ? block->head : NULL);
    } else if (block && !is_unwanted(s)) {
        s->late = dm_freelist_take(&shared->parked);
        dm_h2_block_move(block, &s->late->head, s->late->text);
    }
    dm_h2_stream_maybe_done(s);
}
