/* Caps on a tenant's connections, from callers and to backends: below and beyond, with other workers; what the neighbour notices of
 * them: nothing; and how they change. */
#include "caps_rig.h"

#include "rig/h2_origin.h"

#include <sys/stat.h>
#include <unistd.h>

static struct dm_live_tenant *tenant_of(struct rig *rig)
{
    return dm_map_get(&rig->worker.tenants, DM_STR("orders"));
}

/* --- connections -------------------------------------------------------------------------------------------------- */

static void test_connections(void **state)
{
    struct stage *s = *state;
    struct rig_socket *a, *b, *c;

    apply_caps(s, "\"connections\":2");
    a = stage_ask(s, GET, OK);
    b = stage_ask(s, GET, OK);
    assert_int_equal(stage_counters(s)->connections, 2);
    c = stage_ask(s, GET, CROWDED);
    rig_expect_end(&s->rig, c);
    assert_int_equal(rig_count(dm_buf_str(&c->received), "HTTP/1.1 503 "), 1);
    assert_int_equal(rig_count(dm_buf_str(&c->received), "Connection: close\r\n"), 1);
    assert_int_equal(rig_count(dm_buf_str(&c->received), "Retry-After: "), 1);
    assert_int_equal(stage_counters(s)->connections, 2);
    assert_int_equal(refused(s, DM_CAP_CONNECTIONS), 1);
    assert_int_equal(stage_counters(s)->reasons[DM_REASON_TOO_MANY_CONNECTIONS], 1);
    ask(s, a, GET, OK);
    leave(s, b);
    assert_int_equal(stage_counters(s)->connections, 1);
    stage_try(s, GET, OK);
    leave(s, a);
    leave(s, c);
    assert_int_equal(stage_counters(s)->connections, 0);
}

/* A client that sends nothing yet is nobody's. */
static void test_connections_count_from_their_first_request(void **state)
{
    struct stage *s = *state;
    struct rig_socket *silent[4], *a;

    apply_caps(s, "\"connections\":1");
    for (size_t i = 0; i < DM_COUNT(silent); i++)
        silent[i] = rig_connect(&s->rig);
    rig_settle(&s->rig);
    assert_int_equal(stage_counters(s)->connections, 0);
    a = stage_ask(s, GET, OK);
    leave(s, a);
    for (size_t i = 0; i < DM_COUNT(silent); i++)
        leave(s, silent[i]);
}

static void test_connections_of_other_workers_count(void **state)
{
    struct stage *s = *state;
    struct dm_counters_page *other = add_other_worker(s);
    struct rig_socket *a;

    apply_caps(s, "\"connections\":3");
    other->tenants[1].connections = 2;
    a = stage_ask(s, GET, OK);
    stage_try(s, GET, CROWDED);
    other->tenants[1].connections = 1;
    stage_try(s, GET, OK);
    leave(s, a);
    dm_free(other);
}

/* Three quarters of the listener's are the most that one tenant gets. */
static void test_connections_without_a_cap(void **state)
{
    struct stage *s = *state;
    struct rig_socket *sockets[3];

    s->rig.options.listen[0].limits.connections = 4;
    dm_caps_init(&s->rig.worker);
    apply_caps(s, "");
    for (size_t i = 0; i < DM_COUNT(sockets); i++)
        sockets[i] = stage_ask(s, GET, OK);
    stage_try(s, GET, CROWDED);
    for (size_t i = 0; i < DM_COUNT(sockets); i++)
        leave(s, sockets[i]);
    stage_try(s, GET, OK);
}

/* Who weighs a tenth has three of thirteen. */
static void test_connections_by_weight(void **state)
{
    struct stage *s = *state;
    struct rig_socket *sockets[3];

    s->rig.options.listen[0].limits.connections = 13;
    s->rig.worker.upstream_env.connections_max = 1334;
    apply_caps(s, "");
    rig_apply(&s->rig, "orders", 1, DM_UNIT_GRANTS,
              "{\"state\":\"active\",\"weight\":10,\"domains\":[{\"name\":\"orders.test\"}],"
              "\"endpoints\":[{\"address\":\"127.0.0.0/8\",\"port\":0}]}");
    assert_int_equal(tenant_of(&s->rig)->held_max, 308);
    for (size_t i = 0; i < DM_COUNT(sockets); i++)
        sockets[i] = stage_ask(s, GET, OK);
    stage_try(s, GET, CROWDED);
    for (size_t i = 0; i < DM_COUNT(sockets); i++)
        leave(s, sockets[i]);
}

