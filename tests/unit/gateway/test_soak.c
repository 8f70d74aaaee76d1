/* Many exchanges that end in every way, in random order under a seed: nothing is left behind. Large bodies with slow readers
 * stay within bounds. In steady state nothing is allocated. */
#include "rig/stage.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "base/mem.h"

#define EXCHANGES 10000
#define CLIENTS 16
#define LARGE 41943040u
#define WAITING_MAX (25u << 20) /* kernel buffers of four sockets, and what the worker keeps for two */

static uint64_t seed = 1;

static unsigned any(unsigned n)
{
    seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407u;
    return (unsigned)(seed >> 33) % n;
}

/* --- random ends -------------------------------------------------------------------------------------------------- */

static const char *const requests[] = {
    STAGE_GET("/a", STAGE_KEY),
    STAGE_GET("/a?user_key=good", ""),
    STAGE_GET("/", ""),
    STAGE_GET("/%zz", STAGE_KEY),
    "GET / HTTP/1.1\r\nHost: nobody\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: orders.test\r\n" STAGE_KEY "Content-Length: 10\r\n\r\n0123456789",
    "POST / HTTP/1.1\r\nHost: orders.test\r\n" STAGE_KEY "Expect: 100-continue\r\nContent-Length: 4\r\n\r\nbody",
    "POST / HTTP/1.1\r\nHost: orders.test\r\n" STAGE_KEY
    "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-T: 1\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: orders.test\r\n" STAGE_KEY "Transfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: orders.test\r\nContent-Length: 10\r\n\r\n0123456789",
    "HEAD / HTTP/1.1\r\nHost: orders.test\r\n" STAGE_KEY "\r\n",
    "GET / HTTP/1.0\r\nHost: orders.test\r\n" STAGE_KEY "\r\n",
    "BAD\r\n\r\n",
    STAGE_GET("/a", STAGE_KEY "Accept-Encoding: gzip\r\n"),
    STAGE_GET("/a", STAGE_KEY "Accept-Encoding: br\r\n"),
};
static const char *const answers[] = {
    STAGE_OK,
    STAGE_OK,
    STAGE_OK,
    "HTTP/1.1 204 No Content\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nshort",
    "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
    "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
    "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok and more",
    "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-T: 1\r\n\r\n",
    "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5000\r\n\r\nhello",
};

static void turn(struct stage *s, unsigned n)
{
    while (n-- > 0)
        assert_true(dm_loop_turn(s->rig.worker.loop, 0) >= 0);
}

static void change_origin(struct stage *s)
{
    s->origin.answer = dm_str_of(answers[any(DM_COUNT(answers))]);
    s->origin.closes = any(5) == 0;
    s->origin.cuts = any(8) == 0;
    s->origin.answers_early = any(4) == 0;
}

static void change_units(struct stage *s, struct stage_release *r)
{
    static const char *const endpoints[] = {NULL, "{\"host\":\"127.0.0.1\",\"port\":1}",
                                            "{\"host\":\"10.0.0.1\",\"port\":1}"};

    r->endpoints = endpoints[any(8) == 0 ? 1 + any(2) : 0];
    stage_release(s, r);
    if (any(3) == 0)
        rig_apply(&s->rig, "orders", 1, DM_UNIT_GRANTS, STAGE_GRANTS);
    if (any(3) == 0)
        stage_applications(s, any(4) == 0 ? "suspended" : NULL, NULL);
}

static void step(struct stage *s, struct rig_socket **client)
{
    struct dm_str request = dm_str_of(requests[any(DM_COUNT(requests))]);

    if (!*client)
        *client = rig_connect(&s->rig);
    else if ((*client)->has_eof || (*client)->is_failed || any(3) == 0) {
        rig_close(&s->rig, *client); /* in the middle of whatever it was in */
        *client = NULL;
        return;
    }
    if (any(4) == 0)
        request.len = any((unsigned)request.len) + 1; /* cut */
    if (dm_stream_put(&(*client)->stream, request.ptr, request.len) == 0)
        dm_stream_flush(&(*client)->stream);
}

