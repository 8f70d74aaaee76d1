/* Backends that fail, through a whole worker: what opens their circuit, what does not, whose it is, and how it closes again. */
#include "rig/stage.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "base/mem.h"

#define QUICK ",\"breaker\":{\"open_ms\":10,\"open_max_ms\":10}"
#define GET STAGE_GET("/", STAGE_KEY)
#define OTHER_GET "GET / HTTP/1.1\r\nHost: other.test\r\n" STAGE_KEY "\r\n"
#define UNAVAILABLE "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n\r\nbusy"

static void apply(struct stage *s, const char *backend)
{
    struct stage_release r = {.backend = backend};

    stage_apply(s, &r);
}

static void try_times(struct stage *s, unsigned n, const char *request, const char *expected)
{
    for (unsigned i = 0; i < n; i++)
        stage_try(s, request, expected);
}

/* Asks until the answer is another one than that the circuit is open. */
static void try_until_made(struct stage *s, const char *request, const char *expected)
{
    bool was_refused = true;

    while (was_refused) {
        struct rig_socket *socket = stage_ask(s, request, "HTTP/1.1 ");
        rig_settle(&s->rig);
        was_refused = rig_count(dm_buf_str(&socket->received), "circuit_open") > 0;
        if (!was_refused)
            rig_expect(&s->rig, socket, expected, 1);
        rig_close(&s->rig, socket);
    }
}

static void expect_changes(struct stage *s, uint64_t opened, uint64_t half_opened, uint64_t closed, bool is_open)
{
    const struct dm_tenant_counters *c = stage_counters(s);

    assert_int_equal(c->circuit_changes[DM_BREAKER_OPEN], opened);
    assert_int_equal(c->circuit_changes[DM_BREAKER_HALF_OPEN], half_opened);
    assert_int_equal(c->circuit_changes[DM_BREAKER_CLOSED], closed);
    assert_int_equal(c->circuits_open, is_open);
}

static void test_a_dead_backend_is_cut_off_and_comes_back(void **state)
{
    struct stage *s = *state;
    char addr[32];
    uint64_t connects;

    apply(s, NULL);
    snprintf(addr, sizeof(addr), "127.0.0.1:%u", rig_origin_port(&s->origin));
    stage_try(s, GET, "hello");
    rig_origin_done(&s->origin);
    try_times(s, 10, GET, "\"backend_unreachable\"");
    connects = stage_counters(s)->upstream_connects;
    stage_try(s, GET, "\r\nRetry-After: 1\r\n");
    stage_try(s, GET, "\"circuit_open\"");
    stage_try(s, STAGE_GET("/", STAGE_KEY "Content-Type: application/grpc\r\nTE: trailers\r\n"), "grpc-status: 14\r\n");
    assert_int_equal(stage_counters(s)->upstream_connects, connects);
    assert_int_equal(stage_counters(s)->reasons[DM_REASON_CIRCUIT_OPEN], 3);
    expect_changes(s, 1, 0, 0, true);
    rig_origin_init_at(&s->rig, &s->origin, dm_str_of(addr), DM_STR(STAGE_OK));
    try_until_made(s, GET, "hello");
    assert_int_equal(s->origin.n_requests, 1); /* one probe */
    expect_changes(s, 1, 1, 1, false);
    try_times(s, 20, GET, "hello");
}

/* A release that leaves the endpoints as they are leaves the circuit as it is. */
static void test_what_opens_it(void **state)
{
    static const struct {
        const char *answer, *expected;
        bool closes, cuts;
    } cases[] = {
        {"", "\"backend_bad_response\"", false, true},
        {"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello", "hello", true, false},
        {"HTTP/9.9 nonsense\r\n\r\n", "\"backend_bad_response\"", false, false},
        {UNAVAILABLE, "busy", false, false},
    };
    struct stage *s = *state;

    for (size_t i = 0; i < DM_COUNT(cases); i++) {
        char path[64];
        snprintf(path, sizeof(path), ",\"base_path\":\"/%zu\",\"host_header\":\"b%zu\"", i, i);
        s->origin.answer = dm_str_of(cases[i].answer);
        s->origin.closes = cases[i].closes;
        s->origin.cuts = cases[i].cuts;
        apply(s, path);
        try_times(s, 10, "POST / HTTP/1.1\r\nHost: orders.test\r\n" STAGE_KEY "Content-Length: 1\r\n\r\nx",
                  cases[i].expected);
        apply(s, path);
        stage_try(s, GET, "\"circuit_open\"");
    }
}

