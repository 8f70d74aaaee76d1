/* Whose work is done when, and who is charged: two tenants on one worker. */
#include "rig/stage.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "base/mem.h"

#define N_GREEDY 200 /* connections */
#define GREEDY_GET "GET /greedy HTTP/1.1\r\nHost: greedy.test\r\n" STAGE_KEY "\r\n"

/* A tenant with the stage's backend and key. */
static void apply_greedy(struct stage *s)
{
    char body[700], digest[65];

    rig_apply(&s->rig, "greedy", 2, DM_UNIT_GRANTS,
              "{\"state\":\"active\",\"weight\":100,\"domains\":[{\"name\":\"greedy.test\"}],"
              "\"endpoints\":[{\"address\":\"127.0.0.0/8\",\"port\":0}]}");
    snprintf(
        body, sizeof(body),
        "{\"backends\":[{\"name\":\"b\",\"endpoints\":[{\"host\":\"127.0.0.1\",\"port\":%u}]}],\"products\":[{"
        "\"name\":\"p\",\"domains\":[\"greedy.test\"],\"versions\":[{\"name\":\"v1\",\"policies\":[{\"type\":\"api_key\",\"in\":["
        "\"header\"],\"header\":\"X-Api-Key\"}],"
        "\"mapping_rules\":[{\"method\":\"ANY\",\"pattern\":\"/\",\"metric\":\"hits\"}],"
        "\"backends\":[{\"path\":\"/\",\"backend\":\"b\"}]}],\"plans\":[{\"name\":\"basic\"}]}]}",
        rig_origin_port(&s->origin));
    rig_apply(&s->rig, "greedy", 2, DM_UNIT_RELEASE, body);
    rig_digest("good", digest);
    snprintf(
        body, sizeof(body),
        "{\"digest_key_id\":1,\"digest_key\":\"%s\",\"applications\":[{\"id\":1,\"name\":\"app\",\"state\":\"active\","
        "\"subscriptions\":[{\"product\":\"p\",\"plan\":\"basic\"}],\"credentials\":[{\"id\":1,\"name\":\"k\","
        "\"type\":\"api_key\",\"digest\":\"%s\"}]}]}",
        "1111111111111111111111111111111111111111111111111111111111111111", digest);
    rig_apply(&s->rig, "greedy", 2, DM_UNIT_APPLICATIONS, body);
}

static int setup(void **state)
{
    static const struct stage_release usual = {0};

    if (stage_setup(state) < 0)
        return -1;
    stage_apply(*state, &usual);
    apply_greedy(*state);
    return 0;
}

static struct dm_tenant_counters *counters(struct stage *s, size_t i)
{
    return &s->rig.counters->tenants[i];
}

/* How many requests the backend got before this one. */
static size_t place_of(struct stage *s, const char *asked)
{
    struct dm_str before = dm_buf_str(&s->origin.requests);
    const char *at = memmem(before.ptr, before.len, asked, strlen(asked));

    assert_non_null(at);
    return rig_count(dm_str_n(before.ptr, (size_t)(at - before.ptr)), "\n");
}

/* A request that comes behind two hundred of another tenant does not wait for all of them. */
static void small_beside_greedy(struct stage *s)
{
    struct rig_socket *greedy[N_GREEDY], *small;

    for (size_t i = 0; i < N_GREEDY; i++) { /* the connections belong to the tenant from here on */
        greedy[i] = rig_connect(&s->rig);
        rig_send(greedy[i], DM_STR(GREEDY_GET));
        rig_expect(&s->rig, greedy[i], "hello", 1);
    }
    small = stage_ask(s, STAGE_GET("/first", STAGE_KEY), "hello");
    rig_settle(&s->rig);
    rig_origin_reset(&s->origin);
    for (size_t i = 0; i < N_GREEDY; i++) {
        rig_send(greedy[i], DM_STR(GREEDY_GET));
        dm_stream_flush(&greedy[i]->stream);
    }
    rig_send(small, DM_STR(STAGE_GET("/second", STAGE_KEY)));
    dm_stream_flush(&small->stream);
    for (size_t i = 0; i < N_GREEDY; i++)
        rig_expect(&s->rig, greedy[i], "hello", 2);
    rig_expect(&s->rig, small, "hello", 2);
    assert_true(place_of(s, "/second") < N_GREEDY);
    for (size_t i = 0; i < N_GREEDY; i++)
        rig_close(&s->rig, greedy[i]);
    rig_close(&s->rig, small);
}

static void a_small_tenant_does_not_wait_for_a_greedy_one(void **state)
{
    small_beside_greedy(*state);
}

/* --- connections of trusted fronts -------------------------------------------------------------------------------- */

static void trust_all(struct stage *s)
{
    assert_int_equal(dm_listener_parse_sources(DM_STR("127.0.0.0/8"), &s->rig.options.listen[0].trusted_fronts, NULL),
                     0);
}

static void nor_does_it_behind_a_trusted_front(void **state)
{
    trust_all(*state);
    small_beside_greedy(*state);
}

