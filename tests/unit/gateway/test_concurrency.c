/* A backend that is given so many calls at a time, through a whole worker: who waits, who is refused, and when a place is left again. What
 * limit is found is test_limiter's. */
#include "caps_rig.h"

#include "gateway/upstream/upstream_int.h"
#include "model/backend.h"

#include <unistd.h>

#define LIMIT(n) ",\"concurrency\":{\"limit\":\"adaptive\",\"min\":" #n ",\"max\":" #n "}"
#define BUSY "\"backend_busy\""
#define HEAD "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"

static void apply(struct stage *s, const char *caps, const char *backend)
{
    struct stage_release r = {.backend = backend};

    apply_grants(s, caps);
    stage_release(s, &r);
    stage_applications(s, NULL, NULL);
}

static struct dm_upstream *upstream(struct stage *s)
{
    const struct dm_live_tenant *tenant = dm_map_get(&s->rig.worker.tenants, DM_STR("orders"));

    return tenant->release->upstreams[0];
}

static uint64_t waiting(struct stage *s)
{
    return stage_counters(s)->waiting[DM_WAIT_BACKEND];
}

struct expected {
    struct stage *s;
    uint64_t n;
};

static bool is_waiting(void *arg)
{
    const struct expected *e = arg;

    return waiting(e->s) == e->n;
}

static void run_until_waiting(struct stage *s, uint64_t n)
{
    struct expected e = {s, n};

    rig_run_until(&s->rig, is_waiting, &e);
}

static struct rig_socket *queue_up(struct stage *s, const char *request)
{
    struct rig_socket *socket = rig_connect(&s->rig);
    uint64_t n = waiting(s);

    rig_send(socket, dm_str_of(request));
    run_until_waiting(s, n + 1);
    return socket;
}

/* The n-th connection's request is answered, and all that come then. */
static void answer(struct stage *s, size_t n, struct rig_socket *socket)
{
    s->origin.answer = DM_STR(STAGE_OK);
    finish(s, n, socket);
}

static void check_idle(struct stage *s)
{
    rig_settle(&s->rig);
    assert_int_equal(waiting(s), 0);
    assert_int_equal(stage_counters(s)->limited_calls, 0);
    assert_int_equal(upstream(s)->limiter.in_flight, 0);
    assert_int_equal(s->rig.worker.n_exchanges, 0);
}

static void test_above_it_requests_wait(void **state)
{
    struct stage *s = *state;
    struct rig_socket *a, *b, *c, *d;

    apply(s, "\"queue\":5,\"queue_ms\":60000", LIMIT(2));
    a = begin(s);
    b = begin(s);
    c = queue_up(s, STAGE_GET("/c", STAGE_KEY));
    d = queue_up(s, STAGE_GET("/d", STAGE_KEY));
    rig_settle(&s->rig);
    assert_int_equal(s->origin.n_requests, 2);
    assert_int_equal(stage_counters(s)->limited_calls, 2);
    dm_buf_reset(&s->origin.requests);
    answer(s, 0, a);
    rig_expect(&s->rig, c, OK, 1);
    rig_expect(&s->rig, d, OK, 1);
    assert_true(dm_str_eq(dm_buf_str(&s->origin.requests), DM_STR("GET /c 0\nGET /d 0\n"))); /* in order */
    assert_int_equal(stage_counters(s)->waits[DM_WAIT_BACKEND], 2);
    assert_int_equal(stage_counters(s)->waits_expired[DM_WAIT_BACKEND], 0);
    answer(s, 1, b);
    leave(s, a);
    leave(s, b);
    leave(s, c);
    leave(s, d);
    check_idle(s);
}

