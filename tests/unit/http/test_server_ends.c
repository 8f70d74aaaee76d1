/* How a server ends: half-closed clients, what an owner does from its callbacks, draining, freeing, and the most connections
 * there may be; on the simulated system and on the kernel. */
#include "server_rig.h"

/* --- half-close --------------------------------------------------------------------------------------------------- */

static void a_half_closed_client_gets_its_answer(void **state)
{
    rig_send(GET);
    rig.client->ops->shutdown_write(rig.client, rig.fd);
    while (rig.heard.len < 3)
        rig_step();
    rig_settle();
    check_heard("R E");
    reply_hello(&rig, rig.request);
    rig_read_all();
    check_got(HELLO);
    check_heard("D");
}

static void a_half_closed_client_gets_all_of_a_large_answer(void **state)
{
    rig.script.on_request = stream_length;
    rig.script.on_writable = stream_more;
    rig.left = 3000000;
    rig_send(GET);
    rig.client->ops->shutdown_write(rig.client, rig.fd);
    rig_read_all();
    assert_int_equal(rig.got.len, strlen("HTTP/1.1 200 OK\r\nContent-Length: 3000000\r\n\r\n") + 3000000);
    assert_false(rig.is_reset);
    check_done();
}

static void a_body_that_ends_early_aborts(void **state)
{
    rig_send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nab");
    rig.client->ops->shutdown_write(rig.client, rig.fd);
    check_ended();
    check_heard("R B2 A:peer_closed");
}

/* --- the owner's calls from its callbacks -------------------------------------------------------------------------- */

static void abort_request(struct rig *r, struct dm_http_request *request, struct dm_http_head *head)
{
    dm_http_request_abort(request);
}

static size_t abort_body(struct rig *r, struct dm_http_request *request, const char *ptr, size_t len)
{
    dm_http_request_abort(request);
    return 0;
}

static void abort_end(struct rig *r, struct dm_http_request *request, const struct dm_http_head *trailers)
{
    dm_http_request_abort(request);
}

static size_t reply_body(struct rig *r, struct dm_http_request *request, const char *ptr, size_t len)
{
    reply_hello(r, request);
    return 0;
}

#define POST "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n"

/* Cut in its body a response looks cut: to HTTP/1.0, for which the end of the connection is the end, too. */
static void a_cut_response_does_not_look_whole(void **state)
{
    static const char *const requests[] = {"GET / HTTP/1.0\r\n\r\n", GET};

    for (size_t i = 0; i < DM_COUNT(requests); i++) {
        rig_connect();
        rig.script.on_request = stream_chunked;
        rig.left = 200000000;
        rig_send(requests[i]);
        rig_read(1000);
        assert_non_null(rig.request);
        dm_http_request_abort(rig.request);
        rig_read_all();
        assert_true(rig.got.len > 1000 && rig.got.len < 200000000);
        assert_int_equal(rig.is_reset, i == 0);
        assert_false(i == 1 && memcmp(rig.got.ptr + rig.got.len - 5, "0\r\n\r\n", 5) == 0);
        dm_buf_reset(&rig.got);
        dm_buf_reset(&rig.heard);
    }
}

static void aborts_from_callbacks(void **state)
{
    static const struct {
        struct script script;
        const char *heard;
    } cases[] = {
        {{.on_request = abort_request}, "R"},
        {{.on_body = abort_body}, "R B0"},
        {{.on_request_end = abort_end}, "R B1 E"},
    };

    for (size_t i = 0; i < DM_COUNT(cases); i++) {
        rig_connect();
        rig.script = cases[i].script;
        rig_send(POST GET);
        rig_read_all();
        assert_int_equal(rig.got.len, 0);
        check_heard(cases[i].heard);
    }
}

static void replies_from_callbacks(void **state)
{
    rig.script.on_body = reply_body;
    rig_send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc" POST);
    check_got(HELLO HELLO_CLOSE);
    check_ended();
    check_heard("R B0 D R D B0");
}

static void drain_server(struct rig *r, struct dm_http_request *request)
{
    dm_http_server_drain(r->server);
}

static void drain_inside_done(void **state)
{
    rig.script.on_request = hello_at_once;
    rig.script.on_done = drain_server;
    rig_send(GET GET GET);
    check_got(HELLO HELLO_CLOSE);
    check_ended();
    check_heard("R D R D");
}

/* --- draining and freeing ----------------------------------------------------------------------------------------- */

static void draining_ends_idle_connections(void **state)
{
    rig.script.on_request = hello_at_once;
    rig_send(GET);
    check_got(HELLO);
    dm_http_server_drain(rig.server);
    dm_http_server_drain_end(rig.server);
    check_ended();
    rig_connect();
    rig_read_all();
    assert_int_equal(rig.got.len, 0);
}

