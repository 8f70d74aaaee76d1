/* HTTP/2 to a backend that speaks frames by hand, in simulated time. What the owner hears is one word each, as in test_client.c,
 * with "1:" before those of the second call and so on: "I103", "R200", "B5", "E" ("T" with trailers), "W", "D", "A:why"; of the
 * connection "X" when it takes no more calls. What the backend gets: "PRI", "S" SETTINGS, "SA" its acknowledgement, "H1" HEADERS
 * of stream 1, "D1:5", "R1:8" RST_STREAM with code 8, "P", "PA", "G0" GOAWAY; "+" behind what ends a stream. */
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
static const struct dm_http_call_handler call_handler = {on_inform,   on_response, on_body, on_response_end,
                                                         on_writable, on_done,     on_abort};

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

/* --- requests and responses --------------------------------------------------------------------------------------- */

static void one_after_the_other(void **state)
{
    connect_peer();
    send_call(0, &get);
    accept_backend();
    check_got("PRI S H1+");
    check_head(":method: GET\n:scheme: http\n:authority: b\n:path: /\nx-y: z\nte: trailers\n");
    assert_int_equal(rig.windows[0], (1 << 20) - 65535);
    send_frame(SETTINGS, 0, 0, NULL, 0);
    check_got("SA");
    send_frame(PING, 0, 0, "12345678", 8);
    check_got("PA");
    for (uint32_t id = 1; id < 7; id += 2) {
        answer_ok(id);
        check_heard("R200 B2 E D");
        assert_int_equal(rig.was_reused, id > 1);
        assert_in_range(rig.bytes_in, 9 + 9 + 2 + 20, 100);
        assert_in_range(rig.bytes_out, 9 + 4, 100);
        assert_true(dm_http_peer_has_room(rig.peer));
        send_call(0, &get);
        pass_ms(2);
    }
    check_got("H3+ H5+ H7+");
    assert_int_equal(rig.n_room, 1 + 3); /* with SETTINGS, and after each */
}

static void many_at_a_time(void **state)
{
    begin(&get);
    for (size_t i = 1; i < 100; i++)
        send_call(i, &get);
    assert_false(dm_http_peer_has_room(rig.peer));
    assert_null(dm_http_peer_open(rig.peer, &timeouts));
    pass_ms(2);
    receive();
    for (uint32_t id = 5; id >= 1 && id <= 5; id -= 2)
        send_head(id, 0, OK);
    send_data(3, END, "abc");
    send_data(1, 0, "a");
    send_data(5, END, "ab");
    send_data(1, END, "");
    check_heard("2:R200 1:R200 R200 1:B3 1:E 1:D B1 2:B2 2:E 2:D E D");
    assert_true(dm_http_peer_has_room(rig.peer));
    for (uint32_t id = 7; id < 200; id += 2)
        send_head(id, END, OK);
    for (size_t i = 0; i < 100; i++)
        assert_null(rig.calls[i]);
}

static void informs_and_trailers(void **state)
{
    struct dm_http_message m = post;

    begin(&m);
    assert_int_equal(dm_http_call_write(rig.calls[0], "abc", 3), 3);
    dm_http_call_end(rig.calls[0], DM_STR("X-Sum: 1\r\nTransfer-Encoding: x\r\n"));
    check_got("D1:3 H1+");
    check_head("x-sum: 1\n");
    send_head(1, 0, ":status: 100\n");
    send_head(1, 0, ":status: 103\nlink: </x>\n");
    send_head(1, 0, OK "grpc-encoding: identity\n");
    send_data(1, 0, "hello");
    send_head(1, END, "grpc-status: 0\n");
    check_heard("I100 I103 R200 B5 T D");
    m.framing = DM_HTTP_FRAMING_LENGTH;
    m.content_length = 3;
    send_call(0, &m);
    assert_int_equal(dm_http_call_write(rig.calls[0], "abcdef", 6), 6); /* the rest is dropped */
    dm_http_call_end(rig.calls[0], DM_STR_NULL);
    check_got("H3 D3:3 D3:0+");
    check_head(":method: POST\n:scheme: http\n:authority: b\n:path: /p\nte: trailers\ncontent-length: 3\n");
    send_head(3, END, ":status: 204\n");
    check_heard("R204 E D");
}

static void a_request_cut_short_is_seen(void **state)
{
    struct dm_http_message m = post;

    m.framing = DM_HTTP_FRAMING_LENGTH;
    m.content_length = 9;
    begin(&m);
    dm_http_call_write(rig.calls[0], "abc", 3);
    dm_http_call_end(rig.calls[0], DM_STR_NULL);
    check_heard("");
    check_got("D1:3 R1:8");
    check_heard("A:malformed");
    assert_non_null(rig.peer);
}

