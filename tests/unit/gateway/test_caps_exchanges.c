/* Caps on what a tenant has in hand, below and beyond: exchanges, buffers, streams, heads, bodies, times; over HTTP/1.1 and HTTP/2,
 * with other workers. */
#include "caps_rig.h"

#include "rig/h2_origin.h"

/* --- exchanges ---------------------------------------------------------------------------------------------------- */

static void test_exchanges(void **state)
{
    struct stage *s = *state;
    struct rig_socket *a, *b, *c;

    apply_caps(s, "\"exchanges\":2");
    a = begin(s);
    b = begin(s);
    c = stage_ask(s, GET, OVER_CAP);
    assert_int_equal(rig_count(dm_buf_str(&c->received), "HTTP/1.1 503 "), 1);
    assert_int_equal(rig_count(dm_buf_str(&c->received), "Retry-After: 1\r\n"), 1);
    assert_int_equal(refused(s, DM_CAP_EXCHANGES), 1);
    assert_int_equal(stage_counters(s)->reasons[DM_REASON_TENANT_OVER_CAP], 1);
    finish(s, 0, a);
    ask(s, c, GET, OK); /* its connection lives on */
    finish(s, 1, b);
    leave(s, a);
    leave(s, b);
    leave(s, c);
}

static void test_exchanges_of_other_workers_count(void **state)
{
    struct stage *s = *state;
    struct dm_counters_page *other = add_other_worker(s);

    apply_caps(s, "\"exchanges\":3");
    other->tenants[1].exchanges_begun = 8;
    other->tenants[1].exchanges_ended = 6;
    stage_try(s, GET, OK);
    other->tenants[1].exchanges_ended = 5;
    stage_try(s, GET, OVER_CAP);
    other->tenants[1].exchanges_ended = 9; /* read between two writes */
    stage_try(s, GET, OK);
    dm_free(other);
}

static void test_exchanges_without_a_cap(void **state)
{
    struct stage *s = *state;
    struct rig_socket *a;

    s->rig.worker.upstream_env.connections_max = 1;
    apply_caps(s, "");
    a = begin(s);
    stage_try(s, GET, OVER_CAP);
    finish(s, 0, a);
    stage_try(s, GET, OK);
    leave(s, a);
}

static void test_exchanges_of_http2_and_of_fronts(void **state)
{
    struct stage *s = *state;
    struct h2 *h2 = h2_connect(s);

    trust_everybody(s);
    apply_caps(s, "\"exchanges\":1");
    s->origin.answer = DM_STR_NULL;
    h2_request(h2, "/", "", NULL);
    h2_request(h2, "/", "", NULL);
    h2_expect(s, h2, "3:503 tenant_over_cap 3. ");
    assert_int_equal(rig_count(dm_buf_str(&h2->seen), "G "), 0);
    h2_close(s, h2);
}

/* --- buffers ------------------------------------------------------------------------------------------------------ */

static bool holds_some(void *arg)
{
    return stage_counters(arg)->buffered_bytes > 0;
}

static bool holds_nothing(void *arg)
{
    return stage_counters(arg)->buffered_bytes == 0;
}

/* A request that waits behind another one. */
static void test_buffered_bytes(void **state)
{
    struct stage *s = *state;
    struct rig_socket *busy, *a;

    apply_caps(s, "\"buffered_bytes\":1");
    a = stage_ask(s, GET, OK);
    assert_int_equal(stage_counters(s)->buffered_bytes, 0);
    busy = begin(s);
    rig_send(busy, DM_STR(GET));
    rig_run_until(&s->rig, holds_some, s);
    ask(s, a, GET, OVER_CAP);
    assert_int_equal(rig_count(dm_buf_str(&a->received), "HTTP/1.1 503 "), 1);
    assert_int_equal(rig_count(dm_buf_str(&a->received), "Retry-After: "), 1);
    assert_int_equal(refused(s, DM_CAP_BUFFERED_BYTES), 1);
    assert_int_equal(stage_counters(s)->reasons[DM_REASON_TENANT_OVER_CAP], 1);
    leave(s, busy);
    rig_run_until(&s->rig, holds_nothing, s);
    s->origin.answer = DM_STR(STAGE_OK);
    ask(s, a, GET, OK);
    leave(s, a);
}

