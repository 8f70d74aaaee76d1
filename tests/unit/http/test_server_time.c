/* Time limits, slow clients and bounds of a server, in simulated time; and system calls that fail. */
#include "test_server_rig.h"

#define POST_LENGTH "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n"

#define TIMED_OUT "HTTP/1.1 408 Request Timeout\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbad"

static struct dm_sim_faults faults;

static int setup(void **state)
{
    memset(&rig, 0, sizeof(rig));
    memset(&faults, 0, sizeof(faults));
    faults.socket_bytes = 20000;
    rig.settings = dm_http_server_defaults;
    rig.settings.write_cap_bytes = 60000;
    rig_start(dm_world_new(3, &faults));
    rig_settle();
    return 0;
}

static int teardown(void **state)
{
    rig_stop();
    return 0;
}

static bool is_open(void)
{
    return dm_http_server_connections(rig.server) == 1;
}

/* No more time passes. */
#define check_got_now(text)                                                                                            \
    (rig_receive(SIZE_MAX), check_text(&rig.got, (text), __FILE__, __LINE__), dm_buf_reset(&rig.got))

static void check_ended_now(void)
{
    rig_receive(SIZE_MAX);
    assert_true(rig.is_ended);
    assert_false(rig.is_reset);
    assert_int_equal(rig.got.len, 0);
}

/* --- waiting for heads -------------------------------------------------------------------------------------------- */

static void a_silent_client_is_closed(void **state)
{
    rig_pass_ms(9900);
    assert_true(is_open());
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
    assert_true(is_open());
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
    assert_true(is_open());
    rig_send(GET);
    check_got(HELLO);
    rig_pass_ms(74900);
    assert_true(is_open());
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
    dm_http_server_free(rig.server);
    rig.server = dm_http_server_new(rig.loop, &rig.settings, &rig_handler, &rig);
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
    assert_true(is_open());
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
    dm_http_server_free(rig.server);
    rig.server = dm_http_server_new(rig.loop, &rig.settings, &rig_handler, &rig);
    rig_connect();
    rig_pass_ms(74900);
    assert_true(is_open());
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
    assert_true(is_open());
    assert_int_equal(rig.body.len, 10);
}

static void use_rate(uint32_t bytes)
{
    rig.settings.body_rate_bytes = bytes;
    dm_http_server_free(rig.server);
    rig.server = dm_http_server_new(rig.loop, &rig.settings, &rig_handler, &rig);
    rig_connect();
}

static void a_body_below_the_rate_aborts(void **state)
{
    use_rate(100);
    rig_send(POST_LENGTH);
    for (int i = 0; i < 9; i++) {
        rig_send("b");
        rig_pass_ms(1000);
    }
    assert_true(is_open());
    for (int i = 0; i < 12; i++)
        rig_pass_ms(1000);
    assert_false(is_open());
    assert_true(has_heard("A:body_too_slow"));
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
    assert_true(is_open());
    rig_pass_ms(41000); /* on average still above */
    assert_false(is_open());
    assert_true(has_heard("A:idle_timeout"));
}

static size_t take_nothing(struct rig *r, struct dm_http_request *request, const char *ptr, size_t len)
{
    return 0;
}

static void an_owner_that_pauses_is_not_the_clients_fault(void **state)
{
    use_rate(1000);
    rig.script.on_body = take_nothing;
    rig_send(POST_LENGTH "abc");
    rig_pass_ms(1000000);
    assert_true(is_open());
    check_heard("R B0");
    rig.script.on_body = NULL;
    dm_http_request_resume(rig.request);
    rig_pass_ms(9000);
    assert_true(is_open());
    rig_pass_ms(12000);
    check_heard("B3 F:body_too_slow A:body_too_slow");
}

