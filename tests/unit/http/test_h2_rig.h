/* An HTTP/2 client for test_server_rig.h: nghttp2's client session, or frames written by hand, and one word each of what came in
 * `seen`: "H1:200" a response head on stream 1, "D1:5" five bytes of data, "E1" its end, "T1" trailers, "X1:8" a reset with its
 * code, "G0" GOAWAY with its code, "P" an answer to PING. */
#ifndef DM_TEST_H2_RIG_H
#define DM_TEST_H2_RIG_H

#include <nghttp2/nghttp2.h>

#include "test_server_rig.h"

#define PREFACE "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

enum { HEADERS = 1, END_STREAM = 1, END_HEADERS = 4 };

static struct {
    nghttp2_session *session;
    struct dm_buf seen, body, fields; /* of all streams */
    size_t parsed;                    /* of rig.got */
    struct dm_buf upload;             /* what requests with a body send */
    size_t uploaded;
    bool is_open;    /* an upload that goes on */
    bool holds_back; /* no windows are opened */
    bool is_quiet;   /* data is not noted */
    bool is_manual;  /* frames are written by hand, so that the session knows nothing of them: read by hand as well */
    nghttp2_hd_inflater *inflater;
} h2;

static void see(const char *fmt, ...) DM_PRINTF(1, 2);
static void see(const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    if (h2.seen.len > 0)
        dm_buf_add_char(&h2.seen, ' ');
    dm_buf_vprintf(&h2.seen, fmt, args);
    va_end(args);
}

static int cl_on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    switch (frame->hd.type) {
    case NGHTTP2_HEADERS:
        if (frame->headers.cat == NGHTTP2_HCAT_HEADERS && (frame->hd.flags & END_STREAM))
            see("T%d", frame->hd.stream_id);
        break;
    case NGHTTP2_RST_STREAM: see("X%d:%u", frame->hd.stream_id, frame->rst_stream.error_code); break;
    case NGHTTP2_GOAWAY: see("G%u", frame->goaway.error_code); break;
    case NGHTTP2_PING:
        if (frame->hd.flags & NGHTTP2_FLAG_ACK)
            see("P");
        break;
    default: break;
    }
    if ((frame->hd.type == NGHTTP2_HEADERS || frame->hd.type == NGHTTP2_DATA) && (frame->hd.flags & END_STREAM))
        see("E%d", frame->hd.stream_id);
    return 0;
}

static int cl_on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name, size_t name_len,
                        const uint8_t *value, size_t value_len, uint8_t flags, void *user)
{
    if (name_len == 7 && memcmp(name, ":status", 7) == 0) {
        see("H%d:%.*s", frame->hd.stream_id, (int)value_len, value);
        return 0;
    }
    dm_buf_printf(&h2.fields, "%.*s=%.*s;", (int)name_len, name, (int)value_len, value);
    return 0;
}

static int cl_on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *ptr, size_t len, void *user)
{
    if (!h2.is_quiet)
        see("D%d:%zu", id, len);
    dm_buf_add_n(&h2.body, ptr, len);
    if (!h2.holds_back)
        nghttp2_session_consume(session, id, len);
    return 0;
}

static ssize_t cl_upload(nghttp2_session *session, int32_t id, uint8_t *buf, size_t len, uint32_t *flags,
                         nghttp2_data_source *source, void *user)
{
    size_t n = DM_MIN(len, h2.upload.len - h2.uploaded);

    if (n > 0)
        memcpy(buf, h2.upload.ptr + h2.uploaded, n);
    h2.uploaded += n;
    if (h2.uploaded == h2.upload.len && !h2.is_open)
        *flags |= NGHTTP2_DATA_FLAG_EOF;
    else if (n == 0)
        return NGHTTP2_ERR_DEFERRED;
    return (ssize_t)n;
}

