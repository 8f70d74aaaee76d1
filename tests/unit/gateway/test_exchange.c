/* Exchanges through a whole worker, on real sockets. */
#include "rig/rig.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "base/mem.h"

#define OK_ANSWER "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-From: origin\r\n\r\nhello"
#define GET(path, fields) "GET " path " HTTP/1.1\r\nHost: orders.test\r\n" fields "\r\n"

struct stage {
    struct rig rig;
    struct rig_origin origin;
};

static const char grants[] = "{\"state\":\"active\",\"weight\":100,\"domains\":[{\"name\":\"orders.test\"}],"
                             "\"endpoints\":[{\"address\":\"127.0.0.1\",\"port\":0}]}";

static void apply_release(struct stage *s, const char *policies, const char *limits)
{
    struct dm_buf body DM_CLEANUP(dm_buf_done);

    dm_buf_init(&body, 1u << 20);
    dm_buf_printf(&body,
                  "{\"backends\":[{\"name\":\"b\",\"endpoints\":[{\"host\":\"127.0.0.1\",\"port\":%u}]}],\"products\":[{"
                  "\"name\":\"orders\",\"domains\":[\"orders.test\"],\"versions\":[{\"name\":\"v1\",\"policies\":["
                  "{\"type\":\"api_key\",\"in\":[\"query\",\"header\",\"basic\"],\"query\":\"user_key\",\"header\":\"X-Api-Key\"}%s],"
                  "\"mapping_rules\":[{\"method\":\"ANY\",\"pattern\":\"/\",\"metric\":\"hits\"}],"
                  "\"backends\":[{\"path\":\"/\",\"backend\":\"b\"}]}],\"plans\":[{\"name\":\"basic\"%s}]}]}",
                  rig_origin_port(&s->origin), policies, limits);
    dm_buf_add_char(&body, 0);
    rig_apply(&s->rig, "orders", 1, DM_UNIT_RELEASE, body.ptr);
}

static void apply_all(struct stage *s, const char *policies, const char *limits)
{
    struct dm_buf body DM_CLEANUP(dm_buf_done);
    char digest[65];

    rig_digest("good", digest);
    dm_buf_init(&body, 1u << 20);
    dm_buf_printf(&body,
                  "{\"digest_key_id\":1,\"digest_key\":\"%s\",\"applications\":[{\"id\":1,\"name\":\"app\","
                  "\"subscriptions\":[{\"product\":\"orders\",\"plan\":\"basic\"}],"
                  "\"credentials\":[{\"id\":1,\"name\":\"k\",\"type\":\"api_key\",\"digest\":\"%s\"}]}]}%c",
                  "1111111111111111111111111111111111111111111111111111111111111111", digest, 0);
    rig_apply(&s->rig, "orders", 1, DM_UNIT_GRANTS, grants);
    apply_release(s, policies, limits);
    rig_apply(&s->rig, "orders", 1, DM_UNIT_APPLICATIONS, body.ptr);
}

static int setup(void **state)
{
    struct stage *s = dm_calloc(1, sizeof(*s));

    rig_init(&s->rig);
    rig_origin_init(&s->rig, &s->origin, DM_STR(OK_ANSWER));
    *state = s;
    return 0;
}

static int teardown(void **state)
{
    struct stage *s = *state;

    rig_origin_done(&s->origin);
    rig_done(&s->rig);
    dm_free(s);
    return 0;
}

struct wait {
    struct rig_socket *socket;
    const char *text;
    size_t times;
};

static bool has_text(void *arg)
{
    struct wait *w = arg;
    struct dm_str rest = dm_buf_str(&w->socket->received);
    size_t found = 0;
    const char *at;

    while (rest.len > 0 && (at = memmem(rest.ptr, rest.len, w->text, strlen(w->text)))) {
        found++;
        rest = dm_str_skip(rest, (size_t)(at - rest.ptr) + 1);
    }
    return found >= w->times;
}

static bool contains(struct dm_str s, const char *text)
{
    return s.len > 0 && memmem(s.ptr, s.len, text, strlen(text)) != NULL;
}

/* Sends a request on a new connection, waits for `expected` and returns what came. */
static struct rig_socket *ask(struct stage *s, const char *request, const char *expected)
{
    struct rig_socket *socket = rig_connect(&s->rig);
    struct wait wait = {socket, expected, 1};

    rig_send(socket, dm_str_of(request));
    rig_run_until(&s->rig, has_text, &wait);
    return socket;
}

static void test_forwards_with_a_key(void **state)
{
    struct stage *s = *state;
    struct rig_socket *c;

    apply_all(s, "", "");
    c = ask(s, GET("/list?a=1&user_key=good&b=2", "X-Forwarded-For: 6.6.6.6\r\n"), "hello");
    assert_true(contains(dm_buf_str(&c->received), "HTTP/1.1 200 OK\r\n"));
    assert_true(contains(dm_buf_str(&c->received), "X-From: origin\r\n"));
    assert_true(contains(dm_buf_str(&s->origin.received), "GET /list?a=1&b=2 HTTP/1.1\r\n"));
    assert_true(contains(dm_buf_str(&s->origin.received), "X-Forwarded-For: 127.0.0.1\r\n"));
    assert_false(contains(dm_buf_str(&s->origin.received), "good"));
    assert_false(contains(dm_buf_str(&s->origin.received), "6.6.6.6"));
    rig_close(&s->rig, c);
    assert_int_equal(s->rig.counters->tenants[1].requests, 1);
    assert_int_equal(s->rig.worker.n_exchanges, 0);
}

