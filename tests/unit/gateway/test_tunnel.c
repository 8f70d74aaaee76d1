/* Tunnels that the gateway ends, and what it keeps of those that stand, through a whole worker. */
#include "gateway/tunnel.h"
#include "rig/h2_origin.h"
#include "rig/stage.h"

#include <setjmp.h>
#include <stdarg.h>
#include <unistd.h>

#include <cmocka.h>

#define SWITCH(protocol)                                                                                               \
    "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: " protocol "\r\nX-From: origin\r\n\r\n"
#define UPGRADE(path, protocol, fields)                                                                                \
    "GET " path " HTTP/1.1\r\nHost: orders.test\r\n" STAGE_KEY "Connection: Upgrade\r\nUpgrade: " protocol             \
    "\r\n" fields "\r\n"
#define CLOSE(reason, len) "\x88" len "\x03\xe9" reason
#define CLOSE_IDLE CLOSE("tunnel_idle", "\x0d")
#define CLOSE_EXPIRED CLOSE("tunnel_expired", "\x10")
#define CLOSE_DRAINING CLOSE("draining", "\x0a")

static void apply(struct stage *s, const char *backend)
{
    stage_apply(s, &(struct stage_release){.version = ",\"upgrades\":[\"websocket\",\"raw\"]", .backend = backend});
}

static int setup(void **state)
{
    if (stage_setup(state) < 0)
        return -1;
    apply(*state, ",\"tunnel_idle_timeout_ms\":1000");
    return 0;
}

static int setup_long(void **state)
{
    return stage_setup(state);
}

static struct rig_socket *backend(struct stage *s)
{
    return s->origin.sockets[s->origin.n_sockets - 1];
}

/* The socket has forgotten what came before. */
static struct rig_socket *open_tunnel(struct stage *s, const char *request, const char *answer)
{
    struct rig_socket *c;

    s->origin.answer = dm_str_of(answer);
    c = stage_ask(s, request, "X-From: origin\r\n");
    rig_expect(&s->rig, c, "\r\n\r\n", 1);
    dm_buf_reset(&c->received);
    rig_settle(&s->rig);
    dm_buf_reset(&backend(s)->received);
    return c;
}

static struct rig_socket *open_websocket(struct stage *s)
{
    return open_tunnel(s, UPGRADE("/w", "websocket", ""), SWITCH("websocket"));
}

static void check_received(struct rig *rig, struct rig_socket *socket, struct dm_str expected)
{
    rig_expect_end(rig, socket);
    assert_true(socket->has_eof); /* no reset */
    assert_int_equal(socket->received.len, expected.len);
    if (expected.len > 0)
        assert_memory_equal(socket->received.ptr, expected.ptr, expected.len);
}

/* Of a frame that a client sends; the mask is taken off. */
static void check_received_masked(struct rig *rig, struct rig_socket *socket, struct dm_str expected)
{
    struct dm_buf *got = &socket->received;

    rig_expect_end(rig, socket);
    assert_true(socket->has_eof);
    assert_int_equal(got->len, expected.len + 4);
    assert_int_equal((uint8_t)got->ptr[1] & 0x80, 0x80);
    for (size_t i = 6; i < got->len; i++)
        got->ptr[i] = (char)(got->ptr[i] ^ got->ptr[2 + (i - 6) % 4]);
    assert_int_equal((uint8_t)got->ptr[0], 0x88);
    assert_int_equal((uint8_t)got->ptr[1] & 0x7f, expected.ptr[1]);
    assert_memory_equal(got->ptr + 6, expected.ptr + 2, expected.len - 2);
}

static void check_ended(struct stage *s, struct rig_socket *c, enum dm_reason reason, uint64_t n)
{
    assert_int_equal(stage_counters(s)->reasons[reason], n);
    assert_int_equal(stage_counters(s)->tunnels_ended, stage_counters(s)->tunnels_begun);
    rig_close(&s->rig, c);
    rig_settle(&s->rig);
    assert_int_equal(s->rig.worker.n_exchanges, 0);
    assert_int_equal(s->rig.worker.tunnels.n_used, 0);
}

