/* What the owner does with a request of HTTP/2, and what nghttp2 calls for what is sent. */
#include "base/mem.h"
#include "http/h2_server_int.h"
#include "http/serialize.h"

enum { FRAME_HEAD_BYTES = 9, CRUMB_BYTES = 128, CRUMB_COST = 8, USEFUL_BYTES = 256, STATUS_LEN = 3, NUMBER_MAX = 20 };

/* --- heads -------------------------------------------------------------------------------------------------------- */

struct head {
    nghttp2_nv *nv;
    size_t n;
    char status[STATUS_LEN];
    char length[NUMBER_MAX];
};

static void write_status(struct head *head, unsigned status)
{
    head->status[0] = (char)('0' + status / 100 % 10);
    head->status[1] = (char)('0' + status / 10 % 10);
    head->status[2] = (char)('0' + status % 10);
    head->nv[0] = dm_h2_field(DM_STR(":status"), dm_str_n(head->status, STATUS_LEN));
    head->n = 1;
}

static void write_length(struct head *head, uint64_t length)
{
    char *at = head->length + NUMBER_MAX;

    do
        *--at = (char)('0' + length % 10);
    while ((length /= 10) > 0);
    head->nv[head->n++] = dm_h2_field(DM_STR("content-length"), dm_str_n(at, (size_t)(head->length + NUMBER_MAX - at)));
}

static bool has_body(const struct dm_h2_stream *s, unsigned status)
{
    return !s->is_head_request && status != 204 && status != 304 && status >= 200;
}

/* False: too many or too large for a head. */
static bool write_head(struct head *head, const struct dm_h2_stream *s, unsigned status, struct dm_str fields)
{
    struct dm_h2_shared *shared = s->request.conn->server->h2;

    head->nv = shared->nv;
    write_status(head, status);
    return fields.len <= sizeof(shared->names) &&
           dm_h2_fields_of_lines(fields, s->id == 1, shared->names, shared->nv, DM_H2_NV_MAX - 1, &head->n);
}

/* May the fields be borrowed? They are sent during this call, or have to be copied. */
static bool goes_at_once(const struct dm_h2_conn *c)
{
    return !c->is_busy && dm_stream_room(&c->base.stream) > 0 &&
           nghttp2_session_get_outbound_queue_size(c->session) == 0;
}

static void let_copy(struct head *head)
{
    for (size_t i = 0; i < head->n; i++)
        head->nv[i].flags &= (uint8_t) ~(NGHTTP2_NV_FLAG_NO_COPY_NAME | NGHTTP2_NV_FLAG_NO_COPY_VALUE);
}

/* nghttp2 hears of a body when there is one (offer_data()): asked for a body before, it would call in vain. */
static void submit_head(struct dm_h2_stream *s, struct head *head, uint8_t flags)
{
    struct dm_h2_conn *c = dm_h2_conn_of_stream(s);

    if (!goes_at_once(c))
        let_copy(head);
    (void)nghttp2_submit_headers(c->session, flags, s->id, NULL, head->nv, head->n, NULL);
}

static void resume_data(struct dm_h2_stream *s)
{
    if (!s->is_deferred)
        return;
    s->is_deferred = false;
    (void)nghttp2_session_resume_data(dm_h2_conn_of_stream(s)->session, s->id);
}

static ssize_t on_source(nghttp2_session *session, int32_t id, uint8_t *buf, size_t len, uint32_t *flags,
                         nghttp2_data_source *source, void *conn);

/* There is something for on_source() to give, or an end. */
static void offer_data(struct dm_h2_stream *s)
{
    nghttp2_data_provider provider = {.source = {.ptr = s}, .read_callback = on_source};

    if (s->is_offered)
        resume_data(s);
    else if (!s->is_bodiless)
        (void)nghttp2_submit_data(dm_h2_conn_of_stream(s)->session, NGHTTP2_FLAG_END_STREAM, s->id, &provider);
    s->is_offered = true;
}

