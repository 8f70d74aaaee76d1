/* What goes over the link of a gateway: keys before their documents, the newest to a slow one, usage once, nothing that it should not see. */
#include "gateway_peer.h"

#include <sys/socket.h>
#include <unistd.h>

#include "control/store/units.h"
#include "control/store/usage.h"
#include "control/tenancy/resources.h"
#include "base/mem.h"
#include "pki/pki.h"

#define T "/api/v1/tenants/orders"

static void put_certificate(struct harness *h, const struct pki_identity *identity)
{
    struct dm_precondition none = {0};
    struct dm_outcome outcome = {0};
    struct dm_certificate certificate;
    struct action action;

    dm_model_default(&dm_schema_certificate, &certificate);
    certificate.name = DM_STR("main");
    certificate.chain = identity->chain_pem;
    action_begin(h, &action, &master_caller);
    assert_int_equal(dm_arena_str(&h->arena, identity->key_pem, &certificate.key), 0);
    assert_int_equal(dm_write_open(&action.write, DM_STR("orders")), 0);
    assert_int_equal(dm_put_resource(&action.write, DM_KIND_CERTIFICATE, &certificate, &none, &outcome), 0);
    assert_int_equal(dm_write_finish(&action.write), 0);
    dm_fleet_publish(h->fleet, action.write.units, action.write.n_units);
}

/* A tenant's key comes before the document that needs it, on each connection, and to nobody else. */
static void test_keys_come_before_their_documents(void **state)
{
    const struct pki_spec spec = {.subject = "orders", .names = "DNS:orders.localhost"};
    struct pki_identity *identity = pki_make(&spec, NULL);
    struct harness *h = *state;
    struct dm_link_held held[2 * KINDS];
    struct dm_tenant_key key;
    struct dm_mark without;
    struct gateway g;

    serve_team(h);
    dial(h, &g);
    say_hello(&g, "g1", NULL, 0);
    harness_until(h, &g.is_synced);
    assert_int_equal(g.n_keys, 0);
    without = find(&g, "orders", DM_UNIT_DOMAINS)->mark;
    put_certificate(h, identity);
    turn_until_seen(&g, 2 * KINDS + 1);
    assert_int_equal(g.n_keys, 1);
    assert_int_equal(g.seen_at_key, 2 * KINDS);
    assert_true(dm_mark_cmp(find(&g, "orders", DM_UNIT_DOMAINS)->mark, without) > 0);
    key = g.key;
    for (size_t i = 0; i < DM_COUNT(held); i++) {
        const char *tenant = i < KINDS ? "orders" : "catalog";
        int kind = (int)(i % KINDS) + 1;

        held[i] = (struct dm_link_held){dm_str_of(tenant), kind, find(&g, tenant, kind)->mark};
    }
    hang_up(&g);

    /* It has all, but may have lost the key. */
    dial(h, &g);
    say_hello(&g, "g1", held, DM_COUNT(held));
    harness_until(h, &g.is_synced);
    assert_int_equal(g.n_seen, 0);
    assert_int_equal(g.n_keys, 1);
    assert_memory_equal(&g.key, &key, sizeof(key));
    hang_up(&g);

    /* One that can't be sealed to gets its documents all the same. */
    dial(h, &g);
    memset(g.box_public, 0, sizeof(g.box_public));
    say_hello(&g, "g1", NULL, 0);
    harness_until(h, &g.is_synced);
    assert_int_equal(g.n_seen, 2 * KINDS);
    assert_int_equal(g.n_keys, 0);
    hang_up(&g);
    pki_free(identity);
}

/* F1: a gateway that does not read for a while gets the newest, not all that was in between. */
static void test_a_slow_gateway_gets_the_newest(void **state)
{
    struct harness *h = *state;
    struct gateway g;
    char body[64], *big = dm_alloc(400001), *text = dm_alloc(500000), *sequence, want[32];

    serve_team(h);
    dial(h, &g);
    say_hello(&g, "g1", NULL, 0);
    harness_until(h, &g.is_synced);
    settle(h);
    g.is_deaf = true;
    /* A large release, so that a few fill the link. */
    memset(big, 'x', 400000);
    big[400000] = '\0';
    snprintf(text, 500000,
             "{\"versions\":[{\"name\":\"v1\",\"path\":\"/\",\"policies\":[{\"type\":\"api_key\"}],\"errors\":{");
    for (int i = 0; i < 25; i++) {
        static const char *const reasons[] = {"no_mapping_rule", "auth_missing", "auth_invalid", "limit_exceeded",
                                              "rate_limited"};
        size_t len = strlen(text);

        if (i >= 5)
            break;
        snprintf(text + len, 500000 - len, "%s\"%s\":{\"body\":\"%.16000s\"}", i > 0 ? "," : "", reasons[i], big);
    }
    snprintf(text + strlen(text), 200, "},\"backends\":[{\"path\":\"/\",\"backend\":\"service\"}]}]}");
    dm_free(expect(h, 200, NULL, "PATCH", T "/products/shop", h->master, "", text));
    for (int i = 0; i < 60; i++) {
        snprintf(body, sizeof(body), "{\"base_path\":\"/n%d\"}", i);
        dm_free(expect(h, 200, NULL, "PATCH", T "/backends/service", h->master, "", body));
    }
    sequence = expect(h, 200, "units.0.sequence", "GET", T "/status", h->master, "", NULL);
    hear_again(&g);
    do {
        dm_loop_turn(h->loop, -1);
        snprintf(want, sizeof(want), "%llu", (unsigned long long)find(&g, "orders", DM_UNIT_RELEASE)->mark.sequence);
    } while (strcmp(want, sequence) != 0);
    settle(h);
    assert_true(g.n_seen < 6 + 50);
    assert_str(expect(h, 200, "units.0.gateways.0.state", "GET", T "/status", h->master, "", NULL), "live");
    hang_up(&g);
    dm_free(big);
    dm_free(text);
    dm_free(sequence);
}

