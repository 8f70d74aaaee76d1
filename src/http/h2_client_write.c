/* What goes to an HTTP/2 backend: heads, bodies, trailers. */
#include "http/h2_client_int.h"
#include "http/serialize.h"

#include "base/mem.h"

enum {
    FRAME_HEAD_BYTES = 9,
    WORTH_BYTES = 256 /* of a DATA frame that pays for the windows it needs */,
    CREDIT_MAX = 1000
};

/* --- frames ------------------------------------------------------------------------------------------------------- */

void dm_h2_peer_flush(struct dm_h2_peer *p)
{
    int rc;

    if (p->is_in_session || p->base.is_closed) {
        p->wants_flush = !p->base.is_closed;
        return;
    }
    p->wants_flush = false;
    p->is_in_session = true;
    rc = nghttp2_session_send(p->session);
    p->is_in_session = false;
    if (rc < 0)
        dm_http_peer_die(&p->base, (struct dm_http_end){DM_HTTP_ABORT_FAULT, 0, 0});
}

/* H1 */
static void flush_soon(struct dm_h2_peer *p)
{
    p->wants_flush = true;
    if (p->depth == 0)
        dm_h2_peer_flush(p);
}

static ssize_t on_send(nghttp2_session *session, const uint8_t *ptr, size_t len, int flags, void *user)
{
    struct dm_h2_peer *p = user;

    (void)session;
    (void)flags;
    if (dm_stream_put(&p->base.stream, ptr, len) == DM_EAGAIN)
        return NGHTTP2_ERR_WOULDBLOCK;
    return (ssize_t)len; /* a stream that has failed will say so */
}

/* There is room for some of it (on_source), so that all of it is taken. */
static int on_send_data(nghttp2_session *session, nghttp2_frame *frame, const uint8_t *head, size_t len,
                        nghttp2_data_source *source, void *user)
{
    struct dm_h2_peer *p = user;
    struct dm_h2_call *call = source->ptr;
    struct dm_buf *out = &p->base.client->out;
    int rc;

    (void)session;
    (void)frame;
    if (DM_LIKELY(dm_stream_room(&p->base.stream) > FRAME_HEAD_BYTES)) {
        rc = dm_stream_put(&p->base.stream, head, FRAME_HEAD_BYTES);
        if (rc == 0 && call && len > 0)
            rc = dm_stream_put(&p->base.stream, call->out, len);
    } else {
        dm_buf_reset(out);
        dm_buf_add_n(out, head, FRAME_HEAD_BYTES);
        if (call)
            dm_buf_add_n(out, call->out, len);
        rc = dm_stream_put(&p->base.stream, out->ptr, out->len);
    }
    (void)rc; /* failed: it will say so */
    if (!call)
        return 0;
    if (len > 0)
        call->out += len;
    call->out_len -= len;
    call->bytes_out += len + FRAME_HEAD_BYTES;
    if (len >= WORTH_BYTES)
        p->credit = DM_MIN(p->credit + 2, (int32_t)CREDIT_MAX);
    return 0;
}

/* Asks the stream to say when there is room; false when there is some. */
static bool is_full(struct dm_h2_peer *p)
{
    return dm_stream_room(&p->base.stream) == 0 && dm_stream_write(&p->base.stream, "", 1) == DM_EAGAIN;
}

static void end_frames(struct dm_h2_peer *p, struct dm_h2_call *call, uint32_t *flags)
{
    struct dm_http_client *client = p->base.client;
    struct dm_str lines = call->trailers ? dm_str_of(call->trailers) : DM_STR_NULL;
    char *names;
    size_t n = 0;

    dm_buf_reset(&client->out);
    names = lines.len > 0 ? dm_buf_room(&client->out, lines.len) : NULL;
    *flags |= NGHTTP2_DATA_FLAG_EOF;
    call->is_eof_sent = true;
    if (!names || !dm_h2_fields_of_lines(lines, false, names, client->h2_fields, DM_COUNT(client->h2_fields), &n) ||
        n == 0)
        return;
    for (size_t i = 0; i < n; i++)
        client->h2_fields[i].flags &= NGHTTP2_NV_FLAG_NO_INDEX; /* copied */
    if (nghttp2_submit_trailer(p->session, call->stream_id, client->h2_fields, n) == 0)
        *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
}

