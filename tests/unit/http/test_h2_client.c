/* HTTP/2 to a backend: requests, responses, flow control, tunnels. */
#include "client_h2_rig.h"

/* --- requests and responses --------------------------------------------------------------------------------------- */

static void one_after_the_other(void **state)
{
    connect_peer();
    send_call(0, &get);
    accept_backend();
    check_got("PRI S H1+");
    check_head(":method: GET\n:scheme: http\n:authority: b\n:path: /\nx-y: z\nte: trailers\n");
    assert_int_equal(backend.windows[0], (1 << 20) - 65535);
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
    assert_int_equal(backend.uploaded.len, 65535); /* the initial window */
    assert_int_equal(300000 - rig.left, 65535);    /* and nothing more was taken */
    send_u32(WINDOW_UPDATE, 1, 1000000);
    pass_ms(10);
    receive();
    assert_int_equal(backend.uploaded.len, 65535); /* the connection's is still shut */
    dm_buf_reset(&rig.heard);
    send_u32(WINDOW_UPDATE, 0, 1000);
    pass_ms(10);
    receive();
    assert_int_equal(backend.uploaded.len, 66535);
    check_heard("W");
    send_u32(WINDOW_UPDATE, 0, 1000000);
    for (int i = 0; i < 100 && backend.uploaded.len < 300000; i++) {
        pass_ms(10);
        receive();
    }
    assert_int_equal(backend.uploaded.len, 300000);
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
    for (int i = 0; i < 1000 && backend.uploaded.len < 500000; i++) {
        pass_ms(10);
        receive();
    }
    assert_int_equal(backend.uploaded.len, 500000);
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
    assert_int_equal(backend.windows[1], 0);
    assert_true(backend.windows[0] >= sent / 2); /* the connection's opens */
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
    assert_in_range(backend.windows[1], sent / 2, sent);
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
    close_backend();
    pass_ms(2);
    check_heard("X 1:A:peer_reset");
    dm_http_call_resume(rig.calls[0]);
    pass_ms(2);
    check_heard("B1 E D");
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
    check_heard("T:idle_timeout A:idle_timeout");
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
    check_heard("T:shutdown A:shutdown");
    send_call(0, &upgrade);
    pass_ms(5100);
    check_heard("A:response_timeout");
}

/* END_STREAM where the window lets it through; the connection goes on. */
static void tunnels_end_with_a_last_word(void **state)
{
    static char block[70000];

    rig.last = "bye";
    begin_upgrade();
    send_head(1, 0, OK);
    check_heard("R101");
    pass_ms(50100);
    check_heard("T:idle_timeout");
    check_got("D1:3 D1:0+ R1:8"); /* it did not end its side in time */
    send_call(0, &upgrade);
    check_got("H3");
    send_head(3, 0, OK);
    assert_int_equal(dm_http_call_write(rig.calls[0], block, sizeof(block)), 65532); /* but for what went before */
    pass_ms(50100);
    check_heard("R101 T:idle_timeout");
    check_got("D3:16384 D3:16384 D3:16384 D3:16380 R3:8");
    assert_true(dm_http_peer_has_room(rig.peer));
    send_u32(WINDOW_UPDATE, 0, 100000);
    send_call(0, &upgrade);
    check_got("H5");
    send_head(5, 0, OK);
    dm_http_call_end(rig.calls[0], DM_STR_NULL);
    for (int i = 0; i < 100 && rig.heard.len <= 4; i++)
        pass_ms(500);
    check_heard("R101 T:idle_timeout");
    check_got("D5:0+");
    send_data(5, END, "nobody's");
    pass_ms(5000);
    check_got("");
    send_call(0, &get);
    answer_ok(7);
    check_heard("R200 B2 E D");
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
    add_fields(&block, ":status: 103\nlink: </a>\n");
    add_frame(&out, HEADERS, END_HEADERS, 1, block.ptr, block.len);
    dm_buf_reset(&block);
    add_fields(&block, ":status: 200\nx-a: b\ncontent-length: 7\n");
    add_frame(&out, HEADERS, 0, 1, block.ptr, 20);
    add_frame(&out, CONTINUATION, END_HEADERS, 1, block.ptr + 20, block.len - 20);
    add_frame(&out, DATA, 0, 1, "hello, ", 7);
    dm_buf_reset(&block);
    add_fields(&block, "x-t: 1\n");
    add_frame(&out, HEADERS, END | END_HEADERS, 1, block.ptr, block.len);
    rig.mutes_body = true;
    for (size_t step = 1; step < 60; step += step < 12 ? 1 : 7) {
        struct dm_http_peer *first;
        int other;
        connect_peer();
        send_call(0, &get);
        accept_backend();
        first = rig.peer;
        other = rig.fd;
        rig.fd = -1;
        rig.peer = dm_http_client_connect(rig.client, &(struct dm_http_peer_settings){rig.addr, 1000, true}, &rig);
        send_call(1, &get);
        accept_backend();
        dm_http_peer_close(rig.peer);
        dm_http_peer_close(first);
        rig.peer = NULL;
        for (size_t at = 0; at < out.len; at += step) {
            int fd = rig.fd;
            send_bytes(out.ptr + at, DM_MIN(step, out.len - at));
            rig.fd = other;
            send_bytes(out.ptr + at, DM_MIN(step, out.len - at));
            rig.fd = fd;
        }
        pass_ms(2);
        assert_null(rig.calls[0]);
        assert_null(rig.calls[1]);
        assert_int_equal(rig.body.len, 14);
        dm_buf_reset(&rig.body);
        dm_buf_reset(&rig.heard);
        rig.backend_sys->ops->close(rig.backend_sys, other);
    }
    dm_buf_done(&out);
    dm_buf_done(&block);
}

static void any_system_call_may_fail(void **state)
{
    bool is_reached = true;
    uint64_t n = 1;

    for (; is_reached; n++) {
        h2_teardown(state);
        h2_setup(state);
        dm_world_fail_nth(rig.sys, n, EIO);
        connect_peer();
        send_call(0, &get);
        send_call(1, &post);
        dm_http_call_write(rig.calls[1], "x", 1);
        dm_http_call_end(rig.calls[1], DM_STR_NULL);
        pass_ms(5);
        rig.fd = rig.backend_sys->ops->accept(rig.backend_sys, rig.listen_fd, NULL);
        if (rig.fd >= 0) {
            send_frame(SETTINGS, 0, 0, NULL, 0);
            answer_ok(1);
            answer_ok(3);
        }
        pass_ms(60000);
        is_reached = dm_world_fail_reached(rig.sys);
        assert_int_equal(count_ends(), 2);
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
#ifndef DM_DEBUG_ALLOC
    /* Those of the simulated network: four for each of the three writes of an exchange. */
    assert_true(dm_mem_calls() - calls <= 100 * 12 + 8);
#endif
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, h2_setup, h2_teardown)

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
        TEST(tunnels),
        TEST(tunnels_are_timed),
        TEST(tunnels_end_with_a_last_word),
        TEST(backends_that_know_no_tunnels),
        TEST(any_cut_is_the_same),
        TEST(any_system_call_may_fail),
        TEST(freed_with_connections_just_closed),
        TEST(steady_state_allocates_nothing),
    };

    return cmocka_run_group_tests_name("http/2 client", tests, NULL, NULL);
}