static void test_refuses_with_reasons(void **state)
{
    static const struct {
        const char *request, *status, *reason;
    } cases[] = {
        {GET("/", ""), "HTTP/1.1 401 ", "\"auth_missing\""},
        {GET("/?user_key=bad", ""), "HTTP/1.1 403 ", "\"auth_invalid\""},
        {"GET / HTTP/1.1\r\nHost: other.test\r\n\r\n", "HTTP/1.1 404 ", "\"host_unknown\""},
        {"GET / HTTP/1.1\r\nHost: orders.test\r\nA_B: 1\r\n\r\n", "HTTP/1.1 400 ", "\"bad_request\""},
        {"GET / HTTP/1.1\r\nHost: orders.test\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", "HTTP/1.1 400 ",
         "\"bad_request\""},
    };
    struct stage *s = *state;

    apply_all(s, "", "");
    for (size_t i = 0; i < DM_COUNT(cases); i++) {
        struct rig_socket *c = ask(s, cases[i].request, cases[i].reason);
        assert_true(contains(dm_buf_str(&c->received), cases[i].status));
        rig_close(&s->rig, c);
    }
    assert_int_equal(s->origin.n_requests, 0);
    assert_int_equal(s->rig.worker.n_exchanges, 0);
}

static void test_counts_limits(void **state)
{
    struct stage *s = *state;
    struct rig_socket *c;

    apply_all(s, "", ",\"limits\":[{\"metric\":\"hits\",\"period\":\"eternity\",\"value\":2}]");
    for (int i = 0; i < 2; i++)
        rig_close(&s->rig, ask(s, GET("/", "X-Api-Key: good\r\n"), "hello"));
    c = ask(s, GET("/", "X-Api-Key: good\r\n"), "limit_exceeded");
    assert_true(contains(dm_buf_str(&c->received), "HTTP/1.1 429 "));
    rig_close(&s->rig, c);
}

static void test_pipelines_in_order(void **state)
{
    struct stage *s = *state;
    struct rig_socket *c;
    struct wait wait;

    apply_all(s, "", "");
    c = ask(s, GET("/1", "X-Api-Key: good\r\n") GET("/2", "X-Api-Key: good\r\n") GET("/3", "X-Api-Key: good\r\n"), "hello");
    wait = (struct wait){c, "hello", 3};
    rig_run_until(&s->rig, has_text, &wait);
    assert_int_equal(s->origin.n_requests, 3);
    assert_int_equal(s->origin.n_sockets, 1);
    rig_close(&s->rig, c);
}

static void test_egress_needs_a_grant(void **state)
{
    struct stage *s = *state;

    apply_all(s, "", "");
    rig_apply(&s->rig, "orders", 1, DM_UNIT_GRANTS, "{\"state\":\"active\",\"weight\":100,\"domains\":[{\"name\":\"orders.test\"}]}");
    rig_close(&s->rig, ask(s, GET("/", "X-Api-Key: good\r\n"), "egress_not_approved"));
    assert_int_equal(s->origin.n_sockets, 0);
}

static void test_steady_state_allocates_nothing(void **state)
{
    struct stage *s = *state;
    struct rig_socket *c;
    struct wait wait;
    uint64_t before = 0;

    apply_all(s, ",{\"type\":\"headers\",\"request\":[{\"op\":\"set\",\"name\":\"X-Team\",\"value\":\"orders\"}]}",
              ",\"limits\":[{\"metric\":\"hits\",\"period\":\"minute\",\"value\":1000000}],"
              "\"rate_limits\":[{\"metric\":\"hits\",\"rate\":100000,\"per\":\"second\"}]");
    c = rig_connect(&s->rig);
    wait = (struct wait){c, "hello", 1};
    for (int i = 0; i < 500; i++) {
        if (i == 100)
            before = dm_mem_calls();
        dm_buf_reset(&c->received);
        rig_origin_reset(&s->origin);
        rig_send(c, DM_STR(GET("/list?a=1", "X-Api-Key: good\r\n")));
        rig_run_until(&s->rig, has_text, &wait);
    }
#ifndef DM_DEBUG_ALLOC
    assert_int_equal(dm_mem_calls() - before, 0);
#else
    (void)before;
#endif
    rig_close(&s->rig, c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_forwards_with_a_key, setup, teardown),
        cmocka_unit_test_setup_teardown(test_refuses_with_reasons, setup, teardown),
        cmocka_unit_test_setup_teardown(test_counts_limits, setup, teardown),
        cmocka_unit_test_setup_teardown(test_pipelines_in_order, setup, teardown),
        cmocka_unit_test_setup_teardown(test_egress_needs_a_grant, setup, teardown),
        cmocka_unit_test_setup_teardown(test_steady_state_allocates_nothing, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