static ssize_t on_source(nghttp2_session *session, int32_t stream_id, uint8_t *buf, size_t len, uint32_t *flags,
                         nghttp2_data_source *source, void *user)
{
    struct dm_h2_peer *p = user;
    struct dm_h2_call *call = dm_h2_peer_find(p, stream_id);

    (void)session;
    (void)buf;
    if (is_full(p)) /* with a call, its next write comes back here */
        return call ? NGHTTP2_ERR_DEFERRED : NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    source->ptr = call;
    *flags |= NGHTTP2_DATA_FLAG_NO_COPY;
    if (!call) { /* over, with the end of its request still to be sent */
        *flags |= NGHTTP2_DATA_FLAG_EOF;
        return 0;
    }
    len = DM_MIN(len, call->out_len);
    if (len == 0 && call->writing == H2_WRITE_ENDED) {
        end_frames(p, call, flags);
        return 0;
    }
    if (len > 0)
        return (ssize_t)len;
    if (call->wants_writable) /* a window has opened */
        dm_task_post(p->base.client->loop, &call->wake);
    return NGHTTP2_ERR_DEFERRED;
}

/* After a GOAWAY that came between. */
static int on_frame_not_sent(nghttp2_session *session, const nghttp2_frame *frame, int code, void *user)
{
    struct dm_h2_peer *p = user;
    struct dm_h2_call *call;

    (void)session;
    (void)code;
    if (frame->hd.type == NGHTTP2_HEADERS && (call = dm_h2_peer_find(p, frame->hd.stream_id)) && call->bytes_out == 0)
        dm_h2_call_abort_later(call, (struct dm_http_end){DM_HTTP_ABORT_REFUSED, 0, 0});
    return 0;
}

static int on_frame_sent(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    struct dm_h2_peer *p = user;
    struct dm_h2_call *call;

    (void)session;
    if (frame->hd.type == NGHTTP2_HEADERS && (call = dm_h2_peer_find(p, frame->hd.stream_id)))
        call->bytes_out += frame->hd.length + FRAME_HEAD_BYTES;
    return 0;
}

void dm_h2_peer_on_writable(struct dm_stream *stream)
{
    struct dm_h2_peer *p = dm_h2_peer_of_stream(stream);

    dm_h2_peer_enter(p);
    for (struct dm_h2_call *call = p->calls; call; call = call->next) {
        if (call->writing == H2_WRITE_ENDED && !call->is_eof_sent)
            (void)nghttp2_session_resume_data(p->session, call->stream_id);
        if (call->wants_writable)
            dm_task_post(p->base.client->loop, &call->wake);
    }
    p->wants_flush = true;
    dm_h2_peer_leave(p);
}

/* --- heads -------------------------------------------------------------------------------------------------------- */

struct fields {
    nghttp2_nv *nv;
    size_t n;
};

static void add(struct fields *f, struct dm_str name, struct dm_str value)
{
    f->nv[f->n++] = dm_h2_field(name, value);
}

/* The fields of a request, out of m and the client's scratch; false: too many or too long. */
static bool make_fields(struct dm_h2_peer *p, const struct dm_http_message *m, struct fields *f)
{
    struct dm_http_client *client = p->base.client;
    struct dm_buf *out = &client->out;
    bool is_tunnel = m->protocol.len > 0;
    char *names;

    dm_buf_reset(out);
    add(f, DM_STR(":method"), is_tunnel ? DM_STR("CONNECT") : m->method);
    add(f, DM_STR(":scheme"), p->base.tls ? DM_STR("https") : DM_STR("http"));
    add(f, DM_STR(":authority"), m->host);
    add(f, DM_STR(":path"), m->target);
    if (is_tunnel)
        add(f, DM_STR(":protocol"), m->protocol);
    if (!(names = dm_buf_room(out, m->fields.len + 32)))
        return false;
    if (m->fields.len > 0 &&
        !dm_h2_fields_of_lines(m->fields, false, names, f->nv, DM_COUNT(client->h2_fields) - 2, &f->n))
        return false;
    out->len = m->fields.len; /* the names */
    add(f, DM_STR("te"), DM_STR("trailers"));
    if (m->framing == DM_HTTP_FRAMING_LENGTH && !is_tunnel) {
        dm_buf_add_u64(out, m->content_length);
        add(f, DM_STR("content-length"), dm_str_n(out->ptr + m->fields.len, out->len - m->fields.len));
    }
    for (size_t i = 0; i < f->n; i++)
        f->nv[i].flags &= NGHTTP2_NV_FLAG_NO_INDEX; /* copied: they may leave later */
    return m->fields.len + m->target.len + m->host.len <= DM_HTTP_HEAD_OUT_MAX;
}

