#include "gateway_peer.h"

#include <errno.h>
#include <unistd.h>

#include "base/mem.h"

void serve_team(struct harness *h)
{
    make_team(h, "orders", 9101, "key-of-orders-1234");
    make_team(h, "catalog", 9102, "key-of-catalog-123");
    harness_restart(h);
}

void say(struct gateway *g, const struct dm_link_message *message)
{
    struct dm_buf frame;

    dm_buf_init(&frame, DM_LINK_PAYLOAD_MAX);
    dm_link_encode(message, &frame);
    assert_int_equal(write(g->watch.fd, frame.ptr, frame.len), frame.len);
    dm_buf_done(&frame);
}

void say_ack(struct gateway *g, const struct seen *seen, enum dm_link_status status)
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

static void take_hold(struct gateway *g, const struct dm_circuit_hold *hold)
{
    g->hold = *hold;
    g->hold.tenant = g->hold.backend = DM_STR_NULL;
    g->n_holds++;
    g->hold_was_late = g->is_synced;
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
    case DM_LINK_HOLD: take_hold(g, &m->hold); break;
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

void hear_again(struct gateway *g)
{
    g->is_deaf = false;
    on_link(&g->watch, DM_READY_IN);
}

void dial(struct harness *h, struct gateway *g)
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

void say_hello(struct gateway *g, const char *id, const struct dm_link_held *held, size_t n_held)
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

void hang_up(struct gateway *g)
{
    if (g->watch.fd >= 0)
        dm_watch_close(g->h->loop, &g->watch);
    dm_buf_done(&g->in);
}

void turn_until_seen(struct gateway *g, size_t n)
{
    while (g->n_seen < n)
        assert_true(dm_loop_turn(g->h->loop, -1) >= 0);
}

void settle(struct harness *h)
{
    while (dm_loop_turn(h->loop, 0) > 0 || dm_pool_in_flight(h->pool) > 0)
        ;
}

const struct seen *find(const struct gateway *g, const char *tenant, enum dm_unit_kind kind)
{
    for (size_t i = g->n_seen; i-- > 0;)
        if (strcmp(g->seen[i].tenant, tenant) == 0 && g->seen[i].kind == kind)
            return &g->seen[i];
    return NULL;
}