static void an_idle_websocket_is_closed_both_ways(void **state)
{
    struct stage *s = *state;
    struct rig_socket *c = open_websocket(s);

    assert_int_equal(stage_counters(s)->tunnels_begun, 1);
    assert_int_equal(stage_counters(s)->tunnels_ended, 0);
    check_received(&s->rig, c, DM_STR(CLOSE_IDLE));
    check_received_masked(&s->rig, backend(s), DM_STR(CLOSE_IDLE));
    check_ended(s, c, DM_REASON_TUNNEL_IDLE, 1);
    assert_int_equal(stage_counters(s)->status[1], 1);
}

/* Each direction for itself: behind half a frame, or a close frame, there is no place for another one. */
static void a_goodbye_stands_between_frames(void **state)
{
    static const struct {
        struct dm_str from_client, from_backend;
        bool for_backend, for_client;
    } cases[] = {
        {{"\x81\x80\1\2\3\4", 6}, {"\x81\x02hi", 4}, true, true},
        {{"\x81\x84\1\2\3\4ab", 8}, {"\x81\x02hi", 4}, false, true},
        {{"\x81\x80\1\2\3\4", 6}, {"\x81\x05hi", 4}, true, false},
        {{"\x88\x80\1\2\3\4", 6}, {"\x01\x02hi", 4}, false, true}, /* fragments may have it between them */
        {{"\x01\x80\1\2\3\4", 6}, {"\x88\x02\x03\xe8", 4}, true, false},
        {{"GET /", 5}, {"\x82\x7f\xff\xff\xff\xff\xff\xff\xff\xff", 10}, false, false},
    };
    struct stage *s = *state;

    apply(s, ",\"tunnel_idle_timeout_ms\":100000");
    for (size_t i = 0; i < DM_COUNT(cases); i++) {
        struct rig_socket *c = open_websocket(s), *b = backend(s);
        rig_send(c, cases[i].from_client);
        rig_send(b, cases[i].from_backend);
        while (c->received.len < cases[i].from_backend.len || b->received.len < cases[i].from_client.len)
            assert_true(dm_loop_turn(s->rig.worker.loop, 100) >= 0);
        dm_buf_consume(&c->received, cases[i].from_backend.len);
        dm_buf_consume(&b->received, cases[i].from_client.len);
        dm_worker_end_exchanges(&s->rig.worker);
        check_received(&s->rig, c, cases[i].for_client ? DM_STR(CLOSE_DRAINING) : DM_STR_NULL);
        if (cases[i].for_backend)
            check_received_masked(&s->rig, b, DM_STR(CLOSE_DRAINING));
        else
            check_received(&s->rig, b, DM_STR_NULL);
        check_ended(s, c, DM_REASON_DRAINING, i + 1);
    }
}

static void other_protocols_just_end(void **state)
{
    struct stage *s = *state;
    struct rig_socket *c = open_tunnel(s, UPGRADE("/w", "raw/1", ""), SWITCH("raw/1"));

    check_received(&s->rig, c, DM_STR_NULL);
    check_received(&s->rig, backend(s), DM_STR_NULL);
    check_ended(s, c, DM_REASON_TUNNEL_IDLE, 1);
}

static void a_busy_tunnel_expires(void **state)
{
    struct stage *s = *state;
    struct rig_socket *c;
    size_t n_sent = 0;

    apply(s, ",\"tunnel_idle_timeout_ms\":100000,\"tunnel_total_ms\":200");
    c = open_websocket(s);
    while (!c->has_eof && !c->is_failed) {
        n_sent += n_sent < 1000;
        if (n_sent < 1000)
            rig_send(backend(s), DM_STR("\x89\x00"));
        assert_true(dm_loop_turn(s->rig.worker.loop, 2) >= 0);
    }
    assert_true(c->received.len > 20);
    assert_int_equal(rig_count(dm_buf_str(&c->received), CLOSE_EXPIRED), 1);
    check_received_masked(&s->rig, backend(s), DM_STR(CLOSE_EXPIRED));
    check_ended(s, c, DM_REASON_TUNNEL_EXPIRED, 1);
}

