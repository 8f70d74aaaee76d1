/* A fleet after a restore: gateways that are ahead of the database, and tenants that are gone from it. */
#include "gateway_peer.h"

#include "control/store/units.h"
#include "base/mem.h"

#define T "/api/v1/tenants/orders"

static void test_deleting_a_tenant(void **state)
{
    struct harness *h = *state;
    struct gateway g;
    struct dm_mark last;

    serve_team(h);
    dial(h, &g);
    say_hello(&g, "g1", NULL, 0);
    harness_until(h, &g.is_synced);
    last = find(&g, "orders", DM_UNIT_GRANTS)->mark;
    assert_str(expect(h, 200, "live.gateways", "DELETE", T "?wait=live&timeout_ms=100000", h->master, "", NULL), "1");
    assert_int_equal(g.n_seen, 3 * KINDS);
    assert_true(find(&g, "orders", DM_UNIT_GRANTS)->is_gone);
    assert_true(dm_mark_cmp(find(&g, "orders", DM_UNIT_GRANTS)->mark, last) > 0);
    last = find(&g, "orders", DM_UNIT_GRANTS)->mark;
    hang_up(&g);

    /* Made again, it is ahead of what went; a gateway that never had it is not told of what went. */
    dm_free(expect(h, 201, NULL, "POST", "/api/v1/tenants", h->master, "", "{\"name\":\"orders\"}"));
    dial(h, &g);
    say_hello(&g, "g2", NULL, 0);
    harness_until(h, &g.is_synced);
    assert_int_equal(g.n_seen, 2 * KINDS);
    assert_true(dm_mark_cmp(find(&g, "orders", DM_UNIT_GRANTS)->mark, last) > 0);
    hang_up(&g);
}

/* A database from a backup: the gateway is ahead of it, and must still take the next change. */
static void test_a_gateway_ahead_of_the_database(void **state)
{
    struct harness *h = *state;
    struct gateway g;
    struct dm_link_held held = {DM_STR("orders"), DM_UNIT_RELEASE, {UINT64_C(1) << 40, 9}};

    serve_team(h);
    dial(h, &g);
    say_hello(&g, "g1", &held, 1);
    while (find(&g, "orders", DM_UNIT_RELEASE) == NULL)
        assert_true(dm_loop_turn(h->loop, -1) >= 0);
    settle(h);
    assert_true(dm_mark_cmp(find(&g, "orders", DM_UNIT_RELEASE)->mark, held.mark) > 0);
    hang_up(&g);
}

/* After a restore a gateway may be ahead with everything: what it is sent was made once. */
static void test_a_tenant_that_is_ahead_is_raised_once(void **state)
{
    struct harness *h = *state;
    struct gateway g;
    struct dm_link_held held[KINDS];

    serve_team(h);
    for (int kind = 1; kind < DM_UNIT_KINDS; kind++)
        held[kind - 1] = (struct dm_link_held){DM_STR("orders"), kind, {UINT64_C(1) << 40, 9}};
    dial(h, &g);
    say_hello(&g, "g1", held, DM_COUNT(held));
    turn_until_seen(&g, 2 * KINDS);
    settle(h);
    assert_int_equal(g.n_seen, 2 * KINDS);
    for (int kind = 1; kind < DM_UNIT_KINDS; kind++) {
        assert_int_equal(find(&g, "orders", kind)->mark.epoch, (UINT64_C(1) << 40) + 1);
        assert_int_equal(find(&g, "orders", kind)->mark.sequence, 1);
    }
    hang_up(&g);
}

/* Deleted in the backup, made again later, and then restored: nobody's units must not stay in service. */
static void test_a_deleted_tenant_that_is_ahead_goes(void **state)
{
    struct harness *h = *state;
    struct gateway g;
    struct dm_link_held held = {DM_STR("orders"), DM_UNIT_GRANTS, {UINT64_C(1) << 40, 9}};

    serve_team(h);
    dm_free(expect(h, 204, NULL, "DELETE", T, h->master, "", NULL));
    dial(h, &g);
    say_hello(&g, "g1", &held, 1);
    harness_until(h, &g.is_synced);
    assert_non_null(find(&g, "orders", DM_UNIT_GRANTS));
    assert_true(find(&g, "orders", DM_UNIT_GRANTS)->is_gone);
    assert_true(dm_mark_cmp(find(&g, "orders", DM_UNIT_GRANTS)->mark, held.mark) > 0);
    hang_up(&g);
}

static void test_unknown_tenants_go(void **state)
{
    struct harness *h = *state;
    struct gateway g;
    struct dm_link_held held = {DM_STR("nobody"), DM_UNIT_RELEASE, {7, 9}};

    serve_team(h);
    dial(h, &g);
    say_hello(&g, "g1", &held, 1);
    harness_until(h, &g.is_synced);
    assert_true(find(&g, "nobody", DM_UNIT_RELEASE)->is_gone);
    assert_true(dm_mark_cmp(find(&g, "nobody", DM_UNIT_RELEASE)->mark, held.mark) > 0);
    hang_up(&g);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, harness_serving_setup, harness_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_deleting_a_tenant),
        TEST(test_a_gateway_ahead_of_the_database),
        TEST(test_a_tenant_that_is_ahead_is_raised_once),
        TEST(test_a_deleted_tenant_that_is_ahead_goes),
        TEST(test_unknown_tenants_go),
    };

    return cmocka_run_group_tests_name("fleet restored", tests, NULL, NULL);
}
