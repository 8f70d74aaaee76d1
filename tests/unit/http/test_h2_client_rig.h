/* What the tests of the HTTP/2 client share: a backend that speaks frames by hand, in simulated time. What the owner hears is one word each, as in test_client.c,
 * with "1:" before those of the second call and so on: "I103", "R200", "B5", "E" ("T" with trailers), "W", "D", "A:why", "T:why"; of the
 * connection "X" when it takes no more calls. What the backend gets: "PRI", "S" SETTINGS, "SA" its acknowledgement, "H1" HEADERS
 * of stream 1, "D1:5", "R1:8" RST_STREAM with code 8, "P", "PA", "G0" GOAWAY; "+" behind what ends a stream. */
#ifndef DM_TESTS_H2_CLIENT_RIG_H
#define DM_TESTS_H2_CLIENT_RIG_H

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <nghttp2/nghttp2.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/sim.h"
#include "http/client.h"

#define MS UINT64_C(1000000)
#define N_CALLS 120

enum { DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION };
enum { ACK = 1, END = 1, END_HEADERS = 4 };

/* What one connection's backend knows. */
struct backend {
    int fd;
    struct dm_buf in;
    nghttp2_hd_inflater *inflater;
    bool has_preface;
    uint64_t window; /* that it may send on the connection */
};

static struct {
    struct dm_world *world;
    struct dm_sys *sys, *backend_sys;
    struct dm_loop *loop;
    struct dm_http_client *client;
    struct dm_http_peer *peer;
    struct dm_http_call *calls[N_CALLS];
    struct dm_addr addr;
    struct dm_buf heard, got, head, body, uploaded;
    struct backend backend;
    int listen_fd;
    uint64_t windows[64];
    size_t takes, left; /* of a slice of body; of a request that is streamed */
    unsigned n_room;
    const char *last; /* what a tunnel whose time is over ends with; NULL: it is not left */
    bool had_response, was_reused, cancels_at_response, cancels_at_body, sends_at_end, mutes_body;
    uint64_t bytes_in, bytes_out;
} rig;

static const struct dm_http_timeouts timeouts = {5000, 8000, 20000, 40000, 1000000};
static const struct dm_http_message get = {
    .method = {"GET", 3}, .target = {"/", 1}, .host = {"b", 1}, .fields = {"X-Y: z\r\nConnection: x\r\n", 23}};
static const struct dm_http_message post = {
    .method = {"POST", 4}, .target = {"/p", 2}, .host = {"b", 1}, .framing = DM_HTTP_FRAMING_CHUNKED};
static const struct dm_http_message upgrade = {
    .method = {"GET", 3}, .target = {"/w", 2}, .host = {"b", 1}, .protocol = {"websocket", 9}};

/* --- the owner ---------------------------------------------------------------------------------------------------- */

static void hear(size_t i, const char *fmt, ...) DM_PRINTF(2, 3);
static void hear(size_t i, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    if (rig.heard.len > 0)
        dm_buf_add_char(&rig.heard, ' ');
    if (i > 0)
        dm_buf_printf(&rig.heard, "%zu:", i);
    dm_buf_vprintf(&rig.heard, fmt, args);
    va_end(args);
}

static size_t index_of(void *user)
{
    return (size_t)((struct dm_http_call **)user - rig.calls);
}

static void cancel_call(size_t i)
{
    dm_http_call_cancel(rig.calls[i]);
    rig.calls[i] = NULL;
}

static void on_inform(void *user, struct dm_http_call *call, const struct dm_http_head *head)
{
    hear(index_of(user), "I%u", head->status);
}

static void on_response(void *user, struct dm_http_call *call, struct dm_http_head *head)
{
    hear(index_of(user), "R%u", head->status);
    if (rig.cancels_at_response)
        cancel_call(index_of(user));
}

static size_t on_body(void *user, struct dm_http_call *call, const char *ptr, size_t len)
{
    size_t taken = DM_MIN(len, rig.takes);

    if (!rig.mutes_body)
        hear(index_of(user), "B%zu", taken);
    dm_buf_add_n(&rig.body, ptr, taken);
    if (rig.cancels_at_body)
        cancel_call(index_of(user));
    return taken;
}

static void open_call(size_t i)
{
    assert_null(rig.calls[i]);
    rig.calls[i] = dm_http_peer_open(rig.peer, &timeouts);
    assert_non_null(rig.calls[i]);
    dm_http_call_set_user(rig.calls[i], &rig.calls[i]);
}

