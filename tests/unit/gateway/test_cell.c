/* A shared worker and one of a cell, both whole and in this process: what goes from one to the other, and how. */
#include "gateway/cell_gate.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"
#include "gateway/cell_take.h"
#include "io/channel.h"
#include "io/handover.h"
#include "rig/stage.h"

enum { QUEUE_BYTES = 32 << 10, MANY = 500 };

#define ORIGINS "X-From: origin\r\n"
#define GET_NOBODY "GET / HTTP/1.1\r\nHost: nobody.test\r\n\r\n"
#define NOBODY "HTTP/1.1 404 "
#define UNAVAILABLE "Daemun-Reason: cell_unavailable\r\n"

/* The cell's worker is the stage's; callers connect to the front. */
struct scene {
    struct stage *stage;
    struct rig front; /* the shared worker */
    struct dm_handover taking;
    struct dm_timer turner; /* of the front's loop, inside the stage's */
    int fds[2];
    bool cuts; /* the cell closes what it takes */
};

static void on_taken(struct dm_handover *handover, struct dm_str message, int fd)
{
    struct scene *s = DM_CONTAINER_OF(handover, struct scene, taking);

    if (s->cuts)
        close(fd);
    else
        dm_cell_take(&s->stage->rig.worker, message, fd);
}

static void on_turn(struct dm_timer *timer)
{
    struct scene *s = DM_CONTAINER_OF(timer, struct scene, turner);

    while (dm_loop_turn(s->front.worker.loop, 0) > 0)
        ;
    dm_timer_arm(s->stage->rig.worker.loop, timer, 1);
}

static void open_taking(struct scene *s)
{
    int fd = fcntl(s->fds[DM_HANDOVER_TAKING], F_DUPFD_CLOEXEC, 3);

    assert_int_equal(dm_handover_open(&s->taking, s->stage->rig.worker.loop, fd, on_taken), 0);
}

static void open_gate(struct scene *s)
{
    dm_cell_gate_open(&s->front.worker, DM_STR("orders"), fcntl(s->fds[DM_HANDOVER_GIVING], F_DUPFD_CLOEXEC, 3));
}

static int setup(void **state)
{
    struct scene *s = dm_calloc(1, sizeof(*s));
    void *stage;

    stage_setup(&stage);
    s->stage = stage;
    stage_apply(s->stage, &(struct stage_release){.version = ",\"upgrades\":[\"raw\"]"});
    rig_init(&s->front);
    s->stage->rig.addr = s->front.addr;
    rig_apply(&s->front, "orders", 1, DM_UNIT_GRANTS, STAGE_GRANTS);
    assert_int_equal(dm_handover_pair(QUEUE_BYTES, s->fds), 0);
    open_taking(s);
    open_gate(s);
    s->turner.on_due = on_turn;
    dm_timer_arm(s->stage->rig.worker.loop, &s->turner, 1);
    *state = s;
    return 0;
}

/* Requests that come by 127.0.0.1 are a balancer's, for callers of several teams. */
static int setup_mixed(void **state)
{
    struct scene *s;

    setup(state);
    s = *state;
    for (int i = 0; i < 2; i++) {
        struct rig *rig = i ? &s->front : &s->stage->rig;
        assert_int_equal(dm_listener_parse_sources(DM_STR("127.0.0.1"), &rig->options.listen[0].trusted_fronts, NULL),
                         0);
    }
    return 0;
}

static int teardown(void **state)
{
    struct scene *s = *state;
    void *stage = s->stage;

    dm_timer_cancel(s->stage->rig.worker.loop, &s->turner);
    rig_settle(&s->front);
    rig_settle(&s->stage->rig);
    rig_settle(&s->front);
    assert_int_equal(s->front.worker.n_exchanges, 0);
    dm_handover_close(&s->taking);
    rig_done(&s->front);
    stage_teardown(&stage);
    close(s->fds[0]);
    close(s->fds[1]);
    dm_free(s);
    return 0;
}

