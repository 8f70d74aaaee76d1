/* Tunnels: Upgrade of HTTP/1.1 and extended CONNECT of HTTP/2 (RFC 8441), through one interface. */
#include "server_h2_rig.h"

#define UPGRADE "GET /chat HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
#define SWITCHED                                                                                                       \
    "HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: x\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n"

static int setup_h1(void **state)
{
    rig_clear();
    rig.settings.tunnel_idle_timeout_ms = 60000;
    rig_start_narrow();
    return 0;
}

static int setup_h2(void **state)
{
    rig_clear();
    rig.settings.tunnel_idle_timeout_ms = 60000;
    h2_start();
    return 0;
}

static void open_tunnel(struct dm_http_request *request)
{
    struct dm_http_message m = {.protocol = DM_STR("websocket"), .fields = DM_STR("Sec-WebSocket-Accept: x\r\n")};

    dm_http_request_tunnel(request, &m);
}

static void note_upgrade(struct rig *r, struct dm_http_request *request, struct dm_http_head *head)
{
    hear("[%.*s]", DM_STR_ARG(head->upgrade));
}

static void tunnel_at_end(struct rig *r, struct dm_http_request *request, const struct dm_http_head *trailers)
{
    open_tunnel(request);
    r->script.on_request_end = NULL;
}

/* --- HTTP/1.1 ----------------------------------------------------------------------------------------------------- */

static void h1_bytes_go_both_ways(void **state)
{
    rig.script.on_request = note_upgrade;
    rig.script.on_request_end = tunnel_at_end;
    rig_send(UPGRADE);
    check_got(SWITCHED);
    check_heard("R [websocket] E");
    rig_send("hello\r\n\r\nGET / HTTP/1.1");
    rig_settle();
    check_heard("B23");
    assert_memory_equal(rig.body.ptr, "hello\r\n\r\nGET / HTTP/1.1", 23);
    assert_int_equal(dm_http_request_write(rig.request, "\0\1\2", 3), 3);
    rig_read(3);
    assert_memory_equal(rig.got.ptr, "\0\1\2", 3);
    dm_buf_reset(&rig.got);
    dm_http_request_end(rig.request, DM_STR_NULL);
    check_ended();
    check_heard("");
    rig_send("more");
    rig_settle();
    check_heard("B4");
    rig.client->ops->shutdown_write(rig.client, rig.fd);
    rig_settle();
    check_heard("E D");
    rig_pass_ms(3000);
    assert_int_equal(dm_http_server_connections(rig.server), 0);
}

static void h1_the_client_ends_first(void **state)
{
    rig.script.on_request_end = tunnel_at_end;
    rig_send(UPGRADE);
    check_got(SWITCHED);
    rig_send("x");
    rig.client->ops->shutdown_write(rig.client, rig.fd);
    rig_settle();
    check_heard("R E B1 E");
    assert_int_equal(dm_http_request_write(rig.request, "late", 4), 4);
    dm_http_request_end(rig.request, DM_STR_NULL);
    check_got("late");
    check_ended();
    check_heard("D");
}

/* What came behind the head belongs to the tunnel if there is one. */
static void h1_early_bytes_are_the_tunnels(void **state)
{
    rig.script.on_request_end = tunnel_at_end;
    rig_send(UPGRADE "early");
    check_got(SWITCHED);
    rig_settle();
    check_heard("R E B5");
}

static void h1_early_bytes_wait_for_the_decision(void **state)
{
    rig_send(UPGRADE GET);
    rig_settle();
    check_heard("R E");
    open_tunnel(rig.request);
    check_got(SWITCHED);
    rig_settle();
    check_heard("B27");
}

/* Upgrade smuggling: without a tunnel they are the next request, and nothing else. */
static void h1_early_bytes_are_the_next_request(void **state)
{
    rig.script.on_request_end = hello_at_end;
    rig_send(UPGRADE GET);
    check_got(HELLO HELLO);
    check_heard("R E D R E D");
}