static void send_call(size_t i, const struct dm_http_message *m)
{
    open_call(i);
    dm_http_call_send(rig.calls[i], m);
    if (m->framing == DM_HTTP_FRAMING_NONE && m->protocol.len == 0)
        dm_http_call_end(rig.calls[i], DM_STR_NULL);
}

static void on_response_end(void *user, struct dm_http_call *call, const struct dm_http_head *trailers)
{
    hear(index_of(user), trailers ? "T" : "E");
    if (trailers)
        assert_int_equal(trailers->field_count, 1);
    if (rig.sends_at_end) {
        rig.sends_at_end = false;
        send_call(1, &get);
    }
}

/* Streams the rest of the first call's body. */
static void stream_request(void)
{
    static char block[10000];

    while (rig.left > 0) {
        size_t n = DM_MIN(rig.left, sizeof(block)), taken = dm_http_call_write(rig.calls[0], block, n);
        rig.left -= taken;
        if (taken < n)
            return;
    }
    dm_http_call_end(rig.calls[0], DM_STR("X-Sum: 1\r\n"));
}

static void on_writable(void *user, struct dm_http_call *call)
{
    hear(index_of(user), "W");
    stream_request();
}

static void on_done(void *user, struct dm_http_call *call)
{
    hear(index_of(user), "D");
    rig.was_reused = dm_http_call_is_reused(call);
    rig.bytes_in = dm_http_call_bytes_in(call);
    rig.bytes_out = dm_http_call_bytes_out(call);
    rig.calls[index_of(user)] = NULL;
}

static void on_abort(void *user, struct dm_http_call *call, struct dm_http_end end)
{
    hear(index_of(user), "A:%s", dm_http_abort_name(end.why));
    rig.had_response = dm_http_call_has_response(call);
    rig.was_reused = dm_http_call_is_reused(call);
    rig.calls[index_of(user)] = NULL;
}

static void on_tunnel_due(void *user, struct dm_http_call *call, enum dm_http_abort why)
{
    hear(index_of(user), "T:%s", dm_http_abort_name(why));
    if (!rig.last)
        return;
    rig.calls[index_of(user)] = NULL;
    dm_http_call_leave(call, dm_str_of(rig.last));
}

static void on_room(void *owner, struct dm_http_peer *peer)
{
    assert_ptr_equal(peer, rig.peer);
    assert_true(dm_http_peer_has_room(peer));
    rig.n_room++;
}

static void on_end(void *owner, struct dm_http_peer *peer)
{
    assert_ptr_equal(owner, &rig);
    assert_ptr_equal(peer, rig.peer);
    assert_false(dm_http_peer_has_room(peer));
    hear(0, "X");
    rig.peer = NULL;
}

static const struct dm_http_peer_handler peer_handler = {on_room, on_end};
static const struct dm_http_call_handler call_handler = {on_inform,   on_response, on_body,  on_response_end,
                                                         on_writable, on_done,     on_abort, on_tunnel_due};

/* --- the world ---------------------------------------------------------------------------------------------------- */

static int setup(void **state)
{
    struct dm_http_client_settings settings = dm_http_client_defaults;
    struct dm_sim_faults faults = {.latency_ns_max = 100000, .socket_bytes = 20000};

    memset(&rig, 0, sizeof(rig));
    settings.write_cap_bytes = 60000;
    rig.world = dm_world_new(11, &faults);
    rig.sys = dm_world_process(rig.world);
    rig.backend_sys = dm_world_process(rig.world);
    rig.loop = dm_loop_new(rig.sys);
    rig.client = dm_http_client_new(rig.loop, &settings, &peer_handler, &call_handler);
    rig.takes = SIZE_MAX;
    rig.backend.fd = -1;
    assert_int_equal(dm_addr_parse(DM_STR("127.0.0.1:80"), &rig.addr, NULL), 0);
    rig.listen_fd = rig.backend_sys->ops->listen(rig.backend_sys, &rig.addr, 8, false);
    assert_true(rig.listen_fd >= 0);
    dm_buf_init(&rig.heard, 1 << 20);
    dm_buf_init(&rig.got, 1 << 20);
    dm_buf_init(&rig.head, 1 << 20);
    dm_buf_init(&rig.body, 1 << 24);
    dm_buf_init(&rig.uploaded, 1 << 24);
    return 0;
}

static void forget_backend(struct backend *b)
{
    if (b->inflater)
        nghttp2_hd_inflate_del(b->inflater);
    if (b->fd >= 0)
        rig.backend_sys->ops->close(rig.backend_sys, b->fd);
    dm_buf_done(&b->in);
    *b = (struct backend){.fd = -1};
}

