/* Requests above a cap wait for room: in order, within a bound, holding nothing; and how each of them ends. */
#include "caps_rig.h"
#include "rig/h2_origin.h"

#define POST(fields, body) "POST / HTTP/1.1\r\nHost: orders.test\r\n" STAGE_KEY fields "\r\n" body
#define DEADLINES ",\"queue_ms\":60000"
#define LIMITED ",\"limits\":[{\"metric\":\"hits\",\"period\":\"day\",\"value\":2}]"

static struct dm_tenant_counters *counted(struct stage *s)
{
    return stage_counters(s);
}

struct expected {
    struct stage *s;
    enum dm_wait what;
    uint64_t n;
};

static bool is_waiting(void *arg)
{
    const struct expected *e = arg;

    return counted(e->s)->waiting[e->what] == e->n;
}

static void run_until_waiting(struct stage *s, enum dm_wait what, uint64_t n)
{
    struct expected e = {s, what, n};

    rig_run_until(&s->rig, is_waiting, &e);
}

/* Asks, and waits in the queue behind those that are there. */
static struct rig_socket *queue_up(struct stage *s, enum dm_wait what, const char *request)
{
    struct rig_socket *socket = rig_connect(&s->rig);
    uint64_t n = counted(s)->waiting[what];

    rig_send(socket, dm_str_of(request));
    run_until_waiting(s, what, n + 1);
    return socket;
}

/* The backend answers what was asked first, and all that comes. */
static void answer(struct stage *s, struct rig_socket *first)
{
    s->origin.answer = DM_STR(STAGE_OK);
    rig_send(s->origin.sockets[0], DM_STR(STAGE_OK));
    rig_expect(&s->rig, first, OK, 1);
}

/* With a reset. */
static void break_off(struct stage *s, struct rig_socket *socket)
{
    dm_stream_reset(&socket->stream);
    rig_close(&s->rig, socket);
}

static void check_idle(struct stage *s)
{
    for (int what = 0; what < DM_WAIT_COUNT; what++)
        assert_int_equal(counted(s)->waiting[what], 0);
    rig_settle(&s->rig);
    assert_int_equal(s->rig.worker.n_exchanges, 0);
}

/* --- to be in flight ---------------------------------------------------------------------------------------------- */

static void test_its_turn_comes(void **state)
{
    struct stage *s = *state;
    struct rig_socket *a, *b;

    apply_caps(s, "\"exchanges\":1,\"queue\":5" DEADLINES);
    a = begin(s);
    b = queue_up(s, DM_WAIT_EXCHANGES, GET);
    rig_settle(&s->rig);
    assert_int_equal(s->origin.n_requests, 1);
    assert_int_equal(counted(s)->upstream_connections, 1);
    answer(s, a);
    rig_expect(&s->rig, b, OK, 1);
    assert_int_equal(s->origin.n_requests, 2);
    assert_int_equal(counted(s)->waits[DM_WAIT_EXCHANGES], 1);
    assert_int_equal(counted(s)->waits_expired[DM_WAIT_EXCHANGES], 0);
    assert_int_equal(refused(s, DM_CAP_EXCHANGES), 0);
    leave(s, a);
    leave(s, b);
    check_idle(s);
}

static void test_first_in_first_out(void **state)
{
    struct stage *s = *state;
    struct rig_socket *a, *waiting[3];
    const char *requests[] = {STAGE_GET("/1", STAGE_KEY), STAGE_GET("/2", STAGE_KEY), STAGE_GET("/3", STAGE_KEY)};

    apply_caps(s, "\"exchanges\":1,\"queue\":5" DEADLINES);
    a = begin(s);
    dm_buf_reset(&s->origin.requests);
    for (size_t i = 0; i < DM_COUNT(waiting); i++)
        waiting[i] = queue_up(s, DM_WAIT_EXCHANGES, requests[i]);
    answer(s, a);
    for (size_t i = 0; i < DM_COUNT(waiting); i++)
        rig_expect(&s->rig, waiting[i], OK, 1);
    assert_true(dm_str_eq(dm_buf_str(&s->origin.requests), DM_STR("GET /1 0\nGET /2 0\nGET /3 0\n")));
    leave(s, a);
    for (size_t i = 0; i < DM_COUNT(waiting); i++)
        leave(s, waiting[i]);
    check_idle(s);
}

