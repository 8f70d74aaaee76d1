/* Health checks through a whole worker: what an endpoint is asked, what puts it out of turn and back, whose work it is, what bounds it. */
#include "gateway/upstream/checks.h"
#include "rig/h2_origin.h"
#include "rig/stage.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "base/mem.h"

#define GET STAGE_GET("/", STAGE_KEY)
#define ORIGINS 3
#define SICK "HTTP/1.1 503 No\r\nContent-Length: 4\r\n\r\nsick"
/* Origins give `next_answer` to the path /next. */
#define HEALTH                                                                                                         \
    ",\"health\":{\"path\":\"/next\",\"interval_ms\":1000,\"timeout_ms\":500}" STAGE_NO_BREAKER                        \
    ",\"outlier\":{\"slow_start_ms\":0}"
#define SUSPENDED                                                                                                      \
    "{\"state\":\"suspended\",\"weight\":100,\"domains\":[{\"name\":\"orders.test\"}],"                                \
    "\"endpoints\":[{\"address\":\"127.0.0.0/8\",\"port\":0}]}"
#define NOT_GRANTED "{\"state\":\"active\",\"weight\":100,\"domains\":[{\"name\":\"orders.test\"}],\"endpoints\":[]}"

static struct rig_origin origins[ORIGINS];

static int setup(void **state)
{
    struct stage *s;

    if (stage_setup(state) < 0)
        return -1;
    s = *state;
    rig_hold_clock(&s->rig);
    for (size_t i = 0; i < ORIGINS; i++) {
        rig_origin_init(&s->rig, &origins[i], DM_STR(STAGE_OK));
        origins[i].next_answer = DM_STR(STAGE_OK);
    }
    return 0;
}

static int teardown(void **state)
{
    for (size_t i = 0; i < ORIGINS; i++)
        rig_origin_done(&origins[i]);
    return stage_teardown(state);
}

static void apply_some(struct stage *s, size_t n, const char *backend)
{
    char endpoints[300];
    size_t len = 0;

    for (size_t i = 0; i < n; i++)
        len += (size_t)snprintf(endpoints + len, sizeof(endpoints) - len, "%s{\"host\":\"127.0.0.1\",\"port\":%u}",
                                i > 0 ? "," : "", rig_origin_port(&origins[i]));
    stage_apply(s, &(struct stage_release){.endpoints = endpoints, .backend = backend});
}

static void pass_s(struct stage *s, uint32_t seconds)
{
    rig_pass(&s->rig, seconds * 1000, 50);
}

static size_t n_checks(size_t i)
{
    return rig_count(dm_buf_str(&origins[i].requests), "GET /next ");
}

static size_t n_asked(size_t i)
{
    return rig_count(dm_buf_str(&origins[i].requests), "GET / ");
}

/* Who of them gets requests? */
static void expect_turns(struct stage *s, size_t n, const bool *is_in)
{
    for (size_t i = 0; i < ORIGINS; i++)
        rig_origin_reset(&origins[i]), dm_buf_reset(&origins[i].requests);
    for (int i = 0; i < 12; i++)
        stage_try(s, GET, "\r\n\r\n");
    for (size_t i = 0; i < n; i++)
        if ((n_asked(i) > 0) != is_in[i])
            fail_msg("endpoint %zu got %zu requests", i, n_asked(i));
}

#define EXPECT_TURNS(s, ...) expect_turns((s), sizeof((bool[]){__VA_ARGS__}) / sizeof(bool), (bool[]){__VA_ARGS__})

static void test_one_that_is_unwell_is_passed_over(void **state)
{
    struct stage *s = *state;

    origins[1].next_answer = DM_STR(SICK);
    apply_some(s, 3, HEALTH);
    EXPECT_TURNS(s, true, true, true); /* V1 */
    pass_s(s, 3);
    EXPECT_TURNS(s, true, false, true);
    assert_int_equal(stage_counters(s)->endpoints_unhealthy, 1);
    assert_int_equal(stage_counters(s)->health_changes[1], 1);
    assert_int_equal(stage_counters(s)->endpoints_out, 0);
    origins[1].next_answer = DM_STR(STAGE_OK);
    pass_s(s, 4);
    EXPECT_TURNS(s, true, true, true);
    assert_int_equal(stage_counters(s)->endpoints_unhealthy, 0);
    assert_int_equal(stage_counters(s)->health_changes[0], 1);
    assert_true(stage_counters(s)->checks[DM_CHECK_PASSED] >= 12 && stage_counters(s)->checks[DM_CHECK_FAILED] >= 2);
    assert_int_equal(stage_counters(s)->checks[DM_CHECK_SAYS_NOTHING], 0);
}

