/* gRPC calls through a whole worker: deadlines, ends, silence, trailers. */
#include "gateway/grpc.h"
#include "rig/h2_origin.h"
#include "rig/stage.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define CALL(fields)                                                                                                   \
    "POST /pkg.Service/Method HTTP/1.1\r\nHost: orders.test\r\n" STAGE_KEY "Content-Type: application/grpc+proto\r\n"  \
    "Content-Length: 5\r\n" fields "\r\nbody1"
#define PLAIN(fields) "POST /p HTTP/1.1\r\nHost: orders.test\r\n" STAGE_KEY "Content-Length: 5\r\n" fields "\r\nbody1"
#define STATUS(n) "grpc-status: " #n "\r\n"

static struct h2_origin origin;

static int setup_with(void **state, const char *backend, const char *policies)
{
    struct stage *s;

    if (stage_setup(state) < 0)
        return -1;
    s = *state;
    h2_origin_init(&s->rig, &origin);
    h2_origin_apply(&origin, s, (struct stage_release){.backend = backend, .policies = policies});
    return 0;
}

static int setup(void **state)
{
    return setup_with(state, ",\"protocol\":\"http2\"" STAGE_NO_BREAKER, NULL);
}

static int setup_impatient(void **state)
{
    return setup_with(state, ",\"protocol\":\"http2\",\"idle_timeout_ms\":50,\"tunnel_idle_timeout_ms\":60000", NULL);
}

static int setup_short_of_breath(void **state)
{
    return setup_with(state, ",\"protocol\":\"http2\",\"tunnel_idle_timeout_ms\":50", NULL);
}

static int setup_headers(void **state)
{
    return setup_with(state, ",\"protocol\":\"http2\"",
                      ",{\"type\":\"headers\",\"request\":[],\"response\":[{\"op\":\"set\",\"name\":\"grpc-status\","
                      "\"value\":\"0\"},{\"op\":\"delete\",\"name\":\"x-secret\"}]}");
}

static int teardown(void **state)
{
    h2_origin_done(&origin);
    return stage_teardown(state);
}

static bool was_reset(void *arg)
{
    return ((struct h2_origin *)arg)->n_reset > 0;
}

/* --- deadlines ---------------------------------------------------------------------------------------------------- */

/* What the backend was told, the last time. */
static uint64_t told_ns(void)
{
    struct dm_str rest = dm_buf_str(&origin.received), name = DM_STR("grpc-timeout: ");
    uint64_t ns = 0;

    for (size_t i = 0; i + name.len < rest.len; i++) {
        struct dm_str at = dm_str_skip(rest, i);
        if (!dm_str_starts(at, name))
            continue;
        at = dm_str_skip(at, name.len);
        assert_int_equal(dm_grpc_timeout_read(dm_str_n(at.ptr, dm_str_find(at, '\r')), &ns), 0);
    }
    return ns;
}

static void the_backend_is_told_what_is_left(void **state)
{
    struct stage *s = *state;

    stage_try(s, CALL("grpc-timeout: 10S\r\n"), "hello");
    assert_int_equal(rig_count(dm_buf_str(&origin.received), "grpc-timeout: "), 1);
    assert_in_range(told_ns(), 1, 10ull * 1000000000);
    assert_int_equal(rig_count(dm_buf_str(&origin.received), "content-type: application/grpc+proto\r\n"), 1);
    assert_int_equal(rig_count(dm_buf_str(&origin.received), "te: trailers\r\n"), 1);
    origin.n_refused = 1; /* sent again: told again */
    stage_try(s, CALL("grpc-timeout: 20S\r\n"), "hello");
    assert_int_equal(rig_count(dm_buf_str(&origin.received), "grpc-timeout: "), 3);
    assert_in_range(told_ns(), 10ull * 1000000000, 20ull * 1000000000);
    stage_try(s, CALL("grpc-timeout: 99999999H\r\n"), "hello");
    assert_true(told_ns() > 1000000ull * 3600 * 1000000000);
    stage_try(s, CALL(""), "hello");
    assert_int_equal(rig_count(dm_buf_str(&origin.received), "grpc-timeout: "), 4);
}

