/* What a backend's circuit and endpoints make of faults that are not plain failures: clocks that jump, answers that come too soon or end
 * at any byte, endpoints that are all out. Through a whole worker. */
#include "rig/stage.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "base/mem.h"

#define GET STAGE_GET("/", STAGE_KEY)
#define POST(body) "POST / HTTP/1.1\r\nHost: orders.test\r\n" STAGE_KEY "Content-Length: 5\r\n\r\n" body
#define UNAVAILABLE "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n\r\nbusy"
#define DAY_MS 86400000u

static void apply(struct stage *s, const char *backend)
{
    stage_apply(s, &(struct stage_release){.backend = backend});
}

static void try_times(struct stage *s, unsigned n, const char *request, const char *expected)
{
    for (unsigned i = 0; i < n; i++)
        stage_try(s, request, expected);
}

/* --- clocks ------------------------------------------------------------------------------------------------------- */

static void test_a_circuit_when_clocks_jump(void **state)
{
    struct stage *s = *state;

    apply(s, ",\"breaker\":{\"open_ms\":60000,\"open_max_ms\":60000}");
    s->origin.answer = DM_STR(UNAVAILABLE);
    try_times(s, 10, GET, "busy");
    for (int i = 0; i < 4; i++) {
        s->rig.wall_shift_ns += (i % 2 ? -1 : 2) * INT64_C(40000000000000000);
        rig_settle(&s->rig);
        stage_try(s, GET, "\"circuit_open\"");
    }
    rig_pass(&s->rig, DAY_MS, DAY_MS);
    stage_try(s, GET, "busy"); /* a probe */
    stage_try(s, GET, "\"circuit_open\"");
    s->origin.answer = DM_STR(STAGE_OK);
    rig_pass(&s->rig, DAY_MS, DAY_MS);
    try_times(s, 3, GET, "hello");
    s->origin.answer = DM_STR(UNAVAILABLE);
    try_times(s, 9, GET, "busy");
    s->origin.answer = DM_STR(STAGE_OK);
    stage_try(s, GET, "hello");
    rig_pass(&s->rig, DAY_MS, DAY_MS); /* the window slides out of all that was, at once */
    s->origin.answer = DM_STR(UNAVAILABLE);
    try_times(s, 10, GET, "busy");
    stage_try(s, GET, "\"circuit_open\"");
    assert_int_equal(stage_counters(s)->circuit_changes[2], 2);
}

static void test_endpoints_when_clocks_jump(void **state)
{
    struct stage *s = *state;
    struct rig_origin other;
    char endpoints[200];

    rig_origin_init(&s->rig, &other, DM_STR(UNAVAILABLE));
    snprintf(endpoints, sizeof(endpoints), "{\"host\":\"127.0.0.1\",\"port\":%u},{\"host\":\"127.0.0.1\",\"port\":%u}",
             rig_origin_port(&s->origin), rig_origin_port(&other));
    stage_apply(s, &(struct stage_release){.endpoints = endpoints,
                                           .backend = STAGE_NO_BREAKER ",\"outlier\":{\"eject_ms\":60000,"
                                                                       "\"eject_max_ms\":60000,\"slow_start_ms\":0}"});
    try_times(s, 20, GET, "\r\n\r\n");
    assert_int_equal(stage_counters(s)->endpoints_out, 1);
    for (int i = 0; i < 4; i++) {
        s->rig.wall_shift_ns += (i % 2 ? -1 : 2) * INT64_C(40000000000000000);
        rig_settle(&s->rig);
        try_times(s, 5, GET, "hello");
    }
    other.answer = DM_STR(STAGE_OK);
    other.n_requests = 0;
    rig_pass(&s->rig, DAY_MS, DAY_MS);
    try_times(s, 10, GET, "hello");
    assert_int_equal(other.n_requests, 5);
    rig_origin_done(&other);
}

/* A request that was in flight meanwhile is out of time, as any other that took so long. */
static void test_a_request_in_flight_when_the_clock_jumps(void **state)
{
    struct stage *s = *state;
    struct rig_socket *client = rig_connect(&s->rig);

    apply(s, ",\"breaker\":{\"consecutive_failures\":2}");
    s->origin.answer = DM_STR_NULL;
    rig_send(client, dm_str_of(GET));
    while (s->origin.n_requests == 0)
        dm_loop_turn(s->rig.worker.loop, 10);
    rig_pass(&s->rig, DAY_MS, DAY_MS);
    rig_expect(&s->rig, client, "\"backend_timeout\"", 1);
    rig_close(&s->rig, client);
    s->origin.answer = DM_STR(STAGE_OK);
    stage_try(s, GET, "hello");
}

/* --- answers ------------------------------------------------------------------------------------------------------ */

