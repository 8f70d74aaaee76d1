/* Time limits of a server: what comes too late, and clients that have ended their direction; in simulated time. */
#include "server_rig.h"

#define POST_LENGTH "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n"

/* --- waiting for heads -------------------------------------------------------------------------------------------- */

static void a_silent_client_is_closed(void **state)
{
    rig_pass_ms(9900);
    assert_true(rig_is_open());
    rig_pass_ms(200);
    check_ended_now();
    check_heard("");
}

static void a_head_is_timed_from_its_first_byte(void **state)
{
    rig_pass_ms(5000);
    for (int i = 0; i < 9; i++) {
        rig_send(i == 0 ? "G" : "E");
        rig_pass_ms(1000);
    }
    rig_pass_ms(900);
    assert_true(rig_is_open());
    check_heard("");
    rig_pass_ms(200);
    check_got_now(TIMED_OUT);
    check_heard("F:head_timeout");
}

static void an_idle_connection_is_closed(void **state)
{
    rig.script.on_request = hello_at_once;
    rig_send(GET);
    check_got(HELLO);
    rig_pass_ms(74900);
    assert_true(rig_is_open());
    rig_send(GET);
    check_got(HELLO);
    rig_pass_ms(74900);
    assert_true(rig_is_open());
    rig_pass_ms(300);
    check_ended_now();
}

static void what_did_not_come_in_time_is_counted(void **state)
{
    const uint64_t *timeouts = dm_http_server_stats(rig.server)->timeouts;

    rig_pass_ms(11000);
    check_ended_now();
    assert_int_equal(timeouts[DM_HTTP_TIMEOUT_HEAD], 1);
    rig.is_proxied = true;
    rig_connect();
    rig_send("PROXY TCP4 192.0.2.7");
    rig_pass_ms(11000);
    rig_receive(SIZE_MAX);
    assert_true(rig.is_ended && rig.got.len == 0);
    assert_int_equal(timeouts[DM_HTTP_TIMEOUT_HEAD], 2);
    rig.is_proxied = false;
    rig_connect();
    rig.script.on_request = hello_at_once;
    rig_send(GET);
    check_got(HELLO);
    rig_pass_ms(76000);
    check_ended_now();
    assert_int_equal(timeouts[DM_HTTP_TIMEOUT_IDLE], 1);
    rig.script.on_request = NULL;
    rig_connect();
    rig_send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc");
    rig_pass_ms(60000);
    assert_int_equal(timeouts[DM_HTTP_TIMEOUT_BODY], 1);
    rig.script.on_request = stream_length;
    rig.left = 50000000;
    rig_connect();
    rig_send(GET);
    rig_pass_ms(60000);
    assert_int_equal(timeouts[DM_HTTP_TIMEOUT_READER], 1);
    assert_int_equal(dm_http_server_stats(rig.server)->connections, 0);
}

static void no_limits_no_timers(void **state)
{
    rig.settings.head_timeout_ms = rig.settings.idle_timeout_ms = rig.settings.body_timeout_ms = 0;
    rig_renew_server();
    rig_connect();
    rig_pass_ms(1000000);
    rig_send("GET / HTTP/1.1\r\nHost:");
    rig_pass_ms(1000000);
    rig.script.on_request_end = hello_at_end;
    rig_send(" a\r\n\r\n");
    check_got(HELLO);
    rig_pass_ms(1000000);
    rig_send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n");
    rig_pass_ms(1000000);
    rig_send("b");
    check_got(HELLO);
}

/* --- waiting for bodies ------------------------------------------------------------------------------------------- */

static void a_body_that_stops_coming_aborts(void **state)
{
    rig_send(POST_LENGTH "abc");
    rig_pass_ms(29000);
    assert_true(rig_is_open());
    rig_pass_ms(11000);
    check_got_now(TIMED_OUT);
    check_ended_now();
    check_heard("R B3 F:idle_timeout A:idle_timeout");
}

static void reply_begun(struct rig *r, struct dm_http_request *request, struct dm_http_head *head)
{
    struct dm_http_message message = {.status = 200, .framing = DM_HTTP_FRAMING_CHUNKED};

    dm_http_request_respond(request, &message);
}

