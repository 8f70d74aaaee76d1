/* Requests and responses over HTTP/2: order, framing, windows, ends. */
#include "test_h2_rig.h"

static int setup(void **state)
{
    memset(&rig, 0, sizeof(rig));
    memset(&h2, 0, sizeof(h2));
    rig.settings = dm_http_server_defaults;
    h2_start();
    return 0;
}

static int setup_real(void **state)
{
    memset(&rig, 0, sizeof(rig));
    memset(&h2, 0, sizeof(h2));
    rig.settings = dm_http_server_defaults;
    rig_start(NULL);
    h2_begin(NULL, 0);
    h2_run();
    return 0;
}

static int teardown(void **state)
{
    h2_end();
    return 0;
}

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
    nghttp2_data_provider provider = {.read_callback = cl_upload};

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

static size_t take_nothing(struct rig *r, struct dm_http_request *request, const char *ptr, size_t len)
{
    return 0;
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

/* --- windows ------------------------------------------------------------------------------------------------------ */

static char block[200000];

/* The client's window of 65,535 bytes bounds what leaves; nothing is buffered. */
static void responses_stop_at_the_window(void **state)
{
    rig.left = 200000;
    rig.script.on_request = stream_length;
    rig.script.on_writable = stream_more;
    h2.holds_back = h2.is_quiet = true;
    h2_get();
    h2_run();
    assert_int_equal(h2.body.len, 65535);
    assert_true(rig.left >= 200000 - 65535);
    nghttp2_session_consume(h2.session, 1, 65535);
    h2.holds_back = false;
    check_seen("H1:200 E1");
    assert_int_equal(h2.body.len, 200000);
    check_heard("R E D");
}

static void other_streams_go_on(void **state)
{
    rig.left = 200000;
    rig.script.on_request = stream_chunked;
    rig.script.on_writable = stream_more;
    h2.holds_back = h2.is_quiet = true;
    nghttp2_session_set_local_window_size(h2.session, 0, 0, 1 << 20);
    h2_get();
    h2_run();
    assert_int_equal(h2.body.len, 65535);
    rig.script.on_request = hello_at_once;
    h2_get();
    check_seen("H1:200 H3:200 E3");
    assert_int_equal(h2.body.len, 65540);
}

/* At most a window's worth is kept of a stream whose owner takes nothing, and the others are not held up. */
static void requests_stop_at_the_window(void **state)
{
    rig.script.on_body = take_nothing;
    h2_post(block, sizeof(block));
    h2_run();
    assert_int_equal(h2.uploaded, 65536);
    check_heard("R B0");
    struct dm_http_request *first = rig.request;
    rig.script.on_request_end = hello_at_end;
    h2_get();
    check_seen("H3:200 D3:5 E3");
    check_heard("R E D");
    rig.script.on_body = NULL;
    dm_http_request_resume(first);
    check_seen("H1:200 D1:5 E1");
    assert_int_equal(rig.body.len, sizeof(block));
}

static size_t take_7(struct rig *r, struct dm_http_request *request, const char *ptr, size_t len)
{
    if (r->left++ % 2)
        return 0;
    return DM_MIN(len, 7u);
}

static void bodies_are_taken_in_parts(void **state)
{
    char body[100];

    for (size_t i = 0; i < sizeof(body); i++)
        body[i] = (char)i;
    rig.script.on_body = take_7;
    rig.script.on_request_end = hello_at_end;
    h2_post(body, sizeof(body));
    for (int i = 0; i < 40; i++) {
        h2_run();
        if (rig.body.len < sizeof(body))
            dm_http_request_resume(rig.request);
    }
    assert_int_equal(rig.body.len, sizeof(body));
    assert_memory_equal(rig.body.ptr, body, sizeof(body));
    check_seen("H1:200 D1:5 E1");
}

static void reply_large(struct rig *r, struct dm_http_request *request, struct dm_http_head *head)
{
    struct dm_http_message m = {.status = 200};

    memset(block, 'y', sizeof(block));
    dm_http_request_reply(request, &m, dm_str_n(block, sizeof(block)));
    memset(block, 'z', sizeof(block));
}

static void replies_wait_for_the_window(void **state)
{
    rig.script.on_request = reply_large;
    h2.holds_back = h2.is_quiet = true;
    h2_get();
    h2_run();
    assert_int_equal(h2.body.len, 65535);
    nghttp2_session_consume(h2.session, 1, 65535);
    h2.holds_back = false;
    check_seen("H1:200 E1");
    check_heard("R D");
    assert_int_equal(h2.body.len, sizeof(block));
    for (size_t i = 0; i < sizeof(block); i++)
        assert_int_equal(h2.body.ptr[i], 'y');
}

static void trailers_need_no_window(void **state)
{
    char trailers[] = "Grpc-Status: 0\r\n";
    struct dm_http_message m = {.status = 200, .framing = DM_HTTP_FRAMING_CHUNKED};

    h2.holds_back = h2.is_quiet = true;
    h2_get();
    h2_run();
    dm_http_request_respond(rig.request, &m);
    assert_int_equal(dm_http_request_write(rig.request, block, 65535), 65535);
    assert_int_equal(dm_http_request_write(rig.request, block, 1), 0);
    h2_run();
    nghttp2_session_consume(h2.session, 1, 65535);
    h2_run();
    check_heard("R E W");
    assert_int_equal(dm_http_request_write(rig.request, block, 65535), 65535);
    dm_http_request_end(rig.request, dm_str_n(trailers, sizeof(trailers) - 1));
    memset(trailers, 'x', sizeof(trailers));
    check_seen("H1:200 T1 E1");
    assert_string_equal((dm_buf_add_char(&h2.fields, 0), h2.fields.ptr), "grpc-status=0;");
    check_heard("D");
}

/* --- bounds ------------------------------------------------------------------------------------------------------- */

static void limit_body(struct rig *r, struct dm_http_request *request, struct dm_http_head *head)
{
    dm_http_request_limit_body(request, 5);
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

/* --- the connection ----------------------------------------------------------------------------------------------- */

static void what_a_connection_knows(void **state)
{
    rig.script.on_request_end = NULL;
    h2_get();
    h2_get();
    h2_run();
    assert_true(dm_http_request_is_http2(rig.request));
    assert_int_equal(dm_http_request_stream_id(rig.request), 3);
    struct dm_http_conn *conn = dm_http_request_conn(rig.request);
    struct dm_addr of_conn, of_request;
    dm_http_conn_set_user(conn, &rig);
    assert_ptr_equal(dm_http_conn_user(conn), &rig);
    dm_http_conn_peer(conn, &of_conn);
    dm_http_request_peer(rig.request, &of_request);
    assert_true(dm_addr_eq(&of_conn, &of_request));
    assert_non_null(dm_http_conn_stream(conn));
}

static void a_client_that_goes_aborts_everything(void **state)
{
    h2_get();
    h2_get();
    h2_run();
    rig.client->ops->close(rig.client, rig.fd);
    rig.fd = -1;
    rig_settle();
    rig_settle();
    check_heard("R E R E A:peer_closed A:peer_closed");
    assert_int_equal(dm_http_server_connections(rig.server), 0);
}

static void freeing_aborts_everything(void **state)
{
    h2_get();
    h2_post("abc", 3);
    h2_run();
    dm_buf_reset(&rig.heard);
    dm_http_server_free(rig.server);
    check_heard("Q Q A:shutdown A:shutdown");
    rig.server = dm_http_server_new(rig.loop, &rig.settings, &rig_handler, &rig);
}

static void an_idle_connection_is_told_and_closed(void **state)
{
    rig.script.on_request_end = hello_at_end;
    h2_get();
    check_seen("H1:200 D1:5 E1");
    rig_pass_ms(74000);
    h2_run();
    assert_int_equal(dm_http_server_connections(rig.server), 1);
    rig_pass_ms(2000);
    check_seen("G0");
    assert_true(rig.is_ended);
}

/* --- draining ----------------------------------------------------------------------------------------------------- */

static void draining_lets_streams_finish(void **state)
{
    h2_get();
    h2_run();
    struct dm_http_request *first = rig.request;
    dm_http_server_drain(rig.server);
    h2_get(); /* is on its way while the notice is */
    check_seen("G0 G0");
    check_heard("R E R E");
    reply_hello(&rig, rig.request);
    check_seen("H3:200 D3:5 E3");
    assert_int_equal(dm_http_server_connections(rig.server), 1);
    reply_hello(&rig, first);
    check_seen("H1:200 D1:5 E1");
    assert_true(rig.is_ended);
    assert_false(rig.is_reset);
    check_heard("D D");
}

/* It may begin one more request meanwhile. */
static void draining_an_idle_connection(void **state)
{
    static const uint8_t goaway[] = {0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0};

    rig.script.on_request_end = hello_at_end;
    rig_pass_ms(5000);
    dm_http_server_drain(rig.server);
    rig_pass_ms(500);
    h2_get();
    check_seen("G0 H1:200 D1:5 E1");
    rig_pass_ms(4600);
    h2_take(); /* nghttp2's client looks at no frame any more */
    assert_memory_equal(rig.got.ptr + rig.got.len - sizeof(goaway), goaway, sizeof(goaway));
    assert_true(rig.is_ended);
    rig_pass_ms(3000);
    assert_int_equal(dm_http_server_connections(rig.server), 0);
}

/* One that answers no PING. */
static void draining_waits_for_a_silent_client(void **state)
{
    dm_http_server_drain(rig.server);
    rig_pass_ms(4900);
    assert_int_equal(dm_http_server_connections(rig.server), 1);
    rig_pass_ms(4000);
    assert_int_equal(dm_http_server_connections(rig.server), 0);
}

/* No answer yet: it is given. In the middle of one: the stream is reset, or ends with trailers. */
static void end_by_stream(struct rig *r, struct dm_http_request *request)
{
    static unsigned n;

    if (n % 3 == 0)
        reply_hello(r, request);
    else if (n % 3 == 1)
        dm_http_request_abort_with(request, DM_HTTP2_CODE_INTERNAL);
    else
        dm_http_request_end(request, DM_STR("grpc-status: 14\r\n"));
    n++;
}

static void the_server_ends_what_is_in_hand(void **state)
{
    const struct dm_http_message head = {.status = 200, .framing = DM_HTTP_FRAMING_CHUNKED};

    rig.script.on_request_due = end_by_stream;
    for (int i = 0; i < 3; i++) {
        h2_get();
        h2_run();
        if (i > 0)
            dm_http_request_respond(rig.request, &head);
    }
    dm_http_server_drain(rig.server);
    check_seen("H3:200 H5:200 G0 G0");
    check_heard("R E R E R E");
    dm_http_server_end_requests(rig.server);
    check_seen("H1:200 X3:2 D1:5 E1 T5 E5");
    check_heard("Q Q Q D D");
    assert_true(rig.is_ended);
    assert_false(rig.is_reset);
}

static void the_end_of_draining(void **state)
{
    h2_get();
    h2_run();
    dm_http_server_drain_end(rig.server);
    check_seen("G0");
    reply_hello(&rig, rig.request);
    check_seen("H1:200 D1:5 E1");
    assert_true(rig.is_ended);
}

/* --- which protocol ----------------------------------------------------------------------------------------------- */

static struct {
    enum dm_http_protocol says;
    unsigned n_asked, n_ended;
} owner;

static enum dm_http_protocol say_protocol(void *arg, struct dm_http_conn *conn)
{
    assert_ptr_equal(arg, &rig);
    owner.n_asked++;
    dm_http_conn_set_user(conn, &owner);
    return owner.says;
}

static void note_conn_end(void *arg, struct dm_http_conn *conn)
{
    assert_ptr_equal(dm_http_conn_user(conn), &owner);
    owner.n_ended++;
}

/* A server whose owner says what it is. */
static void restart(enum dm_http_protocol says, bool allows_http2)
{
    static struct dm_http_handler handler;

    handler = rig_handler;
    handler.on_first_bytes = say_protocol;
    handler.on_conn_end = note_conn_end;
    memset(&owner, 0, sizeof(owner));
    owner.says = says;
    rig.settings.allows_http2 = allows_http2;
    dm_http_server_free(rig.server);
    rig.server = dm_http_server_new(rig.loop, &rig.settings, &handler, &rig);
    rig.script.on_request_end = hello_at_end;
    rig_connect();
    rig_settle();
}

static void restart_client(void)
{
    nghttp2_session_del(h2.session);
    h2_new_session(true);
    assert_int_equal(nghttp2_submit_settings(h2.session, 0, NULL, 0), 0);
    dm_buf_reset(&h2.seen);
}

static void the_owner_says_http2(void **state)
{
    restart(DM_HTTP_PROTOCOL_2, true);
    restart_client();
    h2_get();
    check_seen("H1:200 D1:5 E1");
    assert_int_equal(owner.n_asked, 1);
    rig.client->ops->close(rig.client, rig.fd);
    rig.fd = -1;
    rig_settle();
    rig_settle();
    assert_int_equal(owner.n_ended, 1);
}

/* It was accepted before, and says what it is behind that. */
static void one_that_begins_while_the_server_drains(void **state)
{
    restart(DM_HTTP_PROTOCOL_ANY, true);
    restart_client();
    dm_http_server_drain(rig.server);
    h2_get();
    check_seen("G0 H1:200 D1:5 E1");
    rig_pass_ms(5000);
    assert_true(rig.is_ended);
    assert_int_equal(owner.n_ended, 1);
}

/* Without the preface it is nothing (RFC 9113 section 3.4). */
static void the_owner_says_http2_and_the_client_http1(void **state)
{
    restart(DM_HTTP_PROTOCOL_2, true);
    rig_send(GET);
    rig_settle();
    rig_receive(SIZE_MAX);
    assert_true(rig.is_ended);
    check_heard("");
    assert_int_equal(dm_http_server_http2_counters(rig.server)->malformed_frames, 1);
}

#define REFUSED "HTTP/1.1 505 HTTP Version Not Supported\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbad"

static void the_owner_says_http1(void **state)
{
    restart(DM_HTTP_PROTOCOL_1, true);
    rig_send(GET);
    check_got(HELLO);
    rig_connect();
    rig_send(PREFACE);
    check_got(REFUSED);
    assert_int_equal(owner.n_asked, 2);
}

static void http2_is_not_allowed(void **state)
{
    restart(DM_HTTP_PROTOCOL_2, false);
    rig_send(GET);
    check_got(HELLO);
    rig_connect();
    rig_send(PREFACE);
    check_got(REFUSED);
    assert_int_equal(dm_http_server_http2_counters(rig.server)->malformed_frames, 0);
}

/* Byte by byte, and with what is HTTP/1.1 after all. */
static void prefaces_in_pieces(void **state)
{
    restart(DM_HTTP_PROTOCOL_ANY, true);
    for (size_t i = 0; i < sizeof(PREFACE) - 1; i++) {
        rig_send_n(&PREFACE[i], 1);
        rig_settle();
    }
    rig_receive(SIZE_MAX);
    assert_true(rig.got.len > 9);
    assert_int_equal(rig.got.ptr[3], NGHTTP2_SETTINGS);
    rig_connect();
    rig_send("P");
    rig_settle();
    rig_send("OST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx");
    check_got(HELLO);
    rig_connect();
    rig_send("PRI * HTTP/2.0\r\n\r\nSM\r\n\rX");
    check_got(REFUSED);
    rig_connect();
    rig_send("PRI * HT");
    rig_pass_ms(10100);
    rig_receive(SIZE_MAX);
    assert_true(rig.is_ended);
    assert_int_equal(rig.got.len, 0);
}

/* --- system calls that fail --------------------------------------------------------------------------------------- */

/* Each in its turn: everything that began ends, and the connection with it. */
static void every_call_fails_once(void **state)
{
    bool is_reached = true;
    uint64_t n = 1;

    for (; is_reached; n++) {
        h2_end();
        setup(state);
        dm_world_fail_nth(rig.sys, n, EIO);
        rig.script.on_request_end = hello_at_end;
        h2_get();
        h2_post(block, 5000);
        h2_run();
        rig.left = 100000;
        rig.script.on_request = stream_chunked;
        rig.script.on_writable = stream_more;
        rig.script.on_request_end = NULL;
        if (!rig.is_ended)
            h2_get();
        h2_run();
        is_reached = dm_world_fail_reached(rig.sys);
        rig.client->ops->close(rig.client, rig.fd);
        rig.fd = -1;
        rig_pass_ms(200000);
        assert_int_equal(dm_http_server_connections(rig.server), 0);
        size_t n_begun = 0, n_ended = 0;
        for (size_t i = 0; i < rig.heard.len; i++) {
            n_begun += rig.heard.ptr[i] == 'R';
            n_ended += rig.heard.ptr[i] == 'D' || rig.heard.ptr[i] == 'A';
        }
        assert_int_equal(n_begun, n_ended);
    }
    assert_true(n > 10);
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

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

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
        TEST(responses_stop_at_the_window),
        TEST(other_streams_go_on),
        TEST(requests_stop_at_the_window),
        TEST(bodies_are_taken_in_parts),
        TEST(replies_wait_for_the_window),
        TEST(trailers_need_no_window),
        TEST(bodies_that_are_too_large_are_refused),
        TEST(one_body_too_large_leaves_the_others),
        TEST(too_long_urls_and_heads_are_answered),
        TEST(what_a_connection_knows),
        TEST(a_client_that_goes_aborts_everything),
        TEST(freeing_aborts_everything),
        TEST(an_idle_connection_is_told_and_closed),
        TEST(draining_lets_streams_finish),
        TEST(draining_an_idle_connection),
        TEST(draining_waits_for_a_silent_client),
        TEST(the_server_ends_what_is_in_hand),
        TEST(the_end_of_draining),
        TEST(the_owner_says_http2),
        TEST(one_that_begins_while_the_server_drains),
        TEST(the_owner_says_http2_and_the_client_http1),
        TEST(the_owner_says_http1),
        TEST(http2_is_not_allowed),
        TEST(prefaces_in_pieces),
        TEST(every_call_fails_once),
        cmocka_unit_test_setup_teardown(steady_state_allocates_nothing, setup_real, teardown),
    };

    return cmocka_run_group_tests_name("h2_server", tests, NULL, NULL);
}
