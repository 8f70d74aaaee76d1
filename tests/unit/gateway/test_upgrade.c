/* Upgrades through a whole worker: who may, what goes over, how tunnels end. */
#include "rig/stage.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define SWITCH "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nX-From: origin\r\n\r\n"
#define UPGRADE(protocol, fields)                                                                                      \
    "GET /w HTTP/1.1\r\nHost: orders.test\r\n" STAGE_KEY "Connection: Upgrade, X-Mine\r\nX-Mine: 1\r\n"                \
    "Upgrade: " protocol "\r\n" fields "\r\n"

static int setup(void **state)
{
    if (stage_setup(state) < 0)
        return -1;
    stage_apply(*state, &(struct stage_release){.version = ",\"upgrades\":[\"websocket\"]",
                                                .backend = ",\"tunnel_idle_timeout_ms\":1000"});
    return 0;
}

static struct rig_socket *open_tunnel(struct stage *s)
{
    s->origin.answer = DM_STR(SWITCH);
    return stage_ask(s, UPGRADE("websocket", "Sec-WebSocket-Key: abc\r\n"), "X-From: origin\r\n");
}

static void bytes_go_both_ways(void **state)
{
    struct stage *s = *state;
    struct rig_socket *c = open_tunnel(s), *b = s->origin.sockets[0];

    assert_int_equal(rig_count(dm_buf_str(&c->received), "HTTP/1.1 101 "), 1);
    assert_int_equal(rig_count(dm_buf_str(&c->received), "Upgrade: websocket\r\n"), 1);
    assert_int_equal(rig_count(dm_buf_str(&c->received), "Connection: upgrade\r\n"), 1);
    assert_int_equal(rig_count(dm_buf_str(&b->received), "Upgrade: websocket\r\n"), 1);
    assert_int_equal(rig_count(dm_buf_str(&b->received), "Sec-WebSocket-Key: abc\r\n"), 1);
    assert_int_equal(rig_count(dm_buf_str(&b->received), "X-Mine"), 0);
    rig_send(c, DM_STR("GET /smuggled HTTP/1.1\r\nHost: orders.test\r\n\r\n"));
    rig_expect(&s->rig, b, "GET /smuggled HTTP/1.1\r\nHost: orders.test\r\n\r\n", 1); /* bytes of the tunnel */
    rig_send(b, DM_STR("HTTP/1.1 200 OK\r\n\r\n"));
    rig_expect(&s->rig, c, "HTTP/1.1 200 OK\r\n\r\n", 1);
    /* the client ends its side, the backend still talks */
    dm_stream_shutdown(&c->stream);
    rig_expect_end(&s->rig, b);
    rig_send(b, DM_STR("the rest"));
    rig_expect(&s->rig, c, "the rest", 1);
    dm_stream_shutdown(&b->stream);
    rig_expect_end(&s->rig, c);
    rig_close(&s->rig, c);
    rig_settle(&s->rig);
    assert_int_equal(s->rig.worker.n_exchanges, 0);
    assert_int_equal(s->rig.counters->tenants[1].status[1], 1);
    assert_int_equal(s->rig.counters->tenants[1].reasons[DM_REASON_NONE], 1);
}

static void what_comes_before_the_answer_is_the_tunnels(void **state)
{
    struct stage *s = *state;
    struct rig_socket *c;

    s->origin.answer = DM_STR_NULL;
    c = rig_connect(&s->rig);
    rig_send(c, DM_STR(UPGRADE("websocket", "") "early"));
    while (s->origin.n_requests == 0)
        assert_true(dm_loop_turn(s->rig.worker.loop, 100) >= 0);
    assert_int_equal(rig_count(dm_buf_str(&s->origin.received), "early"), 0);
    s->origin.sockets[0]->is_tunnel = true;
    rig_send(s->origin.sockets[0], DM_STR(SWITCH));
    rig_expect(&s->rig, s->origin.sockets[0], "early", 1);
    dm_stream_shutdown(&s->origin.sockets[0]->stream);
    rig_expect_end(&s->rig, c);
    rig_close(&s->rig, c);
    rig_expect_end(&s->rig, s->origin.sockets[0]);
    rig_settle(&s->rig);
    assert_int_equal(s->rig.worker.n_exchanges, 0);
}

static void who_may(void **state)
{
    struct stage *s = *state;

    stage_try(s, UPGRADE("tcp-over-http", ""), "\"upgrade_not_allowed\"");
    stage_try(s, UPGRADE("websockets/13", ""), "\"upgrade_not_allowed\"");
    assert_int_equal(s->origin.n_requests, 0);
    stage_try(s, UPGRADE("h2c", "HTTP2-Settings: AAMAAABkAAQAAP__\r\n"), "hello"); /* not followed, not forwarded */
    assert_int_equal(rig_count(dm_buf_str(&s->origin.received), "Upgrade"), 0);
    stage_try(s, UPGRADE("websocket", "Content-Length: 2\r\n") "hi", "hello");
    assert_int_equal(rig_count(dm_buf_str(&s->origin.received), "Upgrade"), 0);
    /* a backend that does not agree has answered */
    stage_try(s, UPGRADE("WebSocket", ""), "hello");
    assert_int_equal(rig_count(dm_buf_str(&s->origin.received), "Upgrade: WebSocket\r\n"), 1);
    s->origin.answer = DM_STR("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: other\r\n\r\n");
    stage_try(s, UPGRADE("websocket", ""), "\"backend_bad_response\"");
    s->origin.answer = DM_STR(SWITCH);
    stage_try(s, STAGE_GET("/", STAGE_KEY), "\"backend_bad_response\"");
    stage_try(s, "GET /w HTTP/1.1\r\nHost: orders.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
              "\"auth_missing\"");
}

static void tunnels_that_are_idle_end(void **state)
{
    struct stage *s = *state;
    struct rig_socket *c = open_tunnel(s);

    rig_expect_end(&s->rig, c);
    rig_expect_end(&s->rig, s->origin.sockets[0]);
    rig_close(&s->rig, c);
    assert_int_equal(s->rig.worker.n_exchanges, 0);
    assert_int_equal(s->rig.counters->tenants[1].reasons[DM_REASON_TUNNEL_IDLE], 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(bytes_go_both_ways, setup, stage_teardown),
        cmocka_unit_test_setup_teardown(what_comes_before_the_answer_is_the_tunnels, setup, stage_teardown),
        cmocka_unit_test_setup_teardown(who_may, setup, stage_teardown),
        cmocka_unit_test_setup_teardown(tunnels_that_are_idle_end, setup, stage_teardown),
    };

    return cmocka_run_group_tests_name("upgrades", tests, NULL, NULL);
}
