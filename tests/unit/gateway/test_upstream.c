/* Where requests go: weights, endpoints that are down, names, grants that change, connections that are kept. */
#include "rig/stage.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "base/mem.h"

#define POST(body) "POST / HTTP/1.1\r\nHost: orders.test\r\n" STAGE_KEY "Content-Length: 5\r\n\r\n" body

static struct dm_tenant_counters *counters(struct stage *s)
{
    return &s->rig.counters->tenants[1];
}

/* A port on which nobody listens. */
static uint16_t closed_port(struct stage *s)
{
    struct rig_origin origin;
    uint16_t port;

    rig_origin_init(&s->rig, &origin, DM_STR_NULL);
    port = rig_origin_port(&origin);
    rig_origin_done(&origin);
    return port;
}

static void apply_endpoints(struct stage *s, const char *endpoints)
{
    struct stage_release r = {.endpoints = endpoints, .backend = ",\"response_timeout_ms\":50"};

    stage_apply(s, &r);
}

static void put_name(struct stage *s, const char *name, const char *const *addrs, size_t n)
{
    struct dm_addr list[8];
    char text[64];

    for (size_t i = 0; i < n; i++) {
        snprintf(text, sizeof(text), "%s:0", addrs[i]);
        assert_int_equal(dm_addr_parse(dm_str_of(text), &list[i], NULL), 0);
    }
    dm_dns_put(s->rig.worker.upstream_env.dns, dm_str_of(name), list, n, 60000);
}

static void test_weights_are_spread_evenly(void **state)
{
    struct stage *s = *state;
    struct rig_origin other;
    char endpoints[300];

    rig_origin_init(&s->rig, &other, DM_STR(STAGE_OK));
    snprintf(endpoints, sizeof(endpoints),
             "{\"host\":\"127.0.0.1\",\"port\":%u,\"weight\":30},{\"host\":\"127.0.0.1\",\"port\":%u,\"weight\":10},"
             "{\"host\":\"127.0.0.1\",\"port\":1,\"weight\":0}",
             rig_origin_port(&s->origin), rig_origin_port(&other));
    apply_endpoints(s, endpoints);
    for (int i = 1; i <= 20; i++) {
        stage_try(s, STAGE_GET("/", STAGE_KEY), "hello");
        assert_true(s->origin.n_requests * 4 <= 3 * (size_t)i + 4 && other.n_requests * 4 <= (size_t)i + 4);
    }
    assert_int_equal(s->origin.n_requests, 15);
    rig_origin_done(&other);
}

/* Also with a body that had begun: nothing of it left before the connection stood (E3). */
static void test_one_down_the_other_takes_it(void **state)
{
    struct stage *s = *state;
    char endpoints[200];

    snprintf(endpoints, sizeof(endpoints), "{\"host\":\"127.0.0.1\",\"port\":%u},{\"host\":\"127.0.0.1\",\"port\":%u}",
             closed_port(s), rig_origin_port(&s->origin));
    apply_endpoints(s, endpoints);
    stage_try(s, POST("body1"), "hello");
    assert_int_equal(rig_count(dm_buf_str(&s->origin.received), "\r\n\r\nbody1"), 1);
    assert_int_equal(counters(s)->upstream_failures, 1);
    assert_int_equal(counters(s)->upstream_retries, 1);
    for (int i = 0; i < 10; i++)
        stage_try(s, STAGE_GET("/", STAGE_KEY), "hello");
    assert_int_equal(counters(s)->upstream_failures, 1); /* passed over (U4) */
}