/* It is the caller who is slow; what the answer says counts as ever. */
static void test_a_backend_that_answers_before_it_reads(void **state)
{
    struct stage *s = *state;

    rig_hold_clock(&s->rig);
    apply(s, ",\"breaker\":{\"slow_ms\":1000,\"slow_percent\":1,\"min_requests\":1,\"consecutive_failures\":3}");
    s->origin.answers_early = true;
    for (int i = 0; i < 5; i++) {
        struct rig_socket *client = rig_connect(&s->rig);
        s->origin.answer = DM_STR_NULL;
        s->origin.n_requests = 0;
        rig_send(client, DM_STR(POST("bo")));
        while (s->origin.n_requests == 0)
            dm_loop_turn(s->rig.worker.loop, 10);
        rig_pass(&s->rig, 5000, 5000);
        rig_send(s->origin.sockets[s->origin.n_sockets - 1], DM_STR(STAGE_OK));
        rig_expect(&s->rig, client, "hello", 1);
        rig_close(&s->rig, client);
    }
    s->origin.answer = DM_STR(STAGE_OK);
    stage_try(s, GET, "hello");
    s->origin.answer = DM_STR(UNAVAILABLE);
    try_times(s, 3, POST("bo"), "busy");
    stage_try(s, GET, "\"circuit_open\"");
}

/* The connection ends behind n bytes of the answer, in order or by a reset. */
static void answer_some(struct stage *s, size_t n, bool is_reset)
{
    struct rig_socket *client = rig_connect(&s->rig), *backend;
    size_t before = s->origin.n_requests;

    rig_send(client, DM_STR(POST("body1"))); /* which is not sent again */
    while (s->origin.n_requests == before)
        dm_loop_turn(s->rig.worker.loop, 10);
    backend = s->origin.sockets[s->origin.n_sockets - 1];
    if (n > 0)
        rig_send(backend, dm_str_n(STAGE_OK, n));
    rig_settle(&s->rig);
    if (is_reset)
        dm_stream_reset(&backend->stream);
    else
        dm_stream_shutdown(&backend->stream);
    while (client->n_received == 0 && !client->has_eof && !client->is_failed)
        dm_loop_turn(s->rig.worker.loop, 10);
    rig_settle(&s->rig);
    rig_close(&s->rig, client);
}

static void test_an_end_at_every_byte(void **state)
{
    const size_t len = sizeof(STAGE_OK) - 1;
    struct stage *s = *state;

    s->origin.answer = DM_STR_NULL;
    for (size_t n = 0; n <= len; n++)
        for (int is_reset = 0; is_reset < 2; is_reset++) {
            char backend[160];
            snprintf(backend, sizeof(backend), ",\"host_header\":\"b%zu-%d\",\"breaker\":{\"consecutive_failures\":1}",
                     n, is_reset);
            apply(s, backend);
            answer_some(s, n, is_reset);
            if (stage_counters(s)->circuits_open != (n < len))
                fail_msg("%s behind %zu of %zu bytes", is_reset ? "reset" : "end", n, len);
        }
}

/* --- endpoints ---------------------------------------------------------------------------------------------------- */

/* Those that can't be connected to and those whose calls fail: all are asked, and the first that is well again serves. */
static void test_all_endpoints_out(void **state)
{
    struct stage *s = *state;
    struct rig_origin dead;
    char endpoints[200], addr[32];

    rig_origin_init(&s->rig, &dead, DM_STR(STAGE_OK));
    snprintf(addr, sizeof(addr), "127.0.0.1:%u", rig_origin_port(&dead));
    snprintf(endpoints, sizeof(endpoints), "{\"host\":\"127.0.0.1\",\"port\":%u},{\"host\":\"127.0.0.1\",\"port\":%u}",
             rig_origin_port(&s->origin), rig_origin_port(&dead));
    rig_origin_done(&dead);
    stage_apply(s, &(struct stage_release){.endpoints = endpoints,
                                           .backend = STAGE_NO_BREAKER
                                           ",\"outlier\":{\"eject_ms\":3600000,\"eject_max_ms\":3600000,"
                                           "\"max_percent\":100,\"consecutive_failures\":1},\"retry\":{\"tries\":1}"});
    s->origin.answer = DM_STR(UNAVAILABLE);
    try_times(s, 4, GET, "\r\n\r\n");
    assert_int_equal(stage_counters(s)->endpoints_out, 2);
    s->origin.n_requests = 0;
    try_times(s, 10, GET, "\r\n\r\n");
    assert_int_equal(s->origin.n_requests, 5);
    assert_int_equal(stage_counters(s)->reasons[DM_REASON_NO_ENDPOINT], 0);
    rig_origin_init_at(&s->rig, &dead, dm_str_of(addr), DM_STR(STAGE_OK));
    s->origin.answer = DM_STR(STAGE_OK);
    try_times(s, 10, GET, "hello");
    rig_origin_done(&dead);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_circuit_when_clocks_jump, stage_setup, stage_teardown),
        cmocka_unit_test_setup_teardown(test_endpoints_when_clocks_jump, stage_setup, stage_teardown),
        cmocka_unit_test_setup_teardown(test_a_request_in_flight_when_the_clock_jumps, stage_setup, stage_teardown),
        cmocka_unit_test_setup_teardown(test_a_backend_that_answers_before_it_reads, stage_setup, stage_teardown),
        cmocka_unit_test_setup_teardown(test_an_end_at_every_byte, stage_setup, stage_teardown),
        cmocka_unit_test_setup_teardown(test_all_endpoints_out, stage_setup, stage_teardown),
    };

    return cmocka_run_group_tests_name("gateway/faults", tests, NULL, NULL);
}
