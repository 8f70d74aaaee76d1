#include "rig/h2_origin.h"

#include <nghttp2/nghttp2.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "base/mem.h"

struct request;

struct h2_conn {
    struct rig_link link;
    struct h2_conn *next;
    struct h2_origin *origin;
    nghttp2_session *session;
    struct request *requests;
};

/* One request, or a tunnel. */
struct request {
    struct request *next;
    struct dm_buf out;
    int32_t id;
    bool has_body, is_tunnel, is_ended;
};

static void flush(struct h2_conn *conn)
{
    const uint8_t *ptr;
    ssize_t n;

    while (!conn->link.is_closed && (n = nghttp2_session_mem_send(conn->session, &ptr)) > 0)
        (void)!dm_stream_put(&conn->link.stream, ptr, (size_t)n);
}

static nghttp2_nv field(struct dm_str name, struct dm_str value)
{
    return (nghttp2_nv){(uint8_t *)name.ptr, (uint8_t *)value.ptr, name.len, value.len, 0};
}

static size_t make_trailers(const struct h2_origin *origin, const struct request *r, nghttp2_nv *ret)
{
    size_t n = 0;

    for (size_t i = 0; i < DM_COUNT(origin->trailers) && origin->trailers[i][0].len > 0; i++)
        ret[n++] = field(origin->trailers[i][0], origin->trailers[i][1]);
    if (n == 0 && r->has_body)
        ret[n++] = field(DM_STR("x-sum"), DM_STR("1"));
    return n;
}

static ssize_t on_source(nghttp2_session *session, int32_t id, uint8_t *buf, size_t len, uint32_t *flags,
                         nghttp2_data_source *source, void *user)
{
    const struct h2_conn *conn = user;
    struct request *r = source->ptr;
    nghttp2_nv trailers[DM_COUNT(conn->origin->trailers)];
    size_t n;

    len = DM_MIN(len, r->out.len);
    memcpy(buf, len > 0 ? r->out.ptr : "", len);
    dm_buf_consume(&r->out, len);
    if (r->out.len == 0 && r->is_ended) {
        *flags |= NGHTTP2_DATA_FLAG_EOF;
        if (!r->is_tunnel && (n = make_trailers(conn->origin, r, trailers)) > 0) {
            *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
            nghttp2_submit_trailer(session, id, trailers, n);
        }
    } else if (len == 0) {
        return NGHTTP2_ERR_DEFERRED;
    }
    return (ssize_t)len;
}

static void respond(const struct h2_origin *origin, nghttp2_session *session, int32_t id, struct request *r)
{
    nghttp2_nv fields[1 + DM_COUNT(origin->fields)];
    nghttp2_data_provider body = {.source.ptr = r, .read_callback = on_source};
    size_t n = 0;

    fields[n++] = field(DM_STR(":status"), DM_STR("200"));
    for (size_t i = 0; i < DM_COUNT(origin->fields) && origin->fields[i][0].len > 0; i++)
        fields[n++] = field(origin->fields[i][0], origin->fields[i][1]);
    nghttp2_submit_response(session, id, fields, n, origin->has_no_body ? NULL : &body);
}

static void answer(struct h2_conn *conn, int32_t id, struct request *r)
{
    struct h2_origin *origin = conn->origin;

    origin->n_requests++;
    if (origin->cuts) {
        dm_stream_abort(&conn->link.stream);
    } else if (origin->forgets) {
        nghttp2_submit_goaway(conn->session, 0, DM_MAX(id - 2, 0), NGHTTP2_NO_ERROR, NULL, 0);
    } else if (origin->n_refused > 0) {
        origin->n_refused--;
        nghttp2_submit_rst_stream(conn->session, 0, id, NGHTTP2_REFUSED_STREAM);
    } else if (origin->resets_with > 0) {
        nghttp2_submit_rst_stream(conn->session, 0, id, origin->resets_with);
    } else if (!origin->is_mute) {
        dm_buf_add(&r->out, origin->body.len > 0 ? origin->body : DM_STR("hello"));
        r->is_ended = !origin->is_holding;
        respond(origin, conn->session, id, r);
    }
    if (origin->goes_away)
        nghttp2_submit_goaway(conn->session, 0, id, NGHTTP2_NO_ERROR, NULL, 0);
}

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    struct h2_conn *conn = user;
    struct request *r;

    if (frame->headers.cat != NGHTTP2_HCAT_REQUEST)
        return 0;
    r = dm_calloc(1, sizeof(*r));
    dm_buf_init(&r->out, 1 << 24);
    r->id = frame->hd.stream_id;
    r->next = conn->requests;
    conn->requests = r;
    nghttp2_session_set_stream_user_data(session, frame->hd.stream_id, r);
    return 0;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name, size_t name_len,
                     const uint8_t *value, size_t value_len, uint8_t flags, void *user)
{
    struct h2_conn *conn = user;
    struct request *r = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);

    if (name_len == 9 && memcmp(name, ":protocol", 9) == 0)
        r->is_tunnel = true;
    dm_buf_printf(&conn->origin->received, "%.*s: %.*s\r\n", (int)name_len, (const char *)name, (int)value_len,
                  (const char *)value);
    return 0;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *ptr, size_t len, void *user)
{
    struct h2_conn *conn = user;
    struct request *r = nghttp2_session_get_stream_user_data(session, id);

    dm_buf_add_n(&conn->origin->received, ptr, len);
    r->has_body = !r->is_tunnel;
    if (r->is_tunnel) {
        dm_buf_add_n(&r->out, ptr, len);
        nghttp2_session_resume_data(session, id);
    }
    return 0;
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    bool is_end = (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
    struct h2_origin *origin = ((struct h2_conn *)user)->origin;
    struct request *r;

    if (frame->hd.type == NGHTTP2_RST_STREAM) {
        origin->n_reset++;
        origin->reset_with = frame->rst_stream.error_code;
    }

    if ((frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA) ||
        !(r = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id)))
        return 0;
    if (r->is_tunnel && frame->hd.type == NGHTTP2_HEADERS)
        respond(origin, session, frame->hd.stream_id, r);
    if (is_end && r->is_tunnel) {
        r->is_ended = true;
        nghttp2_session_resume_data(session, frame->hd.stream_id);
    } else if (is_end) {
        answer(user, frame->hd.stream_id, r);
    }
    return 0;
}