static void test_connections_of_fronts_are_nobodys(void **state)
{
    struct stage *s = *state;
    struct rig_socket *a, *b;

    trust_everybody(s);
    apply_caps(s, "\"connections\":1");
    a = stage_ask(s, GET, OK);
    b = stage_ask(s, GET, OK);
    assert_int_equal(stage_counters(s)->connections, 0);
    leave(s, a);
    leave(s, b);
}

static void test_connections_of_http2(void **state)
{
    struct stage *s = *state;
    struct rig_socket *a;
    struct h2 *h2;

    apply_caps(s, "\"connections\":1");
    a = stage_ask(s, GET, OK);
    h2 = h2_connect(s);
    h2_request(h2, "/", "", NULL);
    h2_expect(s, h2, "1:503 too_many_connections 1. ");
    h2_expect(s, h2, "G ");
    rig_expect_end(&s->rig, h2->socket);
    h2_close(s, h2);
    leave(s, a);
    h2 = h2_connect(s);
    h2_request(h2, "/", "", NULL);
    h2_expect(s, h2, "1:200 1. ");
    assert_int_equal(stage_counters(s)->connections, 1);
    h2_close(s, h2);
    assert_int_equal(stage_counters(s)->connections, 0);
}

/* --- handshakes --------------------------------------------------------------------------------------------------- */

/* A second worker of the gateway: the same pages of limits, counters of its own. */
static void init_second(struct stage *s, struct rig *second)
{
    struct dm_err err = {0};
    char path[80];

    memset(second, 0, sizeof(*second));
    snprintf(path, sizeof(path), "%s/limits", s->rig.dir);
    memcpy(second->dir, s->rig.dir, sizeof(second->dir));
    second->options = s->rig.options;
    second->next_sequence = 100;
    second->counters = dm_calloc(1, sizeof(*second->counters));
    assert_int_equal(dm_worker_init(&second->worker, dm_sys_real(), &second->options, second->counters, path, &err), 0);
}

/* Over all workers, to the last one: the clock stands in between. */
static void test_handshakes(void **state)
{
    struct stage *s = *state;
    struct rig second;
    size_t n = 0;

    apply_caps(s, "\"handshakes\":7");
    init_second(s, &second);
    rig_apply(&second, "orders", 1, DM_UNIT_GRANTS,
              "{\"state\":\"active\",\"weight\":100,\"caps\":{\"handshakes\":7},\"domains\":[],\"endpoints\":[]}");
    second.worker.wall_offset_ns = dm_worker_wall_ns(&s->rig.worker) - dm_loop_now_ns(second.worker.loop);
    for (size_t i = 0; i < 10; i++) {
        n += dm_caps_take_handshake(&s->rig.worker, tenant_of(&s->rig));
        n += dm_caps_take_handshake(&second.worker, tenant_of(&second));
    }
    assert_int_equal(n, 7);
    assert_int_equal(refused(s, DM_CAP_HANDSHAKES) + second.counters->tenants[1].refused[DM_CAP_HANDSHAKES], 13);
    assert_int_equal(stage_counters(s)->handshakes + second.counters->tenants[1].handshakes, 7);
    s->rig.worker.wall_offset_ns += 1000000000;
    for (size_t i = 0; i < 10; i++)
        n += dm_caps_take_handshake(&s->rig.worker, tenant_of(&s->rig));
    assert_int_equal(n, 14);
    apply_grants(s, "");
    assert_true(dm_caps_take_handshake(&s->rig.worker, tenant_of(&s->rig)));
    dm_worker_done(&second.worker);
    dm_free(second.counters);
}

/* --- connections to backends -------------------------------------------------------------------------------------- */

static void test_upstream_connections(void **state)
{
    struct stage *s = *state;
    struct rig_socket *a, *b;

    apply_caps(s, "\"upstream_connections\":1");
    a = begin(s);
    assert_int_equal(stage_counters(s)->upstream_connections, 1);
    b = stage_ask(s, GET, OVER_CAP);
    assert_int_equal(refused(s, DM_CAP_UPSTREAM_CONNECTIONS), 1);
    assert_int_equal(s->origin.n_accepted, 1);
    finish(s, 0, a);
    ask(s, b, GET, OK); /* on the one that is kept */
    assert_int_equal(s->origin.n_accepted, 1);
    assert_int_equal(stage_counters(s)->upstream_connections, 1);
    leave(s, a);
    leave(s, b);
}

