/* What is in hand when the gateway goes, through a whole worker over HTTP/1.1; tunnels are in test_tunnel.c. */
#include "rig/h2_origin.h"
#include "rig/stage.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define CALL                                                                                                           \
    "POST /pkg.Service/Method HTTP/1.1\r\nHost: orders.test\r\n" STAGE_KEY "Content-Type: application/grpc\r\n"        \
    "Content-Length: 5\r\n\r\nbody1"
#define LAST_CHUNK "\r\n0\r\n"

static struct h2_origin origin;

static int setup(void **state)
{
    struct stage *s;

    if (stage_setup(state) < 0)
        return -1;
    s = *state;
    h2_origin_init(&s->rig, &origin);
    h2_origin_apply(&origin, s, (struct stage_release){.backend = ",\"protocol\":\"http2\""});
    return 0;
}

static int teardown(void **state)
{
    h2_origin_done(&origin);
    return stage_teardown(state);
}

static bool has_requests(void *arg)
{
    return origin.n_requests == *(size_t *)arg;
}

static bool was_reset(void *arg)
{
    return origin.n_reset > 0;
}

/* A request that is at the backend and has no answer. */
static struct rig_socket *ask_in_vain(struct stage *s, const char *request)
{
    struct rig_socket *c = rig_connect(&s->rig);
    size_t n = origin.n_requests + 1;

    origin.is_mute = true;
    rig_send(c, dm_str_of(request));
    rig_run_until(&s->rig, has_requests, &n);
    return c;
}

/* As a worker does whose time to drain is over. */
static void go(struct stage *s)
{
    dm_worker_drain(&s->rig.worker);
    dm_worker_drain_end(&s->rig.worker);
    dm_worker_end_exchanges(&s->rig.worker);
}

static void check_ended(struct stage *s, struct rig_socket *c, bool is_reset)
{
    rig_expect_end(&s->rig, c);
    rig_close(&s->rig, c);
    if (is_reset)
        rig_run_until(&s->rig, was_reset, NULL);
    rig_settle(&s->rig);
    assert_int_equal(stage_counters(s)->reasons[DM_REASON_DRAINING], 1);
    assert_int_equal(stage_counters(s)->reasons[DM_REASON_CLIENT_CLOSED], 0);
    assert_int_equal(s->rig.worker.n_exchanges, 0);
}

static void what_has_no_answer_gets_one(void **state)
{
    struct stage *s = *state;
    struct rig_socket *c = ask_in_vain(s, STAGE_GET("/p", STAGE_KEY));

    go(s);
    rig_expect(&s->rig, c, "\"reason\":\"draining\"", 1);
    assert_int_equal(rig_count(dm_buf_str(&c->received), "HTTP/1.1 503 "), 1);
    assert_int_equal(rig_count(dm_buf_str(&c->received), "Connection: close\r\n"), 1);
    check_ended(s, c, true);
}

static void a_call_without_an_answer_gets_a_status(void **state)
{
    struct stage *s = *state;
    struct rig_socket *c = ask_in_vain(s, CALL);

    go(s);
    rig_expect(&s->rig, c, "grpc-status: 14\r\n", 1);
    assert_int_equal(rig_count(dm_buf_str(&c->received), "HTTP/1.1 200 "), 1);
    check_ended(s, c, true);
}

static void an_answer_under_way_is_cut(void **state)
{
    struct stage *s = *state;
    struct rig_socket *c;

    origin.is_holding = true;
    c = stage_ask(s, STAGE_GET("/p", STAGE_KEY), "hello");
    go(s);
    rig_expect_end(&s->rig, c);
    assert_int_equal(rig_count(dm_buf_str(&c->received), LAST_CHUNK), 0);
    check_ended(s, c, true);
}

/* A status in trailers is for callers of HTTP/2 (grpc_call.h). */
static void a_call_of_http1_under_way_is_cut(void **state)
{
    struct stage *s = *state;
    struct rig_socket *c;

    origin.is_holding = true;
    c = stage_ask(s, CALL, "hello");
    go(s);
    rig_expect_end(&s->rig, c);
    assert_int_equal(rig_count(dm_buf_str(&c->received), LAST_CHUNK), 0);
    check_ended(s, c, true);
}

/* The client has only to read it. */
static void an_answer_that_is_given_stays(void **state)
{
    struct stage *s = *state;
    struct rig_socket *c = rig_connect(&s->rig);

    rig_send(c, DM_STR("POST /p HTTP/1.1\r\nHost: orders.test\r\nContent-Length: 9\r\n\r\n"));
    rig_expect(&s->rig, c, "\"reason\":\"auth_missing\"", 1);
    dm_worker_end_exchanges(&s->rig.worker);
    rig_settle(&s->rig);
    assert_int_equal(rig_count(dm_buf_str(&c->received), "HTTP/1.1 "), 1);
    rig_close(&s->rig, c);
    rig_settle(&s->rig);
    assert_int_equal(stage_counters(s)->reasons[DM_REASON_DRAINING], 0);
    assert_int_equal(stage_counters(s)->reasons[DM_REASON_AUTH_MISSING], 1);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(what_has_no_answer_gets_one),   TEST(a_call_without_an_answer_gets_a_status),
        TEST(an_answer_under_way_is_cut),    TEST(a_call_of_http1_under_way_is_cut),
        TEST(an_answer_that_is_given_stays),
    };

    return cmocka_run_group_tests_name("gateway/drain", tests, NULL, NULL);
}