/* S3: a head that can't be sent must not be followed by its body. With ENDING, out is the whole body, and goes out too. */
static void submit_response(struct dm_h2_stream *s, const struct dm_http_message *m, enum dm_h2_writing writing)
{
    bool has_length = m->framing == DM_HTTP_FRAMING_LENGTH && m->status != 204;
    bool is_last =
        !has_body(s, m->status) || m->framing == DM_HTTP_FRAMING_NONE || (has_length && m->content_length == 0);
    struct head head;

    if (DM_UNLIKELY(!write_head(&head, s, m->status, m->fields))) {
        write_status(&head, 500);
        write_length(&head, 0);
        is_last = true;
    } else if (has_length) {
        write_length(&head, m->content_length);
    } else if (m->framing == DM_HTTP_FRAMING_NONE && has_body(s, m->status)) {
        write_length(&head, 0);
    }
    s->has_length = m->framing == DM_HTTP_FRAMING_LENGTH;
    s->has_open_end = m->may_have_trailers;
    s->length_left = is_last ? 0 : m->content_length;
    s->is_bodiless = is_last;
    s->writing = (uint8_t)writing;
    if (DM_UNLIKELY(m->is_closing))
        dm_h2_conn_part(dm_h2_conn_of_stream(s));
    submit_head(s, &head, is_last ? NGHTTP2_FLAG_END_STREAM : NGHTTP2_FLAG_NONE);
    if (writing == H2_WRITE_ENDING)
        offer_data(s);
    dm_h2_conn_send(dm_h2_conn_of_stream(s));
}

/* --- the end ------------------------------------------------------------------------------------------------------ */

/* The response is through, and the owner has said so. */
static void response_through(struct dm_h2_stream *s)
{
    struct dm_h2_conn *c = dm_h2_conn_of_stream(s);

    s->writing = H2_WRITE_DONE;
    if (!s->is_tunnel && (!s->has_end || s->reading != H2_READ_COMPLETE)) {
        s->is_ignoring = true;
        dm_h2_stream_drop_kept(s);
    }
    if (!s->is_tunnel && !s->has_end && !s->is_gone && !c->is_closed)
        (void)nghttp2_submit_rst_stream(c->session, NGHTTP2_FLAG_NONE, s->id,
                                        NGHTTP2_NO_ERROR); /* RFC 9113 section 8.1 */
    dm_h2_stream_maybe_done(s);
}

/* Sends; Q2's exception. s may be gone behind it. */
static void send_last(struct dm_h2_stream *s)
{
    struct dm_h2_conn *c = dm_h2_conn_of_stream(s);

    if (!s->end_out || nghttp2_session_get_outbound_queue_size(c->session) > 0)
        dm_h2_conn_send(c);
    if (s->has_request && s->is_ending_told && s->todo.next && s->why == 0 && !c->is_busy && !c->is_telling)
        dm_h2_stream_tell_end(s);
    else if (c->is_busy || c->is_telling)
        dm_h2_conn_run_later(c);
}

static char *own(struct dm_h2_stream *s, const char *ptr, size_t len)
{
    nghttp2_mem *mem = &s->request.conn->server->h2->memory.mem;
    char *copy = mem->malloc(len, mem->mem_user_data);

    memcpy(copy, ptr, len);
    return copy;
}

static void disown(struct dm_h2_stream *s, void *ptr)
{
    nghttp2_mem *mem = &s->request.conn->server->h2->memory.mem;

    mem->free(ptr, mem->mem_user_data);
}

void dm_h2_stream_drop_out(struct dm_h2_stream *s)
{
    if (s->is_owned)
        disown(s, (void *)s->out);
    if (s->is_trailers_owned)
        disown(s, (void *)s->trailers.ptr);
    s->out = NULL;
    s->out_len = s->out_at = 0;
    s->is_owned = s->is_trailers_owned = false;
    s->trailers = DM_STR_NULL;
}

