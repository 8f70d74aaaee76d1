/* A server with a scripted owner, and a client that sends and receives raw bytes by hand, on the simulated system or the
 * kernel. What the owner hears is one word each in `heard`: "R" request, "B5" five bytes of body, "E" request end, "W"
 * writable, "D" done, "A:why" abort, "F:fault" a request that is none, "T:why" the time of a tunnel is over. */
#ifndef DM_TEST_SERVER_RIG_H
#define DM_TEST_SERVER_RIG_H

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/sim.h"
#include "http/server.h"
#include "io/listener.h"

#define MS UINT64_C(1000000)

struct rig;

/* What the owner does; NULL: only takes note. */
struct script {
    void (*on_request)(struct rig *rig, struct dm_http_request *request, struct dm_http_head *head);
    size_t (*on_body)(struct rig *rig, struct dm_http_request *request, const char *ptr, size_t len);
    void (*on_request_end)(struct rig *rig, struct dm_http_request *request, const struct dm_http_head *trailers);
    void (*on_writable)(struct rig *rig, struct dm_http_request *request);
    void (*on_done)(struct rig *rig, struct dm_http_request *request);
    void (*on_abort)(struct rig *rig, struct dm_http_request *request);
    void (*on_tunnel_due)(struct rig *rig, struct dm_http_request *request);
    void (*on_request_due)(struct rig *rig, struct dm_http_request *request);
};

struct rig {
    struct dm_world *world; /* NULL: the kernel */
    struct dm_sys *sys;     /* of the server */
    struct dm_sys *client;
    struct dm_loop *loop;
    struct dm_listener listener;
    struct dm_http_server *server;
    struct dm_http_server_settings settings;
    struct script script;
    struct dm_http_request *request; /* of the latest request */
    struct dm_buf heard, got;        /* by the owner; by the client */
    struct dm_buf body;              /* of the requests */
    uint64_t left;                   /* of a response that the script streams */
    uint64_t bytes_in, bytes_out;
    unsigned timeouts[DM_HTTP_TIMEOUT_COUNT], n_refused; /* that the owner heard of; streams */
    int fd;
    bool is_ended; /* for the client: the server closed */
    bool is_reset;
    bool is_proxied; /* connections begin with a PROXY header */
};

static struct rig rig;

/* --- the owner ---------------------------------------------------------------------------------------------------- */

static void hear(const char *fmt, ...) DM_PRINTF(1, 2);
static void hear(const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    if (rig.heard.len > 0)
        dm_buf_add_char(&rig.heard, ' ');
    dm_buf_vprintf(&rig.heard, fmt, args);
    va_end(args);
}

static void rig_on_request(void *arg, struct dm_http_request *request, struct dm_http_head *head)
{
    assert_ptr_equal(arg, &rig);
    hear("R");
    rig.request = request;
    dm_http_request_set_user(request, &rig);
    if (rig.script.on_request)
        rig.script.on_request(&rig, request, head);
}

static size_t rig_on_body(void *user, struct dm_http_request *request, const char *ptr, size_t len)
{
    size_t taken = len;

    assert_ptr_equal(user, &rig);
    if (rig.script.on_body)
        taken = rig.script.on_body(&rig, request, ptr, len);
    hear("B%zu", taken);
    dm_buf_add_n(&rig.body, ptr, taken);
    return taken;
}

static void rig_on_request_end(void *user, struct dm_http_request *request, const struct dm_http_head *trailers)
{
    assert_ptr_equal(user, &rig);
    hear("E");
    if (rig.script.on_request_end)
        rig.script.on_request_end(&rig, request, trailers);
}

static void rig_on_writable(void *user, struct dm_http_request *request)
{
    assert_ptr_equal(user, &rig);
    if (rig.script.on_writable)
        rig.script.on_writable(&rig, request);
    else
        hear("W");
}

static void rig_on_done(void *user, struct dm_http_request *request)
{
    assert_ptr_equal(user, &rig);
    hear("D");
    rig.bytes_in = dm_http_request_bytes_in(request);
    rig.bytes_out = dm_http_request_bytes_out(request);
    rig.request = NULL;
    if (rig.script.on_done)
        rig.script.on_done(&rig, request);
}

static void rig_on_abort(void *user, struct dm_http_request *request, struct dm_http_end end)
{
    assert_ptr_equal(user, &rig);
    hear("A:%s", dm_http_abort_name(end.why));
    rig.bytes_out = dm_http_request_bytes_out(request);
    rig.request = NULL;
    if (rig.script.on_abort)
        rig.script.on_abort(&rig, request);
}

static void rig_on_tunnel_due(void *user, struct dm_http_request *request, enum dm_http_abort why)
{
    assert_ptr_equal(user, &rig);
    hear("T:%s", dm_http_abort_name(why));
    if (rig.script.on_tunnel_due)
        rig.script.on_tunnel_due(&rig, request);
}