/* One that is idle makes way, also another backend's. */
/* One that takes no further call is there until its last one is through. */
static void test_upstream_connections_that_go_away(void **state)
{
    struct stage *s = *state;
    struct h2_origin origin;
    struct rig_socket *a;
    char endpoints[100];

    h2_origin_init(&s->rig, &origin);
    origin.is_holding = origin.goes_away = true;
    apply_caps(s, "\"upstream_connections\":1");
    snprintf(endpoints, sizeof(endpoints), "{\"host\":\"127.0.0.1\",\"port\":%u}", h2_origin_port(&origin));
    stage_release(s, &(struct stage_release){.endpoints = endpoints, .backend = ",\"protocol\":\"http2\""});
    a = stage_ask(s, GET, OK);
    rig_settle(&s->rig);
    assert_int_equal(stage_counters(s)->upstream_connections, 1);
    stage_try(s, GET, OVER_CAP);
    assert_int_equal(refused(s, DM_CAP_UPSTREAM_CONNECTIONS), 1);
    h2_origin_finish(&origin);
    rig_expect(&s->rig, a, "0\r\n\r\n", 1);
    rig_settle(&s->rig);
    assert_int_equal(stage_counters(s)->upstream_connections, 0);
    origin.is_holding = origin.goes_away = false;
    stage_try(s, GET, OK);
    assert_int_equal(stage_counters(s)->upstream_connections, 1);
    assert_int_equal(origin.n_accepted, 2);
    leave(s, a);
    h2_origin_done(&origin);
}

static void test_idle_upstream_connections_make_way(void **state)
{
    struct stage *s = *state;
    struct rig_origin other;
    char endpoints[200];

    rig_origin_init(&s->rig, &other, DM_STR(STAGE_OK));
    snprintf(endpoints, sizeof(endpoints), "{\"host\":\"127.0.0.1\",\"port\":%u},{\"host\":\"127.0.0.1\",\"port\":%u}",
             rig_origin_port(&s->origin), rig_origin_port(&other));
    apply_caps(s, "\"upstream_connections\":1");
    stage_release(s, &(struct stage_release){.endpoints = endpoints});
    for (int i = 0; i < 4; i++)
        stage_try(s, GET, OK);
    assert_int_equal(s->origin.n_requests, 2);
    assert_int_equal(other.n_requests, 2);
    assert_int_equal(stage_counters(s)->upstream_connections, 1);
    assert_int_equal(refused(s, DM_CAP_UPSTREAM_CONNECTIONS), 0);
    assert_int_equal(s->origin.n_accepted + other.n_accepted, 4);
    rig_origin_done(&other);
}

static void test_upstream_connections_of_other_workers_count(void **state)
{
    struct stage *s = *state;
    struct dm_counters_page *other = add_other_worker(s);

    apply_caps(s, "\"upstream_connections\":2");
    other->tenants[1].upstream_connections = 2;
    stage_try(s, GET, OVER_CAP);
    other->tenants[1].upstream_connections = 1;
    stage_try(s, GET, OK);
    dm_free(other);
}

/* What is idle here would keep another worker from its backends. */
static void test_idle_upstream_connections_yield_to_other_workers(void **state)
{
    struct stage *s = *state;
    struct dm_counters_page *other = add_other_worker(s);
    struct rig_socket *a;

    apply_caps(s, "\"upstream_connections\":2");
    a = stage_ask(s, GET, OK);
    ask(s, a, GET, OK);
    assert_int_equal(s->origin.n_accepted, 1);
    assert_int_equal(stage_counters(s)->upstream_connections, 1);
    other->tenants[1].upstream_connections = 1;
    dm_worker_look_at_others(&s->rig.worker); /* the other wants no more than it has: it can't know */
    assert_int_equal(stage_counters(s)->upstream_connections, 0);
    ask(s, a, GET, OK);
    assert_int_equal(s->origin.n_accepted, 2);
    assert_int_equal(stage_counters(s)->upstream_connections, 0); /* not kept */
    other->tenants[1].upstream_connections = 0;
    ask(s, a, GET, OK);
    dm_worker_look_at_others(&s->rig.worker);
    assert_int_equal(stage_counters(s)->upstream_connections, 1);
    leave(s, a);
    dm_free(other);
}

/* --- neighbours, changes ------------------------------------------------------------------------------------------ */

