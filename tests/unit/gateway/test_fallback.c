/* What callers get in place of a backend that can't be used, where that is set, through a whole worker. */
#include "rig/stage.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "base/mem.h"

#define GET STAGE_GET("/", STAGE_KEY)
#define FALLBACK ",\"fallback\":{\"content_type\":\"application/json\",\"body\":\"{\\\"items\\\":[]}\"}"
#define WORDED ",\"errors\":{\"backend_unreachable\":{\"status\":599,\"body\":\"worded\"}}"
#define BODY "Content-Length: 12\r\n\r\n{\"items\":[]}"

static void apply_at(struct stage *s, const char *host, unsigned port, const char *backend)
{
    char endpoint[100];

    snprintf(endpoint, sizeof(endpoint), "{\"host\":\"%s\",\"port\":%u}", host, port);
    stage_apply(s, &(struct stage_release){.endpoints = endpoint, .backend = backend, .version = WORDED});
}

static void expect_answer(struct stage *s, const char *request, const char *status_line, const char *reason,
                          const char *body)
{
    struct rig_socket *client = stage_ask(s, request, "\r\n\r\n");
    struct dm_str received;
    char line[100];

    rig_settle(&s->rig);
    received = dm_buf_str(&client->received);
    snprintf(line, sizeof(line), "\r\nDaemun-Reason: %s\r\n", reason);
    if (!dm_str_starts(received, dm_str_of(status_line)) || rig_count(received, line) != 1 ||
        rig_count(received, body) != 1)
        fail_msg("%.*s", DM_STR_ARG(received));
    rig_close(&s->rig, client);
}

static void test_each_kind(void **state)
{
    struct stage *s = *state;
    unsigned port = rig_origin_port(&s->origin);

    apply_at(s, "127.0.0.1", 1, FALLBACK);
    expect_answer(s, GET, "HTTP/1.1 200 ", "backend_unreachable", "Content-Type: application/json\r\n");
    expect_answer(s, GET, "HTTP/1.1 200 ", "backend_unreachable", BODY);
    expect_answer(s, "HEAD / HTTP/1.1\r\nHost: orders.test\r\n" STAGE_KEY "\r\n", "HTTP/1.1 200 ",
                  "backend_unreachable", "Content-Length: 12\r\n");
    apply_at(s, "nowhere.invalid", 80, FALLBACK);
    expect_answer(s, GET, "HTTP/1.1 200 ", "backend_unresolved", BODY);
    apply_at(s, "127.0.0.1", port, ",\"tls\":{\"verify\":false}" FALLBACK);
    expect_answer(s, GET, "HTTP/1.1 200 ", "backend_tls", BODY);
    s->origin.answer = DM_STR_NULL;
    apply_at(s, "127.0.0.1", port, ",\"response_timeout_ms\":10" FALLBACK);
    expect_answer(s, GET, "HTTP/1.1 200 ", "backend_timeout", BODY);
    apply_at(s, "127.0.0.1", port, ",\"response_timeout_ms\":5000,\"total_timeout_ms\":10" FALLBACK);
    expect_answer(s, GET, "HTTP/1.1 200 ", "backend_timeout", BODY);
    apply_at(s, "127.0.0.1", port, ",\"breaker\":{\"mode\":\"open\"}" FALLBACK);
    expect_answer(s, GET, "HTTP/1.1 200 ", "circuit_open", BODY);
    assert_int_equal(stage_counters(s)->fallback_answers, 8);
    assert_int_equal(stage_counters(s)->status[2], 8);
    assert_int_equal(stage_counters(s)->reasons[DM_REASON_BACKEND_UNREACHABLE], 3);
    assert_int_equal(stage_counters(s)->reasons[DM_REASON_BACKEND_TIMEOUT], 2);
    assert_int_equal(stage_counters(s)->reasons[DM_REASON_CIRCUIT_OPEN], 1);
}