static void test_no_answer_opens_it(void **state)
{
    struct stage *s = *state;

    apply(s, ",\"response_timeout_ms\":10,\"breaker\":{\"consecutive_failures\":3}");
    s->origin.answer = DM_STR_NULL;
    try_times(s, 3, GET, "\"backend_timeout\"");
    stage_try(s, GET, "\"circuit_open\"");
}

struct wait {
    struct stage *stage;
    uint64_t until_ns;
};

static bool has_waited(void *arg)
{
    const struct wait *wait = arg;

    return dm_loop_now_ns(wait->stage->rig.worker.loop) > wait->until_ns;
}

/* The time for all tries: a failure of the backend's, unless it is the caller who is slow; over with the head of the answer. */
static void test_the_time_for_all_tries(void **state)
{
    struct stage *s = *state;
    struct rig_socket *client;

    apply(s, ",\"total_timeout_ms\":20,\"breaker\":{\"consecutive_failures\":2}");
    for (int i = 0; i < 5; i++)
        stage_try(s, "POST / HTTP/1.1\r\nHost: orders.test\r\n" STAGE_KEY "Content-Length: 5\r\n\r\nbody",
                  "\"backend_timeout\"");
    s->origin.answer = DM_STR("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello");
    client = stage_ask(s, GET, "hello");
    struct wait wait = {s, dm_loop_now_ns(s->rig.worker.loop) + 40000000};
    rig_run_until(&s->rig, has_waited, &wait);
    rig_send(s->origin.sockets[s->origin.n_sockets - 1], DM_STR("world"));
    rig_expect(&s->rig, client, "helloworld", 1);
    rig_close(&s->rig, client);
    s->origin.answer = DM_STR_NULL;
    for (int i = 0; i < 2; i++)
        stage_try(s, GET, "\"backend_timeout\"");
    stage_try(s, GET, "\"circuit_open\"");
    expect_changes(s, 1, 0, 0, true);
}

/* The tenant's own cap is not the backend's doing. */
static void test_total_timeout_while_queued(void **state)
{
    struct stage *s = *state;
    struct rig_socket *client;

    apply(s, ",\"total_timeout_ms\":20,\"breaker\":{\"consecutive_failures\":2}");
    rig_apply(&s->rig, "orders", 1, DM_UNIT_GRANTS,
              "{\"state\":\"active\",\"weight\":100,\"caps\":{\"upstream_connections\":1,\"queue_ms\":60000},"
              "\"domains\":[{\"name\":\"orders.test\"}],\"endpoints\":[{\"address\":\"127.0.0.0/8\",\"port\":0}]}");
    s->origin.answer = DM_STR("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello");
    client = stage_ask(s, GET, "hello");
    for (int i = 0; i < 5; i++)
        stage_try(s, GET, "\"tenant_over_cap\"");
    rig_send(s->origin.sockets[s->origin.n_sockets - 1], DM_STR("world"));
    rig_expect(&s->rig, client, "helloworld", 1);
    rig_close(&s->rig, client);
    assert_int_equal(s->origin.n_requests, 1);
    assert_int_equal(stage_counters(s)->circuit_changes[DM_BREAKER_OPEN], 0);
    assert_int_equal(stage_counters(s)->endpoints_out, 0);
}

static void test_statuses_by_setting(void **state)
{
    static const char *const settings[] = {"none", "unavailable", "server_errors"};
    static const char *const answers[] = {"HTTP/1.1 404 No\r\nContent-Length: 4\r\n\r\nnope",
                                          "HTTP/1.1 500 No\r\nContent-Length: 4\r\n\r\nnope",
                                          "HTTP/1.1 504 No\r\nContent-Length: 4\r\n\r\nnope"};
    struct stage *s = *state;

    for (size_t i = 0; i < DM_COUNT(settings); i++)
        for (size_t k = 0; k < DM_COUNT(answers); k++) {
            char backend[160];
            snprintf(
                backend, sizeof(backend),
                ",\"host_header\":\"b%zu%zu\",\"breaker\":{\"failure_statuses\":\"%s\",\"consecutive_failures\":2}", i,
                k, settings[i]);
            apply(s, backend);
            s->origin.answer = dm_str_of(answers[k]);
            try_times(s, 2, GET, "nope");
            stage_try(s, GET, k > 0 && i + k > 2 ? "\"circuit_open\"" : "nope");
        }
}

