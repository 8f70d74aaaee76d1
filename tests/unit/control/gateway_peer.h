/* A gateway at the controller's link, which does what the test says. */
#ifndef TEST_CONTROL_GATEWAY_PEER_H
#define TEST_CONTROL_GATEWAY_PEER_H

#include "harness.h"

#include "base/jsonw.h"
#include "model/document.h"
#include "model/link.h"
#include "model/tenant_key.h"

#define KINDS (DM_UNIT_KINDS - 1)
#define T "/api/v1/tenants/orders"

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
    struct dm_tenant_key key;    /* the last TENANT_KEY, opened */
    size_t n_keys, seen_at_key;  /* seen_at_key: n_seen when it came */
    struct dm_circuit_hold hold; /* the last; its strings are not kept */
    size_t n_holds;
    bool hold_was_late; /* one came behind SYNCED */
};

/* Two teams, "orders" and "catalog", behind a controller that has just started. */
void serve_team(struct harness *h);

/* Connects, and says nothing yet. */
void dial(struct harness *h, struct gateway *g);
void say(struct gateway *g, const struct dm_link_message *message);
void say_hello(struct gateway *g, const char *id, const struct dm_link_held *held, size_t n_held);
void say_ack(struct gateway *g, const struct seen *seen, enum dm_link_status status);
void hang_up(struct gateway *g);
/* A deaf one hears again, what has come meanwhile first. */
void hear_again(struct gateway *g);

void turn_until_seen(struct gateway *g, size_t n);
/* Until there is nothing to do at once. */
void settle(struct harness *h);
/* The latest of this tenant and kind; NULL: none. */
const struct seen *find(const struct gateway *g, const char *tenant, enum dm_unit_kind kind);

#endif