static void an_owner_that_thinks_is_not_the_clients_fault(void **state)
{
    use_rate(1000);
    rig_send(GET);
    rig_pass_ms(1000000);
    assert_true(is_open());
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
    assert_true(is_open());
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
    assert_false(is_open());
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
    dm_http_server_free(rig.server);
    rig.server = dm_http_server_new(rig.loop, &rig.settings, &rig_handler, &rig);
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
    assert_true(is_open());
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

/* --- clients that do not read ------------------------------------------------------------------------------------- */

static size_t in_flight(void)
{
    return rig.request ? (size_t)dm_http_request_bytes_out(rig.request) : 0;
}

static void a_client_that_stops_reading_is_bounded_and_ends(void **state)
{
    static void (*const streams[])(struct rig *, struct dm_http_request *, struct dm_http_head *) = {stream_length,
                                                                                                     stream_chunked};

    for (size_t i = 0; i < DM_COUNT(streams); i++) {
        rig_connect();
        rig.script.on_request = streams[i];
        rig.script.on_writable = stream_more;
        rig.left = 10000000;
        rig_send(GET);
        rig_pass_ms(25000);
        assert_true(is_open());
        assert_in_range(in_flight(), 60000, 60000 + 20000 + 20000 + 17000);
        rig_pass_ms(20000);
        assert_false(is_open());
        check_heard("R E A:idle_timeout");
    }
}

static void a_client_that_reads_slowly_is_served(void **state)
{
    rig.script.on_request = stream_length;
    rig.script.on_writable = stream_more;
    rig.left = 400000;
    rig_send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    while (!rig.is_ended) {
        rig_receive(4000);
        rig_pass_ms(5000);
    }
    assert_false(rig.is_reset);
    assert_int_equal(rig.got.len,
                     strlen("HTTP/1.1 200 OK\r\nContent-Length: 400000\r\nConnection: close\r\n\r\n") + 400000);
}

static void a_client_below_the_rate_is_cut(void **state)
{
    use_rate(5000);
    rig.script.on_request = stream_length;
    rig.script.on_writable = stream_more;
    rig.left = 400000;
    rig_send(GET);
    for (int i = 0; i < 12 && !rig.is_ended; i++) {
        rig_receive(2000);
        rig_pass_ms(5000);
    }
    assert_false(is_open());
    assert_true(has_heard("A:body_too_slow"));
}

/* The last answers are sent as long as the client reads, and no longer. */
static void a_last_answer_waits_for_its_reader(void **state)
{
    char *body = dm_calloc(1, 300000);
    struct dm_http_message m = {.status = 200, .is_closing = true};

    for (int stops = 0; stops < 2; stops++) {
        rig_connect();
        rig_send(GET);
        rig_pass_ms(10);
        dm_http_request_reply(rig.request, &m, dm_str_n(body, 300000));
        check_heard("R E D");
        for (int i = 0; i < 20; i++) {
            rig_pass_ms(3000);
            rig_receive(5000);
        }
        assert_true(is_open());
        if (!stops) {
            while (!rig.is_ended) {
                rig_receive(20000);
                rig_pass_ms(3000);
            }
            assert_int_equal(rig.got.len,
                             300000 + strlen("HTTP/1.1 200 OK\r\nContent-Length: 300000\r\nConnection: close\r\n\r\n"));
            rig.client->ops->close(rig.client, rig.fd);
            rig.fd = -1;
            rig_pass_ms(5000);
        } else {
            rig_pass_ms(50000);
        }
        assert_false(is_open());
    }
    dm_free(body);
}

/* A kept connection whose response is not read yet. */
static void an_answer_between_requests_waits_for_its_reader(void **state)
{
    char *body = dm_calloc(1, 300000);
    struct dm_http_message m = {.status = 200};

    rig_send(GET);
    rig_pass_ms(10);
    dm_http_request_reply(rig.request, &m, dm_str_n(body, 300000));
    for (int i = 0; i < 30; i++) {
        rig_pass_ms(15000);
        rig_receive(9000);
    }
    assert_true(is_open());
    rig_read(300000);
    rig_pass_ms(5000);
    assert_true(is_open());
    dm_buf_reset(&rig.got);
    rig.script.on_request = hello_at_once;
    rig_send(GET);
    rig_read(strlen(HELLO));
    dm_free(body);
}

static void reply_large(struct rig *r, struct dm_http_request *request, struct dm_http_head *head)
{
    static char body[50000];
    struct dm_http_message m = {.status = 200};

    memset(body, 'l', sizeof(body));
    dm_http_request_reply(request, &m, dm_str_n(body, sizeof(body)));
}

#define LARGE_LEN (strlen("HTTP/1.1 200 OK\r\nContent-Length: 50000\r\n\r\n") + 50000)

static void pipelining_without_reading_is_bounded(void **state)
{
    unsigned n = 0;

    rig.script.on_request = reply_large;
    for (int i = 0; i < 40; i++)
        rig_send(GET);
    rig_pass_ms(1000);
    for (size_t i = 0; i < rig.heard.len; i++)
        n += rig.heard.ptr[i] == 'R';
    assert_in_range(n, 2, 4);
    rig_read(40 * LARGE_LEN);
    for (size_t i = 0; i < 40; i++)
        assert_memory_equal(rig.got.ptr + i * LARGE_LEN, "HTTP/1.1 200 OK\r\nContent-Length: 50000\r\n\r\nlll", 44);
    assert_int_equal(rig.got.len, 40 * LARGE_LEN);
}

static void a_pipelining_client_that_stops_reading_ends(void **state)
{
    rig.script.on_request = reply_large;
    for (int i = 0; i < 40; i++)
        rig_send(GET);
    rig_pass_ms(41000);
    assert_false(is_open());
    assert_ptr_equal(rig.request, NULL);
}

static size_t body_len;

static void reply_as_long(struct rig *r, struct dm_http_request *request, struct dm_http_head *head)
{
    static char body[90000];
    struct dm_http_message m = {.status = 200};

    memset(body, 'l', sizeof(body));
    dm_http_request_reply(request, &m, dm_str_n(body, body_len));
}

/* The head of a reply takes the last room of the queue, or nearly. */
static void a_reply_is_never_half_queued(void **state)
{
    rig.script.on_request = reply_as_long;
    for (body_len = 79800; body_len < 80100; body_len += 10) {
        rig_connect();
        rig_pass_ms(2);
        rig_send(GET GET);
        rig_pass_ms(2);
        rig_read(2 * (body_len + strlen("HTTP/1.1 200 OK\r\nContent-Length: 80000\r\n\r\n")));
        assert_false(rig.is_ended);
        check_done();
    }
}

static void inform_and_fail_to_read(struct rig *r, struct dm_http_request *request, struct dm_http_head *head)
{
    static char field[9000];
    struct dm_http_message m = {.status = 200};

    memset(field, 'f', sizeof(field));
    memcpy(field, "X: ", 3);
    memcpy(field + sizeof(field) - 2, "\r\n", 2);
    for (int i = 0; i < 100; i++)
        dm_http_request_inform(request, 103, dm_str_n(field, sizeof(field)));
    dm_http_request_reply(request, &m, DM_STR("hello"));
}

static void interim_responses_leave_room_for_the_last(void **state)
{
    rig.script.on_request = inform_and_fail_to_read;
    rig_send(GET);
    rig_pass_ms(100);
    rig_read(50000);
    rig_pass_ms(100);
    rig_receive(SIZE_MAX);
    assert_true(rig.got.len < 100 * 9000);
    assert_memory_equal(rig.got.ptr + rig.got.len - strlen(HELLO), HELLO, strlen(HELLO));
}

/* --- system calls that fail --------------------------------------------------------------------------------------- */

static bool ends_well(void)
{
    size_t n_begun = 0, n_ended = 0;

    for (size_t i = 0; i < rig.heard.len; i++) {
        n_begun += rig.heard.ptr[i] == 'R';
        n_ended += rig.heard.ptr[i] == 'D' ||
                   (rig.heard.ptr[i] == 'A' && i + 1 < rig.heard.len && rig.heard.ptr[i + 1] == ':');
    }
    return n_begun == n_ended;
}

static void any_system_call_may_fail_behind_a_proxy_header(void **state)
{
    bool is_reached = true;
    uint64_t n = 1;

    for (; is_reached; n++) {
        rig_stop();
        setup(state);
        rig.is_proxied = true;
        rig.script.on_request = hello_at_once;
        rig_connect();
        dm_world_fail_nth(rig.sys, n, EIO);
        for (const char *p = "PROXY TCP4 192.0.2.7 198.51.100.2 12345 443\r\n" GET; *p; p += 9) {
            rig.client->ops->send(rig.client, rig.fd, p, strnlen(p, 9));
            rig_pass_ms(10);
            if (strlen(p) < 9)
                break;
        }
        rig_receive(1000);
        is_reached = dm_world_fail_reached(rig.sys);
        rig_pass_ms(200000);
        assert_int_equal(dm_http_server_connections(rig.server), 0);
        assert_true(ends_well());
    }
    assert_true(n > 5);
}

static void any_system_call_may_fail(void **state)
{
    bool is_reached = true;
    uint64_t n = 1;

    for (; is_reached; n++) {
        rig_stop();
        setup(state);
        rig.script.on_request_end = hello_at_end;
        dm_world_fail_nth(rig.sys, n, EIO);
        rig_send(GET "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 50000\r\n\r\n");
        for (int i = 0; i < 5; i++) {
            char block[10000] = {0};
            rig.client->ops->send(rig.client, rig.fd, block, sizeof(block));
            rig_pass_ms(100);
        }
        rig.script.on_request_end = NULL;
        rig.script.on_request = stream_chunked;
        rig.script.on_writable = stream_more;
        rig.left = 100000;
        rig.client->ops->send(rig.client, rig.fd, "GET / HTTP/1.0\r\n\r\n", 18);
        for (int i = 0; i < 30; i++) {
            rig_receive(10000);
            rig_pass_ms(1000);
        }
        is_reached = dm_world_fail_reached(rig.sys);
        rig_pass_ms(200000);
        assert_int_equal(dm_http_server_connections(rig.server), 0);
        assert_true(ends_well());
    }
    assert_true(n > 15);
}

#define TEST(name)                                                                                                     \
    {                                                                                                                  \
#name, name, setup, teardown, NULL                                                                             \
    }

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
        TEST(a_client_that_stops_reading_is_bounded_and_ends),
        TEST(a_client_that_reads_slowly_is_served),
        TEST(a_client_below_the_rate_is_cut),
        TEST(a_last_answer_waits_for_its_reader),
        TEST(an_answer_between_requests_waits_for_its_reader),
        TEST(pipelining_without_reading_is_bounded),
        TEST(a_pipelining_client_that_stops_reading_ends),
        TEST(a_reply_is_never_half_queued),
        TEST(interim_responses_leave_room_for_the_last),
        TEST(any_system_call_may_fail),
        TEST(any_system_call_may_fail_behind_a_proxy_header),
    };

    return cmocka_run_group_tests_name("http server time", tests, NULL, NULL);
}