static void rig_on_request_due(void *user, struct dm_http_request *request)
{
    assert_ptr_equal(user, &rig);
    hear("Q");
    if (rig.script.on_request_due)
        rig.script.on_request_due(&rig, request);
}

static void rig_on_fault(void *arg, struct dm_http_request *request, struct dm_http_end end,
                         struct dm_http_message *ret_message, struct dm_str *ret_body)
{
    hear("F:%s", end.fault ? dm_http_fault_name((enum dm_http_fault)end.fault) : dm_http_abort_name(end.why));
    *ret_body = DM_STR("bad");
}

static void rig_on_timeout(void *arg, struct dm_http_conn *conn, enum dm_http_timeout what)
{
    assert_ptr_equal(arg, &rig);
    rig.timeouts[what]++;
}

static void rig_on_stream_refused(void *arg, struct dm_http_conn *conn)
{
    assert_ptr_equal(arg, &rig);
    rig.n_refused++;
}

static const struct dm_http_handler rig_handler = {
    .on_request = rig_on_request,
    .on_body = rig_on_body,
    .on_request_end = rig_on_request_end,
    .on_writable = rig_on_writable,
    .on_done = rig_on_done,
    .on_abort = rig_on_abort,
    .on_fault = rig_on_fault,
    .on_timeout = rig_on_timeout,
    .on_stream_refused = rig_on_stream_refused,
    .on_tunnel_due = rig_on_tunnel_due,
    .on_request_due = rig_on_request_due,
};

/* --- the world ---------------------------------------------------------------------------------------------------- */

static void rig_turn(void *arg)
{
    dm_loop_turn(rig.loop, -1);
}

static void rig_on_accept(struct dm_listener *listener, int fd, const struct dm_addr *peer)
{
    if (rig.is_proxied)
        dm_http_server_accept_proxied(rig.server, fd, peer);
    else
        dm_http_server_accept(rig.server, fd, peer);
}

static void rig_connect(void)
{
    if (rig.fd >= 0)
        rig.client->ops->close(rig.client, rig.fd);
    rig.fd = rig.client->ops->connect(rig.client, &rig.listener.addr);
    assert_true(rig.fd >= 0);
    rig.is_ended = rig.is_reset = false;
    dm_buf_reset(&rig.got);
}

/* The server with rig.settings and rig.script, and one connected client. */
static void rig_start_on(struct dm_world *world, struct dm_sys *sys, struct dm_sys *client)
{
    struct dm_addr addr;

    rig.world = world;
    rig.sys = sys;
    rig.client = client;
    rig.loop = dm_loop_new(rig.sys);
    if (world)
        dm_world_on_turn(rig.sys, rig_turn, NULL);
    assert_int_equal(dm_addr_parse(world ? DM_STR("127.0.0.1:80") : DM_STR("127.0.0.1:0"), &addr, NULL), 0);
    assert_int_equal(dm_listener_open(&rig.listener, rig.loop, &addr, 16, false, rig_on_accept, NULL), 0);
    rig.server = dm_http_server_new(rig.loop, &rig.settings, &rig_handler, &rig);
    dm_buf_init(&rig.heard, 1 << 20);
    dm_buf_init(&rig.got, 64 << 20);
    dm_buf_init(&rig.body, 64 << 20);
    rig.fd = -1;
    rig_connect();
}

static void rig_start(struct dm_world *world)
{
    if (world)
        rig_start_on(world, dm_world_process(world), dm_world_process(world));
    else
        rig_start_on(NULL, dm_sys_real(), dm_sys_real());
}

static void rig_stop(void)
{
    if (rig.fd >= 0)
        rig.client->ops->close(rig.client, rig.fd);
    dm_listener_close(&rig.listener);
    dm_http_server_free(rig.server);
    dm_loop_free(rig.loop);
    dm_buf_done(&rig.heard);
    dm_buf_done(&rig.got);
    dm_buf_done(&rig.body);
    dm_world_free(rig.world);
}

/* Receives at most max bytes of what is there. */
static void rig_receive(size_t max)
{
    char buf[16384];
    ssize_t n = 1;

    while (max > 0 && n > 0 && !rig.is_ended) {
        n = rig.client->ops->recv(rig.client, rig.fd, buf, DM_MIN(max, sizeof(buf)));
        if (n > 0) {
            dm_buf_add_n(&rig.got, buf, (size_t)n);
            max -= (size_t)n;
        }
        rig.is_ended = n == 0 || (n < 0 && n != -EAGAIN && n != -ENOTCONN);
        rig.is_reset = n < 0 && rig.is_ended;
    }
}

/* One step of everything; false: nothing will happen by itself. */
static bool rig_step(void)
{
    if (!rig.world)
        return dm_loop_turn(rig.loop, 5) >= 0;
    return dm_world_turn(rig.world) != DM_WORLD_QUIET;
}