/* Answers that are failures put an endpoint out of turn, but never more than the share that may be. */
static void test_endpoints_that_fail_are_put_out(void **state)
{
    struct stage *s = *state;
    struct rig_origin bad[2];
    char endpoints[300];
    size_t n;

    rig_origin_init(&s->rig, &bad[0], DM_STR("HTTP/1.1 503 No\r\nContent-Length: 4\r\n\r\nbusy"));
    rig_origin_init(&s->rig, &bad[1], DM_STR("HTTP/1.1 503 No\r\nContent-Length: 4\r\n\r\nbusy"));
    snprintf(
        endpoints, sizeof(endpoints),
        "{\"host\":\"127.0.0.1\",\"port\":%u},{\"host\":\"127.0.0.1\",\"port\":%u},{\"host\":\"127.0.0.1\",\"port\":%u}",
        rig_origin_port(&s->origin), rig_origin_port(&bad[0]), rig_origin_port(&bad[1]));
    stage_apply(s, &(struct stage_release){.endpoints = endpoints,
                                           .backend = STAGE_NO_BREAKER ",\"outlier\":{\"eject_ms\":60000,"
                                                                       "\"eject_max_ms\":60000}"});
    for (int i = 0; i < 90; i++)
        stage_try(s, STAGE_GET("/", STAGE_KEY), "\r\n\r\n");
    assert_int_equal(counters(s)->endpoints_out, 1);
    n = bad[0].n_requests < bad[1].n_requests ? 0 : 1; /* it is out, the other one may not be */
    assert_int_equal(bad[n].n_requests, 5);
    assert_true(bad[1 - n].n_requests > 30 && s->origin.n_requests > 30);
    rig_origin_done(&bad[0]);
    rig_origin_done(&bad[1]);
}

#define ORIGINS 4

static void apply_balance(struct stage *s, struct rig_origin *origins, const char *balance)
{
    char endpoints[400];
    size_t len = 0;

    for (size_t i = 0; i < ORIGINS; i++)
        len += (size_t)snprintf(endpoints + len, sizeof(endpoints) - len, "%s{\"host\":\"127.0.0.1\",\"port\":%u}",
                                i > 0 ? "," : "", rig_origin_port(&origins[i]));
    stage_apply(s, &(struct stage_release){.endpoints = endpoints, .backend = balance});
}

static size_t n_asked(const struct rig_origin *origins, size_t *ret_requests)
{
    size_t n = 0;

    *ret_requests = 0;
    for (size_t i = 0; i < ORIGINS; i++) {
        n += origins[i].n_requests > 0;
        *ret_requests += origins[i].n_requests;
    }
    return n;
}

/* One value, one endpoint; when that one goes, another takes all of it; many values are spread. */
static void test_hash(void **state)
{
    struct stage *s = *state;
    struct rig_origin origins[ORIGINS];
    size_t n, home = 0;
    char request[200];

    for (size_t i = 0; i < ORIGINS; i++)
        rig_origin_init(&s->rig, &origins[i], DM_STR(STAGE_OK));
    apply_balance(s, origins, ",\"balance\":{\"method\":\"hash\",\"hash_by\":\"header\",\"header\":\"X-Session\"}");
    for (int i = 0; i < 10; i++)
        stage_try(s, STAGE_GET("/", STAGE_KEY "X-Session: one\r\n"), "hello");
    assert_int_equal(n_asked(origins, &n), 1);
    while (origins[home].n_requests == 0)
        home++;
    rig_origin_done(&origins[home]);
    for (int i = 0; i < 10; i++)
        stage_try(s, STAGE_GET("/", STAGE_KEY "X-Session: one\r\n"), "hello");
    assert_int_equal(n_asked(origins, &n), 2);
    rig_origin_init(&s->rig, &origins[home], DM_STR(STAGE_OK));
    for (size_t i = 0; i < ORIGINS; i++)
        origins[i].n_requests = 0;
    apply_balance(s, origins, ",\"balance\":{\"method\":\"hash\",\"hash_by\":\"header\",\"header\":\"X-Session\"}");
    for (int i = 0; i < 200; i++) {
        snprintf(request, sizeof(request), "GET / HTTP/1.1\r\nHost: orders.test\r\n" STAGE_KEY "X-Session: %d\r\n\r\n",
                 i);
        stage_try(s, request, "hello");
    }
    for (size_t i = 0; i < ORIGINS; i++)
        assert_in_range(origins[i].n_requests, 25, 75);
    for (size_t i = 0; i < ORIGINS; i++)
        origins[i].n_requests = 0;
    apply_balance(s, origins, ",\"balance\":{\"method\":\"hash\",\"hash_by\":\"application\"}");
    for (int i = 0; i < 10; i++)
        stage_try(s, STAGE_GET("/", STAGE_KEY), "hello");
    assert_int_equal(n_asked(origins, &n), 1);
    for (size_t i = 0; i < ORIGINS; i++)
        rig_origin_done(&origins[i]);
}