static void test_buffered_bytes_of_other_workers_count(void **state)
{
    struct stage *s = *state;
    struct dm_counters_page *other = add_other_worker(s);

    apply_caps(s, "\"buffered_bytes\":100000");
    other->tenants[1].buffered_bytes = 100000;
    stage_try(s, GET, OVER_CAP);
    other->tenants[1].buffered_bytes = 99999;
    stage_try(s, GET, OK);
    dm_free(other);
}

/* A client of HTTP/2 that opens no window: the answer stays where it came from. */
static void hold_an_answer(struct stage *s)
{
    struct h2 *slow = h2_connect(s);

    nghttp2_submit_settings(slow->session, 0, &(nghttp2_settings_entry){NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, 0}, 1);
    h2_request(slow, "/", "", NULL);
    h2_expect(s, slow, "1:200");
    rig_run_until(&s->rig, holds_some, s);
    stage_try(s, GET, OVER_CAP);
    nghttp2_submit_settings(slow->session, 0, &(nghttp2_settings_entry){NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, 65535},
                            1);
    h2_expect(s, slow, "1.");
    rig_run_until(&s->rig, holds_nothing, s);
    stage_try(s, GET, OK);
    h2_close(s, slow);
}

static void test_buffered_bytes_of_answers(void **state)
{
    struct stage *s = *state;

    apply_caps(s, "\"buffered_bytes\":1");
    hold_an_answer(s);
}

static void test_buffered_bytes_of_answers_over_http2(void **state)
{
    struct stage *s = *state;
    struct h2_origin origin;
    char endpoints[100];

    h2_origin_init(&s->rig, &origin);
    apply_caps(s, "\"buffered_bytes\":1");
    snprintf(endpoints, sizeof(endpoints), "{\"host\":\"127.0.0.1\",\"port\":%u}", h2_origin_port(&origin));
    stage_release(s, &(struct stage_release){.endpoints = endpoints, .backend = ",\"protocol\":\"http2\""});
    hold_an_answer(s);
    h2_origin_done(&origin);
}

/* --- streams ------------------------------------------------------------------------------------------------------ */

static void test_streams(void **state)
{
    struct stage *s = *state;
    struct h2 *h2 = h2_connect(s);

    apply_caps(s, "\"streams\":2");
    s->origin.answer = DM_STR_NULL;
    for (int i = 0; i < 4; i++)
        h2_request(h2, "/", "", NULL);
    h2_expect(s, h2, "5!7 ");
    h2_expect(s, h2, "7!7 ");
    assert_int_equal(nghttp2_session_get_remote_settings(h2->session, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS), 2);
    assert_int_equal(refused(s, DM_CAP_STREAMS), 2);
    assert_int_equal(stage_counters(s)->reasons[DM_REASON_TOO_MANY_STREAMS], 2);
    h2_close(s, h2);
}

static void test_streams_of_the_listener(void **state)
{
    struct stage *s = *state;
    struct h2 *h2 = h2_connect(s);

    apply_caps(s, "");
    for (int i = 0; i < 4; i++)
        h2_request(h2, "/", "", NULL);
    h2_expect(s, h2, "7. ");
    assert_int_equal(rig_count(dm_buf_str(&h2->seen), ":200 "), 4);
    h2_close(s, h2);
}

/* --- heads -------------------------------------------------------------------------------------------------------- */

static const char head[] = STAGE_GET("/path", STAGE_KEY "X-Three: 3\r\n");

static void apply_cap(struct stage *s, const char *name, size_t value)
{
    char caps[64];

    snprintf(caps, sizeof(caps), "\"%s\":%zu", name, value);
    apply_caps(s, caps);
}

static void test_heads(void **state)
{
    struct stage *s = *state;

    apply_cap(s, "header_bytes", sizeof(head) - 1);
    stage_try(s, head, OK);
    apply_cap(s, "header_bytes", sizeof(head) - 2);
    stage_try(s, head, "\"header_too_large\"");
    assert_int_equal(refused(s, DM_CAP_HEADER_BYTES), 1);
    apply_cap(s, "headers", 3);
    stage_try(s, head, OK);
    apply_cap(s, "headers", 2);
    stage_try(s, head, "HTTP/1.1 431 ");
    assert_int_equal(refused(s, DM_CAP_HEADERS), 1);
    apply_cap(s, "url_bytes", 5);
    stage_try(s, head, OK);
    apply_cap(s, "url_bytes", 4);
    stage_try(s, head, "HTTP/1.1 414 ");
    assert_int_equal(refused(s, DM_CAP_URL_BYTES), 1);
    assert_int_equal(stage_counters(s)->reasons[DM_REASON_URI_TOO_LONG], 1);
    assert_int_equal(s->origin.n_requests, 3);
    apply_caps(s, "");
    stage_try(s, head, OK);
}