static void a_head_that_is_too_large_is_not_sent(void **state)
{
    struct dm_http_message m = get;
    char *lines = dm_calloc(1, 200001);

    memset(lines, 'a', 200000);
    lines[1] = ':';
    m.fields = dm_str_n(lines, 200000);
    begin(&get);
    send_call(1, &m);
    dm_free(lines);
    check_got("");
    check_heard("1:A:malformed");
    answer_ok(1);
    check_heard("R200 B2 E D");
}

/* --- flow control ------------------------------------------------------------------------------------------------- */

static void large_requests_are_bounded(void **state)
{
    rig.left = 300000;
    begin(&post);
    stream_request();
    pass_ms(10);
    receive();
    assert_int_equal(rig.uploaded.len, 65535);  /* the initial window */
    assert_int_equal(300000 - rig.left, 65535); /* and nothing more was taken */
    send_u32(WINDOW_UPDATE, 1, 1000000);
    pass_ms(10);
    receive();
    assert_int_equal(rig.uploaded.len, 65535); /* the connection's is still shut */
    dm_buf_reset(&rig.heard);
    send_u32(WINDOW_UPDATE, 0, 1000);
    pass_ms(10);
    receive();
    assert_int_equal(rig.uploaded.len, 66535);
    check_heard("W");
    send_u32(WINDOW_UPDATE, 0, 1000000);
    for (int i = 0; i < 100 && rig.uploaded.len < 300000; i++) {
        pass_ms(10);
        receive();
    }
    assert_int_equal(rig.uploaded.len, 300000);
    pass_ms(10);
    dm_buf_reset(&rig.got);
    receive();
    dm_buf_reset(&rig.got);
    dm_buf_reset(&rig.heard);
    answer_ok(1);
    check_heard("R200 B2 E D");
}

/* The socket is the bound when windows are wide open. */
static void a_slow_socket_bounds_requests(void **state)
{
    rig.left = 500000;
    begin(&post);
    send_setting(NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, 10000000);
    send_u32(WINDOW_UPDATE, 0, 10000000);
    stream_request();
    pass_ms(100);
    assert_in_range(500000 - rig.left, 50000, 60000 + 40000 + 16384);
    for (int i = 0; i < 1000 && rig.uploaded.len < 500000; i++) {
        pass_ms(10);
        receive();
    }
    assert_int_equal(rig.uploaded.len, 500000);
    dm_buf_reset(&rig.heard);
    answer_ok(1);
    check_heard("R200 B2 E D");
}

/* One call that rests holds up no other, and not more of it is kept than its window. */
static void what_is_not_taken_comes_again(void **state)
{
    static char block[16000];
    size_t sent = 0;

    memset(block, 'x', sizeof(block));
    begin(&get);
    send_call(1, &get);
    rig.takes = 3;
    send_head(1, 0, OK);
    send_data(1, 0, "01234567");
    send_head(3, 0, OK2);
    check_heard("R200 B3 1:R200");
    rig.mutes_body = true;
    for (sent = 8; sent + sizeof(block) <= 65535; sent += sizeof(block))
        send_frame(DATA, 0, 1, block, sizeof(block));
    receive();
    assert_int_equal(rig.windows[1], 0);
    assert_true(rig.windows[0] >= sent / 2); /* the connection's opens */
    rig.takes = SIZE_MAX;
    send_data(3, END, "ok");
    check_heard("1:E 1:D");
    assert_int_equal(rig.body.len, 5);
    pass_ms(1000000); /* nobody waits for the backend */
    dm_http_call_resume(rig.calls[0]);
    check_heard("");
    pass_ms(2);
    receive();
    assert_int_equal(rig.body.len, 2 + sent);
    assert_in_range(rig.windows[1], sent / 2, sent);
    /* with trailers that wait for the body */
    rig.takes = 0;
    send_data(1, 0, "tail");
    send_head(1, END, "x: y\n");
    check_heard("");
    rig.takes = 3;
    for (int i = 0; i < 2; i++) {
        dm_http_call_resume(rig.calls[0]);
        pass_ms(2);
    }
    check_heard("T D");
    assert_memory_equal(rig.body.ptr + rig.body.len - 4, "tail", 4);
}

/* What has come as a whole is delivered though the connection has gone. */
static void a_whole_response_outlives_its_connection(void **state)
{
    begin(&get);
    send_call(1, &get);
    rig.takes = 1;
    answer_ok(1);
    check_heard("R200 B1");
    forget_backend(&rig.backend);
    pass_ms(2);
    check_heard("X 1:A:peer_reset");
    dm_http_call_resume(rig.calls[0]);
    pass_ms(2);
    check_heard("B1 E D");
}

/* --- messages that are none --------------------------------------------------------------------------------------- */

