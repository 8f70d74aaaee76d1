/* Every reason that a worker gives, and how it is worded; who may call from where; what keys and limits say. */
#include "rig/stage.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "base/json.h"

static bool has(const struct rig_socket *c, const char *text)
{
    return rig_count(dm_buf_str(&c->received), text) > 0;
}

/* The parts that every answer of the gateway's own has. */
static void check_answer(const struct rig_socket *c, enum dm_reason reason)
{
    const struct dm_reason_info *info = dm_reason_info(reason);
    struct dm_str all = dm_buf_str(&c->received);
    const char *body = memmem(all.ptr, all.len, "\r\n\r\n", 4), *id = memmem(all.ptr, all.len, "X-Request-Id: ", 14);
    char text[200];

    snprintf(text, sizeof(text), "HTTP/1.1 %d ", info->status);
    assert_true(dm_str_starts(all, dm_str_of(text)));
    snprintf(text, sizeof(text), "Daemun-Reason: %s\r\n", info->code);
    assert_true(has(c, text));
    assert_true(has(c, "Content-Type: application/problem+json\r\n"));
    assert_non_null(body);
    assert_non_null(id);
    snprintf(text, sizeof(text), "\"request_id\":\"%.*s\"", DM_REQUEST_ID_LEN, id + 14);
    assert_non_null(memmem(body, (size_t)(all.ptr + all.len - body), text, strlen(text)));
    snprintf(text, sizeof(text), "{\"type\":\"about:blank\",\"title\":\"%s\",\"status\":%d,", info->title,
             info->status);
    assert_true(has(c, text));
    snprintf(text, sizeof(text), "\"reason\":\"%s\"", info->code);
    assert_true(has(c, text));
}

static uint64_t counted(struct stage *s, enum dm_reason reason)
{
    return s->rig.counters->tenants[1].reasons[reason];
}

/* Asks, checks the answer and that it was counted once, for the tenant or for nobody. */
static void refuse(struct stage *s, const char *request, enum dm_reason reason)
{
    struct rig_socket *c = rig_connect(&s->rig);
    bool is_counted = rig_count(dm_str_of(request), "orders.test") > 0;
    uint64_t before = counted(s, reason);
    char text[80];

    snprintf(text, sizeof(text), "\"reason\":\"%s\"", dm_reason_info(reason)->code);
    rig_send(c, dm_str_of(request));
    rig_expect(&s->rig, c, text, 1);
    check_answer(c, reason);
    rig_settle(&s->rig);
    assert_int_equal(counted(s, reason) - before, is_counted);
    rig_close(&s->rig, c);
}

static void test_reasons_of_a_request(void **state)
{
    static const struct stage_release usual = {
        .rules = "{\"method\":\"GET\",\"pattern\":\"/\",\"metric\":\"hits\"}",
        .mounts = "{\"path\":\"/in\",\"backend\":\"b\"}",
        .version = ",\"path\":\"/v\"",
    };
    struct stage *s = *state;

    refuse(s, "GET / HTTP/1.1\r\nHost: nobody.test\r\n\r\n", DM_REASON_HOST_UNKNOWN);
    rig_apply(&s->rig, "orders", 1, DM_UNIT_GRANTS, STAGE_GRANTS);
    refuse(s, STAGE_GET("/", STAGE_KEY), DM_REASON_NO_RELEASE);
    stage_release(s, &usual);
    refuse(s, STAGE_GET("/v/in", STAGE_KEY), DM_REASON_AUTH_INVALID); /* no applications yet */
    stage_applications(s, NULL, NULL);
    refuse(s, STAGE_GET("/", STAGE_KEY), DM_REASON_NO_VERSION);
    refuse(s, STAGE_GET("/v/in", ""), DM_REASON_AUTH_MISSING);
    refuse(s, STAGE_GET("/v/in", "X-Api-Key: bad\r\n"), DM_REASON_AUTH_INVALID);
    refuse(s, STAGE_GET("/v/out", STAGE_KEY), DM_REASON_NO_BACKEND);
    refuse(s, "PUT /v/in HTTP/1.1\r\nHost: orders.test\r\n" STAGE_KEY "Content-Length: 0\r\n\r\n",
           DM_REASON_NO_MAPPING_RULE);
    refuse(s, STAGE_GET("/v/%2f", STAGE_KEY), DM_REASON_BAD_REQUEST);
    stage_applications(s, "suspended", NULL);
    refuse(s, STAGE_GET("/v/in", STAGE_KEY), DM_REASON_APPLICATION_SUSPENDED);
    stage_applications(s, NULL, "{\"product\":\"other\",\"plan\":\"basic\"}");
    refuse(s, STAGE_GET("/v/in", STAGE_KEY), DM_REASON_NOT_SUBSCRIBED);
    rig_apply(&s->rig, "orders", 1, DM_UNIT_GRANTS,
              "{\"state\":\"suspended\",\"weight\":100,\"domains\":[{\"name\":\"orders.test\"}]}");
    refuse(s, STAGE_GET("/v/in", STAGE_KEY), DM_REASON_TENANT_SUSPENDED);
    assert_int_equal(s->origin.n_accepted, 0);
}