static void test_slow_answers(void **state)
{
    struct stage *s = *state;

    apply(s, ",\"breaker\":{\"slow_ms\":1,\"slow_percent\":100,\"min_requests\":3}");
    s->origin.answer = DM_STR_NULL;
    for (int i = 0; i < 3; i++) {
        struct rig_socket *client = rig_connect(&s->rig);
        size_t before = s->origin.n_requests;
        rig_send(client, dm_str_of(GET));
        while (s->origin.n_requests == before)
            dm_loop_turn(s->rig.worker.loop, 1);
        struct wait wait = {s, dm_loop_now_ns(s->rig.worker.loop) + 3000000};
        rig_run_until(&s->rig, has_waited, &wait);
        rig_send(s->origin.sockets[0], DM_STR(STAGE_OK));
        rig_expect(&s->rig, client, "hello", 1);
        rig_close(&s->rig, client);
    }
    stage_try(s, GET, "\"circuit_open\"");
}

static bool was_asked(void *arg)
{
    const struct rig_origin *origin = arg;

    return origin->n_requests > 0;
}

static bool is_quiet(void *arg)
{
    return ((struct stage *)arg)->rig.worker.n_exchanges == 0;
}

static void go_away(struct stage *s, struct rig_socket *client)
{
    dm_stream_reset(&client->stream);
    rig_run_until(&s->rig, is_quiet, s);
    rig_close(&s->rig, client);
}

/* Callers that go away; grants that are missing; own statuses. */
static void test_what_does_not_open_it(void **state)
{
    struct stage *s = *state;

    apply(s, ",\"breaker\":{\"consecutive_failures\":2}");
    s->origin.answer = DM_STR_NULL;
    for (int i = 0; i < 10; i++) {
        struct rig_socket *client = rig_connect(&s->rig);
        rig_send(client, dm_str_of(GET));
        s->origin.n_requests = 0;
        rig_run_until(&s->rig, was_asked, &s->origin);
        go_away(s, client);
    }
    s->origin.answer = DM_STR(STAGE_OK);
    rig_apply(&s->rig, "orders", 1, DM_UNIT_GRANTS,
              "{\"state\":\"active\",\"weight\":100,\"domains\":[{\"name\":\"orders.test\"}],\"endpoints\":[]}");
    try_times(s, 10, GET, "\"egress_not_approved\"");
    rig_apply(&s->rig, "orders", 1, DM_UNIT_GRANTS, STAGE_GRANTS);
    stage_try(s, GET, "hello");
    expect_changes(s, 0, 0, 0, false);
}

/* B3: a probe whose caller goes away makes room for another. */
static void test_a_probe_that_says_nothing(void **state)
{
    struct stage *s = *state;
    struct rig_socket *client;

    apply(s, QUICK);
    s->origin.answer = DM_STR(UNAVAILABLE);
    try_times(s, 10, GET, "busy");
    s->origin.answer = DM_STR_NULL;
    s->origin.n_requests = 0;
    while (s->origin.n_requests == 0) {
        client = rig_connect(&s->rig);
        rig_send(client, dm_str_of(GET));
        while (s->origin.n_requests == 0 && client->n_received == 0)
            dm_loop_turn(s->rig.worker.loop, 10);
        if (s->origin.n_requests > 0)
            stage_try(s, GET, "\"circuit_open\""); /* while it is out (B2) */
        go_away(s, client);
    }
    s->origin.answer = DM_STR(UNAVAILABLE);
    try_until_made(s, GET, "busy");
    s->origin.answer = DM_STR(STAGE_OK);
    try_until_made(s, GET, "hello");
    expect_changes(s, 2, 2, 1, false);
}

static void apply_other_tenant(struct stage *s)
{
    char body[700], digest[65];

    rig_digest("good", digest);
    rig_apply(&s->rig, "other", 2, DM_UNIT_GRANTS,
              "{\"state\":\"active\",\"weight\":100,\"domains\":[{\"name\":\"other.test\"}],"
              "\"endpoints\":[{\"address\":\"127.0.0.0/8\",\"port\":0}]}");
    snprintf(
        body, sizeof(body),
        "{\"backends\":[{\"name\":\"b\",\"endpoints\":[{\"host\":\"127.0.0.1\",\"port\":%u}]}],\"products\":[{"
        "\"name\":\"orders\",\"domains\":[\"other.test\"],\"metrics\":[],\"versions\":[{\"name\":\"v1\","
        "\"policies\":[{\"type\":\"api_key\",\"in\":[\"header\"],\"header\":\"X-Api-Key\"}],\"mapping_rules\":[{"
        "\"method\":\"ANY\",\"pattern\":\"/\",\"metric\":\"hits\"}],\"backends\":[{\"path\":\"/\",\"backend\":\"b\"}]}]"
        ",\"plans\":[{\"name\":\"basic\"}]}]}",
        rig_origin_port(&s->origin));
    rig_apply(&s->rig, "other", 2, DM_UNIT_RELEASE, body);
    snprintf(body, sizeof(body),
             "{\"digest_key_id\":1,\"digest_key\":\"%s\",\"applications\":[{\"id\":1,\"name\":\"app\",\"state\":"
             "\"active\",\"subscriptions\":[{\"product\":\"orders\",\"plan\":\"basic\"}],\"credentials\":[{\"id\":1,"
             "\"name\":\"k\",\"type\":\"api_key\",\"digest\":\"%s\"}]}]}",
             "1111111111111111111111111111111111111111111111111111111111111111", digest);
    rig_apply(&s->rig, "other", 2, DM_UNIT_APPLICATIONS, body);
}