static void let_go(void)
{
    for (size_t i = 0; i < N_CALLS; i++)
        if (rig.calls[i])
            cancel_call(i);
    if (rig.peer)
        dm_http_peer_close(rig.peer);
    rig.peer = NULL;
    dm_buf_reset(&rig.heard);
}

static int teardown(void **state)
{
    let_go();
    dm_http_client_free(rig.client);
    dm_loop_free(rig.loop);
    forget_backend(&rig.backend);
    dm_buf_done(&rig.heard);
    dm_buf_done(&rig.got);
    dm_buf_done(&rig.head);
    dm_buf_done(&rig.body);
    dm_buf_done(&rig.uploaded);
    dm_world_free(rig.world);
    return 0;
}

static void pass_ms(uint64_t ms)
{
    uint64_t step = DM_MAX(ms / 1000, 1u);

    for (uint64_t passed = 0; passed < ms; passed += step) {
        dm_world_advance_ns(rig.world, step * MS);
        for (int i = 0; i < 4; i++)
            dm_loop_turn(rig.loop, 0);
    }
}

/* --- the backend -------------------------------------------------------------------------------------------------- */

static void accept_backend(void)
{
    struct backend *b = &rig.backend;

    pass_ms(2);
    forget_backend(b);
    b->fd = rig.backend_sys->ops->accept(rig.backend_sys, rig.listen_fd, NULL);
    assert_true(b->fd >= 0);
    dm_buf_init(&b->in, 1 << 24);
    assert_int_equal(nghttp2_hd_inflate_new(&b->inflater), 0);
    b->window = 65535;
    memset(rig.windows, 0, sizeof(rig.windows));
}

static void send_bytes(const void *ptr, size_t len)
{
    const char *at = ptr;

    while (len > 0) {
        ssize_t n = rig.backend_sys->ops->send(rig.backend_sys, rig.backend.fd, at, len);
        if (n < 0)
            break; /* the other side has closed, or reads no more */
        at += n;
        len -= (size_t)n;
        pass_ms(2);
    }
}

static void put_u32(char *at, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        at[i] = (char)(v >> (24 - 8 * i));
}

static void add_frame(struct dm_buf *out, unsigned type, unsigned flags, uint32_t id, const void *ptr, size_t len)
{
    char head[9];

    put_u32(head, (uint32_t)len << 8);
    head[3] = (char)type;
    head[4] = (char)flags;
    put_u32(head + 5, id);
    dm_buf_add_n(out, head, 9);
    dm_buf_add_n(out, ptr, len);
}

static void send_frame(unsigned type, unsigned flags, uint32_t id, const void *ptr, size_t len)
{
    struct dm_buf out;

    dm_buf_init(&out, 1 << 22);
    add_frame(&out, type, flags, id, ptr, len);
    send_bytes(out.ptr, out.len);
    dm_buf_done(&out);
}

/* Lines "name: value\n" as literals of HPACK without index. */
static void add_block(struct dm_buf *out, const char *lines)
{
    while (*lines) {
        const char *colon = strstr(lines, ": "), *end = strchr(lines, '\n');
        size_t name = (size_t)(colon - lines), value = (size_t)(end - colon - 2);
        assert_true(name < 127 && value < 127);
        dm_buf_add_char(out, 0);
        dm_buf_add_char(out, (char)name);
        dm_buf_add_n(out, lines, name);
        dm_buf_add_char(out, (char)value);
        dm_buf_add_n(out, colon + 2, value);
        lines = end + 1;
    }
}

static void send_head(uint32_t id, unsigned flags, const char *lines)
{
    struct dm_buf block;

    dm_buf_init(&block, 1 << 16);
    add_block(&block, lines);
    send_frame(HEADERS, END_HEADERS | flags, id, block.ptr, block.len);
    dm_buf_done(&block);
}

static void send_data(uint32_t id, unsigned flags, const char *text)
{
    send_frame(DATA, flags, id, text, strlen(text));
}

static void send_u32(unsigned type, uint32_t id, uint32_t v)
{
    char payload[4];

    put_u32(payload, v);
    send_frame(type, 0, id, payload, 4);
}

static void send_setting(unsigned which, uint32_t v)
{
    char payload[6] = {0, (char)which};

    put_u32(payload + 2, v);
    send_frame(SETTINGS, 0, 0, payload, 6);
}

static void send_goaway(uint32_t last, uint32_t code)
{
    char payload[8];

    put_u32(payload, last);
    put_u32(payload + 4, code);
    send_frame(GOAWAY, 0, 0, payload, 8);
}

static void log_got(const char *fmt, ...) DM_PRINTF(1, 2);
static void log_got(const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    if (rig.got.len > 0)
        dm_buf_add_char(&rig.got, ' ');
    dm_buf_vprintf(&rig.got, fmt, args);
    va_end(args);
}

