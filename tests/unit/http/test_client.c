/* A client against a backend that speaks raw bytes by hand, in simulated time. What the owner hears is one word each: "I103"
 * interim response, "R200" response, "B5" five bytes of body, "E" response end, "W" writable, "D" done, "A:why" abort, "T:why" the
 * time of a tunnel is over, "X" end of an idle connection. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/sim.h"
#include "http/client.h"

#define MS UINT64_C(1000000)

static struct {
    struct dm_world *world;
    struct dm_sys *sys, *backend_sys;
    struct dm_loop *loop;
    struct dm_http_client *client;
    struct dm_http_peer *peer; /* as its owner knows it */
    struct dm_http_call *call;
    struct dm_addr addr;
    struct dm_buf heard, body, got;
    int listen_fd, fd;
    bool closes;      /* the connection, when there is room again */
    bool sends_again; /* when there is room again */
    bool is_kept;
    bool closes_at_response, closes_at_body, closes_at_end, ends_at_response_end;
    size_t takes;     /* of a slice of body */
    size_t left;      /* of a request that is streamed */
    const char *last; /* what a tunnel whose time is over ends with; NULL: it is not left */
    bool had_response, was_reused;
    uint64_t bytes_in, bytes_out;
} rig;

static const struct dm_http_timeouts timeouts = {5000, 8000, 20000, 40000, 1000000};

static const struct dm_http_message get = {.method = {"GET", 3}, .target = {"/", 1}, .host = {"b", 1}};

#define GET "GET / HTTP/1.1\r\nHost: b\r\n\r\n"
#define OK2 "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

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

static void on_inform(void *user, struct dm_http_call *call, const struct dm_http_head *head)
{
    hear("I%u", head->status);
}

static void on_response(void *user, struct dm_http_call *call, struct dm_http_head *head)
{
    assert_ptr_equal(user, &rig);
    hear("R%u", head->status);
    if (rig.closes_at_response)
        dm_http_call_cancel(call);
}

static size_t on_body(void *user, struct dm_http_call *call, const char *ptr, size_t len)
{
    size_t taken = DM_MIN(len, rig.takes);

    hear("B%zu", taken);
    dm_buf_add_n(&rig.body, ptr, taken);
    if (rig.closes_at_body)
        dm_http_call_cancel(call);
    return taken;
}

static void on_response_end(void *user, struct dm_http_call *call, const struct dm_http_head *trailers)
{
    hear(trailers ? "T" : "E");
    if (rig.closes_at_end)
        dm_http_call_cancel(call);
    if (rig.ends_at_response_end)
        dm_http_call_end(call, DM_STR_NULL);
}

static void stream_request(void)
{
    static char block[10000];

    while (rig.left > 0) {
        size_t n = DM_MIN(rig.left, sizeof(block)), taken = dm_http_call_write(rig.call, block, n);
        rig.left -= taken;
        if (taken < n)
            return;
    }
    dm_http_call_end(rig.call, DM_STR_NULL);
}

static void on_writable(void *user, struct dm_http_call *call)
{
    stream_request();
}

static void on_done(void *user, struct dm_http_call *call)
{
    hear("D");
    rig.was_reused = dm_http_call_is_reused(call);
    rig.bytes_in = dm_http_call_bytes_in(call);
    rig.bytes_out = dm_http_call_bytes_out(call);
    rig.call = NULL;
}

static void on_abort(void *user, struct dm_http_call *call, struct dm_http_end end)
{
    assert_ptr_equal(user, &rig);
    hear("A:%s", dm_http_abort_name(end.why));
    rig.had_response = dm_http_call_has_response(call);
    rig.was_reused = dm_http_call_is_reused(call);
    assert_true(dm_http_call_bytes_in(call) < 1000000 && dm_http_call_bytes_out(call) < 1000000);
    assert_null(rig.peer); /* C4 */
    rig.call = NULL;
}

static void on_tunnel_due(void *user, struct dm_http_call *call, enum dm_http_abort why)
{
    assert_ptr_equal(call, rig.call);
    hear("T:%s", dm_http_abort_name(why));
    if (!rig.last)
        return;
    rig.call = NULL;
    dm_http_call_leave(call, dm_str_of(rig.last));
}

static void open_call(void)
{
    rig.call = dm_http_peer_open(rig.peer, &timeouts);
    rig.is_kept = false;
    assert_non_null(rig.call);
    dm_http_call_set_user(rig.call, &rig);
}