static struct dm_tenant_counters *front_counters(struct scene *s)
{
    return &s->front.counters->tenants[1];
}

static void assert_went(struct scene *s, unsigned handed_over, unsigned relayed)
{
    assert_int_equal(front_counters(s)->handed_over, handed_over);
    assert_int_equal(front_counters(s)->relayed, relayed);
}

/* --- clients' own connections --------------------------------------------------------------------------------------- */

static void hands_over_who_names_the_tenant(void **state)
{
    struct scene *s = *state;
    struct rig_socket *c = stage_ask(s->stage, STAGE_GET("/a", STAGE_KEY), ORIGINS);

    assert_int_equal(dm_worker_connections(&s->front.worker), 0);
    rig_send(c, DM_STR(STAGE_GET("/b", STAGE_KEY)));
    rig_expect(&s->stage->rig, c, ORIGINS, 2);
    rig_close(&s->stage->rig, c);
    assert_went(s, 1, 0);
    assert_int_equal(stage_counters(s->stage)->requests, 2);
    assert_int_equal(front_counters(s)->requests, 0);
    assert_int_equal(front_counters(s)->connections, 0);
}

static void serves_the_others(void **state)
{
    struct scene *s = *state;

    stage_try(s->stage, GET_NOBODY, NOBODY);
    stage_try(s->stage, "nonsense\r\n\r\n", "HTTP/1.1 400 ");
    assert_int_equal(s->front.counters->worker.unknown_host, 1);
    assert_went(s, 0, 0);
}

/* Between pieces the front has looked. */
static void send_in_pieces(struct scene *s, struct rig_socket *c, const char *text, size_t piece)
{
    struct dm_str rest = dm_str_of(text);

    while (rest.len > 0) {
        size_t n = DM_MIN(piece, rest.len);
        rig_send(c, dm_str_n(rest.ptr, n));
        rest = dm_str_skip(rest, n);
        rig_settle(&s->stage->rig);
        rig_settle(&s->front);
    }
}

static void waits_until_the_head_is_whole(void **state)
{
    struct scene *s = *state;
    struct rig_socket *c = rig_connect(&s->stage->rig);

    dm_timer_cancel(s->stage->rig.worker.loop, &s->turner);
    send_in_pieces(s, c, STAGE_GET("/a", STAGE_KEY), 9);
    dm_timer_arm(s->stage->rig.worker.loop, &s->turner, 1);
    rig_expect(&s->stage->rig, c, ORIGINS, 1);
    rig_close(&s->stage->rig, c);
    assert_went(s, 1, 0);
}

/* A look costs what was looked at: who sends byte by byte is not looked at for ever. */
static void relays_who_sends_by_the_byte(void **state)
{
    struct scene *s = *state;
    struct rig_socket *c = rig_connect(&s->stage->rig);

    dm_timer_cancel(s->stage->rig.worker.loop, &s->turner);
    send_in_pieces(s, c, STAGE_GET("/a", STAGE_KEY), 1);
    dm_timer_arm(s->stage->rig.worker.loop, &s->turner, 1);
    rig_expect(&s->stage->rig, c, ORIGINS, 1);
    rig_close(&s->stage->rig, c);
    assert_went(s, 0, 1);
}

static void takes_what_was_sent_ahead_along(void **state)
{
    struct scene *s = *state;
    struct rig_socket *c =
        stage_ask(s->stage,
                  "POST /a HTTP/1.1\r\nHost: orders.test\r\n" STAGE_KEY
                  "Content-Length: 4\r\n\r\nbody" STAGE_GET("/b", STAGE_KEY) STAGE_GET("/c", STAGE_KEY),
                  ORIGINS);

    rig_expect(&s->stage->rig, c, ORIGINS, 3);
    rig_close(&s->stage->rig, c);
    assert_went(s, 1, 0);
    assert_int_equal(rig_count(dm_buf_str(&s->stage->origin.requests), "POST /a 4\nGET /b 0\nGET /c 0\n"), 1);
}