static void inflate(const uint8_t *ptr, size_t len)
{
    int flags = 0;

    dm_buf_reset(&rig.head);
    while (!(flags & NGHTTP2_HD_INFLATE_FINAL)) {
        nghttp2_nv nv;
        ssize_t n = nghttp2_hd_inflate_hd2(rig.backend.inflater, &nv, &flags, ptr, len, 1);
        assert_true(n >= 0);
        ptr += n;
        len -= (size_t)n;
        if (flags & NGHTTP2_HD_INFLATE_EMIT)
            dm_buf_printf(&rig.head, "%.*s: %.*s\n", (int)nv.namelen, (char *)nv.name, (int)nv.valuelen,
                          (char *)nv.value);
    }
    nghttp2_hd_inflate_end_headers(rig.backend.inflater);
}

static uint32_t u32_at(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static void take_frame(unsigned type, unsigned flags, uint32_t id, const uint8_t *ptr, size_t len)
{
    switch (type) {
    case DATA:
        log_got("D%u:%zu%s", id, len, flags & END ? "+" : "");
        dm_buf_add_n(&rig.uploaded, ptr, len);
        break;
    case HEADERS:
        assert_true(flags & END_HEADERS);
        log_got("H%u%s", id, flags & END ? "+" : "");
        inflate(ptr, len);
        break;
    case RST_STREAM: log_got("R%u:%u", id, u32_at(ptr)); break;
    case SETTINGS: log_got(flags & ACK ? "SA" : "S"); break;
    case PING: log_got(flags & ACK ? "PA" : "P"); break;
    case GOAWAY: log_got("G%u", u32_at(ptr + 4)); break;
    case WINDOW_UPDATE:
        assert_true(id < DM_COUNT(rig.windows));
        rig.windows[id] += u32_at(ptr);
        break;
    default: fail_msg("frame of type %u", type);
    }
}

static size_t take_preface(struct backend *b)
{
    if (b->has_preface || b->in.len < 24)
        return 0;
    assert_memory_equal(b->in.ptr, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 24);
    b->has_preface = true;
    log_got("PRI");
    return 24;
}

/* Everything that came. */
static void receive(void)
{
    struct backend *b = &rig.backend;
    char buf[10000];
    size_t at = 0;
    ssize_t n;

    if (b->fd < 0)
        return;
    while ((n = rig.backend_sys->ops->recv(rig.backend_sys, b->fd, buf, sizeof(buf))) > 0) {
        dm_buf_add_n(&b->in, buf, (size_t)n);
        pass_ms(1);
    }
    at = take_preface(b);
    while (b->has_preface && b->in.len - at >= 9) {
        const uint8_t *p = (const uint8_t *)b->in.ptr + at;
        size_t len = u32_at(p) >> 8;
        if (b->in.len - at < 9 + len)
            break;
        take_frame(p[3], p[4], u32_at(p + 5), p + 9, len);
        at += 9 + len;
    }
    dm_buf_consume(&b->in, at);
    if (n == 0)
        log_got("FIN");
}

static void check_text(struct dm_buf *buf, const char *text, const char *file, int line)
{
    if (buf->len != strlen(text) || (buf->len > 0 && memcmp(buf->ptr, text, buf->len) != 0)) {
        print_error("found    \"%.*s\"\nexpected \"%s\"\n", (int)buf->len, buf->len ? buf->ptr : "", text);
        _fail(file, line);
    }
    dm_buf_reset(buf);
}

#define check_heard(text) check_text(&rig.heard, (text), __FILE__, __LINE__)
#define check_got(text) (pass_ms(2), receive(), check_text(&rig.got, (text), __FILE__, __LINE__))
#define check_head(text) check_text(&rig.head, (text), __FILE__, __LINE__)

static void connect_peer(void)
{
    struct dm_http_peer_settings settings = {rig.addr, 1000, true};

    let_go();
    rig.peer = dm_http_client_connect(rig.client, &settings, &rig);
    assert_true(dm_http_peer_is_new(rig.peer));
}

/* A connection with settings both ways and the first call on it. */
static void begin(const struct dm_http_message *m)
{
    connect_peer();
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

#define OK ":status: 200\n"
#define OK2 ":status: 200\ncontent-length: 2\n"

static void answer_ok(uint32_t id)
{
    send_head(id, 0, OK2);
    send_data(id, END, "ok");
}

#define TEST(name)                                                                                                     \
    {                                                                                                                  \
#name, name, setup, teardown, NULL                                                                             \
    }

#endif
