/* Requests and responses over HTTP/2: order, framing, ends, bounds, and what they cost. */
#include "server_h2_rig.h"

/* --- requests and answers ----------------------------------------------------------------------------------------- */

static void a_request_is_answered(void **state)
{
    rig.script.on_request_end = hello_at_end;
    h2_get();
    check_seen("H1:200 D1:5 E1");
    check_heard("R E D");
    assert_string_equal((dm_buf_add_char(&h2.fields, 0), h2.fields.ptr), "content-length=5;");
    h2_get();
    check_seen("H3:200 D3:5 E3");
    check_heard("R E D");
    assert_int_equal(dm_http_server_connections(rig.server), 1);
}

static void a_request_is_answered_at_once(void **state)
{
    rig.script.on_request = hello_at_once;
    h2_get();
    check_seen("H1:200 D1:5 E1");
    check_heard("R D");
}

static void many_at_a_time(void **state)
{
    rig.script.on_request_end = hello_at_end;
    h2.is_quiet = true;
    for (int i = 0; i < 100; i++)
        h2_get();
    h2_run();
    assert_int_equal(h2.body.len, 500);
}

static void bodies_arrive(void **state)
{
    rig.script.on_request_end = hello_at_end;
    h2_post("0123456789", 10);
    check_seen("H1:200 D1:5 E1");
    check_heard("R B10 E D");
    assert_memory_equal(rig.body.ptr, "0123456789", 10);
}

static void head_has_no_body(void **state)
{
    rig.script.on_request_end = hello_at_end;
    h2_request("HEAD", "/");
    check_seen("H1:200 E1");
    check_heard("R E D");
    assert_string_equal((dm_buf_add_char(&h2.fields, 0), h2.fields.ptr), "content-length=5;");
}

static void reply_status(struct rig *r, struct dm_http_request *request, const struct dm_http_head *trailers)
{
    struct dm_http_message m = {.status = (unsigned)r->left};

    dm_http_request_reply(request, &m, DM_STR("hello"));
}

static void statuses_without_a_body(void **state)
{
    rig.script.on_request_end = reply_status;
    rig.left = 204;
    h2_get();
    check_seen("H1:204 E1");
    rig.left = 304;
    h2_get();
    check_seen("H3:304 E3");
    rig.left = 404;
    h2_get();
    check_seen("H5:404 D5:5 E5");
    check_heard("R E D R E D R E D");
}

static void respond_in_parts(struct rig *r, struct dm_http_request *request, const struct dm_http_head *trailers)
{
    struct dm_http_message m = {
        .status = 200,
        .framing = DM_HTTP_FRAMING_CHUNKED,
        .fields = DM_STR("X-One: 1\r\nConnection: x\r\nKeep-Alive: 1\r\nUpgrade: h2c\r\nServer: test\r\n")};

    dm_http_request_inform(request, 103, DM_STR("Link: </a>\r\n"));
    dm_http_request_respond(request, &m);
}

/* What the owner does later, outside of any callback. */
static void parts_and_trailers(void **state)
{
    rig.script.on_request_end = respond_in_parts;
    h2_get();
    check_seen("H1:103 H1:200");
    assert_string_equal((dm_buf_add_char(&h2.fields, 0), h2.fields.ptr), "link=</a>;x-one=1;server=test;");
    dm_buf_reset(&h2.fields);
    assert_int_equal(dm_http_request_write(rig.request, "abc", 3), 3);
    check_seen("D1:3");
    assert_int_equal(dm_http_request_write(rig.request, "defg", 4), 4);
    dm_http_request_end(rig.request, DM_STR("Grpc-Status: 0\r\n"));
    check_heard("R E D");
    check_seen("D1:4 T1 E1");
    assert_string_equal((dm_buf_add_char(&h2.fields, 0), h2.fields.ptr), "grpc-status=0;");
}

static void an_end_without_trailers(void **state)
{
    rig.script.on_request_end = respond_in_parts;
    h2_get();
    check_seen("H1:103 H1:200");
    dm_http_request_end(rig.request, DM_STR_NULL);
    check_heard("R E D");
    check_seen("E1");
}

static void short_responses_are_reset(void **state)
{
    struct dm_http_message m = {.status = 200, .framing = DM_HTTP_FRAMING_LENGTH, .content_length = 10};

    h2_get();
    h2_run();
    dm_http_request_respond(rig.request, &m);
    assert_int_equal(dm_http_request_write(rig.request, "abc", 3), 3);
    dm_http_request_end(rig.request, DM_STR_NULL);
    check_seen("H1:200 D1:3 X1:2");
    check_heard("R E D");
}