/* A caller of a name that is nobody's, on a connection of its own, is told what it always is. */
static void test_nobody_else_notices(void **state)
{
    struct stage *s = *state;
    struct rig_socket *a;

    apply_caps(s, "\"connections\":1,\"exchanges\":1");
    a = begin(s);
    stage_try(s, GET, CROWDED);
    stage_try(s, "GET / HTTP/1.1\r\nHost: nobody.test\r\n\r\n", "\"host_unknown\"");
    finish(s, 0, a);
    leave(s, a);
}

static void test_caps_change(void **state)
{
    struct stage *s = *state;
    struct rig_socket *a, *b;

    apply_caps(s, "\"connections\":1");
    a = stage_ask(s, GET, OK);
    stage_try(s, GET, CROWDED);
    apply_grants(s, "\"connections\":2");
    b = stage_ask(s, GET, OK);
    apply_grants(s, "\"connections\":1"); /* those that there are stay */
    ask(s, a, GET, OK);
    ask(s, b, GET, OK);
    stage_try(s, GET, CROWDED);
    leave(s, a);
    leave(s, b);
}

/* By their files, when those are there. */
static void test_other_workers_are_found(void **state)
{
    struct stage *s = *state;
    struct dm_gateway_options *options = &s->rig.options;
    struct dm_shm shm;
    struct dm_counters_page *page;
    char dir[DM_GATEWAY_PATH_MAX], path[DM_GATEWAY_PATH_MAX];

    snprintf(options->data_dir, sizeof(options->data_dir), "%s", s->rig.dir);
    options->n_workers = 2;
    dm_worker_look_at_others(&s->rig.worker);
    assert_int_equal(s->rig.worker.pages.n_others, 0);
    dm_gateway_path(options, dir, "run");
    assert_int_equal(mkdir(dir, 0700), 0);
    dm_gateway_path(options, path, DM_GATEWAY_COUNTERS, 1, "b");
    assert_int_equal(dm_shm_open(&shm, path, "counters", DM_COUNTERS_VERSION - 1, sizeof(*page), true, NULL), 0);
    dm_shm_close(&shm);
    dm_worker_look_at_others(&s->rig.worker); /* of another version */
    assert_int_equal(s->rig.worker.pages.n_others, 0);
    assert_int_equal(dm_shm_open(&shm, path, "counters", DM_COUNTERS_VERSION, sizeof(*page), true, NULL), 0);
    page = shm.ptr;
    page->tenants[1].connections = 1;
    dm_worker_look_at_others(&s->rig.worker);
    dm_worker_look_at_others(&s->rig.worker);
    assert_int_equal(s->rig.worker.pages.n_others, 1);
    apply_caps(s, "\"connections\":1");
    stage_try(s, GET, CROWDED);
    page->tenants[1].connections = 0;
    stage_try(s, GET, OK);
    dm_shm_close(&shm);
    unlink(path);
    rmdir(dir);
}

static void test_what_a_dead_worker_held_is_forgotten(void **state)
{
    struct stage *s = *state;
    struct dm_counters_page *other = add_other_worker(s);
    struct dm_tenant_counters *c = &other->tenants[1];

    apply_caps(s, "\"connections\":3,\"upstream_connections\":2,\"exchanges\":9,\"buffered_bytes\":1000");
    *c = (struct dm_tenant_counters){
        .connections = 3, .upstream_connections = 2, .exchanges_begun = 9, .requests = 7, .buffered_bytes = 1000};
    stage_try(s, GET, CROWDED);
    dm_counters_close(other, 2);
    stage_try(s, GET, OK);
    assert_int_equal(c->requests, 7);
    dm_free(other);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, stage_setup, stage_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_connections),
        TEST(test_connections_count_from_their_first_request),
        TEST(test_connections_of_other_workers_count),
        TEST(test_connections_without_a_cap),
        TEST(test_connections_by_weight),
        TEST(test_connections_of_fronts_are_nobodys),
        TEST(test_connections_of_http2),
        TEST(test_handshakes),
        TEST(test_upstream_connections),
        TEST(test_upstream_connections_that_go_away),
        TEST(test_idle_upstream_connections_make_way),
        TEST(test_upstream_connections_of_other_workers_count),
        TEST(test_idle_upstream_connections_yield_to_other_workers),
        TEST(test_nobody_else_notices),
        TEST(test_caps_change),
        TEST(test_other_workers_are_found),
        TEST(test_what_a_dead_worker_held_is_forgotten),
    };

    return cmocka_run_group_tests_name("caps of connections", tests, NULL, NULL);
}