static void test_reasons_of_the_form(void **state)
{
    struct stage *s = *state;
    struct rig_socket *c;

    refuse(s, "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", DM_REASON_BAD_REQUEST);
    refuse(s, "GET / HTTP/3.0\r\nHost: a\r\n\r\n", DM_REASON_HTTP_VERSION);
    refuse(s, "GET / HTTP/1.1\r\nHost: a\r\nExpect: x\r\n\r\n", DM_REASON_EXPECTATION_FAILED);
    c = rig_connect(&s->rig);
    rig_send(c, DM_STR("GET /"));
    for (int i = 0; i < 9000; i++)
        rig_send(c, DM_STR("a"));
    rig_expect(&s->rig, c, "uri_too_long", 1);
    check_answer(c, DM_REASON_URI_TOO_LONG);
    rig_close(&s->rig, c);
    c = rig_connect(&s->rig);
    rig_send(c, DM_STR("GET / HTTP/1.1\r\nHost: a\r\n"));
    for (int i = 0; i < 101; i++)
        rig_send(c, DM_STR("A: b\r\n"));
    rig_send(c, DM_STR("\r\n"));
    rig_expect(&s->rig, c, "header_too_large", 1);
    check_answer(c, DM_REASON_HEADER_TOO_LARGE);
    rig_close(&s->rig, c);
    assert_int_equal(s->rig.counters->worker.faults, 5);
}

static void test_reasons_of_limits(void **state)
{
    struct stage_release r = {.plan = ",\"limits\":[{\"metric\":\"hits\",\"period\":\"minute\",\"value\":2}]"};
    struct stage *s = *state;
    uint64_t minute = UINT64_C(60) * 1000000000;

    stage_apply(s, &r);
    s->rig.worker.wall_offset_ns = 1700000040 * UINT64_C(1000000000) - dm_loop_now_ns(s->rig.worker.loop);
    for (int i = 0; i < 2; i++)
        stage_try(s, STAGE_GET("/", STAGE_KEY), "hello");
    refuse(s, STAGE_GET("/", STAGE_KEY), DM_REASON_LIMIT_EXCEEDED);
    s->rig.worker.wall_offset_ns += minute;
    stage_try(s, STAGE_GET("/", STAGE_KEY), "hello");
    r.plan = ",\"rate_limits\":[{\"metric\":\"hits\",\"rate\":1,\"per\":\"minute\",\"burst\":2}]";
    stage_release(s, &r);
    for (int i = 0; i < 2; i++)
        stage_try(s, STAGE_GET("/", STAGE_KEY), "hello");
    refuse(s, STAGE_GET("/", STAGE_KEY), DM_REASON_RATE_LIMITED);
    s->rig.worker.wall_offset_ns += minute;
    stage_try(s, STAGE_GET("/", STAGE_KEY), "hello");
    /* so many that one takes no time at all */
    r.plan = ",\"rate_limits\":[{\"metric\":\"hits\",\"rate\":1000000000000,\"per\":\"second\"}]";
    stage_release(s, &r);
    stage_try(s, STAGE_GET("/", STAGE_KEY), "hello");
}

