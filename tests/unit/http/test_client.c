/* Exchanges of a client with a backend, and whose the bytes of a kept connection are. */
#include "client_h1_rig.h"

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
            get_again();
    }
    close_peer();
}

static void the_next_request_may_go_at_once(void **state)
{
    rig.sends_at_room = &get;
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
        connect_call();
        dm_http_call_send(rig.calls[0], &m);
        dm_http_call_end(rig.calls[0], DM_STR_NULL);
        accept_peer();
        answer(cases[i].response);
        check_heard(cases[i].heard);
        assert_int_equal(rig.peer != NULL, cases[i].is_kept);
        if (rig.peer)
            close_peer();
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

    connect_call();
    m.framing = DM_HTTP_FRAMING_CHUNKED;
    dm_http_call_send(rig.calls[0], &m);
    assert_int_equal(dm_http_call_write(rig.calls[0], "abc", 3), 3);
    dm_http_call_end(rig.calls[0], DM_STR("T: 1\r\n"));
    dm_http_call_end(rig.calls[0], DM_STR_NULL);
    accept_peer();
    pass_ms(2);
    check_got("POST /p HTTP/1.1\r\nHost: b\r\nX: y\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nT: 1\r\n\r\n");
    answer(OK2);
    check_heard("R200 B2 E D");
    assert_null(rig.peer); /* P4 */
    connect_call();
    m.framing = DM_HTTP_FRAMING_LENGTH;
    m.content_length = 3;
    m.is_closing = true;
    dm_http_call_send(rig.calls[0], &m);
    assert_int_equal(dm_http_call_write(rig.calls[0], "abcdef", 6), 6);
    assert_int_equal(dm_http_call_write(rig.calls[0], "x", 1), 1);
    dm_http_call_end(rig.calls[0], DM_STR_NULL);
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

    connect_call();
    dm_http_call_send(rig.calls[0], &m);
    dm_http_call_write(rig.calls[0], "abc", 3);
    dm_http_call_end(rig.calls[0], DM_STR_NULL);
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
    connect_call();
    dm_http_call_send(rig.calls[0], &m);
    dm_free(fields);
    assert_int_equal(dm_http_call_write(rig.calls[0], "abc", 3), 3);
    dm_http_call_end(rig.calls[0], DM_STR_NULL);
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
        connect_call();
        dm_http_call_send(rig.calls[0], &m);
        dm_http_call_write(rig.calls[0], "abc", 3);
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
    while (rig.calls[0]) {
        dm_http_call_resume(rig.calls[0]);
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
    connect_call();
    dm_http_call_send(rig.calls[0], &m);
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
    rig.sends_at_room = &get;
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
    connect_call();
    accept_peer();
    answer(OK2);
    check_heard("A:malformed");
    begin_get();
    answer(OK2);
    check_heard("R200 B2 E D");
    assert_int_equal(rig.backend_sys->ops->send(rig.backend_sys, rig.fd, OK2, strlen(OK2)), strlen(OK2));
    dm_world_advance_ns(rig.world, MS); /* it is there, and was not seen yet */
    send_call(0, &get);
    pass_ms(2);
    check_heard("A:refused"); /* nothing of the request left */
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, h1_setup, h1_teardown)

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
    };

    return cmocka_run_group_tests_name("http client", tests, NULL, NULL);
}