static void malformed_responses(void **state)
{
    static const struct {
        const char *method, *head, *data, *trailers, *heard;
        bool ends;
    } cases[] = {
        {"GET", "content-length: 0\n", NULL, NULL, "A:malformed", false},
        {"GET", ":status: 20\n", NULL, NULL, "A:malformed", false},
        {"GET", ":status: 600\n", NULL, NULL, "A:malformed", false},
        {"GET", ":status: 101\n", NULL, NULL, "A:malformed", false},
        {"GET", ":status: 200\n:status: 200\n", NULL, NULL, "A:malformed", false},
        {"GET", ":status: 200\n:path: /\n", NULL, NULL, "A:malformed", false},
        {"GET", "x: y\n:status: 200\n", NULL, NULL, "A:malformed", false},
        {"GET", OK "X: y\n", NULL, NULL, "A:malformed", false},
        {"GET", OK "x y: z\n", NULL, NULL, "A:malformed", false},
        {"GET", OK "x: y\r\n", NULL, NULL, "A:malformed", false},
        {"GET", OK "x:  y\n", NULL, NULL, "A:malformed", false},
        {"GET", OK "connection: close\n", NULL, NULL, "A:malformed", false},
        {"GET", OK "transfer-encoding: chunked\n", NULL, NULL, "A:malformed", false},
        {"GET", OK "upgrade: x\n", NULL, NULL, "A:malformed", false},
        {"GET", OK "content-length: 1\ncontent-length: 1\n", NULL, NULL, "A:malformed", false},
        {"GET", OK "content-length: -1\n", NULL, NULL, "A:malformed", false},
        {"GET", OK2, "okk", NULL, "R200 A:malformed", false},
        {"GET", OK2, "o", NULL, "R200 B1 A:malformed", true},
        {"GET", OK2, NULL, NULL, "A:malformed", true},
        {"GET", ":status: 103\n", NULL, NULL, "A:malformed", true},
        {"GET", ":status: 103\n", "a", NULL, "I103 A:malformed", false},
        {"GET", ":status: 204\n", "a", NULL, "R204 A:malformed", false},
        {"GET", ":status: 304\ncontent-length: 5\n", NULL, NULL, "R304 E D", true},
        {"HEAD", OK "content-length: 5\n", NULL, NULL, "R200 E D", true},
        {"HEAD", OK "content-length: 5\n", "hello", NULL, "R200 A:malformed", false},
        {"GET", OK, "a", ":status: 200\n", "R200 B1 A:malformed", true},
        {"GET", OK, "a", "content-length: 3\n", "R200 B1 A:malformed", true},
        {"GET", OK, "a", "x: y\n", "R200 B1 A:malformed", false},
        {"GET", NULL, "a", NULL, "X A:malformed", false},
        {"GET", NULL, "", NULL, "X A:malformed", true},
    };

    for (size_t i = 0; i < DM_COUNT(cases); i++) {
        struct dm_http_message m = get;
        bool is_last = !cases[i].data && !cases[i].trailers;
        m.method = dm_str_of(cases[i].method);
        begin(&m);
        if (cases[i].head)
            send_head(1, is_last && cases[i].ends ? END : 0, cases[i].head);
        if (cases[i].data)
            send_data(1, !cases[i].trailers && cases[i].ends ? END : 0, cases[i].data);
        if (cases[i].trailers)
            send_head(1, cases[i].ends ? END : 0, cases[i].trailers);
        pass_ms(2);
        check_heard(cases[i].heard);
        if (!cases[i].head)
            continue;
        assert_non_null(rig.peer); /* it was that stream's fault only */
        receive();
        if (strstr(cases[i].heard, "malformed"))
            assert_non_null(strstr((dm_buf_add_char(&rig.got, 0), rig.got.ptr), "R1:1"));
        dm_buf_reset(&rig.got);
        send_call(1, &get);
        answer_ok(3);
        check_heard("1:R200 1:B2 1:E 1:D");
    }
    assert_true(dm_http_client_counters(rig.client)->malformed >= 20);
}

static void resets(void **state)
{
    static const struct {
        uint32_t code;
        const char *heard;
    } cases[] = {{NGHTTP2_NO_ERROR, "A:peer_closed"},       {NGHTTP2_CANCEL, "A:cancelled"},
                 {NGHTTP2_INTERNAL_ERROR, "A:cancelled"},   {NGHTTP2_REFUSED_STREAM, "A:refused"},
                 {NGHTTP2_PROTOCOL_ERROR, "A:malformed"},   {NGHTTP2_ENHANCE_YOUR_CALM, "A:cancelled"},
                 {NGHTTP2_HTTP_1_1_REQUIRED, "A:cancelled"}};

    for (size_t i = 0; i < DM_COUNT(cases); i++)
        for (int is_late = 0; is_late < 2; is_late++) {
            begin(&get);
            if (is_late)
                send_head(1, 0, OK);
            send_u32(RST_STREAM, 1, cases[i].code);
            if (is_late) {
                assert_memory_equal(rig.heard.ptr, "R200 ", 5);
                dm_buf_consume(&rig.heard, 5);
            }
            check_heard(cases[i].heard);
            assert_int_equal(rig.had_response, is_late);
            assert_non_null(rig.peer);
        }
    assert_int_equal(dm_http_client_counters(rig.client)->refused, 2);
}

