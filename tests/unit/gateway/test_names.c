/* Endpoints whose names get other addresses while requests are under way: no request fails, and the old addresses are left. */
#include "rig/h2_origin.h"
#include "rig/stage.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "base/mem.h"

#define GET STAGE_GET("/", STAGE_KEY)
#define BACKEND ",\"response_timeout_ms\":3600000,\"idle_timeout_ms\":3600000"

static struct rig_origin origins[2];
static struct h2_origin h2_origins[2];

/* Both at one port, at 127.0.0.1 and 127.0.0.2. */
static int setup(void **state)
{
    struct stage *s;
    char addr[32];

    if (stage_setup(state) < 0)
        return -1;
    s = *state;
    rig_hold_clock(&s->rig);
    rig_origin_init(&s->rig, &origins[0], DM_STR(STAGE_OK));
    snprintf(addr, sizeof(addr), "127.0.0.2:%u", rig_origin_port(&origins[0]));
    rig_origin_init_at(&s->rig, &origins[1], dm_str_of(addr), DM_STR(STAGE_OK));
    return 0;
}

static int teardown(void **state)
{
    rig_origin_done(&origins[0]);
    rig_origin_done(&origins[1]);
    return stage_teardown(state);
}

/* The name's addresses are those of the bits, for a second. */
static void put_name(struct stage *s, unsigned bits)
{
    struct dm_addr addrs[2] = {0};
    size_t n = 0;

    if (bits & 1)
        assert_int_equal(dm_addr_parse(DM_STR("127.0.0.1:0"), &addrs[n++], NULL), 0);
    if (bits & 2)
        assert_int_equal(dm_addr_parse(DM_STR("127.0.0.2:0"), &addrs[n++], NULL), 0);
    dm_dns_put(s->rig.worker.upstream_env.dns, DM_STR("back.test"), addrs, n, 1000);
}

static void become(struct stage *s, unsigned bits)
{
    rig_pass(&s->rig, 1100, 1100);
    put_name(s, bits);
}

static void apply(struct stage *s, uint16_t port, const char *backend)
{
    char endpoint[100];

    snprintf(endpoint, sizeof(endpoint), "{\"host\":\"back.test\",\"port\":%u}", port);
    put_name(s, 1);
    stage_apply(s, &(struct stage_release){.endpoints = endpoint, .backend = backend});
}

static size_t n_open(const struct rig_origin *origin)
{
    size_t n = 0;

    for (size_t i = 0; i < origin->n_sockets; i++)
        n += !origin->sockets[i]->has_eof && !origin->sockets[i]->is_closed;
    return n;
}

static void test_addresses_that_change_under_load(void **state)
{
    struct stage *s = *state;
    struct rig_socket *held[10];

    apply(s, rig_origin_port(&origins[0]), BACKEND);
    for (size_t i = 0; i < DM_COUNT(held); i++) {
        size_t now = i % 2;
        struct rig_origin *origin = &origins[now];
        size_t before = origin->n_requests, former = origins[1 - now].n_requests;
        become(s, 1u << now);
        for (int k = 0; k < 5; k++)
            stage_try(s, GET, "hello");
        assert_int_equal(origin->n_requests, before + 5);
        origin->answer = DM_STR_NULL; /* one is in flight when the name changes */
        held[i] = rig_connect(&s->rig);
        rig_send(held[i], dm_str_of(GET));
        while (origin->n_requests < before + 6)
            dm_loop_turn(s->rig.worker.loop, 10);
        origin->answer = DM_STR(STAGE_OK);
        assert_int_equal(origins[1 - now].n_requests, former);
    }
    assert_int_equal(stage_counters(s)->upstream_retries, 0);
    for (size_t k = 0; k < 2; k++)
        for (size_t i = 0; i < origins[k].n_sockets; i++)
            if (!origins[k].sockets[i]->has_eof)
                rig_send(origins[k].sockets[i], DM_STR(STAGE_OK));
    for (size_t i = 0; i < DM_COUNT(held); i++) {
        rig_expect(&s->rig, held[i], "hello", 1);
        rig_close(&s->rig, held[i]);
    }
    rig_settle(&s->rig);
    assert_int_equal(n_open(&origins[0]), 0); /* each was the old one's, and ended behind its answer */
    assert_int_equal(n_open(&origins[1]), 1);
    assert_int_equal(stage_counters(s)->status[2], 60);
}

