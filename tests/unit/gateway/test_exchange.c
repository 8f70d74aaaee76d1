/* Exchanges through a whole worker, on real sockets. */
#include "rig/stage.h"

#include "base/mem.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static const struct stage_release usual;

static bool got(const struct rig_socket *c, const char *text)
{
    return rig_count(dm_buf_str(&c->received), text) > 0;
}

static void test_forwards_with_a_key(void **state)
{
    struct stage *s = *state;
    struct dm_str received;
    struct rig_socket *c;

    stage_apply(s, &usual);
    c = stage_ask(s, STAGE_GET("/list?a=1&user_key=good&b=2", "X-Forwarded-For: 6.6.6.6\r\n"), "hello");
    assert_true(got(c, "HTTP/1.1 200 OK\r\n"));
    assert_true(got(c, "X-From: origin\r\n"));
    received = dm_buf_str(&s->origin.received);
    assert_int_equal(rig_count(received, "GET /list?a=1&b=2 HTTP/1.1\r\n"), 1);
    assert_int_equal(rig_count(received, "X-Forwarded-For: 127.0.0.1\r\n"), 1);
    assert_int_equal(rig_count(received, "good") + rig_count(received, "6.6.6.6"), 0);
    rig_close(&s->rig, c);
    assert_int_equal(stage_counters(s)->requests, 1);
    assert_int_equal(s->rig.worker.n_exchanges, 0);
}

static void test_pipelines_in_order(void **state)
{
    struct stage *s = *state;
    struct rig_socket *c;

    stage_apply(s, &usual);
    c = stage_ask(s, STAGE_GET("/1", STAGE_KEY) STAGE_GET("/2", STAGE_KEY) STAGE_GET("/3", STAGE_KEY), "hello");
    rig_expect(&s->rig, c, "hello", 3);
    assert_int_equal(s->origin.n_requests, 3);
    assert_int_equal(s->origin.n_accepted, 1);
    rig_close(&s->rig, c);
}

/* P2: units of another tenant change nothing here, and its key is nobody's. */
static void test_tenants_are_apart(void **state)
{
    struct stage *s = *state;

    stage_apply(s, &usual);
    rig_apply(&s->rig, "catalog", 2, DM_UNIT_GRANTS,
              "{\"state\":\"suspended\",\"weight\":100,\"domains\":[{\"name\":\"catalog.test\"}]}");
    rig_apply(
        &s->rig, "catalog", 2, DM_UNIT_APPLICATIONS,
        "{\"digest_key_id\":1,\"digest_key\":\"2222222222222222222222222222222222222222222222222222222222222222\"}");
    stage_try(s, STAGE_GET("/", STAGE_KEY), "hello");
    stage_try(s, "GET / HTTP/1.1\r\nHost: catalog.test\r\n" STAGE_KEY "\r\n", "tenant_suspended");
    assert_int_equal(stage_counters(s)->requests, 1);
    assert_int_equal(s->rig.counters->tenants[2].requests, 1);
}

/* Rule 4: what a request began with, it ends with. */
static void test_units_change_under_a_request(void **state)
{
    static const struct stage_release with = {
        .policies =
            ",{\"type\":\"headers\",\"response\":[{\"op\":\"set\",\"name\":\"X-Release\",\"value\":\"first\"}]}"};
    struct dm_mark late = {1, 1000};
    struct stage *s = *state;
    struct rig_socket *c;

    stage_apply(s, &with);
    s->origin.answer = DM_STR_NULL;
    c = rig_connect(&s->rig);
    rig_send(c, DM_STR(STAGE_GET("/", STAGE_KEY)));
    while (s->origin.n_requests == 0)
        assert_true(dm_loop_turn(s->rig.worker.loop, 1000) >= 0);
    stage_release(s, &usual);
    for (int kind = DM_UNIT_RELEASE; kind <= DM_UNIT_GRANTS; kind++)
        dm_worker_remove(&s->rig.worker, DM_STR("orders"), (enum dm_unit_kind)kind, late);
    stage_try(s, STAGE_GET("/", STAGE_KEY), "host_unknown");
    rig_send(s->origin.sockets[0], DM_STR(STAGE_OK));
    rig_expect(&s->rig, c, "hello", 1);
    assert_true(got(c, "X-Release: first\r\n"));
    rig_close(&s->rig, c);
    rig_expect_end(&s->rig, s->origin.sockets[0]); /* nothing is kept for a tenant that is gone */
}