static void an_early_response_ends_the_request(void **state)
{
    begin(&post);
    dm_http_call_write(rig.calls[0], "abc", 3);
    answer_ok(1);
    check_heard("R200 B2 E D");
    check_got("D1:3 R1:8");
    begin(&post);
    send_head(1, END, OK);
    send_u32(RST_STREAM, 1, NGHTTP2_NO_ERROR);
    check_heard("R200 E D");
    send_call(0, &get);
    answer_ok(3);
    check_heard("R200 B2 E D");
}

/* --- whose connection --------------------------------------------------------------------------------------------- */

static void calls_may_be_dropped(void **state)
{
    begin(&get);
    cancel_call(0);
    check_got("R1:8");
    answer_ok(1); /* was on its way */
    check_heard("");
    rig.cancels_at_response = true;
    send_call(0, &get);
    answer_ok(3);
    check_heard("R200");
    check_got("H3+ R3:8");
    rig.cancels_at_response = false;
    rig.cancels_at_body = true;
    send_call(0, &get);
    answer_ok(5);
    check_heard("R200 B2");
    check_got("H5+ R5:8");
    rig.cancels_at_body = false;
    rig.sends_at_end = true;
    send_call(0, &get);
    pass_ms(2);
    answer_ok(7);
    answer_ok(9);
    check_heard("R200 B2 E D 1:R200 1:B2 1:E 1:D");
    open_call(0); /* and not sent */
    cancel_call(0);
    assert_true(dm_http_peer_has_room(rig.peer));
}

static void the_backends_limit_holds(void **state)
{
    begin(&get);
    send_setting(NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, 2);
    assert_true(dm_http_peer_has_room(rig.peer));
    send_call(1, &get);
    assert_false(dm_http_peer_has_room(rig.peer));
    rig.n_room = 0;
    answer_ok(1);
    assert_int_equal(rig.n_room, 1);
    check_heard("R200 B2 E D");
    /* what it refuses though it said it would take it is its limit for a while */
    send_setting(NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, 100);
    for (size_t i = 2; i < 8; i++)
        send_call(i, &get);
    pass_ms(2);
    for (uint32_t id = 9; id <= 15; id += 2)
        send_u32(RST_STREAM, id, NGHTTP2_REFUSED_STREAM);
    check_heard("4:A:refused 5:A:refused 6:A:refused 7:A:refused");
    assert_false(rig.had_response);
    assert_false(dm_http_peer_has_room(rig.peer));
    for (uint32_t id = 3; id <= 7; id += 2)
        answer_ok(id);
    assert_true(dm_http_peer_has_room(rig.peer));
}

static void going_away(void **state)
{
    begin(&get);
    send_call(1, &get);
    send_call(2, &post);
    pass_ms(2);
    send_goaway(INT32_MAX, NGHTTP2_NO_ERROR); /* a notice */
    check_heard("X");
    send_goaway(3, NGHTTP2_NO_ERROR);
    check_heard("2:A:refused");
    assert_false(rig.had_response);
    receive();
    dm_buf_reset(&rig.got);
    answer_ok(1);
    answer_ok(3);
    check_heard("R200 B2 E D 1:R200 1:B2 1:E 1:D");
    check_got("G0 FIN");
    assert_int_equal(dm_http_client_counters(rig.client)->going, 1);
}

static void left_with_calls(void **state)
{
    begin(&get);
    dm_http_peer_close(rig.peer);
    assert_false(dm_http_peer_has_room(rig.peer));
    rig.peer = NULL;
    answer_ok(1);
    check_heard("R200 B2 E D");
    check_got("G0 FIN");
    begin(&get);
    answer_ok(1);
    dm_http_peer_close(rig.peer);
    rig.peer = NULL;
    check_got("G0 FIN");
    connect_peer();
    dm_http_peer_close(rig.peer);
    rig.peer = NULL;
}

static void kept_connections_end(void **state)
{
    begin(&get);
    answer_ok(1);
    pass_ms(19000);
    check_heard("R200 B2 E D");
    pass_ms(1100);
    check_heard("X");
    check_got("G0 FIN");
    begin(&get);
    answer_ok(1);
    forget_backend(&rig.backend);
    pass_ms(2);
    check_heard("R200 B2 E D X");
}

static void broken_connections(void **state)
{
    begin(&get);
    answer_ok(1);
    send_call(0, &get);
    pass_ms(2);
    receive();
    forget_backend(&rig.backend);
    pass_ms(2);
    check_heard("R200 B2 E D X A:peer_closed");
    assert_true(rig.was_reused && !rig.had_response);
    /* it never stood */
    rig.backend_sys->ops->close(rig.backend_sys, rig.listen_fd);
    connect_peer();
    send_call(0, &get);
    send_call(1, &upgrade);
    pass_ms(10);
    check_heard("X 1:A:connect_failed A:connect_failed");
    dm_world_fail_nth(rig.sys, 1, ENETUNREACH);
    connect_peer();
    send_call(0, &get);
    send_call(1, &post);
    dm_http_call_write(rig.calls[1], "x", 1);
    check_heard("");
    pass_ms(1);
    check_heard("X 1:A:connect_failed A:connect_failed");
}