/* An endpoint that keeps its requests gets fewer; what was given up is not counted any more. */
static void test_least_requests(void **state)
{
    struct stage *s = *state;
    struct rig_origin origins[ORIGINS];
    struct rig_socket *held[40];
    size_t n;

    for (size_t i = 0; i < ORIGINS; i++)
        rig_origin_init(&s->rig, &origins[i], DM_STR_NULL);
    apply_balance(s, origins, ",\"balance\":{\"method\":\"least_requests\"}");
    for (size_t i = 0; i < DM_COUNT(held); i++) {
        held[i] = rig_connect(&s->rig);
        rig_send(held[i], dm_str_of(STAGE_GET("/", STAGE_KEY)));
        while (n_asked(origins, &n), n <= i)
            dm_loop_turn(s->rig.worker.loop, 10);
    }
    for (size_t i = 0; i < ORIGINS; i++) {
        assert_in_range(origins[i].n_requests, 8, 12);
        origins[i].answer = DM_STR(STAGE_OK);
    }
    for (size_t i = 0; i < DM_COUNT(held); i++) {
        dm_stream_reset(&held[i]->stream);
        rig_close(&s->rig, held[i]);
    }
    rig_settle(&s->rig);
    for (int i = 0; i < 40; i++)
        stage_try(s, STAGE_GET("/", STAGE_KEY), "hello");
    for (size_t i = 0; i < ORIGINS; i++) {
        assert_in_range(origins[i].n_requests, 11, 40);
        rig_origin_done(&origins[i]);
    }
}

/* Retries that the budget, or the number of tries, does not allow. */
static void test_retries_are_bounded(void **state)
{
    static const char *const retry[] = {"{\"tries\":1}", "{\"budget_percent\":0,\"budget_min\":0}",
                                        "{\"budget_percent\":100,\"budget_min\":0}"};
    struct stage *s = *state;
    char endpoints[200], backend[120];

    snprintf(endpoints, sizeof(endpoints), "{\"host\":\"127.0.0.1\",\"port\":%u},{\"host\":\"127.0.0.1\",\"port\":%u}",
             closed_port(s), rig_origin_port(&s->origin));
    for (size_t i = 0; i < DM_COUNT(retry); i++) {
        snprintf(backend, sizeof(backend), ",\"host_header\":\"b%zu\",\"retry\":%s", i, retry[i]);
        stage_apply(s, &(struct stage_release){.endpoints = endpoints, .backend = backend});
        stage_try(s, STAGE_GET("/", STAGE_KEY), i == 2 ? "hello" : "\"backend_unreachable\"");
        assert_int_equal(counters(s)->upstream_retries, i == 2);
        assert_int_equal(counters(s)->upstream_retries_denied, i > 0);
    }
}

static void test_all_down(void **state)
{
    struct stage *s = *state;
    char endpoints[80];

    snprintf(endpoints, sizeof(endpoints), "{\"host\":\"127.0.0.1\",\"port\":%u}", closed_port(s));
    apply_endpoints(s, endpoints);
    for (int i = 0; i < 3; i++)
        stage_try(s, STAGE_GET("/", STAGE_KEY), "\"backend_unreachable\"");
    apply_endpoints(s, "{\"host\":\"127.0.0.1\",\"port\":1,\"weight\":0}");
    stage_try(s, STAGE_GET("/", STAGE_KEY), "\"no_endpoint\"");
}

static void test_backend_is_too_slow(void **state)
{
    struct stage *s = *state;
    char endpoints[80];

    snprintf(endpoints, sizeof(endpoints), "{\"host\":\"127.0.0.1\",\"port\":%u}", rig_origin_port(&s->origin));
    apply_endpoints(s, endpoints);
    s->origin.answer = DM_STR_NULL;
    stage_try(s, STAGE_GET("/", STAGE_KEY), "\"backend_timeout\"");
}