/* What could not be sent at once waits in memory of ours (Q5). */
static void own_rest(struct dm_h2_stream *s)
{
    if (s->out && !s->is_owned && s->out_at < s->out_len) {
        s->out = own(s, s->out + s->out_at, s->out_len - s->out_at);
        s->out_len -= s->out_at;
        s->out_at = 0;
        s->is_owned = true;
    } else if (!s->is_owned) {
        s->out = NULL;
        s->out_len = s->out_at = 0;
    }
    if (s->trailers.len > 0 && !s->is_trailers_owned) {
        s->trailers.ptr = own(s, s->trailers.ptr, s->trailers.len);
        s->is_trailers_owned = true;
    }
}

void dm_h2_stream_answer(struct dm_h2_stream *s, const struct dm_http_message *message, struct dm_str body)
{
    struct dm_http_message m = *message;

    m.framing = m.status == 304 ? DM_HTTP_FRAMING_NONE : DM_HTTP_FRAMING_LENGTH;
    m.content_length = body.len;
    s->out = body.ptr;
    s->out_len = body.len;
    submit_response(s, &m, H2_WRITE_ENDING);
    if (s->is_bodiless)
        s->out_len = s->out_at;
    own_rest(s);
}

/* --- by the owner ------------------------------------------------------------------------------------------------- */

static void respond(struct dm_http_request *request, const struct dm_http_message *m)
{
    struct dm_h2_stream *s = dm_h2_stream_of(request);

    if (!dm_h2_stream_is_open(s) || s->writing != H2_WRITE_NONE)
        return;
    submit_response(s, m, H2_WRITE_BODY);
}

static void inform(struct dm_http_request *request, unsigned status, struct dm_str fields)
{
    struct dm_h2_stream *s = dm_h2_stream_of(request);
    struct dm_h2_conn *c = dm_h2_conn_of_stream(s);
    struct head head;

    if (!dm_h2_stream_is_open(s) || s->writing != H2_WRITE_NONE || status / 100 != 1 || status == 101 ||
        (status == 100 && !s->is_expecting) || dm_stream_room(&c->base.stream) == 0 ||
        !write_head(&head, s, status, fields))
        return; /* a client that reads nothing misses nothing */
    submit_head(s, &head, NGHTTP2_FLAG_NONE);
    if (status == 100) {
        s->is_expecting = false;
        dm_h2_stream_look(s);
    }
    dm_h2_conn_send(c);
}

/* Q1: while nghttp2 is at work nothing is taken. */
static size_t write_later(struct dm_h2_stream *s)
{
    struct dm_h2_conn *c = dm_h2_conn_of_stream(s);

    s->wants_writable = true;
    if (!s->todo.next)
        dm_h2_ring_add(&c->writable, &s->todo);
    return 0;
}

static size_t write_now(struct dm_h2_stream *s, const char *ptr, size_t len)
{
    size_t taken;

    s->out = ptr;
    s->out_len = len;
    s->out_at = 0;
    offer_data(s);
    dm_h2_conn_send(dm_h2_conn_of_stream(s));
    if (s->is_gone)
        return len;
    taken = s->out_at;
    s->out = NULL;
    s->out_len = s->out_at = 0;
    if (taken < len) {
        s->wants_writable = true;
        dm_h2_stream_look(s);
    }
    return taken;
}

static size_t write(struct dm_http_request *request, const char *ptr, size_t len)
{
    struct dm_h2_stream *s = dm_h2_stream_of(request);
    size_t wanted = s->has_length ? (size_t)DM_MIN((uint64_t)len, s->length_left) : len, taken;

    if (!dm_h2_stream_is_open(s) || s->writing != H2_WRITE_BODY || s->is_bodiless || s->is_gone || wanted == 0)
        return len;
    taken = dm_h2_conn_of_stream(s)->is_busy ? write_later(s) : write_now(s, ptr, wanted);
    return taken == wanted ? len : taken;
}