/* One or two that fail behind one another are chance; the third is not. */
static void test_thresholds(void **state)
{
    struct stage *s = *state;
    size_t before;

    apply_some(s, 2, HEALTH);
    pass_s(s, 3);
    for (int i = 0; i < 3; i++) {
        origins[0].next_answer = DM_STR(SICK);
        for (before = n_checks(0); n_checks(0) < before + 2;)
            rig_pass(&s->rig, 50, 50);
        origins[0].next_answer = DM_STR(STAGE_OK);
        for (before = n_checks(0); n_checks(0) < before + 1;)
            rig_pass(&s->rig, 50, 50);
    }
    assert_int_equal(stage_counters(s)->endpoints_unhealthy, 0);
    origins[0].next_answer = DM_STR(SICK);
    for (before = n_checks(0); n_checks(0) < before + 3;)
        rig_pass(&s->rig, 50, 50);
    rig_settle(&s->rig);
    EXPECT_TURNS(s, false, true);
}

/* Between checks nine to eleven tenths of the interval go by; they come alone, on connections of their own that end with them. */
static void test_what_an_endpoint_is_asked(void **state)
{
    struct stage *s = *state;
    struct dm_str received;

    apply_some(s, 1, HEALTH ",\"base_path\":\"/base\",\"host_header\":\"service.internal:8080\"");
    pass_s(s, 32);
    assert_in_range(n_checks(0), 26, 35);
    received = dm_buf_str(&origins[0].received);
    assert_int_equal(rig_count(received,
                               "GET /next HTTP/1.1\r\nHost: service.internal:8080\r\nUser-Agent: daemun-health\r\n"
                               "Connection: close\r\n\r\n"),
                     n_checks(0));
    assert_int_equal(origins[0].n_accepted, n_checks(0));
    assert_int_equal(stage_counters(s)->upstream_connections, 0);
    dm_loop_settle(s->rig.worker.loop);
    assert_true(stage_counters(s)->cpu_ns > 0); /* it is the tenant's work, who has done nothing else */
    stage_try(s, GET, "hello");
    assert_int_equal(origins[0].n_accepted, n_checks(0) + 1);
    assert_true(stage_counters(s)->upstream.in > 0 && stage_counters(s)->upstream.out > received.len / 2);
}

/* When nobody is well, all take turns. */
static void test_all_unwell(void **state)
{
    struct stage *s = *state;

    origins[0].next_answer = origins[1].next_answer = DM_STR(SICK);
    apply_some(s, 2, HEALTH);
    pass_s(s, 3);
    assert_int_equal(stage_counters(s)->endpoints_unhealthy, 2);
    EXPECT_TURNS(s, true, true);
    origins[1].next_answer = DM_STR(STAGE_OK);
    pass_s(s, 4);
    EXPECT_TURNS(s, false, true);
}

/* K4 */
static void test_what_a_failure_is(void **state)
{
    static const struct {
        const char *answer, *more;
        bool closes, cuts, is_failure;
    } cases[] = {
        {STAGE_OK, "", false, false, false},
        {"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n", "", false, false, true},
        {"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n", ",\"status_max\":399", false, false, false},
        {"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n", ",\"status_min\":404,\"status_max\":404", false, false, false},
        {STAGE_OK, ",\"status_min\":404,\"status_max\":404", false, false, true},
        {"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello", "", true, false, true},  /* cut */
        {"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello", "", false, false, true}, /* never whole */
        {"HTTP/1.1 200 OK\r\n\r\nhello", "", true, false, false},
        {"HTTP/1.1 200 OK\r\nContent-Le", "", false, false, true},
        {"nonsense\r\n\r\n", "", false, false, true},
        {"", "", false, true, true},
        {"", "", false, false, true}, /* nothing in time */
        {"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n", "", false, false, false},
    };
    struct stage *s = *state;

    for (size_t i = 0; i < DM_COUNT(cases); i++) {
        char health[300];
        snprintf(health, sizeof(health), ",\"health\":{\"path\":\"/%zu\",\"interval_ms\":1000,\"timeout_ms\":500%s}", i,
                 cases[i].more);
        origins[0].answer = dm_str_of(cases[i].answer);
        origins[0].closes = cases[i].closes;
        origins[0].cuts = cases[i].cuts;
        apply_some(s, 1, health);
        pass_s(s, 2);
        if (stage_counters(s)->endpoints_unhealthy != cases[i].is_failure)
            fail_msg("case %zu", i);
    }
}