/* The status in a block that comes whole. */
static void see_status(uint32_t id, const uint8_t *ptr, size_t len)
{
    nghttp2_nv nv;
    int flags = 0;

    while (!(flags & NGHTTP2_HD_INFLATE_FINAL)) {
        ssize_t n = nghttp2_hd_inflate_hd2(h2.inflater, &nv, &flags, ptr, len, 1);
        assert_true(n >= 0);
        ptr += n;
        len -= (size_t)n;
        if ((flags & NGHTTP2_HD_INFLATE_EMIT) && nv.namelen == 7 && memcmp(nv.name, ":status", 7) == 0)
            see("H%u:%.*s", id, (int)nv.valuelen, nv.value);
    }
    nghttp2_hd_inflate_end_headers(h2.inflater);
}

static uint32_t get_u32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static void see_frame(const uint8_t *p, size_t len)
{
    uint32_t id = get_u32(p + 5) & 0x7fffffff;

    switch (p[3]) {
    case NGHTTP2_DATA:
        if (!h2.is_quiet)
            see("D%u:%zu", id, len);
        break;
    case NGHTTP2_HEADERS: see_status(id, p + 9, len); break;
    case NGHTTP2_RST_STREAM: see("X%u:%u", id, get_u32(p + 9)); break;
    case NGHTTP2_GOAWAY: see("G%u", get_u32(p + 13)); break;
    default: break;
    }
    if (p[3] <= NGHTTP2_HEADERS && (p[4] & END_STREAM))
        see("E%u", id);
}

static void see_frames(void)
{
    while (rig.got.len >= h2.parsed + 9) {
        const uint8_t *p = (const uint8_t *)rig.got.ptr + h2.parsed;
        size_t len = (size_t)p[0] << 16 | (size_t)p[1] << 8 | p[2];
        if (rig.got.len < h2.parsed + 9 + len)
            return;
        see_frame(p, len);
        h2.parsed += 9 + len;
    }
}

/* What the client wants to send, to the server. */
static void h2_flush(void)
{
    const uint8_t *ptr;
    ssize_t n;

    if (h2.is_manual)
        return;

    while (!rig.is_ended && (n = nghttp2_session_mem_send(h2.session, &ptr)) > 0)
        rig_send_n((const char *)ptr, (size_t)n);
}

static void h2_take(void)
{
    rig_receive(SIZE_MAX);
    if (h2.is_manual) {
        see_frames();
    } else if (rig.got.len > h2.parsed) {
        assert_true(nghttp2_session_mem_recv(h2.session, (const uint8_t *)rig.got.ptr + h2.parsed,
                                             rig.got.len - h2.parsed) >= 0);
        h2.parsed = rig.got.len;
    }
}

/* Back and forth, without time passing by more than some milliseconds. */
static inline void h2_run(void)
{
    for (int i = 0; i < 12; i++) {
        h2_flush();
        rig_settle();
        h2_take();
    }
}

static void h2_new_session(bool is_strict)
{
    nghttp2_session_callbacks *callbacks;
    nghttp2_option *option;

    assert_int_equal(nghttp2_session_callbacks_new(&callbacks), 0);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, cl_on_frame);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, cl_on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, cl_on_data);
    assert_int_equal(nghttp2_option_new(&option), 0);
    nghttp2_option_set_no_auto_window_update(option, 1);
    nghttp2_option_set_no_http_messaging(option, !is_strict);
    assert_int_equal(nghttp2_session_client_new2(&h2.session, callbacks, NULL, option), 0);
    nghttp2_session_callbacks_del(callbacks);
    nghttp2_option_del(option);
    h2.parsed = 0;
    h2.is_manual = false;
    if (h2.inflater)
        nghttp2_hd_inflate_del(h2.inflater);
    assert_int_equal(nghttp2_hd_inflate_new(&h2.inflater), 0);
}