/* S3: the client must see it. */
static void end_short(struct dm_h2_stream *s)
{
    struct dm_h2_conn *c = dm_h2_conn_of_stream(s);

    (void)nghttp2_submit_rst_stream(c->session, NGHTTP2_FLAG_NONE, s->id, NGHTTP2_INTERNAL_ERROR);
    s->is_ignoring = true;
    dm_h2_stream_drop_kept(s);
    s->writing = H2_WRITE_DONE;
    dm_h2_stream_maybe_done(s);
}

/* None when they are none, or too large. */
static struct head trailers_of(const struct dm_h2_stream *s)
{
    struct dm_h2_shared *shared = s->request.conn->server->h2;
    struct head head = {.nv = shared->nv};

    if (s->trailers.len > sizeof(shared->names) ||
        !dm_h2_fields_of_lines(s->trailers, false, shared->names, shared->nv, DM_H2_NV_MAX, &head.n))
        head.n = 0;
    let_copy(&head);
    return head;
}

static bool is_window_closed(const struct dm_h2_stream *s)
{
    nghttp2_session *session = dm_h2_conn_of_stream(s)->session;

    return nghttp2_session_get_remote_window_size(session) <= 0 ||
           nghttp2_session_get_stream_remote_window_size(session, s->id) <= 0;
}

/* An end needs no window (RFC 9113, 6.9.1), but nghttp2 looks at no body while there is none: it goes in a block of trailers, which
 * may be empty. In a tunnel that would be malformed. */
static bool end_without_window(struct dm_h2_stream *s)
{
    struct head head;

    if (s->has_length || s->is_bodiless || s->is_tunnel || s->out_at < s->out_len || DM_LIKELY(!is_window_closed(s)))
        return false;
    head = trailers_of(s);
    return nghttp2_submit_trailer(dm_h2_conn_of_stream(s)->session, s->id, head.nv, head.n) == 0;
}

static void end(struct dm_http_request *request, struct dm_str trailers)
{
    struct dm_h2_stream *s = dm_h2_stream_of(request);

    if (!dm_h2_stream_is_open(s) || s->writing != H2_WRITE_BODY)
        return;
    s->wants_writable = false;
    if (s->end_out || s->is_gone) {
        response_through(s);
    } else if (s->has_length && s->length_left > 0) {
        end_short(s);
    } else {
        s->writing = H2_WRITE_ENDING;
        if ((!s->has_length || s->has_open_end) && !s->is_bodiless && !s->is_tunnel)
            s->trailers = trailers;
        if (!end_without_window(s))
            offer_data(s);
        dm_h2_conn_send(dm_h2_conn_of_stream(s));
        own_rest(s);
        dm_h2_stream_look(s);
    }
    send_last(s);
}

static void ignore_body(struct dm_http_request *request)
{
    struct dm_h2_stream *s = dm_h2_stream_of(request);

    if (!dm_h2_stream_is_open(s) || s->is_ignoring)
        return;
    s->is_ignoring = true;
    dm_h2_stream_drop_kept(s);
    dm_h2_conn_run_later(dm_h2_conn_of_stream(s));
}

static void reply(struct dm_http_request *request, struct dm_http_message *m, struct dm_str body)
{
    struct dm_h2_stream *s = dm_h2_stream_of(request);

    if (!dm_h2_stream_is_open(s) || s->writing != H2_WRITE_NONE)
        return;
    s->is_ignoring = true;
    dm_h2_stream_drop_kept(s);
    dm_h2_stream_answer(s, m, body);
    dm_h2_stream_look(s);
    send_last(s);
}

static void tunnel(struct dm_http_request *request, const struct dm_http_message *m)
{
    struct dm_h2_stream *s = dm_h2_stream_of(request);
    const struct dm_http_server_settings *settings = &request->conn->server->settings;
    struct dm_http_message opened = {.status = 200, .framing = DM_HTTP_FRAMING_CHUNKED, .fields = m->fields};
    uint64_t now_ns = dm_loop_now_ns(request->conn->server->loop);

    if (!dm_h2_stream_is_open(s) || s->writing != H2_WRITE_NONE || s->reading != H2_READ_OFFERED)
        return;
    s->is_tunnel = true;
    s->is_ignoring = false;
    s->reading = H2_READ_BODY;
    s->tunnel_due_ns = settings->tunnel_timeout_ms ? now_ns + settings->tunnel_timeout_ms * UINT64_C(1000000) : 0;
    dm_http_pace_reset(&s->in);
    dm_h2_stream_look(s);
    submit_response(s, &opened, H2_WRITE_BODY);
    dm_h2_stream_resume(s);
}

