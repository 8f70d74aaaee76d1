/* Backends that speak HTTP/2, through a whole worker. */
#include "rig/h2_origin.h"
#include "rig/stage.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define GET STAGE_GET("/", STAGE_KEY)
#define POST                                                                                                           \
    "POST /p HTTP/1.1\r\nHost: orders.test\r\n" STAGE_KEY "Transfer-Encoding: chunked\r\n\r\n5\r\nbody1\r\n"           \
    "0\r\nX-T: 1\r\n\r\n"

static struct h2_origin origin;

static int setup(void **state)
{
    struct stage *s;

    if (stage_setup(state) < 0)
        return -1;
    s = *state;
    h2_origin_init(&s->rig, &origin);
    h2_origin_apply(&origin, s,
                    (struct stage_release){.backend = ",\"protocol\":\"http2\",\"response_timeout_ms\":100",
                                           .version = ",\"upgrades\":[\"websocket\"]"});
    return 0;
}

static int teardown(void **state)
{
    h2_origin_done(&origin);
    return stage_teardown(state);
}

static void requests_share_a_connection(void **state)
{
    struct rig_socket *c[20];
    struct stage *s = *state;

    for (size_t i = 0; i < DM_COUNT(c); i++) {
        c[i] = rig_connect(&s->rig);
        rig_send(c[i], DM_STR(GET));
    }
    for (size_t i = 0; i < DM_COUNT(c); i++) {
        rig_expect(&s->rig, c[i], "hello", 1);
        rig_close(&s->rig, c[i]);
    }
    assert_int_equal(origin.n_requests, DM_COUNT(c));
    assert_int_equal(origin.n_accepted, 1);
    assert_int_equal(rig_count(dm_buf_str(&origin.received), ":authority: 127.0.0.1:"), DM_COUNT(c));
    assert_int_equal(rig_count(dm_buf_str(&origin.received), "te: trailers\r\n"), DM_COUNT(c));
    assert_int_equal(rig_count(dm_buf_str(&origin.received), "via: 1.1 daemun\r\n"), DM_COUNT(c));
    assert_int_equal(stage_counters(s)->upstream_connects, 1);
    assert_int_equal(stage_counters(s)->upstream_reuses, DM_COUNT(c) - 1);
    rig_settle(&s->rig);
    assert_int_equal(s->rig.worker.n_exchanges, 0);
}

/* Many that begin before the backend has said how many it takes are refused once, not each time. */
static void more_at_once_than_a_connection_takes(void **state)
{
    struct rig_socket *c[60];
    struct stage *s = *state;

    origin.calls_max = 5;
    for (size_t i = 0; i < DM_COUNT(c); i++) {
        c[i] = rig_connect(&s->rig);
        rig_send(c[i], DM_STR(GET));
    }
    for (size_t i = 0; i < DM_COUNT(c); i++) {
        rig_expect(&s->rig, c[i], "hello", 1);
        rig_close(&s->rig, c[i]);
    }
    assert_in_range(stage_counters(s)->upstream_retries, 1, DM_COUNT(c));
}

static void bodies_and_trailers(void **state)
{
    struct stage *s = *state;
    struct rig_socket *c = stage_ask(s, POST, "0\r\nx-sum: 1\r\n\r\n");

    assert_int_equal(rig_count(dm_buf_str(&c->received), "5\r\nhello\r\n"), 1);
    assert_int_equal(rig_count(dm_buf_str(&origin.received), "body1x-t: 1\r\n"), 1);
    rig_close(&s->rig, c);
}

/* E3: what the backend never began is sent once more, whatever the method, with body and trailers. */
/* Whatever the budget: it was never begun. */
static void what_was_refused_is_sent_again(void **state)
{
    struct stage *s = *state;

    h2_origin_apply(
        &origin, s,
        (struct stage_release){.backend = ",\"protocol\":\"http2\",\"retry\":{\"budget_percent\":0,\"budget_min\":0}"});
    stage_try(s, GET, "hello");
    origin.n_refused = 1;
    stage_try(s, POST, "hello");
    assert_int_equal(rig_count(dm_buf_str(&origin.received), "body1x-t: 1\r\n"), 2);
    assert_int_equal(stage_counters(s)->upstream_retries, 1);
    origin.n_refused = 3;
    stage_try(s, GET, "\"backend_bad_response\""); /* three times is enough */
    assert_int_equal(origin.n_refused, 0);
    assert_int_equal(stage_counters(s)->upstream_retries, 3);
}

static void a_backend_that_goes_away(void **state)
{
    struct stage *s = *state;

    origin.goes_away = true;
    for (int i = 0; i < 3; i++)
        stage_try(s, GET, "hello");
    assert_int_equal(origin.n_accepted, 3);
    assert_int_equal(stage_counters(s)->upstream_retries, 0);
    origin.goes_away = false;
    stage_try(s, GET, "hello");
    rig_settle(&s->rig);
    origin.forgets = true;
    stage_try(s, POST, "\"backend_bad_response\"");
    assert_int_equal(stage_counters(s)->upstream_retries, 2);
    origin.forgets = false;
    stage_try(s, GET, "hello");
}