static void h1_a_body_before_the_tunnel(void **state)
{
    rig.script.on_request_end = tunnel_at_end;
    rig_send(
        "POST /chat HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 4\r\n\r\nbodytunnel");
    check_got(SWITCHED);
    rig_settle();
    check_heard("R B4 E B6");
}

/* A tunnel before the body is through, or for a request that did not ask, is none. */
static void h1_tunnels_that_are_none(void **state)
{
    rig_send(
        "POST /chat HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 4\r\n\r\n");
    rig_settle();
    open_tunnel(rig.request);
    rig.script.on_request_end = hello_at_end;
    rig_send("body");
    check_got(HELLO);
    rig.script.on_request_end = NULL;
    rig_send(GET);
    rig_settle();
    open_tunnel(rig.request);
    reply_hello(&rig, rig.request);
    check_got(HELLO);
}

static void h1_what_is_no_upgrade(void **state)
{
    static const char *const heads[] = {
        "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: a b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: a/\r\n\r\n",
    };

    rig.script.on_request = note_upgrade;
    rig.script.on_request_end = hello_at_end;
    for (size_t i = 0; i < DM_COUNT(heads); i++) {
        rig_send(heads[i]);
        check_got(HELLO);
        check_heard("R [] E D");
    }
    rig_send("GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: h2c, ws/13\r\n\r\n");
    check_got(HELLO);
    check_heard("R [ws/13] E D");
}

static void h1_back_pressure_both_ways(void **state)
{
    static char block[200000];

    rig.script.on_body = take_nothing;
    rig.script.on_request_end = tunnel_at_end;
    rig_send(UPGRADE);
    check_got(SWITCHED);
    rig_send("abc");
    rig_settle();
    check_heard("R E B0");
    rig.script.on_body = NULL;
    dm_http_request_resume(rig.request);
    rig_settle();
    check_heard("B3");
    size_t taken = dm_http_request_write(rig.request, block, sizeof(block));
    assert_true(taken < sizeof(block));
    rig_settle();
    check_heard("");
    rig_read(taken);
    rig_settle();
    check_heard("W");
}

static void h1_an_idle_tunnel_ends(void **state)
{
    rig.script.on_request_end = tunnel_at_end;
    rig_send(UPGRADE);
    check_got(SWITCHED);
    for (int i = 0; i < 5; i++) {
        rig_pass_ms(50000);
        rig_send("x");
    }
    rig_settle();
    assert_int_equal(dm_http_server_connections(rig.server), 1);
    dm_buf_reset(&rig.heard);
    rig_pass_ms(75000);
    check_heard("T:idle_timeout A:idle_timeout");
    rig_read_all();
    assert_true(rig.is_ended);
}

static void restart_with_total(uint32_t ms)
{
    rig.settings.tunnel_timeout_ms = ms;
    rig_renew_server();
    rig_connect();
    rig_settle();
}

static void h1_a_tunnel_ends_in_all(void **state)
{
    restart_with_total(120000);
    rig.script.on_request_end = tunnel_at_end;
    rig_send(UPGRADE);
    check_got(SWITCHED);
    for (int i = 0; i < 20; i++) {
        rig_receive(SIZE_MAX);
        if (!rig.is_ended)
            rig_send("x");
        rig_pass_ms(10000);
    }
    assert_true(has_heard("T:shutdown A:shutdown"));
}

static void h1_a_client_that_went_before(void **state)
{
    rig_send(UPGRADE);
    rig.client->ops->shutdown_write(rig.client, rig.fd);
    rig_settle();
    check_heard("R E");
    open_tunnel(rig.request);
    check_got(SWITCHED);
    rig_settle();
    check_heard("E");
    dm_http_request_end(rig.request, DM_STR_NULL);
    check_ended();
    check_heard("D");
}

static void h1_aborts(void **state)
{
    rig.script.on_request_end = tunnel_at_end;
    rig_send(UPGRADE);
    check_got(SWITCHED);
    dm_http_request_abort(rig.request);
    rig_read_all();
    assert_true(rig.is_ended);
    assert_true(rig.is_reset);
    check_heard("R E");
}