static void what_exceeds_the_length_is_dropped(void **state)
{
    struct dm_http_message m = {.status = 200, .framing = DM_HTTP_FRAMING_LENGTH, .content_length = 3};

    h2_get();
    h2_run();
    dm_http_request_respond(rig.request, &m);
    assert_int_equal(dm_http_request_write(rig.request, "abcdef", 6), 6);
    assert_int_equal(dm_http_request_write(rig.request, "ghi", 3), 3);
    check_seen("H1:200 D1:3 E1");
    check_heard("R E");
    dm_http_request_end(rig.request, DM_STR_NULL);
    check_heard("D");
}

static void aborted_requests_are_reset_with_a_code(void **state)
{
    h2_get();
    h2_run();
    dm_http_request_abort_with(rig.request, DM_HTTP2_CODE_CANCEL);
    check_seen("X1:8");
    check_heard("R E");
}

static void aborted_requests_are_reset(void **state)
{
    h2_get();
    h2_run();
    dm_http_request_abort(rig.request);
    check_seen("X1:2");
    check_heard("R E");
    h2_get();
    rig.script.on_request_end = hello_at_end;
    check_seen("H3:200 D3:5 E3");
}

static void a_client_that_cancels(void **state)
{
    int32_t id = h2_get();

    h2_run();
    check_heard("R E");
    nghttp2_submit_rst_stream(h2.session, 0, id, NGHTTP2_CANCEL);
    h2_run();
    check_heard("A:cancelled");
}

/* The rest is not wanted, and the client is told so. */
static void an_answer_before_the_body_stops_it(void **state)
{
    rig.script.on_request = hello_at_once;
    h2.is_open = true;
    h2_post("abc", 3);
    check_seen("H1:200 D1:5 E1 X1:0");
    check_heard("R D");
    assert_int_equal(dm_http_server_connections(rig.server), 1);
}

static void continue_when_asked(struct rig *r, struct dm_http_request *request, struct dm_http_head *head)
{
    assert_true(head->expects_continue);
    dm_http_request_inform(request, 100, DM_STR_NULL);
}

static void expectations_are_met(void **state)
{
    nghttp2_nv nv[] = {NV(":method", "POST"), NV(":scheme", "http"),        NV(":path", "/"),
                       NV(":authority", "a"), NV("expect", "100-continue"), NV("content-length", "3")};
    nghttp2_data_provider provider = {.read_callback = read_upload};

    dm_buf_add_lit(&h2.upload, "abc");
    rig.script.on_request = continue_when_asked;
    rig.script.on_request_end = hello_at_end;
    nghttp2_submit_request(h2.session, NULL, nv, DM_COUNT(nv), &provider, NULL);
    check_seen("H1:100 H1:200 D1:5 E1");
    check_heard("R B3 E D");
}

static void note_trailers(struct rig *r, struct dm_http_request *request, const struct dm_http_head *trailers)
{
    assert_non_null(trailers);
    assert_int_equal(trailers->field_count, 1);
    hear("%.*s=%.*s", DM_STR_ARG(trailers->fields[0].name), DM_STR_ARG(trailers->fields[0].value));
    reply_hello(r, request);
}

static ssize_t upload_with_trailers(nghttp2_session *session, int32_t id, uint8_t *buf, size_t len, uint32_t *flags,
                                    nghttp2_data_source *source, void *user)
{
    nghttp2_nv nv[] = {NV("x-sum", "7")};

    memcpy(buf, "abc", 3);
    *flags |= NGHTTP2_DATA_FLAG_EOF | NGHTTP2_DATA_FLAG_NO_END_STREAM;
    assert_int_equal(nghttp2_submit_trailer(session, id, nv, 1), 0);
    return 3;
}

static void post_with_trailers(void)
{
    nghttp2_nv nv[] = {NV(":method", "POST"), NV(":scheme", "http"), NV(":path", "/"), NV(":authority", "a")};
    nghttp2_data_provider provider = {.read_callback = upload_with_trailers};

    nghttp2_submit_request(h2.session, NULL, nv, DM_COUNT(nv), &provider, NULL);
}

static void request_trailers_arrive(void **state)
{
    rig.script.on_request_end = note_trailers;
    post_with_trailers();
    check_seen("H1:200 D1:5 E1");
    check_heard("R B3 E x-sum=7 D");
}

/* Trailers wait behind a body that waits. */
static void trailers_behind_a_body_that_waits(void **state)
{
    rig.script.on_body = take_nothing;
    rig.script.on_request_end = note_trailers;
    post_with_trailers();
    h2_run();
    check_heard("R B0");
    rig.script.on_body = NULL;
    dm_http_request_resume(rig.request);
    check_seen("H1:200 D1:5 E1");
    check_heard("B3 E x-sum=7 D");
}

static void ignore_the_body(struct rig *r, struct dm_http_request *request, struct dm_http_head *head)
{
    dm_http_request_ignore_body(request);
}

static void bodies_that_nobody_wants(void **state)
{
    static char body[100000];

    rig.script.on_request = ignore_the_body;
    h2_post(body, sizeof(body));
    h2_run();
    check_heard("R");
    assert_int_equal(h2.uploaded, sizeof(body));
    reply_hello(&rig, rig.request);
    check_seen("H1:200 D1:5 E1");
    check_heard("D");
}

