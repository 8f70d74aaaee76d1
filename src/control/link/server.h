/* The controller's end of the link (model/link.h): accepts gateways on a Unix socket, checks who the peer is, frames and
 * answers what needs no thought (WELCOME, PONG), puts usage into the store, and hands the rest to its owner.
 *
 * Only processes of an allowed user id are listened to (SO_PEERCRED). A gateway that comes again under the id of one that
 * is still connected takes its place. Threads: the loop's. */
#ifndef DM_CONTROL_LINK_SERVER_H
#define DM_CONTROL_LINK_SERVER_H

#include "base/crypto.h"
#include "io/loop.h"
#include "model/link.h"

struct dm_pool;
struct dm_store;
struct dm_link_server;
struct dm_link_peer; /* one connected gateway */

struct dm_link_settings {
    const char *path;       /* of the socket */
    uid_t uid;              /* besides the own one; (uid_t)-1 = none */
    struct dm_pool *pool;   /* ends before the server is closed */
    struct dm_store *store; /* for usage */
    struct dm_str cluster;
    uint8_t public_key[DM_SIGN_PUBLIC_BYTES];
    uint32_t idle_timeout_ms; /* silence after which a gateway is taken for gone; 0 = 30 s */
};

/* Everything passed is borrowed for the call. A peer is valid from on_hello to the end of on_gone. */
struct dm_link_handler {
    void (*on_hello)(void *arg, struct dm_link_peer *peer, const struct dm_link_hello *hello);
    void (*on_ack)(void *arg, struct dm_link_peer *peer, const struct dm_link_ack *ack);
    void (*on_circuit)(void *arg, struct dm_link_peer *peer, const struct dm_circuit_report *circuit);
    void (*on_room)(void *arg, struct dm_link_peer *peer); /* after a send that was refused */
    void (*on_gone)(void *arg, struct dm_link_peer *peer);
};

/* DM_EEXIST when another controller listens there; DM_EIO. */
DM_MUST_USE int dm_link_server_open(struct dm_loop *loop, const struct dm_link_settings *settings,
                                    const struct dm_link_handler *handler, void *arg, struct dm_link_server **ret,
                                    struct dm_err *err);
/* Closes all; on_gone comes for each peer. */
void dm_link_server_close(struct dm_link_server *server);

/* 0; DM_EAGAIN: the peer is slow, on_room comes; DM_ECLOSED. */
DM_MUST_USE int dm_link_send(struct dm_link_peer *peer, const struct dm_link_message *message);
void dm_link_peer_set_user(struct dm_link_peer *peer, void *user);
void *dm_link_peer_user(const struct dm_link_peer *peer);
struct dm_str dm_link_peer_gateway(const struct dm_link_peer *peer);
/* Usage items stored and batches that could not be, since the start. Any thread. */
void dm_link_usage_counts(const struct dm_link_server *server, uint64_t *ret_items, uint64_t *ret_failed);

#endif