/* Our END_STREAM behind the last bytes. Sent later: with it the stream may be gone, and freed. */
static void end_behind(struct dm_h2_stream *s, struct dm_str last)
{
    if (s->writing != H2_WRITE_BODY)
        return;
    s->out = last.ptr;
    s->out_len = last.len;
    s->out_at = 0;
    s->writing = H2_WRITE_ENDING;
    offer_data(s);
    own_rest(s);
}

/* As on a connection of its own (DM_HTTP_LINGER_MS): the client ends its direction too, or is cut. */
static void leave(struct dm_http_request *request, struct dm_str last)
{
    struct dm_h2_stream *s = dm_h2_stream_of(request);
    struct dm_h2_conn *c = dm_h2_conn_of_stream(s);

    if (!s->is_tunnel || !dm_h2_stream_is_open(s) || s->is_gone) {
        request->ops->abort(request, NGHTTP2_INTERNAL_ERROR);
        return;
    }
    dm_h2_ring_del(&s->todo);
    s->has_request = s->wants_writable = s->is_resumed = false;
    s->request.user = NULL;
    s->is_ignoring = true;
    s->tunnel_due_ns = dm_loop_now_ns(c->base.server->loop) + DM_HTTP_LINGER_MS * UINT64_C(1000000);
    dm_h2_stream_drop_kept(s);
    end_behind(s, last);
    dm_h2_conn_run_later(c);
}

static void abort_request(struct dm_http_request *request, uint32_t code)
{
    struct dm_h2_stream *s = dm_h2_stream_of(request);
    struct dm_h2_conn *c = dm_h2_conn_of_stream(s);

    if (!s->has_request || (s->is_ending_told && !s->todo.next)) /* it is being told */
        return;
    dm_h2_ring_del(&s->todo);
    s->has_request = false;
    s->request.user = NULL;
    s->is_ignoring = true;
    s->wants_writable = false;
    s->writing = H2_WRITE_DONE;
    dm_h2_stream_drop_kept(s);
    dm_h2_stream_drop_out(s);
    if (!s->is_gone && !c->is_closed)
        (void)nghttp2_submit_rst_stream(c->session, NGHTTP2_FLAG_NONE, s->id, code);
    dm_h2_stream_maybe_free(s);
    dm_h2_conn_run_later(c);
}

static void allow_silence(struct dm_http_request *request, uint32_t idle_ms)
{
    struct dm_h2_stream *s = dm_h2_stream_of(request);

    s->may_be_silent = true;
    s->silence_ms = idle_ms;
    dm_http_pace_reset(&s->in);
    dm_h2_stream_look(s);
}

static void resume(struct dm_http_request *request)
{
    dm_h2_stream_resume(dm_h2_stream_of(request));
}

static void set_pace(struct dm_http_request *request, uint32_t body_timeout_ms, uint32_t body_rate_bytes)
{
    struct dm_h2_stream *s = dm_h2_stream_of(request);

    s->body_timeout_ms = body_timeout_ms;
    s->body_rate_bytes = body_rate_bytes;
    dm_h2_conn_heed_timeout(dm_h2_conn_of_stream(s), body_timeout_ms);
}

static bool limit_body(struct dm_http_request *request, uint64_t max_bytes)
{
    struct dm_h2_stream *s = dm_h2_stream_of(request);

    s->body_max = max_bytes;
    return s->body_in <= max_bytes;
}

static uint64_t bytes_in(const struct dm_http_request *request)
{
    return dm_h2_stream_of(request)->bytes_in;
}

static uint64_t bytes_out(const struct dm_http_request *request)
{
    return dm_h2_stream_of(request)->bytes_out;
}