static void a_gateway_that_goes_says_goodbye(void **state)
{
    struct stage *s = *state;
    struct rig_socket *c[2], *b[2];

    apply(s, ",\"tunnel_idle_timeout_ms\":100000");
    for (size_t i = 0; i < 2; i++) {
        c[i] = open_websocket(s);
        b[i] = backend(s);
    }
    dm_worker_drain(&s->rig.worker);
    rig_send(c[0], DM_STR("\x81\x80\1\2\3\4"));
    rig_expect(&s->rig, b[0], "\x81\x80\1\2\3\4", 1); /* lives on */
    dm_buf_reset(&b[0]->received);
    dm_worker_end_exchanges(&s->rig.worker);
    for (size_t i = 0; i < 2; i++) {
        check_received(&s->rig, c[i], DM_STR(CLOSE_DRAINING));
        check_received_masked(&s->rig, b[i], DM_STR(CLOSE_DRAINING));
        check_ended(s, c[i], DM_REASON_DRAINING, 2);
    }
}

/* Of a backend of HTTP/2 the stream ends, and the connection stays. */
static void a_goodbye_to_a_backend_of_http2(void **state)
{
    static struct h2_origin origin;
    struct stage *s = *state;
    struct rig_socket *c;

    h2_origin_init(&s->rig, &origin);
    h2_origin_apply(&origin, s,
                    (struct stage_release){.backend = ",\"protocol\":\"http2\",\"tunnel_idle_timeout_ms\":100000",
                                           .version = ",\"upgrades\":[\"websocket\"]"});
    c = stage_ask(s, UPGRADE("/w", "websocket", "Sec-WebSocket-Key: abc\r\n"), "HTTP/1.1 101 ");
    rig_settle(&s->rig);
    dm_buf_reset(&c->received);
    dm_buf_reset(&origin.received);
    dm_worker_end_exchanges(&s->rig.worker);
    check_received(&s->rig, c, DM_STR(CLOSE_DRAINING));
    while (origin.received.len < 16)
        assert_true(dm_loop_turn(s->rig.worker.loop, 100) >= 0);
    assert_int_equal(origin.received.len, 16);
    assert_memory_equal(origin.received.ptr, "\x88\x8a", 2);
    check_ended(s, c, DM_REASON_DRAINING, 1);
    assert_int_equal(h2_origin_connections(&origin), 1);
    h2_origin_done(&origin);
}

/* --- resets ------------------------------------------------------------------------------------------------------- */

static void reset_socket(struct stage *s, struct rig_socket *socket)
{
    dm_stream_reset(&socket->stream);
    rig_settle(&s->rig);
}

static void check_was_reset(struct stage *s, struct rig_socket *socket)
{
    rig_expect_end(&s->rig, socket);
    assert_true(socket->is_failed);
    assert_false(socket->has_eof);
}

static bool is_failed(void *arg)
{
    return ((struct rig_socket *)arg)->is_failed;
}

static bool was_reset(void *arg)
{
    return ((struct h2_origin *)arg)->n_reset > 0;
}

static void a_reset_goes_through(void **state)
{
    struct stage *s = *state;
    struct rig_socket *c;

    apply(s, ",\"tunnel_idle_timeout_ms\":100000");
    c = open_websocket(s);
    reset_socket(s, c);
    check_was_reset(s, backend(s));
    check_ended(s, c, DM_REASON_CLIENT_CLOSED, 1);
    c = open_websocket(s);
    reset_socket(s, backend(s));
    check_was_reset(s, c);
    check_ended(s, c, DM_REASON_BACKEND_CLOSED, 1);
}