static void send_usage_of(struct gateway *g, uint64_t batch, uint64_t delta, uint64_t at_s)
{
    struct dm_link_usage_item items[] = {{1, DM_STR("shop"), DM_STR("hits"), delta}};
    struct dm_link_message message = {
        .type = DM_LINK_USAGE,
        .usage = {.batch = batch,
                  .from_s = at_s,
                  .to_s = at_s + 1,
                  .tenant = DM_STR("orders"),
                  .items = items,
                  .n_items = 1},
    };

    say(g, &message);
    while (g->used != batch)
        dm_loop_turn(g->h->loop, -1);
}

/* A time to come, so that the tenant is older. */
#define LATER UINT64_C(4102444800) /* 2100-01-01T00:00:00Z */

static void send_usage(struct gateway *g, uint64_t batch, uint64_t delta)
{
    send_usage_of(g, batch, delta, LATER);
}

static void test_usage(void **state)
{
    struct harness *h = *state;
    struct gateway g;
    const char *target = T "/usage?from=1970-01-01T00:00:00Z&to=2101-01-01T00:00:00Z&step=minute";

    serve_team(h);
    dial(h, &g);
    say_hello(&g, "g1", NULL, 0);
    harness_until(h, &g.is_synced);
    send_usage_of(&g, 9, 1000, 60); /* P2: before the tenant was made, another of its name used that */
    send_usage(&g, 10, 5);
    send_usage(&g, 2, 7);
    g.used = 0;
    send_usage(&g, 2, 7); /* again: the answer was lost */
    assert_str(expect(h, 200, "items.0.count", "GET", target, h->master, "", NULL), "12");
    assert_str(expect(h, 200, "items.0.application", "GET", target, h->master, "", NULL), "mobile");
    assert_str(
        expect(h, 200, "items", "GET", "/api/v1/tenants/catalog/usage?from=1970-01-01T00:00:00Z", h->master, "", NULL),
        "[]");
    hang_up(&g);
}

static void test_bad_frames_end_the_link(void **state)
{
    struct harness *h = *state;
    struct dm_link_message pong = {.type = DM_LINK_PONG, .number = 1};
    struct gateway g;

    dial(h, &g);
    say(&g, &pong); /* before HELLO */
    harness_until(h, &g.is_cut);
    hang_up(&g);

    dial(h, &g);
    assert_int_equal(write(g.watch.fd, "\xff\xff\xff\xff\xff", 5), 5);
    harness_until(h, &g.is_cut);
    hang_up(&g);

    dial(h, &g);
    say_hello(&g, "g1", NULL, 0);
    harness_until(h, &g.is_synced);
    say_hello(&g, "g1", NULL, 0);
    harness_until(h, &g.is_cut);
    hang_up(&g);
}

/* P2: neither keys nor anything of another tenant is in what a gateway is sent for a tenant. */
static void test_documents_hold_no_keys(void **state)
{
    struct harness *h = *state;
    struct dm_txn *txn;
    struct dm_tenant_handle *tenant;

    serve_team(h);
    assert_int_equal(dm_txn_begin(h->store, DM_TXN_READ, &h->arena, &txn, &h->err), 0);
    assert_int_equal(dm_tenants_open(txn, &master_caller, DM_STR("orders"), &tenant, &h->err), 0);
    for (int kind = 1; kind < DM_UNIT_KINDS; kind++) {
        struct dm_unit_row unit;

        assert_int_equal(dm_units_get(tenant, kind, &unit, &h->err), 0);
        assert_null(memmem(unit.document.ptr, unit.document.len, "key-of-", 7));
        assert_null(memmem(unit.document.ptr, unit.document.len, "catalog", 7));
    }
    dm_txn_abort(&txn);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, harness_serving_setup, harness_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_keys_come_before_their_documents), TEST(test_a_slow_gateway_gets_the_newest), TEST(test_usage),
        TEST(test_bad_frames_end_the_link),          TEST(test_documents_hold_no_keys),
    };

    return cmocka_run_group_tests_name("link", tests, NULL, NULL);
}