static void test_above_the_queue(void **state)
{
    struct stage *s = *state;
    struct rig_socket *a, *b, *c;

    apply_caps(s, "\"exchanges\":1,\"queue\":1" DEADLINES);
    a = begin(s);
    b = queue_up(s, DM_WAIT_EXCHANGES, GET);
    c = stage_ask(s, GET, OVER_CAP);
    assert_int_equal(rig_count(dm_buf_str(&c->received), "HTTP/1.1 503 "), 1);
    assert_int_equal(rig_count(dm_buf_str(&c->received), "Retry-After: 1\r\n"), 1);
    assert_int_equal(refused(s, DM_CAP_EXCHANGES), 1);
    answer(s, a);
    rig_expect(&s->rig, b, OK, 1);
    leave(s, a);
    leave(s, b);
    leave(s, c);
    check_idle(s);
}

static void test_its_time_is_over(void **state)
{
    struct stage *s = *state;
    struct rig_socket *a, *b;

    apply_caps(s, "\"exchanges\":1,\"queue\":1,\"queue_ms\":30");
    a = begin(s);
    b = queue_up(s, DM_WAIT_EXCHANGES, GET);
    rig_expect(&s->rig, b, OVER_CAP, 1);
    assert_int_equal(rig_count(dm_buf_str(&b->received), "Retry-After: 1\r\n"), 1);
    assert_int_equal(refused(s, DM_CAP_EXCHANGES), 1);
    assert_int_equal(counted(s)->waits_expired[DM_WAIT_EXCHANGES], 1);
    assert_true(counted(s)->wait_us_sum >= 30000);
    assert_int_equal(s->origin.n_requests, 1);
    answer(s, a);
    ask(s, b, GET, OK);
    leave(s, a);
    leave(s, b);
    check_idle(s);
}

static void test_a_client_that_goes(void **state)
{
    struct stage *s = *state;
    struct rig_socket *a, *b, *c;

    apply_caps(s, "\"exchanges\":1,\"queue\":2" DEADLINES);
    a = begin(s);
    b = queue_up(s, DM_WAIT_EXCHANGES, GET);
    c = queue_up(s, DM_WAIT_EXCHANGES, GET);
    break_off(s, b);
    run_until_waiting(s, DM_WAIT_EXCHANGES, 1);
    answer(s, a);
    rig_expect(&s->rig, c, OK, 1);
    assert_int_equal(s->origin.n_requests, 2);
    assert_int_equal(counted(s)->reasons[DM_REASON_CLIENT_CLOSED], 1);
    leave(s, a);
    leave(s, c);
    check_idle(s);
}

/* Neither is the client told to send it, nor is it read. */
static void test_bodies_wait_at_the_client(void **state)
{
    struct stage *s = *state;
    struct rig_socket *a, *b;

    apply_caps(s, "\"exchanges\":1,\"queue\":2" DEADLINES);
    a = begin(s);
    b = queue_up(s, DM_WAIT_EXCHANGES, POST("Content-Length: 5\r\nExpect: 100-continue\r\n", ""));
    rig_settle(&s->rig);
    assert_int_equal(b->received.len, 0);
    answer(s, a);
    rig_expect(&s->rig, b, "HTTP/1.1 100 ", 1);
    rig_send(b, DM_STR("abcde"));
    rig_expect(&s->rig, b, OK, 1);
    assert_int_equal(rig_count(dm_buf_str(&s->origin.requests), "POST / 5\n"), 1);
    leave(s, a);
    leave(s, b);
    check_idle(s);
}

static void test_limits_are_taken_at_the_turn(void **state)
{
    struct stage *s = *state;
    struct rig_socket *a, *b, *c;

    apply_caps(s, "\"exchanges\":1,\"queue\":2,\"queue_ms\":30");
    stage_release(s, &(struct stage_release){.plan = LIMITED});
    a = begin(s);
    b = queue_up(s, DM_WAIT_EXCHANGES, GET);
    rig_expect(&s->rig, b, OVER_CAP, 1); /* it counted nothing */
    apply_grants(s, "\"exchanges\":1,\"queue\":2" DEADLINES);
    dm_buf_reset(&b->received);
    rig_send(b, DM_STR(GET));
    run_until_waiting(s, DM_WAIT_EXCHANGES, 1);
    c = queue_up(s, DM_WAIT_EXCHANGES, GET);
    answer(s, a);
    rig_expect(&s->rig, b, OK, 1);
    rig_expect(&s->rig, c, "\"limit_exceeded\"", 1);
    leave(s, a);
    leave(s, b);
    leave(s, c);
    check_idle(s);
}