/* S3: more fields than nghttp2 or we send. */
static void heads_that_do_not_fit(void **state)
{
    struct dm_http_message m = {.status = 200, .framing = DM_HTTP_FRAMING_CHUNKED};
    struct dm_buf fields;

    dm_buf_init(&fields, 1 << 20);
    for (int i = 0; i < 300; i++)
        dm_buf_add_lit(&fields, "X: 1\r\n");
    m.fields = dm_buf_str(&fields);
    h2_get();
    h2_run();
    dm_http_request_respond(rig.request, &m);
    assert_int_equal(dm_http_request_write(rig.request, "abc", 3), 3);
    dm_http_request_end(rig.request, DM_STR_NULL);
    dm_buf_done(&fields);
    check_seen("H1:500 E1");
    check_heard("R E D");
}

static void a_client_that_says_goodbye(void **state)
{
    h2_get();
    h2_run();
    nghttp2_submit_goaway(h2.session, 0, 0, NGHTTP2_NO_ERROR, NULL, 0);
    h2_run();
    assert_false(rig.is_ended);
    reply_hello(&rig, rig.request);
    check_seen("H1:200 D1:5 E1");
    assert_true(rig.is_ended);
    check_heard("R E D");
}

/* --- bounds ------------------------------------------------------------------------------------------------------- */

static void limit_body(struct rig *r, struct dm_http_request *request, struct dm_http_head *head)
{
    assert_true(dm_http_request_limit_body(request, 5));
}

static void bodies_that_are_too_large_are_refused(void **state)
{
    rig.script.on_request = limit_body;
    h2_post("0123456789", 10);
    check_seen("H1:413 D1:3 E1");
    check_heard("R F:body_too_large A:too_large");
}

static void one_body_too_large_leaves_the_others(void **state)
{
    h2_get();
    h2_run();
    struct dm_http_request *first = rig.request;
    rig.script.on_request = limit_body;
    h2_post("0123456789", 10);
    check_seen("H3:413 D3:3 E3");
    reply_hello(&rig, first);
    check_seen("H1:200 D1:5 E1");
}

static void too_long_urls_and_heads_are_answered(void **state)
{
    char path[9000];

    memset(path, 'a', sizeof(path));
    path[0] = '/';
    path[8999] = 0;
    h2_request("GET", path);
    check_seen("H1:414 D1:3 E1");
    check_heard("F:url_too_long");
}

/* --- memory ------------------------------------------------------------------------------------------------------- */

static void get(int n)
{
    for (int i = 0; i < n; i++)
        h2_get();
    h2_run();
}

/* Only the server allocates with dm_alloc(): the client's nghttp2 has its own. */
static void steady_state_allocates_nothing(void **state)
{
#if defined(DM_DEBUG_ALLOC)
    skip();
#endif
    rig.script.on_request_end = hello_at_end;
    h2.is_quiet = true;
    dm_buf_grow(&rig.got, 1 << 20);
    dm_buf_grow(&rig.heard, 1 << 18);
    dm_buf_grow(&h2.seen, 1 << 18);
    dm_buf_grow(&h2.body, 1 << 18);
    dm_buf_grow(&h2.fields, 1 << 18);
    for (int i = 0; i < 5; i++)
        get(100); /* more at a time than ever later */
    uint64_t before = dm_mem_calls();
    for (int i = 0; i < 10; i++)
        get(40);
    assert_int_equal(dm_mem_calls() - before, 0);
    assert_int_equal(h2.body.len, (500 + 400) * 5);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, h2_setup, h2_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_request_is_answered),
        TEST(a_request_is_answered_at_once),
        TEST(many_at_a_time),
        TEST(bodies_arrive),
        TEST(head_has_no_body),
        TEST(statuses_without_a_body),
        TEST(parts_and_trailers),
        TEST(an_end_without_trailers),
        TEST(short_responses_are_reset),
        TEST(what_exceeds_the_length_is_dropped),
        TEST(aborted_requests_are_reset),
        TEST(aborted_requests_are_reset_with_a_code),
        TEST(a_client_that_cancels),
        TEST(an_answer_before_the_body_stops_it),
        TEST(expectations_are_met),
        TEST(request_trailers_arrive),
        TEST(trailers_behind_a_body_that_waits),
        TEST(bodies_that_nobody_wants),
        TEST(heads_that_do_not_fit),
        TEST(a_client_that_says_goodbye),
        TEST(bodies_that_are_too_large_are_refused),
        TEST(one_body_too_large_leaves_the_others),
        TEST(too_long_urls_and_heads_are_answered),
        cmocka_unit_test_setup_teardown(steady_state_allocates_nothing, h2_setup_kernel, h2_teardown),
    };

    return cmocka_run_group_tests_name("h2 server", tests, NULL, NULL);
}
