/* The link and the fleet against a gateway that does what the test says. */
#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "harness.h"

#include "control/store/units.h"
#include "control/store/usage.h"
#include "control/tenancy/resources.h"
#include "base/jsonw.h"
#include "base/mem.h"
#include "model/document.h"
#include "model/link.h"
#include "model/tenant_key.h"
#include "pki/pki.h"

#define KINDS (DM_UNIT_KINDS - 1)
#define T "/api/v1/tenants/orders"

/* --- a gateway ---------------------------------------------------------------------------------------------------------- */

enum ack_mode { ACK_LIVE, ACK_REFUSE, ACK_NEVER };

struct seen {
    char tenant[64];
    enum dm_unit_kind kind;
    struct dm_mark mark;
    bool is_gone;
};

struct gateway {
    struct harness *h;
    struct dm_watch watch;
    struct dm_buf in;
    enum ack_mode mode;
    bool is_welcome, is_synced, is_cut, is_deaf; /* deaf: reads nothing */
    uint8_t public_key[DM_SIGN_PUBLIC_BYTES];
    struct seen seen[512];
    size_t n_seen;
    uint64_t used;
    uint8_t box_public[DM_BOX_PUBLIC_BYTES], box_secret[DM_BOX_SECRET_BYTES];
    struct dm_tenant_key key;   /* the last TENANT_KEY, opened */
    size_t n_keys, seen_at_key; /* seen_at_key: n_seen when it came */
};

static void say(struct gateway *g, const struct dm_link_message *message)
{
    struct dm_buf frame;

    dm_buf_init(&frame, DM_LINK_PAYLOAD_MAX);
    dm_link_encode(message, &frame);
    assert_int_equal(write(g->watch.fd, frame.ptr, frame.len), frame.len);
    dm_buf_done(&frame);
}

static void say_ack(struct gateway *g, const struct seen *seen, enum dm_link_status status)
{
    struct dm_link_message message = {
        .type = DM_LINK_ACK,
        .ack = {.tenant = dm_str_of(seen->tenant),
                .kind = seen->kind,
                .mark = seen->mark,
                .status = status,
                .workers_live = 2,
                .workers = 2,
                .pointer = DM_STR("/products/0"),
                .message = DM_STR("no good")},
    };

    say(g, &message);
}

static void note(struct gateway *g, struct dm_str tenant, enum dm_unit_kind kind, struct dm_mark mark, bool is_gone)
{
    struct seen *seen = &g->seen[g->n_seen++];

    assert_true(g->n_seen < DM_COUNT(g->seen));
    *seen = (struct seen){.kind = kind, .mark = mark, .is_gone = is_gone};
    snprintf(seen->tenant, sizeof(seen->tenant), "%.*s", DM_STR_ARG(tenant));
    if (g->mode != ACK_NEVER)
        say_ack(g, seen, g->mode == ACK_LIVE ? DM_LINK_LIVE : DM_LINK_REFUSED);
}

static void take_unit(struct gateway *g, struct dm_str bytes)
{
    struct dm_document_head head;
    struct dm_document document;
    struct dm_errs errs = {0};
    struct dm_err err = {0};
    struct dm_arena arena;

    if (dm_document_open(g->public_key, bytes, &head, &err) < 0)
        fail_msg("%s", err.message);
    dm_arena_init(&arena, NULL, DM_DOCUMENT_ARENA_BYTES);
    if (dm_document_read(&head, &arena, &document, &errs) < 0)
        fail_msg("%s: %s", errs.items[0].pointer, errs.items[0].message);
    dm_arena_done(&arena);
    note(g, head.tenant, head.kind, head.mark, false);
}

static void take_key(struct gateway *g, const struct dm_link_tenant_key *key)
{
    assert_int_equal(dm_tenant_key_open(g->box_public, g->box_secret, key->sealed, &g->key), 0);
    assert_int_equal(g->key.tenant_id, key->tenant_id);
    assert_int_equal(g->key.key_id, key->key_id);
    g->n_keys++;
    g->seen_at_key = g->n_seen;
}

static void take_message(struct gateway *g, const struct dm_link_message *m)
{
    switch (m->type) {
    case DM_LINK_WELCOME:
        g->is_welcome = true;
        memcpy(g->public_key, m->welcome.public_key, sizeof(g->public_key));
        break;
    case DM_LINK_UNIT: take_unit(g, m->unit); break;
    case DM_LINK_GONE: note(g, m->gone.tenant, m->gone.kind, m->gone.mark, true); break;
    case DM_LINK_TENANT_KEY: take_key(g, &m->tenant_key); break;
    case DM_LINK_SYNCED: g->is_synced = true; break;
    case DM_LINK_USED: g->used = m->number; break;
    default: break;
    }
}