/* The place is left with the head: what streams on behind it is no queue at the backend. */
static void test_a_body_holds_no_place(void **state)
{
    struct stage *s = *state;
    struct rig_socket *a, *b;

    apply(s, "\"queue\":5,\"queue_ms\":60000", LIMIT(1));
    a = begin(s);
    b = queue_up(s, GET);
    s->origin.answer = DM_STR(STAGE_OK);
    rig_send(s->origin.sockets[0], DM_STR(HEAD));
    rig_expect(&s->rig, b, OK, 1);
    rig_send(s->origin.sockets[0], DM_STR("hello"));
    rig_expect(&s->rig, a, OK, 1);
    leave(s, a);
    leave(s, b);
    check_idle(s);
}

static void test_beyond_the_queue(void **state)
{
    struct stage *s = *state;
    struct rig_socket *a, *b;

    apply(s, "\"queue\":1,\"queue_ms\":60000", LIMIT(1));
    a = begin(s);
    b = queue_up(s, GET);
    stage_try(s, GET, "\r\nRetry-After: 1\r\n");
    stage_try(s, GET, BUSY);
    stage_try(s, STAGE_GET("/", STAGE_KEY "Content-Type: application/grpc\r\nTE: trailers\r\n"), "grpc-status: 14\r\n");
    assert_int_equal(stage_counters(s)->reasons[DM_REASON_BACKEND_BUSY], 3);
    answer(s, 0, a);
    rig_expect(&s->rig, b, OK, 1);
    leave(s, a);
    leave(s, b);
    apply_grants(s, "\"queue\":0");
    a = begin(s);
    stage_try(s, GET, BUSY);
    answer(s, s->origin.n_sockets - 1, a);
    leave(s, a);
    check_idle(s);
}

/* Other workers' requests that wait are of the same queue (A2). */
static void test_the_queue_is_of_all_workers(void **state)
{
    struct stage *s = *state;
    struct dm_counters_page *other = add_other_worker(s);
    struct rig_socket *a;

    apply(s, "\"queue\":3,\"queue_ms\":60000", LIMIT(1));
    a = begin(s);
    other->tenants[1].waiting[DM_WAIT_BACKEND] = 3;
    stage_try(s, GET, BUSY);
    answer(s, 0, a);
    leave(s, a);
    check_idle(s);
    s->rig.worker.pages.n_others = 0;
    dm_free(other);
}

static void test_its_time_is_over(void **state)
{
    struct stage *s = *state;
    struct rig_socket *a, *b;

    apply(s, "\"queue\":5,\"queue_ms\":30", LIMIT(1));
    a = begin(s);
    b = queue_up(s, GET);
    rig_expect(&s->rig, b, BUSY, 1);
    assert_int_equal(stage_counters(s)->waits_expired[DM_WAIT_BACKEND], 1);
    assert_int_equal(s->origin.n_requests, 1);
    answer(s, 0, a);
    ask(s, b, GET, OK);
    leave(s, a);
    leave(s, b);
    check_idle(s);
}

static void test_callers_that_go(void **state)
{
    struct stage *s = *state;
    struct rig_socket *a, *b, *c;

    apply(s, "\"queue\":5,\"queue_ms\":60000", LIMIT(1));
    a = begin(s);
    b = queue_up(s, GET);
    c = queue_up(s, GET);
    dm_stream_reset(&b->stream);
    run_until_waiting(s, 1);
    rig_close(&s->rig, b);
    s->origin.answer = DM_STR(STAGE_OK);
    dm_stream_reset(&a->stream); /* with its call in flight: the place is left */
    rig_expect(&s->rig, c, OK, 1);
    rig_close(&s->rig, a);
    leave(s, c);
    check_idle(s);
}

