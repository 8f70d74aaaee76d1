/* Bounds that the owner sets for one connection, or for one request, in place of the server's; over HTTP/1.1 and HTTP/2. */
#include "server_h2_rig.h"

#define POST "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n"

static void check_timeouts(unsigned head, unsigned idle, unsigned body, unsigned reader)
{
    const unsigned expected[] = {head, idle, body, reader};
    const uint64_t *counted = dm_http_server_stats(rig.server)->timeouts;

    for (int i = 0; i < DM_HTTP_TIMEOUT_COUNT; i++) {
        assert_int_equal(rig.timeouts[i], expected[i]);
        assert_int_equal(counted[i], expected[i]);
    }
}

/* --- scripts ------------------------------------------------------------------------------------------------------ */

static void set_timeouts(struct rig *r, struct dm_http_request *request, struct dm_http_head *head)
{
    dm_http_conn_set_timeouts(dm_http_request_conn(request), 1000, 3000);
}

static void set_no_timeouts(struct rig *r, struct dm_http_request *request, struct dm_http_head *head)
{
    dm_http_conn_set_timeouts(dm_http_request_conn(request), 0, 0);
}

/* The first request alone. */
static void set_pace_once(struct rig *r, struct dm_http_request *request, struct dm_http_head *head)
{
    dm_http_request_set_pace(request, 1000, 0);
    r->script.on_request = NULL;
}

static void set_rate(struct rig *r, struct dm_http_request *request, struct dm_http_head *head)
{
    dm_http_request_set_pace(request, 30000, 100);
}

static void set_pace_and_stream(struct rig *r, struct dm_http_request *request, struct dm_http_head *head)
{
    set_pace_once(r, request, head);
    stream_length(r, request, head);
}

static void limit_streams(struct rig *r, struct dm_http_request *request, struct dm_http_head *head)
{
    dm_http_conn_limit_streams(dm_http_request_conn(request), 1000); /* raises nothing */
    dm_http_conn_limit_streams(dm_http_request_conn(request), 2);
}

static void reply_last(struct rig *r, struct dm_http_request *request, struct dm_http_head *head)
{
    struct dm_http_message m = {.status = 503, .is_closing = true};

    dm_http_request_reply(request, &m, DM_STR("full"));
    r->script.on_request = NULL;
}

/* --- HTTP/1.1 ----------------------------------------------------------------------------------------------------- */

static void idle(void **state)
{
    rig.script.on_request = set_timeouts;
    rig.script.on_request_end = hello_at_end;
    rig_send(GET);
    check_got(HELLO);
    rig_pass_ms(2900);
    assert_true(rig_is_open());
    rig_pass_ms(300);
    check_ended();
    check_timeouts(0, 1, 0, 0);
}

static void head(void **state)
{
    rig.script.on_request = set_timeouts;
    rig.script.on_request_end = hello_at_end;
    rig_send(GET);
    check_got(HELLO);
    rig_send("GET / HT");
    rig_pass_ms(900);
    assert_true(rig_is_open());
    rig_pass_ms(200);
    check_got(TIMED_OUT);
    check_timeouts(1, 0, 0, 0);
}

static void no_timeouts(void **state)
{
    rig.script.on_request = set_no_timeouts;
    rig.script.on_request_end = hello_at_end;
    rig_send(GET);
    check_got(HELLO);
    rig_pass_ms(1000000);
    rig_send("GET / HTTP/1.1\r\nHost:");
    rig_pass_ms(1000000);
    rig_send(" a\r\n\r\n");
    check_got(HELLO);
    check_timeouts(0, 0, 0, 0);
}

static void other_connections_keep_the_servers(void **state)
{
    rig.script.on_request = set_timeouts;
    rig.script.on_request_end = hello_at_end;
    rig_send(GET);
    check_got(HELLO);
    rig_connect();
    rig.script.on_request = NULL;
    rig_send(GET);
    check_got(HELLO);
    rig_pass_ms(74000);
    assert_true(rig_is_open());
    check_timeouts(0, 0, 0, 0);
}

static void body(void **state)
{
    rig.script.on_request = set_pace_once;
    rig_send(POST "abc");
    rig_pass_ms(900);
    assert_true(rig_is_open());
    rig_pass_ms(500);
    check_got(TIMED_OUT);
    check_heard("R B3 F:idle_timeout A:idle_timeout");
    check_timeouts(0, 0, 1, 0);
}

static void the_next_request_has_the_servers_pace(void **state)
{
    rig.script.on_request = set_pace_once;
    rig.script.on_request_end = hello_at_end;
    rig_send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc");
    check_got(HELLO);
    rig_send(POST "abc");
    rig_pass_ms(29000);
    assert_true(rig_is_open());
    rig_pass_ms(11000);
    assert_false(rig_is_open());
    check_timeouts(0, 0, 1, 0);
}

static void rate(void **state)
{
    rig.script.on_request = set_rate;
    rig_send(POST);
    check_slow_body_is_cut();
    check_timeouts(0, 0, 1, 0);
}