/* --- relayed -------------------------------------------------------------------------------------------------------- */

static void relays_what_comes_among_others(void **state)
{
    struct scene *s = *state;
    struct rig_socket *c = stage_ask(s->stage, STAGE_GET("/a", STAGE_KEY "X-Forwarded-For: 192.0.2.7\r\n"), ORIGINS);

    rig_send(c, DM_STR(GET_NOBODY STAGE_GET("/b", STAGE_KEY)));
    rig_expect(&s->stage->rig, c, ORIGINS, 2);
    rig_expect(&s->stage->rig, c, NOBODY, 1);
    rig_close(&s->stage->rig, c);
    assert_went(s, 0, 2);
    assert_int_equal(stage_counters(s->stage)->requests, 2);
    assert_int_equal(front_counters(s)->requests, 0);
    /* The cell takes the balancer's word as the shared worker would. */
    assert_int_equal(rig_count(dm_buf_str(&s->stage->origin.received), "X-Forwarded-For: 192.0.2.7, 127.0.0.1\r\n"), 1);
}

static void relays_bodies_and_trailers(void **state)
{
    static const char request[] =
        "POST /a HTTP/1.1\r\nHost: orders.test\r\n" STAGE_KEY "Transfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n"
        "3\r\nabc\r\n0\r\nX-Sum: 7\r\n\r\n";
    struct scene *s = *state;
    struct rig_socket *c;

    s->stage->origin.answer = DM_STR("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-From: origin\r\n\r\n"
                                     "2\r\nhi\r\n0\r\nX-Check: 9\r\n\r\n");
    c = stage_ask(s->stage, request, "X-Check: 9\r\n");
    assert_int_equal(rig_count(dm_buf_str(&c->received), "2\r\nhi\r\n0\r\n"), 1);
    rig_close(&s->stage->rig, c);
    assert_int_equal(rig_count(dm_buf_str(&s->stage->origin.received), "3\r\nabc\r\n0\r\nX-Sum: 7\r\n"), 1);
    assert_went(s, 0, 1);
}

static void relays_that_it_may_go_on(void **state)
{
    struct scene *s = *state;
    struct rig_socket *c = stage_ask(s->stage,
                                     "POST /a HTTP/1.1\r\nHost: orders.test\r\n" STAGE_KEY
                                     "Expect: 100-continue\r\nContent-Length: 4\r\n\r\n",
                                     "HTTP/1.1 100 Continue\r\n\r\n");

    rig_send(c, DM_STR("body"));
    rig_expect(&s->stage->rig, c, ORIGINS, 1);
    rig_close(&s->stage->rig, c);
}

static void relays_refusals_of_the_cell(void **state)
{
    struct scene *s = *state;

    stage_try(s->stage, STAGE_GET("/a", ""), "Daemun-Reason: auth_missing\r\n");
    assert_int_equal(stage_counters(s->stage)->requests, 1);
    assert_int_equal(front_counters(s)->requests, 0);
}

static void relays_tunnels(void **state)
{
    struct scene *s = *state;
    struct rig_socket *c, *backend;

    s->stage->origin.answer = DM_STR("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: raw\r\n\r\n");
    c = stage_ask(s->stage, STAGE_GET("/a", STAGE_KEY "Connection: Upgrade\r\nUpgrade: raw\r\n"), "HTTP/1.1 101 ");
    rig_expect(&s->stage->rig, c, "\r\n\r\n", 1);
    backend = s->stage->origin.sockets[0];
    rig_send(c, DM_STR("ping from the caller"));
    rig_expect(&s->stage->rig, backend, "ping from the caller", 1);
    rig_send(backend, DM_STR("pong from the backend"));
    rig_expect(&s->stage->rig, c, "pong from the backend", 1);
    dm_stream_shutdown(&c->stream);
    rig_expect_end(&s->stage->rig, backend);
    dm_stream_shutdown(&backend->stream);
    rig_expect_end(&s->stage->rig, c);
    rig_close(&s->stage->rig, c);
    assert_went(s, 0, 1);
}