static void test_random_exchanges_leave_nothing(void **state)
{
    struct rig_socket *clients[CLIENTS] = {NULL};
    struct stage_release r = {.policies = ",{\"type\":\"cors\",\"allow_origins\":[\"*\"]},{\"type\":\"compression\"}",
                              .plan = ",\"limits\":[{\"metric\":\"hits\",\"period\":\"minute\",\"value\":100000}]"};
    struct dm_tenant_counters *c;
    struct stage *s = *state;

    stage_apply(s, &r);
    c = &s->rig.counters->tenants[1];
    for (int i = 0; i < EXCHANGES; i++) {
        if (any(10) == 0)
            change_origin(s);
        if (any(200) == 0)
            change_units(s, &r);
        step(s, &clients[any(CLIENTS)]);
        turn(s, any(4));
    }
    for (int i = 0; i < CLIENTS; i++)
        if (clients[i])
            rig_close(&s->rig, clients[i]);
    s->origin.cuts = true;
    for (size_t i = 0; i < s->origin.n_sockets; i++)
        dm_stream_close(&s->origin.sockets[i]->stream);
    rig_settle(&s->rig);
    assert_int_equal(s->rig.worker.n_exchanges, 0);
    assert_true(c->requests > EXCHANGES / 10);
    assert_int_equal(c->exchanges_begun, c->exchanges_ended);
    assert_int_equal(c->exchanges_ended, c->requests);
    assert_int_equal(dm_worker_connections(&s->rig.worker), 0);
    assert_int_equal(s->origin.n_bad, 0);
}

/* --- large bodies ------------------------------------------------------------------------------------------------- */

static struct dm_str large_answer(struct dm_buf *buf)
{
    dm_buf_init(buf, LARGE + 200);
    dm_buf_printf(buf, "HTTP/1.1 200 OK\r\nContent-Length: %u\r\n\r\n", LARGE);
    for (unsigned i = 0; i < LARGE; i++)
        dm_buf_add_char(buf, (char)('a' + i % 26));
    return dm_buf_str(buf);
}

static size_t left_of_origin(const struct stage *s)
{
    return dm_stream_unsent(&s->origin.sockets[0]->stream);
}

static void test_large_response_to_a_slow_reader(void **state)
{
    static const struct stage_release usual = {0};
    struct stage *s = *state;
    struct rig_socket *c;
    struct dm_buf answer;

    stage_apply(s, &usual);
    s->origin.answer = large_answer(&answer);
    c = rig_connect(&s->rig);
    dm_stream_pause(&c->stream);
    rig_send(c, DM_STR(STAGE_GET("/", STAGE_KEY)));
    rig_settle(&s->rig);
    assert_int_equal(s->origin.n_requests, 1);
    if (left_of_origin(s) < LARGE - WAITING_MAX) /* most of it still waits at the backend */
        fail_msg("%zu bytes left at the backend", left_of_origin(s));
    dm_stream_resume(&c->stream);
    rig_expect(&s->rig, c, "\r\n\r\n", 1);
    while (c->received.len < LARGE)
        assert_true(dm_loop_turn(s->rig.worker.loop, 1000) > 0);
    rig_settle(&s->rig);
    assert_memory_equal(c->received.ptr + c->received.len - 5000, answer.ptr + answer.len - 5000, 5000);
    assert_int_equal(s->rig.worker.n_exchanges, 0);
    rig_close(&s->rig, c);
    dm_buf_done(&answer);
}

static void test_large_request_to_a_slow_backend(void **state)
{
    static const struct stage_release usual = {0};
    struct stage *s = *state;
    struct rig_socket *c;
    struct dm_buf body;

    stage_apply(s, &usual);
    dm_buf_init(&body, LARGE);
    for (unsigned i = 0; i < LARGE; i++)
        dm_buf_add_char(&body, (char)('a' + i % 26));
    c = stage_ask(s, STAGE_GET("/", STAGE_KEY), "hello"); /* makes the connection that is paused then */
    rig_settle(&s->rig);
    dm_stream_pause(&s->origin.sockets[0]->stream);
    rig_send(c, DM_STR("POST / HTTP/1.1\r\nHost: orders.test\r\n" STAGE_KEY "Content-Length: 41943040\r\n\r\n"));
    rig_send(c, dm_buf_str(&body));
    rig_settle(&s->rig);
    assert_true(dm_stream_unsent(&c->stream) >= LARGE - WAITING_MAX);
    dm_stream_resume(&s->origin.sockets[0]->stream);
    rig_expect(&s->rig, c, "hello", 2);
    assert_int_equal(s->origin.n_requests, 2);
    assert_memory_equal(s->origin.received.ptr + s->origin.received.len - 5000, body.ptr + LARGE - 5000, 5000);
    rig_close(&s->rig, c);
    dm_buf_done(&body);
}