static struct dm_live_tenant *live(struct stage *s, const char *name)
{
    struct dm_live_tenant *tenant = dm_map_get(&s->rig.worker.tenants, dm_str_of(name));

    assert_non_null(tenant);
    return tenant;
}

static void in_debt(struct stage *s)
{
    live(s, "greedy")->flow.credit = INT64_MIN / 2;
}

static bool is_waiting(struct stage *s)
{
    return dm_scheduler_peek(&live(s, "greedy")->flow) != NULL;
}

/* The request has been read, and waits for its tenant's turn. */
static struct rig_socket *waiting(struct stage *s, const char *request)
{
    struct rig_socket *socket;

    trust_all(s);
    socket = rig_connect(&s->rig);
    rig_settle(&s->rig);
    in_debt(s);
    dm_loop_set_bounds(s->rig.worker.loop, 256, 1);
    rig_send(socket, dm_str_of(request));
    for (int i = 0; i < 1000 && !is_waiting(s); i++)
        dm_loop_turn(s->rig.worker.loop, 1);
    assert_true(is_waiting(s));
    assert_int_equal(s->rig.worker.n_exchanges, 1);
    return socket;
}

static void go_on(struct stage *s, struct rig_socket *socket, const char *expected)
{
    dm_loop_set_bounds(s->rig.worker.loop, 256, 256);
    rig_expect(&s->rig, socket, expected, 1);
    rig_close(&s->rig, socket);
    rig_settle(&s->rig);
    assert_int_equal(s->rig.worker.n_exchanges, 0);
}

/* With its body, its fields, and what follows it on the connection. */
static void a_fronts_request_that_waited_is_whole(void **state)
{
    struct stage *s = *state;
    struct rig_socket *socket = waiting(s, "POST /greedy/a%20b?q=1&r HTTP/1.1\r\nHost: Greedy.Test\r\n" STAGE_KEY
                                           "X-One: 1\r\nX-Empty:\r\nContent-Length: 5\r\n\r\nhello" GREEDY_GET);

    dm_loop_set_bounds(s->rig.worker.loop, 256, 256);
    rig_expect(&s->rig, socket, "hello", 2);
    assert_int_equal(rig_count(dm_buf_str(&s->origin.requests), "POST /greedy/a%20b?q=1&r 5\n"), 1);
    assert_int_equal(rig_count(dm_buf_str(&s->origin.requests), "GET /greedy 0\n"), 1);
    assert_int_equal(rig_count(dm_buf_str(&s->origin.received), "\r\nX-One: 1\r\n"), 1);
    assert_int_equal(rig_count(dm_buf_str(&s->origin.received), "\r\nX-Empty: \r\n"), 1);
    rig_close(&s->rig, socket);
}

/* What goes on of them is said when the request is decided. */
static void its_trailers_go_on(void **state)
{
    struct stage *s = *state;
    struct rig_socket *socket =
        waiting(s, "POST /greedy HTTP/1.1\r\nHost: greedy.test\r\n" STAGE_KEY "TE: trailers\r\nConnection: te\r\n"
                   "Transfer-Encoding: chunked\r\n\r\n0\r\nX-Trailer: 1\r\n\r\n");

    rig_settle(&s->rig);
    dm_loop_set_bounds(s->rig.worker.loop, 256, 256);
    rig_expect(&s->rig, socket, "hello", 1);
    assert_int_equal(rig_count(dm_buf_str(&s->origin.received), "0\r\nX-Trailer: 1\r\n\r\n"), 1);
    rig_close(&s->rig, socket);
}

static void a_front_that_goes_takes_what_waits_along(void **state)
{
    struct stage *s = *state;
    struct rig_socket *socket = waiting(s, GREEDY_GET);

    dm_stream_reset(&socket->stream);
    rig_close(&s->rig, socket);
    dm_loop_set_bounds(s->rig.worker.loop, 256, 256);
    rig_settle(&s->rig);
    assert_int_equal(s->rig.worker.n_exchanges, 0);
    assert_int_equal(counters(s, 2)->exchanges_begun, 0);
}

static void a_tenant_that_goes_while_it_is_waited_for(void **state)
{
    struct stage *s = *state;
    struct rig_socket *socket = waiting(s, GREEDY_GET);

    for (int kind = DM_UNIT_RELEASE; kind < DM_UNIT_KINDS; kind++)
        dm_worker_remove(&s->rig.worker, DM_STR("greedy"), (enum dm_unit_kind)kind,
                         (struct dm_mark){UINT64_MAX, UINT64_MAX});
    go_on(s, socket, "\"reason\":\"host_unknown\"");
}

static void a_gateway_that_goes_answers_what_waits(void **state)
{
    struct stage *s = *state;
    struct rig_socket *socket = waiting(s, GREEDY_GET);

    dm_worker_end_exchanges(&s->rig.worker);
    go_on(s, socket, "\"reason\":\"draining\"");
}

/* --- who pays ----------------------------------------------------------------------------------------------------- */

