/* The fleet against a gateway that does what the test says: what it lacks, what is live, who is waited for. */
#include "gateway_peer.h"

#include "control/store/units.h"
#include "base/mem.h"

#define T "/api/v1/tenants/orders"

static void test_hello_brings_what_is_lacking(void **state)
{
    struct harness *h = *state;
    struct gateway g, again;
    struct dm_link_held held[2];

    serve_team(h);
    dial(h, &g);
    say_hello(&g, "g1", NULL, 0);
    harness_until(h, &g.is_synced);
    assert_true(g.is_welcome);
    assert_int_equal(g.n_seen, 2 * KINDS);
    settle(h);
    assert_str(expect(h, 200, "units.0.live", "GET", T "/status", h->master, "", NULL), "1");
    assert_str(expect(h, 200, "units.2.gateways.0.state", "GET", T "/status", h->master, "", NULL), "live");

    /* The same gateway comes again with some of it: it is sent the rest, and the former connection ends. */
    for (int i = 0; i < 2; i++)
        held[i] = (struct dm_link_held){DM_STR("orders"), i + 1, find(&g, "orders", i + 1)->mark};
    held[1].mark.sequence--;
    dial(h, &again);
    say_hello(&again, "g1", held, 2);
    harness_until(h, &again.is_synced);
    assert_int_equal(again.n_seen, 2 * KINDS - 1);
    assert_null(find(&again, "orders", DM_UNIT_RELEASE));
    harness_until(h, &g.is_cut);
    hang_up(&g);
    hang_up(&again);
}

static void test_wait_until_live(void **state)
{
    struct harness *h = *state;
    struct gateway g;

    serve_team(h);
    dial(h, &g);
    say_hello(&g, "g1", NULL, 0);
    harness_until(h, &g.is_synced);
    settle(h);
    assert_str(expect(h, 200, "live.gateways", "PATCH", T "/backends/service?wait=live&timeout_ms=100000", h->master,
                      "", "{\"base_path\":\"/x\"}"),
               "1");
    assert_int_equal(g.n_seen, 2 * KINDS + 1);
    assert_str(expect(h, 201, "live.gateways", "POST", "/api/v1/tenants?wait=live&timeout_ms=100000", h->master, "",
                      "{\"name\":\"third\"}"),
               "1");
    assert_int_equal(g.n_seen, 3 * KINDS + 1);
    /* Nothing changed: what there is must be live. */
    assert_str(expect(h, 200, "live.of", "PATCH", T "/backends/service?wait=live&timeout_ms=100000", h->master, "",
                      "{\"base_path\":\"/x\"}"),
               "1");
    assert_int_equal(g.n_seen, 3 * KINDS + 1);
    g.mode = ACK_REFUSE;
    assert_str(expect(h, 200, "live.refused.0.message", "PATCH", T "/backends/service?wait=live&timeout_ms=100000",
                      h->master, "", "{\"base_path\":\"/y\"}"),
               "no good");
    assert_str(expect(h, 200, "units.0.gateways.0.error.pointer", "GET", T "/status", h->master, "", NULL),
               "/products/0");
    g.mode = ACK_NEVER;
    assert_str(expect(h, 200, "live.lagging.0", "PATCH", T "/backends/service?wait=live&timeout_ms=30", h->master, "",
                      "{\"base_path\":\"/z\"}"),
               "g1");
    assert_str(expect(h, 200, "units.0.gateways.0.state", "GET", T "/status", h->master, "", NULL), "sent");
    /* Away, it still counts. */
    hang_up(&g);
    settle(h);
    assert_str(expect(h, 200, "live.of", "PATCH", T "/backends/service?wait=live&timeout_ms=30", h->master, "",
                      "{\"base_path\":\"/w\"}"),
               "1");
}