static void ends_in_the_middle_when_the_cell_does(void **state)
{
    struct scene *s = *state;
    struct rig_socket *c;

    s->stage->origin.answer = DM_STR("HTTP/1.1 200 OK\r\nContent-Length: 10\r\nX-From: origin\r\n\r\nhalf");
    s->stage->origin.closes = true;
    c = stage_ask(s->stage, STAGE_GET("/a", STAGE_KEY), "half");
    rig_expect_end(&s->stage->rig, c);
    rig_close(&s->stage->rig, c);
    assert_int_equal(front_counters(s)->requests, 0);
}

/* A caller that goes takes the relay with it. */
static void drops_what_nobody_waits_for(void **state)
{
    struct scene *s = *state;
    struct rig_socket *c = rig_connect(&s->stage->rig);

    s->stage->origin.answer = DM_STR("");
    rig_send(c, DM_STR(STAGE_GET("/a", STAGE_KEY)));
    while (s->stage->origin.n_requests == 0)
        assert_true(dm_loop_turn(s->stage->rig.worker.loop, 10) >= 0);
    rig_close(&s->stage->rig, c);
    while (stage_counters(s->stage)->requests == 0)
        assert_true(dm_loop_turn(s->stage->rig.worker.loop, 10) >= 0);
    assert_int_equal(stage_counters(s->stage)->reasons[DM_REASON_CLIENT_CLOSED], 1);
}

/* --- cells that are not there ---------------------------------------------------------------------------------------- */

static void says_so_while_the_cell_is_held_back(void **state)
{
    struct scene *s = *state;

    dm_cell_gate_open(&s->front.worker, DM_STR("orders"), -1);
    stage_try(s->stage, STAGE_GET("/a", STAGE_KEY), UNAVAILABLE);
    stage_try(s->stage, GET_NOBODY, NOBODY);
    assert_int_equal(front_counters(s)->reasons[DM_REASON_CELL_UNAVAILABLE], 1);
    assert_int_equal(front_counters(s)->requests, 1);
    open_gate(s);
    stage_try(s->stage, STAGE_GET("/a", STAGE_KEY), ORIGINS);
    assert_went(s, 1, 0);
}

static void says_so_when_the_cell_ends_before_it_answers(void **state)
{
    struct scene *s = *state;
    struct rig_socket *c;

    s->cuts = true;
    c = stage_ask(s->stage, STAGE_GET("/a", STAGE_KEY) GET_NOBODY, UNAVAILABLE);
    rig_expect(&s->stage->rig, c, NOBODY, 1);
    rig_close(&s->stage->rig, c);
    assert_went(s, 0, 1);
    assert_int_equal(front_counters(s)->status[5], 1);
}

/* Those that fit wait for the next to take them; the others are told, and nobody else is touched. */
static void bounds_what_waits(void **state)
{
    struct scene *s = *state;
    struct rig_socket *waiting[MANY], *told = NULL;
    size_t n = 0;

    dm_handover_close(&s->taking);
    while (n < MANY && !told) {
        struct rig_socket *c = rig_connect(&s->stage->rig);
        uint64_t before = front_counters(s)->handed_over;
        rig_send(c, DM_STR(STAGE_GET("/a", STAGE_KEY)));
        while (front_counters(s)->handed_over == before && front_counters(s)->requests == 0)
            assert_true(dm_loop_turn(s->stage->rig.worker.loop, 10) >= 0);
        if (front_counters(s)->handed_over > before)
            waiting[n++] = c;
        else
            told = c;
    }
    assert_non_null(told);
    assert_in_range(n, 8, QUEUE_BYTES / 256);
    rig_expect(&s->stage->rig, told, UNAVAILABLE, 1);
    rig_close(&s->stage->rig, told);
    stage_try(s->stage, GET_NOBODY, NOBODY);
    open_taking(s);
    while (n > 0) {
        rig_expect(&s->stage->rig, waiting[--n], ORIGINS, 1);
        rig_close(&s->stage->rig, waiting[n]);
    }
}