/* Nothing can be said any more. */
static void a_body_that_stops_coming_behind_a_response_aborts(void **state)
{
    rig.script.on_request = reply_begun;
    rig_send(POST_LENGTH "abc");
    check_got("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    rig_pass_ms(41000);
    check_ended_now();
    check_heard("R B3 A:idle_timeout");
}

static void reply_45000_once(struct rig *r, struct dm_http_request *request, struct dm_http_head *head)
{
    static char body[45000];
    struct dm_http_message message = {.status = 200};

    memset(body, 'x', sizeof(body));
    dm_http_request_reply(request, &message, dm_str_n(body, sizeof(body)));
    r->script.on_request = NULL;
}

/* 408 would say that it may be repeated. */
static void a_whole_request_behind_an_unread_response_is_not_too_slow(void **state)
{
    rig.script.on_request = reply_45000_once;
    rig_send(GET "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc");
    for (int i = 0; i < 600 && !has_heard("A:"); i++)
        rig_pass_ms(100);
    check_heard("R D R B3 E A:idle_timeout");
}

static void a_slow_head_behind_a_HEAD_is_answered_with_a_body(void **state)
{
    rig.script.on_request = hello_at_once;
    rig_send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n");
    check_got("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n");
    rig_send("GET / HT");
    rig_pass_ms(10200);
    check_got_now(TIMED_OUT);
    check_ended_now();
}

static void a_silent_client_is_closed_without_a_limit_for_heads(void **state)
{
    rig.settings.head_timeout_ms = 0;
    rig_renew_server();
    rig_connect();
    rig_pass_ms(74900);
    assert_true(rig_is_open());
    rig_pass_ms(300);
    check_ended_now();
}

static void a_body_that_drips_goes_on(void **state)
{
    rig_send(POST_LENGTH);
    for (int i = 0; i < 10; i++) {
        rig_send("b");
        rig_pass_ms(20000);
    }
    assert_true(rig_is_open());
    assert_int_equal(rig.body.len, 10);
}

static void use_rate(uint32_t bytes)
{
    rig.settings.body_rate_bytes = bytes;
    rig_renew_server();
    rig_connect();
}

static void a_body_below_the_rate_aborts(void **state)
{
    use_rate(100);
    rig_send(POST_LENGTH);
    check_slow_body_is_cut();
}

static void a_body_above_the_rate_goes_on_and_may_not_stop(void **state)
{
    char block[200];

    memset(block, 'b', sizeof(block));
    use_rate(100);
    rig_send(POST_LENGTH);
    for (int i = 0; i < 100; i++) {
        rig_send_n(block, sizeof(block));
        rig_pass_ms(1000);
    }
    assert_true(rig_is_open());
    rig_pass_ms(41000); /* on average still above */
    assert_false(rig_is_open());
    assert_true(has_heard("A:idle_timeout"));
}

static void an_owner_that_pauses_is_not_the_clients_fault(void **state)
{
    use_rate(1000);
    rig.script.on_body = take_nothing;
    rig_send(POST_LENGTH "abc");
    rig_pass_ms(1000000);
    assert_true(rig_is_open());
    check_heard("R B0");
    rig.script.on_body = NULL;
    dm_http_request_resume(rig.request);
    rig_pass_ms(9000);
    assert_true(rig_is_open());
    rig_pass_ms(12000);
    check_heard("B3 F:body_too_slow A:body_too_slow");
}

static void an_owner_that_thinks_is_not_the_clients_fault(void **state)
{
    use_rate(1000);
    rig_send(GET);
    rig_pass_ms(1000000);
    assert_true(rig_is_open());
    reply_hello(&rig, rig.request);
    check_got(HELLO);
}

/* --- clients that have ended their direction ---------------------------------------------------------------------- */

static void end_client(void)
{
    rig.client->ops->shutdown_write(rig.client, rig.fd);
    rig_settle();
}

/* A long poll: nobody is at fault. */
static void an_answer_may_take_long(void **state)
{
    rig_send(GET);
    rig_pass_ms(60000);
    check_heard("R E");
    rig_pass_ms(3600000);
    reply_hello(&rig, rig.request);
    check_got(HELLO);
    check_done();
    assert_true(rig_is_open());
}

static void a_half_closed_client_gets_its_answer(void **state)
{
    rig_send(GET);
    end_client();
    rig_pass_ms(4900);
    check_heard("R E");
    reply_hello(&rig, rig.request);
    check_got(HELLO);
    check_ended();
    check_done();
}

static void a_half_closed_client_is_taken_for_gone(void **state)
{
    rig_send(GET);
    end_client();
    rig_pass_ms(4900);
    check_heard("R E");
    rig_pass_ms(1500);
    check_heard("A:peer_closed");
    assert_false(rig_is_open());
}

/* The beginning of a response, or one that rests, is no reason to stay. */
static void a_half_closed_client_of_a_stream(void **state)
{
    struct dm_http_message m = {.status = 200, .framing = DM_HTTP_FRAMING_CHUNKED};

    rig_send(GET);
    rig_settle();
    dm_http_request_respond(rig.request, &m);
    rig_pass_ms(100000);
    end_client();
    for (int i = 0; i < 20; i++) {
        rig_pass_ms(4500);
        assert_int_equal(dm_http_request_write(rig.request, "event", 5), 5);
    }
    check_heard("R E");
    rig_pass_ms(4900);
    check_heard("");
    rig_pass_ms(1500);
    check_heard("A:peer_closed");
}

static void a_half_closed_client_that_reads_slowly(void **state)
{
    static char block[30000];
    struct dm_http_message m = {.status = 200, .framing = DM_HTTP_FRAMING_CLOSE};
    size_t written;

    rig_send(GET);
    end_client();
    dm_http_request_respond(rig.request, &m);
    written = dm_http_request_write(rig.request, block, sizeof(block));
    while (written == sizeof(block)) /* until the queue is full */
        written = dm_http_request_write(rig.request, block, sizeof(block));
    dm_buf_reset(&rig.heard);
    rig_pass_ms(25000);
    check_heard(""); /* it is the client that is waited for */
    rig_receive(15000);
    rig_pass_ms(25000);
    assert_false(has_heard("A:"));
    rig_pass_ms(20000);
    check_heard("A:idle_timeout");
    assert_int_equal(dm_http_server_stats(rig.server)->timeouts[DM_HTTP_TIMEOUT_READER], 1);
}

static void a_half_closed_client_without_a_limit(void **state)
{
    rig.settings.half_closed_timeout_ms = 0;
    rig_renew_server();
    rig_connect();
    rig_send(GET);
    end_client();
    rig_pass_ms(3600000);
    check_heard("R E");
    reply_hello(&rig, rig.request);
    check_got(HELLO);
    check_ended();
}

static void a_client_that_waits_for_100_is_not_slow(void **state)
{
    rig_send("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
    rig_pass_ms(1000000);
    assert_true(rig_is_open());
    dm_http_request_inform(rig.request, 100, DM_STR_NULL);
    check_got("HTTP/1.1 100 Continue\r\n\r\n");
    rig_pass_ms(41000);
    check_got_now(TIMED_OUT);
    check_ended_now();
    check_heard("R F:idle_timeout A:idle_timeout");
}

static void a_rest_that_does_not_come_ends_the_connection(void **state)
{
    rig.script.on_request = hello_at_once;
    rig_send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nab");
    check_got(HELLO);
    check_heard("R");
    rig_pass_ms(41000);
    check_ended_now();
    check_heard("D");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, rig_setup_narrow, rig_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_silent_client_is_closed),
        TEST(a_head_is_timed_from_its_first_byte),
        TEST(an_idle_connection_is_closed),
        TEST(what_did_not_come_in_time_is_counted),
        TEST(no_limits_no_timers),
        TEST(a_body_that_stops_coming_aborts),
        TEST(a_body_that_stops_coming_behind_a_response_aborts),
        TEST(a_whole_request_behind_an_unread_response_is_not_too_slow),
        TEST(a_slow_head_behind_a_HEAD_is_answered_with_a_body),
        TEST(a_silent_client_is_closed_without_a_limit_for_heads),
        TEST(a_body_that_drips_goes_on),
        TEST(a_body_below_the_rate_aborts),
        TEST(a_body_above_the_rate_goes_on_and_may_not_stop),
        TEST(an_owner_that_pauses_is_not_the_clients_fault),
        TEST(an_owner_that_thinks_is_not_the_clients_fault),
        TEST(an_answer_may_take_long),
        TEST(a_half_closed_client_gets_its_answer),
        TEST(a_half_closed_client_is_taken_for_gone),
        TEST(a_half_closed_client_of_a_stream),
        TEST(a_half_closed_client_that_reads_slowly),
        TEST(a_half_closed_client_without_a_limit),
        TEST(a_client_that_waits_for_100_is_not_slow),
        TEST(a_rest_that_does_not_come_ends_the_connection),
    };

    return cmocka_run_group_tests_name("http server time", tests, NULL, NULL);
}