/* The answer that the gateway gave stands in the counters, though its reader was gone. */
static void test_reset_after_an_answer(void **state)
{
    struct stage *s = *state;
    struct rig_socket *c;

    stage_apply(s, &usual);
    c = stage_ask(s, "POST / HTTP/1.1\r\nHost: orders.test\r\nContent-Length: 50000\r\n\r\nabc", "auth_missing");
    rig_close(&s->rig, c);
    rig_settle(&s->rig);
    assert_int_equal(stage_counters(s)->reasons[DM_REASON_AUTH_MISSING], 1);
    assert_int_equal(stage_counters(s)->reasons[DM_REASON_CLIENT_CLOSED], 0);
    assert_int_equal(stage_counters(s)->exchanges_ended, 1);
}

static void test_ends_are_told_apart(void **state)
{
    struct stage *s = *state;
    struct dm_tenant_counters *counters = stage_counters(s);
    struct rig_socket *c;

    stage_apply(s, &usual);
    s->origin.answer = DM_STR("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello");
    s->origin.closes = true;
    c = stage_ask(s, STAGE_GET("/", STAGE_KEY), "hello");
    rig_expect_end(&s->rig, c);
    assert_int_equal(counters->reasons[DM_REASON_BACKEND_CLOSED], 1);
    rig_close(&s->rig, c);
    s->origin.closes = false;
    c = rig_connect(&s->rig);
    rig_send(c, DM_STR("POST / HTTP/1.1\r\nHost: orders.test\r\n" STAGE_KEY "Content-Length: 5\r\n\r\nab"));
    rig_settle(&s->rig);
    rig_close(&s->rig, c);
    rig_settle(&s->rig);
    assert_int_equal(counters->reasons[DM_REASON_CLIENT_CLOSED], 1);
    assert_int_equal(counters->status[0], 1);
    assert_int_equal(counters->exchanges_begun, counters->exchanges_ended);
}

/* A backend that would take the end of a connection for a half-close can tell that the rest will not come. */
static void test_a_body_that_is_cut_is_reset(void **state)
{
    struct stage *s = *state;
    struct rig_socket *c = rig_connect(&s->rig);

    stage_apply(s, &usual);
    s->origin.answer = DM_STR_NULL;
    rig_send(c, DM_STR("POST / HTTP/1.1\r\nHost: orders.test\r\n" STAGE_KEY "Content-Length: 5\r\n\r\nab"));
    while (rig_count(dm_buf_str(&s->origin.received), "\r\n\r\nab") == 0)
        assert_true(dm_loop_turn(s->rig.worker.loop, 100) >= 0);
    rig_close(&s->rig, c);
    rig_expect_end(&s->rig, s->origin.sockets[0]);
    assert_true(s->origin.sockets[0]->is_failed);
    assert_false(s->origin.sockets[0]->has_eof);
}

#define TIMED_OUT "HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"

/* The second request on the connection crosses a 408 for the silence behind the first one. */
static void test_a_408_for_the_idle_is_no_answer(void **state)
{
    struct stage *s = *state;
    const struct dm_tenant_counters *counters = &s->rig.counters->tenants[1];
    struct rig_socket *c;

    stage_apply(s, &usual);
    stage_try(s, STAGE_GET("/", STAGE_KEY), "hello");
    s->origin.answer_once = DM_STR(TIMED_OUT);
    stage_try(s, STAGE_GET("/", STAGE_KEY), "hello");
    assert_int_equal(counters->upstream_retries, 1);
    assert_int_equal(s->origin.n_requests, 3);
    assert_int_equal(s->origin.n_accepted, 2);
    s->origin.answer_once = DM_STR(TIMED_OUT); /* what may have been done is not done again */
    stage_try(s, "POST / HTTP/1.1\r\nHost: orders.test\r\n" STAGE_KEY "Content-Length: 2\r\n\r\nab", "HTTP/1.1 408 ");
    s->origin.answer = DM_STR(TIMED_OUT); /* to a new connection it is an answer */
    c = stage_ask(s, STAGE_GET("/", STAGE_KEY), "HTTP/1.1 408 ");
    assert_int_equal(counters->upstream_retries, 1);
    assert_int_equal(s->origin.n_requests, 5);
    rig_close(&s->rig, c);
}