static void test_others_that_wait_count(void **state)
{
    struct stage *s = *state;
    struct dm_counters_page *other = add_other_worker(s);
    struct rig_socket *a;

    apply_caps(s, "\"exchanges\":3,\"queue\":2" DEADLINES);
    other->tenants[1].exchanges_begun = 5;
    other->tenants[1].waiting[DM_WAIT_EXCHANGES] = 2;
    stage_try(s, GET, OVER_CAP); /* the queue is full over there */
    other->tenants[1].waiting[DM_WAIT_EXCHANGES] = 1;
    a = queue_up(s, DM_WAIT_EXCHANGES, GET);
    other->tenants[1].waiting[DM_WAIT_EXCHANGES] = 3; /* those are not in flight */
    rig_expect(&s->rig, a, OK, 1);
    leave(s, a);
    check_idle(s);
    dm_free(other);
}

/* --- what changes meanwhile --------------------------------------------------------------------------------------- */

static void test_more_room(void **state)
{
    struct stage *s = *state;
    struct rig_socket *a, *b;

    apply_caps(s, "\"exchanges\":1,\"queue\":2" DEADLINES);
    a = begin(s);
    b = queue_up(s, DM_WAIT_EXCHANGES, GET);
    s->origin.answer = DM_STR(STAGE_OK);
    apply_grants(s, "\"exchanges\":2,\"queue\":2" DEADLINES);
    rig_expect(&s->rig, b, OK, 1);
    answer(s, a);
    leave(s, a);
    leave(s, b);
    check_idle(s);
}

static void test_suspended(void **state)
{
    struct stage *s = *state;
    struct rig_socket *a, *b;

    apply_caps(s, "\"exchanges\":1,\"queue\":2" DEADLINES);
    a = begin(s);
    b = queue_up(s, DM_WAIT_EXCHANGES, GET);
    rig_apply(&s->rig, "orders", 1, DM_UNIT_GRANTS,
              "{\"state\":\"suspended\",\"weight\":100,\"caps\":{\"exchanges\":1},"
              "\"domains\":[{\"name\":\"orders.test\"}]}");
    rig_expect(&s->rig, b, "\"tenant_suspended\"", 1);
    assert_int_equal(s->origin.n_requests, 1);
    answer(s, a);
    leave(s, a);
    leave(s, b);
    check_idle(s);
}

static void test_gone(void **state)
{
    struct stage *s = *state;
    struct rig_socket *a, *b;

    apply_caps(s, "\"exchanges\":1,\"queue\":2" DEADLINES);
    a = begin(s);
    b = queue_up(s, DM_WAIT_EXCHANGES, GET);
    for (int kind = DM_UNIT_RELEASE; kind < DM_UNIT_KINDS; kind++)
        dm_worker_remove(&s->rig.worker, DM_STR("orders"), (enum dm_unit_kind)kind, (struct dm_mark){9, 9});
    rig_expect(&s->rig, b, "\"host_unknown\"", 1);
    answer(s, a);
    leave(s, a);
    leave(s, b);
}

static void remove_tenant(struct stage *s)
{
    for (int kind = DM_UNIT_RELEASE; kind < DM_UNIT_KINDS; kind++)
        dm_worker_remove(&s->rig.worker, DM_STR("orders"), (enum dm_unit_kind)kind, (struct dm_mark){9, 9});
}

/* Of a front's connection nothing else holds the tenant. */
static void test_gone_with_the_last_that_waits(void **state)
{
    struct stage *s = *state;
    struct rig_socket *a, *b;

    trust_everybody(s);
    apply_caps(s, "\"exchanges\":1,\"queue\":2" DEADLINES);
    a = begin(s);
    b = queue_up(s, DM_WAIT_EXCHANGES, GET);
    break_off(s, a);
    remove_tenant(s);
    rig_expect(&s->rig, b, "HTTP/1.1 ", 1);
    leave(s, b);
}