static void free_request(struct h2_conn *conn, struct request *r)
{
    struct request **at = &conn->requests;

    while (*at != r)
        at = &(*at)->next;
    *at = r->next;
    dm_buf_done(&r->out);
    dm_free(r);
}

static int on_stream_close(nghttp2_session *session, int32_t id, uint32_t code, void *user)
{
    struct request *r = nghttp2_session_get_stream_user_data(session, id);

    if (r)
        free_request(user, r);
    return 0;
}

static size_t on_read(struct dm_stream *stream, const char *ptr, size_t len)
{
    struct h2_conn *conn = DM_CONTAINER_OF(stream, struct h2_conn, link.stream);

    if (nghttp2_session_mem_recv(conn->session, (const uint8_t *)ptr, len) < 0)
        dm_stream_abort(stream);
    else
        flush(conn);
    return len;
}

static const struct dm_stream_type type = {on_read,        rig_link_eof,    NULL, NULL,
                                           rig_link_error, rig_link_closed, 0,    64u << 20};

static void start_session(struct h2_conn *conn)
{
    nghttp2_settings_entry settings[2];
    size_t n = 0;
    nghttp2_session_callbacks *callbacks;

    assert_int_equal(nghttp2_session_callbacks_new(&callbacks), 0);
    nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_stream_close);
    assert_int_equal(nghttp2_session_server_new(&conn->session, callbacks, conn), 0);
    nghttp2_session_callbacks_del(callbacks);
    if (!conn->origin->knows_no_tunnels)
        settings[n++] = (nghttp2_settings_entry){NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL, 1};
    if (conn->origin->calls_max > 0)
        settings[n++] = (nghttp2_settings_entry){NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, conn->origin->calls_max};
    nghttp2_submit_settings(conn->session, 0, settings, n);
}

static void on_accept(struct dm_listener *listener, int fd, const struct dm_addr *peer)
{
    struct h2_origin *origin = DM_CONTAINER_OF(listener, struct h2_origin, listener);
    struct h2_conn *conn = dm_calloc(1, sizeof(*conn));

    conn->origin = origin;
    conn->next = origin->conns;
    origin->conns = conn;
    origin->n_accepted++;
    start_session(conn);
    assert_int_equal(dm_stream_open(&conn->link.stream, listener->loop, &type, fd), 0);
    if (origin->tls)
        dm_tls_serve(&conn->link.stream, origin->tls);
    flush(conn);
}

void h2_origin_init_at(struct rig *rig, struct h2_origin *origin, struct dm_str addr)
{
    memset(origin, 0, sizeof(*origin));
    origin->rig = rig;
    dm_buf_init(&origin->received, 64u << 20);
    rig_listen(rig, &origin->listener, addr, on_accept);
}

void h2_origin_init(struct rig *rig, struct h2_origin *origin)
{
    h2_origin_init_at(rig, origin, DM_STR("127.0.0.1:0"));
}

void h2_origin_done(struct h2_origin *origin)
{
    struct h2_conn *conn;

    dm_listener_close(&origin->listener);
    while ((conn = origin->conns)) {
        rig_link_close(origin->rig, &conn->link);
        origin->conns = conn->next;
        nghttp2_session_del(conn->session);
        while (conn->requests)
            free_request(conn, conn->requests);
        dm_free(conn);
    }
    rig_settle(origin->rig);
    dm_buf_done(&origin->received);
}

void h2_origin_apply(const struct h2_origin *origin, struct stage *s, struct stage_release release)
{
    char endpoints[100];

    snprintf(endpoints, sizeof(endpoints), "{\"host\":\"127.0.0.1\",\"port\":%u}", h2_origin_port(origin));
    release.endpoints = endpoints;
    stage_apply(s, &release);
}

void h2_origin_finish(struct h2_origin *origin)
{
    for (struct h2_conn *conn = origin->conns; conn; conn = conn->next) {
        for (struct request *r = conn->requests; r; r = r->next) {
            r->is_ended = true;
            nghttp2_session_resume_data(conn->session, r->id);
        }
        flush(conn);
    }
}

uint16_t h2_origin_port(const struct h2_origin *origin)
{
    return dm_addr_port(&origin->listener.addr);
}

size_t h2_origin_connections(const struct h2_origin *origin)
{
    size_t n = 0;

    for (const struct h2_conn *conn = origin->conns; conn; conn = conn->next)
        n += !conn->link.is_closed;
    return n;
}