static void test_heads_of_http2(void **state)
{
    struct stage *s = *state;
    struct h2 *h2 = h2_connect(s);
    char extra[300];

    memset(extra, 'x', sizeof(extra) - 1);
    extra[sizeof(extra) - 1] = 0;
    apply_caps(s, "\"header_bytes\":300,\"url_bytes\":20");
    h2_request(h2, "/12345678901234567890", "", NULL);
    h2_expect(s, h2, "1:414 uri_too_long 1. ");
    h2_request(h2, "/", extra, NULL);
    h2_expect(s, h2, "3:431 header_too_large 3. ");
    h2_request(h2, "/1234567890123456789", "", NULL);
    h2_expect(s, h2, "5:200 5. ");
    h2_close(s, h2);
}

/* --- bodies ------------------------------------------------------------------------------------------------------- */

#define POST(fields, body) "POST / HTTP/1.1\r\nHost: orders.test\r\n" STAGE_KEY fields "\r\n" body
#define CHUNKED "Transfer-Encoding: chunked\r\n"

static void test_bodies(void **state)
{
    struct stage *s = *state;

    apply_caps(s, "\"body_bytes\":10");
    stage_try(s, POST("Content-Length: 10\r\n", "0123456789"), OK);
    stage_try(s, POST("Content-Length: 11\r\n", "0123456789a"), "\"body_too_large\"");
    assert_int_equal(refused(s, DM_CAP_BODY_BYTES), 1);
    assert_int_equal(s->origin.n_requests, 1);
    stage_try(s, POST(CHUNKED, "a\r\n0123456789\r\n0\r\n\r\n"), OK);
    stage_try(s, POST(CHUNKED, "a\r\n0123456789\r\n1\r\na\r\n0\r\n\r\n"), "HTTP/1.1 413 ");
    assert_int_equal(refused(s, DM_CAP_BODY_BYTES), 2);
    assert_int_equal(stage_counters(s)->reasons[DM_REASON_BODY_TOO_LARGE], 2);
    assert_int_equal(s->origin.n_bad, 0);
}

/* Never above the listener's. */
static void test_bodies_of_the_listener(void **state)
{
    struct stage *s = *state;

    s->rig.options.listen[0].limits.body_max = 5; /* what the cap is held against; the server has its own copy */
    apply_caps(s, "\"body_bytes\":10");
    stage_try(s, POST(CHUNKED, "6\r\n012345\r\n0\r\n\r\n"), "HTTP/1.1 413 ");
    assert_int_equal(refused(s, DM_CAP_BODY_BYTES), 0);
    stage_try(s, POST(CHUNKED, "5\r\n01234\r\n0\r\n\r\n"), OK);
}

static void test_bodies_of_http2(void **state)
{
    struct stage *s = *state;
    struct h2 *h2 = h2_connect(s);

    apply_caps(s, "\"body_bytes\":4");
    h2_request(h2, "/", "", "abcd");
    h2_expect(s, h2, "1:200 1. ");
    h2_request(h2, "/", "", "abcde");
    h2_expect(s, h2, "3:413 body_too_large ");
    assert_int_equal(refused(s, DM_CAP_BODY_BYTES), 1);
    h2_request(h2, "/", "", "abcd");
    h2_expect(s, h2, "5:200 5. ");
    h2_close(s, h2);
}

