/* A connection of HTTP/2: what its owner knows of it, how it ends and drains, and which protocol its first bytes are. */
#include "server_h2_rig.h"

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

static void the_owner_says_http2(void **state)
{
    restart(DM_HTTP_PROTOCOL_2, true);
    h2_renew(NULL, 0);
    dm_buf_reset(&h2.seen);
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
    h2_renew(NULL, 0);
    dm_buf_reset(&h2.seen);
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

#define TEST(name) cmocka_unit_test_setup_teardown(name, h2_setup, h2_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
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
    };

    return cmocka_run_group_tests_name("h2 server connection", tests, NULL, NULL);
}