static void on_room(void *owner, struct dm_http_peer *peer)
{
    assert_ptr_equal(owner, &rig.loop);
    assert_ptr_equal(peer, rig.peer);
    assert_true(dm_http_peer_has_room(peer));
    rig.is_kept = true;
    if (rig.sends_again) {
        rig.sends_again = false;
        open_call();
        dm_http_call_send(rig.call, &get);
        dm_http_call_end(rig.call, DM_STR_NULL);
    } else if (rig.closes) {
        dm_http_peer_close(peer);
        rig.peer = NULL;
    }
}

static void on_end(void *owner, struct dm_http_peer *peer)
{
    assert_ptr_equal(owner, &rig.loop);
    assert_ptr_equal(peer, rig.peer);
    assert_false(dm_http_peer_has_room(peer));
    if (rig.is_kept)
        hear("X");
    rig.is_kept = false;
    rig.peer = NULL;
}

static const struct dm_http_peer_handler peer_handler = {on_room, on_end};
static const struct dm_http_call_handler handler = {on_inform,   on_response, on_body,  on_response_end,
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
    rig.client = dm_http_client_new(rig.loop, &settings, &peer_handler, &handler);
    rig.takes = SIZE_MAX;
    rig.fd = -1;
    assert_int_equal(dm_addr_parse(DM_STR("127.0.0.1:80"), &rig.addr, NULL), 0);
    rig.listen_fd = rig.backend_sys->ops->listen(rig.backend_sys, &rig.addr, 8, false);
    assert_true(rig.listen_fd >= 0);
    dm_buf_init(&rig.heard, 1 << 20);
    dm_buf_init(&rig.body, 1 << 20);
    dm_buf_init(&rig.got, 1 << 24);
    return 0;
}

static int teardown(void **state)
{
    if (rig.call)
        dm_http_call_cancel(rig.call);
    if (rig.peer)
        dm_http_peer_close(rig.peer);
    dm_http_client_free(rig.client);
    dm_loop_free(rig.loop);
    dm_buf_done(&rig.heard);
    dm_buf_done(&rig.body);
    dm_buf_done(&rig.got);
    dm_world_free(rig.world);
    return 0;
}

/* In steps of at most a thousandth. */
static void pass_ms(uint64_t ms)
{
    uint64_t step = DM_MAX(ms / 1000, 1u);

    for (uint64_t passed = 0; passed < ms; passed += step) {
        dm_world_advance_ns(rig.world, step * MS);
        for (int i = 0; i < 4; i++)
            dm_loop_turn(rig.loop, 0);
    }
}

static void cancel_call(void)
{
    dm_http_call_cancel(rig.call);
    rig.call = NULL;
}

static void connect_peer(void)
{
    struct dm_http_peer_settings settings = {rig.addr, 1000};

    if (rig.call)
        cancel_call();
    if (rig.peer)
        dm_http_peer_close(rig.peer);
    rig.peer = dm_http_client_connect(rig.client, &settings, &rig.loop);
    open_call();
}

static void accept_peer(void)
{
    pass_ms(2);
    if (rig.fd >= 0)
        rig.backend_sys->ops->close(rig.backend_sys, rig.fd);
    rig.fd = rig.backend_sys->ops->accept(rig.backend_sys, rig.listen_fd, NULL);
    assert_true(rig.fd >= 0);
}

static void send_message(const struct dm_http_message *m)
{
    dm_http_call_send(rig.call, m);
    if (m->framing == DM_HTTP_FRAMING_NONE)
        dm_http_call_end(rig.call, DM_STR_NULL);
    pass_ms(2);
}

/* A connection with a GET on its way. */
static void begin_get(void)
{
    connect_peer();
    dm_http_call_send(rig.call, &get);
    dm_http_call_end(rig.call, DM_STR_NULL);
    accept_peer();
    pass_ms(2);
}

static void answer_n(const char *ptr, size_t len)
{
    assert_int_equal(rig.backend_sys->ops->send(rig.backend_sys, rig.fd, ptr, len), len);
    pass_ms(2);
}

static void answer(const char *text)
{
    answer_n(text, strlen(text));
}

/* What the backend received so far. */
static void receive(size_t max)
{
    char buf[10000];
    ssize_t n = 1;

    while (n > 0 && max > 0) {
        n = rig.backend_sys->ops->recv(rig.backend_sys, rig.fd, buf, DM_MIN(max, sizeof(buf)));
        if (n > 0) {
            dm_buf_add_n(&rig.got, buf, (size_t)n);
            max -= (size_t)n;
        }
    }
}