/* Of what is long only the beginning is read. */
static void test_a_long_answer(void **state)
{
    static char answer[(1u << 20) + 128];
    struct stage *s = *state;
    int head = snprintf(answer, sizeof(answer), "HTTP/1.1 200 OK\r\nContent-Length: %u\r\n\r\n", 1u << 20);

    memset(answer + head, 'x', 1u << 20);
    origins[0].next_answer = dm_str_n(answer, (size_t)head + (1u << 20));
    apply_some(s, 1, HEALTH);
    pass_s(s, 3);
    assert_true(stage_counters(s)->checks[DM_CHECK_PASSED] >= 1);
    assert_int_equal(stage_counters(s)->checks[DM_CHECK_FAILED], 0);
    assert_int_equal(stage_counters(s)->upstream_connections, 0);
}

/* K3: nothing is asked for a tenant that is suspended, nor where the grants do not hold the address, nor for backends that are gone. */
static void test_who_is_not_checked(void **state)
{
    struct stage *s = *state;
    size_t before;

    apply_some(s, 1, HEALTH);
    pass_s(s, 5);
    assert_true(n_checks(0) >= 2);
    rig_apply(&s->rig, "orders", 1, DM_UNIT_GRANTS, SUSPENDED);
    before = origins[0].n_accepted;
    pass_s(s, 10);
    assert_int_equal(origins[0].n_accepted, before);
    rig_apply(&s->rig, "orders", 1, DM_UNIT_GRANTS, NOT_GRANTED);
    pass_s(s, 5);
    assert_int_equal(origins[0].n_accepted, before);
    assert_true(stage_counters(s)->checks[DM_CHECK_SAYS_NOTHING] >= 3);
    assert_int_equal(stage_counters(s)->checks[DM_CHECK_FAILED], 0);
    rig_apply(&s->rig, "orders", 1, DM_UNIT_GRANTS, STAGE_GRANTS);
    pass_s(s, 5);
    assert_true(origins[0].n_accepted > before);
    apply_some(s, 1, NULL);
    before = origins[0].n_accepted;
    pass_s(s, 10);
    assert_int_equal(origins[0].n_accepted, before);
}

/* What is in hand when its backend, its tenant or the worker goes is given up. */
static void test_checks_in_hand_that_nobody_wants(void **state)
{
    struct stage *s = *state;

    origins[0].next_answer = DM_STR_NULL;
    origins[0].answer = DM_STR_NULL;
    for (int i = 0; i < 3; i++) {
        char backend[200];
        snprintf(backend, sizeof(backend),
                 ",\"health\":{\"path\":\"/next%d\",\"interval_ms\":60000,\"timeout_ms\":60000}", i);
        apply_some(s, 1, backend);
        pass_s(s, 3);
        assert_int_equal(stage_counters(s)->upstream_connections, 1);
        if (i == 0)
            apply_some(s, 1, NULL);
        else if (i == 1)
            rig_apply(&s->rig, "orders", 1, DM_UNIT_GRANTS, SUSPENDED);
        rig_settle(&s->rig);
        assert_int_equal(stage_counters(s)->upstream_connections, i == 2);
    }
    assert_int_equal(stage_counters(s)->checks[DM_CHECK_FAILED], 0);
}

