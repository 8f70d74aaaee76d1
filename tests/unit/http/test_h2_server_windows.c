/* Windows of HTTP/2: what stops at them, and what goes on meanwhile. */
#include "server_h2_rig.h"

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

#define TEST(name) cmocka_unit_test_setup_teardown(name, h2_setup, h2_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(responses_stop_at_the_window), TEST(other_streams_go_on),         TEST(requests_stop_at_the_window),
        TEST(bodies_are_taken_in_parts),    TEST(replies_wait_for_the_window), TEST(trailers_need_no_window),
    };

    return cmocka_run_group_tests_name("h2 server windows", tests, NULL, NULL);
}
