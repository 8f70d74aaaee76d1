/* What a server says and what its owner hears, byte by byte, on the simulated system and on the kernel. */
#include "server_rig.h"

/* --- requests ----------------------------------------------------------------------------------------------------- */

static void one_after_the_other(void **state)
{
    rig.script.on_request = hello_at_once;
    for (int i = 0; i < 3; i++) {
        rig_send(GET);
        check_got(HELLO);
        check_heard("R D");
        assert_int_equal(rig.bytes_in, strlen(GET));
        assert_int_equal(rig.bytes_out, strlen(HELLO));
    }
    assert_int_equal(dm_http_server_connections(rig.server), 1);
}

static void head_byte_by_byte(void **state)
{
    rig.script.on_request_end = hello_at_end;
    for (const char *p = GET; *p; p++) {
        rig_send_n(p, 1);
        rig_settle();
    }
    check_got(HELLO);
    check_heard("R E D");
}

static void pipelined_requests_come_one_by_one(void **state)
{
    rig_send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc" GET GET);
    while (!rig.request || rig.heard.len < 6)
        rig_step();
    rig_settle();
    check_heard("R B3 E");
    rig.script.on_request_end = hello_at_end;
    reply_hello(&rig, rig.request);
    assert_int_equal(rig.bytes_in, strlen("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"));
    check_got(HELLO HELLO HELLO);
    check_heard("D R E D R E D");
    assert_int_equal(rig.bytes_in, strlen(GET));
    assert_int_equal(rig.bytes_out, strlen(HELLO));
}

static void body_with_length(void **state)
{
    rig.script.on_request_end = hello_at_end;
    rig_send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n01234");
    while (rig.body.len < 5)
        rig_step();
    rig_send("56789");
    check_got(HELLO);
    assert_memory_equal(rig.body.ptr, "0123456789", 10);
    check_heard("R B5 B5 E D");
}

static void note_trailer(struct rig *r, struct dm_http_request *request, const struct dm_http_head *trailers)
{
    assert_non_null(trailers);
    assert_true(dm_str_eq(dm_http_head_find_name(trailers, DM_STR("x-sum"))->value, DM_STR("12")));
    reply_hello(r, request);
}