/* A client with these settings, up to its preface. */
static inline void h2_begin(const nghttp2_settings_entry *settings, size_t n)
{
    h2_new_session(true);
    dm_buf_init(&h2.seen, 1 << 20);
    dm_buf_init(&h2.body, 64 << 20);
    dm_buf_init(&h2.fields, 1 << 20);
    dm_buf_init(&h2.upload, 64 << 20);
    h2.uploaded = 0;
    h2.is_open = h2.holds_back = h2.is_quiet = false;
    assert_int_equal(nghttp2_submit_settings(h2.session, 0, settings, n), 0);
}

static inline void h2_start(void)
{
    rig_start(dm_world_new(3, NULL));
    rig_settle();
    h2_begin(NULL, 0);
    h2_run();
}

static inline void h2_end(void)
{
    nghttp2_session_del(h2.session);
    nghttp2_hd_inflate_del(h2.inflater);
    dm_buf_done(&h2.seen);
    dm_buf_done(&h2.body);
    dm_buf_done(&h2.fields);
    dm_buf_done(&h2.upload);
    rig_stop();
}

/* The same client, on a connection of its own. */
static inline void h2_reconnect(void)
{
    rig_connect();
    rig_settle();
    nghttp2_session_del(h2.session);
    h2_new_session(true);
    assert_int_equal(nghttp2_submit_settings(h2.session, 0, NULL, 0), 0);
    h2_run();
}

#define NV(name, value)                                                                                                \
    {                                                                                                                  \
        (uint8_t *)(name), (uint8_t *)(value), strlen(name), strlen(value), 0                                          \
    }

/* GET, or a POST of h2.upload. Returns the stream. */
static int32_t h2_request(const char *method, const char *path)
{
    bool has_body = strcmp(method, "POST") == 0;
    nghttp2_nv nv[] = {NV(":method", method), NV(":scheme", "http"), NV(":path", path), NV(":authority", "a")};
    nghttp2_data_provider provider = {.read_callback = cl_upload};
    int32_t id = nghttp2_submit_request(h2.session, NULL, nv, DM_COUNT(nv), has_body ? &provider : NULL, NULL);

    assert_true(id > 0);
    return id;
}

static inline int32_t h2_get(void)
{
    return h2_request("GET", "/");
}

static inline int32_t h2_post(const char *body, size_t len)
{
    dm_buf_add_n(&h2.upload, body, len);
    return h2_request("POST", "/");
}

/* --- by hand ------------------------------------------------------------------------------------------------------ */

/* A frame, into a buffer. */
static inline void add_frame(struct dm_buf *out, uint8_t type, uint8_t flags, uint32_t id, const void *payload,
                             size_t len)
{
    uint8_t head[9] = {(uint8_t)(len >> 16), (uint8_t)(len >> 8), (uint8_t)len,       type,       flags,
                       (uint8_t)(id >> 24),  (uint8_t)(id >> 16), (uint8_t)(id >> 8), (uint8_t)id};

    dm_buf_add_n(out, head, sizeof(head));
    dm_buf_add_n(out, payload, len);
}

static inline void send_frame(uint8_t type, uint8_t flags, uint32_t id, const void *payload, size_t len)
{
    struct dm_buf out;

    dm_buf_init(&out, 1 << 20);
    add_frame(&out, type, flags, id, payload, len);
    h2.is_manual = true;
    if (!rig.is_ended)
        rig_send_n(out.ptr, out.len);
    dm_buf_done(&out);
}

/* A field as a literal that is never indexed (RFC 7541 section 6.2.3), names and values up to 126 bytes. */
static inline void add_field(struct dm_buf *out, struct dm_str name, struct dm_str value)
{
    assert_true(name.len < 127 && value.len < 127);
    dm_buf_add_char(out, 0x10);
    dm_buf_add_char(out, (char)name.len);
    dm_buf_add(out, name);
    dm_buf_add_char(out, (char)value.len);
    dm_buf_add(out, value);
}

static inline void check_seen_at(const char *text, const char *file, int line)
{
    h2_run();
    check_text(&h2.seen, text, file, line);
    dm_buf_reset(&h2.seen);
}
#define check_seen(text) check_seen_at((text), __FILE__, __LINE__)

#endif
