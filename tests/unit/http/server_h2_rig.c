#include "server_h2_rig.h"

struct h2 h2;

#define see(...) words_add(&h2.seen, __VA_ARGS__)

/* --- what came ---------------------------------------------------------------------------------------------------- */

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *user)
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

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name, size_t name_len,
                     const uint8_t *value, size_t value_len, uint8_t flags, void *user)
{
    if (name_len == 7 && memcmp(name, ":status", 7) == 0) {
        see("H%d:%.*s", frame->hd.stream_id, (int)value_len, value);
        return 0;
    }
    dm_buf_printf(&h2.fields, "%.*s=%.*s;", (int)name_len, name, (int)value_len, value);
    return 0;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *ptr, size_t len, void *user)
{
    if (!h2.is_quiet)
        see("D%d:%zu", id, len);
    dm_buf_add_n(&h2.body, ptr, len);
    if (!h2.holds_back)
        nghttp2_session_consume(session, id, len);
    return 0;
}

ssize_t read_upload(nghttp2_session *session, int32_t id, uint8_t *buf, size_t len, uint32_t *flags,
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

static void note_status(void *arg, struct dm_str name, struct dm_str value)
{
    if (dm_str_eq(name, DM_STR(":status")))
        see("H%u:%.*s", *(uint32_t *)arg, DM_STR_ARG(value));
}

static void see_frame(const uint8_t *p, size_t len)
{
    uint32_t id = u32_at(p + 5) & 0x7fffffff;

    switch (p[3]) {
    case NGHTTP2_DATA:
        if (!h2.is_quiet)
            see("D%u:%zu", id, len);
        break;
    case NGHTTP2_HEADERS: assert_true(inflate_block(h2.inflater, p + 9, len, note_status, &id)); break;
    case NGHTTP2_RST_STREAM: see("X%u:%u", id, u32_at(p + 9)); break;
    case NGHTTP2_GOAWAY: see("G%u", u32_at(p + 13)); break;
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

bool has_seen(const char *text)
{
    return words_have(&h2.seen, text);
}

/* --- the client --------------------------------------------------------------------------------------------------- */

void h2_flush(void)
{
    const uint8_t *ptr;
    ssize_t n;

    if (h2.is_manual)
        return;

    while (!rig.is_ended && (n = nghttp2_session_mem_send(h2.session, &ptr)) > 0)
        rig_send_n((const char *)ptr, (size_t)n);
}

void h2_take(void)
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

void h2_run(void)
{
    for (int i = 0; i < 12; i++) {
        h2_flush();
        rig_settle();
        h2_take();
    }
}

void h2_new_session(bool is_strict)
{
    nghttp2_session_callbacks *callbacks;
    nghttp2_option *option;

    assert_int_equal(nghttp2_session_callbacks_new(&callbacks), 0);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
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

void h2_begin(const nghttp2_settings_entry *settings, size_t n)
{
    memset(&h2, 0, sizeof(h2));
    h2.next_id = 1;
    h2_new_session(true);
    dm_buf_init(&h2.seen, 1 << 20);
    dm_buf_init(&h2.body, 64 << 20);
    dm_buf_init(&h2.fields, 1 << 20);
    dm_buf_init(&h2.upload, 64 << 20);
    assert_int_equal(nghttp2_submit_settings(h2.session, 0, settings, n), 0);
}

void h2_start(void)
{
    rig_start(dm_world_new(3, NULL));
    rig_settle();
    h2_begin(NULL, 0);
    h2_run();
}

void h2_end(void)
{
    nghttp2_session_del(h2.session);
    nghttp2_hd_inflate_del(h2.inflater);
    dm_buf_done(&h2.seen);
    dm_buf_done(&h2.body);
    dm_buf_done(&h2.fields);
    dm_buf_done(&h2.upload);
    rig_stop();
}

int h2_setup(void **state)
{
    rig_clear();
    h2_start();
    return 0;
}

int h2_setup_kernel(void **state)
{
    rig_clear();
    rig_start(NULL);
    h2_begin(NULL, 0);
    h2_run();
    return 0;
}

int h2_teardown(void **state)
{
    h2_end();
    return 0;
}

void h2_renew(const nghttp2_settings_entry *settings, size_t n)
{
    nghttp2_session_del(h2.session);
    h2_new_session(true);
    assert_int_equal(nghttp2_submit_settings(h2.session, 0, settings, n), 0);
}

void h2_reconnect(void)
{
    rig_connect();
    rig_settle();
    h2_renew(NULL, 0);
    h2_run();
}

int32_t h2_request(const char *method, const char *path)
{
    bool has_body = strcmp(method, "POST") == 0;
    nghttp2_nv nv[] = {NV(":method", method), NV(":scheme", "http"), NV(":path", path), NV(":authority", "a")};
    nghttp2_data_provider provider = {.read_callback = read_upload};
    int32_t id = nghttp2_submit_request(h2.session, NULL, nv, DM_COUNT(nv), has_body ? &provider : NULL, NULL);

    assert_true(id > 0);
    return id;
}

int32_t h2_get(void)
{
    return h2_request("GET", "/");
}

int32_t h2_post(const char *body, size_t len)
{
    dm_buf_add_n(&h2.upload, body, len);
    return h2_request("POST", "/");
}

/* --- by hand ------------------------------------------------------------------------------------------------------ */

void send_frame(uint8_t type, uint8_t flags, uint32_t id, const void *payload, size_t len)
{
    struct dm_buf out;

    dm_buf_init(&out, 1 << 20);
    add_frame(&out, type, flags, id, payload, len);
    h2.is_manual = true;
    if (!rig.is_ended)
        rig_send_n(out.ptr, out.len);
    dm_buf_done(&out);
}

void send_u32(uint8_t type, uint8_t flags, uint32_t id, uint32_t value)
{
    uint8_t payload[4];

    put_u32(payload, value);
    send_frame(type, flags, id, payload, sizeof(payload));
}

void add_request(struct dm_buf *out, const char *method)
{
    add_field(out, DM_STR(":method"), dm_str_of(method));
    add_field(out, DM_STR(":scheme"), DM_STR("http"));
    add_field(out, DM_STR(":path"), DM_STR("/"));
    add_field(out, DM_STR(":authority"), DM_STR("a"));
}

uint32_t send_request(uint8_t flags)
{
    struct dm_buf block;

    dm_buf_init(&block, 4096);
    add_request(&block, flags & END_STREAM ? "GET" : "POST");
    send_frame(HEADERS, flags, h2.next_id, block.ptr, block.len);
    dm_buf_done(&block);
    h2.next_id += 2;
    return h2.next_id - 2;
}