/* Only for what it is set for; what is the backend's own answer, or the team's to mend, has none. */
static void test_what_has_none(void **state)
{
    struct stage *s = *state;
    unsigned port = rig_origin_port(&s->origin);

    apply_at(s, "127.0.0.1", 1, NULL);
    expect_answer(s, GET, "HTTP/1.1 599 ", "backend_unreachable", "worded");
    apply_at(s, "127.0.0.1", 1, ",\"fallback\":{\"on\":[\"circuit_open\",\"timeout\"],\"body\":\"fallen\"}");
    expect_answer(s, GET, "HTTP/1.1 599 ", "backend_unreachable", "worded");
    apply_at(s, "127.0.0.1", port,
             ",\"breaker\":{\"mode\":\"open\"},\"fallback\":{\"on\":[\"unreachable\"],\"body\":\"fallen\"}");
    expect_answer(s, GET, "HTTP/1.1 503 ", "circuit_open", "\r\nRetry-After: 60\r\n");
    s->origin.answer = DM_STR("HTTP/9.9 nonsense\r\n\r\n");
    apply_at(s, "127.0.0.1", port, FALLBACK);
    expect_answer(s, GET, "HTTP/1.1 502 ", "backend_bad_response", "\r\n\r\n");
    apply_at(s, "10.0.0.1", 80, FALLBACK);
    expect_answer(s, GET, "HTTP/1.1 502 ", "egress_not_approved", "\r\n\r\n");
    apply_at(s, "127.0.0.1", port, FALLBACK);
    expect_answer(s, STAGE_GET("/", ""), "HTTP/1.1 401 ", "auth_missing", "\r\n\r\n");
    assert_int_equal(stage_counters(s)->fallback_answers, 0);
    s->origin.answer = DM_STR("HTTP/1.1 503 No\r\nContent-Length: 4\r\n\r\nbusy");
    stage_try(s, GET, "busy");
}

static void test_grpc_gets_its_status(void **state)
{
    struct stage *s = *state;

    apply_at(s, "127.0.0.1", 1, ",\"protocol\":\"http2\"" FALLBACK);
    expect_answer(s, STAGE_GET("/", STAGE_KEY "Content-Type: application/grpc\r\nTE: trailers\r\n"), "HTTP/1.1 200 ",
                  "backend_unreachable", "grpc-status: 14\r\n");
    assert_int_equal(stage_counters(s)->fallback_answers, 0);
}

/* Retry-After where the status has one. */
static void test_other_statuses(void **state)
{
    struct stage *s = *state;
    unsigned port = rig_origin_port(&s->origin);
    struct rig_socket *client;

    apply_at(s, "127.0.0.1", port, ",\"breaker\":{\"mode\":\"open\"},\"fallback\":{\"status\":503,\"body\":\"later\"}");
    expect_answer(s, GET, "HTTP/1.1 503 ", "circuit_open", "\r\nRetry-After: 60\r\n");
    expect_answer(s, GET, "HTTP/1.1 503 ", "circuit_open", "Content-Type: text/plain; charset=utf-8\r\n");
    apply_at(s, "127.0.0.1", port, ",\"breaker\":{\"mode\":\"open\"},\"fallback\":{\"status\":204}");
    client = stage_ask(s, GET, "\r\n\r\n");
    assert_int_equal(rig_count(dm_buf_str(&client->received), "HTTP/1.1 204 "), 1);
    assert_int_equal(rig_count(dm_buf_str(&client->received), "Content-"), 0);
    assert_int_equal(rig_count(dm_buf_str(&client->received), "Retry-After"), 0);
    rig_close(&s->rig, client);
    apply_at(s, "127.0.0.1", port, ",\"breaker\":{\"mode\":\"open\"},\"fallback\":{}");
    expect_answer(s, GET, "HTTP/1.1 200 ", "circuit_open", "\r\nContent-Length: 0\r\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_each_kind, stage_setup, stage_teardown),
        cmocka_unit_test_setup_teardown(test_what_has_none, stage_setup, stage_teardown),
        cmocka_unit_test_setup_teardown(test_grpc_gets_its_status, stage_setup, stage_teardown),
        cmocka_unit_test_setup_teardown(test_other_statuses, stage_setup, stage_teardown),
    };

    return cmocka_run_group_tests_name("gateway/fallback", tests, NULL, NULL);
}
