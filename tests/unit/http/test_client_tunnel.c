/* Tunnels of a client: Upgrade to a backend, and what is none. */
#include "client_h1_rig.h"

#define UPGRADE "GET / HTTP/1.1\r\nHost: b\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"

static const struct dm_http_message upgrade = {
    .method = {"GET", 3}, .target = {"/", 1}, .host = {"b", 1}, .protocol = {"websocket", 9}};

static void begin_upgrade(void)
{
    connect_call();
    dm_http_call_send(rig.calls[0], &upgrade);
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
    assert_int_equal(dm_http_call_write(rig.calls[0], text, strlen(text)), strlen(text));
    pass_ms(2);
}

static void a_tunnel_carries_bytes_both_ways(void **state)
{
    begin_upgrade();
    answer(SWITCH "HTTP/1.1 200 OK\r\n");
    check_heard("R101 B17");
    write_tunnel("GET / HTTP/1.1\r\n\r\n");
    check_got("GET / HTTP/1.1\r\n\r\n");
    answer("more");
    dm_http_call_end(rig.calls[0], DM_STR("X: y\r\n"));
    pass_ms(2);
    check_backend_at_end();
    answer("and more");
    check_heard("B4 B8");
    assert_int_equal(dm_http_call_write(rig.calls[0], "x", 1), 1); /* dropped */
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
    dm_http_call_end(rig.calls[0], DM_STR_NULL);
    check_heard("D");
    pass_ms(2);
    check_backend_at_end();
    begin_upgrade();
    dm_http_call_end(rig.calls[0], DM_STR_NULL); /* before there is one */
    answer(SWITCH "hi");
    check_heard("R101 B2");
    check_backend_at_end();
}

/* Nothing goes out before the backend has agreed: it would be its next request. */
static void what_is_written_before_a_tunnel_waits(void **state)
{
    begin_upgrade();
    assert_int_equal(dm_http_call_write(rig.calls[0], "GET /smuggled HTTP/1.1\r\n", 24), 0);
    pass_ms(2);
    check_got("");
    rig.left = 3;
    answer(SWITCH);
    check_heard("R101");
    receive(SIZE_MAX);
    assert_int_equal(rig.got.len, 3); /* from on_writable */
    dm_buf_reset(&rig.got);
    begin_upgrade();
    assert_int_equal(dm_http_call_write(rig.calls[0], "GET /smuggled HTTP/1.1\r\n", 24), 0);
    answer("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nh");
    assert_int_equal(dm_http_call_write(rig.calls[0], "GET /smuggled HTTP/1.1\r\n", 24), 24); /* dropped */
    answer("ello");
    check_heard("R200 B1 B4 E D");
    check_got("");
    assert_non_null(rig.peer); /* nothing but a response came of it */
    get_again();
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
        if (rig.calls[0])
            cancel_call(0);
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
    dm_http_call_resume(rig.calls[0]);
    pass_ms(2);
    check_heard("B5");
    assert_memory_equal(rig.body.ptr, "01234567", 8);
    for (rig.left = 500000; rig.left > 0;) {
        size_t n = DM_MIN(rig.left, sizeof(bytes)), taken = dm_http_call_write(rig.calls[0], bytes, n);
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
    taken = dm_http_call_write(rig.calls[0], block, sizeof(block));
    pass_ms(2);
    taken += dm_http_call_write(rig.calls[0], block, sizeof(block));
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
    dm_http_call_end(rig.calls[0], DM_STR_NULL);
    pass_ms(50100);
    check_heard("T:idle_timeout");
    check_got("");
    /* what is no tunnel is cancelled */
    begin_get();
    dm_http_call_leave(rig.calls[0], DM_STR("bye"));
    rig.calls[0] = NULL;
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
    cancel_call(0);
    pass_ms(2);
    check_heard("B1");
    assert_null(rig.peer);
    /* the client goes while the last bytes are on their way */
    begin_tunnel();
    write_tunnel("x");
    rig.backend_sys->ops->shutdown_write(rig.backend_sys, rig.fd);
    dm_http_call_end(rig.calls[0], DM_STR_NULL);
    pass_ms(2);
    check_heard("E D");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, h1_setup, h1_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_tunnel_carries_bytes_both_ways),      TEST(a_tunnel_ends_on_either_side_first),
        TEST(what_is_written_before_a_tunnel_waits), TEST(answers_that_open_no_tunnel),
        TEST(tunnels_are_bounded_both_ways),         TEST(tunnels_end_when_idle_or_old),
        TEST(tunnels_end_with_a_last_word),          TEST(a_tunnel_may_break),
    };

    return cmocka_run_group_tests_name("http client tunnel", tests, NULL, NULL);
}