/* --- goodbyes in HTTP/1.1 ------------------------------------------------------------------------------------------ */

static void say_bye(struct rig *r, struct dm_http_request *request)
{
    dm_http_request_leave(request, DM_STR("bye"));
}

static void h1_open(void)
{
    rig.script.on_request_end = tunnel_at_end;
    rig.script.on_tunnel_due = say_bye;
    rig_send(UPGRADE);
    check_got(SWITCHED);
    dm_buf_reset(&rig.heard);
}

static void h1_check_closed(void)
{
    rig.client->ops->shutdown_write(rig.client, rig.fd);
    rig_settle();
    assert_int_equal(dm_http_server_connections(rig.server), 0);
}

static void h1_an_idle_tunnel_says_goodbye(void **state)
{
    h1_open();
    rig_pass_ms(75000);
    check_heard("T:idle_timeout");
    rig_send("what comes behind it is nobody's");
    rig_read(3);
    assert_int_equal(rig.got.len, 3);
    assert_memory_equal(rig.got.ptr, "bye", 3);
    dm_buf_reset(&rig.got);
    check_ended();
    check_heard("");
    h1_check_closed();
}

/* What is no tunnel is told in another way. */
static void h1_the_server_ends_its_tunnels(void **state)
{
    int fd;

    h1_open();
    fd = rig.fd;
    rig.fd = -1;
    rig_connect();
    rig_send(GET);
    rig_settle();
    dm_buf_reset(&rig.heard);
    dm_http_server_end_requests(rig.server);
    rig_settle();
    check_heard("Q T:shutdown");
    reply_hello(&rig, rig.request);
    check_got(HELLO);
    rig.client->ops->close(rig.client, rig.fd);
    rig.fd = fd;
    check_got("bye");
    check_ended();
    h1_check_closed();
}

/* All that was written comes, and the last bytes not in part. */
static void h1_a_goodbye_without_room(void **state)
{
    static char block[200000];
    size_t taken;

    h1_open();
    taken = dm_http_request_write(rig.request, block, sizeof(block));
    rig_settle();
    taken += dm_http_request_write(rig.request, block, sizeof(block));
    assert_true(taken < sizeof(block));
    dm_http_server_end_requests(rig.server);
    check_heard("T:shutdown");
    rig_read_all();
    assert_int_equal(rig.got.len, taken);
    assert_false(rig.is_reset);
    h1_check_closed();
}

static void h1_a_server_that_goes_says_goodbye(void **state)
{
    h1_open();
    dm_http_server_free(rig.server);
    rig.server = NULL;
    check_heard("T:shutdown");
    check_got("bye");
    check_ended();
}

static void h1_a_goodbye_behind_our_end(void **state)
{
    h1_open();
    dm_http_request_end(rig.request, DM_STR_NULL);
    dm_http_server_end_requests(rig.server);
    check_heard("T:shutdown");
    check_ended();
    h1_check_closed();
}

static void h1_leaving_what_is_no_tunnel(void **state)
{
    rig_send(GET);
    rig_settle();
    dm_http_request_leave(rig.request, DM_STR("bye"));
    rig_read_all();
    assert_int_equal(rig.got.len, 0);
    check_heard("R E");
}

/* --- HTTP/2 ------------------------------------------------------------------------------------------------------- */

static int32_t connect_websocket(void)
{
    nghttp2_nv nv[] = {NV(":method", "CONNECT"), NV(":protocol", "websocket"), NV(":scheme", "http"),
                       NV(":path", "/chat"), NV(":authority", "a")};
    nghttp2_data_provider provider = {.read_callback = read_upload};

    h2.is_open = true;
    return nghttp2_submit_request(h2.session, NULL, nv, DM_COUNT(nv), &provider, NULL);
}

static void say(int32_t id, const char *text)
{
    dm_buf_add_n(&h2.upload, text, strlen(text));
    nghttp2_session_resume_data(h2.session, id);
}