/* Both sides of F2: what is away counts until the master deletes it, and counts again when it comes again. */
static void test_deleting_a_gateway(void **state)
{
    struct harness *h = *state;
    struct gateway first, second;

    serve_team(h);
    dial(h, &first);
    say_hello(&first, "g1", NULL, 0);
    harness_until(h, &first.is_synced);
    dial(h, &second);
    say_hello(&second, "g2", NULL, 0);
    harness_until(h, &second.is_synced);
    settle(h);
    assert_str(expect(h, 409, "reason", "DELETE", "/api/v1/gateways/g2", h->master, "", NULL), "in_use");
    assert_str(expect(h, 404, "reason", "DELETE", "/api/v1/gateways/g3", h->master, "", NULL), "not_found");
    hang_up(&second);
    settle(h);
    assert_str(expect(h, 200, "live.lagging.0", "PATCH", T "/backends/service?wait=live&timeout_ms=30", h->master, "",
                      "{\"base_path\":\"/x\"}"),
               "g2");
    dm_free(expect(h, 204, NULL, "DELETE", "/api/v1/gateways/g2", h->master, "", NULL));
    assert_str(expect(h, 200, "live.of", "PATCH", T "/backends/service?wait=live&timeout_ms=100000", h->master, "",
                      "{\"base_path\":\"/y\"}"),
               "1");
    assert_null(expect(h, 200, "gateways.1", "GET", "/api/v1/status", h->master, "", NULL));
    assert_str(expect(h, 200, "items.1.kind", "GET", "/api/v1/changes", h->master, "", NULL), "gateway");

    dial(h, &second);
    say_hello(&second, "g2", NULL, 0);
    harness_until(h, &second.is_synced);
    assert_int_equal(second.n_seen, 2 * KINDS);
    settle(h);
    assert_str(expect(h, 200, "units.0.of", "GET", T "/status", h->master, "", NULL), "2");
    hang_up(&first);
    hang_up(&second);
}

static void on_waited(struct dm_fleet_wait *wait)
{
}

/* Who waits for it alone waits no more. */
static void test_deleting_a_gateway_ends_waits(void **state)
{
    struct harness *h = *state;
    struct dm_fleet_wait wait = {.on_done = on_waited};
    struct gateway first, second;

    serve_team(h);
    dial(h, &first);
    say_hello(&first, "g1", NULL, 0);
    harness_until(h, &first.is_synced);
    dial(h, &second);
    second.mode = ACK_NEVER;
    say_hello(&second, "g2", NULL, 0);
    harness_until(h, &second.is_synced);
    settle(h);
    hang_up(&second);
    settle(h);
    dm_fleet_wait_start(h->fleet, &wait, DM_STR("orders"), NULL, 0, 100000);
    assert_true(wait.is_waiting);
    dm_fleet_forget(h->fleet, DM_STR("g1")); /* connected: stays */
    assert_true(wait.is_waiting);
    dm_free(expect(h, 204, NULL, "DELETE", "/api/v1/gateways/g2", h->master, "", NULL));
    assert_false(wait.is_waiting);
    hang_up(&first);
}

/* HELLO says what lies on the gateway's disk; live is what its workers have. */
static void test_held_is_not_live(void **state)
{
    struct harness *h = *state;
    struct gateway g, again;
    struct dm_link_held held;

    serve_team(h);
    dial(h, &g);
    say_hello(&g, "g1", NULL, 0);
    harness_until(h, &g.is_synced);
    held = (struct dm_link_held){DM_STR("orders"), DM_UNIT_RELEASE, find(&g, "orders", DM_UNIT_RELEASE)->mark};
    dial(h, &again);
    say_hello(&again, "g1", &held, 1);
    harness_until(h, &again.is_synced);
    settle(h);
    assert_str(expect(h, 200, "units.0.gateways.0.state", "GET", T "/status", h->master, "", NULL), "sent");
    say_ack(&again, find(&g, "orders", DM_UNIT_RELEASE), DM_LINK_LIVE);
    settle(h);
    assert_str(expect(h, 200, "units.0.gateways.0.state", "GET", T "/status", h->master, "", NULL), "live");
    hang_up(&g);
    hang_up(&again);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, harness_serving_setup, harness_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_hello_brings_what_is_lacking),  TEST(test_wait_until_live),  TEST(test_deleting_a_gateway),
        TEST(test_deleting_a_gateway_ends_waits), TEST(test_held_is_not_live),
    };

    return cmocka_run_group_tests_name("fleet", tests, NULL, NULL);
}