static void on_link(struct dm_watch *watch, unsigned ready)
{
    struct gateway *g = DM_CONTAINER_OF(watch, struct gateway, watch);
    char bytes[65536];
    struct dm_link_message message;
    struct dm_arena arena;
    ssize_t n = 0;

    if (g->is_deaf)
        return;
    while ((n = read(watch->fd, bytes, sizeof(bytes))) > 0)
        dm_buf_add_n(&g->in, bytes, (size_t)n);
    g->is_cut |= n == 0 || errno != EAGAIN;
    dm_arena_init(&arena, NULL, DM_LINK_ARENA_BYTES);
    while ((n = dm_link_decode(dm_buf_str(&g->in), &arena, &message, NULL)) > 0) {
        take_message(g, &message);
        dm_buf_consume(&g->in, (size_t)n);
    }
    assert_int_equal(n, 0);
    dm_arena_done(&arena);
}

static void dial(struct harness *h, struct gateway *g)
{
    char text[160];
    struct dm_addr addr;
    int fd;

    *g = (struct gateway){.h = h};
    dm_box_keypair(g->box_public, g->box_secret);
    dm_buf_init(&g->in, DM_LINK_PAYLOAD_MAX * 2);
    snprintf(text, sizeof(text), "unix:%s", h->socket);
    assert_int_equal(dm_addr_parse(dm_str_of(text), &addr, NULL), 0);
    fd = dm_sys_real()->ops->connect(dm_sys_real(), &addr);
    assert_true(fd >= 0);
    assert_int_equal(dm_watch_add(h->loop, &g->watch, fd, on_link), 0);
}

static void say_hello(struct gateway *g, const char *id, const struct dm_link_held *held, size_t n_held)
{
    struct dm_link_message hello = {
        .type = DM_LINK_HELLO,
        .hello = {.version = DM_LINK_VERSION,
                  .gateway = dm_str_of(id),
                  .program_version = DM_STR("0.1.0"),
                  .n_workers = 2,
                  .held = held,
                  .n_held = n_held},
    };

    memcpy(hello.hello.box_public_key, g->box_public, sizeof(g->box_public));
    say(g, &hello);
}

static void hang_up(struct gateway *g)
{
    if (g->watch.fd >= 0)
        dm_watch_close(g->h->loop, &g->watch);
    dm_buf_done(&g->in);
}

static void turn_until_seen(struct gateway *g, size_t n)
{
    while (g->n_seen < n)
        assert_true(dm_loop_turn(g->h->loop, -1) >= 0);
}

static void settle(struct harness *h)
{
    while (dm_loop_turn(h->loop, 0) > 0 || dm_pool_in_flight(h->pool) > 0)
        ;
}

static const struct seen *find(const struct gateway *g, const char *tenant, enum dm_unit_kind kind)
{
    for (size_t i = g->n_seen; i-- > 0;)
        if (strcmp(g->seen[i].tenant, tenant) == 0 && g->seen[i].kind == kind)
            return &g->seen[i];
    return NULL;
}

/* --- tests ----------------------------------------------------------------------------------------------------------------- */

static void serve_team(struct harness *h)
{
    make_team(h, "orders", 9101, "key-of-orders-1234");
    make_team(h, "catalog", 9102, "key-of-catalog-123");
    harness_restart(h);
}

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
    g.is_deaf = false;
    on_link(&g.watch, DM_READY_IN);
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
        TEST(test_hello_brings_what_is_lacking),
        TEST(test_wait_until_live),
        TEST(test_deleting_a_gateway),
        TEST(test_deleting_a_gateway_ends_waits),
        TEST(test_deleting_a_tenant),
        TEST(test_a_gateway_ahead_of_the_database),
        TEST(test_a_tenant_that_is_ahead_is_raised_once),
        TEST(test_keys_come_before_their_documents),
        TEST(test_a_deleted_tenant_that_is_ahead_goes),
        TEST(test_held_is_not_live),
        TEST(test_unknown_tenants_go),
        TEST(test_a_slow_gateway_gets_the_newest),
        TEST(test_usage),
        TEST(test_bad_frames_end_the_link),
        TEST(test_documents_hold_no_keys),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