static void test_gone_with_the_last_that_waits_for_a_connection(void **state)
{
    struct stage *s = *state;
    struct rig_socket *a, *b;

    trust_everybody(s);
    apply_caps(s, "\"upstream_connections\":1,\"queue\":2" DEADLINES);
    a = begin(s);
    b = queue_up(s, DM_WAIT_UPSTREAM_CONNECTIONS, GET);
    remove_tenant(s);
    break_off(s, a);
    rig_expect(&s->rig, b, "HTTP/1.1 5", 1);
    leave(s, b);
}

/* There is room, but at another endpoint than the one that a hash says: it is tried in vain, once counted, and its time is over. */
static void test_room_that_is_of_no_use(void **state)
{
    struct stage *s = *state;
    struct rig_socket *c[64];
    struct h2_origin o[2];
    char text[300];
    size_t n = 0;

    for (size_t i = 0; i < DM_COUNT(o); i++) {
        h2_origin_init(&s->rig, &o[i]);
        o[i].is_mute = true;
    }
    snprintf(text, sizeof(text), "{\"host\":\"127.0.0.1\",\"port\":%u},{\"host\":\"127.0.0.1\",\"port\":%u}",
             h2_origin_port(&o[0]), h2_origin_port(&o[1]));
    apply_caps(s, "\"upstream_connections\":1,\"queue\":5,\"queue_ms\":100");
    stage_release(s, &(struct stage_release){
                         .endpoints = text,
                         .backend = ",\"protocol\":\"http2\",\"balance\":{\"method\":\"hash\",\"hash_by\":\"header\","
                                    "\"header\":\"X-Session\"}"});
    for (; n < DM_COUNT(c) && counted(s)->waits[DM_WAIT_UPSTREAM_CONNECTIONS] == 0; n++) {
        snprintf(text, sizeof(text), "GET / HTTP/1.1\r\nHost: orders.test\r\nX-Session: s%zu\r\n" STAGE_KEY "\r\n", n);
        c[n] = rig_connect(&s->rig);
        rig_send(c[n], dm_str_of(text));
        rig_settle(&s->rig);
        while (s->rig.worker.n_exchanges <= n && counted(s)->waits[DM_WAIT_UPSTREAM_CONNECTIONS] == 0)
            dm_loop_turn(s->rig.worker.loop, 1);
    }
    rig_expect(&s->rig, c[n - 1], "\"tenant_over_cap\"", 1);
    assert_int_equal(counted(s)->waiting[DM_WAIT_UPSTREAM_CONNECTIONS], 0);
    assert_int_equal(counted(s)->waits[DM_WAIT_UPSTREAM_CONNECTIONS], 1);
    assert_int_equal(counted(s)->waits_expired[DM_WAIT_UPSTREAM_CONNECTIONS], 1);
    for (size_t i = 0; i < n; i++)
        leave(s, c[i]);
    for (size_t i = 0; i < DM_COUNT(o); i++)
        h2_origin_done(&o[i]);
}

/* They wait on as those in hand go on, and are told at the end. */
static void test_draining(void **state)
{
    struct stage *s = *state;
    struct rig_socket *a, *b, *c;

    apply_caps(s, "\"exchanges\":1,\"queue\":2" DEADLINES);
    a = begin(s);
    b = queue_up(s, DM_WAIT_EXCHANGES, GET);
    c = queue_up(s, DM_WAIT_EXCHANGES, GET);
    dm_worker_drain(&s->rig.worker);
    rig_send(s->origin.sockets[0], DM_STR(STAGE_OK));
    rig_expect(&s->rig, a, OK, 1);
    rig_run_until(&s->rig, is_waiting, &(struct expected){s, DM_WAIT_EXCHANGES, 1});
    dm_worker_end_exchanges(&s->rig.worker);
    rig_expect(&s->rig, c, "\"draining\"", 1);
    assert_int_equal(counted(s)->reasons[DM_REASON_DRAINING], 2);
    leave(s, a);
    leave(s, b);
    leave(s, c);
    check_idle(s);
}

/* --- for connections ---------------------------------------------------------------------------------------------- */