/* Of a trusted front, whose requests may be decided behind their bodies. */
static void test_bodies_of_fronts(void **state)
{
    struct stage *s = *state;
    struct dm_live_tenant *tenant;
    struct h2 *h2;

    trust_everybody(s);
    apply_caps(s, "\"body_bytes\":4");
    tenant = dm_map_get(&s->rig.worker.tenants, DM_STR("orders"));
    h2 = h2_connect(s);
    h2_request(h2, "/", "", NULL);
    h2_expect(s, h2, "1:200 1. ");
    for (int i = 0; i < 2; i++) { /* at once, and at its tenant's turn */
        rig_settle(&s->rig);
        tenant->flow.credit = i == 0 ? 0 : INT64_MIN / 2;
        rig_origin_reset(&s->origin);
        h2_request(h2, "/", "", "abcde");
        h2_expect(s, h2, i == 0 ? "3:413 body_too_large " : "5:413 body_too_large ");
        assert_int_equal(s->origin.requests.len, 0);
        tenant->flow.credit = i == 0 ? 0 : INT64_MIN / 2;
        stage_try(s, POST(CHUNKED, "5\r\n01234\r\n0\r\n\r\n"), "HTTP/1.1 413 ");
        tenant->flow.credit = i == 0 ? 0 : INT64_MIN / 2;
        stage_try(s, POST(CHUNKED, "4\r\n0123\r\n0\r\n\r\n"), OK);
    }
    assert_int_equal(refused(s, DM_CAP_BODY_BYTES), 4);
    h2_close(s, h2);
}

/* --- times -------------------------------------------------------------------------------------------------------- */

/* The listener's are seconds: what ends within the test is the tenant's doing. */
static void test_times(void **state)
{
    struct stage *s = *state;
    const uint64_t *timeouts = stage_counters(s)->timeouts;
    struct rig_socket *a;

    apply_caps(s, "\"idle_timeout_ms\":50");
    a = stage_ask(s, GET, OK);
    rig_expect_end(&s->rig, a);
    leave(s, a);
    assert_int_equal(timeouts[DM_HTTP_TIMEOUT_IDLE], 1);
    apply_caps(s, "\"head_timeout_ms\":50");
    a = stage_ask(s, GET, OK);
    ask(s, a, "GET / HT", "\"request_timeout\"");
    leave(s, a);
    assert_int_equal(timeouts[DM_HTTP_TIMEOUT_HEAD], 1);
    apply_caps(s, "\"body_timeout_ms\":50");
    a = stage_ask(s, POST("Content-Length: 5\r\n", "abc"), "\"request_timeout\"");
    leave(s, a);
    assert_int_equal(timeouts[DM_HTTP_TIMEOUT_BODY], 1);
    assert_int_equal(stage_counters(s)->reasons[DM_REASON_REQUEST_TIMEOUT], 1);
}

static void test_times_of_fronts(void **state)
{
    struct stage *s = *state;
    struct rig_socket *a;

    trust_everybody(s);
    apply_caps(s, "\"body_timeout_ms\":50");
    a = stage_ask(s, POST("Content-Length: 5\r\n", "abc"), "\"request_timeout\"");
    leave(s, a);
    assert_int_equal(stage_counters(s)->timeouts[DM_HTTP_TIMEOUT_BODY], 0); /* the connection is nobody's */
    assert_int_equal(stage_counters(s)->reasons[DM_REASON_REQUEST_TIMEOUT], 1);
}

static void test_times_of_http2(void **state)
{
    struct stage *s = *state;
    struct h2 *h2 = h2_connect(s);

    apply_caps(s, "\"idle_timeout_ms\":50");
    h2_request(h2, "/", "", NULL);
    h2_expect(s, h2, "1:200 1. ");
    h2_expect(s, h2, "G ");
    assert_int_equal(stage_counters(s)->timeouts[DM_HTTP_TIMEOUT_IDLE], 1);
    h2_close(s, h2);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, stage_setup, stage_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_exchanges),
        TEST(test_exchanges_of_other_workers_count),
        TEST(test_exchanges_without_a_cap),
        TEST(test_exchanges_of_http2_and_of_fronts),
        TEST(test_buffered_bytes),
        TEST(test_buffered_bytes_of_other_workers_count),
        TEST(test_buffered_bytes_of_answers),
        TEST(test_buffered_bytes_of_answers_over_http2),
        TEST(test_streams),
        TEST(test_streams_of_the_listener),
        TEST(test_heads),
        TEST(test_heads_of_http2),
        TEST(test_bodies),
        TEST(test_bodies_of_the_listener),
        TEST(test_bodies_of_fronts),
        TEST(test_bodies_of_http2),
        TEST(test_times),
        TEST(test_times_of_fronts),
        TEST(test_times_of_http2),
    };

    return cmocka_run_group_tests_name("caps of exchanges", tests, NULL, NULL);
}