static uint32_t stream_id(const struct dm_http_request *request)
{
    return (uint32_t)dm_h2_stream_of(request)->id;
}

const struct dm_http_request_ops dm_h2_request_ops = {
    .inform = inform,
    .respond = respond,
    .write = write,
    .end = end,
    .reply = reply,
    .tunnel = tunnel,
    .leave = leave,
    .abort = abort_request,
    .allow_silence = allow_silence,
    .resume = resume,
    .ignore_body = ignore_body,
    .limit_body = limit_body,
    .set_pace = set_pace,
    .bytes_in = bytes_in,
    .bytes_out = bytes_out,
    .stream_id = stream_id,
};

/* --- of nghttp2 --------------------------------------------------------------------------------------------------- */

/* In an order of their own, behind the last byte. */
static void submit_trailers(struct dm_h2_stream *s, uint32_t *flags)
{
    struct head head = trailers_of(s);

    if (head.n > 0 && nghttp2_submit_trailer(dm_h2_conn_of_stream(s)->session, s->id, head.nv, head.n) == 0)
        *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
}

/* There is nothing to send now. A window that has opened again is what the owner waits for. */
static ssize_t defer(struct dm_h2_stream *s)
{
    s->is_deferred = true;
    if (s->wants_writable && !s->todo.next)
        dm_h2_ring_add(&dm_h2_conn_of_stream(s)->writable, &s->todo);
    return NGHTTP2_ERR_DEFERRED;
}

/* nghttp2 goes from frame to frame; the queue is full. */
static ssize_t defer_for_room(struct dm_h2_stream *s)
{
    s->is_deferred = s->needs_room = true;
    return NGHTTP2_ERR_DEFERRED;
}

void dm_h2_stream_has_room(struct dm_h2_stream *s)
{
    if (!s->needs_room)
        return;
    s->needs_room = false;
    resume_data(s); /* on_source() looks for the owner if nothing waits */
}

static ssize_t on_source(nghttp2_session *session, int32_t id, uint8_t *buf, size_t len, uint32_t *flags,
                         nghttp2_data_source *source, void *conn)
{
    struct dm_h2_stream *s = source->ptr;
    size_t left = s->out_len - s->out_at, n = DM_MIN(left, len);

    if (DM_UNLIKELY(dm_stream_room(&s->request.conn->stream) == 0))
        return defer_for_room(s);
    if (n == 0 && s->writing != H2_WRITE_ENDING)
        return defer(s);
    *flags |= NGHTTP2_DATA_FLAG_NO_COPY;
    if (n == left && (s->writing == H2_WRITE_ENDING || (s->has_length && !s->has_open_end && s->length_left == n))) {
        *flags |= NGHTTP2_DATA_FLAG_EOF;
        if (s->trailers.len > 0)
            submit_trailers(s, flags);
    }
    return (ssize_t)n;
}

/* There is room for one piece (h2_conn.c), not for two. */
static int put_joined(struct dm_h2_conn *c, const uint8_t *head, const char *ptr, size_t len)
{
    struct dm_buf *out = &c->base.server->out;

    dm_buf_reset(out);
    dm_buf_add_n(out, head, FRAME_HEAD_BYTES);
    dm_buf_add_n(out, ptr, len);
    return dm_stream_put(&c->base.stream, out->ptr, out->len);
}

static int put_data(struct dm_h2_conn *c, const uint8_t *head, const char *ptr, size_t len)
{
    struct dm_stream *stream = &c->base.stream;
    int rc;

    if (DM_UNLIKELY(dm_stream_room(stream) <= FRAME_HEAD_BYTES))
        return put_joined(c, head, ptr, len);
    if ((rc = dm_stream_put(stream, head, FRAME_HEAD_BYTES)) == 0 && len > 0)
        rc = dm_stream_put(stream, ptr, len);
    return rc;
}