/* One direction had ended in order. */
static void a_reset_behind_an_end_goes_through(void **state)
{
    struct stage *s = *state;
    struct rig_socket *c;

    apply(s, ",\"tunnel_idle_timeout_ms\":100000");
    c = open_websocket(s);
    dm_stream_shutdown(&c->stream);
    rig_expect_end(&s->rig, backend(s));
    reset_socket(s, backend(s));
    check_was_reset(s, c);
    check_ended(s, c, DM_REASON_BACKEND_CLOSED, 1);
    c = open_websocket(s);
    dm_stream_shutdown(&backend(s)->stream);
    rig_expect_end(&s->rig, c);
    reset_socket(s, c);
    rig_run_until(&s->rig, is_failed, backend(s));
    check_ended(s, c, DM_REASON_CLIENT_CLOSED, 1);
}

/* Of a backend of HTTP/2 the stream is reset, and the connection stays. */
static void a_reset_goes_through_to_http2(void **state)
{
    static struct h2_origin origin;
    struct stage *s = *state;
    struct rig_socket *c;
    char endpoints[100];

    h2_origin_init(&s->rig, &origin);
    snprintf(endpoints, sizeof(endpoints), "{\"host\":\"127.0.0.1\",\"port\":%u}", h2_origin_port(&origin));
    stage_apply(s, &(struct stage_release){.endpoints = endpoints,
                                           .backend = ",\"protocol\":\"http2\",\"tunnel_idle_timeout_ms\":100000",
                                           .version = ",\"upgrades\":[\"websocket\"]"});
    c = stage_ask(s, UPGRADE("/w", "websocket", "Sec-WebSocket-Key: abc\r\n"), "HTTP/1.1 101 ");
    reset_socket(s, c);
    rig_run_until(&s->rig, was_reset, &origin);
    assert_int_equal(origin.reset_with, 8); /* CANCEL */
    assert_int_equal(h2_origin_connections(&origin), 1);
    check_ended(s, c, DM_REASON_CLIENT_CLOSED, 1);
    h2_origin_done(&origin);
}

/* --- what is kept ------------------------------------------------------------------------------------------------- */

static void an_idle_tunnel_holds_no_arena(void **state)
{
#ifndef DM_DEBUG_ALLOC
    struct stage *s = *state;
    struct rig_socket *c;

    apply(s, ",\"tunnel_idle_timeout_ms\":100000");
    c = open_websocket(s);
    assert_true(s->rig.worker.chunks.n_system > 0);
    assert_int_equal(s->rig.worker.chunks.n_free, s->rig.worker.chunks.n_system);
    dm_stream_shutdown(&backend(s)->stream);
    rig_close(&s->rig, c);
#endif
}

/* The access log's line of a tunnel, after it ended. */
static void check_line(struct stage *s, const char *request, const char *const *parts)
{
    struct rig_socket *c;
    char line[16384];
    int fds[2];
    ssize_t n;

    assert_int_equal(pipe(fds), 0);
    dm_access_log_set_fd(&s->rig.worker.log, fds[1]);
    s->rig.options.access_log = true;
    c = open_tunnel(s, request, SWITCH("websocket"));
    rig_send(c, DM_STR("\x81\x80\1\2\3\4"));
    rig_expect(&s->rig, backend(s), "\x81\x80\1\2\3\4", 1);
    dm_stream_shutdown(&backend(s)->stream);
    rig_expect_end(&s->rig, c);
    rig_close(&s->rig, c);
    rig_settle(&s->rig);
    dm_access_log_flush(&s->rig.worker.log);
    n = read(fds[0], line, sizeof(line));
    close(fds[0]);
    dm_access_log_set_fd(&s->rig.worker.log, -1);
    s->rig.options.access_log = false;
    assert_true(n > 0);
    for (; *parts; parts++)
        if (rig_count(dm_str_n(line, (size_t)n), *parts) != 1)
            fail_msg("%s is not once in %.*s", *parts, (int)n, line);
}

