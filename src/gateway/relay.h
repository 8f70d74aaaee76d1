/* One exchange passed on to its tenant's cell, on a connection of its own: a pair of sockets, one end of which the cell gets by its
 * queue, with whose connection it stands for. So the cell decides as if the client had come to it, and says, counts and logs what
 * came of it; the shared worker passes bytes and knows nothing else of the exchange.
 *
 * R1. The request goes on as it came, in the client's version of HTTP: its target, and all fields but those of the connection (RFC 9110,
 *     7.6.1) and what only a front may say from who is none. So does the response. Interim responses, trailers, upgrades and ends in the
 *     middle are passed on.
 * R2. An exchange that the cell did not take, or whose cell ended before it said anything, is CELL_UNAVAILABLE: then it is this worker's,
 *     counted and logged here. What broke off behind is cut off.
 *
 * The exchange is an ordinary one (exchange.h) with is_relay set; its call belongs to the worker's client for relays.
 * Threads: the worker's. */
#ifndef DM_GATEWAY_RELAY_H
#define DM_GATEWAY_RELAY_H

#include "gateway/exchange.h"

struct dm_route;

/* In place of all further decisions, of a request whose tenant has a cell. NONE: it is on its way. */
enum dm_reason dm_relay_begin(struct dm_exchange *ex, struct dm_live_tenant *tenant);
/* The client's side has ended its request, or its direction of a tunnel. */
void dm_relay_request_end(struct dm_exchange *ex, const struct dm_http_head *trailers);
/* Nobody wants the call any more. */
void dm_relay_drop_call(struct dm_exchange *ex);
/* The gateway goes, and with it what is a tunnel by now. The exchange may be gone when this returns. */
void dm_relay_leave(struct dm_exchange *ex);

/* Of the worker's client for relays. */
extern const struct dm_http_call_handler dm_relay_call_handler;
extern const struct dm_http_peer_handler dm_relay_peer_handler;

#endif
