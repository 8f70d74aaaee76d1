/* Circuits at the controller: what people want in the store, what gateways tell and are told. */
#include "gateway_peer.h"
#include "store_rows.h"

#include "control/store/circuit_holds.h"
#include "base/mem.h"
#include "model/backend.h"

#define CIRCUIT T "/backends/service/circuit"

/* --- rows --------------------------------------------------------------------------------------------------------- */

static struct dm_circuit_hold hold_of(const char *backend, int mode, int64_t until_ms)
{
    return (struct dm_circuit_hold){.backend = dm_str_of(backend), .mode = mode, .until_ms = (uint64_t)until_ms};
}

static int count_hold(void *arg, const struct dm_circuit_hold *hold, struct dm_err *err)
{
    ++*(int *)arg;
    return 0;
}

static void assert_held(struct harness *h, struct dm_tenant_handle *tenant, const char *backend, int mode)
{
    struct dm_circuit_hold got;

    OK(dm_circuit_holds_get(tenant, dm_str_of(backend), &got, &h->err));
    assert_int_equal(got.mode, mode);
    assert_int_equal(got.tenant_id, dm_tenants_number(tenant));
}

static void test_holds(void **state)
{
    struct harness *h = *state;
    struct dm_caller admin = {.standing = DM_STANDING_TENANT_ADMIN, .tenant = DM_STR("a"), .name = DM_STR("x")};
    struct dm_txn *txn = begin(h, DM_TXN_WRITE);
    struct dm_tenant_handle *a = create(h, txn, "a"), *b = create(h, txn, "b");
    int64_t now = dm_txn_now_ms(txn);
    struct dm_circuit_hold open = hold_of("x", DM_BREAKER_HELD_OPEN, now + 1), over = hold_of("y", 1, now),
                           none = hold_of("x", DM_BREAKER_AUTO, 0);
    int n = 0;

    assert_held(h, a, "x", DM_BREAKER_AUTO);
    OK(dm_circuit_holds_put(b, &open, &h->err));
    open.mode = DM_BREAKER_HELD_CLOSED;
    OK(dm_circuit_holds_put(b, &open, &h->err));
    assert_held(h, b, "x", DM_BREAKER_HELD_CLOSED);
    OK(dm_circuit_holds_put(b, &over, &h->err));
    assert_held(h, b, "y", DM_BREAKER_AUTO);

    assert_held(h, a, "x", DM_BREAKER_AUTO);
    OK(dm_circuit_holds_put(a, &none, &h->err));
    assert_held(h, b, "x", DM_BREAKER_HELD_CLOSED);
    CODE(DM_EPERM, dm_circuit_holds_all(txn, &admin, count_hold, &n, &h->err));
    OK(dm_circuit_holds_all(txn, &master_caller, count_hold, &n, &h->err));
    assert_int_equal(n, 1);

    OK(dm_tenants_remove(b, &h->err));
    b = create(h, txn, "b");
    assert_held(h, b, "x", DM_BREAKER_AUTO);
    OK(dm_circuit_holds_put(b, &open, &h->err));
    OK(dm_circuit_holds_put(b, &none, &h->err));
    assert_held(h, b, "x", DM_BREAKER_AUTO);
    dm_txn_abort(&txn);
}

/* --- gateways ----------------------------------------------------------------------------------------------------- */

static uint64_t number_of(struct harness *h, const char *tenant)
{
    struct dm_txn *txn = begin(h, DM_TXN_READ);
    struct dm_tenant_handle *handle;
    uint64_t number;

    OK(dm_tenants_open(txn, &master_caller, dm_str_of(tenant), &handle, &h->err));
    number = (uint64_t)dm_tenants_number(handle);
    dm_txn_abort(&txn);
    return number;
}

static void connect_gateway(struct harness *h, struct gateway *g)
{
    dial(h, g);
    say_hello(g, "g1", NULL, 0);
    harness_until(h, &g->is_synced);
}

/* `n` changes up to number `last`, to the state. */
static void say_circuit(struct gateway *g, uint64_t tenant_id, uint32_t last, unsigned n, enum dm_breaker_state state)
{
    struct dm_link_message message = {.type = DM_LINK_CIRCUIT,
                                      .circuit = {.tenant_id = tenant_id,
                                                  .tenant = DM_STR("orders"),
                                                  .backend = DM_STR("service"),
                                                  .state = state,
                                                  .n_changes = last,
                                                  .n_listed = n}};

    for (unsigned i = 0; i < n; i++)
        message.circuit.changes[i] = (struct dm_circuit_change){.number = last - n + 1 + i,
                                                                .at_ms = UINT64_C(1764000000000),
                                                                .to = state,
                                                                .cause = DM_BREAKER_RUN,
                                                                .calls = 10,
                                                                .failed = 9,
                                                                .open_for_ms = 1500};
    say(g, &message);
    settle(g->h);
}

/* want NULL: there is no such member. */
static void assert_told(struct harness *h, const char *path, const char *want)
{
    char *got = expect(h, 200, path, "GET", CIRCUIT, h->master, "", NULL);

    if (want)
        assert_str(got, want);
    else
        assert_null(got);
}