/* --- steady state ------------------------------------------------------------------------------------------------- */

static uint64_t calls_in_steady_state(struct stage *s, const char *request, const char *expected)
{
    struct rig_socket *c = rig_connect(&s->rig);
    uint64_t before = 0;

    for (int i = 0; i < 400; i++) {
        if (i == 100)
            before = dm_mem_calls();
        dm_buf_reset(&c->received);
        rig_origin_reset(&s->origin);
        rig_send(c, dm_str_of(request));
        rig_expect(&s->rig, c, expected, 1);
    }
    before = dm_mem_calls() - before;
    rig_close(&s->rig, c);
    return before;
}

static void test_steady_state_allocates_nothing(void **state)
{
    static const char *const cases[][2] = {
        {STAGE_GET("/list?a=1", STAGE_KEY), "hello"},
        {STAGE_GET("/list?user_key=good&a=%20", "Origin: https://a.test\r\n"), "hello"},
        {"POST / HTTP/1.1\r\nHost: orders.test\r\n" STAGE_KEY "Content-Length: 10\r\n\r\n0123456789", "hello"},
        {"POST / HTTP/1.1\r\nHost: orders.test\r\n" STAGE_KEY "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
         "hello"},
        {STAGE_GET("/", ""), "auth_missing\""},
        {STAGE_GET("/", "X-Api-Key: bad\r\n"), "auth_invalid\""},
        {"GET / HTTP/1.1\r\nHost: nobody.test\r\n\r\n", "host_unknown\""},
        {STAGE_GET("/", STAGE_KEY "Accept-Encoding: gzip\r\n"), "\r\n0\r\n\r\n"},
        {STAGE_GET("/", STAGE_KEY "Accept-Encoding: br\r\n"), "\r\n0\r\n\r\n"},
    };
    static const struct stage_release r = {
        .policies = ",{\"type\":\"headers\",\"request\":[{\"op\":\"set\",\"name\":\"X-Team\",\"value\":\"orders\"}]},"
                    "{\"type\":\"cors\",\"allow_origins\":[\"*\"]},"
                    "{\"type\":\"ip_check\",\"mode\":\"allow\",\"addresses\":[\"127.0.0.0/8\"]},"
                    "{\"type\":\"compression\",\"min_bytes\":0}",
        .plan = ",\"limits\":[{\"metric\":\"hits\",\"period\":\"minute\",\"value\":1000000}],"
                "\"rate_limits\":[{\"metric\":\"hits\",\"rate\":100000,\"per\":\"second\"}]"};
    struct stage *s = *state;

    stage_apply(s, &r);
    s->origin.answer = DM_STR("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello");
    for (size_t i = 0; i < DM_COUNT(cases); i++) {
        uint64_t calls = calls_in_steady_state(s, cases[i][0], cases[i][1]);
#ifndef DM_DEBUG_ALLOC
        if (calls > 0)
            fail_msg("%llu calls of the allocator for %s", (unsigned long long)calls, cases[i][0]);
#else
        (void)calls;
#endif
    }
}

/* test_gateway_soak [SEED] */
int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_random_exchanges_leave_nothing, stage_setup, stage_teardown),
        cmocka_unit_test_setup_teardown(test_large_response_to_a_slow_reader, stage_setup, stage_teardown),
        cmocka_unit_test_setup_teardown(test_large_request_to_a_slow_backend, stage_setup, stage_teardown),
        cmocka_unit_test_setup_teardown(test_steady_state_allocates_nothing, stage_setup, stage_teardown),
    };
    if (argc > 1 && dm_str_to_u64(dm_str_of(argv[1]), &seed) < 0)
        return 2;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