/* K2: endpoints that do not answer hold no more than a few connections. */
static void test_checks_in_hand_are_bounded(void **state)
{
    struct stage *s = *state;
    char endpoints[64 * 48];
    size_t len = 0, most = 0;

    rig_origin_done(&s->origin);
    rig_origin_init_at(&s->rig, &s->origin, DM_STR("0.0.0.0:0"), DM_STR_NULL);
    for (size_t i = 0; i < DM_HEALTH_ENDPOINTS_MAX; i++)
        len += (size_t)snprintf(endpoints + len, sizeof(endpoints) - len, "%s{\"host\":\"127.0.0.%zu\",\"port\":%u}",
                                i > 0 ? "," : "", i + 1, rig_origin_port(&s->origin));
    stage_apply(s, &(struct stage_release){.endpoints = endpoints,
                                           .backend = ",\"health\":{\"interval_ms\":100,\"timeout_ms\":100}"});
    for (int i = 0; i < 200; i++) {
        rig_pass(&s->rig, 20, 20);
        most = DM_MAX(most, (size_t)stage_counters(s)->upstream_connections);
    }
    assert_int_equal(most, DM_CHECKS_MAX);
    assert_true(stage_counters(s)->checks[DM_CHECK_FAILED] >= 64);
}

/* Now the one is first, now the other. */
static void pass_both(struct stage *s, struct stage *other, unsigned seconds)
{
    for (unsigned i = 0; i < seconds * 20; i++) {
        struct stage *first = i / 9 % 2 ? other : s;
        rig_pass(&first->rig, 50, 50);
        rig_pass(&(first == s ? other : s)->rig, 50, 50);
        rig_settle(&s->rig); /* whose origins answer */
        rig_settle(&other->rig);
    }
}

/* Two workers ask no more often than one, and both go by what either finds. */
static void test_two_workers(void **state)
{
    struct stage *s = *state, *other;
    void *other_state;
    char path[80];

    assert_int_equal(stage_setup(&other_state), 0);
    other = other_state;
    dm_health_table_close(&other->rig.worker.health);
    snprintf(path, sizeof(path), "%s/health", s->rig.dir);
    assert_int_equal(dm_health_table_open(&other->rig.worker.health, path, NULL), 0);
    other->rig.held_ns = s->rig.held_ns; /* one clock */
    other->rig.mono_shift_ns = s->rig.mono_shift_ns;
    apply_some(s, 2, HEALTH);
    apply_some(other, 2, HEALTH);
    pass_both(s, other, 30);
    assert_in_range(n_checks(0), 24, 35);
    assert_int_equal(stage_counters(s)->checks[DM_CHECK_PASSED] + stage_counters(other)->checks[DM_CHECK_PASSED],
                     n_checks(0) + n_checks(1));
    origins[1].next_answer = DM_STR(SICK);
    pass_both(s, other, 6);
    assert_int_equal(stage_counters(s)->endpoints_unhealthy, 1);
    assert_int_equal(stage_counters(other)->endpoints_unhealthy, 1);
    assert_int_equal(stage_counters(s)->health_changes[1] + stage_counters(other)->health_changes[1], 1);
    stage_teardown(&other_state);
}

/* Back at once, when a connection can be made, and not before the time for calls that fail is over. */
static void test_a_check_that_passes_ends_what_was_for_want_of_a_connection(void **state)
{
    struct stage *s = *state;
    char addr[32];
    const char *backend =
        ",\"health\":{\"path\":\"/next\",\"interval_ms\":1000,\"timeout_ms\":500,\"unhealthy_threshold\":100}"
        ",\"outlier\":{\"eject_ms\":3600000,\"eject_max_ms\":3600000,\"slow_start_ms\":0}" STAGE_NO_BREAKER;

    apply_some(s, 2, backend);
    pass_s(s, 3);
    snprintf(addr, sizeof(addr), "127.0.0.1:%u", rig_origin_port(&origins[1]));
    rig_origin_done(&origins[1]);
    for (int i = 0; i < 4; i++)
        stage_try(s, GET, "hello");
    assert_int_equal(stage_counters(s)->endpoints_out, 1);
    rig_origin_init_at(&s->rig, &origins[1], dm_str_of(addr), DM_STR(STAGE_OK));
    origins[1].next_answer = DM_STR(STAGE_OK);
    EXPECT_TURNS(s, true, false);
    pass_s(s, 3);
    EXPECT_TURNS(s, true, true);
    origins[1].answer = DM_STR(SICK);
    for (int i = 0; i < 12; i++)
        stage_try(s, GET, "\r\n\r\n");
    assert_int_equal(stage_counters(s)->endpoints_out, 2);
    pass_s(s, 10); /* which checks pass */
    EXPECT_TURNS(s, true, false);
}