/* What an earlier limit took is given back when a later one refuses. */
/* The status is in the fields, HTTP's says that the answer came. */
static void test_answers_in_grpc(void **state)
{
    struct stage_release r = {.plan = ",\"limits\":[{\"metric\":\"hits\",\"period\":\"minute\",\"value\":0}]"};
    struct stage *s = *state;
    struct rig_socket *c;

    stage_apply(s, &r);
    c = rig_connect(&s->rig);
    rig_send(c, DM_STR(STAGE_GET("/", "Content-Type: application/grpc+proto\r\n")));
    rig_expect(&s->rig, c, "\r\n\r\n", 1);
    assert_true(dm_str_starts(dm_buf_str(&c->received), DM_STR("HTTP/1.1 200 ")));
    assert_true(has(c, "Content-Type: application/grpc\r\n"));
    assert_true(has(c, "Daemun-Reason: auth_missing\r\n"));
    assert_true(has(c, "grpc-status: 16\r\ngrpc-message: The request carries no credential"));
    assert_true(has(c, "Content-Length: 0\r\n"));
    rig_send(c, DM_STR(STAGE_GET("/", STAGE_KEY "Content-Type: application/grpc\r\n")));
    rig_expect(&s->rig, c, "\r\n\r\n", 2);
    assert_true(has(c, "grpc-status: 8\r\n"));
    assert_true(has(c, "grpc-retry-pushback-ms: "));
    rig_settle(&s->rig);
    assert_int_equal(counted(s, DM_REASON_LIMIT_EXCEEDED), 1);
    rig_close(&s->rig, c);
}

static void test_limits_are_all_or_none(void **state)
{
    struct stage_release r = {.metrics = "{\"name\":\"list\",\"parent\":\"hits\"}",
                              .rules = "{\"method\":\"GET\",\"pattern\":\"/list\",\"metric\":\"list\"},"
                                       "{\"method\":\"GET\",\"pattern\":\"/other\",\"metric\":\"hits\"}",
                              .plan = ",\"limits\":[{\"metric\":\"hits\",\"period\":\"eternity\",\"value\":3},"
                                      "{\"metric\":\"list\",\"period\":\"eternity\",\"value\":1}]"};
    struct stage *s = *state;

    stage_apply(s, &r);
    stage_try(s, STAGE_GET("/list", STAGE_KEY), "hello");
    for (int i = 0; i < 5; i++)
        refuse(s, STAGE_GET("/list", STAGE_KEY), DM_REASON_LIMIT_EXCEEDED);
    for (int i = 0; i < 2; i++)
        stage_try(s, STAGE_GET("/other", STAGE_KEY), "hello");
    refuse(s, STAGE_GET("/other", STAGE_KEY), DM_REASON_LIMIT_EXCEEDED);
}

static void test_wording_of_a_version(void **state)
{
    static const struct stage_release r = {
        .version = ",\"errors\":{\"auth_missing\":{\"status\":418,\"content_type\":\"text/x\",\"body\":\"who?\"},"
                   "\"auth_invalid\":{\"status\":404}}"};
    struct stage *s = *state;
    struct rig_socket *c;

    stage_apply(s, &r);
    c = stage_ask(s, STAGE_GET("/", ""), "who?");
    assert_true(has(c, "HTTP/1.1 418 "));
    assert_true(has(c, "Content-Type: text/x\r\n"));
    assert_true(has(c, "Daemun-Reason: auth_missing\r\n"));
    assert_true(has(c, "X-Request-Id: "));
    rig_close(&s->rig, c);
    c = stage_ask(s, STAGE_GET("/", "X-Api-Key: bad\r\n"), "\"auth_invalid\"");
    assert_true(has(c, "HTTP/1.1 404 "));
    assert_true(has(c, "\"status\":404"));
    rig_close(&s->rig, c);
    stage_try(s, "HEAD / HTTP/1.1\r\nHost: orders.test\r\n\r\n", "Content-Length: 4\r\n");
}

#define FROM(list) STAGE_GET("/", STAGE_KEY "X-Forwarded-For: " list "\r\n")