static void no_http2_at_all(void **state)
{
    static const char *const answers[] = {"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n", "\0\0\0\0\0\0\0\0\0",
                                          "SSH-2.0-OpenSSH_9.2\r\n"};

    for (size_t i = 0; i < DM_COUNT(answers); i++) {
        connect_peer();
        send_call(0, &get);
        accept_backend();
        send_bytes(answers[i], i == 1 ? 9 : strlen(answers[i]));
        check_heard("X A:malformed");
        assert_false(rig.had_response);
    }
}

/* --- time --------------------------------------------------------------------------------------------------------- */

static void a_response_takes_too_long(void **state)
{
    begin(&get);
    answer_ok(1);
    check_heard("R200 B2 E D");
    send_call(0, &get);
    pass_ms(2000);
    send_call(1, &get);
    pass_ms(2900);
    check_heard("");
    pass_ms(200);
    check_heard("A:response_timeout");
    check_got("H3+ H5+ P R3:8"); /* is anybody there? */
    assert_false(dm_http_peer_has_room(rig.peer));
    send_frame(PING, ACK, 0, "\0\0\0\0\0\0\0\0", 8);
    assert_true(dm_http_peer_has_room(rig.peer));
    answer_ok(5);
    check_heard("1:R200 1:B2 1:E 1:D");
    send_call(0, &get);
    pass_ms(3000);
    send_call(1, &get);
    pass_ms(2100);
    check_heard("A:response_timeout");
    pass_ms(2900);
    check_heard("1:A:response_timeout");
    pass_ms(2100);
    check_heard("X");
    assert_int_equal(dm_http_client_counters(rig.client)->silent, 1);
}

static void bodies_take_too_long(void **state)
{
    begin(&get);
    send_head(1, 0, OK);
    for (int i = 0; i < 5; i++) {
        pass_ms(7000);
        send_data(1, 0, "b");
    }
    check_heard("R200 B1 B1 B1 B1 B1");
    pass_ms(7800);
    check_heard("");
    pass_ms(2300);
    check_heard("A:idle_timeout");
    check_got("R1:8");
    /* the owner that rests is not blamed, the backend that takes nothing is */
    begin(&post);
    pass_ms(100000);
    check_heard("");
    rig.left = 100000;
    stream_request();
    pass_ms(7000);
    check_heard("");
    pass_ms(5000);
    check_heard("A:idle_timeout");
    assert_non_null(rig.peer);
}

static void connecting_takes_too_long(void **state)
{
    dm_world_cut(rig.world, rig.sys, rig.backend_sys, true);
    connect_peer();
    send_call(0, &get);
    send_call(1, &get);
    pass_ms(900);
    check_heard("");
    pass_ms(200);
    check_heard("X 1:A:connect_timeout A:connect_timeout");
}

/* --- bad backends ------------------------------------------------------------------------------------------------- */

static void send_times(size_t n, unsigned type, unsigned flags, uint32_t id, const void *ptr, size_t len)
{
    struct dm_buf out;

    dm_buf_init(&out, 1 << 24);
    for (size_t i = 0; i < n; i++)
        add_frame(&out, type, flags, id, ptr, len);
    for (size_t at = 0; at < out.len && rig.calls[0]; at += 4000)
        send_bytes(out.ptr + at, DM_MIN(out.len - at, (size_t)4000));
    dm_buf_done(&out);
}

static void floods(void **state)
{
    static const struct {
        unsigned type, flags;
        uint32_t id;
        size_t len;
    } cases[] = {{PING, 0, 0, 8}, {PING, ACK, 0, 8},        {SETTINGS, 0, 0, 0},
                 {DATA, 0, 1, 0}, {PRIORITY, 0, 5, 5},      {WINDOW_UPDATE, 0, 0, 4},
                 {99, 0, 0, 4},   {WINDOW_UPDATE, 0, 1, 4}, {RST_STREAM, 0, 3, 4}};
    static const char payload[8] = {0, 0, 0, 1};

    for (size_t i = 0; i < DM_COUNT(cases); i++) {
        uint64_t before = dm_http_client_counters(rig.client)->floods;
        begin(&get);
        send_head(1, 0, OK);
        if (cases[i].id == 3) {
            send_call(1, &get);
            cancel_call(1);
            pass_ms(2);
        }
        send_times(20000, cases[i].type, cases[i].flags, cases[i].id, payload, cases[i].len);
        pass_ms(10);
        check_heard("R200 X A:flood");
        receive();
        dm_buf_add_char(&rig.got, 0);
        assert_non_null(strstr(rig.got.ptr, "G11")); /* ENHANCE_YOUR_CALM */
        dm_buf_reset(&rig.got);
        assert_int_equal(dm_http_client_counters(rig.client)->floods, before + 1);
    }
}