/* The next call of an open circuit is made, and judged as any probe, once what was unwell is well again. */
static void test_an_open_circuit_is_tried_when_its_endpoint_is_well_again(void **state)
{
    struct stage *s = *state;

    apply_some(
        s, 1,
        ",\"health\":{\"path\":\"/next\",\"interval_ms\":1000,\"timeout_ms\":500},\"breaker\":{\"open_ms\":3600000,"
        "\"open_max_ms\":3600000}");
    pass_s(s, 3);
    origins[0].answer = origins[0].next_answer = DM_STR(SICK);
    for (int i = 0; i < 10; i++)
        stage_try(s, GET, "sick");
    stage_try(s, GET, "\"circuit_open\"");
    pass_s(s, 5);
    assert_int_equal(stage_counters(s)->endpoints_unhealthy, 1);
    stage_try(s, GET, "\"circuit_open\"");
    origins[0].next_answer = DM_STR(STAGE_OK);
    pass_s(s, 4);
    stage_try(s, GET, "sick"); /* a probe, which fails */
    stage_try(s, GET, "\"circuit_open\"");
    origins[0].answer = DM_STR(STAGE_OK);
    pass_s(s, 4); /* checks that pass say nothing new */
    stage_try(s, GET, "\"circuit_open\"");
    origins[0].next_answer = DM_STR(SICK);
    pass_s(s, 5);
    origins[0].next_answer = DM_STR(STAGE_OK);
    pass_s(s, 4);
    stage_try(s, GET, "hello");
    assert_int_equal(stage_counters(s)->circuits_open, 0);
}

/* No time that anything else waits for goes by meanwhile: a clock that jumps makes checks due, and is no failure but of those in hand. */
static void test_clocks_that_jump(void **state)
{
    struct stage *s = *state;
    size_t before;

    apply_some(s, 2, HEALTH);
    pass_s(s, 5);
    before = n_checks(0);
    rig_pass(&s->rig, 86400000, 86400000); /* the machine was suspended for a day, or its host */
    pass_s(s, 3);
    assert_in_range(n_checks(0), before + 1, before + 6); /* none is made up for */
    for (int i = 0; i < 5; i++) {
        s->rig.wall_shift_ns += (i % 2 ? -1 : 1) * INT64_C(40000000000000000); /* more than a year */
        before = n_checks(0);
        pass_s(s, 5);
        assert_in_range(n_checks(0), before + 3, before + 7);
    }
    origins[0].next_answer = DM_STR_NULL;
    origins[0].answer = DM_STR_NULL;
    while (stage_counters(s)->upstream_connections == 0)
        rig_pass(&s->rig, 50, 50);
    rig_pass(&s->rig, 3600000, 3600000);
    assert_int_equal(stage_counters(s)->endpoints_unhealthy, 0); /* what was in hand failed, alone */
    assert_int_equal(stage_counters(s)->checks[DM_CHECK_FAILED], 1);
}

/* --- HTTP/2 and gRPC ---------------------------------------------------------------------------------------------- */

static struct h2_origin h2;

static int setup_http2(void **state)
{
    if (stage_setup(state) < 0)
        return -1;
    rig_hold_clock(&((struct stage *)*state)->rig);
    h2_origin_init(&((struct stage *)*state)->rig, &h2);
    return 0;
}

static int teardown_http2(void **state)
{
    h2_origin_done(&h2);
    memset(&h2, 0, sizeof(h2));
    return stage_teardown(state);
}

static void apply_http2(struct stage *s, const char *health)
{
    char backend[400];

    snprintf(backend, sizeof(backend), ",\"protocol\":\"http2\",\"health\":{\"interval_ms\":1000,\"timeout_ms\":500%s}",
             health);
    h2_origin_apply(&h2, s, (struct stage_release){.backend = backend});
}