static void h2_bytes_go_both_ways(void **state)
{
    rig.script.on_request = note_upgrade;
    rig.script.on_request_end = tunnel_at_end;
    int32_t id = connect_websocket();
    check_seen("H1:200");
    check_heard("R [websocket] E");
    assert_string_equal((dm_buf_add_char(&h2.fields, 0), h2.fields.ptr), "sec-websocket-accept=x;");
    say(id, "hello");
    h2_run();
    check_heard("B5");
    assert_int_equal(dm_http_request_write(rig.request, "abc", 3), 3);
    check_seen("D1:3");
    dm_http_request_end(rig.request, DM_STR_NULL);
    check_seen("E1");
    check_heard("");
    say(id, "more");
    h2_run();
    check_heard("B4");
    h2.is_open = false;
    say(id, "");
    h2_run();
    check_heard("E D");
    assert_int_equal(dm_http_server_connections(rig.server), 1);
}

static void h2_the_client_ends_first(void **state)
{
    rig.script.on_request_end = tunnel_at_end;
    int32_t id = connect_websocket();
    h2_run();
    h2.is_open = false;
    say(id, "x");
    h2_run();
    check_heard("R E B1 E");
    assert_int_equal(dm_http_request_write(rig.request, "late", 4), 4);
    dm_http_request_end(rig.request, DM_STR_NULL);
    check_seen("H1:200 D1:4 E1");
    check_heard("D");
}

static void h2_early_bytes_wait_for_the_decision(void **state)
{
    dm_buf_add_lit(&h2.upload, "early");
    connect_websocket();
    h2_run();
    check_heard("R E");
    open_tunnel(rig.request);
    h2_run();
    check_heard("B5");
}

static void h2_a_tunnel_that_is_refused(void **state)
{
    rig.script.on_request_end = hello_at_end;
    dm_buf_add_lit(&h2.upload, "early");
    connect_websocket();
    check_seen("H1:200 D1:5 E1 X1:0");
    check_heard("R E D");
    h2_get();
    check_seen("H3:200 D3:5 E3");
}

static void h2_an_idle_tunnel_ends(void **state)
{
    rig.script.on_request_end = tunnel_at_end;
    connect_websocket();
    h2_run();
    rig_pass_ms(55000);
    check_heard("R E");
    rig_pass_ms(20000);
    check_heard("T:idle_timeout A:idle_timeout");
    check_seen("H1:200 X1:8");
    assert_int_equal(dm_http_server_connections(rig.server), 1);
}

static void h2_a_client_that_resets(void **state)
{
    rig.script.on_request_end = tunnel_at_end;
    int32_t id = connect_websocket();
    h2_run();
    nghttp2_submit_rst_stream(h2.session, 0, id, NGHTTP2_CANCEL);
    h2_run();
    check_heard("R E A:cancelled");
}

static void h2_back_pressure(void **state)
{
    static char block[100000];

    rig.script.on_request_end = tunnel_at_end;
    h2.holds_back = h2.is_quiet = true;
    connect_websocket();
    h2_run();
    assert_int_equal(dm_http_request_write(rig.request, block, sizeof(block)), 65535);
    h2_run();
    check_heard("R E");
    nghttp2_session_consume(h2.session, 1, 65535);
    h2_run();
    check_heard("W");
}

/* --- goodbyes in HTTP/2 -------------------------------------------------------------------------------------------- */

static int32_t h2_open(void)
{
    rig.script.on_request_end = tunnel_at_end;
    rig.script.on_tunnel_due = say_bye;
    int32_t id = connect_websocket();
    check_seen("H1:200");
    dm_buf_reset(&rig.heard);
    return id;
}

static void h2_check_alive(void)
{
    rig.script.on_request_end = hello_at_end;
    h2_get();
    check_seen("H3:200 D3:5 E3");
}

static void h2_an_idle_tunnel_says_goodbye(void **state)
{
    int32_t id = h2_open();

    for (int s = 0; s < 75 && rig.heard.len == 0; s++)
        rig_pass_ms(1000);
    check_heard("T:idle_timeout");
    check_seen("D1:3 E1");
    say(id, "what comes behind it is nobody's");
    h2.is_open = false;
    say(id, "");
    h2_check_alive();
    rig_pass_ms(10000);
    check_seen(""); /* it ended without a reset */
}