/* All time that the thread has run is somebody's, and who asks for more pays more. */
static void time_is_charged_to_who_asks(void **state)
{
    struct dm_sys *sys = dm_sys_real();
    struct stage *s = *state;
    uint64_t cpu_ns, sum_ns, before_ns;
    const struct dm_worker_counters *worker = &s->rig.counters->worker;

    dm_loop_settle(s->rig.worker.loop);
    cpu_ns = sys->ops->cpu_ns(sys);
    before_ns = counters(s, 1)->cpu_ns + counters(s, 2)->cpu_ns + worker->platform_cpu_ns + worker->lobby_cpu_ns;
    for (int i = 0; i < 300; i++) {
        if (i % 10 == 0)
            stage_try(s, STAGE_GET("/", STAGE_KEY), "hello");
        stage_try(s, GREEDY_GET, "hello");
    }
    dm_loop_settle(s->rig.worker.loop);
    cpu_ns = sys->ops->cpu_ns(sys) - cpu_ns;
    sum_ns =
        counters(s, 1)->cpu_ns + counters(s, 2)->cpu_ns + worker->platform_cpu_ns + worker->lobby_cpu_ns - before_ns;
    assert_in_range(sum_ns, cpu_ns - cpu_ns / 33, cpu_ns + cpu_ns / 33);
    assert_true(counters(s, 1)->cpu_ns > 0 && worker->lobby_cpu_ns > 0);
    assert_true(counters(s, 2)->cpu_ns > 3 * counters(s, 1)->cpu_ns);
}

/* As after intervals in which its work waited too long; it stays so, as nothing is followed while this is. */
static void overload(struct stage *s, const char *tenant, uint16_t share)
{
    static const struct dm_task nobodys;

    live(s, tenant)->flow.overload = (struct dm_overload){.share = share, .followed = share > 0 ? &nobodys : NULL};
}

/* Of who asks for more than can be done, the share that the loop says is refused, before its body is read; of the others nothing. */
static void some_of_who_asks_for_too_much_is_refused(void **state)
{
    struct stage *s = *state;
    const struct dm_tenant_counters *c = counters(s, 2);
    struct rig_socket *greedy;

    stage_try(s, GREEDY_GET, "hello");
    assert_true(c->queue_delay[0] > 0);
    overload(s, "greedy", DM_OVERLOAD_ONE / 2);
    for (int i = 0; i < 10; i++) {
        stage_try(s, GREEDY_GET, i % 2 ? "\"reason\":\"overloaded\"" : "hello");
        stage_try(s, STAGE_GET("/", STAGE_KEY), "hello");
    }
    stage_try(s, GREEDY_GET, "hello");
    greedy = stage_ask(s, "POST /greedy HTTP/1.1\r\nHost: greedy.test\r\n" STAGE_KEY "Content-Length: 1000000\r\n\r\n",
                       "HTTP/1.1 503 ");
    rig_expect(&s->rig, greedy, "Retry-After: 1\r\n", 1);
    rig_close(&s->rig, greedy);
    assert_int_equal(c->shed_requests, 6);
    assert_int_equal(c->reasons[DM_REASON_OVERLOADED], 6);
    assert_int_equal(counters(s, 1)->reasons[DM_REASON_OVERLOADED], 0);
    overload(s, "greedy", 0);
    for (int i = 0; i < 10; i++)
        stage_try(s, GREEDY_GET, "hello");
}

/* What a tenant has left to do when it goes is nobody's, and its memory is not looked at again. */
static void a_tenant_that_goes_with_work_in_hand(void **state)
{
    struct rig_socket *c[20];
    struct stage *s = *state;

    for (size_t i = 0; i < DM_COUNT(c); i++) {
        c[i] = rig_connect(&s->rig);
        rig_send(c[i], DM_STR(GREEDY_GET));
        dm_stream_flush(&c[i]->stream);
    }
    dm_loop_turn(s->rig.worker.loop, 0);
    for (int kind = DM_UNIT_RELEASE; kind < DM_UNIT_KINDS; kind++)
        dm_worker_remove(&s->rig.worker, DM_STR("greedy"), (enum dm_unit_kind)kind,
                         (struct dm_mark){UINT64_MAX, UINT64_MAX});
    for (size_t i = 0; i < DM_COUNT(c); i++)
        rig_close(&s->rig, c[i]);
    stage_try(s, STAGE_GET("/", STAGE_KEY), "hello");
    rig_settle(&s->rig);
    assert_int_equal(s->rig.worker.n_exchanges, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, stage_teardown)
        TEST(a_small_tenant_does_not_wait_for_a_greedy_one), TEST(nor_does_it_behind_a_trusted_front),
        TEST(a_fronts_request_that_waited_is_whole),         TEST(its_trailers_go_on),
        TEST(a_front_that_goes_takes_what_waits_along),      TEST(a_tenant_that_goes_while_it_is_waited_for),
        TEST(a_gateway_that_goes_answers_what_waits),        TEST(time_is_charged_to_who_asks),
        TEST(some_of_who_asks_for_too_much_is_refused),      TEST(a_tenant_that_goes_with_work_in_hand),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