/* What a busy backend does beside its answers is no flood. */
static void an_honest_backend_is_no_flood(void **state)
{
    begin(&get);
    send_head(1, 0, OK);
    rig.mutes_body = true;
    for (int i = 0; i < 5000; i++) {
        send_frame(PING, 0, 0, "12345678", 8);
        send_data(1, 0, "some bytes");
        if (i % 100 == 0) {
            receive();
            dm_buf_reset(&rig.got);
        }
    }
    check_heard("R200");
    send_data(1, END, "");
    check_heard("E D");
}

static void header_bombs(void **state)
{
    static char value[4000];
    struct dm_buf block;

    memset(value, 'x', sizeof(value));
    dm_buf_init(&block, 1 << 20);
    begin(&get);
    /* one field of 4000 bytes into the table, and then a reference a byte */
    add_block(&block, ":status: 200\n");
    dm_buf_add_n(&block, "\x40\x01z\x7f\xa1\x1e", 6);
    dm_buf_add_n(&block, value, sizeof(value));
    for (int i = 0; i < 10000; i++)
        dm_buf_add_char(&block, (char)0xbe);
    send_frame(HEADERS, END_HEADERS, 1, block.ptr, block.len);
    check_heard("X A:flood");
    assert_int_equal(dm_http_client_counters(rig.client)->header_bombs, 1);
    /* too many CONTINUATION frames */
    begin(&get);
    dm_buf_reset(&block);
    add_block(&block, ":status: 200\n");
    send_frame(HEADERS, 0, 1, block.ptr, block.len);
    send_times(2000, CONTINUATION, 0, 1, NULL, 0);
    check_heard("X A:flood");
    /* a head above the limit is one call's fault */
    begin(&get);
    dm_buf_reset(&block);
    add_block(&block, ":status: 200\n");
    for (int i = 0; i < 200; i++)
        add_block(&block, "x: y\n");
    send_frame(HEADERS, END_HEADERS, 1, block.ptr, block.len);
    check_heard("A:malformed");
    assert_non_null(rig.peer);
    dm_buf_done(&block);
}

static void against_the_protocol(void **state)
{
    static char block[20000], value[4];
    static const struct {
        unsigned type, flags;
        uint32_t id, value;
        size_t len; /* of block; 0: value */
        const char *heard;
    } cases[] = {
        {WINDOW_UPDATE, 0, 0, 0, 0, "X A:malformed"},
        {WINDOW_UPDATE, 0, 1, 0, 0, "X A:malformed"},
        {WINDOW_UPDATE, 0, 0, INT32_MAX, 0, "X A:malformed"},
        {WINDOW_UPDATE, 0, 1, INT32_MAX, 0, "A:malformed"},
        {WINDOW_UPDATE, 0, 2, 1, 0, "X A:malformed"},
        {RST_STREAM, 0, 0, 1, 0, "X A:malformed"},
        {RST_STREAM, 0, 9, 1, 0, "X A:malformed"},
        {HEADERS, END_HEADERS, 2, 0, 1, "X A:malformed"},
        {HEADERS, END_HEADERS, 9, 0, 1, "X A:malformed"},
        {DATA, 0, 0, 0, 1, "X A:malformed"},
        {DATA, 0, 1, 0, 16385, "X A:malformed"},
        {PUSH_PROMISE, END_HEADERS, 1, 2, 0, "X A:malformed"},
        {CONTINUATION, END_HEADERS, 1, 0, 1, "X A:malformed"},
        {SETTINGS, 0, 0, 0, 5, "X A:malformed"},
        {PING, 0, 1, 0, 8, "X A:malformed"},
        {PING, 0, 0, 0, 7, "X A:malformed"},
    };

    for (size_t i = 0; i < DM_COUNT(cases); i++) {
        begin(&get);
        if (cases[i].len > 0)
            send_frame(cases[i].type, cases[i].flags, cases[i].id, block, cases[i].len);
        else
            send_frame(cases[i].type, cases[i].flags, cases[i].id, (put_u32(value, cases[i].value), value), 4);
        pass_ms(2);
        check_heard(cases[i].heard);
    }
    begin(&get);
    send_setting(NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, UINT32_MAX);
    check_heard("X A:malformed");
    /* more than the window of a stream that rests */
    begin(&get);
    send_head(1, 0, OK);
    rig.takes = 0;
    for (int i = 0; i < 5; i++)
        send_frame(DATA, 0, 1, block, 16000);
    pass_ms(2);
    dm_buf_consume(&rig.heard, 8);
    assert_true(rig.heard.len > 0);
    assert_null(rig.calls[0]);
    dm_buf_reset(&rig.heard);
}

/* --- tunnels ------------------------------------------------------------------------------------------------------ */