static void test_addresses_behind_fronts(void **state)
{
    static const struct stage_release allow = {
        .policies = ",{\"type\":\"ip_check\",\"mode\":\"allow\",\"addresses\":[\"192.0.2.0/24\",\"2001:db8::/32\"]}"};
    static const struct stage_release deny = {
        .policies = ",{\"type\":\"ip_check\",\"mode\":\"deny\",\"addresses\":[\"192.0.2.0/24\",\"2001:db8::/32\"]}"};
    static const struct {
        const char *request;
        bool is_listed;
    } cases[] = {
        {FROM("192.0.2.7"), true},
        {FROM("192.0.2.7:1234"), true},
        {FROM("::ffff:192.0.2.7"), true},
        {FROM("2001:db8::7"), true},
        {FROM("[2001:db8::7]"), true},
        {FROM("[2001:db8::7]:80"), true},
        {FROM("2001:db9::7"), false},
        {FROM("198.51.100.1"), false},
        {FROM("192.0.2.7, 198.51.100.1"), false}, /* the last one that no front vouches for */
        {FROM("198.51.100.1, 192.0.2.7"), true},
        {FROM("198.51.100.1, 192.0.2.7, 127.0.0.9"), true}, /* 127.0.0.9 is a front */
        {FROM("198.51.100.1, 192.0.2.7, , 127.0.0.9,"), true},
        {FROM("192.0.2.7\r\nX-Forwarded-For: 198.51.100.1"), false}, /* two lines are one list */
        {FROM("198.51.100.1\r\nX-Forwarded-For: 192.0.2.7"), true},
        {FROM("192.0.2.7, garbage"), false},
        {FROM("unix:/run/x"), false},
    };
    struct stage *s = *state;

    assert_int_equal(dm_cidr_parse(DM_STR("127.0.0.0/8"), &s->rig.options.listen[0].trusted_fronts.blocks[0], NULL), 0);
    stage_apply(s, &allow);
    refuse(s, FROM("192.0.2.7"), DM_REASON_IP_DENIED); /* the sender is no front: what it says counts for nothing */
    s->rig.options.listen[0].trusted_fronts.n = 1;
    for (int is_deny = 0; is_deny < 2; is_deny++) {
        if (is_deny)
            stage_release(s, &deny);
        for (size_t i = 0; i < DM_COUNT(cases); i++) {
            if (cases[i].is_listed != (is_deny != 0))
                stage_try(s, cases[i].request, "hello");
            else
                refuse(s, cases[i].request, DM_REASON_IP_DENIED);
        }
    }
}

/* A policy that adds 80 KB of fields. */
static void add_large(struct dm_buf *out, const char *side)
{
    dm_buf_reset(out);
    dm_buf_printf(out, ",{\"type\":\"headers\",\"%s\":[", side);
    for (int i = 0; i < 20; i++) {
        dm_buf_printf(out, "%s{\"op\":\"push\",\"name\":\"X-%d\",\"value\":\"", i ? "," : "", i);
        for (int k = 0; k < 4000; k++)
            dm_buf_add_char(out, 'a');
        dm_buf_add_lit(out, "\"}");
    }
    dm_buf_add_lit(out, "]}");
    dm_buf_add_char(out, 0);
}

/* Headers that no longer fit one head are told, never sent in part. */
static void test_headers_that_do_not_fit(void **state)
{
    struct dm_buf policies DM_CLEANUP(dm_buf_done);
    struct stage *s = *state;
    struct stage_release r = {0};

    dm_buf_init(&policies, 1u << 20);
    add_large(&policies, "request");
    r.policies = policies.ptr;
    stage_apply(s, &r);
    refuse(s, STAGE_GET("/", STAGE_KEY), DM_REASON_HEADER_TOO_LARGE);
    assert_int_equal(s->origin.n_accepted, 0);
    add_large(&policies, "response");
    r.policies = policies.ptr;
    stage_release(s, &r);
    refuse(s, STAGE_GET("/", STAGE_KEY), DM_REASON_BACKEND_BAD_RESPONSE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_reasons_of_a_request, stage_setup, stage_teardown),
        cmocka_unit_test_setup_teardown(test_reasons_of_the_form, stage_setup, stage_teardown),
        cmocka_unit_test_setup_teardown(test_reasons_of_limits, stage_setup, stage_teardown),
        cmocka_unit_test_setup_teardown(test_answers_in_grpc, stage_setup, stage_teardown),
        cmocka_unit_test_setup_teardown(test_limits_are_all_or_none, stage_setup, stage_teardown),
        cmocka_unit_test_setup_teardown(test_wording_of_a_version, stage_setup, stage_teardown),
        cmocka_unit_test_setup_teardown(test_addresses_behind_fronts, stage_setup, stage_teardown),
        cmocka_unit_test_setup_teardown(test_headers_that_do_not_fit, stage_setup, stage_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
