#include "client_h2_rig.h"

struct backend backend;

const struct dm_http_message get = {
    .method = {"GET", 3}, .target = {"/", 1}, .host = {"b", 1}, .fields = {"X-Y: z\r\nConnection: x\r\n", 23}};
const struct dm_http_message post = {
    .method = {"POST", 4}, .target = {"/p", 2}, .host = {"b", 1}, .framing = DM_HTTP_FRAMING_CHUNKED};
const struct dm_http_message upgrade = {
    .method = {"GET", 3}, .target = {"/w", 2}, .host = {"b", 1}, .protocol = {"websocket", 9}};

int h2_setup(void **state)
{
    rig_start(true);
    rig.trailers = DM_STR("X-Sum: 1\r\n");
    memset(&backend, 0, sizeof(backend));
    dm_buf_init(&backend.head, 1 << 20);
    dm_buf_init(&backend.uploaded, 1 << 24);
    return 0;
}

int h2_teardown(void **state)
{
    close_backend();
    dm_buf_done(&backend.head);
    dm_buf_done(&backend.uploaded);
    rig_stop();
    return 0;
}

void close_backend(void)
{
    close_fd();
    if (backend.inflater)
        nghttp2_hd_inflate_del(backend.inflater);
    backend.inflater = NULL;
    dm_buf_done(&backend.in);
}

void accept_backend(void)
{
    close_backend();
    accept_peer();
    dm_buf_init(&backend.in, 1 << 24);
    assert_int_equal(nghttp2_hd_inflate_new(&backend.inflater), 0);
    backend.has_preface = false;
    memset(backend.windows, 0, sizeof(backend.windows));
}

/* --- what it sends ------------------------------------------------------------------------------------------------ */

void add_fields(struct dm_buf *out, const char *lines)
{
    while (*lines) {
        const char *colon = strstr(lines, ": "), *end = strchr(lines, '\n');
        add_field(out, dm_str_n(lines, (size_t)(colon - lines)), dm_str_n(colon + 2, (size_t)(end - colon - 2)));
        lines = end + 1;
    }
}

void send_bytes(const void *ptr, size_t len)
{
    const char *at = ptr;

    while (len > 0) {
        ssize_t n = rig.backend_sys->ops->send(rig.backend_sys, rig.fd, at, len);
        if (n < 0)
            break; /* the other side has closed, or reads no more */
        at += n;
        len -= (size_t)n;
        pass_ms(2);
    }
}

void send_frame(uint8_t type, uint8_t flags, uint32_t id, const void *ptr, size_t len)
{
    struct dm_buf out;

    dm_buf_init(&out, 1 << 22);
    add_frame(&out, type, flags, id, ptr, len);
    send_bytes(out.ptr, out.len);
    dm_buf_done(&out);
}

void send_head(uint32_t id, uint8_t flags, const char *lines)
{
    struct dm_buf block;

    dm_buf_init(&block, 1 << 16);
    add_fields(&block, lines);
    send_frame(HEADERS, END_HEADERS | flags, id, block.ptr, block.len);
    dm_buf_done(&block);
}

void send_data(uint32_t id, uint8_t flags, const char *text)
{
    send_frame(DATA, flags, id, text, strlen(text));
}

void send_u32(uint8_t type, uint32_t id, uint32_t v)
{
    uint8_t payload[4];

    put_u32(payload, v);
    send_frame(type, 0, id, payload, 4);
}

void send_setting(uint8_t which, uint32_t v)
{
    uint8_t payload[6] = {0, which};

    put_u32(payload + 2, v);
    send_frame(SETTINGS, 0, 0, payload, 6);
}

void send_goaway(uint32_t last, uint32_t code)
{
    uint8_t payload[8];

    put_u32(payload, last);
    put_u32(payload + 4, code);
    send_frame(GOAWAY, 0, 0, payload, 8);
}

void answer_ok(uint32_t id)
{
    send_head(id, 0, OK2);
    send_data(id, END, "ok");
}

/* --- what it gets ------------------------------------------------------------------------------------------------- */

static void note_field(void *arg, struct dm_str name, struct dm_str value)
{
    dm_buf_printf(&backend.head, "%.*s: %.*s\n", DM_STR_ARG(name), DM_STR_ARG(value));
}

static void inflate(const uint8_t *ptr, size_t len)
{
    dm_buf_reset(&backend.head);
    assert_true(inflate_block(backend.inflater, ptr, len, note_field, NULL));
}

static void take_frame(uint8_t type, uint8_t flags, uint32_t id, const uint8_t *ptr, size_t len)
{
    switch (type) {
    case DATA:
        words_add(&rig.got, "D%u:%zu%s", id, len, flags & END ? "+" : "");
        dm_buf_add_n(&backend.uploaded, ptr, len);
        break;
    case HEADERS:
        assert_true(flags & END_HEADERS);
        words_add(&rig.got, "H%u%s", id, flags & END ? "+" : "");
        inflate(ptr, len);
        break;
    case RST_STREAM: words_add(&rig.got, "R%u:%u", id, u32_at(ptr)); break;
    case SETTINGS: words_add(&rig.got, flags & ACK ? "SA" : "S"); break;
    case PING: words_add(&rig.got, flags & ACK ? "PA" : "P"); break;
    case GOAWAY: words_add(&rig.got, "G%u", u32_at(ptr + 4)); break;
    case WINDOW_UPDATE:
        assert_true(id < DM_COUNT(backend.windows));
        backend.windows[id] += u32_at(ptr);
        break;
    default: fail_msg("frame of type %u", type);
    }
}

static size_t take_preface(void)
{
    if (backend.has_preface || backend.in.len < 24)
        return 0;
    assert_memory_equal(backend.in.ptr, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 24);
    backend.has_preface = true;
    words_add(&rig.got, "PRI");
    return 24;
}

void receive(void)
{
    char buf[10000];
    size_t at = 0;
    ssize_t n;

    if (rig.fd < 0)
        return;
    while ((n = rig.backend_sys->ops->recv(rig.backend_sys, rig.fd, buf, sizeof(buf))) > 0) {
        dm_buf_add_n(&backend.in, buf, (size_t)n);
        pass_ms(1);
    }
    at = take_preface();
    while (backend.has_preface && backend.in.len - at >= 9) {
        const uint8_t *p = (const uint8_t *)backend.in.ptr + at;
        size_t len = u32_at(p) >> 8;
        if (backend.in.len - at < 9 + len)
            break;
        take_frame(p[3], p[4], u32_at(p + 5), p + 9, len);
        at += 9 + len;
    }
    dm_buf_consume(&backend.in, at);
    if (n == 0)
        words_add(&rig.got, "FIN");
}

void begin(const struct dm_http_message *m)
{
    connect_peer();
    dm_buf_reset(&rig.heard);
    send_call(0, m);
    accept_backend();
    receive();
    send_frame(SETTINGS, 0, 0, NULL, 0);
    send_frame(SETTINGS, ACK, 0, NULL, 0);
    pass_ms(2);
    receive();
    dm_buf_reset(&rig.got);
    assert_false(dm_http_peer_is_new(rig.peer));
}