/* With everything read, so that it is no reset. */
static void close_backend(void)
{
    receive(SIZE_MAX);
    rig.backend_sys->ops->close(rig.backend_sys, rig.fd);
    rig.fd = -1;
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
#define check_got(text) (receive(SIZE_MAX), check_text(&rig.got, (text), __FILE__, __LINE__))

static void take_and_send(void)
{
    open_call();
    send_message(&get);
}

/* --- exchanges ---------------------------------------------------------------------------------------------------- */

static void one_after_the_other(void **state)
{
    begin_get();
    for (int i = 0; i < 3; i++) {
        check_got(GET);
        answer(OK2);
        check_heard("R200 B2 E D");
        assert_int_equal(rig.bytes_out, strlen(GET));
        assert_int_equal(rig.bytes_in, strlen(OK2));
        assert_int_equal(rig.was_reused, i > 0);
        if (i < 2)
            take_and_send();
    }
    dm_http_peer_close(rig.peer);
    rig.peer = NULL;
}

static void the_next_request_may_go_at_once(void **state)
{
    rig.sends_again = true;
    begin_get();
    check_got(GET);
    answer(OK2);
    check_got(GET);
    answer(OK2);
    check_heard("R200 B2 E D R200 B2 E D");
}

static void responses_in_every_framing(void **state)
{
    static const struct {
        const char *method, *response, *heard;
        bool is_kept;
    } cases[] = {
        {"GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX: y\r\n\r\n", "R200 B2 T D",
         true},
        {"HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n", "R200 E D", true},
        {"GET", "HTTP/1.1 204 No Content\r\n\r\n", "R204 E D", true},
        {"GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", "R304 E D", true},
        {"GET",
         "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
         "I103 I100 R200 E D", true},
        {"GET", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok", "R200 B2 E D", false},
        {"GET", "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", "R200 B2 E D", false},
        {"GET", "HTTP/1.1 101 Switching Protocols\r\n\r\n", "A:malformed", false},
        {"GET", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n", "A:malformed", false},
        {"GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nHost: y\r\n\r\n",
         "R200 B2 A:malformed", false},
    };

    for (size_t i = 0; i < DM_COUNT(cases); i++) {
        struct dm_http_message m = get;
        m.method = dm_str_of(cases[i].method);
        connect_peer();
        dm_http_call_send(rig.call, &m);
        dm_http_call_end(rig.call, DM_STR_NULL);
        accept_peer();
        answer(cases[i].response);
        check_heard(cases[i].heard);
        assert_int_equal(rig.peer != NULL, cases[i].is_kept);
        if (rig.peer)
            dm_http_peer_close(rig.peer);
        rig.peer = NULL;
    }
}

static void a_body_until_the_end_of_the_connection(void **state)
{
    begin_get();
    answer("HTTP/1.1 200 OK\r\n\r\nabc");
    check_heard("R200 B3");
    close_backend();
    pass_ms(2);
    check_heard("E D");
    assert_null(rig.peer);
}

static void requests_in_every_framing(void **state)
{
    struct dm_http_message m = {
        .method = DM_STR("POST"), .target = DM_STR("/p"), .host = DM_STR("b"), .fields = DM_STR("X: y\r\n")};

    connect_peer();
    m.framing = DM_HTTP_FRAMING_CHUNKED;
    dm_http_call_send(rig.call, &m);
    assert_int_equal(dm_http_call_write(rig.call, "abc", 3), 3);
    dm_http_call_end(rig.call, DM_STR("T: 1\r\n"));
    dm_http_call_end(rig.call, DM_STR_NULL);
    accept_peer();
    pass_ms(2);
    check_got("POST /p HTTP/1.1\r\nHost: b\r\nX: y\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nT: 1\r\n\r\n");
    answer(OK2);
    check_heard("R200 B2 E D");
    assert_null(rig.peer); /* P4 */
    connect_peer();
    m.framing = DM_HTTP_FRAMING_LENGTH;
    m.content_length = 3;
    m.is_closing = true;
    dm_http_call_send(rig.call, &m);
    assert_int_equal(dm_http_call_write(rig.call, "abcdef", 6), 6);
    assert_int_equal(dm_http_call_write(rig.call, "x", 1), 1);
    dm_http_call_end(rig.call, DM_STR_NULL);
    accept_peer();
    pass_ms(2);
    check_got("POST /p HTTP/1.1\r\nHost: b\r\nX: y\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc");
    answer(OK2);
    check_heard("R200 B2 E D");
    assert_null(rig.peer);
}

static void a_request_cut_short_is_seen(void **state)
{
    struct dm_http_message m = {.method = DM_STR("POST"),
                                .target = DM_STR("/"),
                                .host = DM_STR("b"),
                                .framing = DM_HTTP_FRAMING_LENGTH,
                                .content_length = 9};
    char c;

    connect_peer();
    dm_http_call_send(rig.call, &m);
    dm_http_call_write(rig.call, "abc", 3);
    dm_http_call_end(rig.call, DM_STR_NULL);
    accept_peer();
    pass_ms(2);
    receive(SIZE_MAX);
    assert_int_equal(rig.backend_sys->ops->recv(rig.backend_sys, rig.fd, &c, 1), 0);
    answer("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
    check_heard("R400 E D");
    assert_null(rig.peer);
}

static void a_head_that_fits_no_buffer_is_not_sent(void **state)
{
    char *fields = dm_calloc(1, 200000);
    struct dm_http_message m = get;

    m.fields = dm_str_n(fields, 200000);
    connect_peer();
    dm_http_call_send(rig.call, &m);
    dm_free(fields);
    assert_int_equal(dm_http_call_write(rig.call, "abc", 3), 3);
    dm_http_call_end(rig.call, DM_STR_NULL);
    check_heard("");
    pass_ms(10);
    check_heard("A:malformed");
}

static void an_early_response_ends_the_connection(void **state)
{
    struct dm_http_message m = {
        .method = DM_STR("POST"), .target = DM_STR("/"), .host = DM_STR("b"), .framing = DM_HTTP_FRAMING_CHUNKED};

    for (int ends = 0; ends < 2; ends++) {
        rig.ends_at_response_end = ends == 1;
        connect_peer();
        dm_http_call_send(rig.call, &m);
        dm_http_call_write(rig.call, "abc", 3);
        accept_peer();
        answer(OK2);
        check_heard("R200 B2 E D");
        assert_null(rig.peer);
    }
}

static void what_is_not_taken_comes_again(void **state)
{
    rig.takes = 3;
    begin_get();
    answer("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n8\r\n01234567\r\n2\r\n89\r\n0\r\n\r\n");
    check_heard("R200 B3");
    pass_ms(1000000); /* nobody waits for the backend */
    while (rig.call) {
        dm_http_call_resume(rig.call);
        pass_ms(2);
    }
    check_heard("B3 B2 B2 E D");
    assert_memory_equal(rig.body.ptr, "0123456789", 10);
}

static void large_requests_are_bounded(void **state)
{
    struct dm_http_message m = {.method = DM_STR("POST"),
                                .target = DM_STR("/"),
                                .host = DM_STR("b"),
                                .framing = DM_HTTP_FRAMING_LENGTH,
                                .content_length = 500000};

    rig.left = 500000;
    connect_peer();
    dm_http_call_send(rig.call, &m);
    stream_request();
    accept_peer();
    pass_ms(100);
    assert_in_range(500000 - rig.left, 50000, 60000 + 40000 + 1000);
    while (rig.left > 0 || rig.got.len < 500000) {
        receive(15000);
        pass_ms(rig.left > 0 ? 6000 : 100);
    }
    answer(OK2);
    check_heard("R200 B2 E D");
}

/* --- whose bytes -------------------------------------------------------------------------------------------------- */

static void bytes_behind_a_response_are_nobodys(void **state)
{
    begin_get();
    answer(OK2 "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nbad");
    check_heard("R200 B2 E D");
    assert_null(rig.peer); /* not reusable */
    rig.sends_again = true;
    begin_get();
    answer(OK2 "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nbad");
    check_heard("R200 B2 E D"); /* no room: the next request does not go to where an answer lies already */
    assert_null(rig.peer);
}

static void bytes_on_a_kept_connection_end_it(void **state)
{
    begin_get();
    answer(OK2);
    check_heard("R200 B2 E D");
    answer(OK2);
    check_heard("X");
}

static void bytes_before_the_request_are_nobodys(void **state)
{
    connect_peer();
    accept_peer();
    answer(OK2);
    check_heard("A:malformed");
    begin_get();
    answer(OK2);
    check_heard("R200 B2 E D");
    assert_int_equal(rig.backend_sys->ops->send(rig.backend_sys, rig.fd, OK2, strlen(OK2)), strlen(OK2));
    dm_world_advance_ns(rig.world, MS); /* it is there, and was not seen yet */
    open_call();
    dm_http_call_send(rig.call, &get);
    dm_http_call_end(rig.call, DM_STR_NULL);
    pass_ms(2);
    check_heard("A:refused"); /* nothing of the request left */
}

/* --- ends --------------------------------------------------------------------------------------------------------- */

static void kept_connections_end(void **state)
{
    begin_get();
    answer(OK2);
    check_heard("R200 B2 E D");
    pass_ms(19000);
    check_heard("");
    pass_ms(1100);
    check_heard("X");
    begin_get();
    answer(OK2);
    close_backend();
    pass_ms(2);
    check_heard("R200 B2 E D X");
}

static void a_broken_kept_connection_says_so(void **state)
{
    begin_get();
    answer(OK2);
    check_heard("R200 B2 E D");
    open_call();
    dm_http_call_send(rig.call, &get);
    dm_http_call_end(rig.call, DM_STR_NULL);
    close_backend();
    pass_ms(2);
    check_heard("A:peer_closed");
    assert_false(rig.had_response);
    assert_true(rig.was_reused);
}

static void nobody_listens(void **state)
{
    rig.backend_sys->ops->close(rig.backend_sys, rig.listen_fd);
    connect_peer();
    send_message(&get);
    pass_ms(10);
    check_heard("A:connect_failed");
    connect_peer();
    pass_ms(10);
    check_heard("A:connect_failed"); /* also before send */
    connect_peer();
    cancel_call();
    pass_ms(10);
    check_heard("");
    rig.peer = dm_http_client_connect(rig.client, &(struct dm_http_peer_settings){rig.addr, 1000}, &rig.loop);
    rig.is_kept = true;
    pass_ms(10);
    check_heard("X"); /* without a call */
}

static void a_connect_that_fails_at_once_is_told_from_the_loop(void **state)
{
    for (int i = 0; i < 3; i++) {
        dm_world_fail_nth(rig.sys, 1, ENETUNREACH);
        connect_peer();
        assert_int_equal(dm_http_call_bytes_out(rig.call), 0);
        if (i == 0)
            dm_http_peer_close(rig.peer), rig.peer = NULL;
        if (i == 1) {
            cancel_call();
            pass_ms(1);
            check_heard("");
            continue;
        }
        dm_http_call_send(rig.call, &get);
        dm_http_call_end(rig.call, DM_STR_NULL);
        assert_int_equal(dm_http_call_bytes_out(rig.call), 0);
        check_heard("");
        pass_ms(1);
        check_heard("A:connect_failed");
    }
}

static void connecting_takes_too_long(void **state)
{
    dm_world_cut(rig.world, rig.sys, rig.backend_sys, true);
    connect_peer();
    send_message(&get);
    pass_ms(900);
    check_heard("");
    pass_ms(200);
    check_heard("A:connect_timeout");
}

static void a_response_takes_too_long(void **state)
{
    begin_get();
    pass_ms(4900);
    check_heard("");
    answer("HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 20");
    check_heard("I103");
    pass_ms(200);
    check_heard("A:response_timeout");
}

static void a_body_takes_too_long(void **state)
{
    begin_get();
    answer("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\na");
    for (int i = 0; i < 5; i++) {
        pass_ms(7000);
        answer("b");
    }
    check_heard("R200 B1 B1 B1 B1 B1 B1");
    pass_ms(7800);
    check_heard("");
    pass_ms(2300);
    check_heard("A:idle_timeout");
}

static void a_backend_that_does_not_read_takes_too_long(void **state)
{
    struct dm_http_message m = {
        .method = DM_STR("POST"), .target = DM_STR("/"), .host = DM_STR("b"), .framing = DM_HTTP_FRAMING_CHUNKED};

    rig.left = 500000;
    connect_peer();
    dm_http_call_send(rig.call, &m);
    stream_request();
    accept_peer();
    pass_ms(7000);
    check_heard("");
    pass_ms(5000);
    check_heard("A:idle_timeout");
}

static void an_owner_that_pauses_its_request_is_not_the_backends_fault(void **state)
{
    struct dm_http_message m = {
        .method = DM_STR("POST"), .target = DM_STR("/"), .host = DM_STR("b"), .framing = DM_HTTP_FRAMING_CHUNKED};

    connect_peer();
    dm_http_call_send(rig.call, &m);
    accept_peer();
    pass_ms(1000000);
    dm_http_call_end(rig.call, DM_STR_NULL);
    pass_ms(4900);
    check_heard("");
    pass_ms(200);
    check_heard("A:response_timeout");
}

static void closes_from_callbacks(void **state)
{
    bool *const places[] = {&rig.closes_at_response, &rig.closes_at_body, &rig.closes_at_end};
    static const char *const heard[] = {"R200", "R200 B2", "R200 B2 E"};

    for (size_t i = 0; i < DM_COUNT(places); i++) {
        *places[i] = true;
        begin_get();
        answer(OK2 "more");
        check_heard(heard[i]);
        rig.call = NULL;
        assert_null(rig.peer);
        *places[i] = false;
    }
}

/* The owner of the connection lets it go: the call in hand goes on, and nothing follows it. */
static void a_connection_may_be_left_with_its_call(void **state)
{
    begin_get();
    dm_http_peer_close(rig.peer);
    assert_false(dm_http_peer_has_room(rig.peer));
    rig.peer = NULL;
    answer(OK2);
    check_heard("R200 B2 E D");
    assert_int_equal(rig.backend_sys->ops->recv(rig.backend_sys, rig.fd, (char[100]){0}, 100), strlen(GET));
    assert_int_equal(rig.backend_sys->ops->recv(rig.backend_sys, rig.fd, (char[1]){0}, 1), 0);
    begin_get();
    dm_http_peer_close(rig.peer);
    rig.peer = NULL;
    cancel_call();
    pass_ms(2);
    check_heard("");
}

/* One exchange in each state of a connection, and then none: the client waits for closed connections only. */
static void freed_with_connections_just_closed(void **state)
{
    begin_get();
    cancel_call();
    connect_peer();
    cancel_call();
    begin_get();
    answer(OK2);
    dm_http_peer_close(rig.peer);
    rig.peer = NULL;
    check_heard("R200 B2 E D");
}

/* A long poll: the answer has the time that the owner gives it. */
static void an_answer_may_take_long(void **state)
{
    static const struct dm_http_timeouts long_poll = {.response_ms = 90000, .idle_ms = 8000, .kept_ms = 20000};

    rig.peer = dm_http_client_connect(rig.client, &(struct dm_http_peer_settings){rig.addr, 1000}, &rig.loop);
    rig.call = dm_http_peer_open(rig.peer, &long_poll);
    dm_http_call_set_user(rig.call, &rig);
    dm_http_call_send(rig.call, &get);
    dm_http_call_end(rig.call, DM_STR_NULL);
    accept_peer();
    pass_ms(60000);
    check_heard("");
    answer(OK2);
    check_heard("R200 B2 E D");
}

/* --- tunnels ------------------------------------------------------------------------------------------------------ */

#define UPGRADE "GET / HTTP/1.1\r\nHost: b\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
#define SWITCH "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: WebSocket\r\n\r\n"

static const struct dm_http_message upgrade = {
    .method = {"GET", 3}, .target = {"/", 1}, .host = {"b", 1}, .protocol = {"websocket", 9}};

static void begin_upgrade(void)
{
    connect_peer();
    dm_http_call_send(rig.call, &upgrade);
    accept_peer();
    pass_ms(2);
    check_got(UPGRADE);
}

static void begin_tunnel(void)
{
    begin_upgrade();
    answer(SWITCH);
    check_heard("R101");
}

static void write_tunnel(const char *text)
{
    assert_int_equal(dm_http_call_write(rig.call, text, strlen(text)), strlen(text));
    pass_ms(2);
}

static void check_backend_at_end(void)
{
    char c;

    assert_int_equal(rig.backend_sys->ops->recv(rig.backend_sys, rig.fd, &c, 1), 0);
}

static void a_tunnel_carries_bytes_both_ways(void **state)
{
    begin_upgrade();
    answer(SWITCH "HTTP/1.1 200 OK\r\n");
    check_heard("R101 B17");
    write_tunnel("GET / HTTP/1.1\r\n\r\n");
    check_got("GET / HTTP/1.1\r\n\r\n");
    answer("more");
    dm_http_call_end(rig.call, DM_STR("X: y\r\n"));
    pass_ms(2);
    check_backend_at_end();
    answer("and more");
    check_heard("B4 B8");
    assert_int_equal(dm_http_call_write(rig.call, "x", 1), 1); /* dropped */
    close_backend();
    pass_ms(2);
    check_heard("E D");
    assert_null(rig.peer);
    assert_memory_equal(rig.body.ptr, "HTTP/1.1 200 OK\r\nmoreand more", 29);
}

static void a_tunnel_ends_on_either_side_first(void **state)
{
    begin_tunnel();
    rig.backend_sys->ops->shutdown_write(rig.backend_sys, rig.fd);
    pass_ms(2);
    check_heard("E");
    write_tunnel("still");
    check_got("still");
    dm_http_call_end(rig.call, DM_STR_NULL);
    check_heard("D");
    pass_ms(2);
    check_backend_at_end();
    begin_upgrade();
    dm_http_call_end(rig.call, DM_STR_NULL); /* before there is one */
    answer(SWITCH "hi");
    check_heard("R101 B2");
    check_backend_at_end();
}

/* Nothing goes out before the backend has agreed: it would be its next request. */
static void what_is_written_before_a_tunnel_waits(void **state)
{
    begin_upgrade();
    assert_int_equal(dm_http_call_write(rig.call, "GET /smuggled HTTP/1.1\r\n", 24), 0);
    pass_ms(2);
    check_got("");
    rig.left = 3;
    answer(SWITCH);
    check_heard("R101");
    receive(SIZE_MAX);
    assert_int_equal(rig.got.len, 3); /* from on_writable */
    dm_buf_reset(&rig.got);
    begin_upgrade();
    assert_int_equal(dm_http_call_write(rig.call, "GET /smuggled HTTP/1.1\r\n", 24), 0);
    answer("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nh");
    assert_int_equal(dm_http_call_write(rig.call, "GET /smuggled HTTP/1.1\r\n", 24), 24); /* dropped */
    answer("ello");
    check_heard("R200 B1 B4 E D");
    check_got("");
    assert_non_null(rig.peer); /* nothing but a response came of it */
    take_and_send();
    check_got(GET);
    answer(SWITCH);
    check_heard("A:malformed");
}

static void answers_that_open_no_tunnel(void **state)
{
    static const struct {
        const char *response, *heard;
        bool is_kept;
    } cases[] = {
        {"HTTP/1.1 426 Upgrade Required\r\nUpgrade: h2c\r\nConnection: upgrade\r\nContent-Length: 0\r\n\r\n",
         "R426 E D", true},
        {"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 403 Forbidden\r\n\r\nx", "I103 R403 B1", false},
        {"HTTP/1.1 101 Switching Protocols\r\n\r\n", "A:malformed", false},
        {"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n", "A:malformed", false},
        {"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n", "A:malformed", false},
        {"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket, x\r\n\r\n", "A:malformed",
         false},
        {"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 3\r\n\r\n",
         "A:malformed", false},
        {"HTTP/1.0 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n", "A:malformed", false},
    };

    for (size_t i = 0; i < DM_COUNT(cases); i++) {
        begin_upgrade();
        answer(cases[i].response);
        check_heard(cases[i].heard);
        assert_int_equal(rig.peer && dm_http_peer_has_room(rig.peer), cases[i].is_kept);
        if (rig.call)
            cancel_call();
    }
    begin_get();
    answer(SWITCH);
    check_heard("A:malformed");
}

static void tunnels_are_bounded_both_ways(void **state)
{
    char bytes[10000] = {0};

    begin_tunnel();
    rig.takes = 3;
    answer("01234567");
    check_heard("B3");
    rig.takes = SIZE_MAX;
    dm_http_call_resume(rig.call);
    pass_ms(2);
    check_heard("B5");
    assert_memory_equal(rig.body.ptr, "01234567", 8);
    for (rig.left = 500000; rig.left > 0;) {
        size_t n = DM_MIN(rig.left, sizeof(bytes)), taken = dm_http_call_write(rig.call, bytes, n);
        rig.left -= taken;
        if (taken < n)
            break;
    }
    assert_in_range(500000 - rig.left, 50000, 60000 + 40000);
    while (rig.left > 0) {
        receive(15000);
        pass_ms(100);
    }
    check_heard(""); /* the request's end, from stream_request(), is the half-close */
    /* what was written goes out though the backend has ended its side */
    rig.backend_sys->ops->shutdown_write(rig.backend_sys, rig.fd);
    pass_ms(2);
    check_heard("E D");
    while (rig.got.len < 500000) {
        receive(SIZE_MAX);
        pass_ms(100);
    }
    check_backend_at_end();
}

static void tunnels_end_when_idle_or_old(void **state)
{
    begin_tunnel();
    for (int i = 0; i < 5; i++) {
        pass_ms(39000);
        if (i % 2)
            answer("x");
        else
            write_tunnel("x");
    }
    check_heard("B1 B1");
    pass_ms(39000);
    check_heard("");
    pass_ms(11100);
    check_heard("T:idle_timeout A:idle_timeout");
    begin_tunnel();
    for (int i = 0; i < 33; i++) {
        pass_ms(30000);
        write_tunnel("x");
    }
    check_heard("");
    pass_ms(10000);
    check_heard("T:shutdown A:shutdown");
}

static void tunnels_end_with_a_last_word(void **state)
{
    static char block[200000];
    size_t taken;

    rig.last = "bye";
    begin_tunnel();
    pass_ms(50100);
    check_heard("T:idle_timeout");
    assert_null(rig.peer);
    check_got("bye");
    check_backend_at_end();
    rig.backend_sys->ops->send(rig.backend_sys, rig.fd, "nobody's", 8);
    rig.backend_sys->ops->shutdown_write(rig.backend_sys, rig.fd);
    pass_ms(2);
    /* without room for it, what was written comes all the same */
    begin_tunnel();
    taken = dm_http_call_write(rig.call, block, sizeof(block));
    pass_ms(2);
    taken += dm_http_call_write(rig.call, block, sizeof(block));
    pass_ms(50100);
    check_heard("T:idle_timeout");
    for (int i = 0; i < 20; i++) {
        receive(SIZE_MAX);
        pass_ms(10);
    }
    assert_int_equal(rig.got.len, taken);
    dm_buf_reset(&rig.got);
    check_backend_at_end();
    /* behind an end of ours there is none */
    begin_tunnel();
    dm_http_call_end(rig.call, DM_STR_NULL);
    pass_ms(50100);
    check_heard("T:idle_timeout");
    check_got("");
    /* what is no tunnel is cancelled */
    begin_get();
    dm_http_call_leave(rig.call, DM_STR("bye"));
    rig.call = NULL;
    pass_ms(2);
    check_got(GET);
    assert_null(rig.peer);
}

static void a_tunnel_may_break(void **state)
{
    begin_upgrade();
    close_backend();
    pass_ms(2);
    check_heard("A:peer_closed");
    begin_upgrade();
    pass_ms(5100);
    check_heard("A:response_timeout");
    begin_tunnel();
    answer("x");
    cancel_call();
    pass_ms(2);
    check_heard("B1");
    assert_null(rig.peer);
    /* the client goes while the last bytes are on their way */
    begin_tunnel();
    write_tunnel("x");
    rig.backend_sys->ops->shutdown_write(rig.backend_sys, rig.fd);
    dm_http_call_end(rig.call, DM_STR_NULL);
    pass_ms(2);
    check_heard("E D");
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
        dm_http_call_send(rig.call, &get);
        dm_http_call_end(rig.call, DM_STR_NULL);
        pass_ms(5);
        rig.fd = rig.backend_sys->ops->accept(rig.backend_sys, rig.listen_fd, NULL);
        if (rig.fd >= 0)
            rig.backend_sys->ops->send(rig.backend_sys, rig.fd, OK2, strlen(OK2));
        pass_ms(30000);
        is_reached = dm_world_fail_reached(rig.sys);
        for (size_t i = 0; i < rig.heard.len; i++)
            n_ends += rig.heard.ptr[i] == 'D' || rig.heard.ptr[i] == ':';
        assert_int_equal(n_ends, 1);
        assert_null(rig.peer);
    }
    assert_true(n > 5);
}

#define TEST(name)                                                                                                     \
    {                                                                                                                  \
#name, name, setup, teardown, NULL                                                                             \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(one_after_the_other),
        TEST(the_next_request_may_go_at_once),
        TEST(responses_in_every_framing),
        TEST(a_body_until_the_end_of_the_connection),
        TEST(requests_in_every_framing),
        TEST(a_request_cut_short_is_seen),
        TEST(a_head_that_fits_no_buffer_is_not_sent),
        TEST(an_early_response_ends_the_connection),
        TEST(what_is_not_taken_comes_again),
        TEST(large_requests_are_bounded),
        TEST(bytes_behind_a_response_are_nobodys),
        TEST(bytes_on_a_kept_connection_end_it),
        TEST(bytes_before_the_request_are_nobodys),
        TEST(kept_connections_end),
        TEST(a_broken_kept_connection_says_so),
        TEST(nobody_listens),
        TEST(a_connect_that_fails_at_once_is_told_from_the_loop),
        TEST(connecting_takes_too_long),
        TEST(a_response_takes_too_long),
        TEST(a_body_takes_too_long),
        TEST(a_backend_that_does_not_read_takes_too_long),
        TEST(an_owner_that_pauses_its_request_is_not_the_backends_fault),
        TEST(closes_from_callbacks),
        TEST(a_connection_may_be_left_with_its_call),
        TEST(freed_with_connections_just_closed),
        TEST(an_answer_may_take_long),
        TEST(a_tunnel_carries_bytes_both_ways),
        TEST(a_tunnel_ends_on_either_side_first),
        TEST(what_is_written_before_a_tunnel_waits),
        TEST(answers_that_open_no_tunnel),
        TEST(tunnels_are_bounded_both_ways),
        TEST(tunnels_end_when_idle_or_old),
        TEST(tunnels_end_with_a_last_word),
        TEST(a_tunnel_may_break),
        TEST(any_system_call_may_fail),
    };

    return cmocka_run_group_tests_name("http client", tests, NULL, NULL);
}