static void begin_upgrade(void)
{
    connect_peer();
    send_call(0, &upgrade);
    accept_backend();
    check_got("PRI S"); /* waits for SETTINGS */
    send_setting(NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL, 1);
    check_got("SA H1");
    check_head(":method: CONNECT\n:scheme: http\n:authority: b\n:path: /w\n:protocol: websocket\nte: trailers\n");
}

static void tunnels(void **state)
{
    begin_upgrade();
    assert_int_equal(dm_http_call_write(rig.calls[0], "early", 5), 0);
    rig.left = 5;
    check_got("");
    send_head(1, 0, OK);
    check_heard("R101 W"); /* writes five, and ends its side */
    check_got("D1:5 D1:0+");
    send_data(1, 0, "more");
    send_data(1, END, "!");
    check_heard("B4 B1 E D");
    /* on a connection that stands already; the backend ends first */
    send_call(0, &upgrade);
    check_got("H3");
    send_head(3, 0, OK);
    send_data(3, END, "bye");
    check_heard("R101 B3 E");
    assert_int_equal(dm_http_call_write(rig.calls[0], "last", 4), 4);
    dm_http_call_end(rig.calls[0], DM_STR_NULL);
    check_heard("D");
    check_got("D3:4 D3:0+");
    assert_true(dm_http_peer_has_room(rig.peer));
    /* half-close before there is a tunnel */
    send_call(0, &upgrade);
    dm_http_call_end(rig.calls[0], DM_STR_NULL);
    check_got("H5");
    send_head(5, 0, OK);
    check_heard("R101");
    check_got("D5:0+");
    send_u32(RST_STREAM, 5, NGHTTP2_CANCEL);
    check_heard("A:cancelled");
    /* another answer */
    send_call(0, &upgrade);
    pass_ms(2);
    send_head(7, 0, ":status: 403\ncontent-length: 2\n");
    assert_int_equal(dm_http_call_write(rig.calls[0], "dropped", 7), 7);
    send_data(7, END, "no");
    check_heard("R403 B2 E D");
    check_got("H7 R7:8"); /* its side was open */
}

static void tunnels_are_timed(void **state)
{
    begin_upgrade();
    send_head(1, 0, OK);
    for (int i = 0; i < 3; i++) {
        pass_ms(39000);
        send_data(1, 0, "x");
    }
    check_heard("R101 B1 B1 B1");
    pass_ms(39000);
    check_heard("");
    pass_ms(11100);
    check_heard("A:idle_timeout");
    send_call(0, &upgrade);
    pass_ms(2);
    send_head(3, 0, OK);
    rig.mutes_body = true;
    for (int i = 0; i < 33; i++) {
        pass_ms(30000);
        send_data(3, 0, "x");
    }
    check_heard("R101");
    pass_ms(10000);
    check_heard("A:shutdown");
    send_call(0, &upgrade);
    pass_ms(5100);
    check_heard("A:response_timeout");
}

static void backends_that_know_no_tunnels(void **state)
{
    begin(&upgrade);
    pass_ms(2);
    check_heard("A:malformed");
    check_got("");
    send_call(0, &upgrade);
    check_heard("");
    pass_ms(2);
    check_heard("A:malformed");
    send_call(0, &get);
    answer_ok(1);
    check_heard("R200 B2 E D");
}

/* --- all at once -------------------------------------------------------------------------------------------------- */

/* Cut at any byte, between two connections that are in the middle of heads: what comes is the same. */
static void any_cut_is_the_same(void **state)
{
    struct dm_buf out, block;

    dm_buf_init(&out, 1 << 16);
    dm_buf_init(&block, 1 << 16);
    add_frame(&out, SETTINGS, 0, 0, NULL, 0);
    add_block(&block, ":status: 103\nlink: </a>\n");
    add_frame(&out, HEADERS, END_HEADERS, 1, block.ptr, block.len);
    dm_buf_reset(&block);
    add_block(&block, ":status: 200\nx-a: b\ncontent-length: 7\n");
    add_frame(&out, HEADERS, 0, 1, block.ptr, 20);
    add_frame(&out, CONTINUATION, END_HEADERS, 1, block.ptr + 20, block.len - 20);
    add_frame(&out, DATA, 0, 1, "hello, ", 7);
    dm_buf_reset(&block);
    add_block(&block, "x-t: 1\n");
    add_frame(&out, HEADERS, END | END_HEADERS, 1, block.ptr, block.len);
    rig.mutes_body = true;
    for (size_t step = 1; step < 60; step += step < 12 ? 1 : 7) {
        struct backend other;
        struct dm_http_peer *first;
        connect_peer();
        send_call(0, &get);
        accept_backend();
        first = rig.peer;
        other = rig.backend;
        rig.backend = (struct backend){.fd = -1};
        rig.peer = dm_http_client_connect(rig.client, &(struct dm_http_peer_settings){rig.addr, 1000, true}, &rig);
        send_call(1, &get);
        accept_backend();
        dm_http_peer_close(rig.peer);
        dm_http_peer_close(first);
        rig.peer = NULL;
        for (size_t at = 0; at < out.len; at += step) {
            int fd = rig.backend.fd;
            send_bytes(out.ptr + at, DM_MIN(step, out.len - at));
            rig.backend.fd = other.fd;
            send_bytes(out.ptr + at, DM_MIN(step, out.len - at));
            rig.backend.fd = fd;
        }
        pass_ms(2);
        assert_null(rig.calls[0]);
        assert_null(rig.calls[1]);
        assert_int_equal(rig.body.len, 14);
        dm_buf_reset(&rig.body);
        dm_buf_reset(&rig.heard);
        forget_backend(&other);
    }
    dm_buf_done(&out);
    dm_buf_done(&block);
}