static void a_deadline_ends_a_call_without_an_answer(void **state)
{
    struct stage *s = *state;

    origin.is_mute = true;
    stage_try(s, CALL("grpc-timeout: 30m\r\n"), STATUS(4));
    assert_int_equal(stage_counters(s)->reasons[DM_REASON_BACKEND_TIMEOUT], 1);
    assert_int_equal(stage_counters(s)->status[2], 1);
    rig_run_until(&s->rig, was_reset, &origin);
    assert_int_equal(origin.reset_with, DM_HTTP2_CODE_CANCEL);
    origin.is_mute = false;
    stage_try(s, CALL("grpc-timeout: 9S\r\n"), "hello"); /* on the same connection */
    assert_int_equal(origin.n_accepted, 1);
}

static void a_deadline_in_the_middle_of_the_answer(void **state)
{
    struct stage *s = *state;
    struct rig_socket *c;

    origin.is_holding = true;
    c = stage_ask(s, CALL("grpc-timeout: 50m\r\n"), "hello");
    rig_expect_end(&s->rig, c);
    assert_int_equal(rig_count(dm_buf_str(&c->received), "grpc-status"), 0);
    rig_close(&s->rig, c);
    rig_run_until(&s->rig, was_reset, &origin);
    assert_int_equal(origin.reset_with, DM_HTTP2_CODE_CANCEL);
    assert_int_equal(stage_counters(s)->reasons[DM_REASON_BACKEND_TIMEOUT], 1);
}

static void a_deadline_that_is_none_or_over(void **state)
{
    static const char *const bad[] = {CALL("grpc-timeout: 1s\r\n"), CALL("grpc-timeout: \r\n"),
                                      CALL("grpc-timeout: 123456789S\r\n"), CALL("grpc-timeout: -1S\r\n"),
                                      CALL("grpc-timeout: 1S\r\ngrpc-timeout: 1S\r\n")};
    struct stage *s = *state;

    for (size_t i = 0; i < DM_COUNT(bad); i++)
        stage_try(s, bad[i],
                  STATUS(13) "grpc-message: The request does not follow HTTP; `fault` says in which way. "
                             "(bad_field_value)\r\n");
    assert_int_equal(stage_counters(s)->reasons[DM_REASON_BAD_REQUEST], DM_COUNT(bad));
    stage_try(s, CALL("grpc-timeout: 0n\r\n"), STATUS(4));
    assert_int_equal(origin.n_requests, 0);
    stage_try(s, PLAIN("grpc-timeout: 1s\r\n"), "hello"); /* means nothing to others */
    assert_int_equal(rig_count(dm_buf_str(&origin.received), "grpc-timeout: 1s\r\n"), 1);
}

/* --- ends --------------------------------------------------------------------------------------------------------- */

static void a_backend_that_fails_before_it_answers(void **state)
{
    static const struct {
        uint32_t code;
        const char *expected;
    } resets[] = {{1, STATUS(13)},  {2, STATUS(13)}, {3, STATUS(13)}, {8, STATUS(1)},
                  {10, STATUS(13)}, {11, STATUS(8)}, {12, STATUS(7)}, {7, STATUS(14)}};
    struct stage *s = *state;

    for (size_t i = 0; i < DM_COUNT(resets); i++) {
        origin.resets_with = resets[i].code;
        stage_try(s, CALL(""), resets[i].expected);
    }
    origin.resets_with = 0;
    origin.cuts = true;
    stage_try(s, CALL(""), STATUS(14));
    origin.cuts = false;
    origin.forgets = true; /* each time anew */
    stage_try(s, CALL(""), STATUS(14));
    origin.forgets = false;
    stage_try(s, CALL(""), "hello");
}