static void its_line_tells_who_and_how_much(void **state)
{
    static const char *const usual[] = {"\"protocol\":\"websocket\"",
                                        "\"path\":\"/w\"",
                                        "\"method\":\"GET\"",
                                        "\"client\":\"127.0.0.1\"",
                                        "\"status\":101",
                                        "\"request_id\":\"",
                                        NULL};
    static const char *const behind[] = {"\"client\":\"192.0.2.7\"", "\"request_id\":\"of-the-front\"",
                                         "\"protocol\":\"websocket\"", NULL};
    struct stage *s = *state;

    apply(s, ",\"tunnel_idle_timeout_ms\":100000");
    check_line(s, UPGRADE("/w?secret=1", "websocket", ""), usual);
    assert_int_equal(dm_listener_parse_sources(DM_STR("127.0.0.0/8"), &s->rig.options.listen[0].trusted_fronts, NULL),
                     0);
    check_line(s, UPGRADE("/w", "websocket", "X-Forwarded-For: 192.0.2.7\r\nX-Request-Id: of-the-front\r\n"), behind);
}

/* What is too long to be kept apart is kept where it was. */
static void a_long_path_is_kept(void **state)
{
    static char request[4000], path[3000];
    const char *const parts[] = {path, "\"protocol\":\"websocket\"", NULL};
    struct stage *s = *state;

    memset(path, 'p', sizeof(path) - 1);
    path[0] = '/';
    apply(s, ",\"tunnel_idle_timeout_ms\":100000");
    snprintf(request, sizeof(request),
             "GET %s HTTP/1.1\r\nHost: orders.test\r\n" STAGE_KEY "Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
             path);
    check_line(s, request, parts);
}

/* How long it lived is not how long the gateway took. */
static void its_life_is_no_latency(void **state)
{
    struct stage *s = *state;
    uint64_t begun_ns = dm_loop_now_ns(s->rig.worker.loop);
    struct rig_socket *c = open_websocket(s);

    rig_expect_end(&s->rig, c); /* after a second of silence */
    assert_int_equal(stage_counters(s)->requests, 1);
    assert_true(stage_counters(s)->latency_us_sum + 1000000 <= (dm_loop_now_ns(s->rig.worker.loop) - begun_ns) / 1000);
    rig_close(&s->rig, c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(an_idle_websocket_is_closed_both_ways, setup, stage_teardown),
        cmocka_unit_test_setup_teardown(a_goodbye_stands_between_frames, setup_long, stage_teardown),
        cmocka_unit_test_setup_teardown(other_protocols_just_end, setup, stage_teardown),
        cmocka_unit_test_setup_teardown(a_busy_tunnel_expires, setup_long, stage_teardown),
        cmocka_unit_test_setup_teardown(a_gateway_that_goes_says_goodbye, setup_long, stage_teardown),
        cmocka_unit_test_setup_teardown(a_goodbye_to_a_backend_of_http2, setup_long, stage_teardown),
        cmocka_unit_test_setup_teardown(a_reset_goes_through, setup_long, stage_teardown),
        cmocka_unit_test_setup_teardown(a_reset_behind_an_end_goes_through, setup_long, stage_teardown),
        cmocka_unit_test_setup_teardown(a_reset_goes_through_to_http2, setup_long, stage_teardown),
        cmocka_unit_test_setup_teardown(an_idle_tunnel_holds_no_arena, setup_long, stage_teardown),
        cmocka_unit_test_setup_teardown(its_line_tells_who_and_how_much, setup_long, stage_teardown),
        cmocka_unit_test_setup_teardown(a_long_path_is_kept, setup_long, stage_teardown),
        cmocka_unit_test_setup_teardown(its_life_is_no_latency, setup, stage_teardown),
    };

    return cmocka_run_group_tests_name("tunnels", tests, NULL, NULL);
}