static void reader(void **state)
{
    rig.script.on_request = set_pace_and_stream;
    rig.script.on_writable = stream_more;
    rig.left = 1000000;
    rig_send(GET);
    rig_pass_ms(900);
    assert_true(rig_is_open());
    rig_pass_ms(3000);
    assert_true(has_heard("A:idle_timeout"));
    check_timeouts(0, 0, 0, 1);
}

static void closing(void **state)
{
    rig.script.on_request = reply_last;
    rig_send(GET GET);
    check_got("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\nConnection: close\r\n\r\nfull");
    check_ended();
}

/* --- HTTP/2 ------------------------------------------------------------------------------------------------------- */

static void h2_idle(void **state)
{
    rig.script.on_request = set_timeouts;
    rig.script.on_request_end = hello_at_end;
    h2_get();
    check_seen("H1:200 D1:5 E1");
    rig_pass_ms(2500);
    assert_true(rig_is_open());
    rig_pass_ms(5000);
    check_seen("G0");
    assert_true(rig.is_ended);
    check_timeouts(0, 1, 0, 0);
}

static void h2_head(void **state)
{
    rig.script.on_request = set_timeouts;
    h2_get();
    h2_run();
    send_frame(HEADERS, END_STREAM, 3, "\x82", 1);
    rig_pass_ms(900);
    assert_true(rig_is_open());
    rig_pass_ms(300);
    h2_take();
    assert_true(rig.is_ended);
    check_timeouts(1, 0, 0, 0);
}

/* One of two: the other has the server's. */
static void h2_body(void **state)
{
    rig.script.on_request = set_pace_once;
    h2.is_open = true;
    h2_post("abc", 3);
    h2_run();
    h2_post("", 0);
    h2_run();
    rig_pass_ms(900);
    h2_run();
    assert_false(has_seen("408"));
    rig_pass_ms(500);
    h2_run();
    assert_true(has_seen("H1:408"));
    rig_pass_ms(20000);
    h2_run();
    assert_false(has_seen("H3:408"));
    check_timeouts(0, 0, 1, 0);
    rig_pass_ms(20000);
    h2_run();
    assert_true(has_seen("H3:408"));
    check_timeouts(0, 0, 2, 0);
}

static void h2_rate(void **state)
{
    rig.script.on_request = set_rate;
    h2.is_open = true;
    h2_post("abc", 3);
    h2_run();
    rig_pass_ms(9000);
    h2_run();
    assert_false(has_seen("408"));
    rig_pass_ms(12000);
    h2_run();
    assert_true(has_seen("H1:408"));
    assert_true(has_heard("A:body_too_slow"));
    check_timeouts(0, 0, 1, 0);
}

static void h2_reader(void **state)
{
    rig.script.on_request = set_pace_and_stream;
    rig.script.on_writable = stream_more;
    rig.left = 1000000;
    h2.holds_back = h2.is_quiet = true;
    h2_get();
    h2_run();
    rig_pass_ms(900);
    h2_run();
    assert_false(has_seen("X1:"));
    rig_pass_ms(1000);
    h2_run();
    assert_true(has_seen("X1:8"));
    assert_true(rig_is_open());
    check_timeouts(0, 0, 0, 1);
}

/* Before the client can know it; then it knows. */
static void h2_streams(void **state)
{
    rig.script.on_request = limit_streams;
    for (int i = 0; i < 4; i++)
        h2_get();
    h2_run();
    check_heard("R E R E");
    check_seen("X5:7 X7:7");
    assert_int_equal(rig.n_refused, 2);
    assert_int_equal(dm_http_server_http2_counters(rig.server)->refused_streams, 2);
    assert_int_equal(nghttp2_session_get_remote_settings(h2.session, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS), 2);
    h2_get(); /* waits at the client */
    check_seen("");
    reply_hello(&rig, rig.request);
    check_seen("H3:200 D3:5 E3");
    check_heard("D R E");
    assert_int_equal(rig.n_refused, 2);
}

/* What is in hand goes through. */
static void h2_closing(void **state)
{
    h2_get();
    h2_run();
    struct dm_http_request *first = rig.request;
    rig.script.on_request = reply_last;
    h2_get();
    check_seen("G0 H3:503 D3:4 E3");
    assert_true(rig_is_open());
    reply_hello(&rig, first);
    check_seen("H1:200 D1:5 E1");
    rig_pass_ms(3000);
    h2_run();
    assert_true(rig.is_ended);
    assert_false(rig_is_open());
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, rig_setup_narrow, rig_teardown)
#define TEST_H2(name) cmocka_unit_test_setup_teardown(name, h2_setup, h2_teardown)
    const struct CMUnitTest tests[] = {
        TEST(idle),          TEST(head),
        TEST(no_timeouts),   TEST(other_connections_keep_the_servers),
        TEST(body),          TEST(the_next_request_has_the_servers_pace),
        TEST(rate),          TEST(reader),
        TEST(closing),       TEST_H2(h2_idle),
        TEST_H2(h2_head),    TEST_H2(h2_body),
        TEST_H2(h2_rate),    TEST_H2(h2_reader),
        TEST_H2(h2_streams), TEST_H2(h2_closing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