static void submit(struct dm_h2_call *call, const struct dm_http_message *m)
{
    struct dm_h2_peer *p = dm_h2_call_peer(call);
    struct fields f = {p->base.client->h2_fields, 0};
    nghttp2_data_provider body = {.source.ptr = call, .read_callback = on_source};
    bool has_body = call->writing == H2_WRITE_BODY;
    int32_t id;

    if (!make_fields(p, m, &f)) {
        dm_h2_call_abort_later(call, (struct dm_http_end){DM_HTTP_ABORT_FAULT, DM_HTTP_HEAD_TOO_LARGE, 0});
        return;
    }
    id = nghttp2_submit_request(p->session, NULL, f.nv, f.n, has_body ? &body : NULL, call);
    if (id < 0) { /* GOAWAY, or out of stream ids */
        dm_h2_call_abort_later(call, (struct dm_http_end){DM_HTTP_ABORT_REFUSED, 0, 0});
        return;
    }
    call->stream_id = id;
    call->is_eof_sent = !has_body;
    flush_soon(p);
}

/* --- tunnels ------------------------------------------------------------------------------------------------------ */

static void put_part(char **at, struct dm_str *part)
{
    memcpy(*at, part->ptr ? part->ptr : "", part->len);
    part->ptr = *at;
    *at += part->len;
}

/* Whether the backend knows extended CONNECT its SETTINGS will say. */
static void hold(struct dm_h2_call *call, const struct dm_http_message *m)
{
    struct dm_http_message *copy;
    size_t len = m->method.len + m->target.len + m->host.len + m->protocol.len + m->fields.len;
    char *at;

    call->held = dm_alloc(sizeof(*copy) + len);
    copy = (struct dm_http_message *)(void *)call->held;
    *copy = *m;
    at = call->held + sizeof(*copy);
    put_part(&at, &copy->method);
    put_part(&at, &copy->target);
    put_part(&at, &copy->host);
    put_part(&at, &copy->protocol);
    put_part(&at, &copy->fields);
    call->writing = H2_WRITE_HELD;
}

static void submit_tunnel(struct dm_h2_call *call, const struct dm_http_message *m)
{
    struct dm_h2_peer *p = dm_h2_call_peer(call);

    if (nghttp2_session_get_remote_settings(p->session, NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL) != 1) {
        dm_h2_call_abort_later(call, (struct dm_http_end){DM_HTTP_ABORT_FAULT, DM_HTTP_CONNECT_REFUSED, 0});
        return;
    }
    call->writing = H2_WRITE_BODY;
    submit(call, m);
}

void dm_h2_call_send_held(struct dm_h2_call *call)
{
    submit_tunnel(call, (const struct dm_http_message *)(void *)call->held);
    dm_free(call->held);
    call->held = NULL;
}

/* --- calls -------------------------------------------------------------------------------------------------------- */

void dm_h2_call_send(struct dm_http_call *base, const struct dm_http_message *m)
{
    struct dm_h2_call *call = dm_h2_call_of(base);
    struct dm_h2_peer *p = dm_h2_call_peer(call);

    call->method = (uint8_t)dm_http_method_of(m->method);
    call->out_framing = (uint8_t)m->framing;
    call->out_left = m->content_length;
    if (p->base.is_dead)
        return; /* the loop tells */
    call->is_upgrading = m->protocol.len > 0;
    if (call->is_upgrading) {
        dm_h2_call_await_head(call);
        if (p->has_settings)
            submit_tunnel(call, m);
        else
            hold(call, m);
        return;
    }
    call->writing = m->framing == DM_HTTP_FRAMING_NONE ? H2_WRITE_ENDED : H2_WRITE_BODY;
    submit(call, m);
    if (call->writing == H2_WRITE_ENDED)
        dm_h2_call_await_head(call);
    else
        dm_h2_call_arm(call);
}