/* In virtual time, in steps of at most a thousandth; the client does not read. */
static inline void rig_pass_ms(uint64_t ms)
{
    uint64_t step = DM_MAX(ms / 1000, 1u);

    for (uint64_t passed = 0; passed < ms; passed += step) {
        dm_world_advance_ns(rig.world, step * MS);
        for (int i = 0; i < 4; i++)
            rig_turn(NULL);
    }
}

/* What was sent arrives, and what is in hand goes through. */
static void rig_settle(void)
{
    if (rig.world)
        rig_pass_ms(2);
    else
        for (int i = 0; i < 16; i++)
            dm_loop_turn(rig.loop, 0);
}

static void rig_send_n(const char *ptr, size_t len)
{
    while (len > 0) {
        ssize_t n = rig.client->ops->send(rig.client, rig.fd, ptr, len);
        if (n == -EAGAIN || n == -ENOTCONN) {
            assert_true(rig_step());
            continue;
        }
        assert_true(n > 0);
        ptr += n;
        len -= (size_t)n;
    }
}

static inline void rig_send(const char *text)
{
    rig_send_n(text, strlen(text));
}

/* Reads until as much came, or the server closed. */
static void rig_read(size_t len)
{
    for (rig_receive(SIZE_MAX); rig.got.len < len && !rig.is_ended; rig_receive(SIZE_MAX))
        assert_true(rig_step());
}

static void rig_read_all(void)
{
    rig_read(SIZE_MAX);
}

static void check_text(const struct dm_buf *buf, const char *text, const char *file, int line)
{
    if (buf->len == strlen(text) && (buf->len == 0 || memcmp(buf->ptr, text, buf->len) == 0))
        return;
    print_error("found    \"%.*s\"\nexpected \"%s\"\n", (int)DM_MIN(buf->len, (size_t)2000), buf->len ? buf->ptr : "",
                text);
    _fail(file, line);
}

#define check_got(text)                                                                                                \
    (rig_read(strlen(text)), check_text(&rig.got, (text), __FILE__, __LINE__), dm_buf_reset(&rig.got))
#define check_heard(text) (check_text(&rig.heard, (text), __FILE__, __LINE__), dm_buf_reset(&rig.heard))

static inline bool has_heard(const char *text)
{
    return rig.heard.len > 0 && memmem(rig.heard.ptr, rig.heard.len, text, strlen(text)) != NULL;
}

static inline bool has_got(const char *text)
{
    return rig.got.len > 0 && memmem(rig.got.ptr, rig.got.len, text, strlen(text)) != NULL;
}

/* The latest request was done. */
static inline void check_done(void)
{
    assert_true(rig.heard.len > 0 && rig.heard.ptr[rig.heard.len - 1] == 'D');
    dm_buf_reset(&rig.heard);
}

static inline void check_ended(void)
{
    rig_read_all();
    assert_int_equal(rig.got.len, 0);
    assert_false(rig.is_reset);
}

/* --- scripts ------------------------------------------------------------------------------------------------------ */

static inline void reply_hello(struct rig *r, struct dm_http_request *request)
{
    struct dm_http_message m = {.status = 200};

    dm_http_request_reply(request, &m, DM_STR("hello"));
}

#define HELLO "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
#define HELLO_CLOSE "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello"
#define GET "GET / HTTP/1.1\r\nHost: a\r\n\r\n"

static inline void hello_at_once(struct rig *r, struct dm_http_request *request, struct dm_http_head *head)
{
    reply_hello(r, request);
}

static inline void hello_at_end(struct rig *r, struct dm_http_request *request, const struct dm_http_head *trailers)
{
    reply_hello(r, request);
}

/* Streams rig.left bytes 'x'. */
static inline void stream_more(struct rig *r, struct dm_http_request *request)
{
    static char block[30000];

    memset(block, 'x', sizeof(block));
    while (r->left > 0) {
        size_t n = DM_MIN(r->left, sizeof(block)), taken = dm_http_request_write(request, block, n);
        r->left -= taken;
        if (taken < n)
            return;
    }
    dm_http_request_end(request, DM_STR_NULL);
}

static inline void begin_stream(struct rig *r, struct dm_http_request *request, enum dm_http_framing framing)
{
    struct dm_http_message m = {.status = 200, .framing = framing, .content_length = r->left};

    dm_http_request_respond(request, &m);
    stream_more(r, request);
}

static inline void stream_length(struct rig *r, struct dm_http_request *request, struct dm_http_head *head)
{
    begin_stream(r, request, DM_HTTP_FRAMING_LENGTH);
}

static inline void stream_chunked(struct rig *r, struct dm_http_request *request, struct dm_http_head *head)
{
    begin_stream(r, request, DM_HTTP_FRAMING_CHUNKED);
}

#endif
