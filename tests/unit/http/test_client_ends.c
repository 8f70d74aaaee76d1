/* How the connections and calls of a client end: refused, too late, left by their owner, broken by the system. */
#include <errno.h>

#include "client_h1_rig.h"

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
    send_call(0, &get);
    close_backend();
    pass_ms(2);
    check_heard("A:peer_closed");
    assert_false(rig.had_response);
    assert_true(rig.was_reused);
}

static void nobody_listens(void **state)
{
    rig.backend_sys->ops->close(rig.backend_sys, rig.listen_fd);
    connect_call();
    send_message(&get);
    pass_ms(10);
    check_heard("A:connect_failed");
    connect_call();
    pass_ms(10);
    check_heard("A:connect_failed"); /* also before send */
    connect_call();
    cancel_call(0);
    pass_ms(10);
    check_heard("X"); /* it was kept, for the next */
    rig.peer = dm_http_client_connect(rig.client, &(struct dm_http_peer_settings){rig.addr, 1000}, &rig);
    rig.is_kept = true;
    pass_ms(10);
    check_heard("X"); /* without a call */
}

static void a_connect_that_fails_at_once_is_told_from_the_loop(void **state)
{
    for (int i = 0; i < 3; i++) {
        dm_world_fail_nth(rig.sys, 1, ENETUNREACH);
        connect_call();
        assert_int_equal(dm_http_call_bytes_out(rig.calls[0]), 0);
        if (i == 0)
            close_peer();
        if (i == 1) {
            cancel_call(0);
            pass_ms(1);
            check_heard("");
            continue;
        }
        dm_http_call_send(rig.calls[0], &get);
        dm_http_call_end(rig.calls[0], DM_STR_NULL);
        assert_int_equal(dm_http_call_bytes_out(rig.calls[0]), 0);
        check_heard("");
        pass_ms(1);
        check_heard("A:connect_failed");
    }
}

static void connecting_takes_too_long(void **state)
{
    dm_world_cut(rig.world, rig.sys, rig.backend_sys, true);
    connect_call();
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
    connect_call();
    dm_http_call_send(rig.calls[0], &m);
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

    connect_call();
    dm_http_call_send(rig.calls[0], &m);
    accept_peer();
    pass_ms(1000000);
    dm_http_call_end(rig.calls[0], DM_STR_NULL);
    pass_ms(4900);
    check_heard("");
    pass_ms(200);
    check_heard("A:response_timeout");
}

static void closes_from_callbacks(void **state)
{
    bool *const places[] = {&rig.cancels_at_response, &rig.cancels_at_body, &rig.cancels_at_end};
    static const char *const heard[] = {"R200", "R200 B2", "R200 B2 E"};

    for (size_t i = 0; i < DM_COUNT(places); i++) {
        *places[i] = true;
        begin_get();
        answer(OK2 "more");
        check_heard(heard[i]);
        assert_null(rig.peer);
        *places[i] = false;
    }
}

/* On a connection that is being made, and on one that stands. */
static void a_request_that_has_not_left_is_taken_back(void **state)
{
    const struct dm_http_message post = {
        .method = DM_STR("POST"), .target = DM_STR("/p"), .host = DM_STR("b"), .framing = DM_HTTP_FRAMING_CHUNKED};

    const struct dm_http_message upgrade = {
        .method = DM_STR("GET"), .target = DM_STR("/"), .host = DM_STR("b"), .protocol = DM_STR("websocket")};
    const struct dm_http_message last = {
        .method = DM_STR("GET"), .target = DM_STR("/"), .host = DM_STR("b"), .is_closing = true};
    const struct dm_http_message *const messages[] = {&get, &upgrade, &last, &post, &post, &post};

    connect_call();
    for (unsigned i = 0; i < DM_COUNT(messages); i++) {
        dm_http_call_send(rig.calls[0], messages[i]);
        if (i >= 3) { /* the queue is full */
            rig.left = 500000;
            stream_request();
        }
        if (i >= 4)
            dm_http_call_end(rig.calls[0], i == 5 ? DM_STR("x-t: 1\r\n") : DM_STR_NULL);
        cancel_call(0);
        check_heard("");
        assert_true(rig.is_kept);
        assert_int_equal(rig.n_room, i + 1);
        open_call(0);
    }
    dm_http_call_send(rig.calls[0], &get);
    dm_http_call_end(rig.calls[0], DM_STR_NULL);
    assert_int_equal(dm_http_call_bytes_out(rig.calls[0]), strlen(GET));
    accept_peer();
    pass_ms(2);
    check_got(GET);
    answer(OK2);
    check_heard("R200 B2 E D");
    assert_true(rig.was_reused);
    send_call(0, &get);
    cancel_call(0);
    pass_ms(2);
    check_got("");
    get_again();
    check_got(GET);
    answer(OK2);
    check_heard("R200 B2 E D");
}