static void chunked_body_with_trailers(void **state)
{
    rig.script.on_request_end = note_trailer;
    rig_send(
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n4;x=y\r\ndefg\r\n0\r\nX-Sum: 12\r\n\r\n");
    check_got(HELLO);
    check_heard("R B3 B4 E D");
    assert_memory_equal(rig.body.ptr, "abcdefg", 7);
    rig.script.on_request_end = hello_at_end;
    rig_send(GET);
    check_got(HELLO);
}

static void tell_to_continue(struct rig *r, struct dm_http_request *request, struct dm_http_head *head)
{
    dm_http_request_inform(request, 103, DM_STR("Link: </a>\r\n"));
    dm_http_request_inform(request, 100, DM_STR_NULL);
    dm_http_request_inform(request, 100, DM_STR_NULL);
    dm_http_request_inform(request, 101, DM_STR_NULL);
}

#define EXPECTING "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"

static void expect_continue(void **state)
{
    rig.script.on_request = tell_to_continue;
    rig.script.on_request_end = hello_at_end;
    rig_send(EXPECTING);
    check_got("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n");
    rig_send("ok");
    check_got(HELLO);
    check_heard("R B2 E D");
}

static void a_refused_expectation_closes(void **state)
{
    rig.script.on_request = hello_at_once;
    rig_send(EXPECTING);
    check_got(HELLO_CLOSE);
    check_ended();
    check_heard("R D");
}

static void refuse_rest(struct rig *r, struct dm_http_request *request, struct dm_http_head *head)
{
    reply_hello(r, request);
}

static void a_small_rest_of_a_request_is_dropped(void **state)
{
    rig.script.on_request = refuse_rest;
    rig_send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nab");
    check_got(HELLO);
    check_heard("R");
    rig_send("cdef" GET);
    check_got(HELLO);
    check_heard("D R D");
    assert_int_equal(rig.body.len, 0);
}

static void a_large_rest_of_a_request_closes(void **state)
{
    rig.script.on_request = refuse_rest;
    rig_send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 70000\r\n\r\nab");
    check_got(HELLO_CLOSE);
    check_ended();
    check_heard("R D");
    rig_connect();
    rig_send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    check_got(HELLO_CLOSE);
    check_ended();
}

/* The answer begins while the request still comes: more than 64 KiB of it are not read any more. */
static void begin_and_end(struct rig *r, struct dm_http_request *request, struct dm_http_head *head)
{
    struct dm_http_message m = {.status = 200, .framing = DM_HTTP_FRAMING_CHUNKED};

    dm_http_request_respond(request, &m);
    assert_int_equal(dm_http_request_write(request, "abc", 3), 3);
    dm_http_request_end(request, DM_STR("X-T: 1\r\n"));
    dm_http_request_end(request, DM_STR_NULL);
    assert_int_equal(dm_http_request_write(request, "late", 4), 4);
}

#define CHUNKED_ABC "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-T: 1\r\n\r\n"

static void an_early_response_stops_reading(void **state)
{
    static char block[70000];

    memset(block, 'b', sizeof(block));
    rig.script.on_request = begin_and_end;
    rig_send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n");
    check_got(CHUNKED_ABC);
    rig_send_n(block, sizeof(block));
    check_ended();
    check_heard("R D");
}

static void http10_closes_or_keeps_alive(void **state)
{
    rig.script.on_request = hello_at_once;
    rig_send("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    check_got("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: keep-alive\r\n\r\nhello");
    rig.script.on_request = begin_and_end;
    rig_send("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    check_got("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nabc");
    check_ended();
    rig_connect();
    rig.script.on_request = hello_at_once;
    rig_send("GET / HTTP/1.0\r\n\r\n");
    check_got(HELLO_CLOSE);
    check_ended();
}

static void connection_close_is_kept_to(void **state)
{
    rig.script.on_request = hello_at_once;
    rig_send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" GET);
    check_got(HELLO_CLOSE);
    check_ended();
    check_heard("R D");
}

static unsigned status;
static enum dm_http_framing framing;

static void respond_status(struct rig *r, struct dm_http_request *request, struct dm_http_head *head)
{
    struct dm_http_message m = {.status = status, .framing = framing, .content_length = 7};

    dm_http_request_respond(request, &m);
    assert_int_equal(dm_http_request_write(request, "1234567", 7), 7);
    dm_http_request_end(request, DM_STR("X: y\r\n"));
}

static void bodiless_responses(void **state)
{
    static const struct {
        const char *method;
        unsigned status;
        enum dm_http_framing framing;
        const char *response;
    } cases[] = {
        {"HEAD", 200, DM_HTTP_FRAMING_LENGTH, "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n"},
        {"HEAD", 200, DM_HTTP_FRAMING_CHUNKED, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"},
        {"HEAD", 200, DM_HTTP_FRAMING_NONE, "HTTP/1.1 200 OK\r\n\r\n"},
        {"GET", 204, DM_HTTP_FRAMING_LENGTH, "HTTP/1.1 204 No Content\r\n\r\n"},
        {"GET", 204, DM_HTTP_FRAMING_CHUNKED, "HTTP/1.1 204 No Content\r\n\r\n"},
        {"GET", 304, DM_HTTP_FRAMING_LENGTH, "HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n"},
        {"GET", 304, DM_HTTP_FRAMING_CHUNKED, "HTTP/1.1 304 Not Modified\r\n\r\n"},
        {"GET", 200, DM_HTTP_FRAMING_NONE, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"},
        {"GET", 200, DM_HTTP_FRAMING_LENGTH, "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n1234567"},
    };
    char text[100];

    rig.script.on_request = respond_status;
    for (size_t i = 0; i < DM_COUNT(cases); i++) {
        status = cases[i].status;
        framing = cases[i].framing;
        snprintf(text, sizeof(text), "%s / HTTP/1.1\r\nHost: a\r\n\r\n", cases[i].method);
        rig_send(text);
        check_got(cases[i].response);
        check_heard("R D");
    }
}

static void reply_304(struct rig *r, struct dm_http_request *request, struct dm_http_head *head)
{
    struct dm_http_message m = {.status = 304};

    dm_http_request_reply(request, &m, DM_STR_NULL);
}

static void a_304_made_here_claims_no_length(void **state)
{
    rig.script.on_request = reply_304;
    rig_send(GET);
    check_got("HTTP/1.1 304 Not Modified\r\n\r\n");
}

/* --- framing ------------------------------------------------------------------------------------------------------ */

static size_t announced;

static void write_seven(struct rig *r, struct dm_http_request *request, struct dm_http_head *head)
{
    struct dm_http_message m = {.status = 200, .framing = DM_HTTP_FRAMING_LENGTH, .content_length = announced};

    dm_http_request_respond(request, &m);
    assert_int_equal(dm_http_request_write(request, "1234", 4), 4);
    assert_int_equal(dm_http_request_write(request, "567", 3), 3);
    dm_http_request_end(request, DM_STR_NULL);
}

static void a_body_is_what_was_announced(void **state)
{
    rig.script.on_request = write_seven;
    announced = 5;
    rig_send(GET GET);
    check_got("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n12345HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n12345");
    announced = 9;
    rig_send(GET GET);
    check_got("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n1234567");
    check_ended();
    check_heard("R D R D R D");
}

static void respond_too_much(struct rig *r, struct dm_http_request *request, struct dm_http_head *head)
{
    char *fields = dm_alloc(200000);
    struct dm_http_message m = {
        .status = 200, .fields = {fields, 200000}, .framing = DM_HTTP_FRAMING_LENGTH, .content_length = 4};

    memset(fields, 'f', 200000);
    dm_http_request_respond(request, &m);
    dm_free(fields);
    assert_int_equal(dm_http_request_write(request, "body", 4), 4);
    dm_http_request_end(request, DM_STR_NULL);
}

static void a_head_that_fits_no_buffer_has_no_body(void **state)
{
    rig.script.on_request = respond_too_much;
    rig_send(GET GET);
    check_got("HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    check_ended();
    check_heard("R D");
}

/* --- what is no request ------------------------------------------------------------------------------------------- */

static void faults_are_answered_and_close(void **state)
{
    static const struct {
        const char *request, *status, *heard;
    } cases[] = {
        {"GET / HTTP/1.1\r\n\r\n", "400 Bad Request", "F:no_host"},
        {"GET / HTTP/2.1\r\n\r\n", "505 HTTP Version Not Supported", "F:version_not_supported"},
        {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", "400 Bad Request",
         "F:length_and_encoding"},
        {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "400 Bad Request",
         "R F:bad_chunk_size A:malformed"},
        {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nHost: b\r\n\r\n",
         "400 Bad Request", "R B1 F:bad_trailer A:malformed"},
    };
    char text[200];

    for (size_t i = 0; i < DM_COUNT(cases); i++) {
        rig_connect();
        rig_send(cases[i].request);
        snprintf(text, sizeof(text), "HTTP/1.1 %s\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbad",
                 cases[i].status);
        check_got(text);
        check_ended();
        check_heard(cases[i].heard);
    }
}

static void a_fault_behind_a_request_comes_after_its_response(void **state)
{
    rig.script.on_request = hello_at_once;
    rig_send(GET "BAD\r\n\r\n");
    check_got(HELLO "HTTP/1.1 400 Bad Request\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbad");
    check_ended();
}

static void begin_only(struct rig *r, struct dm_http_request *request, struct dm_http_head *head)
{
    struct dm_http_message m = {.status = 200, .framing = DM_HTTP_FRAMING_CHUNKED};

    dm_http_request_respond(request, &m);
}

static void a_fault_under_a_response_cuts_it(void **state)
{
    rig.script.on_request = begin_only;
    rig_send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n");
    rig_read_all();
    check_got("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    check_heard("R A:malformed");
}

static void limit_to_four(struct rig *r, struct dm_http_request *request, struct dm_http_head *head)
{
    assert_true(dm_http_request_limit_body(request, 4));
}

static void bodies_have_limits(void **state)
{
    rig.script.on_request = limit_to_four;
    rig.script.on_request_end = hello_at_end;
    rig_send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nabcd");
    check_got(HELLO);
    rig_send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n");
    check_got("HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbad");
    check_ended();
    check_heard("R B4 E D R B3 F:body_too_large A:too_large");
}

/* Of the server, before a request is given out. */
static void announced_bodies_have_limits(void **state)
{
    const char *request = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nabcde";
    bool is_real = !rig.world;

    rig_stop();
    rig_clear();
    rig.settings.body_bytes_max = 4;
    rig_start(is_real ? NULL : dm_world_new(7, NULL));
    rig_send(request);
    check_got("HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbad");
    check_ended();
    check_heard("F:body_too_large");
}

static void what_is_counted_has_a_name(void **state)
{
    assert_string_equal(dm_http_refusal_name(DM_HTTP_REFUSED_DRAINING), "draining");
    assert_string_equal(dm_http_timeout_name(DM_HTTP_TIMEOUT_READER), "reader");
}

static void heads_have_limits(void **state)
{
    char *field = dm_alloc(40000);

    memset(field, 'f', 40000);
    rig_send("GET / HTTP/1.1\r\nHost: a\r\nX: ");
    rig.client->ops->send(rig.client, rig.fd, field, 40000);
    check_got("HTTP/1.1 431 Request Header Fields Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbad");
    check_heard("F:head_too_large");
    dm_free(field);
}

/* --- back-pressure ------------------------------------------------------------------------------------------------ */

static size_t take_three(struct rig *r, struct dm_http_request *request, const char *ptr, size_t len)
{
    return DM_MIN(len, 3u);
}

static void what_is_not_taken_comes_again(void **state)
{
    rig.script.on_body = take_three;
    rig.script.on_request_end = hello_at_end;
    rig_send(
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n8\r\n01234567\r\n2\r\n89\r\n0\r\n\r\n" GET);
    while (rig.got.len < 2 * strlen(HELLO)) {
        rig_step();
        if (rig.request)
            dm_http_request_resume(rig.request);
        rig_receive(SIZE_MAX);
    }
    check_got(HELLO HELLO);
    assert_memory_equal(rig.body.ptr, "0123456789", 10);
    check_heard("R B3 B3 B2 B2 E D R E D");
}

static void large_responses_in_every_framing(void **state)
{
    rig.script.on_request = stream_length;
    rig.script.on_writable = stream_more;
    rig.left = 2000000;
    rig_send(GET);
    rig_read(strlen("HTTP/1.1 200 OK\r\nContent-Length: 2000000\r\n\r\n") + 2000000);
    dm_buf_reset(&rig.got);
    rig.script.on_request = stream_chunked;
    rig.left = 2000000;
    rig_send(GET);
    while (rig.got.len < 5 || memcmp(rig.got.ptr + rig.got.len - 5, "0\r\n\r\n", 5) != 0) {
        rig_step();
        rig_receive(SIZE_MAX);
    }
    assert_in_range(rig.got.len, 2000000, 2000000 + 3000);
    dm_buf_reset(&rig.got);
    rig.left = 2000000;
    rig_send("GET / HTTP/1.0\r\n\r\n");
    rig_read_all();
    assert_int_equal(rig.got.len, strlen("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n") + 2000000);
    check_done();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(one_after_the_other),
        BOTH(head_byte_by_byte),
        BOTH(pipelined_requests_come_one_by_one),
        BOTH(body_with_length),
        BOTH(chunked_body_with_trailers),
        BOTH(expect_continue),
        BOTH(a_refused_expectation_closes),
        BOTH(a_small_rest_of_a_request_is_dropped),
        BOTH(a_large_rest_of_a_request_closes),
        BOTH(an_early_response_stops_reading),
        BOTH(http10_closes_or_keeps_alive),
        BOTH(connection_close_is_kept_to),
        BOTH(bodiless_responses),
        BOTH(a_304_made_here_claims_no_length),
        BOTH(a_body_is_what_was_announced),
        BOTH(a_head_that_fits_no_buffer_has_no_body),
        BOTH(faults_are_answered_and_close),
        BOTH(a_fault_behind_a_request_comes_after_its_response),
        BOTH(a_fault_under_a_response_cuts_it),
        BOTH(bodies_have_limits),
        BOTH(announced_bodies_have_limits),
        KERNEL(what_is_counted_has_a_name),
        BOTH(heads_have_limits),
        BOTH(what_is_not_taken_comes_again),
        BOTH(large_responses_in_every_framing),
    };

    return cmocka_run_group_tests_name("http server", tests, NULL, NULL);
}
