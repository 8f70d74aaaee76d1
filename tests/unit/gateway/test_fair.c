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
static void a_small_tenant_does_not_wait_for_a_greedy_one(void **state)
{
    struct rig_socket *greedy[N_GREEDY], *small;
    struct stage *s = *state;

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
        TEST(a_small_tenant_does_not_wait_for_a_greedy_one),
        TEST(time_is_charged_to_who_asks),
        TEST(a_tenant_that_goes_with_work_in_hand),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
