/* Whose a host name is, over changes of several tenants in any order; tenants that go, come back and are made again. */
#include "rig/stage.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define GRANT(name) "{\"state\":\"active\",\"weight\":100,\"domains\":[{\"name\":\"" name "\"}]}"
#define NO_GRANT "{\"state\":\"active\",\"weight\":100}"
#define RELEASE(name)                                                                                                                                          \
    "{\"backends\":[{\"name\":\"b\",\"endpoints\":[{\"host\":\"127.0.0.1\",\"port\":1}]}],\"products\":[{\"name\":\"p\",\"domains\":[\"" name                  \
    "\"],\"versions\":[{\"name\":\"v1\",\"policies\":[{\"type\":\"api_key\"}],\"mapping_rules\":[{\"method\":\"GET\",\"pattern\":\"/\",\"metric\":\"hits\"}]," \
    "\"backends\":[{\"path\":\"/\",\"backend\":\"b\"}]}],\"plans\":[{\"name\":\"basic\"}]}]}"

static const char *owner(struct stage *s, const char *host)
{
    const struct dm_route *route = dm_routes_find(&s->rig.worker.routes, dm_str_of(host));

    return route ? route->tenant->name.ptr : "";
}

static bool has_product(struct stage *s, const char *host)
{
    const struct dm_route *route = dm_routes_find(&s->rig.worker.routes, dm_str_of(host));

    return route && route->product != DM_ROUTE_NO_PRODUCT;
}

static void test_names_and_wildcards(void **state)
{
    struct stage *s = *state;

    rig_apply(&s->rig, "a", 1, DM_UNIT_GRANTS, GRANT("*.example.com"));
    rig_apply(&s->rig, "b", 2, DM_UNIT_GRANTS, GRANT("*.x.example.com"));
    rig_apply(&s->rig, "c", 3, DM_UNIT_GRANTS, GRANT("api.x.example.com"));
    assert_string_equal(owner(s, "api.example.com"), "a");
    assert_string_equal(owner(s, "api.y.example.com"), "a");
    assert_string_equal(owner(s, "web.x.example.com"), "b");
    assert_string_equal(owner(s, "api.x.example.com"), "c");
    assert_string_equal(owner(s, "x.example.com"), "a");
    assert_string_equal(owner(s, "example.com"), "");
    assert_string_equal(owner(s, ""), "");
    assert_string_equal(owner(s, "badexample.com"), "");
    rig_apply(&s->rig, "a", 1, DM_UNIT_RELEASE, RELEASE("api.example.com"));
    assert_true(has_product(s, "api.example.com"));
    assert_false(has_product(s, "web.example.com"));
    rig_apply(&s->rig, "b", 2, DM_UNIT_RELEASE, RELEASE("api.example.com")); /* not granted to it */
    assert_string_equal(owner(s, "api.example.com"), "a");
}

static void test_name_moves_in_either_order(void **state)
{
    struct stage *s = *state;

    rig_apply(&s->rig, "a", 1, DM_UNIT_GRANTS, GRANT("m.test"));
    rig_apply(&s->rig, "a", 1, DM_UNIT_RELEASE, RELEASE("m.test"));
    /* the new one's unit comes first */
    rig_apply(&s->rig, "b", 2, DM_UNIT_RELEASE, RELEASE("m.test"));
    rig_apply(&s->rig, "b", 2, DM_UNIT_GRANTS, GRANT("m.test"));
    assert_string_equal(owner(s, "m.test"), "a");
    rig_apply(&s->rig, "a", 1, DM_UNIT_GRANTS, NO_GRANT);
    assert_string_equal(owner(s, "m.test"), "b");
    assert_true(has_product(s, "m.test"));
    assert_int_equal(s->rig.worker.routes.n_waiting, 0);
    /* and back, the former one's first */
    rig_apply(&s->rig, "b", 2, DM_UNIT_GRANTS, NO_GRANT);
    assert_string_equal(owner(s, "m.test"), "");
    rig_apply(&s->rig, "a", 1, DM_UNIT_GRANTS, GRANT("m.test"));
    assert_string_equal(owner(s, "m.test"), "a");
    assert_true(has_product(s, "m.test"));
}

static void test_name_of_a_tenant_that_goes(void **state)
{
    struct stage *s = *state;
    struct dm_mark late = {9, 9};

    rig_apply(&s->rig, "a", 1, DM_UNIT_GRANTS, GRANT("m.test"));
    rig_apply(&s->rig, "b", 2, DM_UNIT_GRANTS, GRANT("m.test"));
    dm_worker_remove(&s->rig.worker, DM_STR("a"), DM_UNIT_GRANTS, late);
    assert_string_equal(owner(s, "m.test"), "b");
    assert_null(dm_map_get(&s->rig.worker.tenants, DM_STR("a")));
    /* one that waits goes */
    rig_apply(&s->rig, "c", 3, DM_UNIT_GRANTS, GRANT("m.test"));
    assert_int_equal(s->rig.worker.routes.n_waiting, 1);
    dm_worker_remove(&s->rig.worker, DM_STR("c"), DM_UNIT_GRANTS, late);
    assert_int_equal(s->rig.worker.routes.n_waiting, 0);
    assert_string_equal(owner(s, "m.test"), "b");
}

static void test_older_marks_count_for_nothing(void **state)
{
    struct stage *s = *state;
    struct dm_mark old = {1, 1};

    s->rig.next_sequence = 5;
    rig_apply(&s->rig, "a", 1, DM_UNIT_GRANTS, GRANT("m.test"));
    dm_worker_remove(&s->rig.worker, DM_STR("a"), DM_UNIT_GRANTS, old);
    assert_string_equal(owner(s, "m.test"), "a");
    dm_worker_remove(&s->rig.worker, DM_STR("nobody"), DM_UNIT_GRANTS, old);
}

/* G3, P2: the keys and the release of the former tenant of this name are not the new one's. */
static void test_tenant_made_again(void **state)
{
    struct stage *s = *state;
    struct stage_release usual = {0};

    s->rig.next_sequence = 100;
    stage_apply(s, &usual);
    stage_try(s, STAGE_GET("/", STAGE_KEY), "hello");
    s->rig.next_sequence = 0; /* numbered anew */
    rig_apply(&s->rig, "orders", 2, DM_UNIT_GRANTS, STAGE_GRANTS);
    stage_try(s, STAGE_GET("/", STAGE_KEY), "no_release");
    assert_int_equal(((struct dm_live_tenant *)dm_map_get(&s->rig.worker.tenants, DM_STR("orders")))->id, 2);
    /* a unit of the former that comes late */
    s->rig.next_sequence = 500;
    s->rig.may_be_old = true;
    stage_release(s, &usual);
    stage_try(s, STAGE_GET("/", STAGE_KEY), "no_release");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_names_and_wildcards, stage_setup, stage_teardown),
        cmocka_unit_test_setup_teardown(test_name_moves_in_either_order, stage_setup, stage_teardown),
        cmocka_unit_test_setup_teardown(test_name_of_a_tenant_that_goes, stage_setup, stage_teardown),
        cmocka_unit_test_setup_teardown(test_older_marks_count_for_nothing, stage_setup, stage_teardown),
        cmocka_unit_test_setup_teardown(test_tenant_made_again, stage_setup, stage_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