static void test_what_a_gateway_tells(void **state)
{
    struct harness *h = *state;
    struct gateway g, again;
    uint64_t number;

    serve_team(h);
    number = number_of(h, "orders");
    connect_gateway(h, &g);
    assert_told(h, "state", "closed");
    assert_told(h, "gateways.0.changes.0", NULL);
    say_circuit(&g, number, 2, 2, DM_BREAKER_OPEN);
    assert_told(h, "state", "open");
    assert_told(h, "gateways.0.state", "open");
    assert_told(h, "gateways.0.since", "2025-11-24T16:00:00Z");
    assert_told(h, "gateways.0.probe_at", "2025-11-24T16:00:01.500Z");
    assert_told(h, "gateways.0.changes.0.number", "2");
    assert_told(h, "gateways.0.changes.1.failed", "9");
    say_circuit(&g, number, 2, 2, DM_BREAKER_OPEN); /* told again */
    assert_told(h, "gateways.0.changes.2.number", NULL);
    say_circuit(&g, number, 30, 8, DM_BREAKER_CLOSED); /* some were lost, and only the last are kept */
    say_circuit(&g, number, 38, 8, DM_BREAKER_CLOSED);
    assert_told(h, "state", "closed");
    assert_told(h, "gateways.0.changes.0.number", "38");
    assert_told(h, "gateways.0.changes.15.number", "23");
    assert_told(h, "gateways.0.changes.16.number", NULL);
    say_circuit(&g, number, 1, 1, DM_BREAKER_HALF_OPEN); /* its pages were made anew */
    assert_told(h, "state", "half_open");
    assert_told(h, "gateways.0.changes.0.number", "1");
    assert_told(h, "gateways.0.changes.1.number", NULL);
    connect_gateway(h, &again); /* it tells of what is not closed again */
    assert_told(h, "state", "closed");
    assert_told(h, "gateways.0.changes.0.number", "1");
    hang_up(&g);
    hang_up(&again);
}

/* P2: whatever a gateway says of other numbers and names. */
static void test_what_is_not_the_tenants(void **state)
{
    struct harness *h = *state;
    struct gateway g;

    serve_team(h);
    connect_gateway(h, &g);
    say_circuit(&g, number_of(h, "orders") + 1, 1, 1, DM_BREAKER_OPEN);
    assert_told(h, "state", "closed");
    assert_told(h, "gateways.0.changes.0", NULL);
    say_circuit(&g, number_of(h, "orders"), 1, 1, DM_BREAKER_OPEN);
    assert_told(h, "state", "open");
    assert_str(expect(h, 200, "state", "GET", "/api/v1/tenants/catalog/backends/service/circuit", h->master, "", NULL),
               "closed");
    dm_free(expect(h, 404, NULL, "GET", T "/backends/other/circuit", h->master, "", NULL));
    hang_up(&g);
}

static void test_what_a_gateway_is_told(void **state)
{
    struct harness *h = *state;
    struct gateway g, later;

    serve_team(h);
    connect_gateway(h, &g);
    assert_int_equal(g.n_holds, 0);
    assert_str(expect(h, 200, "hold.state", "PUT", CIRCUIT, h->master, "", "{\"state\":\"open\",\"minutes\":3}"),
               "open");
    settle(h);
    assert_int_equal(g.n_holds, 1);
    assert_int_equal(g.hold.mode, DM_BREAKER_HELD_OPEN);
    assert_int_equal(g.hold.tenant_id, number_of(h, "orders"));
    connect_gateway(h, &later);
    assert_int_equal(later.n_holds, 1);
    assert_false(later.hold_was_late);
    dm_free(expect(h, 200, NULL, "PUT", CIRCUIT, h->master, "", "{\"state\":\"auto\"}"));
    settle(h);
    assert_int_equal(later.n_holds, 2);
    assert_int_equal(later.hold.mode, DM_BREAKER_AUTO);
    dm_free(expect(h, 422, NULL, "PUT", CIRCUIT, h->master, "", "{\"state\":\"ajar\"}"));
    settle(h);
    assert_int_equal(later.n_holds, 2);
    hang_up(&g);
    hang_up(&later);
}

static void test_what_was_said_outlives_the_controller(void **state)
{
    struct harness *h = *state;
    struct gateway g;

    serve_team(h);
    dm_free(expect(h, 200, NULL, "PUT", CIRCUIT, h->master, "", "{\"state\":\"closed\"}"));
    harness_restart(h);
    connect_gateway(h, &g);
    assert_int_equal(g.n_holds, 1);
    assert_int_equal(g.hold.mode, DM_BREAKER_HELD_CLOSED);
    assert_told(h, "hold.state", "closed");
    hang_up(&g);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, harness_serving_setup, harness_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_holds, harness_setup, harness_teardown),
        TEST(test_what_a_gateway_tells),
        TEST(test_what_is_not_the_tenants),
        TEST(test_what_a_gateway_is_told),
        TEST(test_what_was_said_outlives_the_controller),
    };

    return cmocka_run_group_tests_name("circuits", tests, NULL, NULL);
}