static void test_http2(void **state)
{
    struct stage *s = *state;

    apply_http2(s, ",\"method\":\"HEAD\",\"path\":\"/health\"");
    h2.has_no_body = true;
    pass_s(s, 4);
    assert_in_range(h2.n_requests, 2, 5);
    assert_int_equal(h2.n_accepted, h2.n_requests);
    assert_int_equal(h2_origin_connections(&h2), 0);
    assert_int_equal(rig_count(dm_buf_str(&h2.received), ":method: HEAD\r\n:scheme: http\r\n"), h2.n_requests);
    assert_int_equal(rig_count(dm_buf_str(&h2.received), ":path: /health\r\n"), h2.n_requests);
    assert_int_equal(stage_counters(s)->checks[DM_CHECK_PASSED], h2.n_requests);
    h2.resets_with = 8;
    pass_s(s, 6);
    assert_int_equal(stage_counters(s)->endpoints_unhealthy, 1);
}

static void test_grpc(void **state)
{
    static const struct {
        struct dm_str body;
        const char *status;
        bool is_trailers_only, is_well;
    } cases[] = {
        {{"\0\0\0\0\2\10\1", 7}, "0", false, true},
        {{"\0\0\0\0\2\10\2", 7}, "0", false, false},
        {{"\0\0\0\0\2\10\1", 7}, "14", false, false},
        {{"\0\0\0\0\2\10\1", 7}, NULL, false, false},
        {{NULL, 0}, "12", true, false}, /* it knows no such service */
        {{NULL, 0}, "0", true, false},
    };
    struct stage *s = *state;

    for (size_t i = 0; i < DM_COUNT(cases); i++) {
        char health[100];
        snprintf(health, sizeof(health), ",\"type\":\"grpc\",\"service\":\"orders.v1.Orders%zu\"", i);
        h2.body = cases[i].body;
        h2.has_no_body = cases[i].is_trailers_only;
        memset(h2.fields, 0, sizeof(h2.fields));
        memset(h2.trailers, 0, sizeof(h2.trailers));
        h2.fields[0][0] = DM_STR("content-type");
        h2.fields[0][1] = DM_STR("application/grpc");
        if (cases[i].status && cases[i].is_trailers_only) {
            h2.fields[1][0] = DM_STR("grpc-status");
            h2.fields[1][1] = dm_str_of(cases[i].status);
        } else if (cases[i].status) {
            h2.trailers[0][0] = DM_STR("grpc-status");
            h2.trailers[0][1] = dm_str_of(cases[i].status);
        }
        apply_http2(s, health);
        pass_s(s, 2);
        if (stage_counters(s)->endpoints_unhealthy == cases[i].is_well)
            fail_msg("case %zu", i);
        assert_true(rig_count(dm_buf_str(&h2.received), "orders.v1.Orders") > i);
    }
    assert_true(rig_count(dm_buf_str(&h2.received), ":path: /grpc.health.v1.Health/Check\r\n") >= DM_COUNT(cases));
    assert_true(rig_count(dm_buf_str(&h2.received), "content-type: application/grpc\r\n") >= DM_COUNT(cases));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
#define TEST_HTTP2(name) cmocka_unit_test_setup_teardown(name, setup_http2, teardown_http2)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_one_that_is_unwell_is_passed_over),
        TEST(test_thresholds),
        TEST(test_what_an_endpoint_is_asked),
        TEST(test_all_unwell),
        TEST(test_what_a_failure_is),
        TEST(test_a_long_answer),
        TEST(test_who_is_not_checked),
        TEST(test_checks_in_hand_that_nobody_wants),
        TEST(test_checks_in_hand_are_bounded),
        TEST(test_two_workers),
        TEST(test_a_check_that_passes_ends_what_was_for_want_of_a_connection),
        TEST(test_an_open_circuit_is_tried_when_its_endpoint_is_well_again),
        TEST(test_clocks_that_jump),
        TEST_HTTP2(test_http2),
        TEST_HTTP2(test_grpc),
    };

    return cmocka_run_group_tests_name("gateway/checks", tests, NULL, NULL);
}