static int on_send_data(nghttp2_session *session, nghttp2_frame *frame, const uint8_t *head, size_t len,
                        nghttp2_data_source *source, void *conn)
{
    struct dm_h2_conn *c = conn;
    struct dm_h2_stream *s = source->ptr;
    const char *ptr = s->out ? s->out + s->out_at : "";

    s->out_at += len;
    s->length_left -= DM_MIN(len, s->length_left);
    if (len > 0 && len < CRUMB_BYTES && s->out_at < s->out_len)
        dm_h2_conn_spend(c, DM_H2_WINDOW_STALL, CRUMB_COST);
    (void)put_data(c, head, ptr, len); /* a failure of the stream is told by the stream */
    return 0;
}

static enum dm_http2_code code_of(uint32_t code)
{
    return (enum dm_http2_code)DM_MIN(code, (uint32_t)DM_HTTP2_CODE_UNKNOWN);
}

static void sent_reset(struct dm_h2_conn *c, int32_t id, uint32_t code)
{
    struct dm_http2_counters *counters = dm_h2_counters_of(c);

    dm_h2_note_reset(c, id);
    counters->resets[code_of(code)]++;
    counters->refused_streams += code == NGHTTP2_REFUSED_STREAM;
    counters->malformed_frames += code == NGHTTP2_FLOW_CONTROL_ERROR; /* nghttp2's; others are ours */
    switch (code) {
    case NGHTTP2_REFUSED_STREAM:
        if (c->base.server->handler->on_stream_refused)
            c->base.server->handler->on_stream_refused(c->base.server->arg, &c->base);
        dm_h2_conn_spend(c, DM_H2_MADE_YOU_RESET, 1);
        break;
    case NGHTTP2_PROTOCOL_ERROR:
    case NGHTTP2_FLOW_CONTROL_ERROR:
    case NGHTTP2_STREAM_CLOSED:
    case NGHTTP2_FRAME_SIZE_ERROR: dm_h2_conn_spend(c, DM_H2_MADE_YOU_RESET, 1); break;
    default: break;
    }
}

static void sent_part(struct dm_h2_conn *c, const nghttp2_frame *frame)
{
    struct dm_h2_stream *s = nghttp2_session_get_stream_user_data(c->session, frame->hd.stream_id);

    if (!s)
        return;
    s->bytes_out += frame->hd.length + FRAME_HEAD_BYTES;
    if (frame->hd.type == NGHTTP2_DATA) {
        dm_h2_guard_give(&c->guard, DM_H2_WINDOW_STALL, 2);
        if (frame->hd.length >= USEFUL_BYTES)
            dm_h2_guard_give(&c->guard, DM_H2_PING_FLOOD, 1);
    }
    if (!(frame->hd.flags & NGHTTP2_FLAG_END_STREAM))
        return;
    s->end_out = true;
    if (s->writing == H2_WRITE_ENDING)
        response_through(s);
}

static void sent_goaway(struct dm_h2_conn *c, uint32_t code)
{
    dm_h2_counters_of(c)->goaways[code_of(code)]++;
    if (code == NGHTTP2_NO_ERROR)
        return;
    c->has_failed = true;
    if (!c->has_blamed)
        dm_h2_counters_of(c)->malformed_frames++;
    c->has_blamed = true;
}

static int on_frame_sent(nghttp2_session *session, const nghttp2_frame *frame, void *conn)
{
    struct dm_h2_conn *c = conn;

    switch (frame->hd.type) {
    case NGHTTP2_HEADERS:
    case NGHTTP2_DATA: sent_part(c, frame); break;
    case NGHTTP2_RST_STREAM: sent_reset(c, frame->hd.stream_id, frame->rst_stream.error_code); break;
    case NGHTTP2_GOAWAY: sent_goaway(c, frame->goaway.error_code); break;
    default: break;
    }
    return 0;
}

void dm_h2_write_callbacks(nghttp2_session_callbacks *callbacks)
{
    nghttp2_session_callbacks_set_send_data_callback(callbacks, on_send_data);
    nghttp2_session_callbacks_set_on_frame_send_callback(callbacks, on_frame_sent);
}