/* Nor is it kept for longer than any other. */
static void a_connection_without_a_call_ends(void **state)
{
    dm_world_cut(rig.world, rig.sys, rig.backend_sys, true);
    connect_call();
    send_message(&get);
    cancel_call(0);
    pass_ms(900);
    check_heard("");
    pass_ms(200);
    check_heard("X");
    dm_world_cut(rig.world, rig.sys, rig.backend_sys, false);
    connect_peer();
    send_call(0, &get);
    cancel_call(0);
    pass_ms(19000);
    check_heard("");
    pass_ms(1100);
    check_heard("X");
}

/* The next call has the time to connect, not the one for which the connection was kept. */
static void a_call_on_a_connection_that_is_being_made(void **state)
{
    static const struct dm_http_timeouts short_ones = {.response_ms = 100, .idle_ms = 100, .kept_ms = 100};

    dm_world_cut(rig.world, rig.sys, rig.backend_sys, true);
    connect_peer();
    for (int i = 0; i < 2; i++) {
        rig.calls[0] = dm_http_peer_open(rig.peer, &short_ones);
        rig.is_kept = false;
        dm_http_call_set_user(rig.calls[0], &rig.calls[0]);
        dm_http_call_send(rig.calls[0], &get);
        dm_http_call_end(rig.calls[0], DM_STR_NULL);
        pass_ms(50);
        if (i == 0)
            cancel_call(0);
    }
    pass_ms(850);
    check_heard("");
    pass_ms(200);
    check_heard("A:connect_timeout");
}

/* What a backend may have begun is broken off. */
static void a_request_that_has_left_is_reset(void **state)
{
    char got[100];

    begin_get();
    cancel_call(0);
    assert_null(rig.peer);
    pass_ms(2);
    assert_int_equal(rig.backend_sys->ops->recv(rig.backend_sys, rig.fd, got, sizeof(got)), strlen(GET));
    assert_int_equal(rig.backend_sys->ops->recv(rig.backend_sys, rig.fd, got, sizeof(got)), -ECONNRESET);
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
    close_peer();
    cancel_call(0);
    pass_ms(2);
    check_heard("");
}

/* One exchange in each state of a connection, and then none: the client waits for closed connections only. */
static void freed_with_connections_just_closed(void **state)
{
    begin_get();
    cancel_call(0);
    connect_call();
    cancel_call(0);
    begin_get();
    answer(OK2);
    close_peer();
    check_heard("R200 B2 E D");
}

/* A long poll: the answer has the time that the owner gives it. */
static void an_answer_may_take_long(void **state)
{
    static const struct dm_http_timeouts long_poll = {.response_ms = 90000, .idle_ms = 8000, .kept_ms = 20000};

    rig.peer = dm_http_client_connect(rig.client, &(struct dm_http_peer_settings){rig.addr, 1000}, &rig);
    rig.calls[0] = dm_http_peer_open(rig.peer, &long_poll);
    dm_http_call_set_user(rig.calls[0], &rig.calls[0]);
    dm_http_call_send(rig.calls[0], &get);
    dm_http_call_end(rig.calls[0], DM_STR_NULL);
    accept_peer();
    pass_ms(60000);
    check_heard("");
    answer(OK2);
    check_heard("R200 B2 E D");
}

static void any_system_call_may_fail(void **state)
{
    bool is_reached = true;
    uint64_t n = 1;

    for (; is_reached; n++) {
        h1_teardown(state);
        h1_setup(state);
        dm_world_fail_nth(rig.sys, n, EIO);
        connect_peer();
        send_call(0, &get);
        pass_ms(5);
        rig.fd = rig.backend_sys->ops->accept(rig.backend_sys, rig.listen_fd, NULL);
        if (rig.fd >= 0)
            rig.backend_sys->ops->send(rig.backend_sys, rig.fd, OK2, strlen(OK2));
        pass_ms(30000);
        is_reached = dm_world_fail_reached(rig.sys);
        assert_int_equal(count_ends(), 1);
        assert_null(rig.peer);
    }
    assert_true(n > 5);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, h1_setup, h1_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
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
        TEST(a_request_that_has_not_left_is_taken_back),
        TEST(a_connection_without_a_call_ends),
        TEST(a_call_on_a_connection_that_is_being_made),
        TEST(a_request_that_has_left_is_reset),
        TEST(a_connection_may_be_left_with_its_call),
        TEST(freed_with_connections_just_closed),
        TEST(an_answer_may_take_long),
        TEST(any_system_call_may_fail),
    };

    return cmocka_run_group_tests_name("http client ends", tests, NULL, NULL);
}