/* Its next request is on its way. */
static void draining_waits_for_one_more_request(void **state)
{
    rig.script.on_request = hello_at_once;
    rig_send(GET);
    check_got(HELLO);
    dm_http_server_drain(rig.server);
    rig_settle();
    rig_send(GET);
    check_got(HELLO_CLOSE);
    check_ended();
}

static void draining_answers_requests_in_hand(void **state)
{
    rig.script.on_request_end = hello_at_end;
    rig_send("GET / HTTP/1.1\r\n");
    rig_settle();
    assert_int_equal(dm_http_server_connections(rig.server), 1);
    dm_http_server_drain(rig.server);
    rig_send("Host: a\r\n\r\n" GET);
    check_got(HELLO_CLOSE);
    check_ended();
    check_heard("R E D");
}

/* In each state that a connection can be in. */
static void free_in_every_state(void **state)
{
    static const struct {
        const char *sent, *heard;
    } cases[] = {
        {"", ""},
        {"GET / HT", ""},
        {"GET / HTTP/1.0\r\n\r\n", "R E Q A:shutdown"},
        {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nab", "R B2 Q A:shutdown"},
        {GET GET, "R E Q A:shutdown"},
        {"BAD\r\n\r\n", "F:bad_request_line"},
    };

    for (size_t i = 0; i < DM_COUNT(cases); i++) {
        rig_connect();
        rig_send(cases[i].sent);
        rig_settle();
        dm_http_server_free(rig.server);
        check_heard(cases[i].heard);
        rig.server = dm_http_server_new(rig.loop, &rig.settings, &rig_handler, &rig);
    }
}

static void free_under_a_large_response(void **state)
{
    rig.script.on_request = stream_length;
    rig.left = 50000000;
    rig_send(GET GET);
    rig_settle();
    assert_true(rig.left > 0);
    dm_http_server_free(rig.server);
    check_heard("R E Q A:shutdown");
    assert_true(rig.bytes_out > 0 && rig.bytes_out < 50000000);
    rig.server = NULL;
}

static void connections_have_a_maximum(void **state)
{
    int first;

    rig.settings.connections_max = 1;
    rig_settle();
    rig_renew_server();
    rig.script.on_request = hello_at_once;
    rig_connect();
    rig_send(GET);
    check_got(HELLO);
    check_heard("R D");
    first = rig.fd;
    rig.fd = -1;
    rig_connect();
    rig_send(GET);
    rig_read_all();
    assert_true(has_got("HTTP/1.1 503"));
    check_heard("F:too_many_connections");
    assert_false(rig.is_reset);
    assert_int_equal(dm_http_server_stats(rig.server)->refused[DM_HTTP_REFUSED_CROWDED], 1);
    rig.client->ops->close(rig.client, rig.fd);
    rig.fd = first;
    rig.is_ended = false;
    dm_buf_reset(&rig.got);
    rig_send(GET);
    check_got(HELLO);
    check_heard("R D");
    rig_settle();
    assert_int_equal(dm_http_server_stats(rig.server)->connections, 1);
    assert_int_equal(dm_http_server_connections(rig.server), 1);
}

/* Those that would be told are few; a flood costs nothing but its closing. */
static void above_the_maximum_a_few_are_told(void **state)
{
    enum { N = 80, TOLD = 64 };
    int fds[N];

    rig.settings.connections_max = 0;
    rig_settle();
    rig_renew_server();
    for (int i = 0; i < N; i++) {
        fds[i] = rig.client->ops->connect(rig.client, &rig.listener.addr);
        assert_true(fds[i] >= 0);
        rig_settle();
    }
    while (dm_http_server_stats(rig.server)->refused[DM_HTTP_REFUSED_CROWDED] < N)
        assert_true(rig_step());
    assert_true(dm_http_server_connections(rig.server) <= TOLD);
    for (int i = 0; i < N; i++)
        rig.client->ops->close(rig.client, fds[i]);
    while (dm_http_server_connections(rig.server) > 0)
        assert_true(rig_step());
    check_heard("");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(a_half_closed_client_gets_its_answer),
        BOTH(a_half_closed_client_gets_all_of_a_large_answer),
        BOTH(a_body_that_ends_early_aborts),
        BOTH(a_cut_response_does_not_look_whole),
        BOTH(aborts_from_callbacks),
        BOTH(replies_from_callbacks),
        BOTH(drain_inside_done),
        BOTH(draining_ends_idle_connections),
        BOTH(draining_waits_for_one_more_request),
        BOTH(draining_answers_requests_in_hand),
        BOTH(free_in_every_state),
        BOTH(free_under_a_large_response),
        BOTH(connections_have_a_maximum),
        BOTH(above_the_maximum_a_few_are_told),
    };

    return cmocka_run_group_tests_name("http server ends", tests, NULL, NULL);
}