static void a_body_that_is_none(void **state)
{
    struct stage *s = *state;

    stage_try(s,
              "POST /pkg.Service/Method HTTP/1.1\r\nHost: orders.test\r\n" STAGE_KEY
              "Content-Type: application/grpc\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nbody1\r\nzz\r\n",
              STATUS(13) "grpc-message: The request does not follow HTTP; `fault` says in which way. "
                         "(bad_chunk_size)\r\n");
    assert_int_equal(stage_counters(s)->reasons[DM_REASON_BAD_REQUEST], 1);
}

static void a_backend_of_http1(void **state)
{
    struct stage *s = *state;

    stage_apply(s, &(struct stage_release){0});
    s->origin.answer = DM_STR("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n"
                              "grpc-status: 0\r\n\r\n");
    stage_try(s, CALL(""), "grpc-status: 0\r\n"); /* from HTTP/1.1 to HTTP/1.1 it is a request like others */
}

/* --- trailers ----------------------------------------------------------------------------------------------------- */

static void trailers_are_the_callers(void **state)
{
    struct stage *s = *state;
    struct rig_socket *c;

    origin.trailers[0][0] = DM_STR("grpc-status");
    origin.trailers[0][1] = DM_STR("5");
    origin.trailers[1][0] = DM_STR("grpc-message");
    origin.trailers[1][1] = DM_STR("no %C3%BC");
    origin.trailers[2][0] = DM_STR("x-secret");
    origin.trailers[2][1] = DM_STR("1");
    origin.trailers[3][0] = DM_STR("my_key");
    origin.trailers[3][1] = DM_STR("2");
    c = stage_ask(s, CALL("TE: trailers\r\n"), "grpc-status: 5\r\ngrpc-message: no %C3%BC\r\nmy_key: 2\r\n\r\n");
    assert_int_equal(rig_count(dm_buf_str(&c->received), "x-secret"), 0);
    rig_close(&s->rig, c);
    stage_try(s, PLAIN("TE: trailers\r\n"), "0\r\ngrpc-message: no %C3%BC\r\n\r\n"); /* others' are not */
}

/* --- failures of the backend -------------------------------------------------------------------------------------- */

/* Three calls that end with this status: is the circuit open then? */
static bool opens(struct stage *s, const char *statuses, const char *status, bool is_trailers_only)
{
    static unsigned n;
    char backend[200];
    struct rig_socket *c;
    bool is_open;

    snprintf(backend, sizeof(backend),
             ",\"protocol\":\"http2\",\"host_header\":\"b%u\",\"breaker\":{\"consecutive_failures\":3,"
             "\"failure_statuses\":\"%s\"}",
             n++, statuses);
    memset(origin.fields, 0, sizeof(origin.fields));
    memset(origin.trailers, 0, sizeof(origin.trailers));
    origin.has_no_body = is_trailers_only;
    origin.fields[0][0] = DM_STR("content-type");
    origin.fields[0][1] = DM_STR("application/grpc");
    *(is_trailers_only ? &origin.fields[1][0] : &origin.trailers[0][0]) = DM_STR("grpc-status");
    *(is_trailers_only ? &origin.fields[1][1] : &origin.trailers[0][1]) = dm_str_of(status);
    h2_origin_apply(&origin, s, (struct stage_release){.backend = backend});
    for (int i = 0; i < 3; i++)
        stage_try(s, CALL("TE: trailers\r\n"), is_trailers_only ? "grpc-status" : "grpc-status: ");
    c = stage_ask(s, CALL("TE: trailers\r\n"), "\r\n\r\n");
    is_open = rig_count(dm_buf_str(&c->received), "daemun-reason: circuit_open") +
                  rig_count(dm_buf_str(&c->received), "Daemun-Reason: circuit_open") >
              0;
    rig_settle(&s->rig);
    rig_close(&s->rig, c);
    return is_open;
}