static void test_names_with_several_addresses(void **state)
{
    static const char *const mixed[] = {"[2001:db8::1]", "127.0.0.1", "10.1.2.3"}, *const first_down[] = {"127.0.0.9",
                                                                                                          "127.0.0.1"};
    static const char *const outside[] = {"169.254.169.254", "[::ffff:169.254.169.254]", "[::1]", "10.0.0.1"};
    struct stage *s = *state;
    char endpoints[80];

    snprintf(endpoints, sizeof(endpoints), "{\"host\":\"back.test\",\"port\":%u}", rig_origin_port(&s->origin));
    apply_endpoints(s, endpoints);
    put_name(s, "back.test", mixed, DM_COUNT(mixed)); /* the grants hold one of them */
    for (int i = 0; i < 4; i++)
        stage_try(s, STAGE_GET("/", STAGE_KEY "Connection: close\r\n"), "hello");
    put_name(s, "back.test", outside, DM_COUNT(outside));
    stage_release(s, &(struct stage_release){.endpoints = "{\"host\":\"back.test\",\"port\":80}"});
    stage_try(s, STAGE_GET("/", STAGE_KEY), "\"egress_not_approved\"");
    put_name(s, "back.test", first_down, DM_COUNT(first_down)); /* nobody listens at the first */
    apply_endpoints(s, endpoints);
    stage_try(s, STAGE_GET("/", STAGE_KEY), "hello");
    put_name(s, "none.test", mixed, 0);
    apply_endpoints(s, "{\"host\":\"none.test\",\"port\":80}");
    stage_try(s, STAGE_GET("/", STAGE_KEY), "\"backend_unresolved\"");
}

/* P5: the mapped form of an address is the address. */
static void test_addresses_in_other_clothes(void **state)
{
    static const char *const hosts[] = {"::ffff:169.254.169.254", "::1", "0.0.0.0", "::", "::ffff:0:0", "10.0.0.1"};
    struct stage *s = *state;
    char endpoints[120];

    for (size_t i = 0; i < DM_COUNT(hosts); i++) {
        snprintf(endpoints, sizeof(endpoints), "{\"host\":\"%s\",\"port\":%u}", hosts[i], rig_origin_port(&s->origin));
        apply_endpoints(s, endpoints);
        rig_apply(&s->rig, "orders", 1, DM_UNIT_GRANTS,
                  "{\"state\":\"active\",\"weight\":100,\"domains\":[{\"name\":\"orders.test\"}],\"endpoints\":["
                  "{\"address\":\"127.0.0.1\",\"port\":0},{\"address\":\"::/0\",\"port\":0}]}");
        stage_try(s, STAGE_GET("/", STAGE_KEY), "\"egress_not_approved\"");
    }
    assert_int_equal(s->origin.n_accepted, 0);
}

static void test_grants_close_what_is_idle(void **state)
{
    static const struct stage_release usual = {0};
    struct dm_mark late = {1, 100};
    struct stage *s = *state;

    stage_apply(s, &usual);
    stage_try(s, STAGE_GET("/", STAGE_KEY), "hello");
    rig_settle(&s->rig);
    assert_false(s->origin.sockets[0]->has_eof);
    rig_apply(&s->rig, "orders", 1, DM_UNIT_GRANTS,
              "{\"state\":\"active\",\"weight\":100,\"domains\":[{\"name\":\"orders.test\"}]}");
    rig_expect_end(&s->rig, s->origin.sockets[0]);
    stage_try(s, STAGE_GET("/", STAGE_KEY), "\"egress_not_approved\"");
    rig_apply(&s->rig, "orders", 1, DM_UNIT_GRANTS, STAGE_GRANTS);
    stage_try(s, STAGE_GET("/", STAGE_KEY), "hello");
    rig_settle(&s->rig);
    /* without grants at all nothing is kept, and with new ones connections are kept again */
    dm_worker_remove(&s->rig.worker, DM_STR("orders"), DM_UNIT_GRANTS, late);
    rig_settle(&s->rig);
    for (size_t i = 0; i < s->origin.n_sockets; i++)
        assert_true(s->origin.sockets[i]->has_eof);
    s->rig.next_sequence = 100;
    rig_apply(&s->rig, "orders", 1, DM_UNIT_GRANTS, STAGE_GRANTS);
    stage_try(s, STAGE_GET("/", STAGE_KEY), "hello");
    stage_try(s, STAGE_GET("/", STAGE_KEY), "hello");
    assert_int_equal(s->origin.n_accepted, 3);
}