static void any_system_call_may_fail(void **state)
{
    bool is_reached = true;
    uint64_t n = 1;

    for (; is_reached; n++) {
        size_t n_ends = 0;
        teardown(state);
        setup(state);
        dm_world_fail_nth(rig.sys, n, EIO);
        connect_peer();
        send_call(0, &get);
        send_call(1, &post);
        dm_http_call_write(rig.calls[1], "x", 1);
        dm_http_call_end(rig.calls[1], DM_STR_NULL);
        pass_ms(5);
        rig.backend.fd = rig.backend_sys->ops->accept(rig.backend_sys, rig.listen_fd, NULL);
        if (rig.backend.fd >= 0) {
            send_frame(SETTINGS, 0, 0, NULL, 0);
            answer_ok(1);
            answer_ok(3);
        }
        pass_ms(60000);
        is_reached = dm_world_fail_reached(rig.sys);
        for (size_t i = 0; i < rig.heard.len; i++)
            n_ends += rig.heard.ptr[i] == 'D' || rig.heard.ptr[i] == 'A';
        assert_int_equal(n_ends, 2);
        assert_null(rig.peer);
    }
    assert_true(n > 5);
}

/* The client waits for closed connections only. */
static void freed_with_connections_just_closed(void **state)
{
    begin(&get);
    cancel_call(0);
    dm_http_peer_close(rig.peer);
    begin(&post);
    answer_ok(1);
    send_goaway(1, 0);
    check_heard("R200 B2 E D X");
}

static void steady_state_allocates_nothing(void **state)
{
    uint64_t calls = 0;

    begin(&get);
    answer_ok(1);
    for (uint32_t i = 0; i < 200; i++) {
        if (i == 100)
            calls = dm_mem_calls();
        send_call(0, i % 2 ? &get : &post);
        if (i % 2 == 0) {
            dm_http_call_write(rig.calls[0], "abc", 3);
            dm_http_call_end(rig.calls[0], DM_STR_NULL);
        }
        rig.heard.len = rig.got.len = 0;
        receive();
        rig.takes = 1;
        send_head(3 + 2 * i, 0, OK2);
        send_data(3 + 2 * i, END, "ok");
        rig.takes = 2;
        dm_http_call_resume(rig.calls[0]);
        pass_ms(2);
        assert_null(rig.calls[0]);
    }
    (void)calls;
#if !DM_DEBUG_ALLOC
    /* the test's own: two buffers a frame */
    assert_true(dm_mem_calls() - calls <= 100 * 8);
#endif
}

#define TEST(name)                                                                                                     \
    {                                                                                                                  \
#name, name, setup, teardown, NULL                                                                             \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(one_after_the_other),
        TEST(many_at_a_time),
        TEST(informs_and_trailers),
        TEST(a_request_cut_short_is_seen),
        TEST(a_head_that_is_too_large_is_not_sent),
        TEST(large_requests_are_bounded),
        TEST(a_slow_socket_bounds_requests),
        TEST(what_is_not_taken_comes_again),
        TEST(a_whole_response_outlives_its_connection),
        TEST(malformed_responses),
        TEST(resets),
        TEST(an_early_response_ends_the_request),
        TEST(calls_may_be_dropped),
        TEST(the_backends_limit_holds),
        TEST(going_away),
        TEST(left_with_calls),
        TEST(kept_connections_end),
        TEST(broken_connections),
        TEST(no_http2_at_all),
        TEST(a_response_takes_too_long),
        TEST(bodies_take_too_long),
        TEST(connecting_takes_too_long),
        TEST(floods),
        TEST(an_honest_backend_is_no_flood),
        TEST(header_bombs),
        TEST(against_the_protocol),
        TEST(tunnels),
        TEST(tunnels_are_timed),
        TEST(backends_that_know_no_tunnels),
        TEST(any_cut_is_the_same),
        TEST(any_system_call_may_fail),
        TEST(freed_with_connections_just_closed),
        TEST(steady_state_allocates_nothing),
    };

    return cmocka_run_group_tests_name("http/2 client", tests, NULL, NULL);
}