static void h2_the_server_ends_its_tunnels(void **state)
{
    int32_t id = h2_open();

    h2.is_open = false; /* the client has ended its direction: nothing is left to stop */
    say(id, "");
    h2_run();
    check_heard("E");
    dm_http_server_end_requests(rig.server);
    check_heard("T:shutdown");
    check_seen("D1:3 E1");
    h2_check_alive();
}

static void h2_a_client_that_does_not_end(void **state)
{
    h2_open();
    dm_http_request_end(rig.request, DM_STR_NULL);
    check_seen("E1");
    dm_http_server_end_requests(rig.server);
    check_heard("T:shutdown");
    check_seen("");
    rig_pass_ms(6000);
    check_seen("X1:8");
    h2_check_alive();
}

/* It waits for the client's window, for a while. */
static void h2_a_goodbye_without_a_window(void **state)
{
    static char block[70000];
    int32_t id = h2_open();

    h2.holds_back = h2.is_quiet = true;
    assert_int_equal(dm_http_request_write(rig.request, block, sizeof(block)), 65535);
    dm_http_server_end_requests(rig.server);
    check_heard("T:shutdown");
    check_seen("");
    nghttp2_session_consume(h2.session, id, 65535);
    h2.is_quiet = false;
    check_seen("D1:3 E1");
    h2_check_alive();
}

static void h2_a_goodbye_that_nobody_takes(void **state)
{
    static char block[70000];

    h2_open();
    h2.holds_back = h2.is_quiet = true;
    assert_int_equal(dm_http_request_write(rig.request, block, sizeof(block)), 65535);
    dm_http_server_end_requests(rig.server);
    rig_pass_ms(6000);
    check_seen("X1:8");
}

static void h2_a_server_that_goes_says_goodbye(void **state)
{
    h2_open();
    dm_http_server_free(rig.server);
    rig.server = NULL;
    check_heard("T:shutdown");
    check_seen("D1:3 E1");
}

#define H1(name) cmocka_unit_test_setup_teardown(name, setup_h1, rig_teardown)
#define H2(name) cmocka_unit_test_setup_teardown(name, setup_h2, h2_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        H1(h1_bytes_go_both_ways),
        H1(h1_the_client_ends_first),
        H1(h1_early_bytes_are_the_tunnels),
        H1(h1_early_bytes_wait_for_the_decision),
        H1(h1_early_bytes_are_the_next_request),
        H1(h1_a_body_before_the_tunnel),
        H1(h1_tunnels_that_are_none),
        H1(h1_what_is_no_upgrade),
        H1(h1_back_pressure_both_ways),
        H1(h1_an_idle_tunnel_ends),
        H1(h1_a_tunnel_ends_in_all),
        H1(h1_a_client_that_went_before),
        H1(h1_aborts),
        H1(h1_an_idle_tunnel_says_goodbye),
        H1(h1_the_server_ends_its_tunnels),
        H1(h1_a_goodbye_without_room),
        H1(h1_a_server_that_goes_says_goodbye),
        H1(h1_a_goodbye_behind_our_end),
        H1(h1_leaving_what_is_no_tunnel),
        H2(h2_bytes_go_both_ways),
        H2(h2_the_client_ends_first),
        H2(h2_early_bytes_wait_for_the_decision),
        H2(h2_a_tunnel_that_is_refused),
        H2(h2_an_idle_tunnel_ends),
        H2(h2_a_client_that_resets),
        H2(h2_back_pressure),
        H2(h2_an_idle_tunnel_says_goodbye),
        H2(h2_the_server_ends_its_tunnels),
        H2(h2_a_client_that_does_not_end),
        H2(h2_a_goodbye_without_a_window),
        H2(h2_a_goodbye_that_nobody_takes),
        H2(h2_a_server_that_goes_says_goodbye),
    };

    return cmocka_run_group_tests_name("tunnel", tests, NULL, NULL);
}