static void statuses_that_are_failures(void **state)
{
    static const struct {
        const char *status;
        bool unavailable, server_errors;
    } cases[] = {
        {"0", false, false}, {"1", false, false},  {"2", false, true},  {"3", false, false},  {"4", false, false},
        {"5", false, false}, {"8", false, false},  {"12", false, true}, {"13", false, true},  {"14", true, true},
        {"15", false, true}, {"16", false, false}, {"99", false, true}, {"-1x", false, true},
    };
    struct stage *s = *state;

    for (size_t i = 0; i < DM_COUNT(cases); i++)
        for (int head = 0; head < 2; head++) {
            if (opens(s, "unavailable", cases[i].status, head) != cases[i].unavailable ||
                opens(s, "server_errors", cases[i].status, head) != cases[i].server_errors ||
                opens(s, "none", cases[i].status, head))
                fail_msg("%s in the %s", cases[i].status, head ? "head" : "trailers");
        }
}

/* Of others than gRPC's calls it means nothing. */
static void of_plain_exchanges_it_is_no_failure(void **state)
{
    struct stage *s = *state;

    h2_origin_apply(
        &origin, s,
        (struct stage_release){.backend = ",\"protocol\":\"http2\",\"breaker\":{\"consecutive_failures\":1}"});
    origin.trailers[0][0] = DM_STR("grpc-status");
    origin.trailers[0][1] = DM_STR("14");
    for (int i = 0; i < 5; i++)
        stage_try(s, PLAIN("TE: trailers\r\n"), "hello");
}

/* --- silence ------------------------------------------------------------------------------------------------------ */

/* A plain exchange that begins later is cut for its silence; the call is not. */
static void a_call_may_be_silent(void **state)
{
    struct stage *s = *state;
    struct rig_socket *call, *plain;

    origin.is_holding = true;
    call = stage_ask(s, CALL(""), "hello");
    plain = stage_ask(s, PLAIN(""), "hello");
    rig_expect_end(&s->rig, plain);
    rig_close(&s->rig, plain);
    assert_int_equal(stage_counters(s)->reasons[DM_REASON_BACKEND_CLOSED], 1);
    h2_origin_finish(&origin);
    rig_expect(&s->rig, call, "0\r\nx-sum: 1\r\n\r\n", 1);
    rig_close(&s->rig, call);
}

static void but_not_for_ever(void **state)
{
    struct stage *s = *state;
    struct rig_socket *call;

    origin.is_holding = true;
    call = stage_ask(s, CALL(""), "hello");
    rig_expect_end(&s->rig, call);
    rig_close(&s->rig, call);
    rig_run_until(&s->rig, was_reset, &origin);
    assert_int_equal(stage_counters(s)->reasons[DM_REASON_BACKEND_CLOSED], 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_backend_is_told_what_is_left, setup, teardown),
        cmocka_unit_test_setup_teardown(a_deadline_ends_a_call_without_an_answer, setup, teardown),
        cmocka_unit_test_setup_teardown(a_deadline_in_the_middle_of_the_answer, setup, teardown),
        cmocka_unit_test_setup_teardown(a_deadline_that_is_none_or_over, setup, teardown),
        cmocka_unit_test_setup_teardown(a_backend_that_fails_before_it_answers, setup, teardown),
        cmocka_unit_test_setup_teardown(a_body_that_is_none, setup, teardown),
        cmocka_unit_test_setup_teardown(a_backend_of_http1, setup, teardown),
        cmocka_unit_test_setup_teardown(trailers_are_the_callers, setup_headers, teardown),
        cmocka_unit_test_setup_teardown(statuses_that_are_failures, setup, teardown),
        cmocka_unit_test_setup_teardown(of_plain_exchanges_it_is_no_failure, setup, teardown),
        cmocka_unit_test_setup_teardown(a_call_may_be_silent, setup_impatient, teardown),
        cmocka_unit_test_setup_teardown(but_not_for_ever, setup_short_of_breath, teardown),
    };

    return cmocka_run_group_tests_name("gRPC calls", tests, NULL, NULL);
}