/* What a queue of this kind must never do: strangers' words are dropped, with their descriptors. */
static void refuses_words_that_are_none(void **state)
{
    struct scene *s = *state;
    int pair[2];
    char byte;

    assert_int_equal(dm_channel_pair(pair), 0);
    assert_int_equal(dm_handover_give(s->fds[DM_HANDOVER_GIVING], DM_STR("nonsense"), pair[1]), 0);
    close(pair[1]);
    rig_settle(&s->stage->rig);
    while (read(pair[0], &byte, 1) < 0 && errno == EAGAIN)
        assert_true(dm_loop_turn(s->stage->rig.worker.loop, 10) >= 0);
    assert_int_equal(read(pair[0], &byte, 1), 0);
    close(pair[0]);
    stage_try(s->stage, STAGE_GET("/a", STAGE_KEY), ORIGINS);
}

/* --- tenants that get a cell, or lose it ----------------------------------------------------------------------------- */

static void moves_a_tenant_there_and_back(void **state)
{
    struct scene *s = *state;
    struct rig_socket *c;

    dm_cell_gate_close(&s->front.worker, DM_STR("orders"));
    c = stage_ask(s->stage, STAGE_GET("/a", STAGE_KEY), "Daemun-Reason: no_release\r\n");
    open_gate(s);
    rig_send(c, DM_STR(STAGE_GET("/b", STAGE_KEY)));
    rig_expect(&s->stage->rig, c, ORIGINS, 1);
    dm_cell_gate_close(&s->front.worker, DM_STR("orders"));
    rig_send(c, DM_STR(STAGE_GET("/c", STAGE_KEY)));
    rig_expect(&s->stage->rig, c, "Daemun-Reason: no_release\r\n", 2);
    rig_close(&s->stage->rig, c);
    assert_went(s, 0, 1);
}

/* Gates that the next keeper does not speak of are of cells that are no more. */
static void closes_gates_that_nobody_speaks_of(void **state)
{
    struct scene *s = *state;

    dm_cell_gates_expect(&s->front.worker);
    open_gate(s);
    dm_cell_gates_settle(&s->front.worker);
    stage_try(s->stage, STAGE_GET("/a", STAGE_KEY), ORIGINS);
    dm_cell_gates_expect(&s->front.worker);
    stage_try(s->stage, STAGE_GET("/a", STAGE_KEY), ORIGINS);
    dm_cell_gates_settle(&s->front.worker);
    stage_try(s->stage, STAGE_GET("/a", STAGE_KEY), "Daemun-Reason: no_release\r\n");
    assert_went(s, 2, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
#define TEST_MIXED(name) cmocka_unit_test_setup_teardown(name, setup_mixed, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(hands_over_who_names_the_tenant),
        TEST(serves_the_others),
        TEST(waits_until_the_head_is_whole),
        TEST(relays_who_sends_by_the_byte),
        TEST(takes_what_was_sent_ahead_along),
        TEST_MIXED(relays_what_comes_among_others),
        TEST_MIXED(relays_bodies_and_trailers),
        TEST_MIXED(relays_that_it_may_go_on),
        TEST_MIXED(relays_refusals_of_the_cell),
        TEST_MIXED(relays_tunnels),
        TEST_MIXED(ends_in_the_middle_when_the_cell_does),
        TEST_MIXED(drops_what_nobody_waits_for),
        TEST(says_so_while_the_cell_is_held_back),
        TEST_MIXED(says_so_when_the_cell_ends_before_it_answers),
        TEST(bounds_what_waits),
        TEST(refuses_words_that_are_none),
        TEST(moves_a_tenant_there_and_back),
        TEST(closes_gates_that_nobody_speaks_of),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