/* B1 of the promise: the same address, the same names, and yet nothing of one tenant's failures counts for the other. */
static void test_two_tenants_at_one_address(void **state)
{
    struct stage *s = *state;
    const struct dm_tenant_counters *other = &s->rig.counters->tenants[2];

    apply(s, NULL);
    apply_other_tenant(s);
    s->origin.next_answer = DM_STR(UNAVAILABLE);
    for (int i = 0; i < 10; i++) {
        stage_try(s, STAGE_GET("/next", STAGE_KEY), "busy");
        stage_try(s, OTHER_GET, "hello");
    }
    for (int i = 0; i < 10; i++) {
        stage_try(s, GET, "\"circuit_open\"");
        stage_try(s, OTHER_GET, "hello");
    }
    expect_changes(s, 1, 0, 0, true);
    assert_int_equal(other->circuit_changes[DM_BREAKER_OPEN] + other->circuits_open, 0);
    assert_int_equal(other->status[2], 20);
}

static void test_by_hand(void **state)
{
    struct stage *s = *state;

    apply(s, ",\"breaker\":{\"mode\":\"open\"}");
    stage_try(s, GET, "\r\nRetry-After: 60\r\n");
    assert_int_equal(s->origin.n_accepted, 0);
    apply(s, ",\"breaker\":{\"mode\":\"closed\"}");
    s->origin.answer = DM_STR(UNAVAILABLE);
    try_times(s, 30, GET, "busy");
    apply(s, NULL);
    try_times(s, 10, GET, "busy");
    stage_try(s, GET, "\"circuit_open\"");
    apply(s, ",\"breaker\":{\"mode\":\"closed\"}");
    stage_try(s, GET, "busy");
    expect_changes(s, 2, 0, 2, false);
}

/* No tenant's backends fill the log: the loop's time stands still here. */
static void test_lines_of_the_log_are_bounded(void **state)
{
    struct stage *s = *state;
    const struct dm_live_tenant *tenant;

    for (int i = 0; i < 20; i++)
        apply(s, i % 2 ? ",\"breaker\":{\"mode\":\"closed\"}" : ",\"breaker\":{\"mode\":\"open\"}");
    tenant = dm_map_get(&s->rig.worker.tenants, DM_STR("orders"));
    assert_int_equal(tenant->share.n_told, 10);
    assert_int_equal(tenant->share.n_untold, 10);
    expect_changes(s, 10, 0, 10, false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_dead_backend_is_cut_off_and_comes_back, stage_setup, stage_teardown),
        cmocka_unit_test_setup_teardown(test_what_opens_it, stage_setup, stage_teardown),
        cmocka_unit_test_setup_teardown(test_no_answer_opens_it, stage_setup, stage_teardown),
        cmocka_unit_test_setup_teardown(test_the_time_for_all_tries, stage_setup, stage_teardown),
        cmocka_unit_test_setup_teardown(test_total_timeout_while_queued, stage_setup, stage_teardown),
        cmocka_unit_test_setup_teardown(test_statuses_by_setting, stage_setup, stage_teardown),
        cmocka_unit_test_setup_teardown(test_slow_answers, stage_setup, stage_teardown),
        cmocka_unit_test_setup_teardown(test_what_does_not_open_it, stage_setup, stage_teardown),
        cmocka_unit_test_setup_teardown(test_a_probe_that_says_nothing, stage_setup, stage_teardown),
        cmocka_unit_test_setup_teardown(test_two_tenants_at_one_address, stage_setup, stage_teardown),
        cmocka_unit_test_setup_teardown(test_by_hand, stage_setup, stage_teardown),
        cmocka_unit_test_setup_teardown(test_lines_of_the_log_are_bounded, stage_setup, stage_teardown),
    };

    return cmocka_run_group_tests_name("gateway/circuit", tests, NULL, NULL);
}
