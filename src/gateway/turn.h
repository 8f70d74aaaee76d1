/* Requests of trusted fronts' connections, which are read in the lobby's turn: what they cost from there on is their tenant's, and waits for its
 * turn when it has others to do, or owes. Until then the exchange has a copy of the head, belongs to no tenant, and takes no body.
 *
 * Threads: the worker's. */
#ifndef DM_GATEWAY_TURN_H
#define DM_GATEWAY_TURN_H

#include "gateway/exchange.h"

struct dm_live_tenant;

struct dm_turn {
    struct dm_task task;
    struct dm_exchange *ex;
    struct dm_live_tenant *tenant; /* whose turn it is to be; one reference */
    struct dm_arena arena;
    struct dm_http_head head;
};

/* Does the request wait for its tenant's turn? Then dm_exchange_decide() comes there. */
bool dm_turn_wait(struct dm_exchange *ex);
/* It waits no longer, and its head goes. Nothing for one that never waited. */
void dm_turn_leave(struct dm_exchange *ex);

#endif