/* What is among the new ones stays; no answer ends nothing. */
static void test_addresses_that_stay(void **state)
{
    struct stage *s = *state;

    apply(s, rig_origin_port(&origins[0]), BACKEND);
    stage_try(s, GET, "hello");
    become(s, 3);
    for (int i = 0; i < 3; i++)
        stage_try(s, GET, "hello");
    become(s, 0);
    stage_try(s, GET, "hello");
    become(s, 1);
    stage_try(s, GET, "hello");
    assert_int_equal(origins[0].n_accepted, 1);
    assert_int_equal(origins[0].n_requests, 6);
    become(s, 2);
    stage_try(s, GET, "hello");
    rig_settle(&s->rig);
    assert_int_equal(n_open(&origins[0]), 0);
    assert_int_equal(origins[1].n_requests, 1);
}

/* P5: a name that comes to mean what was not granted is not called, and its former address neither. */
static void test_a_name_that_leaves_what_is_granted(void **state)
{
    struct stage *s = *state;

    apply(s, rig_origin_port(&origins[0]), BACKEND);
    rig_apply(&s->rig, "orders", 1, DM_UNIT_GRANTS,
              "{\"state\":\"active\",\"weight\":100,\"domains\":[{\"name\":\"orders.test\"}],"
              "\"endpoints\":[{\"address\":\"127.0.0.1\",\"port\":0}]}");
    stage_try(s, GET, "hello");
    become(s, 2);
    stage_try(s, GET, "\"egress_not_approved\"");
    assert_int_equal(origins[1].n_accepted, 0);
    become(s, 1);
    stage_try(s, GET, "hello");
}

static bool has_two(void *arg)
{
    return ((struct h2_origin *)arg)->n_requests == 2;
}

static void test_http2(void **state)
{
    struct stage *s = *state;
    struct rig_socket *held[2];
    char addr[32];

    h2_origin_init(&s->rig, &h2_origins[0]);
    snprintf(addr, sizeof(addr), "127.0.0.2:%u", h2_origin_port(&h2_origins[0]));
    h2_origin_init_at(&s->rig, &h2_origins[1], dm_str_of(addr));
    h2_origins[0].is_holding = true;
    apply(s, h2_origin_port(&h2_origins[0]), ",\"protocol\":\"http2\"" BACKEND);
    for (size_t i = 0; i < 2; i++) {
        held[i] = rig_connect(&s->rig);
        rig_send(held[i], dm_str_of(GET));
    }
    rig_run_until(&s->rig, has_two, &h2_origins[0]);
    become(s, 2);
    for (int i = 0; i < 5; i++)
        stage_try(s, GET, "hello");
    assert_int_equal(h2_origins[1].n_requests, 5);
    assert_int_equal(h2_origins[0].n_reset, 0);
    h2_origin_finish(&h2_origins[0]);
    for (size_t i = 0; i < 2; i++) {
        rig_expect(&s->rig, held[i], "0\r\n\r\n", 1);
        rig_close(&s->rig, held[i]);
    }
    rig_settle(&s->rig);
    assert_int_equal(h2_origin_connections(&h2_origins[0]), 0);
    h2_origin_done(&h2_origins[0]);
    h2_origin_done(&h2_origins[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_addresses_that_change_under_load, setup, teardown),
        cmocka_unit_test_setup_teardown(test_addresses_that_stay, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_name_that_leaves_what_is_granted, setup, teardown),
        cmocka_unit_test_setup_teardown(test_http2, setup, teardown),
    };

    return cmocka_run_group_tests_name("gateway/names", tests, NULL, NULL);
}
