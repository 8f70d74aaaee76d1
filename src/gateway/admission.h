/* Requests above a cap of their tenant: they wait for room, in a queue of the tenant's, within a bound.
 *
 * A1. A request waits for one of three things: to be in flight (cap `exchanges`), behind all decisions but the limits; for a place
 *     at its backend, when that has a limit of calls at a time (upstream/limiter.h); or for a connection to it (cap
 *     `upstream_connections`). It holds no connection to a backend, reads no body, and has not told
 *     its client to send one; nothing was counted against limits while it waits to be in flight.
 * A2. At most `queue` requests of the tenant wait, over all workers of the gateway and for all three (as K2), each at most `queue_ms` in
 *     all. Above and beyond: TENANT_OVER_CAP, of a place at a backend BACKEND_BUSY.
 * A3. Nobody passes those that wait for the same thing; but what needs no new connection (a backend of HTTP/2 with room on one that
 *     stands) waits for none, and what is tried again goes before those that were not tried yet.
 * A4. Those that wait to be in flight when the tenant is suspended or gone get their turn at once, to be told so. A worker that drains lets
 *     them wait on: they are answered as what is in hand is, or with DRAINING at the end.
 *
 * Threads: the worker's. */
#ifndef DM_GATEWAY_ADMISSION_H
#define DM_GATEWAY_ADMISSION_H

#include "gateway/exchange.h"

struct dm_uplan;
struct dm_admission;

/* The tenant's queues. */
void dm_admission_init(struct dm_live_tenant *tenant);
void dm_admission_done(struct dm_live_tenant *tenant);
/* The tenant's caps or state are others now. */
void dm_admission_look(struct dm_live_tenant *tenant);

/* May one more of the tenant's requests wait (A2)? */
bool dm_admission_has_place(const struct dm_exchange *ex);
/* The request, decided up to its limits, begins to wait to be in flight. TENANT_OVER_CAP: it can't. */
enum dm_reason dm_admission_begin(struct dm_exchange *ex, const struct dm_uplan *plan);
/* The request goes on to its backend: is there a place for it? False: it waits for its turn (dm_exchange_begin), or was answered. */
bool dm_admission_enter_backend(struct dm_exchange *ex);
/* Others wait for connections: must the request wait behind them (A3)? */
bool dm_admission_is_behind(const struct dm_exchange *ex);
/* The request begins to wait for a connection, or goes on to. False: it can't; that is counted. */
bool dm_admission_wait_for_connection(struct dm_exchange *ex);
/* Does it wait for room now? Of one with ex->admission. */
bool dm_admission_is_waiting(const struct dm_exchange *ex);
/* It waits for nothing any more. */
void dm_admission_leave(struct dm_exchange *ex);

#endif