/* As much of it as windows and the stream take now (H3). */
static size_t put(struct dm_h2_call *call, const char *ptr, size_t len)
{
    struct dm_h2_peer *p = dm_h2_call_peer(call);
    size_t taken;

    if (p->is_in_session || call->stream_id <= 0)
        return 0;
    call->out = ptr;
    call->out_len = len;
    (void)nghttp2_session_resume_data(p->session, call->stream_id);
    dm_h2_peer_flush(p);
    taken = len - call->out_len;
    call->out = NULL;
    call->out_len = 0;
    return taken;
}

static void want_writable(struct dm_h2_call *call)
{
    struct dm_h2_peer *p = dm_h2_call_peer(call);

    call->wants_writable = true;
    dm_h2_call_look(call);
    if (!dm_timer_is_armed(&call->timer))
        dm_h2_call_arm(call);
    if (p->is_in_session && call->stream_id > 0)
        dm_task_post(p->base.client->loop, &call->wake);
}

size_t dm_h2_call_write(struct dm_http_call *base, const char *ptr, size_t len)
{
    struct dm_h2_call *call = dm_h2_call_of(base);
    bool is_bounded = call->out_framing == DM_HTTP_FRAMING_LENGTH && !call->is_upgrading;
    size_t n = is_bounded ? (size_t)DM_MIN((uint64_t)len, call->out_left) : len, taken = 0;

    if (call->is_over || call->has_end || call->base.peer->is_closed || call->writing == H2_WRITE_NONE ||
        call->writing == H2_WRITE_ENDED)
        return len;
    if (n == 0)
        return len;
    if (!call->is_upgrading || call->is_tunnel) /* nothing before the backend has agreed */
        taken = put(call, ptr, n);
    call->out_left -= is_bounded ? taken : 0;
    if (taken == n)
        return len;
    want_writable(call);
    return taken;
}

void dm_h2_call_end(struct dm_http_call *base, struct dm_str trailers)
{
    struct dm_h2_call *call = dm_h2_call_of(base);
    struct dm_h2_peer *p = dm_h2_call_peer(call);
    bool is_bounded = call->out_framing == DM_HTTP_FRAMING_LENGTH && !call->is_upgrading;

    if (call->is_over || call->has_end || p->base.is_closed || call->writing != H2_WRITE_BODY)
        return;
    if (call->is_upgrading && !call->is_tunnel) {
        call->has_ended_early = true;
        return;
    }
    if (is_bounded && call->out_left > 0) { /* the backend must see it */
        (void)nghttp2_submit_rst_stream(p->session, NGHTTP2_FLAG_NONE, call->stream_id, NGHTTP2_CANCEL);
        dm_h2_call_abort_later(call, (struct dm_http_end){DM_HTTP_ABORT_FAULT, DM_HTTP_BODY_CUT, 0});
        flush_soon(p);
        return;
    }
    call->writing = H2_WRITE_ENDED;
    if (trailers.len > 0 && !call->is_upgrading)
        call->trailers = dm_strdup(trailers);
    (void)nghttp2_session_resume_data(p->session, call->stream_id);
    flush_soon(p);
    if (call->reading == H2_READ_HEAD)
        dm_h2_call_await_head(call);
    else if (call->is_tunnel && call->reading == H2_READ_DONE)
        dm_h2_call_done(call);
}

void dm_h2_call_end_with(struct dm_h2_call *call, struct dm_str last)
{
    struct dm_h2_peer *p = dm_h2_call_peer(call);

    if (call->writing != H2_WRITE_BODY)
        return;
    if (last.len > 0 && put(call, last.ptr, last.len) < last.len)
        return; /* what was cut can't be followed by an end */
    call->writing = H2_WRITE_ENDED;
    (void)nghttp2_session_resume_data(p->session, call->stream_id);
    dm_h2_peer_flush(p);
}

void dm_h2_client_set_write_callbacks(nghttp2_session_callbacks *callbacks)
{
    nghttp2_session_callbacks_set_send_callback(callbacks, on_send);
    nghttp2_session_callbacks_set_send_data_callback(callbacks, on_send_data);
    nghttp2_session_callbacks_set_on_frame_send_callback(callbacks, on_frame_sent);
    nghttp2_session_callbacks_set_on_frame_not_send_callback(callbacks, on_frame_not_sent);
}