/* However calls end, their places are left: the next ones are made. */
static void test_calls_that_fail(void **state)
{
    static const struct {
        const char *answer, *expected;
        bool cuts;
    } cases[] = {
        {"", "\"backend_bad_response\"", true},
        {"HTTP/9.9 nonsense\r\n\r\n", "\"backend_bad_response\"", false},
        {"HTTP/1.1 503 No\r\nContent-Length: 4\r\n\r\nbusy", "busy", false},
        {"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello", "hello", false},
    };
    struct stage *s = *state;

    apply(s, "\"queue\":0", ",\"breaker\":{\"mode\":\"closed\"}" LIMIT(1));
    for (size_t i = 0; i < DM_COUNT(cases); i++) {
        s->origin.answer = dm_str_of(cases[i].answer);
        s->origin.cuts = cases[i].cuts;
        for (int n = 0; n < 3; n++)
            stage_try(s, GET, cases[i].expected);
        rig_settle(&s->rig);
        assert_int_equal(upstream(s)->limiter.in_flight, 0);
    }
    s->origin.cuts = false;
    s->origin.answer = DM_STR(STAGE_OK);
    apply(s, "\"queue\":0", LIMIT(1));
    rig_origin_done(&s->origin);
    for (int n = 0; n < 10; n++)
        stage_try(s, GET, "\"backend_unreachable\"");
    for (int n = 0; n < 3; n++)
        stage_try(s, GET, "\"circuit_open\""); /* refused before it has a place */
    check_idle(s);
    rig_origin_init(&s->rig, &s->origin, DM_STR(STAGE_OK));
}

static void test_it_is_switched_off_and_on(void **state)
{
    struct stage *s = *state;
    struct rig_socket *a, *b, *c;

    apply(s, "\"queue\":5,\"queue_ms\":60000", LIMIT(1));
    a = begin(s);
    b = queue_up(s, GET);
    s->origin.answer = DM_STR(STAGE_OK);
    stage_release(s, &(struct stage_release){0}); /* with one in flight and one that waits */
    rig_expect(&s->rig, b, OK, 1);
    s->origin.answer = DM_STR_NULL;
    c = begin(s);
    stage_release(s, &(struct stage_release){.backend = LIMIT(2)});
    assert_int_equal(upstream(s)->limiter.in_flight, 1); /* that has a place */
    answer(s, 0, a);
    answer(s, 1, c);
    leave(s, a);
    leave(s, b);
    leave(s, c);
    check_idle(s);
}

/* What was found out by other workers is begun with, and what is found is told: every window a little. */
static void test_workers_tell_one_another(void **state)
{
    struct stage *s = *state;
    struct dm_circuit_name name = {1, DM_STR("orders"), DM_STR("b")};
    struct dm_circuit other;
    struct dm_circuit_limit found;
    struct dm_err err = {0};
    char path[96];
    struct rig_socket *client;

    snprintf(path, sizeof(path), "%s/circuits", s->rig.dir);
    if (dm_worker_share_circuits(&s->rig.worker, path, &err) < 0)
        fail_msg("%s", err.message);
    apply(s, "\"queue\":0", "");
    dm_circuit_join(&s->rig.worker.circuits, &other, &name, upstream(s)->what,
                    dm_loop_now_ns(s->rig.worker.loop) / 1000000);
    dm_circuit_set_limit(&other, (struct dm_circuit_limit){40, 77, true});
    stage_release(s, &(struct stage_release){.backend = ",\"concurrency\":{\"limit\":\"adaptive\"}"});
    assert_true(upstream(s)->limiter.limit > 76 && upstream(s)->limiter.limit < 78);
    assert_true(upstream(s)->limiter.base > 39 && upstream(s)->limiter.is_proven);
    client = rig_connect(&s->rig);
    do { /* until a window was judged: a lower base than 18 minutes is found */
        ask(s, client, GET, OK);
        found = dm_circuit_limit(&other);
    } while (found.base > 39);
    assert_true(found.base > 10 && found.base < 35);
    leave(s, client);
    check_idle(s);
    unlink(path);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, stage_setup, stage_teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_above_it_requests_wait),   TEST(test_a_body_holds_no_place),
        TEST(test_beyond_the_queue),         TEST(test_the_queue_is_of_all_workers),
        TEST(test_its_time_is_over),         TEST(test_callers_that_go),
        TEST(test_calls_that_fail),          TEST(test_it_is_switched_off_and_on),
        TEST(test_workers_tell_one_another),
    };

    return cmocka_run_group_tests_name("gateway/concurrency", tests, NULL, NULL);
}