static void test_a_408_before_the_request_left(void **state)
{
    static const char *const requests[] = {
        STAGE_GET("/", STAGE_KEY), "POST / HTTP/1.1\r\nHost: orders.test\r\n" STAGE_KEY "Content-Length: 0\r\n\r\n"};
    struct stage *s = *state;
    struct rig_socket *c;

    stage_apply(s, &usual);
    for (size_t i = 0; i < DM_COUNT(requests); i++) {
        uint64_t before = s->rig.counters->tenants[1].upstream_retries;
        c = stage_ask(s, STAGE_GET("/", STAGE_KEY), "hello");
        dm_buf_reset(&c->received);
        rig_send(c, dm_str_of(requests[i])); /* read first, in the turn that reads both */
        dm_stream_flush(&c->stream);
        rig_send(s->origin.sockets[s->origin.n_sockets - 1], DM_STR(TIMED_OUT));
        dm_stream_flush(&s->origin.sockets[s->origin.n_sockets - 1]->stream);
        rig_expect(&s->rig, c, "hello", 1);
        assert_int_equal(s->rig.counters->tenants[1].upstream_retries - before, 1);
        rig_close(&s->rig, c);
    }
    assert_int_equal(s->rig.counters->tenants[1].reasons[DM_REASON_BACKEND_BAD_RESPONSE], 0);
}

static int by_bytes(const void *a, const void *b)
{
    return memcmp(a, b, DM_REQUEST_ID_LEN);
}

/* Unique, and in no order: a team must not read from its ids how much the others call. */
static void test_request_ids_do_not_count(void **state)
{
    enum { N = 10000 };
    struct stage *s = *state;
    char(*ids)[DM_REQUEST_ID_LEN] = dm_alloc(N * sizeof(*ids));
    unsigned n_up = 0;

    for (unsigned i = 0; i < N; i++) {
        dm_worker_next_id(&s->rig.worker, ids[i]);
        assert_true(dm_http_field_name_is_valid(dm_str_n(ids[i], DM_REQUEST_ID_LEN)));
        n_up += i > 0 && by_bytes(ids[i - 1], ids[i]) < 0;
    }
    assert_in_range(n_up, N * 45 / 100, N * 55 / 100);
    qsort(ids, N, sizeof(*ids), by_bytes);
    for (unsigned i = 1; i < N; i++)
        assert_int_not_equal(by_bytes(ids[i - 1], ids[i]), 0);
    dm_free(ids);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_forwards_with_a_key, stage_setup, stage_teardown),
        cmocka_unit_test_setup_teardown(test_pipelines_in_order, stage_setup, stage_teardown),
        cmocka_unit_test_setup_teardown(test_tenants_are_apart, stage_setup, stage_teardown),
        cmocka_unit_test_setup_teardown(test_units_change_under_a_request, stage_setup, stage_teardown),
        cmocka_unit_test_setup_teardown(test_reset_after_an_answer, stage_setup, stage_teardown),
        cmocka_unit_test_setup_teardown(test_ends_are_told_apart, stage_setup, stage_teardown),
        cmocka_unit_test_setup_teardown(test_a_body_that_is_cut_is_reset, stage_setup, stage_teardown),
        cmocka_unit_test_setup_teardown(test_a_408_for_the_idle_is_no_answer, stage_setup, stage_teardown),
        cmocka_unit_test_setup_teardown(test_a_408_before_the_request_left, stage_setup, stage_teardown),
        cmocka_unit_test_setup_teardown(test_request_ids_do_not_count, stage_setup, stage_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