/* U2: a release that leaves the backend as it is keeps its connections; another one closes them. */
static void test_releases_and_connections(void **state)
{
    struct stage_release r = {0};
    struct stage *s = *state;
    char endpoints[80];

    stage_apply(s, &r);
    stage_try(s, STAGE_GET("/", STAGE_KEY), "hello");
    stage_release(s, &r);
    stage_try(s, STAGE_GET("/", STAGE_KEY), "hello");
    assert_int_equal(s->origin.n_accepted, 1);
    snprintf(endpoints, sizeof(endpoints), "{\"host\":\"127.0.0.1\",\"port\":%u,\"weight\":7}",
             rig_origin_port(&s->origin));
    r.endpoints = endpoints;
    stage_release(s, &r);
    rig_expect_end(&s->rig, s->origin.sockets[0]);
    stage_try(s, STAGE_GET("/", STAGE_KEY), "hello");
    assert_int_equal(s->origin.n_accepted, 2);
}

/* E3: a kept connection that breaks costs a GET nothing, and a POST is not sent twice. */
static void test_kept_connection_that_broke(void **state)
{
    static const struct stage_release usual = {0};
    struct stage *s = *state;

    stage_apply(s, &usual);
    stage_try(s, STAGE_GET("/1", STAGE_KEY), "hello");
    s->origin.cuts = true;
    stage_try(s, "POST /2 HTTP/1.1\r\nHost: orders.test\r\n" STAGE_KEY "Content-Length: 0\r\n\r\n",
              "\"backend_bad_response\"");
    assert_int_equal(s->origin.n_requests, 2);
    s->origin.cuts = false;
    stage_try(s, STAGE_GET("/3", STAGE_KEY), "hello");
    s->origin.cuts = true;
    stage_try(s, STAGE_GET("/4", STAGE_KEY), "\"backend_bad_response\""); /* once kept, once new: no third time */
    assert_int_equal(rig_count(dm_buf_str(&s->origin.received), "GET /4 "), 2);
    assert_int_equal(counters(s)->upstream_retries, 1);
    assert_true(counters(s)->upstream.out > 0 && counters(s)->upstream.in > 0);
}

/* The client goes while its request waits for a name. */
static void test_client_goes_during_resolution(void **state)
{
    struct stage *s = *state;
    struct rig_socket *c;

    apply_endpoints(s, "{\"host\":\"nobody-answers.invalid\",\"port\":80}");
    for (int i = 0; i < 3; i++) {
        c = rig_connect(&s->rig);
        rig_send(c, DM_STR("POST / HTTP/1.1\r\nHost: orders.test\r\n" STAGE_KEY "Content-Length: 5\r\n\r\n"));
        while (s->rig.worker.n_exchanges == 0)
            assert_true(dm_loop_turn(s->rig.worker.loop, 100) >= 0);
        rig_close(&s->rig, c);
        rig_settle(&s->rig);
        assert_int_equal(s->rig.worker.n_exchanges, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_weights_are_spread_evenly, stage_setup, stage_teardown),
        cmocka_unit_test_setup_teardown(test_one_down_the_other_takes_it, stage_setup, stage_teardown),
        cmocka_unit_test_setup_teardown(test_endpoints_that_fail_are_put_out, stage_setup, stage_teardown),
        cmocka_unit_test_setup_teardown(test_hash, stage_setup, stage_teardown),
        cmocka_unit_test_setup_teardown(test_least_requests, stage_setup, stage_teardown),
        cmocka_unit_test_setup_teardown(test_retries_are_bounded, stage_setup, stage_teardown),
        cmocka_unit_test_setup_teardown(test_all_down, stage_setup, stage_teardown),
        cmocka_unit_test_setup_teardown(test_backend_is_too_slow, stage_setup, stage_teardown),
        cmocka_unit_test_setup_teardown(test_names_with_several_addresses, stage_setup, stage_teardown),
        cmocka_unit_test_setup_teardown(test_addresses_in_other_clothes, stage_setup, stage_teardown),
        cmocka_unit_test_setup_teardown(test_grants_close_what_is_idle, stage_setup, stage_teardown),
        cmocka_unit_test_setup_teardown(test_releases_and_connections, stage_setup, stage_teardown),
        cmocka_unit_test_setup_teardown(test_kept_connection_that_broke, stage_setup, stage_teardown),
        cmocka_unit_test_setup_teardown(test_client_goes_during_resolution, stage_setup, stage_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