static void test_connections(void **state)
{
    struct stage *s = *state;
    struct rig_socket *a, *b, *c;

    apply_caps(s, "\"upstream_connections\":1,\"queue\":5" DEADLINES);
    a = begin(s);
    dm_buf_reset(&s->origin.requests);
    b = queue_up(s, DM_WAIT_UPSTREAM_CONNECTIONS, STAGE_GET("/1", STAGE_KEY));
    c = queue_up(s, DM_WAIT_UPSTREAM_CONNECTIONS, STAGE_GET("/2", STAGE_KEY));
    answer(s, a);
    rig_expect(&s->rig, b, OK, 1);
    rig_expect(&s->rig, c, OK, 1);
    assert_true(dm_str_eq(dm_buf_str(&s->origin.requests), DM_STR("GET /1 0\nGET /2 0\n")));
    assert_int_equal(s->origin.n_accepted, 1);
    assert_int_equal(refused(s, DM_CAP_UPSTREAM_CONNECTIONS), 0);
    leave(s, a);
    leave(s, b);
    leave(s, c);
    check_idle(s);
}

static void test_connections_that_end(void **state)
{
    struct stage *s = *state;
    struct rig_socket *a, *b;

    apply_caps(s, "\"upstream_connections\":1,\"queue\":5" DEADLINES);
    a = begin(s);
    b = queue_up(s, DM_WAIT_UPSTREAM_CONNECTIONS, GET);
    s->origin.answer = DM_STR(STAGE_OK);
    break_off(s, a); /* and with it the connection to the backend */
    rig_expect(&s->rig, b, OK, 1);
    assert_int_equal(s->origin.n_accepted, 2);
    leave(s, b);
    check_idle(s);
}

static void test_time_for_connections(void **state)
{
    struct stage *s = *state;
    struct rig_socket *a, *b;

    apply_caps(s, "\"upstream_connections\":1,\"queue\":1,\"queue_ms\":30");
    a = begin(s);
    b = queue_up(s, DM_WAIT_UPSTREAM_CONNECTIONS, GET);
    stage_try(s, GET, OVER_CAP);
    rig_expect(&s->rig, b, OVER_CAP, 1);
    assert_int_equal(refused(s, DM_CAP_UPSTREAM_CONNECTIONS), 2);
    assert_int_equal(counted(s)->waits_expired[DM_WAIT_UPSTREAM_CONNECTIONS], 1);
    answer(s, a);
    leave(s, a);
    leave(s, b);
    check_idle(s);
}

/* A name is resolved between the turn and the connection, by which the room may be gone. */
static void test_connections_of_names(void **state)
{
    struct stage *s = *state;
    struct rig_socket *a, *b, *c;
    char endpoints[100];

    snprintf(endpoints, sizeof(endpoints), "{\"host\":\"localhost\",\"port\":%u}", rig_origin_port(&s->origin));
    apply_caps(s, "\"upstream_connections\":1,\"queue\":5" DEADLINES);
    stage_release(s, &(struct stage_release){.endpoints = endpoints});
    a = begin(s);
    b = queue_up(s, DM_WAIT_UPSTREAM_CONNECTIONS, GET);
    c = queue_up(s, DM_WAIT_UPSTREAM_CONNECTIONS, GET);
    answer(s, a);
    rig_expect(&s->rig, b, OK, 1);
    rig_expect(&s->rig, c, OK, 1);
    leave(s, a);
    leave(s, b);
    leave(s, c);
    check_idle(s);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, stage_setup, stage_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_its_turn_comes),
        TEST(test_first_in_first_out),
        TEST(test_above_the_queue),
        TEST(test_its_time_is_over),
        TEST(test_a_client_that_goes),
        TEST(test_bodies_wait_at_the_client),
        TEST(test_limits_are_taken_at_the_turn),
        TEST(test_others_that_wait_count),
        TEST(test_more_room),
        TEST(test_suspended),
        TEST(test_gone),
        TEST(test_gone_with_the_last_that_waits),
        TEST(test_gone_with_the_last_that_waits_for_a_connection),
        TEST(test_room_that_is_of_no_use),
        TEST(test_draining),
        TEST(test_connections),
        TEST(test_connections_that_end),
        TEST(test_time_for_connections),
        TEST(test_connections_of_names),
    };

    return cmocka_run_group_tests_name("admission", tests, NULL, NULL);
}