/* A kept connection that breaks costs a GET nothing, and a POST is not sent twice. */
static void a_connection_that_broke(void **state)
{
    struct stage *s = *state;

    stage_try(s, GET, "hello");
    origin.cuts = true;
    stage_try(s, POST, "\"backend_bad_response\"");
    assert_int_equal(stage_counters(s)->upstream_retries, 0);
    origin.cuts = false;
    stage_try(s, GET, "hello");
    origin.cuts = true;
    stage_try(s, GET, "\"backend_bad_response\""); /* once kept, once new */
    assert_int_equal(stage_counters(s)->upstream_retries, 1);
}

static void clients_that_go_leave_the_connection(void **state)
{
    struct stage *s = *state;
    struct rig_socket *c;

    stage_try(s, GET, "hello");
    origin.is_mute = true;
    for (size_t i = 0; i < 3; i++) {
        c = rig_connect(&s->rig);
        rig_send(c, DM_STR(GET));
        while (origin.n_requests < 2 + i)
            assert_true(dm_loop_turn(s->rig.worker.loop, 100) >= 0);
        rig_close(&s->rig, c);
    }
    stage_try(s, GET, "\"backend_timeout\"");
    origin.is_mute = false;
    rig_settle(&s->rig);
    stage_try(s, GET, "hello");
    assert_int_equal(origin.n_accepted, 1);
    assert_int_equal(h2_origin_connections(&origin), 1);
}

/* P5 */
static void grants_close_what_has_no_calls(void **state)
{
    struct stage *s = *state;

    stage_try(s, GET, "hello");
    rig_apply(&s->rig, "orders", 1, DM_UNIT_GRANTS,
              "{\"state\":\"active\",\"weight\":100,\"domains\":[{\"name\":\"orders.test\"}]}");
    while (h2_origin_connections(&origin) > 0)
        assert_true(dm_loop_turn(s->rig.worker.loop, 100) >= 0);
    stage_try(s, GET, "\"egress_not_approved\"");
}

/* A CONNECT would hide what the rules were asked of. */
static void an_upgrade_of_another_method_is_a_request(void **state)
{
    struct stage *s = *state;

    stage_try(
        s, "DELETE /w HTTP/1.1\r\nHost: orders.test\r\n" STAGE_KEY "Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        "hello");
    assert_int_equal(rig_count(dm_buf_str(&origin.received), ":method: DELETE"), 1);
    assert_int_equal(rig_count(dm_buf_str(&origin.received), ":protocol"), 0);
}

/* RFC 8441; the proof of RFC 6455 is the gateway's then. */
static void tunnels(void **state)
{
    struct stage *s = *state;
    struct rig_socket *c =
        stage_ask(s,
                  "GET /w HTTP/1.1\r\nHost: orders.test\r\n" STAGE_KEY "Connection: Upgrade\r\nUpgrade: websocket\r\n"
                  "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\nping",
                  "\r\n\r\nping");

    assert_int_equal(rig_count(dm_buf_str(&c->received), "HTTP/1.1 101 "), 1);
    assert_int_equal(rig_count(dm_buf_str(&c->received), "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"), 1);
    assert_int_equal(rig_count(dm_buf_str(&origin.received), ":protocol: websocket"), 1);
    assert_int_equal(rig_count(dm_buf_str(&origin.received), "sec-websocket-key"), 0);
    rig_send(c, DM_STR("pong"));
    rig_expect(&s->rig, c, "pingpong", 1);
    dm_stream_shutdown(&c->stream);
    rig_expect_end(&s->rig, c);
    rig_close(&s->rig, c);
    rig_settle(&s->rig);
    assert_int_equal(s->rig.worker.n_exchanges, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(requests_share_a_connection, setup, teardown),
        cmocka_unit_test_setup_teardown(more_at_once_than_a_connection_takes, setup, teardown),
        cmocka_unit_test_setup_teardown(bodies_and_trailers, setup, teardown),
        cmocka_unit_test_setup_teardown(what_was_refused_is_sent_again, setup, teardown),
        cmocka_unit_test_setup_teardown(a_backend_that_goes_away, setup, teardown),
        cmocka_unit_test_setup_teardown(a_connection_that_broke, setup, teardown),
        cmocka_unit_test_setup_teardown(clients_that_go_leave_the_connection, setup, teardown),
        cmocka_unit_test_setup_teardown(grants_close_what_has_no_calls, setup, teardown),
        cmocka_unit_test_setup_teardown(an_upgrade_of_another_method_is_a_request, setup, teardown),
        cmocka_unit_test_setup_teardown(tunnels, setup, teardown),
    };

    return cmocka_run_group_tests_name("http/2 backends", tests, NULL, NULL);
}
